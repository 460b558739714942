//! The Debian package, the unit and the wrapper scripts.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{
    Autossh, Server, has, is_gone, is_root, needs, output, output_of, output_of_within, port_pair, program, wait_for,
    wait_greeting,
};
use crate::systemd::NotifySocket;
use crate::{case, table};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of Debian's own package, as `tests/run.sh` unpacks it.
fn debians(path: &str) -> Option<PathBuf> {
    let file = root().join("target/reference").join(path);
    needs("Debian's package autossh in target/reference", file.exists()).then_some(file)
}

/// How long it may take to build the package.
const BUILD: Duration = Duration::from_secs(900);

/// The package, built once, in a directory of its own since cargo holds on to the other.
fn package() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            needs("cargo-deb and dpkg", has("cargo-deb") && has("dpkg")).then(|| {
                let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("package");
                let deb = target.join("autossh.deb");
                let mut command = Command::new(root().join("packaging/deb.sh"));
                command.arg("--output").arg(&deb);
                output_of_within(BUILD, command.env("CARGO_TARGET_DIR", &target));
                deb
            })
        })
        .as_deref()
}

case!(the_package_in_place_of_debians_and_back, Beyond, {
    let Some(debians) = debians("autossh.deb") else { return };
    let (Some(ours), true) = (package(), needs("root", is_root())) else { return };
    let mut command = Command::new("sh");
    command.arg(root().join("tests/package.sh")).args([ours, &debians]);
    let said = output_of(command.env("SSHD_DIRECTORY", Path::new(env!("CARGO_TARGET_TMPDIR")).join("sshd")));
    assert!(said.ends_with("== the package is sound\n"), "{said}");
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
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join(name);
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
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("some.host");
    symlink(script, &link).unwrap();
    let running = Autossh::run_as([link.to_str().unwrap(), "-N", "-L", "1:h:2"], "exit 0").run();
    assert_eq!(running.starts()[0].args()[4..], ["some.host", "-N", "-L", "1:h:2"]);
});

/// What a filter for logcheck leaves of a log, as syslogd would write it, with either kind of stamp.
fn left_by(filter: &Path, log: &str) -> String {
    let texts = || log.lines().map(|line| &line["YYYY/MM/DD HH:MM:SS ".len()..]);
    let stamps = ["Nov 21 05:10:01", "2026-11-21T05:10:01.123456+01:00"];
    let lines: String =
        stamps.iter().flat_map(|at| texts().map(move |text| format!("{at} some-host {text}\n"))).collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lines");
    fs::write(&file, lines).unwrap();
    let left = output(Command::new("grep").args(["-v", "-E", "-f"]).args([filter, &file]));
    String::from_utf8(left.stdout).unwrap()
}

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
    let log = running.log() + &too_soon.log();
    // It knows no other stamp.
    let left = left_by(&filter, &log);
    let left: String = left.lines().filter(|line| line.starts_with("Nov ")).collect();
    for phrase in [
        "starting ssh (count ",
        "ssh child pid is ",
        "ssh exited prematurely with status ",
        "received signal to exit (",
        "timeout polling to accept read connection",
        "port down, restarting ssh",
    ] {
        assert!(log.contains(phrase) && !left.contains(phrase), "{phrase} is left of:\n{log}\n:\n{left}");
    }
    assert!(left.contains("short poll time"), "{left}");
});

