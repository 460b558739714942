//! Writing lines without blocking, to descriptors that other processes may share.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::stat::{FileStat, fstat};

use crate::sys::fd::{nonblocking_twin, write_some};

/// A descriptor that lines are written to without blocking and without mixing them.
#[derive(Debug)]
pub struct Outlet {
    descriptor: OwnedFd,
    /// The end of a line that was written in part. It goes before the next one.
    rest: Vec<u8>,
}

impl Outlet {
    /// Writes to `descriptor`.
    pub fn new(descriptor: OwnedFd) -> Outlet {
        Outlet { descriptor, rest: Vec::new() }
    }

    /// Writes to the descriptor with this number, which was inherited and may be shared.
    ///
    /// # Errors
    /// No such descriptor was inherited.
    pub fn given(number: RawFd) -> io::Result<Outlet> {
        let descriptor = duplicate(number)?;
        Ok(Outlet::new(nonblocking_twin(descriptor.as_fd()).unwrap_or(descriptor)))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// It cannot be written; `WouldBlock` if that would block.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.flush()?;
        self.rest.extend_from_slice(line);
        match self.flush() {
            Err(error) if self.rest.len() == line.len() => {
                self.rest.clear();
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.rest.is_empty() {
            let count = write_some(self.descriptor.as_fd(), &self.rest)?;
            self.rest.drain(..count.min(self.rest.len()));
        }
        Ok(())
    }
}

impl AsFd for Outlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Writes a line to a descriptor that may be shared. What does not fit is lost.
///
/// # Errors
/// As for [`Outlet::write`].
pub fn write_once(descriptor: BorrowedFd<'_>, line: &[u8]) -> io::Result<()> {
    let twin = nonblocking_twin(descriptor);
    write_some(twin.as_ref().map_or(descriptor, AsFd::as_fd), line).map(drop)
}

/// Whether both are the same file, pipe, socket or terminal.
pub fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    fstat(one).is_ok_and(|one| fstat(other).is_ok_and(|other| identity(&one) == identity(&other)))
}

/// A file's device and inode, which identify it.
pub fn identity(file: &FileStat) -> (libc::dev_t, libc::ino_t) {
    (file.st_dev, file.st_ino)
}

#[expect(unsafe_code, reason = "the user gives us the number of a descriptor, which only the system knows about")]
fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: not -1; the borrow ends with this function, and fcntl(2) says so when there is no such descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    // Our own are closed on exec; inherited ones cannot be.
    if FdFlag::from_bits_retain(fcntl(borrowed, FcntlArg::F_GETFD)?).contains(FdFlag::FD_CLOEXEC) {
        return Err(Errno::EBADF.into());
    }
    let number = fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: the descriptor is new, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests;
