//! autossh(1), MONITORING: automatic ports, and explained failures, with a real ssh and a real sshd.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Autossh, Hosts, Running, Server, is_gone, wait_for};
use crate::{case, table};

/// Everything in the log, no gate, and tests often, but with time for a login before the first.
fn eager(autossh: Autossh) -> Autossh {
    autossh.env("AUTOSSH_POLL", "4").env("AUTOSSH_DEBUG", "1").env("AUTOSSH_GATETIME", "0")
}

/// A server here with this configuration, and an autossh without -M that goes through it.
fn automatic(config: &str) -> Option<(Server, Autossh)> {
    let server = Server::here(config)?;
    let autossh = eager(server.autossh(&["-N", "HOST"]));
    Some((server, autossh))
}

case!(no_port_need_be_given_though_client_and_server_are_one_host, Beyond, {
    let Some((server, autossh)) = automatic("") else { return };
    let running = autossh.start();
    running.wait_healthy();
    server.signal_sessions(Signal::SIGKILL);
    running.wait_start(2);
    running.wait_healthy();
    assert_ne!(running.starts()[0].args()[..2], running.starts()[1].args()[..2]);
});

case!(automatic_ports_over_inet6, Beyond, {
    let Some(server) = Server::here("ListenAddress ::1") else { return };
    let running = eager(server.autossh(&["-6", "-N", "::1"])).start();
    running.wait_healthy();
    assert!(running.starts()[0].args()[3].contains(":[::1]:"), "{:?}", running.starts()[0]);
});

case!(inet6_that_is_set_in_ssh_config_alone_cannot_be_seen, Beyond, {
    let Some(server) = Server::here("ListenAddress ::1") else { return };
    server.configure_client("AddressFamily inet6\n");
    let running = eager(server.autossh(&["-N", "::1"])).start();
    wait_for("a session", || (!server.sessions().is_empty()).then_some(()));
    let failed = running.logged("connection test failed");
    running.wait_log_times("connection test failed", failed + 2);
    assert_eq!((running.logged("connection ok"), running.starts().len()), (0, 1), "{}", running.story());
});

case!(a_dead_session_that_holds_the_port_does_not_block_automatic_ports, Beyond, {
    let Some((server, autossh)) = automatic("") else { return };
    // Time for a login and for a test on a busy machine.
    let running = autossh.env("AUTOSSH_POLL", "15").start();
    running.wait_healthy();
    let frozen = server.signal_sessions(Signal::SIGSTOP);
    running.signal(Signal::SIGALRM);
    running.wait_start(2);
    running.wait_healthy();
    assert_eq!(running.starts().len(), 2, "{}", running.story());
    assert!(frozen.iter().any(|pid| !is_gone(*pid)));
});

