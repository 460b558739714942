//! Linux. What it shares with [`super::portable`] is better here.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::time::Duration;

use autossh_core::time::Time;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollTimeout, ppoll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::pipe2;

use super::tcp_socket;

/// The clock that counts suspend.
pub const BOOT: ClockId = ClockId::CLOCK_BOOTTIME;
/// The clock that stops during suspend.
pub const AWAKE: ClockId = ClockId::CLOCK_MONOTONIC;
/// Lets no write to a closed socket raise SIGPIPE.
pub const NO_SIGPIPE: MsgFlags = MsgFlags::MSG_NOSIGNAL;
/// syslogd's socket.
pub const SYSLOG_SOCKET: &str = "/dev/log";

/// The alarm: a timer of the kernel's, which also goes off after a suspend.
#[derive(Debug)]
pub struct Timer(TimerFd);

impl Timer {
    /// A timer, and the clock that it runs by.
    ///
    /// # Errors
    /// No timer can be made.
    pub fn new() -> Result<(Timer, ClockId), Errno> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        match TimerFd::new(timerfd::ClockId::CLOCK_BOOTTIME, flags) {
            Ok(timer) => Ok((Timer(timer), BOOT)),
            Err(Errno::EMFILE) => Err(Errno::EMFILE),
            // An old kernel has no timers for that clock.
            Err(_) => Ok((Timer(TimerFd::new(timerfd::ClockId::CLOCK_MONOTONIC, flags)?), AWAKE)),
        }
    }

    /// Makes a descriptor readable from `at` on, or never. Clears an expiry that has not been read. Returns the
    /// descriptor, unless the kernel refuses.
    pub fn set(&mut self, at: Option<Time>) -> Option<BorrowedFd<'_>> {
        let set = match at {
            // Zero would disable the timer.
            Some(at) => self.0.set(
                Expiration::OneShot(TimeSpec::from(at.max(Time::from_nanos(1)))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            ),
            None => self.0.unset(),
        };
        set.is_ok().then(|| self.0.as_fd())
    }
}

/// Waits as poll(2) does, with no signal blocked meanwhile.
///
/// # Errors
/// As for ppoll(2).
pub fn poll_unblocked(fds: &mut [PollFd<'_>], timeout: PollTimeout) -> nix::Result<i32> {
    // Negative is without limit.
    let timeout = u64::try_from(i32::from(timeout)).ok().map(Duration::from_millis);
    ppoll(fds, timeout.map(TimeSpec::from), Some(SigSet::empty()))
}

/// A pipe with these flags that no child inherits: the end to read from, the end to write to.
///
/// # Errors
/// As for pipe2(2).
pub fn pipe(flags: OFlag) -> nix::Result<(OwnedFd, OwnedFd)> {
    pipe2(OFlag::O_CLOEXEC | flags)
}

/// A socket that never blocks and that no child inherits.
///
/// # Errors
/// As for socket(2).
pub fn socket(family: AddressFamily, kind: SockType) -> nix::Result<OwnedFd> {
    socket::socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

/// Binds a free address so that it is taken for another autossh, but not for ssh, which sets SO_REUSEADDR.
///
/// # Errors
/// As for bind(2).
pub fn reserve(address: SocketAddr) -> nix::Result<Option<OwnedFd>> {
    let socket = tcp_socket(address)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    // Only after binding: set before, two autossh could bind the same port.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    Ok(Some(socket))
}

/// Fills `bytes` with random bits. Returns whether the kernel has some already.
#[expect(unsafe_code, reason = "nix has no getrandom(2)")]
pub fn random_bytes(bytes: &mut [u8]) -> bool {
    // SAFETY: the pointer and the length are those of `bytes`, and any bytes are a valid value of it.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    usize::try_from(count) == Ok(bytes.len())
}

/// Lets this process leave no core file, whatever ends it.
pub fn no_core_file() {
    let _ = prctl::set_dumpable(false);
}

/// Lets this process get `signal` when its parent dies. Async-signal-safe.
///
/// # Errors
/// It is refused, by seccomp(2) for example.
pub fn die_with_parent(signal: Signal) -> nix::Result<()> {
    prctl::set_pdeathsig(signal)
}

/// The address of an abstract socket.
pub fn abstract_address(name: &[u8]) -> Option<std::os::unix::net::SocketAddr> {
    std::os::unix::net::SocketAddr::from_abstract_name(name).ok()
}
