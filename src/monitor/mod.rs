//! The monitor: its forwards for ssh, the listener for the answers, and the current test.

pub mod probe;

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{self, SockaddrStorage, sockopt};

use crate::config::settings::{Family, Settings};
use crate::monitor::probe::Probe;
use crate::sys::random::random;
use crate::sys::system::{reserve, tcp_socket};
use autossh_core::event::{Outcome, TestTrigger};
use autossh_core::rules::Monitoring;
use autossh_core::time::Time;

/// Automatic ports are picked from here: below every usual ephemeral range, so that no outgoing connection has them.
const PICK_FROM: u16 = 10_000;
/// Automatic ports are picked up to here.
const PICK_TO: u16 = 32_767;
/// Maximum number of attempts to pick a free port.
const PICKS: u32 = 1_000;
/// Maximum number of connections that are accepted in one round of the loop.
const MAX_ACCEPTS: u32 = 128;
/// How long the listener pauses when no descriptor is left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// An early test takes no longer than this.
const MAX_EARLY: Duration = Duration::from_secs(10);

/// The monitor of one autossh.
#[derive(Debug)]
pub struct Monitor {
    monitoring: Monitoring,
    loopback: IpAddr,
    /// Where the answers of a loop arrive.
    listener: Option<TcpListener>,
    /// The listener is paused until then.
    paused_until: Time,
    /// The automatic ports of the running ssh.
    picks: Option<Picks>,
    probe: Option<Probe>,
    node: OsString,
    message: OsString,
    net_timeout: Duration,
}

/// Ports picked for one ssh.
#[derive(Debug)]
struct Picks {
    local: Pick,
    remote: Pick,
}

/// A port that no other autossh on this machine picks while this exists.
#[derive(Debug)]
struct Pick {
    port: u16,
    /// Bound but never listening, and open for sharing, so that ssh can still bind and listen on the port. Not every
    /// system has that.
    reserved: Option<OwnedFd>,
}

impl Monitor {
    /// Binds the listener that the settings ask for.
    ///
    /// # Errors
    /// The address that cannot be listened on, and why not.
    pub fn new(settings: &Settings) -> Result<Monitor, (SocketAddr, io::Error)> {
        let loopback = match settings.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let port = match settings.rules.monitoring {
            Monitoring::Off | Monitoring::Echo { .. } => None,
            Monitoring::Automatic => Some(0),
            Monitoring::Loop { port } => Some(port.saturating_add(1)),
        };
        let listen = |port| {
            let address = SocketAddr::new(loopback, port);
            let listener = TcpListener::bind(address).map_err(|error| (address, error))?;
            listener.set_nonblocking(true).map_err(|error| (address, error))?;
            Ok(listener)
        };
        Ok(Monitor {
            monitoring: settings.rules.monitoring,
            loopback,
            listener: port.map(listen).transpose()?,
            paused_until: Time::ZERO,
            picks: None,
            probe: None,
            node: nix::unistd::gethostname().unwrap_or_default(),
            message: settings.message.clone(),
            net_timeout: settings.net_timeout,
        })
    }

    /// Whether the given port that ssh is to listen on here is free: an ssh of the last autossh may still have it.
    ///
    /// # Errors
    /// The port is in use.
    pub fn local_port_is_free(&self) -> Result<(), u16> {
        match self.monitoring {
            Monitoring::Loop { port } | Monitoring::Echo { port, .. } => {
                let bound = bind_like_ssh(SocketAddr::new(self.loopback, port));
                if bound.is_err_and(|errno| errno == Errno::EADDRINUSE) { Err(port) } else { Ok(()) }
            }
            Monitoring::Off | Monitoring::Automatic => Ok(()),
        }
    }

    /// Releases the automatic ports of an ssh that has exited.
    pub fn release_ports(&mut self) {
        self.picks = None;
    }

    /// The monitor's forwards for a new ssh; automatic ports are picked again.
    ///
    /// # Errors
    /// No port could be picked.
    pub fn forwards(&mut self) -> io::Result<Vec<OsString>> {
        let (local, remote) = match self.monitoring {
            Monitoring::Off => return Ok(Vec::new()),
            // The server connects to the echo service, so it is at 127.0.0.1 whatever family ssh uses.
            Monitoring::Echo { port, echo } => {
                return Ok(vec!["-L".into(), format!("{port}:127.0.0.1:{echo}").into()]);
            }
            Monitoring::Loop { port } => (port, port),
            Monitoring::Automatic => {
                self.release_ports();
                let local = self.pick()?;
                let remote = self.pick()?;
                let ports = (local.port, remote.port);
                self.picks = Some(Picks { local, remote });
                ports
            }
        };
        let back = self.listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let back = back.map(|address| address.to_string()).unwrap_or_default();
        Ok(vec![
            "-L".into(),
            format!("{local}:127.0.0.1:{remote}").into(),
            "-R".into(),
            format!("{remote}:{back}").into(),
        ])
    }

