use std::ffi::OsString;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::cases::cases;

fn args(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

fn read(line: &str) -> CommandLine {
    match parse(args(line)) {
        Ok(Request::Run(read)) => read,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn what_is_ours_is_taken_out() {
    for (given, port, background, place, kept) in [
        ("host", None, false, 0, "host"),
        ("-M 0 host", Some("0"), false, 0, "host"),
        ("-M0 host", Some("0"), false, 0, "host"),
        ("-f -N host", None, true, 0, "-N host"),
        ("-fN host", None, true, 0, "-N host"),
        ("-fL 8808:foo:80 host", None, true, 0, "-L 8808:foo:80 host"),
        ("-NfT host", None, true, 0, "-NT host"),
        ("-NM 20000 host", Some("20000"), false, 1, "-N host"),
        ("-fNM20000 -v host", Some("20000"), true, 1, "-N -v host"),
        ("-v host -M 5 cmd", Some("5"), false, 2, "-v host cmd"),
        ("-v -M 5 -4 -M 6 host", Some("6"), false, 1, "-v -4 host"),
        ("-M 20000 -- -M -N host", Some("20000"), false, 0, "-M -N host"),
        ("-- -f host -M 5", None, false, 0, "-f host -M 5"),
        ("-- -N -- host -M 5", None, false, 0, "-N -- host -M 5"),
        ("-- -- -N -M 5", None, false, 0, "-- -N -M 5"),
        ("--foM host", None, false, 0, "--foM host"),
        ("host tail -f x", None, false, 0, "host tail -f x"),
        ("host cmd -M 9", None, false, 0, "host cmd -M 9"),
        ("host -- cmd -f", None, false, 0, "host -- cmd -f"),
        ("-o f -i M -p V host", None, false, 0, "-o f -i M -p V host"),
        ("-vof host", None, false, 0, "-vof host"),
        ("host -L", None, false, 0, "host -L"),
        // dbclient's keepalive; OpenSSH's flag.
        ("-K 60 host -f", None, true, 0, "-K 60 host"),
        ("-K60 host -f", None, true, 0, "-K60 host"),
        ("-NK 60 host cmd -f", None, false, 0, "-NK 60 host cmd -f"),
        ("-K host cmd -f", None, false, 0, "-K host cmd -f"),
        ("-KN host cmd -f", None, false, 0, "-KN host cmd -f"),
    ] {
        let read = read(given);
        assert_eq!(read.ssh_args, args(kept), "{given}");
        assert_eq!(read.port, port.map(OsString::from), "{given}");
        assert_eq!(read.background, background, "{given}");
        if port.is_some() {
            assert_eq!(read.port_index, place, "{given}");
        }
    }
}

#[test]
fn sshs_options_are_known_with_their_values() {
    let read = read("-4 -vL 1:h:2 -oA=b host -p 22 x -6");
    let expected = [("4", ""), ("v", ""), ("L", "1:h:2"), ("o", "A=b"), ("p", "22")];
    assert_eq!(read.options, expected.map(|(letter, value)| (letter.as_bytes()[0], OsString::from(value))));
    let has = |letter| read.options.iter().any(|(given, _)| *given == letter);
    assert!(has(b'L') && !has(b'6'));
    // After our own -- too, until ssh's; a digit that is a value is none.
    for (given, expected) in [
        ("-- -4 host -6 cmd -N", &b"46"[..]),
        ("-- -4 -- host -6", b"4"),
        ("-- -4 host -- -6", b"4"),
        ("-- -- -4 -6", b""),
        ("-K60 host", b"K"),
        ("-K6N host", b"K6N"),
    ] {
        let letters: Vec<u8> = self::read(given).options.into_iter().map(|(letter, _)| letter).collect();
        assert_eq!(letters, expected, "{given}");
    }
}

#[test]
fn every_letter_takes_a_value_or_not_as_ssh_has_it() {
    for letter in (b'0'..=b'9').chain(b'a'..=b'z').chain(b'A'..=b'Z') {
        if b"fMV".contains(&letter) {
            continue;
        }
        let letter = char::from(letter);
        let takes_value = "BDEFIJLOPQRSWbceilmopw".contains(letter);
        let read = read(&format!("-{letter} one two"));
        assert_eq!(read.options, [(letter as u8, OsString::from(if takes_value { "one" } else { "" }))]);
    }
}

#[test]
fn requests_that_end_the_reading() {
    for (given, expected) in [
        ("-V", Ok(Request::Version)),
        ("--version", Ok(Request::Version)),
        ("-vV host", Ok(Request::Version)),
        ("host -V", Ok(Request::Version)),
        ("--help host", Ok(Request::Help)),
        ("-N", Err(Error::NoDestination)),
        ("-L host", Err(Error::NoDestination)),
        ("--", Err(Error::NoDestination)),
        ("-- --", Err(Error::NoDestination)),
        ("-M", Err(Error::NoPort)),
        ("host -vM", Err(Error::NoPort)),
    ] {
        assert_eq!(parse(args(given)), expected, "{given}");
    }
    assert_eq!(parse([]), Err(Error::NoDestination));
    for given in ["-- -V host", "host cmd -V", "host cmd --help", "-- --help host"] {
        assert!(matches!(parse(args(given)), Ok(Request::Run(_))), "{given}");
    }
}

/// A second reading of the grammar, in the manner of the getopt(3) that ssh comes with: an index into the args and one
/// into the letters of a arg. What is ours is marked, and left out at the end.
mod second {
    const TAKES_VALUE: &str = "B:D:E:F:I:J:L:O:P:Q:R:S:W:b:c:e:i:l:m:o:p:w:";

    #[derive(Debug, Default, PartialEq, Eq)]
    pub struct Reading {
        pub argv: Vec<Vec<u8>>,
        pub ports: Vec<Vec<u8>>,
        pub background: bool,
    }

    /// `None` where autossh would not run.
    pub fn read(argv: &[Vec<u8>]) -> Option<Reading> {
        let mut reading = Reading::default();
        let mut letters: Vec<Vec<Option<u8>>> =
            argv.iter().map(|arg| arg.iter().map(|byte| Some(*byte)).collect()).collect();
        let mut gone = vec![false; argv.len()];
        let mut ours = true;
        let mut terminated = false;
        let mut host = None;
        let mut index = 0;
        while index < argv.len() {
            let arg = &argv[index];
            if arg == b"--" {
                if host.is_some() || !ours {
                    terminated = true;
                    index += 1;
                    if host.is_some() {
                        break;
                    }
                    host = Some(index);
                    break;
                }
                gone[index] = true;
                ours = false;
                index += 1;
                continue;
            }
            if arg.len() < 2 || arg[0] != b'-' {
                if host.is_some() {
                    break;
                }
                host = Some(index);
                index += 1;
                continue;
            }
            if arg[1] == b'-' {
                if ours && (arg == b"--help" || arg == b"--version") {
                    return None;
                }
                index += 1;
                continue;
            }
            let mut used_next = false;
            let mut place = 1;
            while place < arg.len() {
                let letter = arg[place];
                let mine = ours && b"fMV".contains(&letter);
                // dbclient's -K, if a number follows.
                let next = if place + 1 < arg.len() {
                    Some(&arg[place + 1..])
                } else {
                    argv.get(index + 1).map(|next| &next[..])
                };
                let keepalive = letter == b'K'
                    && next.is_some_and(|next| !next.is_empty() && next.iter().all(|byte| (48..58).contains(byte)));
                let takes_value = |letter| TAKES_VALUE.as_bytes().chunks(2).any(|pair| pair[0] == letter);
                let value = if mine { letter == b'M' } else { keepalive || takes_value(letter) };
                if mine {
                    letters[index][place] = None;
                    match letter {
                        b'f' => reading.background = true,
                        b'V' => return None,
                        _ => {}
                    }
                }
                if value {
                    let text = if place + 1 < arg.len() {
                        Some(arg[place + 1..].to_vec())
                    } else {
                        used_next = index + 1 < argv.len();
                        argv.get(index + 1).cloned()
                    };
                    if mine {
                        reading.ports.push(text?);
                        letters[index][place..].fill(None);
                        if used_next {
                            gone[index + 1] = true;
                        }
                    }
                    break;
                }
                place += 1;
            }
            if letters[index].iter().flatten().count() == 1 {
                gone[index] = true;
            }
            index += if used_next { 2 } else { 1 };
        }
        host.filter(|host| *host < argv.len() || !terminated).filter(|host| *host < argv.len())?;
        for (arg, gone) in letters.into_iter().zip(gone) {
            if !gone {
                reading.argv.push(arg.into_iter().flatten().collect());
            }
        }
        Some(reading)
    }
}

/// What people, and adversaries, type.
fn a_word() -> impl Strategy<Value = Vec<u8>> {
    let letters = b"1246AaBbCcDEeFfGgIiJKkLlMmNnOoPpQqRSsTtVvWwXxYy-=:%";
    let bundle = vec(select(letters.to_vec()), 1..5).prop_map(|letters| [b"-".to_vec(), letters].concat());
    let known = select(vec![
        "-M",
        "-f",
        "-N",
        "-L",
        "-fN",
        "-NM",
        "-M0",
        "--",
        "-",
        "",
        "host",
        "u@h",
        "cmd",
        "-V",
        "20000",
        "1:h:2",
        "--help",
        "--version",
        "--color",
        "-p",
        "-o",
        "a=b",
        "-6",
        "-K",
        "-K60",
        "x y",
    ])
    .prop_map(|arg| arg.as_bytes().to_vec());
    let bytes = vec(1..=255_u8, 0..4);
    prop_oneof![3 => bundle, 6 => known, 1 => bytes]
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn a_second_reading_of_the_grammar_agrees(line in vec(a_word(), 0..9)) {
        let given: Vec<OsString> = line.iter().cloned().map(OsString::from_vec).collect();
        let first = match parse(given) {
            Ok(Request::Run(read)) => Some(read),
            _ => None,
        };
        let second = second::read(&line);
        prop_assert_eq!(first.is_some(), second.is_some());
        if let (Some(first), Some(second)) = (first, second) {
            let kept: Vec<Vec<u8>> = first.ssh_args.into_iter().map(OsString::into_vec).collect();
            prop_assert_eq!(kept, second.argv);
            prop_assert_eq!(first.port.map(OsString::into_vec), second.ports.last().cloned());
            prop_assert_eq!(first.background, second.background);
        }
    }
}

type Args = Vec<Vec<u8>>;

/// An option of ssh's, in one arg or two.
fn an_option() -> impl Strategy<Value = Args> {
    let bytes = || vec(1..=255_u8, 0..6);
    let flags = vec(select(b"46AaCgGkNnqsTtvXxYyZ".to_vec()), 1..4).prop_map(|flags| vec![[b"-", &flags[..]].concat()]);
    let joined = (select(VALUE_LETTERS), vec(1..=255_u8, 1..6))
        .prop_map(|(letter, value)| vec![[b"-", &[letter][..], &value].concat()]);
    let apart = (select(VALUE_LETTERS), bytes()).prop_map(|(letter, value)| vec![vec![b'-', letter], value]);
    prop_oneof![flags, joined, apart]
}

/// What is ours, and the port that it gives.
type Ours = (Args, Option<String>);

fn ours() -> impl Strategy<Value = Ours> {
    prop_oneof![
        Just((vec![b"-f".to_vec()], None)),
        "[0-9:]{1,9}".prop_map(|port| (vec![format!("-M{port}").into_bytes()], Some(port))),
        "[0-9:a-f -]{0,9}".prop_map(|port| (vec![b"-M".to_vec(), port.clone().into_bytes()], Some(port))),
        "[0-9]{1,5}".prop_map(|port| (vec![format!("-ffM{port}").into_bytes()], Some(port))),
    ]
}

proptest! {
    #![proptest_config(cases(4_000))]

    /// Built the other way round: ssh's args are known, and ours are put between them.
    #[test]
    fn ssh_gets_what_was_typed_whatever_of_ours_is_between(
        before in vec((an_option(), proptest::option::of(ours())), 0..5),
        host in "[^-].{0,8}",
        after in vec((an_option(), proptest::option::of(ours())), 0..4),
        command in proptest::option::of(("[^-]?", vec(vec(1..=255_u8, 0..6), 0..4))),
    ) {
        let (mut typed, mut sshs, mut port, mut background) = (Vec::new(), Vec::new(), None, false);
        let mut add = |options: Vec<(Args, Option<Ours>)>, rest: Args| {
            for (option, ours) in options {
                let (ours, given) = ours.unwrap_or_default();
                background |= ours.first().is_some_and(|arg| arg.starts_with(b"-f"));
                port = given.or(port.take());
                typed.extend(ours);
                typed.extend(option.clone());
                sshs.extend(option);
            }
            typed.extend(rest.clone());
            sshs.extend(rest);
        };
        add(before, vec![host.into_bytes()]);
        add(after, command.map(|(word, args)| [vec![word.into_bytes()], args].concat()).unwrap_or_default());
        let os = |args: Args| args.into_iter().map(OsString::from_vec).collect::<Vec<_>>();
        let Ok(Request::Run(line)) = parse(os(typed)) else { panic!("not run") };
        prop_assert_eq!(line.ssh_args, os(sshs));
        prop_assert_eq!(line.port, port.map(OsString::from));
        prop_assert_eq!(line.background, background);
    }
}
