//! The levels of log lines, as in syslog(3).

/// How much a line matters; the numbers are syslog's and AUTOSSH_LOGLEVEL's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something that ends autossh or costs it a part of its work.
    Error = 3,
    /// Something the user should look at.
    Warning = 4,
    /// What happens in the ordinary course of things.
    Info = 6,
    /// For whoever wants to know each step.
    Debug = 7,
}
