//! autossh(1), MONITORING: the connection test, on the wire.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{
    Autossh, Running, accept, has_connection_to, is_gone, is_root, limit, needs, port_pair, process_state, wait_for,
};
use crate::{case, table};

/// autossh with a loop of forwards, its port, and a test every second.
fn looped(script: &str) -> (Autossh, u16) {
    let port = port_pair();
    let autossh = Autossh::new(["-M", &port.to_string(), "-N", "host"], script);
    (autossh.env("AUTOSSH_POLL", "1").env("AUTOSSH_DEBUG", "1"), port)
}

/// The same with an echo service.
fn echo(script: &str) -> (Autossh, u16) {
    let port = port_pair();
    let autossh = Autossh::new(["-M", &format!("{port}:7"), "-N", "host"], script);
    (autossh.env("AUTOSSH_POLL", "1").env("AUTOSSH_DEBUG", "1"), port)
}

/// Two tests have passed with the first ssh.
fn wait_healthy(running: &Running) {
    running.wait_log_times("connection ok", 2);
    assert_eq!(running.starts().len(), 1, "{}", running.story());
}

case!(a_sound_loop_stays, Same, {
    wait_healthy(&looped("relay sound").0.start());
});

case!(a_sound_echo_stays, Same, {
    wait_healthy(&echo("relay sound").0.start());
});

/// Listens on the monitor port once ssh, which does not, has started.
fn in_place_of_ssh(running: &Running, port: u16) -> TcpListener {
    running.wait_start(1);
    TcpListener::bind(("127.0.0.1", port)).unwrap()
}

case!(the_message_has_the_format_of_1_4g, Same, {
    let (unstarted, port) = echo("hang");
    let running = unstarted.env("AUTOSSH_MESSAGE", "of mine").env("AUTOSSH_GATETIME", "0").start();
    let listener = in_place_of_ssh(&running, port);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut stream = accept(&listener);
        let mut message = Vec::new();
        while !message.ends_with(b"\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            message.push(byte[0]);
        }
        stream.write_all(&message).unwrap();
        let text = String::from_utf8(message).unwrap();
        let node = nix::unistd::gethostname().unwrap().into_string().unwrap();
        let random = text.strip_prefix(&format!("{node} autossh {} ", running.pid())).unwrap();
        let random = random.strip_suffix(" of mine\r\n").unwrap().to_owned();
        assert!(random.parse::<u64>().is_ok(), "{random}");
        seen.push(random);
    }
    assert_ne!(seen[0], seen[1]);
});

case!(an_empty_message_leaves_its_blank, Same, {
    let (unstarted, port) = echo("hang");
    let running = unstarted.env("AUTOSSH_GATETIME", "0").start();
    let listener = in_place_of_ssh(&running, port);
    let mut stream = accept(&listener);
    let mut message = [0; 512];
    let count = stream.read(&mut message).unwrap();
    assert!(message[..count].ends_with(b" \r\n"), "{:?}", String::from_utf8_lossy(&message[..count]));
});

table!(what_fails_a_loop, Same, ["relay silent", "relay closed", "hang"], |script| {
    let running = looped(&format!("{script}\nrelay sound")).0.start();
    running.wait_log("port down, restarting ssh");
    running.wait_start(2);
    running.wait_log("connection ok");
});

table!(what_fails_an_echo, Same, ["relay silent", "relay closed", "relay garbled", "relay cut", "hang"], |script| {
    let running = echo(&format!("{script}\nrelay sound")).0.start();
    running.wait_log("port down, restarting ssh");
    running.wait_start(2);
    running.wait_log("connection ok");
});

table!(half_an_answer_fails_too, Defect, [true, false], |in_a_loop| {
    // 1.4g waits for the other half without limit.
    let script = "relay half\nrelay sound";
    let (unstarted, _) = if in_a_loop { looped(script) } else { echo(script) };
    let running = unstarted.start();
    running.wait_log("port down, restarting ssh");
    running.wait_start(2);
    running.wait_log("connection ok");
});

