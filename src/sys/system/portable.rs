//! What works on every system. Linux has better, and uses this only with `--cfg portable`.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use autossh_core::time::Time;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, bind};
use nix::time::ClockId;

#[cfg(not(target_os = "linux"))]
use super::Owner;
use super::own::BOOT;
use super::tcp_socket;

/// No alarm: the timeout of poll(2) takes its place.
#[derive(Debug)]
pub struct Timer(());

#[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "there are systems with an alarm")]
impl Timer {
    /// Nothing, and the clock to use.
    ///
    /// # Errors
    /// None.
    pub fn new() -> Result<(Timer, ClockId), Errno> {
        Ok((Timer(()), BOOT))
    }

    /// There is no descriptor to wait for.
    pub fn set(&mut self, _at: Option<Time>) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Waits as poll(2) does, with no signal blocked meanwhile. One that comes before poll(2) itself must wake it otherwise.
///
/// # Errors
/// As for poll(2).
pub fn poll_unblocked(fds: &mut [PollFd<'_>], timeout: PollTimeout) -> nix::Result<i32> {
    let blocked = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let ready = poll(fds, timeout);
    blocked.thread_set_mask()?;
    ready
}

/// A pipe with these flags that no child inherits: the end to read from, the end to write to. There is one thread, so
/// nothing is forked between the calls.
///
/// # Errors
/// As for pipe(2).
pub fn pipe(flags: OFlag) -> nix::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe()?;
    for end in [&read, &write] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        fcntl(end, FcntlArg::F_SETFL(flags))?;
    }
    Ok((read, write))
}

/// A socket that never blocks and that no child inherits.
///
/// # Errors
/// As for socket(2).
pub fn socket(family: AddressFamily, kind: SockType) -> nix::Result<OwnedFd> {
    let socket = socket::socket(family, kind, SockFlag::empty(), None)?;
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(socket)
}

/// Finds out whether an address is free. It cannot be kept for ssh: a socket that is bound there keeps ssh from binding,
/// whatever options both have.
///
/// # Errors
/// As for bind(2).
pub fn reserve(address: SocketAddr) -> nix::Result<Option<OwnedFd>> {
    let socket = tcp_socket(address)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(None)
}

/// Nothing here tells whose a socket is.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub struct SockDiag(());

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unused_self, reason = "there is a system that tells")]
impl SockDiag {
    /// Nothing.
    pub fn open() -> Option<SockDiag> {
        None
    }

    /// Not known.
    pub fn owner(&mut self, _local: SocketAddr, _remote: SocketAddr) -> Option<Owner> {
        None
    }

    /// Not known.
    pub fn listener(&mut self, _local: SocketAddr) -> Option<Owner> {
        None
    }
}

/// Fills `bytes`, at most 256 of them, with random bits. Returns whether that has worked.
#[expect(unsafe_code, reason = "nix has no getentropy(3)")]
pub fn random_bytes(bytes: &mut [u8]) -> bool {
    // SAFETY: the pointer and the length are those of `bytes`, and any bytes are a valid value of it.
    let failed = unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) };
    failed == 0
}

/// Lets this process leave no core file, whatever ends it.
pub fn no_core_file() {
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
}
