//! `-f`: the daemon, and what its caller is told.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{
    Autossh, Start, has, install_script, is_gone, is_root, needs, output, port_pair, process_state, program,
    scripted_ssh, wait_for,
};
use crate::{case, table};

/// autossh in the background.
fn autossh(script: &str) -> Autossh {
    Autossh::new(["-f", "-M", "0", "-N", "host"], script)
}

/// Ends the daemon that started this ssh.
fn stop(start: &Start) {
    kill(Pid::from_raw(start.parent), Signal::SIGTERM).unwrap();
    wait_for("the daemon's end", || is_gone(start.parent).then_some(()));
}

case!(the_caller_comes_back_with_0, Same, {
    let mut running = autossh("hang").start();
    assert_eq!(running.status(), 0);
    let start = running.wait_start(1);
    assert_ne!(start.parent, running.pid());
    assert_eq!(start.args(), ["-N", "host"]);
});

case!(one_process_remains, Same, {
    let mut running = autossh("hang").start();
    running.wait();
    let start = running.wait_start(1);
    let name = fs::read_to_string(format!("/proc/{}/comm", start.parent)).unwrap();
    assert_eq!(name.trim(), "autossh");
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", start.parent)).unwrap();
    assert_eq!(children.trim(), start.pid.to_string());
});

case!(ps_shows_the_daemon_with_the_arguments_that_were_typed, Documented, {
    // 1.4g overwrites its -f.
    let mut running = autossh("hang").start();
    running.wait();
    let daemon = running.wait_start(1).parent;
    let line = fs::read(format!("/proc/{daemon}/cmdline")).unwrap();
    assert!(line.ends_with(b"\0-f\0-M\x000\0-N\0host\0"), "{}", String::from_utf8_lossy(&line));
});

case!(the_daemon_is_in_a_session_and_a_directory_of_its_own, Same, {
    let mut running = autossh("hang").start();
    running.wait();
    let start = running.wait_start(1);
    assert_eq!(start.session, start.parent);
    let link = |what: &str| fs::read_link(format!("/proc/{}/{what}", start.parent)).unwrap();
    assert_eq!(link("cwd"), Path::new("/"));
    for descriptor in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(link(descriptor), Path::new("/dev/null"));
    }
});

case!(ssh_starts_where_the_user_was, Defect, {
    let running = autossh("exit 255\nhang").start();
    let expected = fs::canonicalize(running.path("")).unwrap();
    for number in [1, 2] {
        assert_eq!(running.wait_start(number).cwd, expected);
    }
});

case!(a_start_directory_that_is_gone_is_logged_once, Beyond, {
    let unstarted = autossh("hang");
    let directory = unstarted.path("here");
    fs::create_dir(&directory).unwrap();
    let running = unstarted.with(|command| {
        command.current_dir(&directory);
    });
    let running = running.start();
    let start = running.wait_start(1);
    assert_eq!(start.cwd, fs::canonicalize(&directory).unwrap());
    fs::remove_dir(&directory).unwrap();
    for number in [2, 3] {
        kill(Pid::from_raw(start.parent), Signal::SIGUSR1).unwrap();
        assert_eq!(running.wait_start(number).cwd, Path::new("/"));
    }
    assert_eq!(running.logged("starting ssh in /"), 1);
});

case!(relative_paths_keep_their_meaning, Defect, {
    let running = autossh("hang").own_log().env("AUTOSSH_LOGFILE", "log").env("AUTOSSH_PIDFILE", "pid").start();
    let start = running.wait_start(1);
    wait_for("the pid file", || (running.text("pid") == format!("{}\n", start.parent)).then_some(()));
    running.wait_log("ssh child pid");
    // The log is reopened where it was.
    fs::rename(running.path("log"), running.path("log.1")).unwrap();
    kill(Pid::from_raw(start.parent), Signal::SIGHUP).unwrap();
    wait_for("the new log", || running.path("log").exists().then_some(()));
    stop(&start);
    assert!(!running.path("pid").exists());
});

// 1.4g writes it after the caller has returned, but may be quick.
case!(the_pid_file_is_there_when_the_caller_is_back, Racy, {
    for _ in 0..20 {
        let unstarted = autossh("hang");
        let pid_file = unstarted.path("pid");
        let mut running = unstarted.env("AUTOSSH_PIDFILE", &pid_file).start();
        assert_eq!(running.status(), 0);
        let pid: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        assert_eq!(running.wait_start(1).parent, pid);
    }
});

