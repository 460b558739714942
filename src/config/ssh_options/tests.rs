use super::*;

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
