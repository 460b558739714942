//! The main job with a real ssh and a real sshd: a tunnel that carries traffic, is cut, and recovers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::case;
use crate::harness::{Autossh, Hosts, Server, output, port_pair, wait_for};

/// A server and an autossh that loops through it, in namespaces of their own, with tests often, but time for a login before the first.
fn lab(server_config: &str) -> Option<(Hosts, Server, Autossh)> {
    let hosts = Hosts::new()?;
    let server = Server::on(&hosts, server_config)?;
    let autossh = server.autossh(&["-M", "20000", "-N", "HOST"]);
    let autossh = autossh.env("AUTOSSH_POLL", "4").env("AUTOSSH_DEBUG", "1").env("AUTOSSH_GATETIME", "0");
    Some((hosts, server, autossh))
}

case!(a_loop_through_a_real_server, Same, {
    let Some((_hosts, _server, autossh)) = lab("") else { return };
    let running = autossh.start();
    running.wait_healthy();
    let expected = ["-L", "20000:127.0.0.1:20000", "-R", "20000:127.0.0.1:20001", "-N", "10.99.0.2"];
    assert_eq!(running.starts()[0].args(), expected);
});

case!(a_session_that_is_killed_is_started_again, Same, {
    let Some((_hosts, server, autossh)) = lab("") else { return };
    let running = autossh.start();
    running.wait_healthy();
    server.signal_sessions(Signal::SIGKILL);
    running.wait_start(2);
    running.wait_healthy();
});

case!(a_session_that_is_frozen_is_started_again, Same, {
    // The frozen session holds the port until the server notices, here after three seconds.
    let Some((_hosts, server, autossh)) = lab("ClientAliveInterval 1\nClientAliveCountMax 2") else { return };
    let running = autossh.start();
    running.wait_healthy();
    let frozen = server.signal_sessions(Signal::SIGSTOP);
    running.wait_start(2);
    for pid in frozen {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    running.wait_healthy();
});

case!(packets_that_are_dropped_and_let_through_again, Same, {
    let Some((hosts, _server, autossh)) = lab("ClientAliveInterval 1\nClientAliveCountMax 2") else { return };
    let running = autossh.start();
    running.wait_healthy();
    hosts.on_client("iptables -A INPUT -i wire-c -j DROP");
    hosts.on_client("iptables -A OUTPUT -o wire-c -j DROP");
    running.wait_log("port down, restarting ssh");
    hosts.on_client("iptables -F");
    running.wait_healthy();
});

case!(a_server_that_is_stopped_and_started, Same, {
    let Some((_hosts, mut server, autossh)) = lab("") else { return };
    let running = autossh.start();
    running.wait_healthy();
    server.stop();
    running.wait_log("ssh exited with error status 255; restarting ssh");
    server.start();
    running.wait_healthy();
});

case!(an_echo_service_on_the_server, Same, {
    let Some(server) = Server::here("") else { return };
    let echo = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let echo_port = echo.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in echo.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    stream.write_all(&buffer[..count]).unwrap();
                }
            });
        }
    });
    let monitor = format!("{}:{echo_port}", port_pair());
    let unstarted = server.autossh(&["-M", &monitor, "-N", "HOST"]).env("AUTOSSH_GATETIME", "0");
    let running = unstarted.env("AUTOSSH_POLL", "4").env("AUTOSSH_DEBUG", "1").start();
    running.wait_healthy();
    server.signal_sessions(Signal::SIGKILL);
    running.wait_start(2);
    running.wait_healthy();
});

case!(traffic_flows_through_the_tunnel_again_after_each_cut, Same, {
    let Some(mut server) = Server::here("") else { return };
    let service = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let service_port = service.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in service.incoming() {
            let _ = stream.unwrap().write_all(b"hello through the tunnel\n");
        }
    });
    let port = port_pair();
    let forward = format!("{port}:127.0.0.1:{service_port}");
    let _running = server.autossh(&["-M", "0", "-N", "-L", &forward, "HOST"]).env("AUTOSSH_GATETIME", "0").start();
    let flows = || {
        wait_for("a line through the tunnel", || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            (text == "hello through the tunnel\n").then_some(())
        });
    };
    flows();
    server.signal_sessions(Signal::SIGKILL);
    flows();
    server.stop();
    server.start();
    flows();
});