case!(no_answer_in_the_loop_is_logged, Same, {
    let running = looped("relay silent").0.start();
    running.wait_log("timeout polling to accept read connection");
    running.wait_log("port down, restarting ssh");
});

table!(wrong_bytes_in_an_echo_fail_at_once, Beyond, ["relay garbled", "relay cut", "relay closed", "hang"], |script| {
    // The time for a test is 30 s.
    let (unstarted, _) = echo(&format!("{script}\nrelay sound"));
    let running = unstarted.env("AUTOSSH_POLL", "300").env("AUTOSSH_FIRST_POLL", "1").start();
    running.wait_start(1);
    let start = Instant::now();
    running.wait_start(2);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
});

case!(wrong_bytes_in_a_loop_do_not_fail_the_test, Beyond, {
    // Bytes from other connections do not end the test; its timeout does.
    let (unstarted, _) = looped("relay garbled\nrelay sound");
    let running = unstarted.env("AUTOSSH_POLL", "8").env("AUTOSSH_FIRST_POLL", "1").start();
    running.wait_start(1);
    let start = Instant::now();
    running.wait_start(2);
    assert!(start.elapsed() >= Duration::from_secs(7), "{:?}", start.elapsed());
});

case!(no_connection_to_itself_is_taken_for_an_echo, Defect, {
    // Nothing listens on the monitor port, and the kernel has hardly another to choose as our own.
    if !needs("root", is_root()) {
        return;
    }
    let few_ports = "ip link set lo up && echo 45000 45001 >/proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";
    let before = ["unshare", "--net", "sh", "-c", few_ports, "sh"];
    let running = Autossh::run_by(&before, ["-M", "45000:7", "host"], "hang")
        .env("AUTOSSH_POLL", "1")
        .env("AUTOSSH_DEBUG", "1")
        .start();
    running.wait_log_times("port down", 5);
    assert_eq!(running.logged("connection ok"), 0);
});

case!(the_first_test_comes_at_the_first_poll, Same, {
    let (unstarted, _) = looped("relay sound");
    let running = unstarted.env("AUTOSSH_POLL", "600").env("AUTOSSH_FIRST_POLL", "1").start();
    running.wait_log("connection ok");
});

case!(each_ssh_has_its_first_poll, Same, {
    let (unstarted, _) = looped("relay sound");
    let running = unstarted.env("AUTOSSH_POLL", "600").env("AUTOSSH_FIRST_POLL", "1").start();
    running.wait_log("connection ok");
    running.signal(Signal::SIGUSR1);
    running.wait_log_times("connection ok", 2);
});

case!(an_alarm_makes_the_test_due_now, Same, {
    let (unstarted, _) = looped("relay sound");
    let running = unstarted.env("AUTOSSH_POLL", "600").start();
    running.wait_up();
    wait_for("the relay", || TcpStream::connect(("127.0.0.1", looped_port(&running))).ok());
    running.signal(Signal::SIGALRM);
    running.wait_log("connection ok");
});

/// The port of the first `-L` that ssh got.
fn looped_port(running: &Running) -> u16 {
    running.starts()[0].args()[1].split(':').next().unwrap().parse().unwrap()
}

// 1.4g misses an exit just before it waits.
case!(the_death_of_ssh_during_a_test_restarts_at_once, Racy, {
    let (unstarted, port) = looped("relay silent\nrelay sound");
    let running = unstarted.env("AUTOSSH_POLL", "600").env("AUTOSSH_FIRST_POLL", "1").start();
    let ssh = running.wait_start(1).pid;
    wait_for("the test's connection", || has_connection_to(port).then_some(()));
    kill(Pid::from_raw(ssh), Signal::SIGKILL).unwrap();
    let start = Instant::now();
    running.wait_start(2);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
});

case!(usr1_during_a_test_restarts_at_once, Defect, {
    let (unstarted, port) = looped("relay silent\nrelay sound");
    let running = unstarted.env("AUTOSSH_POLL", "600").env("AUTOSSH_FIRST_POLL", "1").start();
    let ssh = running.wait_start(1).pid;
    wait_for("the test's connection", || has_connection_to(port).then_some(()));
    running.signal(Signal::SIGUSR1);
    running.wait_start(2);
    assert!(is_gone(ssh));
    assert_eq!(running.logged("port down"), 0);
});

