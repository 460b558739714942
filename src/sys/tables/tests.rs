use proptest::prelude::*;

use super::*;

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
    #[test]
    fn any_table_can_be_read(bytes: Vec<u8>) {
        let table = String::from_utf8_lossy(&bytes);
        let _ = (tcp(&table), unix(&table));
    }

    #[test]
    fn any_line_can_be_read(fields in prop::collection::vec("[0-9A-Fa-f:\u{e4} ]{0,40}", 0..14)) {
        let table = fields.join(" ");
        let _ = (tcp(&table), unix(&table));
    }

    #[test]
    fn every_address_comes_back(bytes: [u8; 16], port: u16, uid: u32, inode: u64) {
        let v6 = SocketAddr::new(IpAddr::from(bytes).to_canonical(), port);
        let v4 = SocketAddr::new(IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]), port);
        let text = |address: SocketAddr| format!("{}:{port:04X}", printed(address.ip()));
        let expected = Tcp { local: v6, peer: v4, state: TcpState::Established, uid, inode };
        prop_assert_eq!(tcp(&line(&text(v6), &text(v4), "01", uid, inode)), [expected]);
    }
}
