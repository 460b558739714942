//! The signals that stop autossh, and what becomes of ssh when autossh ends.

use std::os::unix::process::ExitStatusExt;

use super::*;
use crate::harness::{Held, child_of, has, is_root, needs};

const STOPS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

table!(a_stop_while_ssh_runs_ends_both, Same, [Signal::SIGTERM, Signal::SIGINT], |signal| {
    let mut running = autossh("hang").start();
    let ssh = running.wait_up().pid;
    running.signal(signal);
    running.wait();
    assert_eq!(running.starts().len(), 1);
    wait_for("ssh's end", || is_gone(ssh).then_some(()));
});

table!(a_stop_while_ssh_runs_is_what_autossh_dies_of, Documented, [Signal::SIGTERM, Signal::SIGINT], |signal| {
    let mut running = autossh("hang").start();
    let ssh = running.wait_start(1).pid;
    running.signal(signal);
    assert_eq!(running.status(), 128 + signal as i32);
    // 1.4g logs this, or "signalled to exit", depending on a race.
    assert_eq!(running.logged(&format!("received signal to exit ({})", signal as i32)), 1);
    assert!(is_gone(ssh));
});

table!(a_stop_while_waiting_ends_autossh_at_once, Defect, STOPS, |signal| {
    let (mut running, starts) = waiting();
    running.signal(signal);
    assert_eq!(running.status(), 128 + signal as i32);
    assert_eq!(running.logged(&format!("received signal to exit ({})", signal as i32)), 1);
    assert_eq!(running.starts().len(), starts);
});

case!(a_quit_ends_both, Defect, {
    // 1.4g dies of it at once, and ssh stays.
    let mut running = autossh("hang").start();
    let ssh = running.wait_start(1).pid;
    running.signal(Signal::SIGQUIT);
    assert_eq!(running.status(), 128 + 3);
    assert_eq!(running.logged("received signal to exit (3)"), 1);
    assert!(is_gone(ssh));
});

case!(a_quit_leaves_no_core_file, Defect, {
    let unstarted = Autossh::run_by(&["prlimit", "--core=unlimited"], ["-M", "0", "host"], "hang");
    let mut running = unstarted.start();
    running.wait_up();
    running.signal(Signal::SIGQUIT);
    assert_eq!(running.status(), 128 + 3);
    let status = running.wait();
    assert!(!status.core_dumped() && !running.path("core").exists(), "{status:?}");
});

case!(a_stop_from_the_first_moment_on, Beyond, {
    // Random times in the first 100 ms: before main the signal has its default action, then ours. There must be no
    // hang, no exit status, and no ssh left behind.
    for instant in 0..100_u64 {
        let mut running = autossh("hang").start();
        let random = instant.wrapping_mul(7919) % 1000;
        let when = Instant::now() + Duration::from_micros(if instant < 50 { random * 20 } else { random * 100 });
        while Instant::now() < when {
            std::hint::spin_loop();
        }
        running.signal(Signal::SIGTERM);
        assert_eq!(running.status(), 128 + 15, "{}", running.story());
        for start in running.starts() {
            wait_for("ssh's end", || is_gone(start.pid).then_some(()));
        }
    }
});

case!(a_deaf_ssh_is_killed_after_five_seconds, Defect, {
    let mut running = autossh("deaf").start();
    let ssh = running.wait_start(1).pid;
    running.wait_file("deaf.1");
    let asked = Instant::now();
    running.signal(Signal::SIGTERM);
    assert_eq!(running.status(), 128 + 15);
    assert!(asked.elapsed() >= Duration::from_secs(4), "{:?}", asked.elapsed());
    assert!(is_gone(ssh));
});

case!(a_second_stop_kills_a_deaf_ssh_at_once, Defect, {
    let mut running = autossh("deaf").start();
    let ssh = running.wait_start(1).pid;
    running.wait_file("deaf.1");
    let asked = Instant::now();
    running.signal(Signal::SIGTERM);
    running.wait_log("received signal to exit (15)");
    running.signal(Signal::SIGINT);
    assert_eq!(running.status(), 128 + 15);
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    assert!(is_gone(ssh));
});

case!(a_stopped_ssh_is_ended_too, Defect, {
    let mut running = autossh("stop;hang").start();
    let ssh = running.wait_start(1).pid;
    wait_for("ssh to be stopped", || (process_state(ssh) == Some('T')).then_some(()));
    running.signal(Signal::SIGTERM);
    assert_eq!(running.status(), 128 + 15);
    assert!(is_gone(ssh));
    // It is continued, so that it hears the TERM.
    assert_eq!(running.logged("killing it"), 0, "{}", running.log());
});

