//! The connections of which one may bring the answer. Anybody on this machine can make them: only the right bytes count, and
//! other connections have no effect.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{self, sockopt};

use crate::monitor::owner::Judge;
use autossh_core::event::Failure;

/// Maximum number of connections that are held. At a round trip of 100 ms, 2,500 strangers a second cannot displace ours.
const MAX_PEERS: usize = 256;

/// The connections that are held for one test.
#[derive(Debug)]
pub struct Peers {
    /// The oldest first.
    held: Vec<Peer>,
    room: usize,
    /// Number of bytes of the answer that a stranger may bring too.
    guessable: usize,
    evicted: u32,
    /// Needed only in a crowd.
    judge: Option<Judge>,
}

/// A connection that may bring the answer.
#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    /// Number of bytes of the answer that have arrived.
    right: usize,
    /// Not known until there is a crowd.
    is_stranger: Option<bool>,
}

impl Peers {
    /// Holds none yet. More than `guessable` bytes of the answer show whose connection it is.
    pub fn new(guessable: usize) -> Peers {
        Peers { held: Vec::new(), room: MAX_PEERS, guessable, evicted: 0, judge: None }
    }

    /// Number of connections that might have brought the answer and were closed for want of room.
    pub fn evicted(&self) -> u32 {
        self.evicted
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What to wait for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.held.iter().map(|peer| peer.stream.as_fd())
    }

    /// Takes a connection that our listener has accepted, unless it has closed already or brings anything but `message`.
    pub fn push(&mut self, mut stream: TcpStream, message: &[u8]) {
        match read_on(&mut stream, message, 0) {
            Ok(right) => self.held.push(Peer { stream, right, is_stranger: None }),
            Err(_) => reset(&stream),
        }
        if self.held.len() > self.room {
            self.evict();
        }
    }

    /// Makes room when descriptors have run out, and returns whether that was possible.
    pub fn shrink(&mut self) -> bool {
        let half = self.held.len() / 2;
        if half == 0 {
            return false;
        }
        self.room = half;
        while self.held.len() > half {
            self.evict();
        }
        true
    }

    /// Closes the oldest of the strangers, or of those that may be. Ours brings the answer within a round trip: by then it
    /// is not the oldest, unless as many others of our own user have come as there is room for.
    fn evict(&mut self) {
        let judge = self.judge.get_or_insert_with(Judge::new);
        for peer in self.held.iter_mut().filter(|peer| peer.right <= self.guessable) {
            peer.is_stranger.get_or_insert_with(|| judge.is_stranger(&peer.stream));
        }
        let stranger = self.held.iter().position(|peer| peer.is_stranger == Some(true) && peer.right <= self.guessable);
        let oldest = || self.held.iter().position(|peer| peer.right <= self.guessable);
        let victim = stranger.or_else(oldest).unwrap_or_default();
        reset(&self.held.remove(victim).stream);
        self.evicted = self.evicted.saturating_add(1);
    }

    /// Reads what has come, and drops whoever has closed or brings anything but `message`. Returns whether one has brought
    /// all of it.
    pub fn read(&mut self, message: &[u8]) -> bool {
        self.held.retain_mut(|peer| {
            let progress = read_on(&mut peer.stream, message, peer.right);
            match progress {
                Ok(right) => peer.right = right,
                Err(_) => reset(&peer.stream),
            }
            progress.is_ok()
        });
        self.held.iter().any(|peer| peer.right == message.len())
    }
}

/// Makes a stranger's connection end at once when it is closed. Nothing is left of it then at either end: one that waited for
/// the stranger to close it too would keep a port of this machine that ssh may need.
pub fn reset(stream: &TcpStream) {
    let _ = socket::setsockopt(stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
}

/// Continues to read an answer that must equal `message`, of which `right` bytes have arrived, and returns how many have now.
///
/// # Errors
/// It is not the answer.
pub fn read_on(stream: &mut impl Read, message: &[u8], mut right: usize) -> Result<usize, (Failure, &'static str)> {
    let mut buffer = [0; 512];
    while let Some(wanted) = message.get(right..).filter(|wanted| !wanted.is_empty()) {
        // No more than that: whether what follows comes with it is chance.
        let most = wanted.len().min(buffer.len());
        match stream.read(buffer.get_mut(..most).unwrap_or_default()) {
            Ok(0) => return Err((Failure::Closed, "connection closed")),
            Ok(count) => {
                let got = buffer.get(..count).unwrap_or_default();
                if !wanted.starts_with(got) {
                    return Err((Failure::Garbled, "not what was sent"));
                }
                right = right.saturating_add(count);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err((Failure::Closed, "connection lost")),
        }
    }
    Ok(right)
}

#[cfg(test)]
mod tests;
