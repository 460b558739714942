use super::*;

/// A netlink message of this kind with this body.
fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn link(kind: u16, flags: i32) -> Vec<u8> {
    let mut body = vec![0; 16];
    body[LINK_FLAGS..LINK_FLAGS + 4].copy_from_slice(&flags.to_ne_bytes());
    message(kind, &body)
}

fn address(kind: u16, scope: u8) -> Vec<u8> {
    message(kind, &[2, 24, 0, scope, 1, 0, 0, 0])
}

fn route(kind: u16, route_type: u8) -> Vec<u8> {
    message(kind, &[2, 0, 0, 0, 254, 3, 0, route_type, 0, 0, 0, 0])
}

const UP: i32 = libc::IFF_UP | libc::IFF_RUNNING;

#[test]
fn what_may_restore_connectivity_and_what_cannot() {
    for (bytes, expected) in [
        (link(libc::RTM_NEWLINK, UP), true),
        (link(libc::RTM_NEWLINK, libc::IFF_UP), false),
        (link(libc::RTM_NEWLINK, 0), false),
        (link(libc::RTM_NEWLINK, UP | libc::IFF_LOOPBACK), false),
        (link(libc::RTM_DELLINK, UP), false),
        (address(libc::RTM_NEWADDR, libc::RT_SCOPE_UNIVERSE), true),
        (address(libc::RTM_NEWADDR, libc::RT_SCOPE_LINK), true),
        (address(libc::RTM_NEWADDR, libc::RT_SCOPE_HOST), false),
        (address(libc::RTM_DELADDR, libc::RT_SCOPE_UNIVERSE), false),
        (route(libc::RTM_NEWROUTE, libc::RTN_UNICAST), true),
        (route(libc::RTM_NEWROUTE, libc::RTN_UNREACHABLE), false),
        (route(libc::RTM_DELROUTE, libc::RTN_UNICAST), false),
        (message(libc::RTM_NEWNEIGH, &[0; 12]), false),
        ([address(libc::RTM_DELADDR, 0), route(libc::RTM_NEWROUTE, libc::RTN_UNICAST)].concat(), true),
        ([address(libc::RTM_DELADDR, 0), route(libc::RTM_DELROUTE, libc::RTN_UNICAST)].concat(), false),
    ] {
        assert_eq!(may_restore_connectivity(&bytes), expected, "{bytes:?}");
    }
}

#[test]
fn of_a_message_that_was_cut_the_beginning_counts() {
    for (flags, expected) in [(UP, true), (0, false)] {
        let mut long = link(libc::RTM_NEWLINK, flags);
        long[..4].copy_from_slice(&100_000_u32.to_ne_bytes());
        assert_eq!(may_restore_connectivity(&long), expected);
    }
}

#[test]
fn no_bytes_whatever_are_a_danger() {
    let whole = [link(libc::RTM_NEWLINK, 0), address(libc::RTM_NEWADDR, 254), route(libc::RTM_NEWROUTE, 0)].concat();
    for end in 0..whole.len() {
        may_restore_connectivity(&whole[..end]);
    }
    for length in [0_u32, 1, 15, 16, 17, 1000, u32::MAX] {
        let mut bytes = whole.clone();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        may_restore_connectivity(&bytes);
    }
}
