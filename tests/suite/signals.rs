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

const STOPS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

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
    assert!(!running.path("core").exists());
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
});

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

case!(usr1_starts_ssh_again, Same, {
    let running = autossh("hang").start();
    let first = running.wait_up().pid;
    running.signal(Signal::SIGUSR1);
    running.wait_start(2);
    assert!(is_gone(first));
    assert_eq!(running.logged("signalled to kill and restart ssh"), 1);
});

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

case!(ssh_starts_with_an_empty_mask_and_default_dispositions, Same, {
    let running = autossh("exit 255\nexit 255\nexit 0").run();
    let starts = running.starts();
    assert_eq!(starts.len(), 3);
    assert!(starts.iter().all(|start| start.blocked == 0), "{starts:?}");
});

/// These signals as /proc/PID/status shows a set of them.
fn bits(signals: &[Signal]) -> u64 {
    signals.iter().fold(0, |mask, signal| mask | 1 << (*signal as i32 - 1))
}

case!(ssh_ignores_nothing_that_autossh_was_not_told_to, Same, {
    // Except what the parent of this run ignores: 1.4g does not pass on all of it, which is the next case.
    static HEEDED: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];
    let running =
        autossh("exit 255\nexit 255\nexit 0").with(|command| disposing(command, &HEEDED, SigHandler::SigDfl)).run();
    let expected = inherited_ignored() & !bits(&HEEDED);
    assert!(running.starts().iter().all(|start| start.ignored == expected), "{:?}", running.starts());
});

case!(ssh_ignores_what_autossh_was_started_to_ignore, Defect, {
    static IGNORED: [Signal; 7] = [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGPIPE,
        Signal::SIGXFSZ,
        Signal::SIGCHLD,
        Signal::SIGUSR2,
    ];
    let running =
        autossh("exit 255\nexit 255\nexit 0").with(|command| disposing(command, &IGNORED, SigHandler::SigIgn)).run();
    let expected = inherited_ignored() | bits(&IGNORED);
    for start in running.starts() {
        assert_eq!(start.ignored, expected, "{start:?}");
    }
    assert_eq!(running.starts().len(), 3);
});

case!(nohup_reaches_ssh_and_autossh_still_hears_a_hangup, Defect, {
    let script = "exit 255\nexit 255\nexit 255\nexit 255\nexit 255\nexit 255\nexit 255\nhang";
    let running = Autossh::run_by(&["nohup"], ["-M", "0", "host"], script).env("AUTOSSH_GATETIME", "0").start();
    running.wait_log_times("exited with error status 255", 7);
    assert!(running.starts().iter().all(|start| start.ignores(Signal::SIGHUP)));
    running.signal(Signal::SIGHUP);
    running.wait_start(8);
});

case!(ssh_gets_none_of_our_descriptors, Defect, {
    let port = port_pair();
    let script = "relay sound\nhang";
    let running = Autossh::new(["-M", &port.to_string(), "host"], script)
        .env("AUTOSSH_POLL", "1")
        .env("AUTOSSH_LOGLEVEL", "7")
        .start();
    running.wait_log("connection ok");
    running.signal(Signal::SIGUSR1);
    for number in [1, 2] {
        let start = running.wait_start(number);
        let ours = |(number, target): &&(i32, String)| {
            *number > 2 && !target.ends_with("/fd") && !inherited_descriptors().contains(number)
        };
        let others: Vec<_> = start.descriptors.iter().filter(ours).collect();
        assert!(others.is_empty(), "{others:?}");
    }
});

case!(ssh_gets_the_descriptors_that_autossh_was_given, Same, {
    let unstarted = Autossh::run_by(&["sh", "-c", "exec \"$@\" 7<script", "sh"], ["-M", "0", "host"], "exit 0");
    let running = unstarted.run();
    let start = &running.starts()[0];
    assert!(start.descriptors.iter().any(|(number, target)| *number == 7 && target.ends_with("/script")), "{start:?}");
});

mod as_pid_1 {
    //! In a PID namespace of its own, as in a container.

    use super::*;
    use crate::harness::{child_of, is_root, needs};

    fn contained(script: &str) -> Option<Running> {
        needs("root", is_root()).then(|| {
            let before = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
            Autossh::run_by(&before, ["-M", "0", "host"], script).env("AUTOSSH_GATETIME", "0").start()
        })
    }

    case!(orphans_are_reaped, Beyond, {
        let Some(running) = contained("orphan;exit 255\norphan;exit 255\nhang") else { return };
        running.wait_start(3);
        let autossh = wait_for("autossh", || child_of(running.pid()));
        wait_for("all orphans to be reaped", || {
            let children = fs::read_to_string(format!("/proc/{autossh}/task/{autossh}/children")).unwrap();
            (children.split_whitespace().count() == 1).then_some(())
        });
    });

    case!(a_stop_is_a_status, Beyond, {
        let Some(mut running) = contained("hang") else { return };
        running.wait_start(1);
        let autossh = wait_for("autossh", || child_of(running.pid()));
        kill(Pid::from_raw(autossh), Signal::SIGTERM).unwrap();
        assert_eq!(running.status(), 128 + 15);
    });
}

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
