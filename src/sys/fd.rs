//! Writing that never blocks, to descriptors that other processes share.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc::PIPE_BUF;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{isatty, write};

use crate::sys::system::NO_SIGPIPE;

/// Opens the pipe, FIFO or terminal behind `descriptor` again for writing, with O_NONBLOCK. Setting that on the descriptor
/// itself would set it for everybody who shares it. Regular files are not opened again: their offset is shared too.
///
/// # Errors
/// It is something else, or may not be opened.
pub fn nonblocking_twin(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let file = fstat(descriptor)?;
    let is_pipe = file.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFIFO.bits();
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    // The master of a pseudo-terminal would open as that of a new one.
    let is_master = || fs::read_link(&path).is_ok_and(|target| target.ends_with("ptmx"));
    if !is_pipe && (!isatty(descriptor).unwrap_or_default() || is_master()) {
        return Err(Errno::EINVAL.into());
    }
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let twin = open(path.as_str(), flags, Mode::empty())?;
    let same = fstat(&twin).is_ok_and(|twin| (twin.st_dev, twin.st_ino) == (file.st_dev, file.st_ino));
    // Unless /proc is not what it should be.
    if same { Ok(twin) } else { Err(Errno::EINVAL.into()) }
}

/// Writes as much of `bytes` as possible without blocking, and returns how many were written: at least one.
///
/// # Errors
/// As for write(2); `WouldBlock` if nothing could be written.
pub fn write_some(descriptor: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match try_to_write(descriptor, bytes) {
            Err(Errno::EINTR) => {}
            Ok(0) => return Err(ErrorKind::WouldBlock.into()),
            written => return Ok(written?),
        }
    }
}

/// Whether a write could block that poll(2) has said nothing about.
fn may_block(descriptor: BorrowedFd<'_>) -> bool {
    let flags = fcntl(descriptor, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    let is_regular = |file: FileStat| file.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
    !flags.is_ok_and(|flags| flags.contains(OFlag::O_NONBLOCK)) && !fstat(descriptor).is_ok_and(is_regular)
}

fn try_to_write(descriptor: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<usize> {
    match send(descriptor.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | NO_SIGPIPE) {
        // Not a socket. If it could not be opened again, it takes PIPE_BUF bytes once poll(2) reports it as writable.
        Err(Errno::ENOTSOCK) => {
            let mut fds = [PollFd::new(descriptor, PollFlags::POLLOUT)];
            match poll(&mut fds, PollTimeout::ZERO) {
                Ok(0) => return Err(Errno::EAGAIN),
                Err(errno) if errno == Errno::EINTR || may_block(descriptor) => return Err(errno),
                Ok(_) | Err(_) => {}
            }
            write(descriptor, bytes.get(..PIPE_BUF).unwrap_or(bytes))
        }
        sent => sent,
    }
}

#[cfg(test)]
mod tests;
