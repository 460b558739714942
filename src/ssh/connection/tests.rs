use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;

use super::*;

/// A process as /proc shows it: its pid, network namespace, children, and the inodes of its sockets.
type Process<'a> = (i32, &'a str, &'a str, &'a [u64]);

const TCP: &str = "
    0: 01004D0A:85D2 02004D0A:08AE 01 0:0 0:0 0 0 0 10
    1: 0100007F:1B59 00000000:0000 0A 0:0 0:0 0 0 0 11
    2: 0100007F:1B59 0100007F:9000 01 0:0 0:0 0 0 0 12
    3: 01004D0A:9001 03004D0A:0050 01 0:0 0:0 0 0 0 13
    4: 01004D0A:9002 02004D0A:08AE 02 0:0 0:0 0 0 0 14
";
const UNIX: &str = "
    0: 2 0 00010000 0001 01 20 /run/cm.0123456789abcdEF
    0: 2 0 00010000 0001 01 21 /run/forward.sock
    0: 3 0 00000000 0001 03 22
    0: 3 0 00000000 0001 03 24
";
/// The same, and a client of the ControlMaster.
const SERVED: &str = "    0: 3 0 00000000 0001 03 23 /run/cm.0123456789abcdEF\n";

/// What is found where the first process is ssh.
fn found(processes: &[Process<'_>], unix: &str) -> Option<Found> {
    let proc = tempfile::tempdir().unwrap();
    let write = |name: String, text: &str| {
        let path = proc.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let namespace = |pid: &str, name: &str| {
        fs::create_dir_all(proc.path().join(pid).join("ns")).unwrap();
        symlink(format!("net:[{name}]"), proc.path().join(pid).join("ns/net")).unwrap();
    };
    namespace("self", "here");
    for (pid, net, children, sockets) in processes {
        namespace(&pid.to_string(), net);
        write(format!("{pid}/net/tcp"), TCP);
        write(format!("{pid}/net/unix"), unix);
        write(format!("{pid}/task/{pid}/children"), children);
        fs::create_dir_all(proc.path().join(format!("{pid}/fd"))).unwrap();
        symlink("/dev/null", proc.path().join(format!("{pid}/fd/0"))).unwrap();
        // The journal's.
        symlink("socket:[24]", proc.path().join(format!("{pid}/fd/1"))).unwrap();
        for inode in *sockets {
            symlink(format!("socket:[{inode}]"), proc.path().join(format!("{pid}/fd/{inode}"))).unwrap();
        }
    }
    find(proc.path(), processes.first().map_or(1, |(pid, ..)| *pid))
}

#[test]
fn whose_connection_it_is() {
    let connection = |inode: u64| {
        let socket = TCP.lines().filter_map(tables::tcp_line).find(|socket| socket.inode == inode).unwrap();
        Connection { inode, local: socket.local, peer: socket.peer }
    };
    let tcp = |inode| Some(Found::Tcp(connection(inode)));
    let served = &[UNIX, SERVED].concat();
    let table: [(&str, &[Process<'_>], &str, Option<Found>); 20] = [
        ("no such process", &[], UNIX, None),
        ("ssh has just begun", &[(5, "here", "", &[])], UNIX, None),
        ("it connects", &[(5, "here", "", &[14])], UNIX, None),
        ("it is connected", &[(5, "here", "", &[10])], UNIX, tcp(10)),
        ("it is connected, and others use a ControlMaster", &[(5, "here", "", &[10])], served, tcp(10)),
        ("another namespace", &[(5, "there", "", &[10])], UNIX, None),
        ("it forwards, and somebody is connected to that", &[(5, "here", "", &[10, 11, 12])], UNIX, tcp(10)),
        ("a forward is connected elsewhere", &[(5, "here", "", &[10, 13])], UNIX, None),
        ("a forward from a socket's path", &[(5, "here", "", &[10, 21])], UNIX, tcp(10)),
        ("an agent, and no ControlMaster in use", &[(5, "here", "", &[10, 22])], UNIX, tcp(10)),
        ("a proxy", &[(5, "here", "6 ", &[]), (6, "here", "", &[10])], UNIX, tcp(10)),
        (
            "a shell that runs a proxy",
            &[(5, "here", "6 ", &[]), (6, "here", "7 ", &[]), (7, "here", "", &[10])],
            UNIX,
            tcp(10),
        ),
        ("both hold it", &[(5, "here", "6 ", &[10]), (6, "here", "", &[10])], UNIX, tcp(10)),
        ("a proxy, and a forward", &[(5, "here", "6 ", &[13]), (6, "here", "", &[10])], UNIX, None),
        ("a proxy elsewhere", &[(5, "here", "6 ", &[13]), (6, "there", "", &[10])], UNIX, None),
        ("a child that is gone", &[(5, "here", "6 ", &[10])], UNIX, tcp(10)),
        ("a ControlMaster", &[(5, "here", "", &[10, 20])], UNIX, Some(Found::Shared(Some(connection(10))))),
        ("a ControlMaster that connects", &[(5, "here", "", &[14, 20])], UNIX, Some(Found::Shared(None))),
        ("the client of one", &[(5, "here", "", &[22])], served, Some(Found::Shared(None))),
        ("one that became a client", &[(5, "here", "", &[10, 22])], served, Some(Found::Shared(None))),
    ];
    for (name, processes, unix, expected) in table {
        assert_eq!(found(processes, unix), expected, "{name}");
    }
}

#[test]
fn a_control_socket_is_known_by_its_name() {
    for (path, expected) in [
        ("/tmp/cm.7vDoyhVO8zicm6YW", true),
        ("/tmp/cm", false),
        ("/tmp/cm.7vDoyhVO8zicm6Y", false),
        ("/tmp/cm.7vDoyhVO8zicm6YWx", false),
        ("/tmp/cm.7vDoyhVO8zicm6Y-", false),
    ] {
        let socket = Unix { listening: true, connected: false, inode: 1, path: Some(path.into()) };
        assert_eq!(is_control(&socket), expected, "{path}");
    }
}

#[test]
fn who_listens_here_and_whether_the_address_is_free() {
    for loopback in ["127.0.0.1", "::1"] {
        let Ok(listener) = TcpListener::bind((loopback, 0)) else { continue };
        let address = listener.local_addr().unwrap();
        assert!(listens_on(Pid::this(), address.port()));
        assert!(!can_bind(address));
        drop(listener);
        assert!(!listens_on(Pid::this(), address.port()));
        assert!(can_bind(address));
        // Nor does a connection of the last ssh stand in the way, which the kernel remembers for a while.
        let listener = TcpListener::bind((loopback, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        drop((listener.accept().unwrap(), listener));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(client);
        assert!(can_bind(address));
    }
    assert!(!can_bind("192.0.2.1:2200".parse().unwrap()), "it is not ours");
}

#[test]
fn an_address_that_is_gone() {
    for (local, peer, gone) in [
        ("127.0.0.1:1000", "127.0.0.1:22", false),
        ("192.0.2.1:1000", "127.0.0.1:22", true),
        // There is no way to the peer now: it may all come back as it was.
        ("192.0.2.1:1000", "255.255.255.255:22", false),
        ("[2001:db8::1]:1000", "[::1]:22", UdpSocket::bind("[::1]:0").is_ok()),
        // Its interface is not known, so nothing is known.
        ("[fe80::5]:1000", "[fe80::6]:22", false),
    ] {
        let connection = Connection { inode: 1, local: local.parse().unwrap(), peer: peer.parse().unwrap() };
        assert_eq!(connection.address_is_gone(), gone, "{local} {peer}");
    }
}
