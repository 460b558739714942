//! The scripts in `examples`, run by hand against a real sshd.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::case;
use crate::harness::{
    Autossh, Server, child_of, install, is_gone, is_root, needs, output, port_pair, program, wait_for, wait_greeting,
};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// A server, a script to be run with these arguments, and a local port that leads to the server through its tunnel.
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
        let output = output(Command::new(example("autossh.init")).arg(word).env("DEFAULTS", &defaults));
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
    let expected = ["-N", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-R", &forward, "127.0.0.1"];
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

/// A line of one of the examples that has this in it, from there on.
fn line_of(name: &str, beginning: &str) -> String {
    let text = fs::read_to_string(example(name)).unwrap();
    let line =
        text.lines().find_map(|line| line.split_once(beginning)).unwrap_or_else(|| panic!("{name}: {beginning}"));
    line.1.to_owned()
}

case!(the_container_as_its_files_run_it, Beyond, {
    if !needs("root and unshare(1)", is_root()) {
        return;
    }
    // What they agree on: the user, the pid file, and what healthy means.
    let user = line_of("Containerfile", "USER ");
    let user = user.split(':').next().unwrap();
    assert_eq!(line_of("kubernetes.yaml", "runAsUser: "), user);
    assert!(line_of("compose.yaml", "- /run/autossh:").starts_with(&format!("uid={user},gid={user},")));
    let pid_file = line_of("Containerfile", "AUTOSSH_PIDFILE=");
    let pid_file = pid_file.split(' ').next().unwrap();
    assert_eq!(pid_file, "/run/autossh/pid");
    let healthy = line_of("compose.yaml", "[\"CMD-SHELL\", \"").trim_end_matches("\"]").to_owned();
    assert_eq!(line_of("kubernetes.yaml", "command: [\"sh\", \"-c\", \"").trim_end_matches("\"]"), healthy);

    // As a user without rights, with nothing to write to but /run/autossh. ssh wants to know the user: nobody.
    let Some(mut server) = Server::here("") else { return };
    for entry in fs::read_dir(server.path("")).unwrap() {
        chown(entry.unwrap().path(), Some(65534), Some(65534)).unwrap();
    }
    chown(server.path(""), Some(65534), Some(65534)).unwrap();
    fs::create_dir(server.path("bin")).unwrap();
    install(&program(), &server.path("bin/autossh"));
    install(&example("entrypoint.sh"), &server.path("bin/autossh-entrypoint"));
    let port = port_pair();
    let forward = format!("{port}:127.0.0.1:{}", server.port());
    let script = "mount -t proc proc /proc && mount -t tmpfs tmpfs /run && install -d -o 65534 -m 700 /run/autossh &&
        mount --bind /run/autossh /run/autossh && mount -o remount,bind,ro /run && mount -o remount,bind,ro / || exit 99
        if touch /tmp/written /run/written 2>/dev/null; then echo 'the root can be written to'; exit 99; fi
        exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all -- \"$@\"";
    let config = server.path("ssh-config").display().to_string();
    let before =
        ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--propagation", "private", "sh", "-c", script];
    let words = before.into_iter().chain(["sh", "autossh-entrypoint", "-F", &config, "-R", &forward]);
    let unstarted = Autossh::run_as(words, "").own_log().env("DESTINATION", "root@127.0.0.1");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", server.path("bin").display());
    let unstarted = unstarted.env("PATH", path).env("AUTOSSH_PATH", "/usr/bin/ssh").env("AUTOSSH_PIDFILE", pid_file);
    let mut running = unstarted.env("AUTOSSH_POLL", "4").start();
    wait_greeting(port);
    let first = wait_for("PID 1", || child_of(running.pid()));
    let inside = |script: &str| {
        let target = first.to_string();
        let mut command = Command::new("nsenter");
        output(command.args(["--target", &target, "--mount", "--pid", "sh", "-c", script])).status.success()
    };
    assert!(inside("test \"$(cat /run/autossh/pid)\" = 1"));
    assert!(inside(&healthy));
    server.stop();
    wait_for("the end of the tunnel", || running.text("stdout").contains("; restarting ssh").then_some(()));
    assert!(inside("touch -d '4 minutes ago' /run/autossh/pid") && !inside(&healthy));
    server.start();
    wait_for("a test that has passed", || inside(&healthy).then_some(()));
    kill(Pid::from_raw(first), Signal::SIGTERM).unwrap();
    assert_eq!(running.status(), 128 + Signal::SIGTERM as i32);
});
