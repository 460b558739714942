use proptest::prelude::*;

use super::*;
use crate::cases::cases;

fn tcp(table: &str) -> Vec<Tcp> {
    table.lines().filter_map(tcp_line).collect()
}

/// An address as the kernel of this machine prints it.
fn printed(address: IpAddr) -> String {
    let bytes = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let words = bytes.chunks(4).map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().unwrap())));
    words.collect::<Vec<_>>().concat()
}

fn line(local: &str, peer: &str, state: &str, uid: u32, inode: u64) -> String {
    format!(
        "   5: {local} {peer} {state} 00000000:00000000 02:000AFBFB 00000000 {uid:5}        0 {inode} 2 0000 21 4 21 22 -1"
    )
}

#[test]
fn the_kernels_own_lines() {
    // As a little-endian machine prints them.
    if cfg!(target_endian = "big") {
        return;
    }
    let v4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        3: 01004D0A:85D2 02004D0A:08AE 01 00000000:00000000 02:000AFBF7 00000000  1000        0 7104508 2 00000000ebcb981c \
        20 4 24 19 -1                  \n";
    let v6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr \
        tm->when retrnsmt   uid  timeout inode\n   0: 00000000000000000000000001000000:1B59 \
        00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7105521 1 \
        00000000d135fc30 100 0 0 10 0\n   1: 0000000000000000FFFF00000100007F:0016 B80D0120000000000000000002000000:8235 06 \
        00000000:00000000 03:00000F4A 00000000     0        0 0 3 00000000b8ad8d77\n";
    let socket = |local: &str, peer: &str, state, uid, inode| Tcp {
        local: local.parse().unwrap(),
        peer: peer.parse().unwrap(),
        state,
        uid,
        inode,
    };
    assert_eq!(tcp(v4), [socket("10.77.0.1:34258", "10.77.0.2:2222", TcpState::Established, 1000, 7_104_508)]);
    assert_eq!(tcp(v6), [socket("[::1]:7001", "[::]:0", TcpState::Listening, 0, 7_105_521)]);
}

#[test]
fn addresses_on_either_kind_of_machine() {
    for text in ["127.0.0.1", "10.1.2.3", "255.255.255.255", "::1", "2001:db8:1:2:3:4:5:6", "fe80::1"] {
        let expected: IpAddr = text.parse().unwrap();
        assert_eq!(address(&format!("{}:0016", printed(expected))), Some(SocketAddr::new(expected, 22)), "{text}");
    }
    let mapped = printed("::ffff:10.1.2.3".parse().unwrap());
    assert_eq!(address(&format!("{mapped}:FFFF")), Some("10.1.2.3:65535".parse().unwrap()));
}

#[test]
fn lines_that_are_none() {
    let good = "0100007F:0016";
    assert_eq!(tcp(&line(good, good, "01", 3, 7)).len(), 1);
    for bad in ["", ":", "0100007F", "0100007F:", "0100007F:10000", "0100007:0016", "0100007G:0016", "0100007F00:0016"]
    {
        assert_eq!(tcp(&line(bad, good, "01", 3, 7)), [], "{bad:?}");
        assert_eq!(tcp(&line(good, bad, "01", 3, 7)), [], "{bad:?}");
    }
    let umlauts = "\u{e4}".repeat(16);
    assert_eq!(tcp(&line(&format!("{umlauts}:0016"), good, "01", 3, 7)), []);
    assert_eq!(tcp(&format!("5: {good} {good} 01 0:0 0:0 0 0 0")), []);
    for uid in ["-1", "4294967296", "x"] {
        assert_eq!(tcp(&line(good, good, "01", 3, 7).replace("    3 ", &format!(" {uid} "))), [], "{uid}");
    }
}

