//! The states that the supervisor can be in.

use crate::event::Exit;
use crate::time::Time;

/// What the supervisor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no ssh, and the next is started then.
    Waiting {
        /// When.
        until: Time,
    },
    /// ssh has been forked, and is not known to be executed yet.
    Starting,
    /// ssh runs.
    Running {
        /// When it was executed.
        since: Time,
    },
    /// ssh has been told to end.
    Stopping {
        /// What comes after it.
        then: Then,
        /// What comes next if it does not end.
        phase: StopPhase,
    },
    /// All is done.
    Over,
}

/// What comes after ssh's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next ssh.
    Restart,
    /// The next ssh, at no cost: this one was ended for the sake of a forward.
    Retry,
    /// autossh's own end.
    Exit(Exit),
}

/// What comes next for an ssh that has been told to end and does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopPhase {
    /// It has got TERM, and gets KILL then.
    Term(Time),
    /// It has got KILL; an autossh that is about to exit leaves without it then.
    Kill(Time),
}

impl State {
    /// Whether autossh is about to end.
    pub fn is_leaving(self) -> bool {
        matches!(self, State::Over | State::Stopping { then: Then::Exit(_), .. })
    }
}
