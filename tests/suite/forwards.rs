//! autossh(1), FORWARDS: those that the user asked for, when the server or this machine refuses them.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Autossh, Hosts, Running, Server, pass, port_pair, wait_for, wait_greeting, wait_within};
use crate::terminal::terminal;
use crate::{case, table};

const HELD: &str = "port 2200 on the server is refused, most likely still held by our last session; trying again in";

fn lab() -> Option<(Hosts, Server)> {
    let hosts = Hosts::new()?;
    let server = Server::on(&hosts, "GatewayPorts clientspecified")?;
    Some((hosts, server))
}

fn autossh(server: &Server, args: &str) -> Autossh {
    let args: Vec<&str> = args.split(' ').collect();
    server.autossh(&args).env("AUTOSSH_GATETIME", "0").env("AUTOSSH_DEBUG", "1")
}

/// Waits for the start `number` of ssh, and until its forward is there or has been refused.
fn wait_forward(server: &Server, port: u16) {
    wait_for(format!("port {port} on the server"), || server.listens(port).then_some(()));
}

/// Cuts the session such that the server does not notice and goes on holding its ports. Returns its processes.
fn lose(server: &Server, running: &Running) -> Vec<i32> {
    let frozen = server.signal_sessions(Signal::SIGSTOP);
    let ssh = running.starts().last().unwrap().pid;
    kill(Pid::from_raw(ssh), Signal::SIGKILL).unwrap();
    frozen
}

