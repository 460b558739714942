use std::net::{TcpListener, TcpStream};

use super::*;

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

proptest::proptest! {
    #[test]
    fn any_reply_is_survived(reply: Vec<u8>) {
        owner_in(&reply);
        number(&reply, usize::MAX);
    }
}
