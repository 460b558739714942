//! A routing socket, which the kernel tells of network changes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::net::if_::if_indextoname;
use nix::sys::socket::{AddressFamily, MsgFlags, SockType, recv};

use super::own::ROUTING;
use super::routing::may_restore_connectivity;
use super::socket;

/// A socket that receives network changes from the kernel.
#[derive(Debug)]
pub struct NetworkWatch(OwnedFd);

impl NetworkWatch {
    /// Begins to listen; `None` if the kernel does not permit it.
    pub fn listen() -> Option<NetworkWatch> {
        socket(AddressFamily::Route, SockType::Raw).ok().map(NetworkWatch)
    }

    /// Reads all pending messages. Returns whether one of them may restore connectivity.
    pub fn has_changed(&self) -> bool {
        let name_of = |index: u16| if_indextoname(index.into()).ok().map(std::ffi::CString::into_bytes);
        let mut buffer = [0; 2048];
        let mut changed = false;
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return changed,
                Ok(count) => {
                    let messages = buffer.get(..count).unwrap_or_default();
                    changed |= may_restore_connectivity(messages, ROUTING, name_of);
                }
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