case!(an_ssh_that_cannot_be_killed_is_left, Beyond, {
    if !needs("root", is_root()) {
        return;
    }
    let mut running = autossh("deaf").start();
    let ssh = running.wait_start(1).pid;
    running.wait_file("deaf.1");
    let held = Held::hold(ssh);
    running.signal(Signal::SIGTERM);
    running.wait_log("received signal to exit (15)");
    let asked = Instant::now();
    running.signal(Signal::SIGTERM);
    assert_eq!(running.status(), 128 + 15);
    // With the first deadline it would take 10 s, of which little can have passed before.
    assert!(asked.elapsed() >= Duration::from_secs(4), "{:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    assert_eq!(running.logged("ssh does not end even when killed, leaving it"), 1);
    held.release();
});

case!(an_autossh_that_is_killed_while_it_starts_ssh_starts_none, Beyond, {
    if !needs("strace(1)", has("strace")) {
        return;
    }
    // The child asks for the signal of its parent's death two seconds late.
    let late = ["strace", "-D", "-f", "-o", "/dev/null", "-e", "inject=prctl:delay_enter=2000000"];
    let running = Autossh::run_by(&late, ["-M", "0", "host"], "hang").start();
    let is_late = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/syscall")).is_ok_and(|call| is_prctl(&call));
    let child = wait_for("the child before its exec", || child_of(running.pid()).filter(is_late));
    running.signal(Signal::SIGKILL);
    wait_for("the end of the child", || is_gone(child).then_some(()));
    assert!(running.starts().is_empty());
});

/// Whether a process is in prctl(2), by its /proc/PID/syscall.
fn is_prctl(call: &str) -> bool {
    call.split(' ').next() == Some(&libc::SYS_prctl.to_string())
}

table!(ssh_does_not_outlive_a_killed_autossh, Defect, [&["-M", "0", "host"][..], &["-f", "-M", "0", "host"]], |args| {
    let running = Autossh::new(args, "hang").start();
    let start = running.wait_start(1);
    kill(Pid::from_raw(start.parent), Signal::SIGKILL).unwrap();
    wait_for("ssh's end", || is_gone(start.pid).then_some(()));
});

table!(
    the_signal_that_ssh_gets_when_autossh_dies,
    Beyond,
    [(&["-M", "0", "host"][..], 15), (&["-fM0", "host"], 9)],
    |(args, signal)| {
        let running = Autossh::new(args, "hang").start();
        assert_eq!(running.wait_start(1).death, signal);
    }
);

case!(a_deaf_ssh_in_the_foreground_outlives_a_killed_autossh, Same, {
    // KILL would leave the terminal as ssh has set it.
    let mut running = autossh("deaf").start();
    let ssh = running.wait_start(1).pid;
    running.wait_file("deaf.1");
    running.signal(Signal::SIGKILL);
    running.wait();
    assert!(!is_gone(ssh));
    running.ssh_may_outlive_it();
});

case!(one_signal_to_both_is_a_stop, Beyond, {
    for signal in STOPS.into_iter().cycle().take(30) {
        let unstarted = autossh("hang").with(|command| {
            command.process_group(0);
        });
        let mut running = unstarted.start();
        running.wait_up();
        kill(Pid::from_raw(-running.pid()), signal).unwrap();
        assert_eq!(running.status(), 128 + signal as i32, "{}", running.story());
        assert_eq!(running.starts().len(), 1);
    }
});

case!(a_stop_wins_over_whatever_status_ssh_ends_with, Beyond, {
    for status in [0, 1, 3, 255].into_iter().cycle().take(20) {
        let mut running = autossh(&format!("await now;exit {status}\nhang")).start();
        let ssh = running.wait_up().pid;
        running.signal(Signal::SIGSTOP);
        fs::write(running.path("now"), "").unwrap();
        wait_for("ssh to be a zombie", || (process_state(ssh) == Some('Z')).then_some(()));
        running.signal(Signal::SIGTERM);
        running.signal(Signal::SIGCONT);
        assert_eq!(running.status(), 128 + 15, "{}", running.story());
        assert_eq!(running.starts().len(), 1);
    }
});

case!(a_stop_while_a_test_waits_for_its_answer, Same, {
    let port = port_pair();
    let mut running = Autossh::new(["-M", &port.to_string(), "host"], "relay silent")
        .env("AUTOSSH_POLL", "30")
        .env("AUTOSSH_FIRST_POLL", "1")
        .start();
    running.wait_start(1);
    wait_for("the test's connection", || crate::harness::has_connection_to(port).then_some(()));
    let asked = Instant::now();
    running.signal(Signal::SIGTERM);
    running.wait();
    assert!(asked.elapsed() < Duration::from_secs(10));
});
