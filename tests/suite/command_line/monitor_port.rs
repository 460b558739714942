//! `-M` and AUTOSSH_PORT, and the forwards that ssh gets for them.

use super::*;

/// The row `given`, with a port of its own, gives `expected`.
fn forwards(given: &str, expected: &str) {
    let port = port_pair();
    let forwards = format!("-L {port}:127.0.0.1:{port} -R {port}:127.0.0.1:{}", port + 1);
    assert_eq!(typed(&given.replace("PORT", &port.to_string())), expected.replace("FORWARDS", &forwards));
}

table!(
    forwards_take_the_monitor_ports_place,
    Same,
    [
        ("-M PORT host", "FORWARDS host"),
        ("-MPORT host", "FORWARDS host"),
        ("-M PORT -N host", "FORWARDS -N host"),
        ("-M PORT -- -M host", "FORWARDS -M host"),
        ("-M 1 -M PORT -v host", "FORWARDS -v host"),
    ],
    |(given, expected)| {
        forwards(given, expected);
    }
);

table!(
    forwards_take_the_monitor_ports_place_wherever_it_is,
    Defect,
    [
        ("-N -M PORT host", "-N FORWARDS host"),
        ("-NM PORT -v host", "-N FORWARDS -v host"),
        ("-fNMPORT host", "-N FORWARDS host"),
        ("-v -M 1 -4 -M PORT host", "-v FORWARDS -4 host"),
        ("host -M PORT -v", "host FORWARDS -v"),
    ],
    |(given, expected)| {
        forwards(given, expected);
    }
);

case!(forwards_to_an_echo_service, Same, {
    let port = port_pair();
    assert_eq!(typed(&format!("-M {port}:7 -N host")), format!("-L {port}:127.0.0.1:7 -N host"));
});

table!(
    forwards_over_inet6,
    Defect,
    [
        "-M PORT -6 host",
        "-M PORT -4 -6 host",
        "-M PORT -o AddressFamily=inet6 host",
        "-M PORT -oaddressfamily=INET6 host",
        "-M PORT host -6",
        "-M PORT -6 host x -4",
        "-M PORT -v6 host",
    ],
    |given| {
        let port = port_pair();
        let got = typed(&given.replace("PORT", &port.to_string()));
        let forwards = format!("-L {port}:127.0.0.1:{port} -R {port}:[::1]:{} ", port + 1);
        assert_eq!(got, given.replace("-M PORT ", &forwards));
    }
);

table!(
    forwards_over_inet4_all_the_same,
    Same,
    [
        "-M PORT -6 -4 host",
        "-M PORT -4 -o AddressFamily=inet6 host",
        "-M PORT -o AddressFamily=any -o AddressFamily=inet6 host",
    ],
    |given| {
        let port = port_pair();
        let got = typed(&given.replace("PORT", &port.to_string()));
        let forwards = format!("-L {port}:127.0.0.1:{port} -R {port}:127.0.0.1:{} ", port + 1);
        assert_eq!(got, given.replace("-M PORT ", &forwards));
    }
);

case!(blanks_before_the_port, Same, {
    let port = port_pair();
    let words = ["-M".to_string(), format!("  {port}"), "host".into()];
    assert_eq!(argv(&words)[0], "-L");
    assert_eq!(argv(&["-M 0".to_string(), "host".into()]), [OsString::from("host")]);
});

table!(
    bad_ports_are_refused,
    Same,
    ["x", "-1", "65535", "65536", "1x", "99999999999999999999", "20000:", "20000:x", "20000:0", "20000:65536"],
    |port| {
        let (status, _, _) = output_of(&["-M", port, "host"]);
        assert_eq!(status, Some(1));
    }
);

table!(bad_ports_are_named, Defect, ["x", "-1", "65535", "65536", "1x", "", "20000:", "0:7", "1:2:3"], |port| {
    let (status, out, err) = output_of(&["-M", port, "host"]);
    assert_eq!(status, Some(1));
    assert_eq!(out, "");
    assert!(err.contains(&format!("-M {port:?}")) && err.contains("1 to 65534"), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
});

case!(a_missing_port_is_named, Defect, {
    let (status, _, err) = output_of(&["host", "-M"]);
    assert_eq!(status, Some(1));
    assert!(err.contains("-M needs a port"), "{err}");
});

case!(the_variable_for_the_port_overrides_the_option, Documented, {
    let unstarted = Autossh::new(["-M", "1", "host"], "exit 0").env("AUTOSSH_PORT", "0").env("AUTOSSH_GATETIME", "0");
    // A warning, not just info.
    let running = unstarted.env("AUTOSSH_LOGLEVEL", "4").run();
    assert_eq!(running.starts()[0].args(), ["host"]);
    running.wait_log("AUTOSSH_PORT \"0\" overrides -M \"1\"");
});

case!(forwards_of_the_variable_go_in_front, Same, {
    let port = port_pair();
    let running = Autossh::new(["-N", "host"], "exit 0").env("AUTOSSH_PORT", port.to_string()).run();
    let expected = [
        "-L".into(),
        format!("{port}:127.0.0.1:{port}"),
        "-R".into(),
        format!("{port}:127.0.0.1:{}", port + 1),
        "-N".into(),
        "host".into(),
    ];
    assert_eq!(running.starts()[0].args(), expected);
});

case!(automatic_ports_go_in_front_and_are_fresh, Beyond, {
    let running = Autossh::new(["-N", "host"], "exit 255\nexit 255\nexit 0").env("AUTOSSH_GATETIME", "0").run();
    let ports: Vec<Vec<u16>> = running
        .starts()
        .iter()
        .map(|start| {
            let args = start.args();
            assert_eq!(
                (args[0].as_str(), args[2].as_str(), &args[4..]),
                ("-L", "-R", &["-N".into(), "host".into()][..])
            );
            let (local, remote) = args[1].split_once(":127.0.0.1:").unwrap();
            let (from, listener) = args[3].split_once(":127.0.0.1:").unwrap();
            assert_eq!(remote, from);
            [local, remote, listener].iter().map(|port| port.parse().unwrap()).collect()
        })
        .collect();
    assert_eq!(ports.len(), 3);
    let mut picked: Vec<u16> = ports.iter().flat_map(|ports| ports[..2].to_vec()).collect();
    assert!(picked.iter().all(|port| (10_000..32_768).contains(port)), "{picked:?}");
    picked.sort_unstable();
    picked.dedup();
    assert_eq!(picked.len(), 6, "a port was picked twice");
});

table!(
    no_automatic_ports_without_a_session,
    Beyond,
    ["-W h:1 host", "-O check host", "-Q cipher host", "-G host"],
    |given| {
        assert_eq!(typed(given), given);
    }
);