/// The server notices.
fn free(frozen: &[i32]) {
    for pid in frozen {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
}

/// A session that an autossh before this one has left behind, and that holds these ports.
fn left_behind(server: &Server, args: &str) -> Vec<i32> {
    let running = autossh(server, &format!("-M 0 -N {args} HOST")).start();
    wait_for("the forwards", || (!server.sessions().is_empty() && server.listens(2200)).then_some(()));
    lose(server, &running)
}

/// Waits until another session has the forward.
fn wait_back(server: &Server, running: &Running, starts: usize) {
    wait_within(Duration::from_secs(60), "the forward to be back", || {
        (running.starts().len() > starts && server.listens(2200)).then_some(())
    });
}

/// The forward is held by the dead session, until the server frees it a little later.
fn heals(args: &str) {
    let Some((_hosts, server)) = lab() else { return };
    let running = autossh(&server, args).start();
    wait_forward(&server, 2200);
    let frozen = lose(&server, &running);
    running.wait_log(HELD);
    let autossh = running.starts().last().unwrap().parent;
    running.explain(1);
    kill(Pid::from_raw(autossh), Signal::SIGUSR2).unwrap();
    running.wait_log("but port 2200 on the server is refused");
    let starts = running.starts().len();
    free(&frozen);
    wait_back(&server, &running, starts);
    assert_eq!(running.logged(HELD), 1, "{}", running.story());
    assert_eq!(running.logged("waiting "), 0, "a restart for a forward costs no backoff: {}", running.story());
}

case!(held_by_the_dead_session_without_a_monitor, Beyond, {
    heals("-M 0 -N -R 2200:localhost:22 HOST");
});

case!(held_by_the_dead_session_with_automatic_ports, Beyond, {
    heals("-N -R 2200:localhost:22 HOST");
});

case!(held_by_the_dead_session_in_the_background, Beyond, {
    heals("-f -M 0 -N -R 2200:localhost:22 HOST");
});

case!(held_by_the_dead_session_in_the_background_with_automatic_ports, Beyond, {
    heals("-f -N -R 2200:localhost:22 HOST");
});

case!(held_by_the_dead_session_and_asked_for_as_an_option, Beyond, {
    heals("-vvv -M 0 -o SessionType=none -o RemoteForward=2200\tlocalhost:22 HOST");
});

case!(held_by_a_session_from_before_the_reboot, Beyond, {
    let Some((_hosts, server)) = lab() else { return };
    let frozen = left_behind(&server, "-R 2200:localhost:22");
    let running = autossh(&server, "-M 0 -N -R 2200:localhost:22 HOST").start();
    running.wait_log(HELD);
    // It is tried again, and in vain.
    running.wait_log_times("trying again in", 2);
    let starts = running.starts().len();
    free(&frozen);
    wait_back(&server, &running, starts);
    assert_eq!(running.logged(HELD), 1, "{}", running.story());
});

case!(a_hangup_and_the_network_begin_the_series_anew, Beyond, {
    let Some((_hosts, server)) = lab() else { return };
    let frozen = left_behind(&server, "-R 2200:localhost:22");
    let running = autossh(&server, "-M 0 -N -R 2200:localhost:22 HOST").start();
    wait_within(Duration::from_secs(60), "a third interval, of 20 s", || {
        (running.logged("trying again in") == 3).then_some(())
    });
    let (starts, asked) = (running.starts().len(), Instant::now());
    free(&frozen);
    running.signal(Signal::SIGHUP);
    wait_back(&server, &running, starts);
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
});

case!(a_path_on_the_server_is_held, Beyond, {
    let Some((_hosts, server)) = lab() else { return };
    let path = server.path("remote.sock");
    std::fs::write(&path, "").unwrap();
    let running = autossh(&server, &format!("-M 0 -N -R {}:localhost:22 HOST", path.display())).start();
    running.wait_log(&format!("{} on the server is refused, most likely", path.display()));
    std::fs::remove_file(&path).unwrap();
    wait_within(Duration::from_secs(30), "the socket", || path.exists().then_some(()));
    assert!(running.starts().len() >= 2, "{}", running.story());
});

case!(one_of_several_that_was_had_is_tried_until_it_is_back, Beyond, {
    let Some((_hosts, server)) = lab() else { return };
    let args = "-M 20000 -N -R 2200:localhost:22 -R 2201:localhost:22 HOST";
    let running = autossh(&server, args).env("AUTOSSH_POLL", "5").env("AUTOSSH_FIRST_POLL", "1").start();
    running.wait_log("connection ok");
    // Another session takes one of the ports while autossh sleeps.
    running.signal(Signal::SIGSTOP);
    server.signal_sessions(Signal::SIGKILL);
    wait_for("the ports to be free", || (!server.listens(2200)).then_some(()));
    let frozen = left_behind(&server, "-R 2200:localhost:22");
    running.signal(Signal::SIGCONT);
    running.wait_log(HELD);
    wait_forward(&server, 2201);
    let starts = running.starts().len();
    free(&frozen);
    wait_back(&server, &running, starts);
});

case!(one_of_several_that_never_stood_is_given_up, Beyond, {
    let Some((_hosts, server)) = lab() else { return };
    let _frozen = left_behind(&server, "-R 2200:localhost:22");
    let unstarted = autossh(&server, "-M 0 -N -R 2200:localhost:22 -R 2201:localhost:22 HOST");
    // No interval is longer than the poll time.
    let running = unstarted.env("AUTOSSH_POLL", "5").start();
    wait_within(Duration::from_secs(90), "the last try", || {
        (running.logged("with ExitOnForwardFailure=yes ssh would end instead") > 0).then_some(())
    });
    assert_eq!(running.starts().len(), 6, "{}", running.story());
    wait_forward(&server, 2201);
    pass(8);
    assert_eq!(running.starts().len(), 6, "{}", running.story());
    assert_eq!(running.logged(HELD), 0);
});

case!(the_same_port_at_two_addresses, Beyond, {
    let Some((_hosts, server)) = lab() else { return };
    let frozen = left_behind(&server, "-R 10.99.0.2:2200:localhost:22");
    let args = "-M 0 -N -R 127.0.0.1:2200:localhost:22 -R 10.99.0.2:2200:localhost:22 HOST";
    let running = autossh(&server, args).start();
    // It is not known which of the two: one stands.
    running.wait_log("port 2200 on the server is refused; trying again in");
    let starts = running.starts().len();
    free(&frozen);
    wait_within(Duration::from_secs(30), "the next start", || (running.starts().len() > starts).then_some(()));
    assert_eq!(running.logged(HELD), 0, "{}", running.story());
});

case!(ssh_ends_itself_where_it_was_told_to, Beyond, {
    let Some((_hosts, server)) = lab() else { return };
    let frozen = left_behind(&server, "-R 2200:localhost:22");
    let args = "-M 0 -N -o ExitOnForwardFailure=yes -R 2200:localhost:22 HOST";
    let running = autossh(&server, args).start();
    running.wait_start(3);
    assert_eq!(running.logged("trying again"), 0, "{}", running.story());
    free(&frozen);
    wait_back(&server, &running, 2);
});

case!(a_port_that_the_server_chooses_is_not_refused, Beyond, {
    let Some((_hosts, server)) = lab() else { return };
    let running = autossh(&server, "-M 0 -N -R 0:localhost:22 HOST").start();
    wait_for("ssh's line", || running.stderr().contains("Allocated port").then_some(()));
    pass(7);
    assert_eq!((running.starts().len(), running.logged("refused")), (1, 0), "{}", running.story());
});

case!(an_ssh_that_is_told_to_be_quiet_is_not_heard, Beyond, {
    let Some((_hosts, server)) = lab() else { return };
    let _frozen = left_behind(&server, "-R 2200:localhost:22");
    let before = server.sessions().len();
    let options = ["-o LogLevel=ERROR", "-q", "-E /dev/null", "-y"];
    let all = options.map(|option| autossh(&server, &format!("-M 0 -N {option} -R 2200:localhost:22 HOST")).start());
    wait_for("four sessions", || (server.sessions().len() >= before + options.len()).then_some(()));
    pass(7);
    for (option, running) in options.iter().zip(&all) {
        assert_eq!((running.starts().len(), running.logged("refused")), (1, 0), "{option}: {}", running.story());
    }
});

/// A local forward is taken by another program, and then free.
fn heals_here(option: &str, target: impl Fn(&Server) -> String) {
    let Some(server) = Server::here("") else { return };
    let port = port_pair();
    let other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let running = autossh(&server, &format!("-4 -M 0 -N {option} {port}{} HOST", target(&server))).start();
    running.wait_log(&format!("port {port} here is refused: another program listens there"));
    pass(7);
    assert_eq!(running.starts().len(), 1, "restarted in vain: {}", running.story());
    drop(other);
    running.wait_start(2);
    if option == "-L" {
        wait_greeting(port);
    }
    wait_for("ssh to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    assert_eq!(running.starts().len(), 2, "{}", running.story());
}

case!(a_local_port_that_another_program_has, Beyond, {
    heals_here("-L", |server| format!(":127.0.0.1:{}", server.port()));
});

case!(a_local_port_for_socks_that_another_program_has, Beyond, {
    heals_here("-D", |_| String::new());
});

case!(one_address_family_of_two_is_enough, Beyond, {
    let Some(server) = Server::here("") else { return };
    let port = port_pair();
    let _other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    if TcpListener::bind(("::1", port)).is_err() {
        return;
    }
    let args = format!("-M 0 -N -L localhost:{port}:127.0.0.1:{} HOST", server.port());
    let running = autossh(&server, &args).start();
    wait_for("ssh's line", || running.stderr().contains("Address already in use").then_some(()));
    wait_for("ssh to listen", || std::net::TcpStream::connect(("::1", port)).ok());
    pass(7);
    assert_eq!((running.starts().len(), running.logged("refused")), (1, 0), "{}", running.story());
});

case!(a_control_master_is_not_restarted, Beyond, {
    let Some((_hosts, server)) = lab() else { return };
    let _frozen = left_behind(&server, "-R 2200:localhost:22 -R 2201:localhost:22");
    let control = server.path("control");
    let args = format!("-M 0 -N -o ControlMaster=yes -S {} -R 2200:localhost:22 HOST", control.display());
    let running = autossh(&server, &args).start();
    running.wait_log("port 2200 on the server is refused; leaving this session as it is");
    // What it writes about the forwards of its clients is not about its own.
    let client = autossh(&server, &format!("-M 0 -N -S {} -R 2201:localhost:22 HOST", control.display())).start();
    wait_for("the master's line", || running.stderr().contains("mux_confirm_remote_forward").then_some(()));
    pass(7);
    assert_eq!((running.starts().len(), running.logged("is refused")), (1, 1), "{}", running.story());
    drop(client);
});

case!(what_ssh_writes_arrives_unchanged_and_in_order, Beyond, {
    let (reader, writer) = std::io::pipe().unwrap();
    let script = "flood 30000;bytes 00ff1b5b6d0a6e6f656e64;note flooded;hang";
    let unstarted = Autossh::new(["-M", "0", "-N", "host"], script);
    let mut running = unstarted
        .with(|command| {
            command.stdout(Stdio::null()).stderr(writer);
        })
        .spawn();
    let ssh = running.wait_up();
    // Nobody reads: ssh is held back, and autossh is not.
    wait_for("ssh to wait", || std::fs::read_to_string(format!("/proc/{}/wchan", ssh.pid)).ok());
    running.signal(Signal::SIGUSR2);
    running.wait_log("up since");
    assert!(!running.path("flooded.1").exists(), "ssh was not held back");
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut { reader }, &mut bytes).map(|_| bytes)
    });
    running.wait_file("flooded.1");
    running.signal(Signal::SIGTERM);
    running.wait();
    drop(running);
    let bytes = reading.join().unwrap().unwrap();
    let expected: String = (0..30_000).map(|line| format!("line {line}\n")).collect::<Vec<_>>().concat();
    let rest = bytes.strip_prefix(expected.as_bytes()).expect("the lines, in order");
    assert_eq!(rest, b"\0\xff\x1b[m\nnoend");
});

