//! The monitor: its forwards for ssh, the listener for the answers, and the current test.

mod listener;
mod owner;
mod peers;
mod ports;
pub mod probe;

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::poll::PollFlags;

use crate::config::settings::{Family, Settings};
use crate::monitor::listener::Listener;
use crate::monitor::ports::Ports;
use crate::monitor::probe::{Message, Probe};
use crate::sys::random::random;
use autossh_core::event::{Outcome, TestTrigger};
use autossh_core::time::Time;

/// An early test takes no longer than this.
const MAX_EARLY: Duration = Duration::from_secs(10);
/// Maximum number of connections that are accepted in one round of the loop.
const MAX_ACCEPTS: u32 = 128;
/// Maximum number of times that a test is repeated for a crowd on the listener, which may have displaced the answer.
const MAX_REPEATS: u32 = 3;

/// The monitor of one autossh.
#[derive(Debug)]
pub struct Monitor {
    ports: Ports,
    loopback: IpAddr,
    /// Where the answers of a loop arrive. An automatic one has it while there is an ssh.
    listener: Option<Listener>,
    test: Option<Test>,
    /// The ssh of the last forwards has passed a test.
    has_passed: bool,
    node: OsString,
    text: OsString,
    net_timeout: Duration,
}

/// The current test.
#[derive(Debug)]
struct Test {
    probe: Probe,
    /// The time for it, and for each time that it is repeated.
    time: Duration,
    repeats: u32,
}

impl Monitor {
    /// Binds the listener for a given port; returns nothing if connections are not tested.
    ///
    /// # Errors
    /// The address that cannot be listened on, and why not.
    pub fn new(settings: &Settings) -> Result<Option<Monitor>, (SocketAddr, io::Error)> {
        let loopback = match settings.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let Some(ports) = Ports::new(settings.rules.monitoring) else {
            return Ok(None);
        };
        let listen = |port| {
            let address = SocketAddr::new(loopback, port);
            Listener::bind(address).map_err(|error| (address, error))
        };
        Ok(Some(Monitor {
            listener: ports.answer_port().map(listen).transpose()?,
            ports,
            loopback,
            test: None,
            has_passed: false,
            node: nix::unistd::gethostname().unwrap_or_default(),
            text: settings.message.clone(),
            net_timeout: settings.net_timeout,
        }))
    }

    /// Whether the given port that ssh is to listen on here is free: an ssh of the last autossh may still have it.
    ///
    /// # Errors
    /// The port is in use.
    pub fn local_port_is_free(&self) -> Result<(), u16> {
        self.ports.local_is_free(self.loopback)
    }

    /// Releases the automatic ports of an ssh that has exited, and their listener: what they take must not keep the next
    /// ssh from starting.
    pub fn release_ports(&mut self) {
        if self.ports.are_picked() {
            self.listener = None;
            self.ports.release();
        }
    }

    /// The monitor's forwards for a new ssh, after [`Monitor::release_ports`]; automatic ports are picked again.
    ///
    /// # Errors
    /// No port could be had, or hardly a descriptor is left.
    pub fn forwards(&mut self) -> io::Result<Vec<OsString>> {
        self.has_passed = false;
        let forwards = self.pick_forwards();
        if forwards.is_err() {
            self.release_ports();
        }
        forwards
    }

    fn pick_forwards(&mut self) -> io::Result<Vec<OsString>> {
        if self.ports.are_picked() {
            self.listener = Some(Listener::bind(SocketAddr::new(self.loopback, 0))?);
        }
        let answers = self.listener.as_ref().map(Listener::address).transpose()?;
        self.ports.forwards(self.loopback, answers)
    }

    /// The port on the server that ssh listens on for the monitor.
    pub fn remote_port(&self) -> Option<u16> {
        self.ports.remote()
    }

    /// Begins a connection test.
    ///
    /// # Errors
    /// The outcome, if it is known at once.
    pub fn begin(&mut self, trigger: TestTrigger, now: Time) -> Result<(), Outcome> {
        self.test = None;
        let time = self.net_timeout.saturating_mul(2);
        let time = if trigger == TestTrigger::Early { time.min(MAX_EARLY) } else { time };
        let probe = self.probe(now, time)?;
        self.test = Some(Test { probe, time, repeats: 0 });
        Ok(())
    }

    fn probe(&self, now: Time, time: Duration) -> Result<Probe, Outcome> {
        let Some(port) = self.ports.local() else {
            return Err(Outcome::Impossible("no monitor port has been picked".into()));
        };
        let target = SocketAddr::new(self.loopback, port);
        Probe::begin(target, self.has_passed, self.listener.is_some(), self.message(), now, time)
    }

    /// The test message: `NODENAME autossh PID RANDOM MESSAGE\r\n`.
    fn message(&self) -> Message {
        let known = [self.node.as_bytes(), format!(" autossh {} ", std::process::id()).as_bytes()].concat();
        let secret = [random().to_string().as_bytes(), b" ", self.text.as_bytes(), b"\r\n"].concat();
        Message::new(&known, &secret)
    }

    /// Drops the current test.
    pub fn drop_test(&mut self) {
        self.test = None;
    }

    /// When [`Monitor::advance`] must be called next, if nothing arrives.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        let rest = self.listener.as_ref().and_then(|listener| listener.deadline(now));
        self.test.as_ref().map(|test| test.probe.deadline).into_iter().chain(rest).min()
    }

    /// What to wait for, on which descriptors.
    pub fn interest(&self, now: Time) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listener = self.listener.iter().filter_map(move |listener| listener.fd(now));
        let probe = self.test.iter().flat_map(|test| test.probe.interest());
        listener.map(|fd| (fd, PollFlags::POLLIN)).chain(probe)
    }

    /// Accepts connections and continues the test; returns its outcome once it is finished.
    pub fn advance(&mut self, now: Time) -> Option<Outcome> {
        self.accept(now);
        let mut test = self.test.take()?;
        let Some(mut outcome) = test.probe.advance(now) else {
            self.test = Some(test);
            return None;
        };
        if test.repeats < MAX_REPEATS && test.probe.proves_nothing(&outcome) {
            match self.probe(now, test.time) {
                Ok(probe) => {
                    self.test = Some(Test { probe, repeats: test.repeats.saturating_add(1), ..test });
                    return None;
                }
                Err(known) => outcome = known,
            }
        }
        if matches!(outcome, Outcome::Passed { .. }) {
            self.has_passed = true;
            self.ports.release_reservations();
        }
        Some(outcome)
    }

    /// Accepts every connection, between tests too, so that other users cannot fill the backlog.
    fn accept(&mut self, now: Time) {
        let Some(listener) = &mut self.listener else {
            return;
        };
        for _ in 0..MAX_ACCEPTS {
            match (listener.accept(now), &mut self.test) {
                (Ok(Some(stream)), Some(test)) => test.probe.peer(stream),
                (Ok(Some(stream)), None) => peers::reset(&stream),
                (Ok(None), _) => return,
                (Err(_), test) => {
                    let has_room = test.as_mut().is_some_and(|test| test.probe.shrink());
                    if !has_room {
                        return listener.pause(now);
                    }
                }
            }
        }
    }
}
