//! The scripts in `examples`, run by hand against a real sshd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::case;
use crate::harness::{Autossh, Server, child_of, is_gone, is_root, needs, port_pair, wait_for, wait_greeting};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// A server, a script to be run with these words, and a port here that leads back to the server through its tunnel.
fn tunnel(before: &[&str], name: &str, words: &[&str]) -> Option<(Server, Autossh, u16, String)> {
    let server = Server::here("")?;
    let port = port_pair();
    let forward = format!("{port}:127.0.0.1:{}", server.port());
    let script = example(name).display().to_string();
    let words = words.iter().map(|word| word.replace("FORWARD", &forward));
    let all = before.iter().map(|word| (*word).to_owned()).chain([script]).chain(words);
    let autossh = server.run_as(all).env("DESTINATION", "127.0.0.1");
    Some((server, autossh, port, forward))
}

case!(the_wrapper_script, Beyond, {
    let Some((server, autossh, port, forward)) = tunnel(&[], "autossh.host", &["-v"]) else { return };
    let autossh = autossh.env("TUNNEL", &forward).env("KEY", server.path("key")).env("HOME", server.path(""));
    let autossh = autossh.with(|command| {
        command.env_remove("SSH_AUTH_SOCK");
    });
    let running = autossh.start();
    assert_eq!(running.wait_start(1).args()[4..], ["-N", "-R", &forward, "-v", "127.0.0.1"]);
    wait_greeting(port);
    assert!(running.stderr().contains("Identity added"), "{}", running.stderr());
});

case!(the_init_script, Beyond, {
    let Some((server, autossh, port, forward)) = tunnel(&[], "autossh.init", &["start"]) else { return };
    let (defaults, pid_file, log) = (autossh.path("defaults"), autossh.path("pid"), autossh.path("log"));
    let variables: Vec<String> = ["PATH", "AUTOSSH_PATH", "SCRIPTED_SSH", "SCRIPTED_SSH_REAL"]
        .iter()
        .map(|name| format!("{name}='{}'\n", autossh.variable(name)))
        .collect();
    fs::write(
        &defaults,
        format!(
            "SSH_OPTIONS='-N -R {forward} 127.0.0.1'\nAUTOSSH_PIDFILE={}\nAUTOSSH_LOGFILE={}\n{}",
            pid_file.display(),
            log.display(),
            variables.concat()
        ),
    )
    .unwrap();
    let init = |word: &str| {
        let mut command = Command::new(example("autossh.init"));
        let output = command.arg(word).env("DEFAULTS", &defaults).stdin(Stdio::null()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let pid = || fs::read_to_string(&pid_file).unwrap().trim().parse::<i32>().unwrap();

    assert_eq!(init("status"), (3, "autossh does not run\n".into()));
    let mut running = autossh.env("DEFAULTS", &defaults).start();
    assert_eq!(running.status(), 0, "{}", running.story());
    wait_greeting(port);
    assert_eq!(running.wait_start(1).args()[4..], ["-N", "-R", &forward, "127.0.0.1"]);
    let first = pid();
    assert_eq!(init("status"), (0, format!("autossh runs with pid {first}\n")));
    assert_eq!(init("start").0, 0);
    assert_eq!(pid(), first);
    fs::rename(&log, running.path("log.1")).unwrap();
    assert_eq!(init("reload").0, 0);
    running.wait_file("log");
    assert_eq!(init("restart").0, 0);
    assert!(is_gone(first) && pid() != first);
    wait_greeting(port);
    let second = pid();
    assert_eq!(init("stop").0, 0);
    assert!(is_gone(second) && !pid_file.exists());
    assert_eq!((init("stop").0, init("status").0, init("reload").0, init("nonsense").0), (0, 3, 1, 2));
    drop(server);
});

case!(the_entrypoint_of_a_container, Beyond, {
    if !needs("root and unshare(1)", is_root()) {
        return;
    }
    let before = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let Some((server, autossh, port, forward)) = tunnel(&before, "entrypoint.sh", &["-R", "FORWARD"]) else { return };
    let mut running = autossh.own_log().start();
    let expected = ["-N", "-o", "BatchMode=yes", "-R", &forward, "127.0.0.1"];
    assert_eq!(running.wait_start(1).args()[4..], expected);
    wait_greeting(port);
    server.signal_sessions(Signal::SIGKILL);
    running.wait_start(2);
    wait_greeting(port);
    let log = running.text("stdout");
    assert!(log.contains(" autossh[1]: starting ssh (count 2)\n"), "{log}");
    // docker stop
    let first = wait_for("PID 1", || child_of(running.pid()));
    kill(Pid::from_raw(first), Signal::SIGTERM).unwrap();
    assert_eq!(running.status(), 128 + Signal::SIGTERM as i32);
});
