use std::net::{TcpListener, TcpStream};

use proptest::prelude::*;

use super::*;
use crate::cases::cases;

#[test]
fn the_other_end_of_a_connection() {
    let Some(mut diag) = SockDiag::open() else { return };
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (here, _) = listener.accept().unwrap();
        let (to, from) = (here.local_addr().unwrap(), here.peer_addr().unwrap());
        let Some(owner) = diag.owner(from, to) else { return };
        assert_eq!(owner.uid, nix::sys::stat::stat("/proc/self").unwrap().st_uid);
        assert_ne!(owner.inode, 0);
        // Two different ends.
        assert_ne!(diag.owner(to, from).unwrap().inode, owner.inode);
        // Nobody has a closed one.
        drop(there);
        assert_eq!(diag.owner(from, to).map_or(0, |owner| owner.inode), 0);
        // A listener is no connection.
        let nobody = SocketAddr::new(to.ip(), 1);
        assert_eq!(diag.owner(to, nobody), None);
        // It has to be asked for as what it is, and has a user too.
        assert_eq!(diag.listener(to).unwrap().uid, owner.uid);
        drop(listener);
        assert_eq!(diag.listener(to), None);
    }
}

/// A reply of the kernel's, as far as we look at it.
fn reply(kind: u16, state: u8, owner: Owner) -> Vec<u8> {
    let mut bytes = vec![0; 88];
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[17] = state;
    bytes[80..84].copy_from_slice(&owner.uid.to_ne_bytes());
    bytes[84..].copy_from_slice(&owner.inode.to_ne_bytes());
    bytes
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn the_owner_is_in_a_whole_reply_only(
        kind in prop_oneof![Just(BY_FAMILY), any::<u16>()],
        state in prop_oneof![Just(LISTEN), any::<u8>()],
        uid: u32,
        inode: u32,
        noise: [u8; 32],
        length in 0..120_usize,
    ) {
        let owner = Owner { uid, inode };
        let mut reply = reply(kind, state, owner);
        reply[18..50].copy_from_slice(&noise);
        let whole = reply.len();
        reply.resize(length, 7);
        let expected = (kind == BY_FAMILY && length >= whole).then_some((owner, state == LISTEN));
        prop_assert_eq!(owner_in(&reply), expected);
    }

    #[test]
    fn any_reply_is_survived(reply: Vec<u8>) {
        owner_in(&reply);
        number(&reply, usize::MAX);
    }
}
