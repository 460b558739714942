//! The Debian package, the unit and the wrapper scripts.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Autossh, Server, is_root, needs, port_pair, program, wait_greeting};
use crate::systemd::Ear;
use crate::{case, table};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of Debian's own package, as `tests/run.sh` unpacks it.
fn debians(path: &str) -> Option<PathBuf> {
    let file = root().join("target/reference").join(path);
    needs("Debian's package autossh in target/reference", file.exists()).then_some(file)
}

fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// What a command says on stdout; it must succeed.
fn output_of(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The package, built once, in a folder of its own since cargo holds on to the other.
fn package() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            needs("cargo-deb and dpkg", has("cargo-deb") && has("dpkg")).then(|| {
                let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("package");
                let deb = target.join("autossh.deb");
                let mut command = Command::new(root().join("packaging/deb.sh"));
                command.arg("--output").arg(&deb);
                output_of(command.env("CARGO_TARGET_DIR", &target));
                deb
            })
        })
        .as_deref()
}

/// A root folder with a dpkg of its own, in which nothing is installed.
struct ScratchRoot(tempfile::TempDir);

impl ScratchRoot {
    fn new() -> ScratchRoot {
        let folder = tempfile::tempdir().unwrap();
        for path in ["updates", "info", "triggers"] {
            fs::create_dir_all(folder.path().join("var/lib/dpkg").join(path)).unwrap();
        }
        fs::write(folder.path().join("var/lib/dpkg/status"), "").unwrap();
        ScratchRoot(folder)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// dpkg, as far as it knows only of this folder.
    fn dpkg(&self, words: &[&str]) -> String {
        let root = format!("--root={}", self.0.path().display());
        let mut command = Command::new("dpkg");
        output_of(command.arg(root).args(["--force-depends", "--log=/dev/null"]).args(words))
    }

    fn version(&self) -> String {
        self.dpkg(&["--list", "autossh"]).lines().last().unwrap().split_whitespace().nth(2).unwrap().to_owned()
    }

    /// The command of this name, installed here, as a user of this system would run it.
    fn run(&self, name: &str, words: &[&str], script: &str) -> Autossh {
        let command = self.path("usr/bin").join(name).display().to_string();
        let path = format!("{}:/usr/bin:/bin", self.path("usr/bin").display());
        let words = [command].into_iter().chain(words.iter().map(|word| (*word).to_owned()));
        Autossh::run_as(words, script).env("PATH", path).env("SSH_AUTH_SOCK", "/nonexistent")
    }
}

case!(the_package_installs_over_debians_and_its_scripts_go_on_working, Beyond, {
    let Some(debians) = debians("autossh.deb") else { return };
    let (Some(ours), true) = (package(), needs("root", is_root())) else { return };
    let scratch = ScratchRoot::new();
    scratch.dpkg(&["--install", debians.to_str().unwrap()]);
    assert!(scratch.version().starts_with("1.4g"), "{}", scratch.version());
    let scripts = ["rscreen", "rtmux", "ruscreen", "autossh-argv0"];
    assert!(scripts.iter().all(|name| scratch.path("usr/bin").join(name).exists()));

    scratch.dpkg(&["--install", ours.to_str().unwrap()]);
    assert_eq!(scratch.version(), concat!(env!("CARGO_PKG_VERSION"), "-1"));
    for program in ["usr/bin/autossh", "usr/lib/autossh/autossh"] {
        let output = output_of(Command::new(scratch.path(program)).arg("-V"));
        assert_eq!(output, concat!("autossh ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    for (name, remote) in [("rscreen", "screen -Rd"), ("ruscreen", "screen -RdU"), ("rtmux", "tmux a || tmux new")] {
        let mut running = scratch.run(name, &["-p", "22", "host"], "exit 0").run();
        assert_eq!(running.status(), 0, "{name}: {}", running.story());
        assert_eq!(running.starts()[0].args()[4..], ["-t", "-p", "22", "host", remote]);
    }
    symlink("autossh-argv0", scratch.path("usr/bin/some.host")).unwrap();
    let running = scratch.run("some.host", &["-x", "a b"], "exit 0").run();
    assert_eq!(running.starts()[0].args()[4..], ["some.host", "-x", "a b"]);
    for page in ["autossh", "rscreen", "rtmux", "ruscreen", "autossh-argv0"] {
        assert!(scratch.path(&format!("usr/share/man/man1/{page}.1.gz")).exists(), "{page}");
    }
    for file in ["examples/autossh.host", "examples/example.conf", "copyright", "changelog.Debian.gz"] {
        assert!(scratch.path("usr/share/doc/autossh").join(file).exists(), "{file}");
    }

    fs::remove_file(scratch.path("usr/bin/some.host")).unwrap();
    scratch.dpkg(&["--purge", "autossh"]);
    assert!(!scratch.path("usr/bin/rscreen").exists() && !scratch.path("usr/lib/autossh").exists());
});

case!(lintian_has_nothing_to_say, Beyond, {
    // What it is told to leave out stands in packaging/lintian-overrides, with reasons.
    let (Some(package), true) = (package(), needs("lintian", has("lintian"))) else { return };
    assert_eq!(output_of(Command::new("lintian").args(["--fail-on", "error,warning"]).arg(package)), "");
});

table!(
    debians_own_scripts_work_unmodified,
    Beyond,
    [("rscreen", "screen -Rd"), ("rtmux", "tmux a || tmux new"), ("ruscreen", "screen -RdU")],
    |(name, remote)| {
        let Some(script) = debians("usr/bin/rscreen") else { return };
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join(name);
        symlink(script, &link).unwrap();
        let words = [link.to_str().unwrap(), "-p", "22", "host"];
        let mut running = Autossh::run_as(words, "exit 0").env("SSH_AUTH_SOCK", "/nonexistent").run();
        assert_eq!(running.status(), 0, "{}", running.story());
        let args = running.starts()[0].args();
        assert!(args[0] == "-L" && args[2] == "-R", "{args:?}");
        assert_eq!(args[4..], ["-t", "-p", "22", "host", remote]);
    }
);

case!(debians_own_argv0_script_works_unmodified, Beyond, {
    let Some(script) = debians("usr/bin/autossh-argv0") else { return };
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("some.host");
    symlink(script, &link).unwrap();
    let running = Autossh::run_as([link.to_str().unwrap(), "-N", "-L", "1:h:2"], "exit 0").run();
    assert_eq!(running.starts()[0].args()[4..], ["some.host", "-N", "-L", "1:h:2"]);
});

case!(debians_filter_for_logcheck_matches_our_lines, Beyond, {
    let Some(filter) = debians("etc/logcheck/ignore.d.workstation/autossh") else { return };
    let port = port_pair().to_string();
    let unstarted = Autossh::new(["-M", &port, "-N", "host"], "relay silent\nhang").env("AUTOSSH_GATETIME", "0");
    let mut running = unstarted.env("AUTOSSH_POLL", "1").start();
    running.wait_log("port down, restarting ssh");
    running.wait_start(2);
    running.signal(Signal::SIGTERM);
    running.wait();
    let too_soon = Autossh::new(["-M", "0", "-N", "host"], "exit 255").run();
    // As syslogd would write them.
    let log = running.log() + &too_soon.log();
    let lines =
        log.lines().map(|line| format!("Nov 21 05:10:01 some-host {}\n", &line["YYYY/MM/DD HH:MM:SS ".len()..]));
    let lines: String = lines.collect();
    let mut command = Command::new("grep");
    command.args(["-v", "-E", "-f"]).arg(filter).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let left = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    for phrase in [
        "starting ssh (count ",
        "ssh child pid is ",
        "ssh exited prematurely with status ",
        "received signal to exit (",
        "timeout polling to accept read connection",
        "port down, restarting ssh",
    ] {
        assert!(lines.contains(phrase) && !left.contains(phrase), "{phrase} is left of:\n{lines}\n:\n{left}");
    }
    assert!(left.contains("short poll time"), "{left}");
});

/// What one of the units says after this word.
fn unit_says<'a>(unit: &'a str, word: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix('=')).collect()
}

case!(the_unit_as_systemd_runs_it, Beyond, {
    let Some(server) = Server::here("") else { return };
    let unit = fs::read_to_string(root().join("packaging/system/autossh@.service")).unwrap();
    assert_eq!(unit_says(&unit, "EnvironmentFile"), ["%E/autossh/%i.conf"]);
    let command = unit_says(&unit, "ExecStart")[0];
    assert_eq!(command, "/usr/bin/autossh $SSH_OPTIONS");

    let port = port_pair();
    let forward = format!("{port}:127.0.0.1:{}", server.port());
    let mut unstarted = server.run_as([program().to_str().unwrap(), "-N", "-R", &forward, "127.0.0.1"]);
    for setting in unit_says(&unit, "Environment") {
        let (name, value) = setting.split_once('=').unwrap();
        unstarted = unstarted.env(name, value);
    }
    let mut ear = Ear::at(&unstarted.path("notify"));
    let notify = unstarted.path("notify");
    let unstarted = unstarted.env("NOTIFY_SOCKET", notify).with(|command| {
        command.process_group(0);
    });
    let mut running = unstarted.start();
    ear.wait("READY=1");
    wait_greeting(port);
    ear.wait("STATUS=ssh ");

    // systemctl stop: TERM to all processes of the unit.
    kill(Pid::from_raw(-running.pid()), Signal::SIGTERM).unwrap();
    assert_eq!(running.status(), 128 + Signal::SIGTERM as i32);
    ear.wait("STOPPING=1");
    assert_eq!(running.starts().len(), 1);
});

table!(the_units_are_sound, Beyond, ["system", "user"], |kind| {
    if !needs("systemd-analyze", has("systemd-analyze")) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(root().join("packaging").join(kind).join("autossh@.service")).unwrap();
    let unit = folder.path().join("autossh@.service");
    // It must be there to be verified.
    fs::write(&unit, text.replace("/usr/bin/autossh", program().to_str().unwrap())).unwrap();
    let analyze = |words: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(words).arg(&unit).env("XDG_RUNTIME_DIR", folder.path()).stdin(Stdio::null()).output().unwrap()
    };
    let verified = analyze(&["verify", "--man=no", &format!("--{kind}")]);
    assert!(verified.status.success() && verified.stdout.is_empty() && verified.stderr.is_empty(), "{verified:?}");
    if kind == "system" {
        let output = analyze(&["security", "--offline=true", "--no-pager"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let exposure = text.rsplit_once("exposure level for ").unwrap().1.split_whitespace().nth(1).unwrap();
        assert!(exposure.parse::<f64>().unwrap() < 5.0, "{text}");
        assert!(unit_says(&fs::read_to_string(&unit).unwrap(), "RestrictAddressFamilies")[0].contains("AF_NETLINK"));
    }
});
