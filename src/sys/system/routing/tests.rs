use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::cases::cases;

const FORMATS: [Format; 2] = [Format::APPLE, Format::FREEBSD];

/// What follows a header: an address, or an empty place for one.
fn sockaddr(address: &str, format: Format) -> Vec<u8> {
    let mut bytes = match address.parse() {
        Ok(IpAddr::V4(v4)) => [&[16, INET, 0, 0][..], &v4.octets(), &[0; 8]].concat(),
        Ok(IpAddr::V6(v6)) => [&[28, format.inet6, 0, 0, 0, 0, 0, 0][..], &v6.octets(), &[0; 4]].concat(),
        // A link-level address, as of a gateway on the same wire.
        Err(_) if address == "link" => [&[20, 18, 4, 0][..], &[0; 16]].concat(),
        Err(_) => vec![0],
    };
    bytes.resize(bytes.len().next_multiple_of(format.unit), 0);
    bytes
}

/// A message of this kind: its numbers at their places, and its addresses by their bits.
fn message(
    kind: u8,
    header: usize,
    numbers: &[(usize, u32)],
    mask: usize,
    addresses: &[(u32, &str)],
    format: Format,
) -> Vec<u8> {
    let mut bytes = vec![0; header];
    bytes[2] = 5;
    bytes[3] = kind;
    for (place, number) in numbers {
        bytes[*place..*place + 4].copy_from_slice(&number.to_ne_bytes());
    }
    let present = addresses.iter().fold(0_u32, |present, (bit, _)| present | 1 << bit);
    bytes[mask..mask + 4].copy_from_slice(&present.to_ne_bytes());
    for (_, address) in addresses {
        bytes.extend(sockaddr(address, format));
    }
    let length = u16::try_from(bytes.len()).unwrap();
    bytes[..2].copy_from_slice(&length.to_ne_bytes());
    bytes
}

fn interface(flags: u32, index: u16, format: Format) -> Vec<u8> {
    message(INTERFACE, 112, &[(8, flags), (12, index.into())], 4, &[], format)
}

fn new_address(kind: u8, own: &str, index: u16, format: Format) -> Vec<u8> {
    let netmask = if own.contains(':') { "ffff::" } else { "255.255.255.0" };
    let addresses = [(2, netmask), (4, "link"), (OWN, own), (7, "10.0.0.255")];
    message(kind, format.address_header, &[(12, index.into())], 4, &addresses, format)
}

fn route(kind: u8, flags: u32, destination: &str, format: Format) -> Vec<u8> {
    let addresses = [(DESTINATION, destination), (1, "10.0.0.1"), (2, "")];
    message(kind, format.route_header, &[(8, flags), (4, 4)], 12, &addresses, format)
}

fn name_of(index: u16) -> Option<Vec<u8>> {
    match index {
        4 => Some(b"en0".to_vec()),
        8 => Some(b"awdl0".to_vec()),
        9 => Some(b"llw0".to_vec()),
        _ => None,
    }
}

const DELETE: u8 = 0x2;
const DELETED_ADDRESS: u8 = 0xd;
const UP_AND_RUNNING: u32 = UP | RUNNING | 0x8802;

#[test]
fn what_may_restore_connectivity_and_what_cannot() {
    for format in FORMATS {
        for (bytes, expected) in [
            (interface(UP_AND_RUNNING, 4, format), true),
            (interface(UP_AND_RUNNING, 77, format), true),
            (interface(UP, 4, format), false),
            (interface(0, 4, format), false),
            (interface(UP_AND_RUNNING | LOOPBACK, 1, format), false),
            (interface(UP_AND_RUNNING, 8, format), false),
            (interface(UP_AND_RUNNING, 9, format), false),
            (new_address(NEW_ADDRESS, "192.168.1.7", 4, format), true),
            (new_address(NEW_ADDRESS, "2001:db8::7", 4, format), true),
            (new_address(NEW_ADDRESS, "169.254.3.4", 4, format), false),
            (new_address(NEW_ADDRESS, "fe80::7", 4, format), false),
            (new_address(NEW_ADDRESS, "127.0.0.1", 1, format), false),
            (new_address(NEW_ADDRESS, "2001:db8::7", 8, format), false),
            (new_address(DELETED_ADDRESS, "192.168.1.7", 4, format), false),
            (route(ADD, 0x803, "0.0.0.0", format), true),
            (route(ADD, 0x803, "::", format), true),
            (route(ADD, 0x803, "10.1.0.0", format), true),
            (route(ADD, 0x803 | ROUTE_TO_HOST, "10.1.2.3", format), false),
            (route(ADD, 0x803, "169.254.0.0", format), false),
            (route(ADD, 0x803, "fe80::", format), false),
            (route(ADD, 0x803, "224.0.0.0", format), false),
            (route(ADD, 0x803, "ff00::", format), false),
            (route(DELETE, 0x803, "0.0.0.0", format), false),
            ([interface(0, 4, format), route(ADD, 0x803, "0.0.0.0", format)].concat(), true),
            ([interface(0, 4, format), route(DELETE, 0x803, "0.0.0.0", format)].concat(), false),
        ] {
            assert_eq!(may_restore_connectivity(&bytes, format, name_of), expected, "{format:?} {bytes:?}");
        }
    }
}

