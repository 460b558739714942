//! What systems offer in different ways, and which way each of them gets. Only here is one system told from another.
//!
//! | | Linux | macOS | FreeBSD, DragonFly | other BSDs |
//! |---|---|---|---|---|
//! | alarm | timerfd | poll(2)'s timeout | as macOS | as macOS |
//! | signals while waiting | ppoll(2) | poll(2), and a byte in a pipe | as macOS | as macOS |
//! | network changes | rtnetlink | routing socket | routing socket | none |
//! | whose connection it is | sock_diag | none | none | none |
//! | ssh when autossh is killed | prctl(2) | none | procctl(2) | none |
//!
//! `--cfg portable` gives Linux what [`portable`] has in place of its own, so that the tests try that.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, Backlog, SockType};

#[cfg(target_os = "linux")]
#[cfg_attr(portable, allow(dead_code, reason = "`portable` takes the place of some of it"))]
mod linux;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
use linux as own;
#[cfg(target_os = "linux")]
use netlink as changes;
#[cfg(target_os = "linux")]
mod sock_diag;
#[cfg(not(target_os = "linux"))]
pub use portable::SockDiag;
#[cfg(target_os = "linux")]
pub use sock_diag::SockDiag;

#[cfg(target_vendor = "apple")]
mod apple;
#[cfg(target_vendor = "apple")]
use apple as own;

#[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
mod freebsd;
#[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
use freebsd as own;

#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
mod bsd;
#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
use bsd as own;
#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
pub use bsd::NetworkWatch;

/// The messages of routing sockets, read wherever the tests run.
#[cfg(any(test, target_vendor = "apple", target_os = "freebsd", target_os = "dragonfly"))]
mod routing;
#[cfg(any(target_vendor = "apple", target_os = "freebsd", target_os = "dragonfly"))]
mod routing_socket;
#[cfg(any(target_vendor = "apple", target_os = "freebsd", target_os = "dragonfly"))]
use routing_socket as changes;

#[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
mod network_watch;
#[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
pub use network_watch::NetworkWatch;

#[cfg(any(portable, not(target_os = "linux")))]
mod portable;
#[cfg(not(any(portable, not(target_os = "linux"))))]
use linux as common;
#[cfg(any(portable, not(target_os = "linux")))]
use portable as common;

pub use common::{Timer, no_core_file, pipe, poll_unblocked, random_bytes, reserve, socket};
pub use own::{AWAKE, NO_SIGPIPE, SYSLOG_SOCKET, abstract_address, die_with_parent};

/// Who has a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user of the process that made it.
    pub uid: u32,
    /// 0 if no process has it yet, or any more.
    pub inode: u32,
}

/// As many connections waiting to be accepted as the system allows.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
pub const BACKLOG: Backlog = Backlog::MAXALLOWABLE;
/// As many connections waiting to be accepted as the system names.
#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
pub const BACKLOG: Backlog = Backlog::MAXCONN;

/// A TCP socket for this address that never blocks and that no child inherits.
///
/// # Errors
/// As for socket(2).
pub fn tcp_socket(address: SocketAddr) -> nix::Result<OwnedFd> {
    socket(if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet }, SockType::Stream)
}
