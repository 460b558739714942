//! autossh(1), SYNOPSIS: which arguments are passed to ssh.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Command;

use crate::harness::{Autossh, output, port_pair, program, wait_for};
use crate::{case, table};

mod monitor_port;

/// What ssh gets when autossh gets `args`.
fn argv(args: &[impl AsRef<OsStr>]) -> Vec<OsString> {
    let running = Autossh::new(args, "exit 0").env("AUTOSSH_GATETIME", "0").run();
    // With -f the caller returns before ssh has recorded anything.
    let start = running.wait_start(1);
    start.argv[1..].to_vec()
}

/// The same as text, for arguments between single blanks.
fn typed(words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    let got: Vec<String> = argv(&words).iter().map(|word| word.to_string_lossy().into_owned()).collect();
    got.join(" ")
}

/// Runs the program and returns its status, stdout and stderr.
fn output_of(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program());
    let output = output(command.args(args).env("AUTOSSH_PATH", "/bin/false").env("AUTOSSH_LOGFILE", "/dev/null"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

table!(
    autossh_removes_its_own_arguments,
    Same,
    [
        ("-M 0 host", "host"),
        ("-M0 host", "host"),
        ("-M 0 -N host", "-N host"),
        ("-M 0 -f -N host", "-N host"),
        ("-M 0 -fN host", "-N host"),
        ("-M 0 -fNT host", "-NT host"),
        ("-M 0 -NfT host", "-NT host"),
        ("-M 0 -L 1:h:2 -R 3:h:4 -D 5 -p 22 host", "-L 1:h:2 -R 3:h:4 -D 5 -p 22 host"),
        ("-M 0 -L1:h:2 host", "-L1:h:2 host"),
        ("-M 0 -fL 8808:foo:80 host", "-L 8808:foo:80 host"),
        ("-M 0 -o ExitOnForwardFailure=yes host", "-o ExitOnForwardFailure=yes host"),
        ("-M 0 -2 host", "-2 host"),
        ("-M 0 -i /a/f -F /b/M host", "-i /a/f -F /b/M host"),
        ("-M 0 user@host true", "user@host true"),
        ("-M 0 ssh://user@host:22 true", "ssh://user@host:22 true"),
        ("-M 0 -- host", "host"),
        ("-M 0 -- -M -N host", "-M -N host"),
        ("-M 0 -W h:1 host", "-W h:1 host"),
        ("-M0 -P f host", "-P f host"),
    ],
    |(given, expected)| {
        assert_eq!(typed(given), expected);
    }
);

table!(
    ssh_gets_what_was_typed_where_the_reference_mangles_it,
    Defect,
    [
        // Bundles with -M in them.
        ("-NM 0 host", "-N host"),
        ("-fM 0 host", "host"),
        ("-fNM0 host", "-N host"),
        // The remote command is not parsed.
        ("-M0 host tail -f x", "host tail -f x"),
        ("-M0 host cmd -M 9", "host cmd -M 9"),
        ("-M0 host cmd -V", "host cmd -V"),
        ("-M0 -N host -- cmd -f -M 1", "-N host -- cmd -f -M 1"),
        // autossh's `--` ends its own options.
        ("-f -M 0 -- -f -N host", "-f -N host"),
        // Letters whose values 1.4g does not know, so that it takes these for the destination or its own options.
        ("-M 0 -J a,b -c aes -m hmac -b 1.2.3.4 host", "-J a,b -c aes -m hmac -b 1.2.3.4 host"),
        ("-M0 -B f host", "-B f host"),
        // Options after the destination stay there.
        ("-M 0 host -N -L 1:h:2", "host -N -L 1:h:2"),
        ("-M 0 host -p 22 -v ls -l", "host -p 22 -v ls -l"),
        ("-M 0 host -fN", "host -N"),
    ],
    |(given, expected)| {
        assert_eq!(typed(given), expected);
    }
);

table!(
    more_of_the_grammar,
    Beyond,
    [
        ("-M 0 host ls --color", "host ls --color"),
        ("-M 0 host cmd -c x", "host cmd -c x"),
        ("-M 0 host -N -- -f", "host -N -- -f"),
        ("-M 0 -- -N -- host -f", "-N -- host -f"),
        ("-M 0 -- host -f", "host -f"),
        ("-M 1 -M 0 host", "host"),
        ("-M 0 -Xyz host", "-Xyz host"),
        ("-M 0 -% host", "-% host"),
        ("-M 0 - ls", "- ls"),
        ("-M 0 -of=M host", "-of=M host"),
        ("-M 0 host -p", "host -p"),
        ("host -M 0 -v ls -M 7", "host -v ls -M 7"),
    ],
    |(given, expected)| {
        assert_eq!(typed(given), expected);
    }
);

// Common examples from guides.
table!(
    uses_that_the_guides_show,
    Same,
    [
        (
            "-M 0 -o ServerAliveInterval=10 -o ServerAliveCountMax=3 -L 1:h:2 u@h",
            "-o ServerAliveInterval=10 -o ServerAliveCountMax=3 -L 1:h:2 u@h"
        ),
        (
            "-f -M 0 -o ServerAliveInterval=10 -o ServerAliveCountMax=3 -N -o ExitOnForwardFailure=yes -L 1:h:2 u@h",
            "-o ServerAliveInterval=10 -o ServerAliveCountMax=3 -N -o ExitOnForwardFailure=yes -L 1:h:2 u@h"
        ),
        ("-f -M 0 -N -vvv -E /tmp/log -L 1:h:2 u@h", "-N -vvv -E /tmp/log -L 1:h:2 u@h"),
    ],
    |(given, expected)| {
        assert_eq!(typed(given), expected);
    }
);

case!(arguments_are_bytes, Defect, {
    let strange: Vec<OsString> = vec![
        "-M".into(),
        "0".into(),
        "host".into(),
        OsString::from_vec(vec![0xff, b'x', 0x80]),
        "".into(),
        "a b\n".into(),
    ];
    assert_eq!(argv(&strange)[..], strange[2..]);
});

case!(an_empty_argument_is_a_destination_too, Beyond, {
    let words = ["-M", "0", "-N", "", "x"];
    assert_eq!(argv(&words), ["-N", "", "x"].map(OsString::from));
});

case!(a_shell_command_stays_one_argument, Defect, {
    let words = ["-M", "0", "host", "sh", "-c", "a b"];
    assert_eq!(argv(&words), ["host", "sh", "-c", "a b"].map(OsString::from));
});

table!(version, Same, [&["-V"][..], &["-V", "host"], &["-NV"], &["-M", "0", "-V", "host"], &["host", "-V"]], |args| {
    let (status, out, _) = output_of(args);
    assert_eq!(status, Some(0));
    let mut words = out.split_whitespace();
    assert_eq!(words.next(), Some("autossh"));
    assert!(words.next().unwrap().starts_with(|c: char| c.is_ascii_digit()), "{out}");
});

case!(another_way_to_ask_for_the_version, Defect, {
    assert_eq!(output_of(&["--version"]), (Some(0), format!("autossh {}\n", env!("CARGO_PKG_VERSION")), String::new()));
});

case!(help, Defect, {
    let (status, out, err) = output_of(&["--help"]);
    assert_eq!(status, Some(0));
    assert!(out.starts_with("usage: autossh"), "{out}");
    assert_eq!(err, "");
});

table!(no_destination, Same, [&[][..], &["-M", "0"], &["-N", "-L", "host"], &["-M", "0", "--"]], |args| {
    let (status, out, err) = output_of(args);
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("usage: autossh"), "{err}");
});

case!(ssh_is_called_by_its_full_path, Same, {
    let running = Autossh::new(["-M", "0", "host"], "exit 0").run();
    let program = &running.starts()[0].argv[0];
    assert!(program.as_bytes().starts_with(b"/") && program.as_bytes().ends_with(b"/scripted-ssh"), "{program:?}");
});

case!(one_and_the_same_process_tree, Same, {
    // Scripts count processes by name and find tunnels by their arguments.
    let running = Autossh::new(["-M", "0", "-N", "host"], "hang").start();
    let start = running.wait_start(1);
    assert_eq!(start.parent, running.pid());
    wait_for("autossh's own words", || {
        let line = std::fs::read(format!("/proc/{}/cmdline", running.pid())).unwrap();
        line.ends_with(b"-M\x000\x00-N\x00host\x00").then_some(())
    });
});

/// Arguments that mean the same to ssh anywhere before the remote command, some with autossh's own among them: what is
/// typed, and what is left for ssh.
const PIECES: [(&[&str], &[&str]); 16] = [
    (&["-M", "0"], &[]),
    (&["-M0"], &[]),
    (&["-NM0"], &["-N"]),
    (&["-CTM", "0"], &["-CT"]),
    (&["-p", "2022"], &["-p", "2022"]),
    (&["-4p2023"], &["-4p2023"]),
    (&["-o", "User=me"], &["-o", "User=me"]),
    (&["-oLogLevel=DEBUG"], &["-oLogLevel=DEBUG"]),
    (&["-L", "1080:h:80"], &["-L", "1080:h:80"]),
    (&["-gL1081:h:80"], &["-gL1081:h:80"]),
    (&["-S", "-M0"], &["-S", "-M0"]),
    (&["-i", "-M"], &["-i", "-M"]),
    (&["-b", "-f"], &["-b", "-f"]),
    (&["-Ne", "none"], &["-Ne", "none"]),
    (&["-c", "aes256-ctr"], &["-c", "aes256-ctr"]),
    (&["-D1082"], &["-D1082"]),
];

case!(the_real_ssh_parses_the_rest_as_intended, Beyond, {
    let mut seed = std::process::id();
    for _ in 0..60 {
        let (mut typed, mut left) = (Vec::new(), Vec::new());
        let mut pick = |most: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) % most
        };
        let host = pick(5);
        for place in 0..5 {
            if place == host {
                typed.push("host".to_owned());
                left.push("host".to_owned());
            }
            let (words, rest) = PIECES[usize::try_from(pick(16)).unwrap()];
            typed.extend(words.iter().map(|word| (*word).to_owned()));
            left.extend(rest.iter().map(|word| (*word).to_owned()));
        }
        // With or without -M, monitoring is off.
        let running = Autossh::new(&typed, "exit 0").env("AUTOSSH_PORT", "0").env("AUTOSSH_GATETIME", "0").run();
        let got = running.starts()[0].args();
        assert_eq!(got, left, "typed: {typed:?}");
        // As far as -G shows, ssh understands it as intended.
        let output = output(Command::new("/usr/bin/ssh").args(["-F", "none", "-G"]).args(&got));
        let config = String::from_utf8(output.stdout).unwrap();
        assert!(config.contains("hostname host\n"), "typed: {typed:?}: {}", String::from_utf8_lossy(&output.stderr));
        for (words, line) in [
            ("-gL1081:h:80", "localforward 1081 [h]:80\n"),
            ("-S", "controlpath -M0\n"),
            ("-b", "bindaddress -f\n"),
            ("-D1082", "dynamicforward 1082\n"),
            ("User=me", "user me\n"),
        ] {
            assert_eq!(left.iter().any(|word| word == words), config.contains(line), "{typed:?}: {line}");
        }
    }
});
