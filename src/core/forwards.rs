//! The forwards that the user asked for, as far as ssh names them.

use alloc::string::String;

/// What a server was asked to listen on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listen {
    /// A TCP port, the one that was typed: 0 where the server was to choose.
    Port(u16),
    /// The path of a Unix domain socket.
    Path(String),
}
