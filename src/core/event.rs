//! The words in which the loop and the pure rooms speak: what can happen, and what is to be done.

use crate::exit_policy::ChildExit;
use crate::level::Level;
use crate::test_schedule::TestTrigger;
use alloc::string::String;

/// What can happen, the most urgent first: exit > restart on request > ssh's death > lifetime > due test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// TERM, INT or QUIT.
    Stop(i32),
    /// USR1.
    Restart,
    /// ssh runs, with this pid.
    Started(i32),
    /// ssh could not be started; why not.
    NotStarted(String),
    /// ssh said on its stderr that the monitor's port could not be forwarded on the server.
    ForwardRefused,
    /// ssh has ended.
    ChildExited(ChildExit),
    /// The machine has slept, or autossh was stopped.
    Resumed,
    /// The connection test under way has come to its end.
    Tested(Outcome),
    /// Something about the network can have made a way.
    NetworkChanged,
    /// HUP.
    Hangup,
    /// ALRM.
    TestNow,
    /// Time has passed: lifetime, starts, tests and phase may have come due.
    Tick,
}

/// What a connection test brought.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The right answer in time.
    Passed,
    /// No right answer: how, and in words for the log.
    Failed(Failure, String),
    /// The test could not be made, for want of something on this machine, which says nothing about the connection.
    Impossible(String),
}

/// The ways in which a test fails, as far as they mean different things.
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

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start ssh; the answer is [`Event::Started`] or [`Event::NotStarted`].
    Start,
    /// Ask ssh to end.
    Term,
    /// Exit ssh.
    Kill,
    /// Begin a connection test; the answer is [`Event::Tested`].
    Test(TestTrigger),
    /// Forget the test under way.
    DropTest,
    /// Take note in the pid file that a test has passed.
    TouchPidFile,
    /// Tell systemd that the service is up.
    NotifyReady,
    /// Tell systemd that the service is about to end.
    NotifyStopping,
    /// Write a line to the log.
    Log(Level, String),
    /// Write a line to the log, and to stderr whatever the log's target.
    Explain(Level, String),
    /// Leave; no ssh is left, or none that could be ended.
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

/// How autossh ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this exit status.
    Status(i32),
    /// By this signal, so that whoever waits can tell.
    Signal(i32),
}
