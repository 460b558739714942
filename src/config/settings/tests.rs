use std::collections::HashMap;
use std::os::unix::ffi::OsStringExt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::cases::cases;
use crate::config::cli::{Request, parse};

fn with(line: &str, variables: &[(&str, &str)]) -> Result<Settings, Invalid> {
    let Ok(Request::Run(read)) = parse(line.split(' ').map(OsString::from)) else { panic!("{line}") };
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    resolve(read, |name| variables.get(name).map(OsString::from))
}

fn of(line: &str, variables: &[(&str, &str)]) -> Settings {
    with(line, variables).unwrap_or_else(|invalid| panic!("{line}: {invalid}"))
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn defaults() {
    let settings = of("host", &[]);
    assert_eq!(settings.rules.monitoring, Monitoring::Automatic);
    assert_eq!(
        (settings.rules.poll, settings.rules.first_poll, settings.net_timeout),
        (secs(600), secs(600), secs(15))
    );
    assert_eq!((settings.rules.gate_time, settings.rules.max_starts, settings.rules.lifetime), (secs(30), None, None));
    assert_eq!((settings.log_level, settings.log_on_stderr), (6, false));
    assert_eq!(settings.log_target, LogTarget::Syslog);
    assert!(
        settings.rules.watch_network && !settings.background && !settings.rules.service && !settings.rules.no_command
    );
    assert_eq!(settings.notes, []);
}

#[test]
fn ports() {
    let looped = |port| Monitoring::Loop { port };
    for (line, variable, expected, place) in [
        ("-N host", "", Monitoring::Automatic, 0),
        ("-N -M 0 host", "", Monitoring::Off, 1),
        ("-N -M 1 host", "", looped(1), 1),
        ("-N -M 65534 host", "", looped(65534), 1),
        ("-N -M 20000:7 host", "", Monitoring::Echo { port: 20000, echo: 7 }, 1),
        ("-N -M 20000:65535 host", "", Monitoring::Echo { port: 20000, echo: 65535 }, 1),
        ("-N -M 5 host", "20000", looped(20000), 0),
        ("-N -M 5 host", " 0", Monitoring::Off, 0),
        ("-N host", "20000:7", Monitoring::Echo { port: 20000, echo: 7 }, 0),
        ("-W h:1 host", "", Monitoring::Off, 0),
        ("-W 65536 host", "", Monitoring::Automatic, 0),
        ("-O exit host", "", Monitoring::Off, 0),
        ("-Q cipher host", "", Monitoring::Off, 0),
        ("-G host", "", Monitoring::Off, 0),
        ("-G -M 5 host", "", looped(5), 1),
    ] {
        let settings = of(line, &[("AUTOSSH_PORT", variable)]);
        assert_eq!((settings.rules.monitoring, settings.forwards_index), (expected, place), "{line} {variable}");
    }
}

#[test]
fn ports_that_are_refused() {
    for port in
        ["", "x", "-1", "65535", "65536", "1x", "1 2", "0x10", "1:", ":1", "0:7", "1:0", "1:65536", "65535:7", "1:2:3"]
    {
        assert!(with("host", &[("AUTOSSH_PORT", port)]).is_err() || port.is_empty(), "{port:?}");
        let line = CommandLine { port: Some(port.into()), ..CommandLine::default() };
        assert_eq!(resolve(line, |_| None).unwrap_err().name, "-M", "{port:?}");
    }
}

#[test]
fn a_port_given_twice_is_noted_if_it_differs() {
    assert_eq!(of("-M 5 host", &[("AUTOSSH_PORT", "5")]).notes, []);
    let notes = of("-M 5 host", &[("AUTOSSH_PORT", "6")]).notes;
    assert_eq!(notes, [(Level::Warning, "AUTOSSH_PORT \"6\" overrides -M \"5\"".to_owned())]);
}

#[test]
fn families() {
    for (line, expected) in [
        ("host", Family::V4),
        ("-6 host", Family::V6),
        ("-6 -4 host", Family::V4),
        ("-4 -6 host", Family::V6),
        ("-o AddressFamily=inet6 host", Family::V6),
        ("-oAddressFamily=inet6 host", Family::V6),
        ("-o addressfamily=INET6 host", Family::V6),
        ("-o AddressFamily=any host", Family::V4),
        ("-o AddressFamily=inet -o AddressFamily=inet6 host", Family::V4),
        ("-4 -o AddressFamily=inet6 host", Family::V4),
        ("-o AddressFamily=inet6 -4 host", Family::V4),
        ("-o Other=inet6 host", Family::V4),
        ("-i AddressFamily=inet6 host", Family::V4),
        ("host -6", Family::V6),
        ("host cmd -6", Family::V4),
    ] {
        assert_eq!(of(line, &[]).family, expected, "{line}");
    }
}

#[test]
fn the_network_is_watched_unless_that_is_switched_off() {
    let watched = |value| with("host", &[("AUTOSSH_NETWATCH", value)]).map(|settings| settings.rules.watch_network);
    for (value, expected) in [("", true), ("yes", true), ("no", false)] {
        assert_eq!(watched(value), Ok(expected), "{value}");
    }
    for value in ["off", "NO", " no", "0"] {
        let text = format!("invalid AUTOSSH_NETWATCH {value:?}: give no, or yes (the default)");
        assert_eq!(watched(value).unwrap_err().to_string(), text);
    }
}

#[test]
fn times() {
    let poll = |variables: &[(&str, &str)]| {
        let settings = of("-M 0 host", variables);
        (settings.rules.poll.as_secs(), settings.rules.first_poll.as_secs(), settings.net_timeout.as_millis())
    };
    assert_eq!(poll(&[("AUTOSSH_POLL", "60")]), (60, 60, 15_000));
    assert_eq!(poll(&[("AUTOSSH_POLL", "60"), ("AUTOSSH_FIRST_POLL", "5")]), (60, 5, 15_000));
    assert_eq!(poll(&[("AUTOSSH_FIRST_POLL", "5")]), (600, 5, 15_000));
    assert_eq!(poll(&[("AUTOSSH_POLL", "29")]), (29, 29, 14_500));
    assert_eq!(poll(&[("AUTOSSH_POLL", "1")]), (1, 1, 500));
    assert_eq!(poll(&[("AUTOSSH_MAXLIFETIME", "100")]), (100, 100, 15_000));
    assert_eq!(poll(&[("AUTOSSH_MAXLIFETIME", "100"), ("AUTOSSH_FIRST_POLL", "50")]), (100, 50, 15_000));
    assert_eq!(poll(&[("AUTOSSH_MAXLIFETIME", "4")]), (4, 4, 2_000));
    assert_eq!(poll(&[("AUTOSSH_MAXLIFETIME", "1000")]), (600, 600, 15_000));
    assert_eq!(poll(&[("AUTOSSH_MAXLIFETIME", "0")]), (600, 600, 15_000));
    assert_eq!(poll(&[("AUTOSSH_POLL", "2147483647")]), (2_147_483_647, 2_147_483_647, 15_000));
    let note = of("-M 0 host", &[("AUTOSSH_POLL", "5")]).notes[1].clone();
    assert_eq!(note, (Level::Info, "short poll time: adjusting net timeouts to 2500".to_owned()));
}

#[test]
fn limits() {
    assert_eq!(of("host", &[("AUTOSSH_MAXSTART", "3")]).rules.max_starts, Some(3));
    assert_eq!(of("host", &[("AUTOSSH_MAXSTART", "0")]).rules.max_starts, Some(0));
    assert_eq!(of("host", &[("AUTOSSH_MAXSTART", "-1")]).rules.max_starts, None);
    assert_eq!(of("host", &[("AUTOSSH_MAXSTART", "-7")]).rules.max_starts, None);
    assert_eq!(of("host", &[("AUTOSSH_MAXLIFETIME", "7")]).rules.lifetime, Some(secs(7)));
    assert_eq!(of("host", &[("AUTOSSH_MAXLIFETIME", "-1")]).rules.lifetime, None);
    assert_eq!(of("host", &[("AUTOSSH_GATETIME", "0")]).rules.gate_time, secs(0));
    assert_eq!(of("-f host", &[("AUTOSSH_GATETIME", "30")]).rules.gate_time, secs(0));
}

#[test]
fn logs() {
    let target = |variables| of("host", variables).log_target;
    assert_eq!(target(&[("AUTOSSH_LOGFILE", "a/b")]), LogTarget::File("a/b".into()));
    assert_eq!(target(&[("AUTOSSH_LOGFILE", "")]), LogTarget::Syslog);
    assert_eq!(target(&[("AUTOSSH_NTSERVICE", "yes")]), LogTarget::File("/dev/stdout".into()));
    assert_eq!(target(&[("AUTOSSH_NTSERVICE", "yes"), ("AUTOSSH_LOGFILE", "x")]), LogTarget::File("x".into()));
    let level = |variables| {
        let settings = of("host", variables);
        (settings.log_level, settings.log_on_stderr)
    };
    assert_eq!(level(&[("AUTOSSH_LOGLEVEL", "3")]), (3, false));
    assert_eq!(level(&[("AUTOSSH_LOGLEVEL", "3"), ("AUTOSSH_DEBUG", "")]), (7, true));
}

#[test]
fn the_service_adds_its_option_once_and_in_front() {
    let service = |line| {
        let settings = of(line, &[("AUTOSSH_NTSERVICE", "yes")]);
        (settings.ssh_args, settings.forwards_index)
    };
    let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
    assert_eq!(service("-v -M 5 host"), (words("-N -v host"), 2));
    assert_eq!(service("-v host"), (words("-N -v host"), 0));
    assert_eq!(service("-vN host"), (words("-vN host"), 0));
    assert!(of("host", &[("AUTOSSH_NTSERVICE", "yes")]).rules.no_command);
    assert!(!of("host", &[("AUTOSSH_NTSERVICE", "no")]).rules.service);
}

#[test]
fn messages() {
    let longest = "x".repeat(64);
    assert_eq!(of("host", &[("AUTOSSH_MESSAGE", &longest)]).message, OsString::from(&longest));
    assert!(with("host", &[("AUTOSSH_MESSAGE", &"x".repeat(65))]).is_err());
}

#[test]
fn an_invalid_value_is_shown_with_what_would_be_right() {
    for (name, value, wanted) in [
        ("AUTOSSH_POLL", "1.5", "give a whole number, 1 to 2147483647"),
        ("AUTOSSH_GATETIME", "-1", "give a whole number, 0 to 2147483647"),
        ("AUTOSSH_MAXSTART", "many", "give a whole number, at most 2147483647"),
        ("AUTOSSH_LOGLEVEL", "8", "give a syslog level, 0 to 7"),
    ] {
        let text = with("host", &[(name, value)]).unwrap_err().to_string();
        assert_eq!(text, format!("invalid {name} {value:?}: {wanted}"));
    }
}

/// A number, or what is nearly one.
fn a_number() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => any::<i32>().prop_map(|number| number.to_string()),
        3 => (-9..70_000_i64).prop_map(|number| number.to_string()),
        2 => select(vec![-2_147_483_648_i64, -1, 0, 1, 7, 8, 65534, 65535, 65536, 2_147_483_647, 2_147_483_648])
            .prop_map(|number| number.to_string()),
        1 => any::<i128>().prop_map(|number| number.to_string()),
        3 => "[ \t\n]{0,2}[+-]?[0-9]{0,4}[ \t\n\u{b}\u{a0}]{0,2}",
        1 => "[ 0-9a-fx:+.-]{0,6}",
        1 => "\\PC{0,4}",
    ]
}

