//! The levels of log lines, as in syslog(3).

/// The level of a line, with the numbers of syslog and AUTOSSH_LOGLEVEL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something that ends autossh or prevents part of its work.
    Error = 3,
    /// Something that needs attention.
    Warning = 4,
    /// Normal operation.
    Info = 6,
    /// Details for debugging.
    Debug = 7,
}
