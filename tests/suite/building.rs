//! The script that builds the release binary, on machines that are simulated by replacements for rustc and cargo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::harness::{install_script, output, output_of, output_within};
use crate::{case, table};

/// How long it may take to build.
const BUILD: Duration = Duration::from_secs(900);

const STATIC: &str = "-C target-feature=+crt-static";

/// Knows what the machine can link from the file `links`, a target and its flags a line.
const RUSTC: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
case $1 in
-vV) printf 'rustc 1.85.0\nhost: %s\nrelease: 1.85.0\n' "$(cat host)" ;;
--target) echo "$*" | sed 's/^--target //; s/ -o .*//' | grep -qxFf links ;;
*) exit 1 ;;
esac
"#;

/// Writes down how it was asked to build.
const CARGO: &str = r#"#!/bin/sh
here=$(dirname "$0")
case $1 in
metadata) printf '{"packages":[],"target_directory":"%s/out","version":1}\n' "$here" ;;
*) echo "$* with ${RUSTFLAGS:-nothing}" >"$here/built"; echo "a word of cargo's" ;;
esac
"#;

/// A machine of this kind, which can link this.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(host: &str, links: &str) -> Machine {
        let machine = Machine(tempfile::tempdir().unwrap());
        fs::write(machine.path("host"), host).unwrap();
        fs::write(machine.path("links"), links).unwrap();
        for (name, text) in [("rustc", RUSTC), ("cargo", CARGO)] {
            install_script(text, &machine.path(name));
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What the script says on stdout and stderr, and what it had built.
    fn build(&self, flags: Option<&str>) -> (String, String, String) {
        let mut command = build_script();
        command.env("PATH", format!("{}:/usr/bin:/bin", self.0.path().display())).env_remove("RUSTC");
        flags.map(|flags| command.env("RUSTFLAGS", flags));
        let (out, err) = words_of(&output_within(BUILD, &mut command));
        (out, err, fs::read_to_string(self.path("built")).unwrap())
    }
}

fn build_script() -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build.sh"));
    command.env_remove("RUSTFLAGS");
    command
}

fn words_of(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert!(output.status.success(), "{output:?}");
    (text(&output.stdout), text(&output.stderr))
}

table!(
    the_best_that_the_machine_can_link_is_built,
    Beyond,
    [
        // The machine, what it can link, what is built for, what it is called, and the target that would be better.
        ("x86_64-unknown-linux-gnu", "musl glibc", "x86_64-unknown-linux-musl", "static, with musl", ""),
        ("x86_64-unknown-linux-gnu", "musl", "x86_64-unknown-linux-musl", "static, with musl", ""),
        (
            "x86_64-unknown-linux-gnu",
            "glibc",
            "x86_64-unknown-linux-gnu",
            "static, with glibc",
            "x86_64-unknown-linux-musl"
        ),
        ("x86_64-unknown-linux-gnu", "", "x86_64-unknown-linux-gnu", "dynamic", "x86_64-unknown-linux-musl"),
        ("armv7-unknown-linux-gnueabihf", "musl glibc", "armv7-unknown-linux-musleabihf", "static, with musl", ""),
        ("x86_64-alpine-linux-musl", "musl", "x86_64-alpine-linux-musl", "static, with musl", ""),
        ("x86_64-alpine-linux-musl", "", "x86_64-alpine-linux-musl", "dynamic", ""),
        ("aarch64-apple-darwin", "", "aarch64-apple-darwin", "dynamic", ""),
        ("x86_64-unknown-freebsd", "", "x86_64-unknown-freebsd", "dynamic", ""),
    ],
    |(host, links, target, kind, better)| {
        let musl = host.replace("-gnu", "-musl");
        let linkable: Vec<String> = links
            .split_whitespace()
            .map(|library| format!("{} {STATIC}\n", if library == "musl" { &musl } else { host }))
            .collect();
        let machine = Machine::new(host, &linkable.concat());
        let (out, err, built) = machine.build(None);
        assert_eq!(out, format!("{}/out/{target}/release/autossh\n", machine.0.path().display()));
        let flags = if kind == "dynamic" { "nothing" } else { STATIC };
        assert_eq!(built, format!("build --quiet --locked --release --bin autossh --target {target} with {flags}\n"));
        let hint = "with musl it would be smaller and faster; where rustup is at hand: rustup target add";
        let hint = if better.is_empty() { String::new() } else { format!("build.sh: {hint} {better}\n") };
        assert_eq!(err, format!("build.sh: {kind} ({target})\n{hint}a word of cargo's\n"));
    }
);

case!(flags_that_are_set_stay, Beyond, {
    let host = "x86_64-unknown-linux-gnu";
    let machine = Machine::new(host, &format!("{host} {STATIC}\n"));
    let (_, _, built) = machine.build(Some("-C target-cpu=native"));
    assert!(built.ends_with(&format!("--target {host} with -C target-cpu=native {STATIC}\n")), "{built}");
});

case!(this_machine_builds_what_the_script_says, Beyond, {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("package");
    let (out, err) = words_of(&output_within(BUILD, build_script().env("CARGO_TARGET_DIR", &directory)));
    let binary = out.strip_suffix('\n').unwrap();
    assert!(Path::new(binary).starts_with(&directory) && !binary.contains('\n'), "{out}");
    assert_eq!(output_of(Command::new(binary).arg("-V")), concat!("autossh ", env!("CARGO_PKG_VERSION"), "\n"));
    // ldd(1) says on which of its two outputs it pleases that a program is static.
    let ldd = output(Command::new("ldd").arg(binary));
    let is_static = !String::from_utf8_lossy(&ldd.stdout).contains("libc.");
    assert_eq!(is_static, err.contains("build.sh: static, with "), "{err}{ldd:?}");
});