case!(a_test_that_a_stop_interrupts_is_repeated, Beyond, {
    let (unstarted, port) = looped("relay silent sound");
    let running = unstarted.env("AUTOSSH_POLL", "600").env("AUTOSSH_FIRST_POLL", "1").start();
    running.wait_start(1);
    wait_for("the test's connection", || has_connection_to(port).then_some(()));
    running.signal(Signal::SIGSTOP);
    wait_for("autossh to stop", || (process_state(running.pid()) == Some('T')).then_some(()));
    running.signal(Signal::SIGCONT);
    running.wait_log("connection ok");
    assert_eq!(running.starts().len(), 1, "{}", running.story());
});

/// Connects to a port, which fails if connections are no longer accepted there.
fn connect(port: u16) -> TcpStream {
    loop {
        match TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_millis(900)) {
            // It was taken and closed at once.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            outcome => return outcome.unwrap(),
        }
    }
}

case!(connections_of_others_are_ignored, Defect, {
    let (unstarted, port) = looped("relay sound");
    let running = unstarted.start();
    running.wait_log("connection ok");
    let mut strangers: Vec<TcpStream> = (0..40).map(|_| connect(port + 1)).collect();
    let passed = running.logged("connection ok");
    let start = Instant::now();
    while running.logged("connection ok") < passed + 4 {
        running.explain(20);
        for (number, stranger) in strangers.iter_mut().enumerate() {
            if number % 2 == 0 && stranger.write_all(b"vm autossh 1 2 \r\n").is_err() {
                // It was dropped, so connect again.
                *stranger = connect(port + 1);
            }
        }
        assert!(start.elapsed() < limit(), "{}", running.story());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(running.starts().len(), 1, "{}", running.story());
    assert_eq!(running.logged("port down"), 0);
});

case!(connections_during_a_test_are_limited, Beyond, {
    // The answer is late, and four hundred other connections come before it.
    let (unstarted, port) = looped("relay silent");
    let running = unstarted.env("AUTOSSH_POLL", "600").env("AUTOSSH_FIRST_POLL", "1").start();
    running.wait_start(1);
    wait_for("the test's connection", || has_connection_to(port).then_some(()));
    let crowd: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(("127.0.0.1", port + 1)).unwrap()).collect();
    wait_for("the surplus to be dropped", || {
        let held = std::fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap().count();
        (held > 250 && held < 290).then_some(())
    });
    drop(crowd);
});

case!(whoever_has_brought_half_of_the_answer_is_kept_in_a_crowd, Beyond, {
    // ssh does nothing: we are what stands between the two ports.
    let (unstarted, port) = looped("hang");
    let running = unstarted.env("AUTOSSH_POLL", "600").env("AUTOSSH_GATETIME", "0").start();
    let listener = in_place_of_ssh(&running, port);
    running.wait_up();
    running.signal(Signal::SIGALRM);
    let mut message = [0; 512];
    let mut from = accept(&listener);
    let count = from.read(&mut message).unwrap();
    let mut ours = connect(port + 1);
    ours.write_all(&message[..count - 2]).unwrap();
    let crowd: Vec<TcpStream> = (0..400).map(|_| connect(port + 1)).collect();
    running.explain(400);
    // There is room for 256, and the oldest go.
    wait_for("the surplus to be dropped", || crowd.iter().take(100).all(is_closed).then_some(()));
    ours.write_all(&message[count - 2..count]).unwrap();
    running.wait_log("connection ok");
    assert_eq!(running.starts().len(), 1, "{}", running.story());
});

/// Whether the other end has closed a connection on which it says nothing.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut stream = stream;
    stream.read(&mut [0]).map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |_| true)
}

case!(the_backlog_does_not_fill_between_tests, Beyond, {
    let (unstarted, port) = looped("relay sound");
    let running = unstarted.env("AUTOSSH_POLL", "600").start();
    running.wait_up();
    for _ in 0..1000 {
        // A stranger may find that it is closed again by the time it is connected.
        if let Err(error) = TcpStream::connect(("127.0.0.1", port + 1)) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        running.explain(1);
    }
    running.signal(Signal::SIGALRM);
    running.wait_log("connection ok");
});

