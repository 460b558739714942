use std::net::Ipv6Addr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::cases::cases;

fn options(args: &[(char, &str)]) -> Vec<(u8, OsString)> {
    args.iter().map(|(letter, value)| (u8::try_from(*letter).unwrap(), value.into())).collect()
}

#[test]
fn keywords() {
    for option in ["AddressFamily inet6", "AddressFamily = inet6", " AddressFamily=\"inet6\" ", "addressfamily\tinet6"]
    {
        assert_eq!(family(&options(&[('o', option)])), Family::V6, "{option:?}");
    }
    assert_eq!(family(&options(&[('o', "AddressFamily")])), Family::V4);
}

#[test]
fn commands() {
    for (given, expected) in [
        (&[][..], false),
        (&[('N', "")][..], true),
        (&[('o', "SessionType=none")], true),
        (&[('o', "SessionType none")], true),
        (&[('o', "sessiontype=default"), ('o', "SessionType=none")], false),
        (&[('T', "")], false),
    ] {
        assert_eq!(no_command(&options(given)), expected, "{given:?}");
    }
}

#[test]
fn where_a_forward_listens() {
    let port = |port| Some(Listen::Port(port));
    let path = |path: &str| Some(Listen::Path(path.into()));
    for (spec, expected) in [
        ("2200:localhost:22", port(2200)),
        ("0:localhost:22", port(0)),
        ("2200", port(2200)),
        ("localhost:2200", port(2200)),
        ("[::1]:2200", port(2200)),
        ("[::1]:2200:[::1]:22", port(2200)),
        ("*:2200:localhost:22", port(2200)),
        (":2200:localhost:22", port(2200)),
        ("2200:[2001:db8::1]:22", port(2200)),
        ("2200:/run/socket", port(2200)),
        ("localhost:2200:/run/socket", port(2200)),
        ("/run/socket:localhost:22", path("/run/socket")),
        ("/run/socket:/run/other", path("/run/socket")),
        ("/run/socket", path("/run/socket")),
        ("ssh:localhost:22", None),
        ("70000:localhost:22", None),
        ("", None),
        (":", None),
        ("[", None),
    ] {
        assert_eq!(listen(spec), expected, "{spec:?}");
    }
}

#[test]
fn forwards_that_are_asked_for() {
    let asked = forwards(&options(&[
        ('R', "2200:localhost:22"),
        ('R', "2200:localhost:23"),
        ('L', "8080:localhost:80"),
        ('D', "1080"),
        ('o', "RemoteForward=2201 localhost:22"),
        ('o', "RemoteForward 2202 localhost:22"),
        ('o', "localforward = [::1]:8081 localhost:80"),
        ('o', "DynamicForward=1081"),
        ('o', "ServerAliveInterval=30"),
        ('p', "2222"),
    ]));
    let ports = |ports: &[u16]| ports.iter().map(|port| Listen::Port(*port)).collect::<Vec<_>>();
    assert_eq!(asked.remote, ports(&[2200, 2200, 2201, 2202]));
    assert_eq!(asked.local, ports(&[8080, 1080, 8081, 1081]));
    assert!(!asked.tunnel);
    for (option, tunnel) in [(('w', "0:0"), true), (('o', "Tunnel=yes"), true), (('o', "Tunnel no"), false)] {
        assert_eq!(forwards(&options(&[option])).tunnel, tunnel, "{option:?}");
    }
}

/// An address to listen on, with its colon, as ssh wants it.
fn a_bind() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        select(vec!["localhost:", "*:", ":", "127.0.0.1:"]).prop_map(String::from),
        any::<[u8; 16]>().prop_map(|bytes| format!("[{}]:", Ipv6Addr::from(bytes))),
    ]
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn every_forward_is_found_however_it_is_typed(
        bind in a_bind(),
        port: u16,
        target in prop_oneof![
            select(vec!["localhost:22", "/run/a b", "[::1]:22", "h:ssh"]).prop_map(String::from),
            (a_bind(), any::<u16>()).prop_map(|(bind, port)| format!("{}{port}", if bind.is_empty() { "h:" } else { &bind })),
        ],
        separator in select(vec!["=", " ", " = ", "\t", "= "]),
    ) {
        let listen = [Listen::Port(port)];
        let forward = format!("{bind}{port}:{target}");
        prop_assert_eq!(&forwards(&options(&[('R', &forward)])).remote, &listen);
        prop_assert_eq!(&forwards(&options(&[('L', &forward)])).local, &listen);
        prop_assert_eq!(&forwards(&options(&[('D', &format!("{bind}{port}"))])).local, &listen);
        for (keyword, is_remote) in [("remoteForward", true), ("LocalForward", false)] {
            let option = format!("{keyword}{separator}{bind}{port} {target}");
            let asked = forwards(&options(&[('o', &option)]));
            prop_assert_eq!(if is_remote { &asked.remote } else { &asked.local }, &listen, "{}", option);
        }
    }

    #[test]
    fn any_option_can_be_read(given in vec((select(b"RLDwo46N".to_vec()), "[\\[\\]:/ =0-9a-zFT\"\u{e4}]{0,20}"), 0..6)) {
        let given: Vec<(u8, OsString)> = given.into_iter().map(|(letter, value)| (letter, value.into())).collect();
        let asked = forwards(&given);
        prop_assert!(asked.remote.len() + asked.local.len() <= given.len());
        let _ = (family(&given), no_command(&given));
    }
}
