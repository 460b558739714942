//! route(4): the messages of routing sockets, and which of them may restore connectivity (autossh(1), THE NETWORK).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ADD: u8 = 0x1;
const NEW_ADDRESS: u8 = 0xc;
const INTERFACE: u8 = 0xe;

/// A route to one host: such routes come and go with every connection.
const ROUTE_TO_HOST: u32 = 0x4;
const UP: u32 = 0x1;
const LOOPBACK: u32 = 0x8;
const RUNNING: u32 = 0x40;

/// The bit and the place of an address in a message: a route's destination, an interface's own address.
const DESTINATION: u32 = 0;
const OWN: u32 = 5;
const INET: u8 = 2;

/// Interfaces between devices that are near each other, which come up and go down all the time: AirDrop and its kin.
const NEARBY: [&[u8]; 2] = [b"awdl", b"llw"];

/// How a system lays its messages out.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// The size of `struct rt_msghdr`.
    pub route_header: usize,
    /// The size of `struct ifa_msghdr`.
    pub address_header: usize,
    /// Addresses are aligned to this.
    pub unit: usize,
    /// AF_INET6.
    pub inet6: u8,
}

#[cfg_attr(not(test), allow(dead_code, reason = "each system has one of them"))]
impl Format {
    /// macOS.
    pub const APPLE: Format = Format { route_header: 92, address_header: 20, unit: 4, inet6: 30 };
    /// FreeBSD and DragonFly.
    pub const FREEBSD: Format = Format {
        route_header: 32 + 15 * size_of::<libc::c_ulong>(),
        address_header: 20,
        unit: size_of::<libc::c_long>(),
        inet6: 28,
    };
}

/// Whether one of these messages reports an interface that is up, an address that others can reach, or a route to a
/// network. `name_of` knows the names of interfaces by their index.
pub fn may_restore_connectivity(mut messages: &[u8], format: Format, name_of: impl Fn(u16) -> Option<Vec<u8>>) -> bool {
    // A message that was cut before it names the interface proves nothing.
    let is_nearby = |interface: Option<u16>| {
        let name = interface.map(|interface| name_of(interface).unwrap_or_default());
        name.is_none_or(|name| NEARBY.iter().any(|prefix| name.starts_with(prefix)))
    };
    while let Some(length) = short(messages, 0).map(usize::from).filter(|length| *length > 3) {
        let message = messages.get(..length).unwrap_or(messages);
        let reaches = |place, header| {
            let address = address(message, header, place, format);
            address.is_some_and(is_beyond_the_link)
        };
        let restores = match message.get(3) {
            Some(&INTERFACE) => {
                let flags = long(message, 8).unwrap_or_default();
                flags & (UP | RUNNING | LOOPBACK) == UP | RUNNING && !is_nearby(short(message, 12))
            }
            Some(&NEW_ADDRESS) => reaches((4, OWN), format.address_header) && !is_nearby(short(message, 12)),
            Some(&ADD) => {
                let to_host = long(message, 8).unwrap_or_default() & ROUTE_TO_HOST != 0;
                !to_host && reaches((12, DESTINATION), format.route_header) && !is_nearby(short(message, 4))
            }
            _ => false,
        };
        if restores {
            return true;
        }
        messages = messages.get(length..).unwrap_or_default();
    }
    false
}

/// Whether an address, or a network that begins with it, is neither this host's alone nor a link's.
fn is_beyond_the_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_multicast()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_multicast()),
    }
}

/// One of the addresses that follow the header. `(mask, bit)` is where the header says which of them are there, and the
/// bit of the wanted one.
fn address(message: &[u8], header: usize, (mask, bit): (usize, u32), format: Format) -> Option<IpAddr> {
    let present = long(message, mask)?;
    if present >> bit & 1 == 0 {
        return None;
    }
    let mut rest = message.get(header..)?;
    for earlier in 0..bit {
        if present >> earlier & 1 == 1 {
            // An empty one takes a unit.
            let length = usize::from(*rest.first()?).max(1).next_multiple_of(format.unit);
            rest = rest.get(length..)?;
        }
    }
    match rest.get(1)? {
        &INET => rest.get(4..)?.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes).into()),
        family if *family == format.inet6 => {
            rest.get(8..)?.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes).into())
        }
        _ => None,
    }
}

/// The 16-bit number at `place`.
fn short(bytes: &[u8], place: usize) -> Option<u16> {
    bytes.get(place..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// The 32-bit number at `place`.
fn long(bytes: &[u8], place: usize) -> Option<u32> {
    bytes.get(place..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests;
