use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::cases::cases;

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
fn what_may_restore_and_what_cannot() {
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
        assert_eq!(may_restore(&bytes), expected, "{bytes:?}");
    }
}

#[test]
fn of_a_message_that_was_cut_the_beginning_counts() {
    for (flags, expected) in [(UP, true), (0, false)] {
        let mut long = link(libc::RTM_NEWLINK, flags);
        long[..4].copy_from_slice(&100_000_u32.to_ne_bytes());
        assert_eq!(may_restore(&long), expected);
    }
}

#[test]
fn lengths_that_lie_are_harmless() {
    let whole = [link(libc::RTM_NEWLINK, 0), address(libc::RTM_NEWADDR, 254), route(libc::RTM_NEWROUTE, 0)].concat();
    for length in [0_u32, 1, 15, 16, 17, 1000, u32::MAX] {
        let mut bytes = whole.clone();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        assert!(!may_restore(&bytes), "{length}");
    }
    // Where a message with such a length ends is not known.
    let lie = [8_u32.to_ne_bytes(), [0; 4]].concat();
    assert!(!may_restore(&[lie, link(libc::RTM_NEWLINK, UP)].concat()));
}

/// Any message that we look into, and whether it may restore connectivity.
fn a_message() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let kind = select(vec![
        libc::RTM_NEWLINK,
        libc::RTM_DELLINK,
        libc::RTM_NEWADDR,
        libc::RTM_DELADDR,
        libc::RTM_NEWROUTE,
        libc::RTM_DELROUTE,
    ]);
    let flags = select(vec![0, libc::IFF_UP, libc::IFF_LOOPBACK, libc::IFF_RUNNING, UP, UP | libc::IFF_LOOPBACK]);
    let scope = select(vec![libc::RT_SCOPE_UNIVERSE, libc::RT_SCOPE_LINK, libc::RT_SCOPE_HOST]);
    let route_type = select(vec![libc::RTN_UNICAST, libc::RTN_LOCAL, libc::RTN_UNREACHABLE]);
    (kind, 0..3_u8, flags, scope, route_type, 0..30_usize).prop_map(|(kind, what, flags, scope, route_type, more)| {
        let (mut bytes, restores) = match what {
            0 => (link(kind, flags), kind == libc::RTM_NEWLINK && flags == UP),
            1 => (address(kind, scope), kind == libc::RTM_NEWADDR && scope != libc::RT_SCOPE_HOST),
            _ => (route(kind, route_type), kind == libc::RTM_NEWROUTE && route_type == libc::RTN_UNICAST),
        };
        // Attributes, of any length.
        bytes.resize(bytes.len() + more, 1);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        // The body of one kind in a message of another may be anything.
        let own = [libc::RTM_NEWLINK, libc::RTM_NEWADDR, libc::RTM_NEWROUTE];
        let fits = !own.contains(&kind) || own[usize::from(what)] == kind;
        if fits { (bytes, restores) } else { (message(libc::RTM_NEWNEIGH, &[0; 12]), false) }
    })
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn one_message_is_enough_wherever_it_is(messages in vec(a_message(), 0..6)) {
        let bytes: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        prop_assert_eq!(may_restore(&bytes), messages.iter().any(|(_, restores)| *restores));
    }

    #[test]
    fn what_follows_takes_nothing_back(messages in vec(a_message(), 0..6), end: usize, place: usize, byte: u8) {
        let mut bytes: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        if bytes.is_empty() {
            return Ok(());
        }
        // Cut, or with one byte changed, be it of a length.
        let (end, place) = (end % bytes.len(), place % bytes.len());
        let cut = may_restore(&bytes[..end]);
        prop_assert!(!cut || may_restore(&bytes));
        bytes[place] = byte;
        prop_assert!(!may_restore(&bytes[..place]) || may_restore(&bytes));
    }

    #[test]
    fn any_bytes_can_be_read(words in vec(prop_oneof![0..40_u32, Just(16), any::<u32>()], 0..40), end in 0..160_usize) {
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        let cut = &bytes[..end.min(bytes.len())];
        prop_assert!(!may_restore(cut) || may_restore(&bytes));
    }
}
