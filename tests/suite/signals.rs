//! autossh(1), SIGNALS.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, kill};
use nix::unistd::Pid;

use crate::harness::{
    Autossh, Running, disposing, inherited_descriptors, inherited_ignored, is_gone, port_pair, process_state, wait_for,
};
use crate::{case, table};

mod as_pid_1;
mod inherited;
mod stops;

/// autossh without a monitor or a gate.
fn autossh(script: &str) -> Autossh {
    Autossh::new(["-M", "0", "host"], script).env("AUTOSSH_GATETIME", "0")
}

/// An autossh in a long wait before the next start, and the number of starts so far.
fn waiting() -> (Running, usize) {
    let running =
        autossh("exit 255\nexit 255\nexit 255\nexit 255\nexit 255\nexit 255\nexit 255\nexit 255\nhang").start();
    // The eighth wait is 8 s long.
    running.wait_log_times("exited with error status 255", 7);
    (running, 7)
}

case!(usr1_starts_ssh_again, Same, {
    let running = autossh("hang").start();
    let first = running.wait_up().pid;
    running.signal(Signal::SIGUSR1);
    running.wait_start(2);
    assert!(is_gone(first));
    assert_eq!(running.logged("signalled to kill and restart ssh"), 1);
});

table!(signals_that_end_a_wait, Defect, [Signal::SIGUSR1, Signal::SIGHUP, Signal::SIGALRM], |signal| {
    let (running, starts) = waiting();
    running.signal(signal);
    let asked = Instant::now();
    running.wait_start(starts + 1);
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
});

case!(a_hangup_while_waiting_resets_the_tries, Beyond, {
    let (running, starts) = waiting();
    running.wait_log("before the next start");
    running.signal(Signal::SIGHUP);
    // Five more starts are not delayed now: this one happens at once instead of after a wait.
    running.wait_start(starts + 1);
    let waits = running.logged("before the next start");
    running.wait_start(starts + 2);
    assert_eq!(running.logged("before the next start"), waits);
    assert_eq!(running.logged("prodded"), 1);
    assert_eq!(running.logged(&format!("starting ssh (count {})", starts + 2)), 1, "the start count stays");
});

table!(
    signals_that_do_nothing_to_a_running_ssh,
    Same,
    [Signal::SIGHUP, Signal::SIGALRM, Signal::SIGCHLD, Signal::SIGPIPE, Signal::SIGCONT],
    |signal| {
        let running = autossh("hang").start();
        let first = running.wait_up();
        running.signal(signal);
        running.signal(Signal::SIGUSR1);
        let second = running.wait_start(2);
        assert_eq!(first.parent, second.parent);
        assert_eq!(running.logged("signalled to kill and restart ssh"), 1);
    }
);

case!(cont_continues_an_ssh_that_is_stopped, Beyond, {
    let running = autossh("stop;note continued;hang").start();
    let ssh = running.wait_up().pid;
    wait_for("ssh to stop", || (process_state(ssh) == Some('T')).then_some(()));
    running.signal(Signal::SIGCONT);
    running.wait_file("continued.1");
});

case!(a_hangup_while_ssh_ends_resets_the_tries, Beyond, {
    let running = autossh(&("exit 255\n".repeat(6) + "ignore;note ignores;await go;exit 255\nhang")).start();
    running.wait_file("ignores.7");
    assert_eq!(running.logged("next start"), 1);
    running.signal(Signal::SIGUSR1);
    running.wait_log("signalled to kill and restart ssh");
    running.signal(Signal::SIGHUP);
    running.signal(Signal::SIGUSR2);
    running.wait_log("ending ssh; ");
    fs::write(running.path("go"), "").unwrap();
    running.wait_start(8);
    assert_eq!(running.logged("next start"), 1, "{}", running.log());
});

case!(a_file_size_signal_does_nothing, Defect, {
    let running = autossh("hang").start();
    running.wait_up();
    running.signal(Signal::SIGXFSZ);
    running.signal(Signal::SIGUSR1);
    running.wait_start(2);
});

case!(usr2_logs_what_goes_on, Defect, {
    let running = autossh("hang").start();
    let ssh = running.wait_up().pid;
    running.signal(Signal::SIGUSR2);
    running.wait_log(&format!("ssh {ssh} up since "));
    running.signal(Signal::SIGUSR1);
    running.wait_start(2);
});

case!(usr2_while_waiting_logs_and_the_wait_goes_on, Defect, {
    let (running, starts) = waiting();
    running.signal(Signal::SIGUSR2);
    running.wait_log("waiting until ");
    assert_eq!(running.starts().len(), starts);
});

table!(
    stop_signals_stop_autossh,
    Same,
    [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGSTOP],
    |signal| {
        // In a process group of its own that is not orphaned, so that stop signals work.
        let running = Autossh::new(["-M", "0", "host"], "hang")
            .with(|command| {
                command.process_group(0);
            })
            .start();
        running.wait_up();
        running.signal(signal);
        wait_for("autossh to stop", || (process_state(running.pid()) == Some('T')).then_some(()));
        running.signal(Signal::SIGCONT);
        running.signal(Signal::SIGUSR1);
        running.wait_start(2);
    }
);

case!(a_storm_of_restarts_leaves_one_ssh, Beyond, {
    let mut running = autossh("hang").start();
    running.wait_start(1);
    for _ in 0..500 {
        running.signal(Signal::SIGUSR1);
        running.signal(Signal::SIGHUP);
        std::thread::yield_now();
    }
    // An ssh that was killed before it recorded its start is in the log all the same.
    running.wait_log_times("ssh child pid is ", 2);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.status(), 128 + 15);
    let log = running.log();
    let pids: Vec<&str> =
        log.lines().filter_map(|line| line.rsplit_once("ssh child pid is ")).map(|(_, pid)| pid).collect();
    // One that was killed before it was executed has no line.
    assert!(pids.len() <= running.logged("starting ssh (count"), "{log}");
    for pid in pids {
        assert!(is_gone(pid.parse().unwrap()), "ssh {pid} is still there");
    }
});

case!(two_thousand_restarts_cost_nothing, Beyond, {
    let running = autossh("hang").start();
    let descriptors = |pid: i32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let resident = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    let restart = |number: usize| {
        running.signal(Signal::SIGUSR1);
        running.signal(Signal::SIGHUP);
        running.wait_start(number);
    };
    running.wait_start(1);
    (2..=100).for_each(restart);
    running.wait_log_times("ssh child pid", 100);
    let before = (descriptors(running.pid()), resident(running.pid()));
    (101..=2100).for_each(restart);
    running.wait_log_times("ssh child pid", 2100);
    let after = (descriptors(running.pid()), resident(running.pid()));
    assert_eq!(before.0, after.0);
    // The allocator may fill the 132 kB that it took at startup before it reuses anything.
    assert!(after.1 <= before.1 + 132, "resident memory grew from {} to {} kB", before.1, after.1);
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid())).unwrap();
    assert_eq!(children.split_whitespace().count(), 1);
    let threads = fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap().count();
    assert_eq!(threads, 1);
    assert!(Path::new(&format!("/proc/{}", running.pid())).exists());
});
