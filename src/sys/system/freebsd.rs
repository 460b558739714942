//! FreeBSD and DragonFly.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::MsgFlags;
use nix::time::ClockId;

use super::routing::Format;

/// The clock that counts suspend as far as the system does.
pub const BOOT: ClockId = ClockId::CLOCK_MONOTONIC;
/// The clock that stops during suspend.
pub const AWAKE: ClockId = ClockId::from_raw(libc::CLOCK_UPTIME);
/// Lets no write to a closed socket raise SIGPIPE.
pub const NO_SIGPIPE: MsgFlags = MsgFlags::MSG_NOSIGNAL;
/// syslogd's socket.
pub const SYSLOG_SOCKET: &str = "/var/run/log";
/// The messages of routing sockets.
pub const ROUTING: Format = Format::FREEBSD;

const _: () = assert!(libc::AF_INET6 == Format::FREEBSD.inet6 as i32);

/// Lets this process get `signal` when its parent dies. Async-signal-safe.
///
/// # Errors
/// It is refused.
#[expect(unsafe_code, reason = "nix has no procctl(2)")]
pub fn die_with_parent(signal: Signal) -> nix::Result<()> {
    let mut number = signal as libc::c_int;
    // SAFETY: the call reads one number, which lives longer than it; 0 is this process.
    let set = unsafe { libc::procctl(libc::P_PID, 0, libc::PROC_PDEATHSIG_CTL, (&raw mut number).cast()) };
    Errno::result(set).map(drop)
}

/// There are no abstract sockets.
pub fn abstract_address(_name: &[u8]) -> Option<std::os::unix::net::SocketAddr> {
    None
}