/// What the text means to somebody who reads it digit by digit.
fn meaning(text: &str) -> Option<i128> {
    let text = text.trim_matches([' ', '\t', '\n', '\r', '\x0c']);
    let (sign, digits) = match text.as_bytes().split_first()? {
        (b'-', digits) => (-1, digits),
        (b'+', digits) => (1, digits),
        _ => (1, text.as_bytes()),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0_i128, |amount, digit| (amount * 10 + i128::from(digit - b'0')).min(1 << 100));
    Some(sign * amount)
}

/// A variable and a value that may be meant for another.
fn a_variable() -> impl Strategy<Value = (&'static str, OsString)> {
    let names: Vec<_> = USAGE.split(|c: char| !c.is_ascii_alphabetic() && c != '_').collect();
    let names = names.into_iter().filter(|name| name.starts_with("AUTOSSH_")).collect::<Vec<_>>();
    let value = prop_oneof![
        6 => a_number().prop_map(OsString::from),
        2 => select(vec!["", "yes", "no", "/dev/stdout", "20000:7"]).prop_map(OsString::from),
        1 => vec(1..=255_u8, 0..70).prop_map(OsString::from_vec),
    ];
    (select(names), value)
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn a_number_is_what_it_looks_like(text in a_number()) {
        for (name, least, most) in [
            ("AUTOSSH_POLL", 1, 2_147_483_647),
            ("AUTOSSH_FIRST_POLL", 1, 2_147_483_647),
            ("AUTOSSH_GATETIME", 0, 2_147_483_647),
            ("AUTOSSH_MAXLIFETIME", -2_147_483_647, 2_147_483_647),
            ("AUTOSSH_MAXSTART", -2_147_483_647, 2_147_483_647),
            ("AUTOSSH_LOGLEVEL", 0, 7),
        ] {
            let wanted = meaning(&text).filter(|number| (least..=most).contains(number));
            let seconds = |time: Duration| i128::from(time.as_secs());
            let got = with("-M 0 host", &[(name, &text)]).map(|settings| match name {
                "AUTOSSH_POLL" => (seconds(settings.rules.poll), seconds(settings.rules.first_poll)),
                "AUTOSSH_FIRST_POLL" => (seconds(settings.rules.first_poll), 600),
                "AUTOSSH_GATETIME" => (seconds(settings.rules.gate_time), 600),
                "AUTOSSH_MAXLIFETIME" => (settings.rules.lifetime.map_or(0, seconds), seconds(settings.rules.poll)),
                "AUTOSSH_MAXSTART" => (settings.rules.max_starts.map_or(-1, i128::from), 600),
                _ => (settings.log_level.into(), 600),
            });
            match (wanted, got) {
                (None, Err(invalid)) => prop_assert_eq!(invalid.name, name),
                (Some(number), Ok(got)) => prop_assert_eq!(got, match name {
                    "AUTOSSH_POLL" => (number, number),
                    "AUTOSSH_MAXLIFETIME" if number > 0 => (number, number.min(600)),
                    "AUTOSSH_MAXLIFETIME" => (0, 600),
                    "AUTOSSH_MAXSTART" => (number.max(-1), 600),
                    _ => (number, 600),
                }, "{} {:?}", name, text),
                (wanted, got) => prop_assert!(false, "{name} {text:?}: {wanted:?} {got:?}"),
            }
        }
    }

    #[test]
    fn a_port_is_what_it_looks_like(port in a_number(), echo in proptest::option::of(a_number())) {
        let text = echo.as_ref().map_or(port.clone(), |echo| format!("{port}:{echo}"));
        let number = |text: &str, most| meaning(text).filter(|number| (0..=most).contains(number));
        let wanted = match (text.split_once(':'), number(&text, 65534)) {
            (None, Some(0)) => Some(Monitoring::Off),
            (None, port) => port.map(|port| Monitoring::Loop { port: u16::try_from(port).unwrap() }),
            (Some((port, echo)), _) => match (number(port, 65534), number(echo, 65535)) {
                (Some(port @ 1..), Some(echo @ 1..)) => Some(Monitoring::Echo {
                    port: u16::try_from(port).unwrap(),
                    echo: u16::try_from(echo).unwrap(),
                }),
                _ => None,
            },
        };
        let line = CommandLine { port: Some(text.clone().into()), ..CommandLine::default() };
        let got = resolve(line, |_| None).map(|settings| settings.rules.monitoring);
        prop_assert_eq!(got.ok(), wanted, "{:?}", text);
        if !text.is_empty() {
            let got = with("host", &[("AUTOSSH_PORT", &text)]).map(|settings| settings.rules.monitoring);
            prop_assert_eq!(got.ok(), wanted, "{:?}", text);
        }
    }

    #[test]
    fn any_environment_gives_sound_settings_or_one_line_that_names_the_value(
        variables in vec(a_variable(), 0..5),
        line in select(vec!["host", "-f -M 5 -v host", "-N -M 9:7 host -D 5", "-M 0 -oAddressFamily=inet6 host"]),
    ) {
        let given: HashMap<_, _> = variables.into_iter().collect();
        let Ok(Request::Run(read)) = parse(line.split(' ').map(OsString::from)) else { panic!("{line}") };
        match resolve(read, |name| given.get(name).cloned()) {
            Ok(settings) => {
                let rules = &settings.rules;
                prop_assert!(rules.poll >= secs(1) && rules.first_poll >= secs(1));
                prop_assert!(rules.lifetime.is_none_or(|life| life >= rules.poll && life >= rules.first_poll));
                prop_assert!(settings.net_timeout * 2 <= rules.poll && settings.net_timeout <= secs(15));
                prop_assert!(settings.forwards_index <= settings.ssh_args.len());
                prop_assert!(!settings.background || rules.gate_time == secs(0));
                prop_assert!(settings.log_level <= 7 && settings.message.len() <= 64);
                prop_assert!(settings.notes.iter().all(|(_, note)| !note.contains('\n')));
            }
            Err(invalid) => {
                prop_assert_eq!(Some(&invalid.value), given.get(invalid.name));
                let text = invalid.to_string();
                prop_assert!(text.starts_with("invalid AUTOSSH_") && !text.contains('\n'), "{}", text);
            }
        }
    }
}
