use proptest::prelude::*;

use super::*;
use crate::cases::cases;

#[test]
fn a_remote_forward_that_is_refused() {
    let port = |number| Some(Listen::Port(number));
    let path = |path: &str| Some(Listen::Path(path.into()));
    for (line, listen) in [
        // OpenSSH, with ExitOnForwardFailure=yes and without.
        ("Warning: remote port forwarding failed for listen port 2200\r", port(2200)),
        ("Error: remote port forwarding failed for listen port 2200\r", port(2200)),
        ("Warning: remote port forwarding failed for listen port 0\r", port(0)),
        ("Warning: remote port forwarding failed for listen path /run/x.sock\r", path("/run/x.sock")),
        ("Error: remote port forwarding failed for listen path /run/my sock\r", path("/run/my sock")),
        // A ControlMaster about its clients.
        ("mux_confirm_remote_forward: remote port forwarding failed for listen port 2200\r", None),
        ("remote port forwarding failed for listen port 2200\r", None),
        // A remote command, a banner, or ssh -v.
        ("Warning: remote port forwarding failed for listen port 2200", None),
        ("ssh: Warning: remote port forwarding failed for listen port 2200\r", None),
        ("debug1: remote forward failure for: listen 2200, connect localhost:22\r", None),
        ("debug1: Warning: remote port forwarding failed for listen port 2200\r", None),
        // Not from ssh.
        ("Warning: remote port forwarding failed for listen port 65536\r", None),
        ("Warning: remote port forwarding failed for listen port +22\r", None),
        ("Warning: remote port forwarding failed for listen port 2200 \r", None),
        ("Warning: remote port forwarding failed for listen port \r", None),
        ("Warning: Could not request remote forwarding.\r", None),
        ("\r", None),
        ("", None),
        // dbclient.
        ("/usr/bin/dbclient: Remote TCP forward request failed (port 2200 -> localhost:22)", port(2200)),
        ("dbclient: Remote TCP forward request failed (port 2200 -> ::1:22)", port(2200)),
        ("dbclient: Connection to me@host:22 exited: Remote TCP forward request failed (port 2200 -> h:22)", None),
        ("dbclient: Remote TCP forward request failed (port 2200 -> localhost:22", None),
        ("Remote TCP forward request failed (port 2200 -> localhost:22)", None),
    ] {
        assert_eq!(refused_remote(line.as_bytes()), listen, "{line:?}");
    }
}

#[test]
fn a_local_forward_that_is_refused() {
    let address = |text: &str| Some(text.parse().unwrap());
    for (before, line, refused) in [
        (
            "bind [127.0.0.1]:8080: Address already in use\r",
            "channel_setup_fwd_listener_tcpip: cannot listen to port: 8080\r",
            address("127.0.0.1:8080"),
        ),
        (
            "bind [::]:8080: Address already in use\r",
            "channel_setup_fwd_listener_tcpip: cannot listen to port: 8080\r",
            address("[::]:8080"),
        ),
        // Before version 6.7.
        ("", "channel_setup_fwd_listener: cannot listen to port: 8080\r", address("127.0.0.1:8080")),
        (
            "bind [10.0.0.1]:81: Permission denied\r",
            "channel_setup_fwd_listener_tcpip: cannot listen to port: 80\r",
            address("127.0.0.1:80"),
        ),
        (
            "bind [fe80::1%eth0]:8080: Address already in use\r",
            "channel_setup_fwd_listener_tcpip: cannot listen to port: 8080\r",
            address("127.0.0.1:8080"),
        ),
        ("bind [127.0.0.1]:8080: Address already in use\r", "Could not request local forwarding.\r", None),
        ("", "channel_setup_fwd_listener_tcpip: cannot listen to port: 8080", None),
        ("", "cannot listen to port: 8080\r", None),
        ("", "debug1: channel_setup_fwd_listener_tcpip: cannot listen to port: 8080\r", None),
    ] {
        assert_eq!(refused_local(line.as_bytes(), unbound(before.as_bytes())), refused, "{before:?} {line:?}");
    }
}

/// A decimal number, or what is nearly one.
fn a_number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u16>().prop_map(|port| port.to_string()),
        any::<u32>().prop_map(|port| port.to_string()),
        "[0-9+ -]{0,7}",
        "\\PC{0,3}",
    ]
}

/// What `digits` must be taken for.
fn port(digits: &str) -> Option<u16> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let value = || digits.bytes().try_fold(0_u16, |n, digit| n.checked_mul(10)?.checked_add((digit - b'0').into()));
    if is_number { value() } else { None }
}

fn an_address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
    (ip, any::<u16>()).prop_map(SocketAddr::from)
}

const PHRASE: &str = "Warning: remote port forwarding failed for listen port ";

#[test]
fn what_verbose_lines_begin_with() {
    for (line, expected) in [
        ("debug1: Connection established.", true),
        ("debug3: ", true),
        ("debug1 x", false),
        ("debugx: y", false),
        ("debug1:x", false),
        ("debug", false),
        ("Warning: debug1: x", false),
    ] {
        assert_eq!(is_debug(line.as_bytes()), expected, "{line}");
    }
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn of_any_line_only_what_it_says_is_taken(line: Vec<u8>) {
        prop_assert_eq!((refused_remote(&line), unbound(&line), refused_local(&line, None)), (None, None, None));
    }

    #[test]
    fn a_refused_port_is_a_decimal_number(number in a_number(), error: bool) {
        let word = if error { "Error" } else { "Warning" };
        let line = format!("{word}: remote port forwarding failed for listen port {number}\r");
        prop_assert_eq!(refused_remote(line.as_bytes()), port(&number).map(Listen::Port));
        let line = format!("prog: Remote TCP forward request failed (port {number} -> h:22)");
        prop_assert_eq!(refused_remote(line.as_bytes()), port(&number).map(Listen::Port));
        let line = format!("channel_setup_fwd_listener_tcpip: cannot listen to port: {number}\r");
        let here = port(&number).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        prop_assert_eq!(refused_local(line.as_bytes(), None), here);
    }

    #[test]
    fn a_phrase_with_one_byte_changed_is_another(place in 0..PHRASE.len(), change in 1..=255_u8, cut: bool) {
        let mut line = format!("{PHRASE}2200\r").into_bytes();
        if cut {
            line.remove(place);
        } else {
            line[place] ^= change;
        }
        prop_assert_eq!(refused_remote(&line), None);
    }

    #[test]
    fn every_address_that_ssh_cannot_bind_is_understood(bound in an_address(), other: u16) {
        let before = unbound(format!("bind [{}]:{}: Address already in use\r", bound.ip(), bound.port()).as_bytes());
        prop_assert_eq!(before, Some(bound));
        for port in [bound.port(), other] {
            let line = format!("channel_setup_fwd_listener_tcpip: cannot listen to port: {port}\r");
            let expected = if port == bound.port() { bound } else { (Ipv4Addr::LOCALHOST, port).into() };
            prop_assert_eq!(refused_local(line.as_bytes(), before), Some(expected));
        }
    }
}
