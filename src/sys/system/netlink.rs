//! rtnetlink(7): network changes that may restore connectivity (autossh(1), THE NETWORK).

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{self, AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType};

/// Links, addresses and routes.
const GROUPS: u32 = (libc::RTMGRP_LINK
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_ROUTE) as u32;
/// The size of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Offset of the type in `struct nlmsghdr`.
const KIND: usize = 4;
/// Offset of the scope in `struct ifaddrmsg`.
const ADDRESS_SCOPE: usize = 3;
/// Offset of the flags in `struct ifinfomsg`.
const LINK_FLAGS: usize = 8;
/// Offset of the type in `struct rtmsg`.
const ROUTE_TYPE: usize = 7;

/// A socket for changes of links, addresses and routes.
///
/// # Errors
/// The kernel does not permit it.
pub fn subscribe() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
    Ok(socket)
}

/// Whether one of these messages reports a link that is up, a non-local address, or a route.
pub fn may_restore(mut messages: &[u8]) -> bool {
    while let Some(length) = number(messages, 0).and_then(|length| usize::try_from(length).ok()) {
        if length < HEADER {
            return false;
        }
        let message = messages.get(..length).unwrap_or(messages);
        let body = message.get(HEADER..).unwrap_or_default();
        let byte = |place: usize| body.get(place).copied();
        let kind = message.get(KIND..).and_then(|bytes| bytes.first_chunk());
        let made = match kind.map(|kind| u16::from_ne_bytes(*kind)) {
            Some(libc::RTM_NEWLINK) => number(body, LINK_FLAGS).is_some_and(is_up),
            Some(libc::RTM_NEWADDR) => byte(ADDRESS_SCOPE).is_some_and(|scope| scope != libc::RT_SCOPE_HOST),
            Some(libc::RTM_NEWROUTE) => byte(ROUTE_TYPE) == Some(libc::RTN_UNICAST),
            _ => false,
        };
        if made {
            return true;
        }
        // Messages are aligned to four bytes.
        let next = length.checked_next_multiple_of(4);
        messages = next.and_then(|next| messages.get(next..)).unwrap_or_default();
    }
    false
}

/// Whether a link with these flags can reach other hosts.
fn is_up(flags: u32) -> bool {
    const WANTED: u32 = (libc::IFF_UP | libc::IFF_RUNNING) as u32;
    const LOOPBACK: u32 = libc::IFF_LOOPBACK as u32;
    flags & WANTED == WANTED && flags & LOOPBACK == 0
}

/// The 32-bit number at `place`.
fn number(bytes: &[u8], place: usize) -> Option<u32> {
    bytes.get(place..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests;
