//! At rest autossh uses no processor time at all, whatever has happened before. The harness asks so at the end of each
//! case in all of the suite; here are the cases that end just where something has come to its end.

use std::fs;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::case;
use crate::harness::{
    Autossh, Held, Hosts, Running, cpu_time, install, is_gone, needs, port_pair, process_state, scripted_ssh, wait_for,
};
use crate::systemd::NotifySocket;

/// A script for an ssh that fails until autossh waits for a second, and then does this.
fn after_a_wait(line: &str) -> String {
    "exit 255\n".repeat(6) + line
}

/// The number of the start that comes after the wait.
const AFTER: usize = 7;

/// autossh without a monitor, whose waits take a second.
fn autossh(args: &[&str], script: &str) -> Autossh {
    Autossh::new(args.iter().chain(&["-M", "0", "-N", "host"]), script)
        .env("AUTOSSH_GATETIME", "0")
        .env("AUTOSSH_POLL", "30")
}

/// One whose wait has run out, and whose ssh stays.
fn back() -> Running {
    let running = autossh(&[], &after_a_wait("hang")).start();
    running.wait_start(AFTER);
    running.wait_log_times("ssh child pid is ", AFTER);
    running
}

case!(a_spin_is_seen, Beyond, {
    // A program of this name that does what autossh should not.
    let unstarted = Autossh::run_as(["./autossh"], "");
    install("/bin/bash".as_ref(), &unstarted.path("autossh"));
    let spinning = unstarted.with(|command| {
        command.args(["-c", "while :; do :; done"]);
    });
    let running = spinning.start();
    wait_for("the spin", || (cpu_time(running.pid()) > Some(Duration::from_millis(200))).then_some(()));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(running))).is_err());
});

case!(after_a_wait_that_ran_out, Beyond, {
    back();
});

case!(after_ready_was_sent, Beyond, {
    // An ssh that is connected.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = format!("connect {};hang", server.local_addr().unwrap().port());
    let unstarted = autossh(&[], &script);
    let path = unstarted.path("notify");
    let mut notify_socket = NotifySocket::at(&path);
    let running = unstarted.env("NOTIFY_SOCKET", &path).start();
    notify_socket.wait("READY=1");
    notify_socket.wait("STATUS=ssh ");
    assert_eq!(running.unrest(), None);
});

case!(after_a_start_that_failed, Beyond, {
    let unstarted = autossh(&[], "await go;exit 255\nhang");
    let ssh = unstarted.path("ssh");
    install(&scripted_ssh(), &ssh);
    let running = unstarted.env("AUTOSSH_PATH", &ssh).start();
    running.wait_start(1);
    fs::remove_file(&ssh).unwrap();
    fs::write(running.path("go"), "").unwrap();
    running.wait_log("cannot start ssh: ");
    running.wait_log("before the next start");
    install(&scripted_ssh(), &ssh);
    running.wait_start(2);
});

case!(after_a_restart_with_a_monitor, Beyond, {
    for args in [&["-N", "host"][..], &["-M", &port_pair().to_string(), "-N", "host"]] {
        let unstarted = Autossh::new(args, "relay sound silent\nrelay sound").env("AUTOSSH_DEBUG", "1");
        let unstarted = unstarted.env("AUTOSSH_POLL", "5").env("AUTOSSH_FIRST_POLL", "1");
        let running = unstarted.env("AUTOSSH_GATETIME", "0").start();
        running.wait_log("connection ok");
        running.signal(Signal::SIGALRM);
        running.wait_log("port down, restarting ssh");
        running.wait_log_times("connection ok", 2);
    }
});

case!(after_it_was_stopped_and_continued, Beyond, {
    let running = back();
    running.signal(Signal::SIGSTOP);
    wait_for("autossh to stop", || (process_state(running.pid()) == Some('T')).then_some(()));
    running.signal(Signal::SIGCONT);
    running.signal(Signal::SIGUSR2);
    running.wait_log(" up since ");
});

case!(after_the_network_changed, Beyond, {
    let Some(hosts) = Hosts::new() else { return };
    let inside = ["ip", "netns", "exec", &hosts.client()];
    // The second wait takes 8 s.
    let script = "exit 255\n".repeat(7) + "hang";
    let waiting = Autossh::run_by(&inside, ["-M", "0", "-N", "host"], &script);
    let waiting = waiting.env("AUTOSSH_GATETIME", "0").env("AUTOSSH_DEBUG", "1").start();
    let tested = Autossh::run_by(&inside, ["-M", "20000", "-N", "host"], "relay sound");
    let tested = tested.env("AUTOSSH_FIRST_POLL", "1").env("AUTOSSH_DEBUG", "1").start();
    tested.wait_log("connection ok");
    waiting.wait_log("before the next start");
    hosts.on_client("ip addr add 10.98.0.1/24 dev wire-c");
    waiting.wait_log("the network has changed");
    waiting.wait_start(8);
    tested.wait_log_times("connection ok", 2);
    hosts.on_client("ip addr add 10.96.0.1/24 dev wire-c");
});

case!(after_a_flood_in_the_background, Beyond, {
    let running = autossh(&["-f"], &after_a_wait("flood 100000;note all;hang")).start();
    running.wait_file(&format!("all.{AFTER}"));
    // Most of it is read and left out of the log.
    running.explain(1000);
});

case!(with_an_ssh_that_the_kernel_does_not_let_die, Beyond, {
    if !needs("ptrace(2)", crate::harness::is_root()) {
        return;
    }
    let running = back();
    let ssh = running.wait_start(AFTER).pid;
    let held = Held::hold(ssh);
    running.signal(Signal::SIGUSR1);
    wait_for("ssh to be killed", || is_gone(ssh).then_some(()));
    assert_eq!(running.unrest(), None);
    held.release();
    running.wait_start(AFTER + 1);
});
