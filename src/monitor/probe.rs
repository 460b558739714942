//! One connection test: a state machine over sockets that never block (autossh(1), MONITORING).
//!
//! The message goes to the monitor port. In the loop it must come back on a connection to our listener, which anybody on
//! this machine can connect to: only the right bytes count, and other connections have no effect.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{self, SockaddrStorage};

use crate::sys::system::tcp_socket;
use crate::text::error_text;
use autossh_core::event::{Failure, Outcome};
use autossh_core::time::Time;

/// Maximum number of connections that are held while waiting for the answer.
const MAX_PEERS: usize = 64;

/// The current test.
#[derive(Debug)]
pub struct Probe {
    target: SocketAddr,
    stream: TcpStream,
    message: Vec<u8>,
    /// Number of bytes of the message that are sent; none while connecting.
    sent: usize,
    answer: Answer,
    /// When it began.
    began: Time,
    /// When its time is up.
    pub deadline: Time,
}

/// Where the answer is expected.
#[derive(Debug)]
enum Answer {
    /// On the same connection; this many bytes have arrived.
    Echo(usize),
    /// On one of the connections that our listener has accepted.
    Loop(Vec<Peer>),
}

/// A connection that may bring the answer.
#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    /// Number of bytes of the answer that have arrived.
    right: usize,
}

/// The progress of an answer after one read.
enum Progress {
    /// This many right bytes so far, fewer than all.
    Partial(usize),
    /// All of the answer.
    Complete,
    /// Other bytes, or the connection was closed.
    Wrong(Failure, &'static str),
}

impl Probe {
    /// Begins to connect to `target`; the answer arrives at the listener if it is a `looped` test.
    ///
    /// # Errors
    /// The outcome, if it is known at once.
    pub fn begin(
        target: SocketAddr,
        looped: bool,
        message: Vec<u8>,
        began: Time,
        deadline: Time,
    ) -> Result<Probe, Outcome> {
        let socket = tcp_socket(target)
            .map_err(|errno| Outcome::Impossible(format!("no socket: {}", error_text(&errno.into()))))?;
        match socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(target)) {
            Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => {}
            Err(errno @ (Errno::EADDRNOTAVAIL | Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM)) => {
                return Err(Outcome::Impossible(format!("{target}: {}", error_text(&errno.into()))));
            }
            Err(errno) => return Err(no_listener(target, &io::Error::from(errno))),
        }
        let stream = TcpStream::from(socket);
        // If nothing listens on a port of the ephemeral range, the kernel may pick that port as ours and connect us to
        // ourselves, and we would receive our own message: this counts as refused.
        if stream.local_addr().is_ok_and(|own| own == target) {
            return Err(no_listener(target, &Errno::ECONNREFUSED.into()));
        }
        let answer = if looped { Answer::Loop(Vec::new()) } else { Answer::Echo(0) };
        let mut probe = Probe { target, stream, message, sent: 0, answer, began, deadline };
        // A connection to this machine is usually established at once.
        probe.send()?;
        Ok(probe)
    }