case!(a_remote_command_runs_and_its_status_ends_autossh, Same, {
    let Some(server) = Server::here("") else { return };
    let mut running = server.autossh(&["-M", "0", "HOST", "echo $((6*7)); exit 7"]).run();
    assert_eq!(running.status(), 1);
    assert_eq!(running.text("stdout"), "42\n");
    assert_eq!(running.logged("with status 7; autossh exiting"), 1);
});

case!(an_ssh_without_a_command_that_somebody_ends_is_explained, Beyond, {
    let Some((_hosts, _server, autossh)) = lab("") else { return };
    // No test may be under way at its end.
    let mut running = autossh.env("AUTOSSH_POLL", "600").env("AUTOSSH_FIRST_POLL", "4").start();
    running.wait_log("connection ok");
    kill(Pid::from_raw(running.starts().last().unwrap().pid), Signal::SIGTERM).unwrap();
    assert_eq!(running.status(), 0);
    assert_eq!(running.logged("ssh exited with status 0; autossh exiting"), 1);
    assert!(running.stderr().contains("SIGTERM"), "{}", running.stderr());
});

case!(a_session_that_leaves_its_forwards_to_a_shared_connection_ends_autossh, Beyond, {
    let Some(server) = Server::here("") else { return };
    let control = server.path("control").display().to_string();
    let forward = format!("{}:127.0.0.1:{}", port_pair(), server.port());
    let master = server.autossh(&["-M", "0", "-N", "-o", "ControlMaster=yes", "-S", &control, "HOST"]).start();
    wait_for("the control socket", || std::path::Path::new(&control).exists().then_some(()));
    let mut running = server.autossh(&["-M", "0", "-N", "-S", &control, "-L", &forward, "HOST"]).start();
    assert_eq!(running.status(), 0, "{}", running.story());
    assert!(running.stderr().contains("left its forwards to a shared connection"), "{}", running.story());
    drop(master);
});

case!(data_goes_through_stdin_and_stdout_unharmed, Same, {
    // sshfs and sshuttle run autossh as their ssh.
    let Some(server) = Server::here("") else { return };
    let data: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let unstarted = server.autossh(&["-M", "0", "HOST", "cat"]);
    std::fs::write(unstarted.path("data"), &data).unwrap();
    let input = std::fs::File::open(unstarted.path("data")).unwrap();
    let running = unstarted
        .with(|command| {
            command.stdin(Stdio::from(input));
        })
        .run();
    assert!(std::fs::read(running.path("stdout")).unwrap() == data);
});

case!(a_name_that_cannot_be_resolved_is_given_up_within_the_gate, Same, {
    let Some(server) = Server::here("") else { return };
    let mut running = server.autossh(&["-M", "0", "-N", "no-such-host.invalid"]).run();
    assert_eq!((running.status(), running.starts().len()), (1, 1));
    assert!(running.stderr().contains("no-such-host.invalid"));
});

case!(a_server_that_says_nothing_is_left_with_a_connect_timeout, Same, {
    // Its kernel takes the connection.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let Some(server) = Server::here("") else { return };
    let args = ["-M", "0", "-N", "-o", "ConnectTimeout=1", "-p", &port, "127.0.0.1"];
    let running = server.autossh(&args).env("AUTOSSH_GATETIME", "0").start();
    assert_eq!(running.wait_start(2).args(), args[2..]);
});

case!(the_real_ssh_parses_the_rewritten_arguments_as_we_do, Beyond, {
    // How the real ssh understands its arguments, as far as -G shows it.
    for typed in
        ["-M 20000 -p 2022 -l me -L 1:h:2 host", "-f -M 20000 -NT -p2022 -o User=me host", "-M 20000 host -p 2022 -N"]
    {
        let words: Vec<&str> = typed.split(' ').collect();
        let running = Autossh::new(words, "exit 0").env("AUTOSSH_GATETIME", "0").start();
        let args = running.wait_start(1).args();
        let output = output(Command::new("/usr/bin/ssh").args(["-F", "none", "-G"]).args(&args));
        let config = String::from_utf8(output.stdout).unwrap();
        assert!(config.contains("port 2022\n") && config.contains("hostname host\n"), "{typed}: {config}");
        assert!(config.contains("localforward 20000 [127.0.0.1]:20000\n"), "{typed}: {config}");
        assert!(config.contains("remoteforward 20000 [127.0.0.1]:20001\n"), "{typed}: {config}");
    }
});
