//! Whose process is at the other end of a connection on this machine, as far as the kernel shows it.
//!
//! Our ports are no secret: they are among ssh's arguments. Another user's process can listen on ours before ssh does, and
//! connect to our listener as well as ssh can.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use nix::unistd::{Uid, geteuid, getpid, getuid};

use crate::ssh::connection::family;
use crate::sys::system::{Owner, SockDiag};
use crate::sys::tables::{self, Tcp, TcpState};

/// At most this much of a table is read.
const MAX_TABLE: u64 = 1 << 24;

/// The user whose process takes our connection from `own` to `target`, unless it can be our ssh's or is not shown.
pub fn stranger(own: SocketAddr, target: SocketAddr) -> Option<u32> {
    let uid = owner(own, target)?;
    // Our own is by far the likeliest; the others' take several reads of /proc.
    let is_ours = [geteuid(), getuid()].contains(&Uid::from_raw(uid));
    (!is_ours && !trusted_uids().contains(&uid)).then_some(uid)
}

/// Tells strangers' connections to our listener from those that may be ssh's.
#[derive(Debug)]
pub struct Judge {
    trusted: Vec<u32>,
    sockets: Option<SockDiag>,
}

impl Judge {
    /// Gets what it needs.
    pub fn new() -> Judge {
        Judge { trusted: trusted_uids(), sockets: SockDiag::open() }
    }

    /// Whether the other end of this connection is known to be another user's, or nobody's any more.
    pub fn is_stranger(&mut self, stream: &TcpStream) -> bool {
        self.other_end(stream).is_some_and(|other| other.inode == 0 || !self.trusted.contains(&other.uid))
    }

    fn other_end(&mut self, stream: &TcpStream) -> Option<Owner> {
        let (here, there) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
        self.sockets.as_mut()?.owner(there, here)
    }
}

/// The users that a process runs as, and those that it can become again.
fn uids_of(pid: impl Display) -> Vec<u32> {
    uids(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
}

/// The users that ssh may run as: root, our own, and whoever AUTOSSH_PATH runs it as.
fn trusted_uids() -> Vec<u32> {
    [0].into_iter().chain(family(Path::new("/proc"), getpid().as_raw()).into_iter().flat_map(uids_of)).collect()
}

/// The user of the process that takes our connection.
fn owner(own: SocketAddr, target: SocketAddr) -> Option<u32> {
    SockDiag::open().and_then(|sockets| owner_by(sockets, own, target)).or_else(|| owner_by_table(own, target))
}

/// The same, asked about the two sockets alone: a large machine's table takes the kernel milliseconds to print.
fn owner_by(mut sockets: SockDiag, own: SocketAddr, target: SocketAddr) -> Option<u32> {
    // Until it is accepted the connection has no inode, and no user of its own.
    let accepted = sockets.owner(target, own).filter(|owner| owner.inode != 0);
    accepted.or_else(|| sockets.listener(target)).map(|owner| owner.uid)
}

fn owner_by_table(own: SocketAddr, target: SocketAddr) -> Option<u32> {
    // A listener for IPv6 may take IPv4 too.
    let tables: &[&str] = if target.is_ipv4() { &["/proc/net/tcp", "/proc/net/tcp6"] } else { &["/proc/net/tcp6"] };
    tables.iter().find_map(|table| {
        let table = BufReader::new(File::open(table).ok()?.take(MAX_TABLE));
        let lines = table.split(b'\n').map_while(Result::ok);
        owner_in(lines.filter_map(|line| tables::tcp_line(&String::from_utf8_lossy(&line))), own, target)
    })
}

/// The user of the process that takes a connection from `own` to `target`, by the sockets of one table.
fn owner_in(sockets: impl Iterator<Item = Tcp>, own: SocketAddr, target: SocketAddr) -> Option<u32> {
    let mut best: Option<(Fit, u32)> = None;
    for socket in sockets {
        if socket.state == TcpState::Listening {
            match fit(socket.local, target) {
                // Nothing that follows fits better, and very much can follow.
                Some(Fit::Exact) => return Some(socket.uid),
                fit => best = best.max(fit.map(|fit| (fit, socket.uid))),
            }
        } else if best.is_some() {
            // The listeners come first.
            break;
        } else if socket.inode != 0 && (socket.local, socket.peer) == (target, own) {
            // The listener is gone, but this is the connection that it took. Before that it had no inode, nor a user.
            return Some(socket.uid);
        }
    }
    best.map(|(_, uid)| uid)
}

/// How well a listener's address fits that of a connection. The kernel takes the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    AnyOfBothFamilies,
    Any,
    Exact,
}

fn fit(listener: SocketAddr, target: SocketAddr) -> Option<Fit> {
    if listener.port() != target.port() {
        None
    } else if listener.ip() == target.ip() {
        Some(Fit::Exact)
    } else if !listener.ip().is_unspecified() {
        None
    } else if listener.is_ipv4() == target.is_ipv4() {
        Some(Fit::Any)
    } else {
        listener.is_ipv6().then_some(Fit::AnyOfBothFamilies)
    }
}

/// The real, effective and other users of a process, by its /proc/PID/status.
fn uids(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.into_iter().flat_map(str::split_ascii_whitespace).filter_map(|uid| uid.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
