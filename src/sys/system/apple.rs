//! macOS.

use nix::sys::signal::Signal;
use nix::sys::socket::MsgFlags;
use nix::time::ClockId;

use super::routing::Format;

/// The clock that counts suspend.
pub const BOOT: ClockId = ClockId::CLOCK_MONOTONIC;
/// The clock that stops during suspend.
pub const AWAKE: ClockId = ClockId::from_raw(libc::CLOCK_UPTIME_RAW);
/// There is no such flag. SIGPIPE is ignored anyway.
pub const NO_SIGPIPE: MsgFlags = MsgFlags::empty();
/// syslogd's socket.
pub const SYSLOG_SOCKET: &str = "/var/run/syslog";
/// The messages of routing sockets.
pub const ROUTING: Format = Format::APPLE;

const _: () = assert!(size_of::<libc::rt_msghdr>() == Format::APPLE.route_header);
const _: () = assert!(size_of::<libc::ifa_msghdr>() == Format::APPLE.address_header);
const _: () = assert!(libc::AF_INET6 == Format::APPLE.inet6 as i32);

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
