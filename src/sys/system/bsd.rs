//! NetBSD and OpenBSD.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::Signal;
use nix::sys::socket::MsgFlags;
use nix::time::ClockId;

/// The clock that counts suspend as far as the system does.
pub const BOOT: ClockId = ClockId::CLOCK_MONOTONIC;
/// No clock is known to stop during suspend on both.
pub const AWAKE: ClockId = BOOT;
/// Lets no write to a closed socket raise SIGPIPE.
pub const NO_SIGPIPE: MsgFlags = MsgFlags::MSG_NOSIGNAL;
/// syslogd's socket.
pub const SYSLOG_SOCKET: &str = if cfg!(target_os = "netbsd") { "/var/run/log" } else { "/dev/log" };

/// Network changes: not read here.
#[derive(Debug)]
pub struct NetworkWatch(OwnedFd);

impl NetworkWatch {
    /// None.
    pub fn listen() -> Option<NetworkWatch> {
        None
    }

    /// None.
    pub fn has_changed(&self) -> bool {
        false
    }
}

impl AsFd for NetworkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// There is nothing of the kind: ssh outlives an autossh that is killed.
///
/// # Errors
/// None.
#[expect(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
pub fn die_with_parent(_signal: Signal) -> nix::Result<()> {
    Ok(())
}

/// There are no abstract sockets.
pub fn abstract_address(_name: &[u8]) -> Option<std::os::unix::net::SocketAddr> {
    None
}