case!(the_filter_for_logcheck_leaves_nothing_of_a_tunnel_that_heals, Beyond, {
    let refused = "say ssh: connect to host host.example.org port 22: Connection refused; exit 255\n";
    let lost = "say client_loop: send disconnect: Broken pipe; exit 255\n";
    let script = [&refused.repeat(7), "relay sound\nrelay sound\n", lost, "relay closed\nhang"].concat();
    let port = port_pair().to_string();
    let unstarted = Autossh::new(["-f", "-M", &port, "-N", "host"], &script).env("AUTOSSH_FIRST_POLL", "1");
    let pid_file = unstarted.path("pid");
    let mut running = unstarted.env("AUTOSSH_PIDFILE", &pid_file).start();
    assert_eq!(running.status(), 0, "{}", running.story());
    let daemon = Pid::from_raw(fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap());
    let send = |signal| kill(daemon, signal).unwrap();

    running.wait_log("before the next start");
    send(Signal::SIGUSR2);
    running.wait_log("waiting until ");
    send(Signal::SIGHUP);
    running.wait_log("prodded");
    running.wait_start(8);
    running.wait_log_times("ssh child pid is ", 8);
    wait_for("a test that has passed", || {
        send(Signal::SIGUSR2);
        running.log().contains("last test passed at ").then_some(())
    });
    send(Signal::SIGUSR1);
    running.wait_start(9);
    send(Signal::SIGUSR1);
    running.wait_log("port down, restarting ssh");
    running.wait_log_times("ssh child pid is ", 12);
    kill(Pid::from_raw(running.wait_start(12).pid), Signal::SIGKILL).unwrap();
    running.wait_log("ssh exited on signal 9");
    running.wait_log_times("ssh child pid is ", 13);
    send(Signal::SIGTERM);
    running.wait_log("received signal to exit");
    wait_for("the end of the daemon", || is_gone(daemon.as_raw()).then_some(()));

    // An outage is worth a line, and so is what somebody can do something about.
    let left = left_by(&root().join("packaging/logcheck"), &running.log());
    let is_warning = |line: &&str| line.contains("]: ssh has failed ") || line.contains(" on the server is still held");
    let left: Vec<&str> = left.lines().filter(|line| !is_warning(line)).collect();
    assert!(left.is_empty(), "{left:#?}");
    for text in [
        "-f is not needed, since systemd waits for this process: staying in the foreground",
        "the address 192.0.2.7 that ssh was connected from is gone, restarting ssh",
        "the address 2001:db8::7 that ssh was connected from is gone, restarting ssh",
        "port 2200 on the server and port 8080 here is refused; trying again in 10 s",
        "restarting ssh to try port 2200 on the server again",
        "all forwards work again",
        "ssh is up again after 7 failures in a row",
        "waiting until 05:10:21 to start ssh; starts so far 7; last: status 255, Permission denied (publickey).",
    ] {
        let line = format!("2026/11/21 05:10:01 autossh[7]: {text}");
        assert_eq!(left_by(&root().join("packaging/logcheck"), &line), "");
    }
    let alarm = "2026/11/21 05:10:01 autossh[7]: ssh: WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!";
    assert_ne!(left_by(&root().join("packaging/logcheck"), alarm), "");
});

/// What one of the units says after this word.
fn unit_says<'a>(unit: &'a str, word: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix('=')).collect()
}

case!(the_unit_as_systemd_runs_it, Beyond, {
    let Some(server) = Server::here("") else { return };
    let unit = fs::read_to_string(root().join("packaging/system/autossh@.service")).unwrap();
    assert_eq!(unit_says(&unit, "EnvironmentFile"), ["-%E/autossh/%i.conf"]);
    // Not the script on PATH.
    let command = unit_says(&unit, "ExecStart")[0];
    assert_eq!(command, "/usr/lib/autossh/autossh $SSH_OPTIONS");

    let port = port_pair();
    let forward = format!("{port}:127.0.0.1:{}", server.port());
    let mut unstarted = server.run_as([program().to_str().unwrap(), "-N", "-R", &forward, "127.0.0.1"]);
    for setting in unit_says(&unit, "Environment") {
        let (name, value) = setting.split_once('=').unwrap();
        unstarted = unstarted.env(name, value);
    }
    let mut notify_socket = NotifySocket::at(&unstarted.path("notify"));
    let notify = unstarted.path("notify");
    let unstarted = unstarted.env("NOTIFY_SOCKET", notify).with(|command| {
        command.process_group(0);
    });
    let mut running = unstarted.start();
    notify_socket.wait("READY=1");
    wait_greeting(port);
    notify_socket.wait("STATUS=ssh ");

    // systemctl stop: TERM to all processes of the unit.
    kill(Pid::from_raw(-running.pid()), Signal::SIGTERM).unwrap();
    assert_eq!(running.status(), 128 + Signal::SIGTERM as i32);
    notify_socket.wait("STOPPING=1");
    assert_eq!(running.starts().len(), 1);
});

table!(the_units_are_sound, Beyond, ["system", "user"], |kind| {
    if !needs("systemd-analyze", has("systemd-analyze")) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(root().join("packaging").join(kind).join("autossh@.service")).unwrap();
    let unit = directory.path().join("autossh@.service");
    // What it runs must be there to be verified.
    let setup = root().join("packaging/unit-setup").display().to_string();
    let replaced = text.replace("/usr/lib/autossh/unit-setup", &setup);
    let replaced = replaced.replace("/usr/lib/autossh/autossh", program().to_str().unwrap());
    fs::write(&unit, replaced).unwrap();
    let analyze = |words: &[&str]| {
        output(Command::new("systemd-analyze").args(words).arg(&unit).env("XDG_RUNTIME_DIR", directory.path()))
    };
    let verified = analyze(&["verify", "--man=no", &format!("--{kind}")]);
    assert!(verified.status.success() && verified.stdout.is_empty() && verified.stderr.is_empty(), "{verified:?}");
    if kind == "system" {
        let output = analyze(&["security", "--offline=true", "--no-pager"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let exposure = text.rsplit_once("exposure level for ").unwrap().1.split_whitespace().nth(1).unwrap();
        assert!(exposure.parse::<f64>().unwrap() < 2.5, "{text}");
        assert!(unit_says(&fs::read_to_string(&unit).unwrap(), "RestrictAddressFamilies")[0].contains("AF_NETLINK"));
    }
});
