//! autossh(1), SYSTEMD: messages to NOTIFY_SOCKET.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{
    Autossh, Server, install_script, is_root, needs, pass, port_pair, program, wait_for, wait_greeting,
};
use crate::{case, table};

/// systemd's end of NOTIFY_SOCKET.
pub struct NotifySocket {
    socket: UnixDatagram,
    /// The messages so far.
    pub received: Vec<String>,
}

impl NotifySocket {
    /// One with this path.
    pub fn at(path: &Path) -> NotifySocket {
        NotifySocket::of(UnixDatagram::bind(path).unwrap())
    }

    fn of(socket: UnixDatagram) -> NotifySocket {
        socket.set_nonblocking(true).unwrap();
        NotifySocket { socket, received: Vec::new() }
    }

    /// Receives what is there, and returns whether a message with this beginning is among all so far.
    pub fn has_received(&mut self, beginning: &str) -> bool {
        let mut buffer = [0; 4096];
        while let Ok(count) = self.socket.recv(&mut buffer) {
            self.received.push(String::from_utf8(buffer[..count].to_vec()).unwrap());
        }
        self.received.iter().any(|message| message.starts_with(beginning))
    }

    /// Waits for a message with this beginning.
    pub fn wait(&mut self, beginning: &str) {
        wait_for(format!("{beginning} at NOTIFY_SOCKET"), || self.has_received(beginning).then_some(()));
    }
}

/// An autossh with a NOTIFY_SOCKET.
fn with_notify_socket(unstarted: Autossh) -> (Autossh, NotifySocket) {
    let path = unstarted.path("notify");
    let notify_socket = NotifySocket::at(&path);
    (unstarted.env("NOTIFY_SOCKET", &path).env("AUTOSSH_GATETIME", "0"), notify_socket)
}

case!(without_a_monitor_an_ssh_that_is_connected_is_up, Beyond, {
    let Some(server) = Server::here("") else { return };
    let (unstarted, mut notify_socket) = with_notify_socket(server.autossh(&["-M", "0", "-N", "HOST"]));
    let begin = Instant::now();
    let mut running = unstarted.start();
    running.wait_start(1);
    notify_socket.wait("READY=1");
    assert!(begin.elapsed() >= Duration::from_secs(3), "{:?}", begin.elapsed());
    let pid = running.wait_start(1).pid;
    notify_socket.wait(&format!("STATUS=ssh {pid} up since "));
    running.signal(Signal::SIGTERM);
    running.wait();
    notify_socket.wait("STOPPING=1");
    assert_eq!(notify_socket.received.iter().filter(|message| *message == "READY=1").count(), 1);
});

case!(an_ssh_whose_forward_is_refused_is_not_up, Beyond, {
    let Some(server) = Server::here("AddressFamily inet") else { return };
    let port = port_pair();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let forward = format!("{port}:127.0.0.1:{}", server.port());
    let (unstarted, mut notify_socket) =
        with_notify_socket(server.autossh(&["-M", "0", "-N", "-4", "-R", &forward, "HOST"]));
    let begin = Instant::now();
    let running = unstarted.start();
    running.wait_log(&format!("port {port} on the server is refused"));
    pass(4);
    assert!(!notify_socket.has_received("READY=1"), "{}", running.story());
    drop(taken);
    notify_socket.wait("READY=1");
    // It is ready after 30 s in any case.
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    wait_greeting(port);
});

case!(without_proc_an_ssh_that_lives_is_up, Beyond, {
    if !needs("root", is_root()) {
        return;
    }
    let hide = "mount -t tmpfs none /proc && exec \"$@\"";
    let before = ["unshare", "--mount", "--propagation", "private", "sh", "-c", hide, "sh"];
    let (unstarted, mut notify_socket) =
        with_notify_socket(Autossh::run_by(&before, ["-M", "0", "-N", "host"], "").own_log());
    let (ssh, log) = (unstarted.path("ssh"), unstarted.path("own-log"));
    install_script("#!/bin/sh\nexec sleep 1000\n", &ssh);
    let begin = Instant::now();
    let mut running = unstarted.env("AUTOSSH_PATH", &ssh).env("AUTOSSH_LOGFILE", log).start();
    notify_socket.wait("READY=1");
    // It is ready after 30 s in any case.
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    running.signal(Signal::SIGTERM);
    assert_eq!(running.status(), 128 + 15, "{}", running.story());
});

