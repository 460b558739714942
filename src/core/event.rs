//! The language between the loop and the core: what can happen, and what is to be done.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::forwards::Refusal;
use crate::level::Level;
use crate::link::Link;

/// What can happen, the most urgent first: exit > restart on request > ssh's death > lifetime > due test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// TERM, INT or QUIT.
    Stop(i32),
    /// USR1.
    Restart,
    /// The ssh being started has no monitor: no port or descriptor could be had for it; why not.
    MonitorUnavailable(String),
    /// ssh has been executed, with this pid.
    Started(i32),
    /// ssh could not be started, and nothing is left of the attempt; why not.
    NotStarted(String),
    /// ssh said on its stderr that the server does not listen on the monitor's port.
    MonitorRefused,
    /// ssh said on its stderr that a forward the user asked for is refused.
    Refused(Refusal),
    /// ssh has ended; the last it said on its stderr, if that was heard.
    ChildExited(ChildExit, Option<String>),
    /// The machine has slept.
    Slept,
    /// autossh, or ssh on its terminal, was stopped and continued.
    Continued,
    /// The connection test under way is finished.
    Tested(Outcome),
    /// What a look at ssh's own connection has found.
    LinkSeen(Link),
    /// Whether the local address of ssh's connection is gone: then it, as text.
    AddressChecked(Option<String>),
    /// Whether all local addresses are free on which ssh was refused to listen.
    LocalChecked(bool),
    /// A network change may restore connectivity.
    NetworkChanged,
    /// HUP.
    Hangup,
    /// ALRM.
    TestNow,
    /// Time has passed: timers may have expired.
    Tick,
}

/// How an ssh ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChildExit {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
}

/// Why a test is made, and with it what a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestTrigger {
    /// Its time has come: failing it has consequences.
    Regular,
    /// The same, but sooner, since the network changed.
    Change,
    /// To know early whether traffic flows: failing it has no consequence.
    Early,
}

/// The result of a connection test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The right answer in time.
    Passed {
        /// How long it took, in microseconds.
        round_trip_us: u64,
    },
    /// No right answer: how, and the line for the log.
    Failed(Failure, String),
    /// The test could not be made, for want of something on this machine, which says nothing about the connection.
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

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start ssh; the result is [`Event::Started`] or [`Event::NotStarted`].
    Start {
        /// With the monitor's forwards.
        monitored: bool,
    },
    /// Ask ssh to end.
    Term,
    /// End ssh.
    Kill,
    /// Begin a connection test; the result is [`Event::Tested`].
    Test(TestTrigger),
    /// Forget the test under way.
    DropTest,
    /// Close the monitor for good: autossh is about to end, or goes on without it.
    CloseMonitor,
    /// Look for ssh's own connection; the result is [`Event::LinkSeen`].
    FindLink,
    /// Look whether that connection's local address still exists; the result is [`Event::AddressChecked`].
    CheckAddress,
    /// Look whether these local addresses are free; the result is [`Event::LocalChecked`].
    CheckLocal(Vec<SocketAddr>),
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
