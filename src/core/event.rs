//! The interface of the core: events, which can happen, and actions, which the loop carries out.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::forwards::Refusal;
use crate::level::Level;
use crate::link::Link;

/// What can happen, the most urgent first: exit > restart on request > ssh's exit > lifetime > due test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// TERM, INT or QUIT.
    Stop(i32),
    /// USR1.
    Restart,
    /// The ssh being started has no monitor, because no port or descriptor was available; the reason.
    MonitorUnavailable(String),
    /// ssh has been executed, with this pid.
    Started(i32),
    /// ssh could not be started, and nothing is left of the attempt; the reason.
    NotStarted(String),
    /// ssh reported that the server refused the monitor's forward.
    MonitorRefused,
    /// ssh reported that a forward of the user was refused.
    Refused(Refusal),
    /// ssh has exited; the last line of its stderr, if known.
    ChildExited(ChildExit, Option<String>),
    /// The machine was suspended.
    Slept,
    /// autossh, or ssh on its terminal, was stopped and continued.
    Continued,
    /// The connection test is finished.
    Tested(Outcome),
    /// The result of looking for ssh's own connection.
    LinkSeen(Link),
    /// The local address of ssh's connection, as text, if it is gone.
    AddressChecked(Option<String>),
    /// Whether all local addresses on which ssh could not listen are free.
    LocalChecked(bool),
    /// A network change that may restore connectivity.
    NetworkChanged,
    /// HUP.
    Hangup,
    /// ALRM.
    TestNow,
    /// Time has passed, so timers may have expired.
    Tick,
}

/// How ssh exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChildExit {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
}

/// Why a test is made, which decides what a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestTrigger {
    /// The poll time is over; a failure has consequences.
    Regular,
    /// The same, but earlier, because the network changed.
    Change,
    /// To know early whether traffic flows; a failure has no consequence.
    Early,
}

/// The result of a connection test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The right answer arrived in time.
    Passed {
        /// How long it took, in microseconds.
        round_trip_us: u64,
    },
    /// It did not: in which way, and the line for the log.
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
    Start {
        /// With the monitor's forwards.
        monitored: bool,
    },
    /// Send ssh SIGTERM.
    Term,
    /// Send ssh SIGKILL.
    Kill,
    /// Begin a connection test; [`Event::Tested`] follows.
    Test(TestTrigger),
    /// Drop the current test.
    DropTest,
    /// Close the monitor permanently: autossh is exiting, or goes on without it.
    CloseMonitor,
    /// Look for ssh's own connection; [`Event::LinkSeen`] follows.
    FindLink,
    /// Check whether that connection's local address still exists; [`Event::AddressChecked`] follows.
    CheckAddress,
    /// Check whether these local addresses are free; [`Event::LocalChecked`] follows.
    CheckLocal(Vec<SocketAddr>),
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