case!(scripts_that_wait_for_the_end_of_output_go_on, Same, {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("script"), "hang").unwrap();
    let mut command = Command::new(program());
    command.args(["-f", "-M", "0", "host"]).env("AUTOSSH_PATH", scripted_ssh());
    command.env("AUTOSSH_LOGFILE", directory.path().join("log")).env("SCRIPTED_SSH", directory.path());
    let output = output(&mut command);
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    let start = wait_for("ssh", || Start::read(&directory.path().join("start.1")));
    stop(&start);
});

table!(
    what_keeps_the_daemon_from_starting_is_the_callers_status,
    Defect,
    [
        ("AUTOSSH_PATH", "/nonexistent/ssh", "No such file"),
        ("AUTOSSH_PATH", "/dev/null", "Permission denied"),
        ("AUTOSSH_LOGFILE", "/nonexistent/log", "No such file"),
        ("AUTOSSH_PIDFILE", "/nonexistent/pid", "No such file"),
        ("AUTOSSH_POLL", "x", "\"x\""),
        ("AUTOSSH_PORT", "x", "\"x\""),
        ("AUTOSSH_PORT", "TAKEN", "in use"),
        ("AUTOSSH_PATH", "BROKEN", "No such file"),
    ],
    |(name, value, words)| {
        let port = port_pair();
        let _taken = std::net::TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
        let unstarted = Autossh::new(["-f", "host"], "hang").env("AUTOSSH_PORT", "0").own_log();
        let (broken, pid_file) = (unstarted.path("broken"), unstarted.path("pid"));
        install_script("#!/nonexistent/interpreter\n", &broken);
        let value = match value {
            "TAKEN" => port.to_string(),
            "BROKEN" => broken.to_str().unwrap().to_owned(),
            _ => value.to_owned(),
        };
        let mut running =
            unstarted.env("AUTOSSH_LOGFILE", "/dev/null").env("AUTOSSH_PIDFILE", &pid_file).env(name, value).run();
        assert_eq!(running.status(), 1);
        assert!(running.stderr().contains(words), "{}", running.stderr());
        assert!(running.starts().is_empty());
        assert!(!pid_file.exists());
    }
);

case!(a_machine_without_dev_null_is_named_as_the_reason, Beyond, {
    if !needs("root", is_root()) {
        return;
    }
    let bare = "mount -t tmpfs none /dev && exec \"$@\"";
    let before = ["unshare", "--mount", "--propagation", "private", "sh", "-c", bare, "sh"];
    let mut running = Autossh::run_by(&before, ["-f", "-M", "0", "host"], "hang").run();
    assert_eq!(running.status(), 1);
    assert!(running.stderr().contains("/dev/null: No such file or directory"), "{}", running.stderr());
    assert!(running.starts().is_empty());
});

case!(there_is_no_gate_in_the_background, Same, {
    let running = autossh("exit 1\nexit 255\nhang").env("AUTOSSH_GATETIME", "30").start();
    running.wait_start(3);
});

case!(ssh_has_no_terminal_and_no_standard_streams, Same, {
    let running = autossh("hang").start();
    let start = running.wait_start(1);
    for (number, target) in &start.descriptors {
        assert!(*number > 1 || target == "/dev/null", "{start:?}");
    }
});

case!(the_stderr_of_ssh_is_in_the_log, Beyond, {
    let running = autossh("say first;say two words;bytes 68690d0a;bytes 611b5b313b0762ff0a;hang").start();
    running.wait_log("a\\u{1b}[1;\\u{7}b\\xff");
    let log = running.log();
    let said: Vec<&str> = log.lines().filter_map(|line| line.split_once(": ssh: ")).map(|(_, text)| text).collect();
    assert_eq!(said, ["first", "two words", "hi", "a\\u{1b}[1;\\u{7}b\\xff"]);
});

case!(long_lines_are_cut, Beyond, {
    let running = autossh(&format!("bytes {}0a;say next;hang", "41".repeat(5000))).start();
    running.wait_log("ssh: next");
    let log = running.log();
    let line = log.lines().find(|line| line.contains("ssh: A")).unwrap();
    assert_eq!(line.matches('A').count(), 1024);
});