case!(an_ssh_that_does_not_live_for_a_second_is_not_up, Beyond, {
    let (unstarted, mut notify_socket) = with_notify_socket(Autossh::new(["-M", "0", "-N", "host"], "exit 255"));
    let running = unstarted.start();
    notify_socket.wait("STATUS=waiting until ");
    assert!(!notify_socket.has_received("READY=1"), "{:?}", notify_socket.received);
    drop(running);
});

case!(a_wait_says_how_ssh_failed, Beyond, {
    let script = "say Host key verification failed.; exit 255";
    let (unstarted, mut notify_socket) =
        with_notify_socket(Autossh::run_by(&AS_MAIN, ["-M", "0", "-N", "host"], script));
    let running = unstarted.start();
    wait_for("the reason in the status", || {
        notify_socket.has_received("");
        let is_reason = |message: &String| {
            message.starts_with("STATUS=waiting until ")
                && message.ends_with("; last: status 255, Host key verification failed.")
        };
        notify_socket.received.iter().any(is_reason).then_some(())
    });
    drop(running);
});

case!(with_a_monitor_traffic_must_have_flowed, Beyond, {
    let Some(server) = Server::here("") else { return };
    let (unstarted, mut notify_socket) = with_notify_socket(server.autossh(&["-N", "HOST"]));
    let running = unstarted.start();
    notify_socket.wait("READY=1");
    // The poll time is ten minutes: this was an early test.
    wait_for("the round trip in the status", || {
        notify_socket.has_received("");
        notify_socket
            .received
            .iter()
            .any(|message| message.contains("last test passed at ") && message.ends_with(" ms"))
            .then_some(())
    });
    let up = notify_socket.received.iter().position(|message| message == "READY=1").unwrap();
    assert!(
        notify_socket.received[..up].iter().all(|message| !message.contains("last test passed")),
        "{:?}",
        notify_socket.received
    );
    drop(running);
});