case!(a_given_port_that_is_held_is_explained, Beyond, {
    let Some(hosts) = Hosts::new() else { return };
    let Some(server) = Server::on(&hosts, "") else { return };
    let running = eager(server.autossh(&["-M", "20000", "-N", "HOST"])).start();
    running.wait_healthy();
    let frozen = server.signal_sessions(Signal::SIGSTOP);
    running.wait_log("port 20000 on the server is still held");
    running.wait_log_times("port down", 3);
    assert_eq!(running.logged("ClientAliveInterval"), 1, "{}", running.log());
    for pid in frozen {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    running.wait_healthy();
});

case!(the_warning_about_a_held_port_is_read_in_the_background, Beyond, {
    let Some(hosts) = Hosts::new() else { return };
    let Some(server) = Server::on(&hosts, "") else { return };
    let running = eager(server.autossh(&["-f", "-M", "20000", "-N", "HOST"])).start();
    running.wait_healthy();
    let frozen = server.signal_sessions(Signal::SIGSTOP);
    running.wait_log("ssh: Warning: remote port forwarding failed for listen port 20000");
    running.wait_log("port 20000 on the server is still held");
    for pid in frozen {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    running.wait_healthy();
});

/// The ways in which a server, or the user's own configuration, keeps a loop from working.
const REFUSALS: [(&str, &str, &str); 5] = [
    ("AllowTcpForwarding no", "", ""),
    ("AllowTcpForwarding local", "", ""),
    ("", "permitlisten=\"1\"", ""),
    ("", "permitopen=\"127.0.0.1:1\"", ""),
    ("", "", "ClearAllForwardings yes"),
];

/// Lets a server refuse in that way, or the user's own configuration.
fn refuse(server: &Server, (_, key, client): (&str, &str, &str)) {
    if !key.is_empty() {
        server.restrict_key(key);
    }
    server.configure_client(client);
}

/// The reason that is logged for it, once.
fn reason((_, _, client): (&str, &str, &str)) -> &'static str {
    if client.is_empty() { "forwarding seems to be refused" } else { "its forwards are switched off" }
}

table!(a_server_that_refuses_to_forward_keeps_its_session_with_an_automatic_monitor, Beyond, REFUSALS, |refusal| {
    let Some(server) = Server::here(refusal.0) else { return };
    refuse(&server, refusal);
    let running = eager(server.autossh(&["-N", "HOST"])).start();
    running.wait_log(reason(refusal));
    // Some more tests, which log nothing at level info.
    running.wait_log_times("connection test failed", 1);
    let lines = running.log().lines().count();
    wait_for("more tests", || (running.log().lines().count() >= lines + 3).then_some(()));
    assert_eq!(running.starts().len(), 1, "{}", running.story());
    assert_eq!(running.logged(reason(refusal)), 1);
    assert!(running.log().contains("this session goes on unmonitored"));
});

table!(a_server_that_refuses_to_forward_restarts_a_given_monitor, Beyond, REFUSALS, |refusal| {
    // On a single host the server would connect to ssh's own listener.
    let Some(hosts) = Hosts::new() else { return };
    let Some(server) = Server::on(&hosts, refusal.0) else { return };
    refuse(&server, refusal);
    let running = eager(server.autossh(&["-M", "20000", "-N", "HOST"])).start();
    running.wait_start(3);
    running.wait_log_times("port down, restarting ssh", 2);
    running.wait_log(reason(refusal));
    assert_eq!(running.logged(reason(refusal)), 1, "{}", running.log());
});

case!(an_automatic_forward_that_ends_ssh_is_left_out_in_the_background, Beyond, {
    let Some(server) = Server::here("AllowTcpForwarding local") else { return };
    let args = ["-f", "-N", "-o", "ExitOnForwardFailure=yes", "HOST"];
    let running = eager(server.autossh(&args)).start();
    running.wait_log("going on without a monitor");
    let start = running.wait_start(3);
    assert_eq!(start.args(), ["-N", "-o", "ExitOnForwardFailure=yes", "127.0.0.1"]);
    wait_for("a session", || server.sessions().last().copied());
});

case!(giving_up_for_a_forward_is_explained_in_the_foreground, Beyond, {
    let Some(server) = Server::here("AllowTcpForwarding local") else { return };
    let mut running = server.autossh(&["-N", "-o", "ExitOnForwardFailure=yes", "HOST"]).run();
    assert_eq!(running.status(), 1);
    let stderr = running.stderr();
    assert!(stderr.contains("AUTOSSH_GATETIME") && stderr.contains("-M 0"), "{stderr}");
});

mod sharing {
    //! ControlMaster: the connection belongs to another ssh.

    use super::*;

    /// The arguments that share a connection through this socket.
    fn shared(server: &Server, persist: &str) -> Vec<String> {
        let path = server.path("master");
        ["-o", "ControlMaster=auto", "-o", &format!("ControlPath={}", path.display()), "-o", persist]
            .map(str::to_owned)
            .to_vec()
    }

    /// A master, and an autossh that shares its connection for a command: with -N ssh would only pass its forwards to
    /// the master.
    fn guest(server: &Server) -> (Running, Running) {
        let words = shared(server, "ControlPersist=no");
        let host = ["HOST".to_owned()];
        let master = server.autossh(&[&["-M", "0", "-N"].map(str::to_owned), &words[..], &host].concat()).start();
        master.wait_start(1);
        wait_for("the master", || server.path("master").exists().then_some(()));
        let guest = server.autossh(&[&words[..], &host, &["sleep 1000".to_owned()]].concat());
        (master, eager(guest).start())
    }

    case!(a_master_that_keeps_old_forwards_does_not_block_automatic_ports, Beyond, {
        let Some(server) = Server::here("") else { return };
        let (_master, running) = guest(&server);
        running.wait_healthy();
        for number in [2, 3] {
            running.signal(Signal::SIGUSR1);
            running.wait_start(number);
            running.wait_healthy();
        }
    });

    case!(a_frozen_master_is_named_as_the_likely_cause, Beyond, {
        let Some(server) = Server::here("") else { return };
        let (master, running) = guest(&server);
        running.wait_healthy();
        let frozen = server.signal_sessions(Signal::SIGSTOP);
        running.wait_log("if ssh shares a connection (ControlMaster, ControlPath)");
        // Once the master is gone, the next ssh makes a connection of its own.
        drop(master);
        running.wait_healthy();
        for pid in frozen {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    });

    case!(an_ssh_that_leaves_its_forwards_to_a_master_is_explained, Beyond, {
        let Some(server) = Server::here("") else { return };
        let (_master, _guest) = guest(&server);
        let args = [&["-M", "0", "-N"].map(str::to_owned), &shared(&server, "ControlPersist=no")[..], &["HOST".into()]];
        let mut running = server.autossh(&args.concat()).run();
        assert_eq!(running.status(), 0);
        assert!(running.stderr().contains("ControlMaster"), "{}", running.stderr());
    });

    case!(an_ssh_that_goes_to_the_background_by_itself_is_explained, Beyond, {
        let Some(server) = Server::here("") else { return };
        let words = shared(&server, "ControlPersist=20");
        let args = [&["-M", "0", "-N"].map(str::to_owned), &words[..], &["HOST".into()]].concat();
        let mut running = server.autossh(&args).run();
        assert_eq!(running.status(), 0);
        assert!(running.stderr().contains("ControlPersist"), "{}", running.stderr());
        let path = server.path("master").display().to_string();
        let exit = server.autossh(&["-M", "0", "-S", &path, "-O", "exit", "HOST"]).run();
        assert_eq!(exit.starts().len(), 1);
    });
}

case!(fifty_at_once_on_one_host_are_all_sound, Beyond, {
    let Some(server) = Server::here("") else { return };
    let all: Vec<Running> = (0..50)
        .map(|_| server.autossh(&["-N", "HOST"]).env("AUTOSSH_DEBUG", "1").env("AUTOSSH_GATETIME", "0").start())
        .collect();
    // The build for other systems cannot reserve the ports that it picks, so that some of them meet.
    let expected = if std::env::var_os("AUTOSSH_BINARY").is_some() { 40 } else { 50 };
    let sound = || all.iter().filter(|running| running.logged("connection ok") > 0).count();
    wait_for("tests that pass", || (sound() >= expected).then_some(()));
    for running in &all {
        assert_eq!(running.starts().len(), 1, "{}", running.story());
    }
});
