//! The listener for the answers. Any process of this machine can connect to it, as often as it likes.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::socket;

use crate::sys::system::BACKLOG;
use autossh_core::time::Time;

/// After all connections were accepted, none are for so long: a flood makes the loop go round this often and no more. They
/// wait in the backlog.
const REST: Duration = Duration::from_millis(10);
/// None are accepted for so long when no descriptor is left.
const PAUSE: Duration = Duration::from_secs(1);

/// The listener.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// Some have been accepted since it last found that there are no more.
    accepted: bool,
    /// None are accepted until then.
    resting_until: Time,
}

impl Listener {
    /// Listens on this address, or on any port there for port 0.
    ///
    /// # Errors
    /// The system refuses.
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        // A backlog that overflows costs our own connection a second or more.
        socket::listen(&socket, BACKLOG)?;
        Ok(Listener { socket, accepted: false, resting_until: Time::ZERO })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// When connections are accepted again, if they are not at `now`.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        Some(self.resting_until).filter(|until| *until > now)
    }

    /// What to wait for at `now`.
    pub fn fd(&self, now: Time) -> Option<BorrowedFd<'_>> {
        (self.resting_until <= now).then_some(self.socket.as_fd())
    }

    /// Accepts a connection, if there is one and this is the time for it.
    ///
    /// # Errors
    /// There is one, and no descriptor or memory for it.
    pub fn accept(&mut self, now: Time) -> io::Result<Option<TcpStream>> {
        while self.resting_until <= now {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    self.accepted = true;
                    if stream.set_nonblocking(true).is_ok() {
                        return Ok(Some(stream));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if std::mem::take(&mut self.accepted) {
                        self.resting_until = now.saturating_add(REST);
                    }
                    return Ok(None);
                }
                Err(error) if concerns_one(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Accepts nothing for a while, for want of descriptors.
    pub fn pause(&mut self, now: Time) {
        self.resting_until = now.saturating_add(PAUSE);
    }
}

/// Whether an error of accept(2) concerns one connection, and not the listener.
fn concerns_one(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}
