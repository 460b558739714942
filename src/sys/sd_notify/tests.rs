use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cases::cases;

/// The longest path of a socket, with the zero byte that begins an abstract one or ends another.
const LONGEST: usize = 108;

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn any_address_is_a_socket_or_none(name in vec(1..=255_u8, 0..120), is_abstract: bool) {
        let address = if is_abstract { [b"@", &name[..]].concat() } else { name };
        let mut notifier = Notifier::new(Some(OsStr::from_bytes(&address)));
        let most = if address.starts_with(b"@") { LONGEST } else { LONGEST - 1 };
        prop_assert_eq!(notifier.is_heard(), !address.is_empty() && address.len() <= most);
        // Nobody is there, which has no consequence.
        notifier.ready();
        notifier.flush(Time::ZERO);
        prop_assert_eq!(notifier.deadline(), None);
    }
}
