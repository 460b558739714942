//! The states of the machine.

use crate::event::Exit;
use crate::time::Time;

/// What autossh is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no ssh; the next is started at this time.
    Waiting {
        /// When.
        until: Time,
    },
    /// ssh has been forked, but is not known to be executed yet.
    Starting,
    /// ssh runs.
    Running {
        /// When it was executed.
        since: Time,
    },
    /// ssh is being terminated.
    Stopping {
        /// What follows when it is gone.
        then: Then,
        /// What follows if it does not exit.
        phase: StopPhase,
    },
    /// autossh exits.
    Over,
}

/// What follows when ssh is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next ssh.
    Restart,
    /// The next ssh, which does not count: this one was terminated because of a forward.
    Retry,
    /// autossh exits.
    Exit(Exit),
}

/// What follows if ssh does not exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopPhase {
    /// It got SIGTERM, and gets SIGKILL at this time.
    Term(Time),
    /// It got SIGKILL; if autossh is exiting, it does so without it at this time.
    Kill(Time),
}

impl State {
    /// Whether autossh exits once ssh is gone.
    pub fn is_leaving(self) -> bool {
        matches!(self, State::Stopping { then: Then::Exit(_), .. })
    }
}
