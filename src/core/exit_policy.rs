//! When ssh has exited: restart it, or exit (autossh(1), EXIT STATUS).

use core::time::Duration;

use crate::event::ChildExit;

/// Which ssh it was that exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPhase {
    /// The first ssh, and it did not live for the gate time.
    WithinGate,
    /// The first ssh, and it lived for the gate time.
    First,
    /// A later ssh, or there is no gate: the setup is known to work, or failures are no reason to exit.
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

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Restart ssh.
    Restart,
    /// Exit with this status.
    Exit(i32),
    /// Exit with status 1, and name the gate time as the reason, on stderr too.
    GiveUp,
}

/// What to do after an ssh in this phase has exited that way. `service` is AUTOSSH_NTSERVICE.
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
