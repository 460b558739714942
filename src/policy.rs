//! When ssh has ended: start it again, or exit (autossh(1), EXIT STATUS).

use std::time::Duration;

use crate::level::Level;

/// How an ssh ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
}

/// What the ssh that ended was to autossh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The first ssh, and it did not live for the gate time.
    WithinGate,
    /// The first ssh, and it lived for the gate time.
    First,
    /// A later ssh, or there is no gate: it is known that things work, or failing is no reason to stop.
    Trusted,
}

impl Standing {
    /// The standing of an ssh that was the `start`th, from 1, and has lived for `lived`.
    pub fn of(start: u64, lived: Duration, gate_time: Duration) -> Standing {
        if gate_time.is_zero() || start > 1 {
            Standing::Trusted
        } else if lived < gate_time {
            Standing::WithinGate
        } else {
            Standing::First
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start ssh again.
    Restart,
    /// Exit with this status.
    Exit(i32),
    /// Exit with status 1, and say on stderr too that the gate time is the reason.
    GiveUp,
}

/// What to do after an ssh of this standing has ended that way. `service` is AUTOSSH_NTSERVICE.
pub fn judge(ended: Ended, standing: Standing, service: bool) -> Verdict {
    match (ended, standing) {
        (Ended::Signal(_), _) => Verdict::Restart,
        (Ended::Status(0), _) if service => Verdict::Restart,
        (Ended::Status(0), _) => Verdict::Exit(0),
        (Ended::Status(_), Standing::WithinGate) => Verdict::GiveUp,
        (Ended::Status(255), _) | (Ended::Status(1 | 2), Standing::Trusted) => Verdict::Restart,
        (Ended::Status(_), _) => Verdict::Exit(1),
    }
}

/// The line for the log that goes with a verdict.
pub fn words(ended: Ended, verdict: Verdict) -> (Level, String) {
    match (ended, verdict) {
        (Ended::Signal(signal), _) => (Level::Info, format!("ssh exited on signal {signal}, restarting ssh")),
        (Ended::Status(status), Verdict::Restart) => {
            (Level::Info, format!("ssh exited with error status {status}; restarting ssh"))
        }
        (Ended::Status(status), Verdict::Exit(_)) => {
            (Level::Info, format!("ssh exited with status {status}; autossh exiting"))
        }
        (Ended::Status(status), Verdict::GiveUp) => {
            (Level::Error, format!("ssh exited prematurely with status {status}; autossh exiting"))
        }
    }
}

#[cfg(test)]
mod tests;