    /// What to wait for, on which descriptors.
    pub fn interest(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let own = if self.sent < self.message.len() { PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let callers = match &self.answer {
            Answer::Echo(_) => [].iter(),
            Answer::Loop(callers) => callers.iter(),
        };
        std::iter::once((self.stream.as_fd(), own))
            .chain(callers.map(|caller| (caller.stream.as_fd(), PollFlags::POLLIN)))
    }

    /// Takes a connection that our listener has accepted. Only the answer on it proves that it is ssh's.
    pub fn caller(&mut self, stream: TcpStream) {
        if let Answer::Loop(callers) = &mut self.answer {
            if callers.len() >= MAX_PEERS {
                let silent = callers.iter().position(|caller| caller.right == 0);
                callers.remove(silent.unwrap_or_default());
            }
            callers.push(Peer { stream, right: 0 });
        }
    }

    /// Continues as far as possible without blocking; returns the outcome once there is one.
    pub fn advance(&mut self, now: Time) -> Option<Outcome> {
        if let Err(failed) = self.send().and_then(|()| self.still_open()) {
            return Some(failed);
        }
        let round_trip = now.saturating_sub(self.began).as_micros();
        let pass = Outcome::Passed { round_trip_us: u64::try_from(round_trip).unwrap_or(u64::MAX) };
        let outcome = match &mut self.answer {
            Answer::Echo(_) if self.sent == 0 => None,
            Answer::Echo(right) => match read_on(&mut self.stream, &self.message, *right) {
                Progress::Complete => Some(pass),
                Progress::Wrong(failure, how) => Some(failed(failure, format!("{}: {how}", self.target))),
                Progress::Partial(so_far) => {
                    *right = so_far;
                    None
                }
            },
            Answer::Loop(callers) => {
                let mut passed = false;
                callers.retain_mut(|caller| match read_on(&mut caller.stream, &self.message, caller.right) {
                    Progress::Partial(right) => {
                        caller.right = right;
                        true
                    }
                    Progress::Complete => {
                        passed = true;
                        true
                    }
                    Progress::Wrong(..) => false,
                });
                passed.then_some(pass)
            }
        };
        outcome.or_else(|| (now >= self.deadline).then(|| self.out_of_time()))
    }

    /// Sends the rest of the message.
    fn send(&mut self) -> Result<(), Outcome> {
        while let Some(rest) = self.message.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.sent = self.sent.saturating_add(count),
                // Still connecting, or the send buffer is full.
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Still connecting, in the words of macOS and the BSDs, or that has failed.
                Err(error) if error.kind() == ErrorKind::NotConnected && self.sent == 0 => {
                    let failure = self.stream.take_error().unwrap_or(Some(error));
                    return failure.map_or(Ok(()), |error| Err(no_listener(self.target, &error)));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if self.sent == 0 => return Err(no_listener(self.target, &error)),
                Err(error) => return Err(failed(Failure::Closed, format!("{}: {}", self.target, error_text(&error)))),
            }
        }
        Ok(())
    }

    /// In a loop the answer does not come back on the sending connection, but its end matters.
    fn still_open(&mut self) -> Result<(), Outcome> {
        if self.sent == 0 || matches!(self.answer, Answer::Echo(_)) {
            return Ok(());
        }
        let mut scrap = [0; 512];
        loop {
            match self.stream.read(&mut scrap) {
                Ok(0) => return Err(failed(Failure::Closed, format!("{}: connection closed", self.target))),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(Failure::Closed, format!("{}: {}", self.target, error_text(&error)))),
            }
        }
    }

    fn out_of_time(&self) -> Outcome {
        let silent = |text| failed(Failure::Silent, text);
        match &self.answer {
            _ if self.sent == 0 => silent(format!("{}: timeout connecting", self.target)),
            Answer::Loop(callers) if callers.is_empty() => silent("timeout polling to accept read connection".into()),
            Answer::Loop(_) => silent("timeout polling to read the answer".into()),
            Answer::Echo(_) => silent(format!("{}: timeout polling to read the echo", self.target)),
        }
    }
}

/// Continues to read an answer that must equal `message`, of which `right` bytes have arrived.
fn read_on(stream: &mut TcpStream, message: &[u8], mut right: usize) -> Progress {
    let mut buffer = [0; 512];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Progress::Wrong(Failure::Closed, "connection closed"),
            Ok(count) => {
                let got = buffer.get(..count).unwrap_or_default();
                let wanted = message.get(right..).unwrap_or_default();
                if !wanted.starts_with(got) {
                    return Progress::Wrong(Failure::Garbled, "not what was sent");
                }
                right = right.saturating_add(count);
                if right == message.len() {
                    return Progress::Complete;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Partial(right),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Progress::Wrong(Failure::Closed, "connection lost"),
        }
    }
}

fn no_listener(target: SocketAddr, error: &io::Error) -> Outcome {
    failed(Failure::NoListener, format!("{target}: {}", error_text(error)))
}

fn failed(failure: Failure, text: String) -> Outcome {
    Outcome::Failed(failure, text)
}