case!(a_loop_over_inet6, Defect, {
    let port = port_pair();
    let running = Autossh::new(["-M", &port.to_string(), "-6", "host"], "relay sound")
        .env("AUTOSSH_POLL", "1")
        .env("AUTOSSH_DEBUG", "1")
        .start();
    wait_healthy(&running);
});

case!(a_passed_test_sets_the_pid_files_time, Documented, {
    // In 1.4g this is a build option, which Debian does not set.
    let (unstarted, _) = looped("relay sound");
    let pid_file = unstarted.path("pid");
    let running = unstarted.env("AUTOSSH_PIDFILE", &pid_file).env("AUTOSSH_FIRST_POLL", "2").start();
    running.wait_start(1);
    let time = || std::fs::metadata(&pid_file).unwrap().modified().unwrap();
    let written = time();
    running.wait_log("connection ok");
    assert!(time() > written);
});

case!(a_monitor_that_never_passes_is_explained_once, Beyond, {
    let running = looped("relay closed").0.start();
    running.wait_log_times("port down", 4);
    assert_eq!(running.logged("no connection test has passed so far"), 1);
    assert_eq!(running.logged("AllowTcpForwarding"), 1);
});

table!(
    what_never_passed_is_said_to_be_refused_only_if_it_was,
    Beyond,
    [
        ("relay closed", false, "forwarding seems to be refused"),
        ("relay silent", false, "the connection is dead or slow"),
        ("relay closed", true, "forwarding seems to be refused"),
        ("relay silent", true, "the connection is dead or slow"),
        ("hang", false, "it has not logged in"),
        ("relay garbled", true, "port 7 is no echo service"),
    ],
    |(script, echoed, cause)| {
        let (unstarted, _) = if echoed { echo(script) } else { looped(script) };
        let running = unstarted.start();
        running.wait_log_times("port down", 2);
        assert_eq!(running.logged("no connection test has passed so far"), 1, "{}", running.story());
        assert_eq!(running.logged(cause), 1, "{}", running.story());
    }
);

case!(an_automatic_loop_works_and_heals, Beyond, {
    let running = Autossh::new(["-N", "host"], "relay sound sound silent\nrelay sound")
        .env("AUTOSSH_POLL", "1")
        .env("AUTOSSH_DEBUG", "1")
        .start();
    running.wait_log("connection ok");
    running.wait_start(2);
    running.wait_log_times("connection ok", 4);
    assert_eq!(running.starts().len(), 2);
});

table!(
    an_automatic_monitor_that_never_passes_restarts_nothing,
    Beyond,
    ["relay closed", "relay silent", "hang"],
    |script| {
        let running = Autossh::new(["-N", "host"], script).env("AUTOSSH_POLL", "1").env("AUTOSSH_DEBUG", "1").start();
        running.wait_log("this session goes on unmonitored");
        // Well into the tests after that.
        let said = Instant::now();
        wait_for("more tests", || (said.elapsed() > Duration::from_secs(4)).then_some(()));
        assert_eq!(running.starts().len(), 1, "{}", running.story());
        assert_eq!(running.logged("no connection test has passed so far"), 1);
        assert_eq!(running.logged("port down"), 0);
    }
);

case!(nothing_wakes_it_up_between_tests, Beyond, {
    let (unstarted, _) = looped("relay sound");
    // The scripted ssh has no connection, for which autossh would look a few times.
    let running = unstarted.env("AUTOSSH_POLL", "600").env("AUTOSSH_NETWATCH", "no").start();
    running.wait_up();
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // Until the start is over.
    let mut last = switches();
    wait_for("autossh to sleep", || std::mem::replace(&mut last, switches()).eq(&switches()).then_some(()));
    let before = switches();
    let start = Instant::now();
    wait_for("three seconds", || (start.elapsed() > Duration::from_secs(3)).then_some(()));
    assert_eq!(switches(), before);
});