case!(an_abstract_socket_is_heard_too, Beyond, {
    let name = format!("autossh-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let mut notify_socket = NotifySocket::of(UnixDatagram::bind_addr(&address).unwrap());
    let unstarted = Autossh::new(["-M", "0", "-N", "host"], "hang").env("NOTIFY_SOCKET", format!("@{name}"));
    let running = unstarted.start();
    notify_socket.wait("STATUS=ssh ");
    drop(running);
});

case!(a_socket_without_a_listener_does_no_harm, Beyond, {
    for socket in ["", "@", "relative", "/nonexistent/notify", "/dev/null"] {
        let unstarted = Autossh::new(["-M", "0", "-N", "host"], "kill 9\nexit 0");
        let mut running = unstarted.env("NOTIFY_SOCKET", socket).env("AUTOSSH_GATETIME", "0").start();
        assert_eq!((running.status(), running.starts().len()), (0, 2), "{socket}");
    }
});

/// What makes a command the process that systemd has started.
const AS_MAIN: [&str; 4] = ["sh", "-c", "export SYSTEMD_EXEC_PID=$$; exec \"$@\"", "sh"];

table!(
    what_cannot_be_used_ends_with_a_status_of_its_own_and_the_reason,
    Beyond,
    [
        (vec!["-N", "host"], "AUTOSSH_POLL", "often", "invalid AUTOSSH_POLL \"often\""),
        (vec!["-M", "often", "-N", "host"], "TZ", "UTC", "invalid -M \"often\""),
        (vec!["-N", "host", "-M"], "TZ", "UTC", "option -M needs a port"),
        (vec!["-N"], "TZ", "UTC", "no host to connect to"),
        (vec!["-N", "host"], "AUTOSSH_PATH", "/nonexistent/ssh", "cannot run AUTOSSH_PATH"),
        (vec!["-N", "host"], "AUTOSSH_LOGFILE", "/nonexistent/log", "cannot open the log file"),
        (vec!["-N", "host"], "AUTOSSH_PIDFILE", "/nonexistent/pid", "cannot write the pid file"),
    ],
    |(args, name, value, reason)| {
        let prepared = |first: &[&str]| {
            let (unstarted, notify_socket) = with_notify_socket(Autossh::run_by(first, &args, "hang").own_log());
            (unstarted.env(name, value), notify_socket)
        };
        for (first, status) in [
            (&AS_MAIN[..], 78),
            // Before systemd 248 there was no such variable.
            (&[], 78),
            // Started by a service for another purpose.
            (&["env", "SYSTEMD_EXEC_PID=1"], 1),
            (&["env", "-u", "NOTIFY_SOCKET"], 1),
        ] {
            let (unstarted, mut notify_socket) = prepared(first);
            let mut running = unstarted.run();
            assert_eq!(running.status(), status, "{first:?}: {}", running.story());
            assert_eq!(
                notify_socket.has_received(&format!("STATUS={reason}")),
                status == 78,
                "{first:?}: {:?}",
                notify_socket.received
            );
            assert!(running.starts().is_empty());
        }
    }
);

case!(what_may_pass_ends_with_status_1_and_the_reason, Beyond, {
    let port = port_pair();
    let taken = TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let (unstarted, mut notify_socket) =
        with_notify_socket(Autossh::run_by(&AS_MAIN, ["-M", &port.to_string(), "-N", "host"], "hang"));
    assert_eq!(unstarted.run().status(), 1);
    notify_socket.wait("STATUS=cannot listen on 127.0.0.1:");
    drop(taken);

    // What ssh ends with that is no matter of the connection.
    let (unstarted, mut notify_socket) =
        with_notify_socket(Autossh::run_by(&AS_MAIN, ["-M", "0", "host", "cmd"], "exit 5"));
    assert_eq!(unstarted.run().status(), 1);
    notify_socket.wait("STATUS=ssh exited with status 5; autossh exiting");
});

case!(a_socket_inherited_from_another_service_is_left_alone, Beyond, {
    let (unstarted, mut notify_socket) =
        with_notify_socket(Autossh::new(["-f", "-M", "0", "-N", "host"], "live 1500;note late;hang"));
    let pid_file = unstarted.path("pid");
    let mut running = unstarted.env("SYSTEMD_EXEC_PID", "1").env("AUTOSSH_PIDFILE", &pid_file).start();
    assert_eq!(running.status(), 0, "{}", running.story());
    running.wait_file("late.1");
    assert!(!notify_socket.has_received("") && notify_socket.received.is_empty(), "{:?}", notify_socket.received);
    let daemon: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    assert_ne!(daemon, running.pid());
});

/// An autossh that `first` runs, with a real ssh to `server` that fails once.
fn failing_once(server: &Server, first: &[&str], args: &[&str]) -> (Autossh, NotifySocket) {
    let program = program().into_os_string().into_string().unwrap();
    let words = first.iter().copied().chain([program.as_str()]).chain(args.iter().copied());
    let (unstarted, notify_socket) = with_notify_socket(server.run_as(words));
    fs::write(unstarted.path("script"), "exit 255\nreal").unwrap();
    (unstarted, notify_socket)
}

case!(a_wrapper_script_that_systemd_has_started_may_run_autossh, Beyond, {
    let Some(server) = Server::here("") else { return };
    let wrapper = ["sh", "-c", "export SYSTEMD_EXEC_PID=$$; \"$@\"; exit $?", "sh"];
    let (unstarted, mut notify_socket) = failing_once(&server, &wrapper, &["-N", "127.0.0.1"]);
    let running = unstarted.start();
    notify_socket.wait("READY=1");
    drop(running);
});

case!(minus_f_is_not_needed_where_systemd_waits_for_this_process, Beyond, {
    let Some(server) = Server::here("") else { return };
    let (unstarted, mut notify_socket) = failing_once(&server, &AS_MAIN, &["-fN", "127.0.0.1"]);
    // There is no gate with -f, here neither.
    let mut running = unstarted.env("AUTOSSH_GATETIME", "30").start();
    notify_socket.wait("READY=1");
    running.wait_log("-f is not needed, since systemd waits for this process: staying in the foreground");
    assert_eq!(running.has_ended(), None);
    assert!(running.log().contains(&format!("autossh[{}]", running.pid())), "{}", running.log());
    running.signal(Signal::SIGTERM);
    assert_eq!(running.status(), 128 + Signal::SIGTERM as i32);
});

case!(what_the_socket_cannot_take_is_sent_again_later, Beyond, {
    let Some(server) = Server::here("") else { return };
    let (unstarted, mut notify_socket) = failing_once(&server, &[], &["-N", "127.0.0.1"]);
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"FILLER=1", unstarted.path("notify")).is_ok() {}
    let running = unstarted.start();
    running.wait_log_times("ssh child pid is ", 2);
    wait_for("a test that has passed, which makes it ready", || {
        running.signal(Signal::SIGUSR2);
        running.log().contains("last test passed at").then_some(())
    });
    notify_socket.wait("READY=1");
    notify_socket.wait(&format!("STATUS=ssh {} up since ", running.starts()[1].pid));
    notify_socket.received.retain(|message| message != "FILLER=1");
    // What an earlier status said is of no use any more: only the last of those that were not taken is sent.
    let received = &notify_socket.received;
    assert!(
        received.len() == 2 && received[0] == "READY=1" && received[1].contains("last test passed"),
        "{received:?}"
    );
    drop(running);
});