    /// The port on the server that ssh listens on for the monitor.
    pub fn remote_port(&self) -> Option<u16> {
        match self.monitoring {
            Monitoring::Loop { port } => Some(port),
            Monitoring::Automatic => self.picks.as_ref().map(|picks| picks.remote.port),
            Monitoring::Off | Monitoring::Echo { .. } => None,
        }
    }

    fn local_port(&self) -> Option<u16> {
        match self.monitoring {
            Monitoring::Loop { port } | Monitoring::Echo { port, .. } => Some(port),
            Monitoring::Automatic => self.picks.as_ref().map(|picks| picks.local.port),
            Monitoring::Off => None,
        }
    }

    /// Begins a connection test.
    ///
    /// # Errors
    /// The outcome, if it is known at once.
    pub fn begin(&mut self, trigger: TestTrigger, now: Time) -> Result<(), Outcome> {
        self.probe = None;
        let Some(port) = self.local_port() else {
            return Ok(());
        };
        let time = self.net_timeout.saturating_mul(2);
        let time = if trigger == TestTrigger::Early { time.min(MAX_EARLY) } else { time };
        let target = SocketAddr::new(self.loopback, port);
        let deadline = now.saturating_add(time);
        self.probe = Some(Probe::begin(target, self.listener.is_some(), self.message(), now, deadline)?);
        Ok(())
    }

    /// The test message: `NODENAME autossh PID RANDOM MESSAGE\r\n`.
    fn message(&self) -> Vec<u8> {
        let ours = format!(" autossh {} {} ", std::process::id(), random());
        [self.node.as_bytes(), ours.as_bytes(), self.message.as_bytes(), b"\r\n"].concat()
    }

    /// Drops the current test.
    pub fn drop_test(&mut self) {
        self.probe = None;
    }

    /// When [`Monitor::advance`] must be called next, if nothing arrives.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        let rest = Some(self.paused_until).filter(|until| *until > now);
        self.probe.as_ref().map(|probe| probe.deadline).into_iter().chain(rest).min()
    }

    /// What to wait for, on which descriptors.
    pub fn interest(&self, now: Time) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listener = self.listener.iter().filter(move |_| self.paused_until <= now);
        listener
            .map(|listener| (listener.as_fd(), PollFlags::POLLIN))
            .chain(self.probe.iter().flat_map(Probe::interest))
    }

    /// Accepts connections and continues the test; returns its outcome once it is finished.
    pub fn advance(&mut self, now: Time) -> Option<Outcome> {
        self.take_callers(now);
        let probe = self.probe.as_mut()?;
        let outcome = probe.advance(now)?;
        self.probe = None;
        if matches!(outcome, Outcome::Passed { .. }) {
            // ssh and the server now listen on the ports themselves.
            if let Some(picks) = &mut self.picks {
                picks.local.reserved = None;
                picks.remote.reserved = None;
            }
        }
        Some(outcome)
    }

    /// Accepts every connection, between tests too, so that other users cannot fill the backlog.
    fn take_callers(&mut self, now: Time) {
        let Some(listener) = self.listener.as_ref().filter(|_| self.paused_until <= now) else {
            return;
        };
        // A limited number at a time, so that a flood of connections does not block everything else.
        for _ in 0..MAX_ACCEPTS {
            match listener.accept() {
                Ok((stream, _)) => {
                    if let Some(probe) = &mut self.probe {
                        if stream.set_nonblocking(true).is_ok() {
                            probe.caller(stream);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if is_passing(&error) => {}
                Err(_) => {
                    self.paused_until = now.saturating_add(ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Picks a free port and reserves it for ssh.
    fn pick(&self) -> io::Result<Pick> {
        let span = u64::from(PICK_TO.saturating_sub(PICK_FROM)).saturating_add(1);
        for _ in 0..PICKS {
            let offset = u16::try_from(random().checked_rem(span).unwrap_or_default()).unwrap_or_default();
            let port = PICK_FROM.saturating_add(offset);
            match reserve(SocketAddr::new(self.loopback, port)) {
                Ok(reserved) => {
                    return Ok(Pick { port, reserved });
                }
                Err(Errno::EADDRINUSE) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::EADDRINUSE.into())
    }
}

/// Binds a free address as ssh does, which sets SO_REUSEADDR: nobody listens there.
fn bind_like_ssh(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = tcp_socket(address)?;
    socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}

/// Whether an error of accept(2) concerns one connection, and not the listener.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}
