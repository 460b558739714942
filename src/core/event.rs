//! The interface of the core: events, which can happen, and actions, which the loop carries out.

use crate::exit_policy::ChildExit;
use crate::level::Level;
use crate::test_schedule::TestTrigger;
use alloc::string::String;

/// What can happen, the most urgent first: exit > restart on request > ssh's exit > lifetime > due test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// TERM, INT or QUIT.
    Stop(i32),
    /// USR1.
    Restart,
    /// ssh runs, with this pid.
    Started(i32),
    /// ssh could not be started, and why.
    NotStarted(String),
    /// ssh reported on stderr that the server refused the monitor's forward.
    ForwardRefused,
    /// ssh has exited.
    ChildExited(ChildExit),
    /// The machine was suspended, or autossh was stopped.
    Resumed,
    /// The connection test is finished.
    Tested(Outcome),
    /// A network change that may restore connectivity.
    NetworkChanged,
    /// HUP.
    Hangup,
    /// ALRM.
    TestNow,
    /// Time has passed, so something may be due.
    Tick,
}

/// The result of a connection test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The right answer arrived in time.
    Passed,
    /// It did not: in which way, and in words for the log.
    Failed(Failure, String),
    /// The test could not be made because this machine lacks something, which says nothing about the connection.
    Impossible(String),
}

/// How a test failed, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nothing listens on the monitor port here: ssh is not logged in yet, or does not forward.
    NoListener,
    /// ssh took the connection and closed it: the server refused to forward it.
    Closed,
    /// Nothing came in time: the connection is dead or slow.
    Silent,
    /// The echo service sent back something else.
    Garbled,
    /// A process of another user listens on the monitor port.
    Foreign,
}

/// What the loop must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start ssh; [`Event::Started`] or [`Event::NotStarted`] follows.
    Start,
    /// Send ssh SIGTERM.
    Term,
    /// Send ssh SIGKILL.
    Kill,
    /// Begin a connection test; [`Event::Tested`] follows.
    Test(TestTrigger),
    /// Drop the current test.
    DropTest,
    /// Update the times of the pid file: a test has passed.
    TouchPidFile,
    /// Tell systemd that the service is ready.
    NotifyReady,
    /// Tell systemd that the service is stopping.
    NotifyStopping,
    /// Write a line to the log.
    Log(Level, String),
    /// Write a line to the log, and to stderr wherever the log goes.
    Explain(Level, String),
    /// Exit; no ssh is left, or none that can be killed.
    Exit(Exit),
}

impl Action {
    /// A log line of level info.
    pub fn info(text: impl Into<String>) -> Action {
        Action::Log(Level::Info, text.into())
    }

    /// A log line of level debug.
    pub fn debug(text: impl Into<String>) -> Action {
        Action::Log(Level::Debug, text.into())
    }

    /// A log line of level warning.
    pub fn warning(text: impl Into<String>) -> Action {
        Action::Log(Level::Warning, text.into())
    }
}

/// How autossh exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this exit status.
    Status(i32),
    /// By this signal, so that the parent can tell.
    Signal(i32),
}