#[test]
fn no_bytes_are_too_bad() {
    for format in FORMATS {
        let good = new_address(NEW_ADDRESS, "192.168.1.7", 4, format);
        for length in 0..good.len() {
            // Nothing to expect but an end.
            may_restore_connectivity(&good[..length], format, name_of);
            let mut short = good.clone();
            short[0] = u8::try_from(length).unwrap();
            may_restore_connectivity(&short, format, name_of);
        }
        assert!(!may_restore_connectivity(&[255; 64], format, name_of));
        assert!(!may_restore_connectivity(&[], format, name_of));
        // Where a message with such a length ends is not known.
        let lie = 2_u16.to_ne_bytes().to_vec();
        assert!(!may_restore_connectivity(&[lie, good].concat(), format, name_of));
    }
}

/// Any message that we look into, for both formats, and whether it may restore connectivity.
fn a_message() -> impl Strategy<Value = ([Vec<u8>; 2], bool)> {
    let up = select(vec![0, UP, RUNNING, UP_AND_RUNNING, UP_AND_RUNNING | LOOPBACK]);
    let own = select(vec![("192.168.1.7", true), ("2001:db8::7", true), ("127.0.0.1", false), ("fe80::7", false)]);
    let to = select(vec![("0.0.0.0", true), ("::", true), ("224.0.0.0", false), ("169.254.0.0", false)]);
    let index = select(vec![4_u16, 8, 9, 77]);
    (up, own, to, index, any::<bool>(), 0..3_u8).prop_map(|(up, own, to, index, new, what)| match what {
        0 => (FORMATS.map(|format| interface(up, index, format)), up == UP_AND_RUNNING && ![8, 9].contains(&index)),
        1 => {
            let kind = if new { NEW_ADDRESS } else { DELETED_ADDRESS };
            (FORMATS.map(|format| new_address(kind, own.0, index, format)), new && own.1 && ![8, 9].contains(&index))
        }
        _ => {
            let kind = if new { ADD } else { DELETE };
            (FORMATS.map(|format| route(kind, 0x803, to.0, format)), new && to.1)
        }
    })
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn one_message_is_enough_wherever_it_is(messages in vec(a_message(), 0..6)) {
        for (place, format) in FORMATS.into_iter().enumerate() {
            let bytes: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes[place].clone()).collect();
            let expected = messages.iter().any(|(_, restores)| *restores);
            prop_assert_eq!(may_restore_connectivity(&bytes, format, name_of), expected);
        }
    }

    #[test]
    fn what_follows_takes_nothing_back(messages in vec(a_message(), 1..6), end: usize, place: usize, byte: u8) {
        for (format_place, format) in FORMATS.into_iter().enumerate() {
            let restores = |bytes: &[u8]| may_restore_connectivity(bytes, format, name_of);
            let mut bytes: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes[format_place].clone()).collect();
            let (end, place) = (end % bytes.len(), place % bytes.len());
            prop_assert!(!restores(&bytes[..end]) || restores(&bytes));
            bytes[place] = byte;
            prop_assert!(!restores(&bytes[..place]) || restores(&bytes));
        }
    }

    #[test]
    fn any_bytes_can_be_read(mut bytes: Vec<u8>, kind in select(vec![ADD, NEW_ADDRESS, INTERFACE]), present: u8) {
        // Often enough a message of this kind, with these addresses.
        if bytes.len() > 16 {
            (bytes[1], bytes[3], bytes[4], bytes[12]) = (0, kind, present, present);
        }
        for format in FORMATS {
            may_restore_connectivity(&bytes, format, name_of);
        }
    }
}
