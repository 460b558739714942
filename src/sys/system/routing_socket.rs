//! A routing socket, which the kernel tells of network changes.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use nix::net::if_::if_indextoname;
use nix::sys::socket::{AddressFamily, SockType};

use super::own::ROUTING;
use super::{routing, socket};

/// A socket for all changes.
///
/// # Errors
/// The kernel does not permit it.
pub fn subscribe() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Route, SockType::Raw)
}

/// Whether one of these messages may restore connectivity.
pub fn may_restore(messages: &[u8]) -> bool {
    let name_of = |index: u16| if_indextoname(index.into()).ok().map(CString::into_bytes);
    routing::may_restore_connectivity(messages, ROUTING, name_of)
}
