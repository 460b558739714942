//! sock_diag(7): asks the kernel about a single socket, which takes no longer however many there are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use super::Owner;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType};

/// The type of requests and replies alike (`SOCK_DIAG_BY_FAMILY`).
const BY_FAMILY: u16 = 20;
/// The size of `struct nlmsghdr` and `struct inet_diag_req_v2`.
const REQUEST: u32 = 72;
/// The state of a listener in `struct inet_diag_msg`.
const LISTEN: u8 = 10;
/// Maximum number of replies that are looked through for the right one.
const MAX_REPLIES: u32 = 8;

/// A socket to ask the kernel about sockets.
#[derive(Debug)]
pub struct SockDiag {
    socket: OwnedFd,
    /// The number of the last request.
    sequence: u32,
}

impl SockDiag {
    /// Opens it; nothing, where the kernel has no such thing or does not let us.
    pub fn open() -> Option<SockDiag> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkSockDiag;
        let socket = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).ok()?;
        Some(SockDiag { socket, sequence: 0 })
    }

    /// The owner of the socket that is bound to `local` and connected to `remote`.
    pub fn owner(&mut self, local: SocketAddr, remote: SocketAddr) -> Option<Owner> {
        self.ask(local, remote).and_then(|(owner, is_listener)| (!is_listener).then_some(owner))
    }

    /// The owner of the listener that takes connections to `local`.
    pub fn listener(&mut self, local: SocketAddr) -> Option<Owner> {
        let nowhere = if local.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        self.ask(local, SocketAddr::new(nowhere, 0)).and_then(|(owner, is_listener)| is_listener.then_some(owner))
    }

    /// The owner of the socket that gets what `remote` sends to `local`, and whether that is a listener.
    fn ask(&mut self, local: SocketAddr, remote: SocketAddr) -> Option<(Owner, bool)> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(self.sequence, local, remote);
        socket::send(self.socket.as_raw_fd(), &request, MsgFlags::empty()).ok()?;
        // The reply is there at once. A longer one is cut; what we look at is at its beginning.
        let mut buffer = [0; 256];
        for _ in 0..MAX_REPLIES {
            let count = socket::recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).ok()?;
            let reply = buffer.get(..count)?;
            if number(reply, 8) == Some(self.sequence) {
                return owner_in(reply);
            }
        }
        None
    }
}

/// A request for one socket.
fn request(sequence: u32, local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    const NLM_F_REQUEST: u16 = 1;
    const PORT_ID: u32 = 0;
    const EXTENSIONS: u8 = 0;
    const ANY_STATE: u32 = u32::MAX;
    const ANY_INTERFACE: u32 = 0;
    const NO_COOKIE: u64 = u64::MAX;
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => [&ip.octets()[..], &[0; 12]].concat(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    [
        &REQUEST.to_ne_bytes()[..],
        &BY_FAMILY.to_ne_bytes(),
        &NLM_F_REQUEST.to_ne_bytes(),
        &sequence.to_ne_bytes(),
        &PORT_ID.to_ne_bytes(),
        &[u8::try_from(family).unwrap_or_default(), u8::try_from(libc::IPPROTO_TCP).unwrap_or_default(), EXTENSIONS, 0],
        &ANY_STATE.to_ne_bytes(),
        &local.port().to_be_bytes(),
        &remote.port().to_be_bytes(),
        &address(local.ip()),
        &address(remote.ip()),
        &ANY_INTERFACE.to_ne_bytes(),
        &NO_COOKIE.to_ne_bytes(),
    ]
    .concat()
}

/// The owner in a reply, which begins with `struct nlmsghdr` and `struct inet_diag_msg`, and whether it is a listener:
/// without such a connection the kernel finds whoever listens on that port.
fn owner_in(reply: &[u8]) -> Option<(Owner, bool)> {
    let kind = u16::from_ne_bytes(reply.get(4..6)?.try_into().ok()?);
    let is_listener = *reply.get(17)? == LISTEN;
    let owner = Owner { uid: number(reply, 80)?, inode: number(reply, 84)? };
    (kind == BY_FAMILY).then_some((owner, is_listener))
}

/// The number at this place of a message.
fn number(message: &[u8], from: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(message.get(from..from.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
