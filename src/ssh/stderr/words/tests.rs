use proptest::prelude::*;

use super::*;

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

proptest! {
    #[test]
    fn no_line_is_too_much(line: Vec<u8>, port: u16) {
        let _ = (refused_remote(&line), unbound(&line), is_debug(&line));
        let said = format!("Warning: remote port forwarding failed for listen port {port}\r");
        prop_assert_eq!(refused_remote(said.as_bytes()), Some(Listen::Port(port)));
    }
}
