//! The monitor's ports: which ones, the forwards that ssh is given for them, and how automatic ones are picked and kept free
//! for ssh.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, SockaddrStorage, sockopt};

use crate::sys::random::random;
use crate::sys::system::{reserve, tcp_socket};
use autossh_core::rules::Monitoring;

/// Automatic ports are picked from here: below every usual ephemeral range, so that no outgoing connection has them.
const PICK_FROM: u16 = 10_000;
/// Automatic ports are picked up to here.
const PICK_TO: u16 = 32_767;
/// Maximum number of attempts to pick a free port.
const MAX_ATTEMPTS: u32 = 1_000;
/// Number of descriptors that an automatic monitor leaves free, for the tests and all else that a session needs.
const SPARE_DESCRIPTORS: usize = 6;

/// The ports of one way to monitor.
#[derive(Debug)]
pub enum Ports {
    /// To an echo service on the server: `-M port:echo_port`.
    Echo {
        /// The port here.
        port: u16,
        /// The echo service's port on the server.
        echo: u16,
    },
    /// A loop through this port, here and on the server: `-M port`.
    Loop {
        /// The port here and on the server.
        port: u16,
    },
    /// A loop through ports that are picked for each ssh; none before the first.
    Automatic(Option<Picks>),
}

/// Ports picked for one ssh.
#[derive(Debug)]
pub struct Picks {
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

impl Ports {
    /// The ports for this way to monitor, if it is one.
    pub fn new(monitoring: Monitoring) -> Option<Ports> {
        match monitoring {
            Monitoring::Off => None,
            Monitoring::Automatic => Some(Ports::Automatic(None)),
            Monitoring::Loop { port } => Some(Ports::Loop { port }),
            Monitoring::Echo { port, echo } => Some(Ports::Echo { port, echo }),
        }
    }

    /// The given port to listen on for the answers. Echoes come back on the connection that was made.
    pub fn answer_port(&self) -> Option<u16> {
        match self {
            Ports::Echo { .. } | Ports::Automatic(_) => None,
            Ports::Loop { port } => Some(port.saturating_add(1)),
        }
    }

    /// Whether they are picked for each ssh.
    pub fn are_picked(&self) -> bool {
        matches!(self, Ports::Automatic(_))
    }

    /// The forwards for a new ssh; automatic ports are picked again. `answers` is the listener's address.
    ///
    /// # Errors
    /// No port could be picked, or hardly a descriptor is left.
    pub fn forwards(&mut self, loopback: IpAddr, answers: Option<SocketAddr>) -> io::Result<Vec<OsString>> {
        let (local, remote) = match self {
            // The server connects to the echo service, so it is at 127.0.0.1 whatever family ssh uses.
            Ports::Echo { port, echo } => return Ok(vec!["-L".into(), format!("{port}:127.0.0.1:{echo}").into()]),
            Ports::Loop { port } => (*port, *port),
            Ports::Automatic(picks) => {
                let local = pick(loopback)?;
                let remote = pick(loopback)?;
                leaves_descriptors(&local)?;
                let ports = (local.port, remote.port);
                *picks = Some(Picks { local, remote });
                ports
            }
        };
        let back = answers.map(|address| address.to_string()).unwrap_or_default();
        Ok(vec![
            "-L".into(),
            format!("{local}:127.0.0.1:{remote}").into(),
            "-R".into(),
            format!("{remote}:{back}").into(),
        ])
    }

    /// Whether a given port is free here.
    ///
    /// # Errors
    /// The port is in use.
    pub fn local_is_free(&self, loopback: IpAddr) -> Result<(), u16> {
        match self {
            Ports::Loop { port } | Ports::Echo { port, .. } => {
                let bound = bind_like_ssh(SocketAddr::new(loopback, *port));
                if bound.is_err_and(|errno| errno == Errno::EADDRINUSE) { Err(*port) } else { Ok(()) }
            }
            Ports::Automatic(_) => Ok(()),
        }
    }

    /// The port here that a test connects to.
    pub fn local(&self) -> Option<u16> {
        match self {
            Ports::Loop { port } | Ports::Echo { port, .. } => Some(*port),
            Ports::Automatic(picks) => picks.as_ref().map(|picks| picks.local.port),
        }
    }

    /// The port on the server that ssh listens on for the monitor.
    pub fn remote(&self) -> Option<u16> {
        match self {
            Ports::Loop { port } => Some(*port),
            Ports::Automatic(picks) => picks.as_ref().map(|picks| picks.remote.port),
            Ports::Echo { .. } => None,
        }
    }

    /// Forgets the ports that were picked for an ssh that has ended.
    pub fn release(&mut self) {
        if let Ports::Automatic(picks) = self {
            *picks = None;
        }
    }

    /// Gives up the reservations: ssh and the server now listen on the ports themselves.
    pub fn release_reservations(&mut self) {
        if let Ports::Automatic(Some(picks)) = self {
            picks.local.reserved = None;
            picks.remote.reserved = None;
        }
    }
}

/// Picks a free port and reserves it for ssh.
fn pick(loopback: IpAddr) -> io::Result<Pick> {
    let span = u64::from(PICK_TO.saturating_sub(PICK_FROM)).saturating_add(1);
    let mut last = Errno::EADDRINUSE;
    for _ in 0..MAX_ATTEMPTS {
        let offset = u16::try_from(random().checked_rem(span).unwrap_or_default()).unwrap_or_default();
        let port = PICK_FROM.saturating_add(offset);
        match reserve(SocketAddr::new(loopback, port)) {
            Ok(reserved) => return Ok(Pick { port, reserved }),
            // Taken, or forbidden, which may go for single ports.
            Err(errno @ (Errno::EADDRINUSE | Errno::EACCES | Errno::EPERM)) => last = errno,
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(last.into())
}

/// Binds a free address as ssh does, which sets SO_REUSEADDR: nobody listens there.
fn bind_like_ssh(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = tcp_socket(address)?;
    socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}

/// Makes sure that some descriptors are left.
fn leaves_descriptors(pick: &Pick) -> io::Result<()> {
    let mut spare = Vec::with_capacity(SPARE_DESCRIPTORS);
    for _ in 0..SPARE_DESCRIPTORS {
        spare.extend(pick.reserved.as_ref().map(|fd| fd.as_fd().try_clone_to_owned()).transpose()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
