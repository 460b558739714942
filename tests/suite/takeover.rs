//! Restart by script: one autossh after another on the same monitor port, and none beside another.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Autossh, Running, is_gone, listens, port_pair, wait_for};
use crate::{case, table};

/// autossh with this monitor port, and an ssh that serves it.
fn looped(before: &[&str], args: &[&str], port: u16, script: &str) -> Autossh {
    let port = port.to_string();
    let unstarted = Autossh::run_by(before, args.iter().chain(&["-M", port.as_str(), "-N", "host"]), script);
    unstarted.env("AUTOSSH_DEBUG", "1").env("AUTOSSH_GATETIME", "0")
}

/// The pid in the pid file.
fn pid_in(running: &Running) -> i32 {
    running.text("pid").trim().parse().unwrap()
}

/// Asks for a test, once ssh serves the port, and waits until it passes.
fn wait_healthy(running: &Running, pid: i32, port: u16) {
    wait_for("ssh to serve the port", || listens(pid, port).then_some(()));
    let passed = running.logged("connection ok");
    kill(Pid::from_raw(pid), Signal::SIGALRM).unwrap();
    running.wait_log_times("connection ok", passed + 1);
}

table!(a_kill_and_a_start_at_once_work_every_time, Beyond, [("", 40), ("ignore;", 1)], |(first, times)| {
    // The second kind of ssh gets KILL after 5 s, and serves the port until then.
    let port = port_pair();
    let again = "\"$@\" && until [ -e start.1 ]; do sleep 0.01; done; kill \"$(cat pid)\"; exec \"$@\"";
    for _ in 0..times {
        let unstarted = looped(&["sh", "-c", again, "sh"], &["-f"], port, &format!("{first}relay sound\nrelay sound"));
        let pid_file = unstarted.path("pid");
        let mut running = unstarted.env("AUTOSSH_PIDFILE", pid_file).start();
        assert_eq!(running.status(), 0, "{}", running.story());
        let [old, new] = [1, 2].map(|number| running.wait_start(number));
        wait_for("the end of the first", || is_gone(old.parent).then_some(()));
        assert_eq!(pid_in(&running), new.parent);
        wait_healthy(&running, new.parent, port);
        assert_eq!(running.starts().len(), 2, "{}", running.story());
        assert_eq!(running.logged("still in use"), 0, "{}", running.log());
    }
});

case!(the_same_in_the_foreground, Beyond, {
    let port = port_pair();
    let first = looped(&[], &[], port, "relay sound").start();
    wait_healthy(&first, first.pid(), port);
    first.signal(Signal::SIGTERM);
    let second = looped(&[], &[], port, "relay sound").start();
    // Until then the first one's ssh may still serve the port.
    second.wait_start(1);
    wait_healthy(&second, second.pid(), port);
    assert_eq!(second.starts().len(), 1);
});

table!(the_listener_is_closed_before_ssh_is_gone, Beyond, [false, true], |restarting| {
    let port = port_pair();
    let running = looped(&[], &[], port, "deaf").start();
    running.wait_file("deaf.1");
    if restarting {
        running.signal(Signal::SIGUSR1);
        running.wait_log("signalled to kill and restart ssh");
        assert!(listens(running.pid(), port + 1));
    }
    let ssh = running.wait_start(1).pid;
    running.signal(Signal::SIGTERM);
    wait_for("the listener to be closed", || (!listens(running.pid(), port + 1)).then_some(()));
    assert!(!is_gone(ssh));
});

case!(a_taken_port_is_a_lock, Same, {
    is_a_lock(&[]);
});

// 1.4g's caller comes back with 0 before its daemon has ended.
case!(a_taken_port_is_a_lock_in_the_background, Racy, {
    is_a_lock(&["-f"]);
});

/// Starts a second autossh on a port that another one has.
fn is_a_lock(args: &[&str]) {
    let port = port_pair();
    let first = looped(&[], args, port, "hang").start();
    let start = first.wait_start(1);
    let began = Instant::now();
    let unstarted = looped(&[], args, port, "hang");
    let pid_file = unstarted.path("pid");
    let mut second = unstarted.env("AUTOSSH_PIDFILE", pid_file).run();
    // A machine that is busy may need more than two seconds.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!((second.status(), second.starts().len()), (1, 0));
    assert!(!is_gone(start.parent));
}

table!(a_taken_port_leaves_no_trace, Beyond, [&[][..], &["-f"]], |args| {
    let port = port_pair();
    let _taken = TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let unstarted = looped(&[], args, port, "hang");
    let pid_file = unstarted.path("pid");
    fs::write(&pid_file, "4711\n").unwrap();
    let mut running = unstarted.env("AUTOSSH_PIDFILE", &pid_file).run();
    assert_eq!(running.status(), 1);
    assert!(running.stderr().contains(&format!("127.0.0.1:{}", port + 1)), "{}", running.stderr());
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), "4711\n");
    assert!(!running.path("log").exists());
});

table!(
    a_stop_while_the_port_is_taken,
    Beyond,
    [(Signal::SIGTERM, &[][..]), (Signal::SIGINT, &[]), (Signal::SIGQUIT, &["-f"])],
    |(signal, args)| {
        let port = port_pair();
        let _taken = TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
        let mut running = looped(&[], args, port, "hang").start();
        // Once its handlers are there, for which it has a second and a half.
        wait_for("the handler", || (running.has_ended().is_some() || running.catches(Signal::SIGUSR1)).then_some(()));
        assert_eq!(running.has_ended(), None);
        running.signal(Signal::SIGUSR1);
        running.signal(Signal::SIGHUP);
        running.signal(signal);
        assert_eq!(running.status(), 128 + signal as i32, "{}", running.story());
        assert!(running.starts().is_empty());
    }
);

case!(a_monitor_port_that_stays_in_use_is_said, Beyond, {
    for monitor in ["PORT", "PORT:7"] {
        let port = port_pair();
        let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let args = ["-M", &monitor.replace("PORT", &port.to_string()), "-N", "host"];
        let running = Autossh::new(args, "hang").start();
        running.wait_log(&format!("port {port} is still in use on this machine"));
        running.wait_start(1);
        running.signal(Signal::SIGUSR1);
        running.wait_start(2);
        assert_eq!(running.logged("still in use"), 1);
    }
});

case!(a_stop_while_the_monitor_port_is_in_use, Beyond, {
    let port = port_pair();
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let unstarted = looped(&[], &[], port, "hang");
    let pid_file = unstarted.path("pid");
    let mut running = unstarted.env("AUTOSSH_PIDFILE", &pid_file).start();
    running.wait_file("pid");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.status(), 128 + Signal::SIGTERM as i32);
    assert!(running.starts().is_empty() && !pid_file.exists());
    assert_eq!(running.logged("received signal to exit (15)"), 1);
});
