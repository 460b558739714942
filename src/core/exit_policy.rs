//! When ssh has ended: start it again, or exit (autossh(1), EXIT STATUS).

use core::time::Duration;

use crate::event::ChildExit;

/// What the ssh that ended was to autossh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPhase {
    /// The first ssh, and it did not live for the gate time.
    WithinGate,
    /// The first ssh, and it lived for the gate time.
    First,
    /// A later ssh, or there is no gate: it is known that things work, or failing is no reason to stop.
    Trusted,
}

impl StartPhase {
    /// The phase of an ssh that was the `start`th, from 1, and has lived for `lived`.
    pub fn of(start: u64, lived: Duration, gate_time: Duration) -> StartPhase {
        if gate_time.is_zero() || start > 1 {
            StartPhase::Trusted
        } else if lived < gate_time {
            StartPhase::WithinGate
        } else {
            StartPhase::First
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start ssh again.
    Restart,
    /// Exit with this status.
    Exit(i32),
    /// Exit with status 1, and say on stderr too that the gate time is the reason.
    GiveUp,
}

/// What to do after an ssh in this phase has ended that way. `service` is AUTOSSH_NTSERVICE.
pub fn decide(ended: ChildExit, phase: StartPhase, service: bool) -> Decision {
    match (ended, phase) {
        (ChildExit::Signal(_), _) => Decision::Restart,
        (ChildExit::Status(0), _) if service => Decision::Restart,
        (ChildExit::Status(0), _) => Decision::Exit(0),
        (ChildExit::Status(_), StartPhase::WithinGate) => Decision::GiveUp,
        (ChildExit::Status(255), _) | (ChildExit::Status(1 | 2), StartPhase::Trusted) => Decision::Restart,
        (ChildExit::Status(_), _) => Decision::Exit(1),
    }
}

#[cfg(test)]
mod tests;