case!(a_flood_is_held_to_twenty_lines_a_second, Beyond, {
    let running = autossh("flood 100000;live 1500;say after;exit 255\nhang").start();
    running.wait_log("ssh: after");
    running.wait_start(2);
    // Most of it is read and left out of the log.
    running.explain(1000);
    let lines = running.logged("ssh: line ");
    assert!((20..=200).contains(&lines), "{lines} lines");
    assert_eq!(
        running.logged("lines left out)"),
        1 + usize::from(running.logged("lines left out)") == 2),
        "{}",
        running.log()
    );
});

case!(the_reason_is_on_stderr_before_the_caller_exits, Beyond, {
    if !needs("strace(1)", has("strace")) {
        return;
    }
    let port = port_pair();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    // Every write is slow.
    let slowly = ["strace", "-D", "-f", "-o", "/dev/null", "-e", "inject=write:delay_enter=500000"];
    let mut running = Autossh::run_by(&slowly, ["-f", "-M", &port.to_string(), "host"], "hang").start();
    assert_eq!(running.status(), 1);
    assert!(running.stderr().contains("in use"), "{}", running.story());
});

case!(a_failed_forward_is_explained_though_its_line_is_left_out, Beyond, {
    let port = port_pair();
    let line = format!("Warning: remote port forwarding failed for listen port {port}\r\n");
    let line = line.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let script = format!("flood 1000;bytes {line};hang");
    let running = Autossh::new(["-f", "-M", &port.to_string(), "-N", "host"], &script).start();
    running.wait_log(&format!("port {port} on the server is still held"));
});

case!(the_last_output_of_ssh_is_not_lost, Beyond, {
    for _ in 0..20 {
        let running = autossh("say goodbye;bytes 6f76657221;exit 255\nhang").start();
        running.wait_start(2);
        assert_eq!((running.logged("ssh: goodbye"), running.logged("ssh: over!")), (1, 1), "{}", running.log());
        stop(&running.wait_start(2));
    }
});

case!(a_process_that_holds_the_stderr_of_ssh_is_not_waited_for, Beyond, {
    let running = autossh("spawn;exit 255\nhang").start();
    let start = running.wait_start(2);
    stop(&start);
});

case!(a_stop_ends_the_daemon_and_ssh, Same, {
    let running = autossh("hang").start();
    let start = running.wait_start(1);
    stop(&start);
    wait_for("ssh's end", || is_gone(start.pid).then_some(()));
});

case!(a_log_on_stdout_stays_in_the_background, Beyond, {
    let running = autossh("hang").own_log().env("AUTOSSH_LOGFILE", "/dev/stdout").start();
    let start = running.wait_start(1);
    kill(Pid::from_raw(start.parent), Signal::SIGUSR1).unwrap();
    wait_for("the log", || running.text("stdout").contains("starting ssh (count 2)").then_some(()));
});

case!(a_stop_of_the_caller_reaches_the_daemon, Beyond, {
    // The caller is stopped before the daemon has reported, between the fork and the start of ssh.
    for _ in 0..30 {
        let mut running = autossh("hang").start();
        running.signal(Signal::SIGTERM);
        let status = running.status();
        assert!(status == 0 || status == 128 + 15, "{status}");
        if status != 0 {
            for start in running.starts() {
                wait_for("ssh's end", || is_gone(start.pid).then_some(()));
                wait_for("the daemon's end", || is_gone(start.parent).then_some(()));
            }
        }
    }
});

case!(standard_streams_may_be_closed, Same, {
    let closed = "exec \"$@\" <&- >&- 2>&-";
    let running = Autossh::run_by(&["sh", "-c", closed, "sh"], ["-f", "-M", "0", "host"], "hang").start();
    let start = running.wait_start(1);
    assert_eq!(process_state(start.parent).map(|state| state != 'Z'), Some(true));
});

table!(
    closed_standard_streams_are_filled_before_anything_else_can_land_there,
    Defect,
    [("<&-", 0..1), (">&-", 1..2), ("2>&-", 2..3), ("<&- >&- 2>&-", 0..3)],
    |(closed, numbers)| {
        let port = port_pair();
        let script = format!("exec \"$@\" {closed}");
        let running = Autossh::run_by(&["sh", "-c", &script, "sh"], ["-M", &port.to_string(), "host"], "hang").start();
        let start = running.wait_start(1);
        for number in numbers.clone() {
            let target = start.descriptors.iter().find(|(open, _)| *open == number).map(|(_, target)| target.as_str());
            assert_eq!(target, Some("/dev/null"), "{start:?}");
        }
    }
);
