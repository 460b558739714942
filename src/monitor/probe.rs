//! One connection test: a state machine over sockets that never block (autossh(1), MONITORING).
//!
//! The message goes to the monitor port. In the loop it must come back on a connection to our listener, which anybody on
//! this machine can connect to: only the right bytes count, and other connections have no effect.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{self, SockaddrStorage};

use crate::monitor::owner;
use crate::monitor::peers::{Peers, read_on};
use crate::sys::system::tcp_socket;
use crate::text::error_text;
use autossh_core::event::{Failure, Outcome};
use autossh_core::time::Time;

/// Maximum number of reads of what comes back where nothing should, before the loop goes round again.
const MAX_SCRAPS: u32 = 16;
/// Number of digits of the random number that may be guessed right.
const GUESSABLE_DIGITS: usize = 4;

/// What is sent and must come back.
#[derive(Debug)]
pub struct Message {
    bytes: Vec<u8>,
    /// Number of bytes that a stranger may guess.
    guessable: usize,
}

impl Message {
    /// A message of what anybody can know and of what nobody can, which begins with a random number.
    pub fn new(known: &[u8], secret: &[u8]) -> Message {
        let guessable = known.len().saturating_add(GUESSABLE_DIGITS);
        Message { bytes: [known, secret].concat(), guessable }
    }
}

/// The current test.
#[derive(Debug)]
pub struct Probe {
    target: SocketAddr,
    /// A test of this ssh has passed: it listens there, and goes on to for as long as it lives.
    is_ours: bool,
    stream: TcpStream,
    message: Message,
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
    Loop(Peers),
}

impl Probe {
    /// Begins to connect to `target`, which `is_ours` if that is known; the answer arrives at the listener if it is a
    /// `looped` test.
    ///
    /// # Errors
    /// The outcome, if it is known at once.
    pub fn begin(
        target: SocketAddr,
        is_ours: bool,
        looped: bool,
        message: Message,
        began: Time,
        time: Duration,
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
        let answer = if looped { Answer::Loop(Peers::new(message.guessable)) } else { Answer::Echo(0) };
        let deadline = began.saturating_add(time);
        let mut probe = Probe { target, is_ours, stream, message, sent: 0, answer, began, deadline };
        // A connection to this machine is usually established at once.
        probe.send()?;
        Ok(probe)
    }

    /// What to wait for, on which descriptors.
    pub fn interest(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let own = if self.sent < self.message.bytes.len() { PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let peers = match &self.answer {
            Answer::Echo(_) => None,
            Answer::Loop(peers) => Some(peers.fds()),
        };
        let peers = peers.into_iter().flatten();
        std::iter::once((self.stream.as_fd(), own)).chain(peers.map(|peer| (peer, PollFlags::POLLIN)))
    }

    /// Takes a connection that our listener has accepted. Only the answer on it proves that it is ssh's.
    pub fn peer(&mut self, stream: TcpStream) {
        if let Answer::Loop(peers) = &mut self.answer {
            peers.push(stream, &self.message.bytes);
        }
    }

    /// Makes room for connections when descriptors have run out, and returns whether that was possible.
    pub fn shrink(&mut self) -> bool {
        match &mut self.answer {
            Answer::Echo(_) => false,
            Answer::Loop(peers) => peers.shrink(),
        }
    }

    /// Whether this outcome may be due to connections that were closed for want of room: had ours been among them, ssh
    /// would have closed the other end as well.
    pub fn proves_nothing(&self, outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Failed(Failure::Silent | Failure::Closed, _))
            && matches!(&self.answer, Answer::Loop(peers) if peers.evicted() > 0)
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
            Answer::Echo(right) => match read_on(&mut self.stream, &self.message.bytes, *right) {
                Ok(so_far) => {
                    *right = so_far;
                    (so_far == self.message.bytes.len()).then_some(pass)
                }
                Err((failure, how)) => Some(failed(failure, format!("{}: {how}", self.target))),
            },
            Answer::Loop(peers) => peers.read(&self.message.bytes).then_some(pass),
        };
        outcome.or_else(|| (now >= self.deadline).then(|| self.out_of_time()))
    }

    /// Sends the rest of the message.
    fn send(&mut self) -> Result<(), Outcome> {
        if self.sent == 0 && !self.connected()? {
            return Ok(());
        }
        while let Some(rest) = self.message.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.sent = self.sent.saturating_add(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(Failure::Closed, format!("{}: {}", self.target, error_text(&error)))),
            }
        }
        Ok(())
    }

    /// Whether the connection has been made, and not with another user's process, which learns nothing of the message.
    fn connected(&self) -> Result<bool, Outcome> {
        if self.stream.peer_addr().is_ok() {
            let own = (!self.is_ours).then(|| self.stream.local_addr().ok()).flatten();
            return match own.and_then(|own| owner::stranger(own, self.target)) {
                None => Ok(true),
                Some(uid) => Err(failed(
                    Failure::Foreign,
                    format!("{}: a process of another user (uid {uid}) listens there in place of our ssh", self.target),
                )),
            };
        }
        match self.stream.take_error() {
            Ok(Some(error)) if error.kind() == ErrorKind::ConnectionRefused => Err(no_listener(self.target, &error)),
            Ok(Some(error)) => Err(failed(Failure::Closed, format!("{}: {}", self.target, error_text(&error)))),
            // It is still being made.
            Ok(None) | Err(_) => Ok(false),
        }
    }

    /// In a loop the answer does not come back on the sending connection, but its end matters.
    fn still_open(&mut self) -> Result<(), Outcome> {
        if self.sent == 0 || matches!(self.answer, Answer::Echo(_)) {
            return Ok(());
        }
        let mut scrap = [0; 512];
        for _ in 0..MAX_SCRAPS {
            match self.stream.read(&mut scrap) {
                Ok(0) => return Err(failed(Failure::Closed, format!("{}: connection closed", self.target))),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(Failure::Closed, format!("{}: {}", self.target, error_text(&error)))),
            }
        }
        Ok(())
    }

    fn out_of_time(&self) -> Outcome {
        let silent = |text| failed(Failure::Silent, text);
        match &self.answer {
            _ if self.sent == 0 => silent(format!("{}: timeout connecting", self.target)),
            Answer::Loop(peers) if peers.is_empty() => silent("timeout polling to accept read connection".into()),
            Answer::Loop(_) => silent("timeout polling to read the answer".into()),
            Answer::Echo(_) => silent(format!("{}: timeout polling to read the echo", self.target)),
        }
    }
}

fn no_listener(target: SocketAddr, error: &io::Error) -> Outcome {
    failed(Failure::NoListener, format!("{target}: {}", error_text(error)))
}

fn failed(failure: Failure, text: String) -> Outcome {
    Outcome::Failed(failure, text)
}
