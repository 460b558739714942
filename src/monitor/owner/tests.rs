use proptest::prelude::*;

use super::*;
use crate::cases::cases;
use TcpState::{Established, Listening};

const OWN: &str = "127.0.0.1:40000";
const TARGET: &str = "127.0.0.1:20000";
const NONE: &str = "0.0.0.0:0";

/// Who takes our connection by a table with these sockets: local address, remote address, state, user, inode.
fn taker(sockets: &[(&str, &str, TcpState, u32, u64)]) -> Option<u32> {
    let sockets = sockets.iter().map(|(local, peer, state, uid, inode)| Tcp {
        local: local.parse::<SocketAddr>().unwrap(),
        peer: peer.parse().unwrap(),
        state: *state,
        uid: *uid,
        inode: *inode,
    });
    owner_in(sockets, OWN.parse().unwrap(), TARGET.parse().unwrap())
}

#[test]
fn who_takes_the_connection() {
    for (rows, uid) in [
        (&[][..], None),
        (&[(TARGET, NONE, Listening, 7, 1)], Some(7)),
        // Others' listeners.
        (&[("127.0.0.2:20000", NONE, Listening, 7, 1), ("127.0.0.1:20001", NONE, Listening, 8, 1)], None),
        (&[("[::1]:20000", "[::]:0", Listening, 7, 1)], None),
        // The best fit takes it, wherever it stands.
        (&[("0.0.0.0:20000", NONE, Listening, 7, 1), (TARGET, NONE, Listening, 8, 1)], Some(8)),
        (&[(TARGET, NONE, Listening, 8, 1), ("0.0.0.0:20000", NONE, Listening, 7, 1)], Some(8)),
        (&[("[::]:20000", "[::]:0", Listening, 7, 1)], Some(7)),
        (&[(TARGET, "[::]:0", Listening, 8, 1), ("[::]:20000", "[::]:0", Listening, 7, 1)], Some(8)),
        (&[("[::]:20000", "[::]:0", Listening, 7, 1), ("0.0.0.0:20000", NONE, Listening, 8, 1)], Some(8)),
        (&[("[::]:20000", "[::]:0", Listening, 9, 1), ("0.0.0.0:20000", NONE, Listening, 8, 1)], Some(8)),
        // Without a listener, the connection that it took.
        (&[(TARGET, OWN, Established, 7, 5)], Some(7)),
        // One that nobody has accepted yet has no user.
        (&[(TARGET, OWN, Established, 0, 0)], None),
        // Our own end of it, and others' connections.
        (&[(OWN, TARGET, Established, 7, 5)], None),
        (&[(TARGET, "127.0.0.1:40001", Established, 7, 5)], None),
        // A listener comes before.
        (&[(TARGET, NONE, Listening, 8, 1), (TARGET, OWN, Established, 7, 5)], Some(8)),
        (&[("0.0.0.0:20000", NONE, Listening, 8, 1), (TARGET, OWN, Established, 7, 5)], Some(8)),
    ] {
        assert_eq!(taker(rows), uid, "{rows:?}");
    }
}

#[test]
fn what_listens_here_is_ours() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let stream = TcpStream::connect(target).unwrap();
    let own = stream.local_addr().unwrap();
    assert_eq!(stranger(own, target), None);
    if !cfg!(target_os = "linux") {
        return;
    }
    let uid = uids_of("self")[1];
    // Not every kernel can be asked about two sockets alone.
    let every_way = || {
        let by_sockets = SockDiag::open().map(|sockets| owner_by(sockets, own, target));
        [by_sockets.unwrap_or(owner(own, target)), owner_by_table(own, target), owner(own, target)]
    };
    assert_eq!(every_way(), [Some(uid); 3]);
    // And when the listener is gone, ...
    let (taken, _) = listener.accept().unwrap();
    drop(listener);
    assert_eq!(every_way(), [Some(uid); 3]);
    // ... or nobody is there any more.
    drop(taken);
    assert_eq!(every_way(), [None; 3]);
}

#[test]
fn whoever_has_closed_his_connection_is_a_stranger() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (taken, _) = listener.accept().unwrap();
    let mut judge = Judge::new();
    assert!(!judge.is_stranger(&taken));
    drop(stream);
    assert_eq!(judge.is_stranger(&taken), judge.sockets.is_some(), "it is nobody's any more");
}

#[test]
fn the_users_of_a_process() {
    let status = "Name:\tUid: 7\nState:\tS\nPid:\t9\nPPid:\t4\nTracerPid:\t0\nUid:\t1000\t0\t0\t1000\nGid:\t5\n";
    assert_eq!(uids(status), [1000, 0, 0, 1000]);
    for broken in ["", "PPid:\t4\n", "Uid:\t-1\n", "Uid:\tx\n"] {
        assert_eq!(uids(broken), [], "{broken}");
    }
    if cfg!(target_os = "linux") {
        assert!(!uids_of("self").is_empty());
    }
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn the_users_of_any_process(before in "([A-TV-Z][a-z]{0,5}:\t(Uid:\t7|[ -~]{0,9})\n){0,5}", own: [u32; 4], after in "\\PC{0,9}") {
        let numbers = own.map(|uid| uid.to_string()).join("\t");
        prop_assert_eq!(uids(&format!("{before}Uid:\t{numbers}\n{after}")), own);
        prop_assert_eq!(uids(&before), []);
    }
}