case!(a_stderr_that_nobody_reads_does_not_stop_ssh, Beyond, {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let unstarted = Autossh::new(["-M", "0", "-N", "host"], "flood 30000;note flooded;hang");
    let running = unstarted
        .with(|command| {
            command.stdout(Stdio::null()).stderr(writer);
        })
        .spawn();
    running.wait_file("flooded.1");
});

table!(
    ssh_has_our_stderr_itself_unless_forwards_can_be_retried,
    Beyond,
    [
        (&["-N"][..], "", false, true),
        (&["-o", "SessionType=none"], "", false, true),
        (&[], "yes", false, true),
        (&["-f"], "", false, true),
        (&[], "", false, false),
        (&["-N"], "", true, false),
    ],
    |(args, service, on_terminal, through_us)| {
        let args = args.iter().copied().chain(["-M", "0", "host"]);
        let unstarted = Autossh::new(args, "hang").env("AUTOSSH_NTSERVICE", service);
        let (end, _other_end) = terminal();
        let path = unstarted.path("stderr");
        let stderr = if on_terminal { end } else { std::fs::File::create(path).unwrap() };
        let running = unstarted
            .with(|command| {
                command.stdout(Stdio::null()).stderr(stderr);
            })
            .spawn();
        let start = running.wait_start(1);
        let stderr = start.descriptors.iter().find(|(number, _)| *number == 2).unwrap();
        assert_eq!(stderr.1.starts_with("pipe:"), through_us, "{stderr:?}");
    }
);