#[test]
fn unix_sockets() {
    let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
        0000000013ad791e: 00000002 00000000 00010000 0001 01 7105523 /tmp/my dir/cm.7vDoyhVO8zicm6YW\n\
        0000000049cad52d: 00000003 00000000 00000000 0001 03 7109006\n\
        0000000081e1aa18: 00000002 00000000 00000000 0002 01     518 /run/dgram\n\
        0000000081e1aa19: 00000002 00000000 00000000 0001 01 519 @abstract\n\
        nonsense\n";
    let socket = |listening, connected, inode, path: Option<&str>| Unix {
        listening,
        connected,
        inode,
        path: path.map(str::to_owned),
    };
    assert_eq!(
        unix(table),
        [
            socket(true, false, 7_105_523, Some("/tmp/my dir/cm.7vDoyhVO8zicm6YW")),
            socket(false, true, 7_109_006, None),
            socket(false, false, 519, Some("@abstract")),
        ]
    );
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn any_table_can_be_read(bytes: Vec<u8>) {
        let table = String::from_utf8_lossy(&bytes);
        let _ = (tcp(&table), unix(&table));
    }

    #[test]
    fn a_line_with_another_field_can_be_read(place in 0..14_usize, field in "[0-9A-Fa-f:\u{e4}]{0,40}") {
        let good = line("0100007F:0016", "0100007F:0017", "01", 3, 7);
        let changed = |table: &str| {
            let mut fields: Vec<&str> = table.split_ascii_whitespace().collect();
            let place = place % fields.len();
            fields[place] = &field;
            fields.join(" ")
        };
        // Of one that can be read at all, everything else stays.
        for socket in tcp(&changed(&good)) {
            let before = tcp(&good)[0];
            let same = [
                socket.local == before.local,
                socket.peer == before.peer,
                socket.state == before.state,
                socket.uid == before.uid,
                socket.inode == before.inode,
            ];
            prop_assert!(field.is_empty() || same.iter().filter(|same| !**same).count() <= 1, "{:?}", socket);
        }
        let _ = unix(&changed("0000000049cad52d: 00000003 00000000 00000000 0001 03 7109006 /run/socket"));
    }

    #[test]
    fn every_address_comes_back(
        mut bytes: [u8; 16],
        mapped: bool,
        port: u16,
        uid: u32,
        inode: u64,
        listens: bool,
    ) {
        if mapped {
            bytes[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]);
        }
        let v6 = IpAddr::from(bytes);
        let v4 = IpAddr::from([bytes[12], bytes[13], bytes[14], bytes[15]]);
        let text = |address: IpAddr| format!("{}:{port:04X}", printed(address));
        let (st, state) = if listens { ("0A", TcpState::Listening) } else { ("01", TcpState::Established) };
        let local = SocketAddr::new(if mapped { v4 } else { v6 }, port);
        let expected = Tcp { local, peer: SocketAddr::new(v4, port), state, uid, inode };
        prop_assert_eq!(tcp(&line(&text(v6), &text(v4), st, uid, inode)), [expected]);
    }

    #[test]
    fn a_line_that_is_cut_has_no_other_socket(bytes: [u8; 16], port: u16, inode: u64, end in 0..200_usize) {
        let address = format!("{}:{port:04X}", printed(IpAddr::from(bytes)));
        let whole = line(&address, &address, "01", 7, inode);
        let cut = whole.get(..end).unwrap_or(&whole);
        for socket in tcp(cut) {
            // Of its last number, which is the inode's, digits may be missing.
            prop_assert_eq!(socket, Tcp { inode: socket.inode, ..tcp(&whole)[0] });
            prop_assert!(inode.to_string().starts_with(&socket.inode.to_string()));
        }
    }

    #[test]
    fn every_socket_with_a_path_comes_back(path in "[ -~\u{e4}]{0,30}", listens: bool, st in 1..5_u8, inode: u64) {
        let flags = if listens { 1 << 16 } else { 0 };
        let separator = if path.is_empty() { "" } else { " " };
        let table = format!("0000000013ad791e: 00000002 00000000 {flags:08X} 0001 {st:02X} {inode:5}{separator}{path}\n");
        let path = Some(path).filter(|path| !path.is_empty());
        prop_assert_eq!(unix(&table), [Unix { listening: listens, connected: st == 3, inode, path }]);
        prop_assert_eq!(unix(&table.replace(" 0001 ", " 0002 ")), []);
    }
}
