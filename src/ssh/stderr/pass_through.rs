//! Our own stderr as the place where ssh's goes, without loss and without blocking.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::fd::{nonblocking_twin, write_some};

/// ssh is held back while this many bytes are waiting.
const FULL: usize = 16 * 1024;
/// Maximum number of waiting bytes: what several ssh have left behind, each at most a pipe full. Beyond it they are lost.
const MAX_WAITING: usize = 256 * 1024;
/// How long [`PassThrough::flush`] waits for a stderr that takes nothing, in milliseconds.
const FLUSH_TIME: u8 = 200;
/// Maximum number of writes of [`PassThrough::flush`].
const MAX_FLUSHES: usize = 256;

/// Our stderr, and the bytes that it has not taken yet.
#[derive(Debug)]
pub struct PassThrough {
    stderr: OwnedFd,
    waiting: Vec<u8>,
}

impl PassThrough {
    /// Passes on to `stderr`, which other processes may share.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn new(stderr: BorrowedFd<'_>) -> io::Result<PassThrough> {
        let stderr = nonblocking_twin(stderr).or_else(|_| stderr.try_clone_to_owned())?;
        Ok(PassThrough { stderr, waiting: Vec::new() })
    }

    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < FULL
    }

    /// Whether bytes are waiting for our stderr to take them.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Passes `bytes` on, or keeps what stderr does not take now.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = MAX_WAITING.saturating_sub(self.waiting.len());
        self.waiting.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.write();
    }

    /// Writes what is waiting, as far as stderr takes it.
    pub fn write(&mut self) {
        while !self.waiting.is_empty() {
            match write_some(self.as_fd(), &self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count.min(self.waiting.len()))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Nobody reads it any more, or the disk is full: ssh must not suffer.
                Err(_) => self.waiting = Vec::new(),
            }
        }
        // An outage of stderr should not cost memory for years.
        self.waiting.shrink_to(0);
    }

    /// Waits a short time for stderr to take what is waiting, before autossh exits.
    pub fn flush(&mut self) {
        for _ in 0..MAX_FLUSHES {
            self.write();
            let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLOUT)];
            if self.waiting.is_empty() || !poll(&mut fds, PollTimeout::from(FLUSH_TIME)).is_ok_and(|ready| ready > 0) {
                return;
            }
        }
    }
}

impl AsFd for PassThrough {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stderr.as_fd()
    }
}

#[cfg(test)]
mod tests;
