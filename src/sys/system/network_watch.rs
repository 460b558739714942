//! A socket that receives network changes from the kernel.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use super::changes;

/// Notices network changes.
#[derive(Debug)]
pub struct NetworkWatch(OwnedFd);

impl NetworkWatch {
    /// Begins to listen; `None` if the kernel does not permit it, as in some containers.
    pub fn listen() -> Option<NetworkWatch> {
        changes::subscribe().ok().map(NetworkWatch)
    }

    /// Reads all pending messages. Returns whether one of them may restore connectivity.
    pub fn has_changed(&self) -> bool {
        // A longer message is cut; what we look at is at its beginning.
        let mut buffer = [0; 2048];
        let mut changed = false;
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return changed,
                Ok(count) => changed |= changes::may_restore(buffer.get(..count).unwrap_or_default()),
                // Messages were lost because the socket buffer was full.
                Err(Errno::ENOBUFS) => changed = true,
                Err(Errno::EINTR) => {}
                Err(_) => return changed,
            }
        }
    }
}

impl AsFd for NetworkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
