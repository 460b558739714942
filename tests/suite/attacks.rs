//! autossh(1), MONITORING: what another user of this machine can do to the monitor, which is to be nothing.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::{
    Autossh, Running, accept, end, has, has_connection_to, install_script, is_root, listens, needs, port_pair, wait_for,
};
use crate::{case, table};

/// Becomes another user.
const STRANGER: &str = "
import encodings.idna, os, resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
os.setgid(54321)
os.setuid(54321)
";

/// Listens on a port and does there what ssh and the server would: what comes is sent to another port.
const THIEF: &str = "
port, answers = int(sys.argv[1]), int(sys.argv[2])
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(('127.0.0.1', port))
listener.listen()
while True:
    there = listener.accept()[0]
    back = socket.create_connection(('127.0.0.1', answers))
    while data := there.recv(4096):
        back.sendall(data)
";

/// Connects to a port, so many times a second, and holds the connections, or closes them at once. Says how many there were.
pub const FLOOD: &str = "
port, rate, how = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
held, made, begin = [], 0, time.monotonic()
while True:
    while made < (time.monotonic() - begin) * rate:
        stranger = socket.socket()
        made += 1
        if made % 500 == 0:
            print(made, flush=True)
        try:
            stranger.connect(('127.0.0.1', port))
        except OSError:
            continue
        if how == 'hold':
            held.append(stranger)
            if len(held) > 15000:
                held.pop(0).close()
        else:
            stranger.close()
    time.sleep(0.001)
";

/// Takes every port that an automatic monitor could pick, and then runs a command.
const ALL_PORTS: &str = "
import os, resource, signal, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
for ports in (range(10000, 21000), range(21000, 32768)):
    if os.fork() == 0:
        taken = [socket.socket() for port in ports]
        for port, listener in zip(ports, taken):
            listener.bind(('127.0.0.1', port))
            listener.listen()
        if os.fork() == 0:
            os.setuid(54321)
            signal.pause()
        os._exit(0)
    os.wait()
os.execvp(sys.argv[1], sys.argv[1:])
";

/// A process of another user.
pub struct Attacker(Child);

impl Attacker {
    /// Lets it do that.
    pub fn start(script: &str, args: &[String]) -> Attacker {
        let mut python = Command::new("python3");
        python.args(["-c", &format!("{STRANGER}{script}")]).args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        Attacker(python.spawn().unwrap())
    }

    /// One that listens on this port already.
    fn thief(port: u16, answers: u16) -> Attacker {
        let thief = Attacker::start(THIEF, &[port.to_string(), answers.to_string()]);
        let pid = i32::try_from(thief.0.id()).unwrap();
        wait_for("the thief to listen", || listens(pid, port).then_some(()));
        thief
    }

    /// Ends a flood, and returns how many connections there were.
    pub fn ended(mut self) -> u32 {
        end(&mut self.0);
        let mut counts = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut counts).unwrap();
        counts.lines().last().map_or(0, |count| count.parse().unwrap())
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

/// Whether there can be another user's process.
fn there_are_others() -> bool {
    needs("root and python3", is_root() && has("python3"))
}

/// Tests this often, with everything in the log.
fn eager(autossh: Autossh, poll: &str) -> Autossh {
    autossh.env("AUTOSSH_POLL", poll).env("AUTOSSH_DEBUG", "1").env("AUTOSSH_GATETIME", "0")
}

/// The local port of the `number`th ssh's monitor, and the port where its answers arrive.
fn ports(running: &Running, number: usize) -> (u16, u16) {
    let args = running.wait_start(number).args();
    let port = args[1].split(':').next().unwrap().parse().unwrap();
    (port, args[3].rsplit(':').next().unwrap().parse().unwrap())
}

const FOREIGN: &str = "a process of another user (uid 54321) listens there in place of our ssh";

case!(another_users_listener_on_a_given_port_is_not_believed, Defect, {
    if !there_are_others() {
        return;
    }
    let port = port_pair();
    let thief = Attacker::thief(port, port + 1);
    let script = "hang\nhang\nawait gone; relay sound";
    let running = eager(Autossh::new(["-M", &port.to_string(), "-N", "host"], script), "1").start();
    running.wait_start(3);
    assert_eq!(running.logged("connection ok"), 0, "{}", running.story());
    // 1.4g says nothing of it.
    assert!(running.logged(FOREIGN) >= 2, "{}", running.story());
    assert!(running.logged("port down, restarting ssh") >= 2, "{}", running.story());
    drop(thief);
    std::fs::write(running.path("gone"), "").unwrap();
    running.wait_log("connection ok");
});

case!(another_users_listener_on_a_picked_port_is_not_believed, Beyond, {
    if !there_are_others() {
        return;
    }
    let script = "relay sound\nhang\nrelay sound";
    let running = eager(Autossh::new(["-N", "host"], script), "600").start();
    running.wait_log("connection ok");
    running.signal(Signal::SIGUSR1);
    let (port, answers) = ports(&running, 2);
    let passed = running.logged("connection ok");
    let _thief = Attacker::thief(port, answers);
    running.signal(Signal::SIGALRM);
    // The next one has other ports.
    running.wait_start(3);
    assert_eq!(running.logged("connection ok"), passed, "{}", running.story());
    assert_eq!(running.logged(FOREIGN), 1, "{}", running.story());
    let (port, _) = ports(&running, 3);
    wait_for("the relay", || listens(running.starts()[2].pid, port).then_some(()));
    running.signal(Signal::SIGALRM);
    running.wait_log_times("connection ok", passed + 1);
});

case!(an_ssh_that_a_script_runs_as_another_user_is_ours, Beyond, {
    if !there_are_others() {
        return;
    }
    let unstarted = eager(Autossh::new(["-N", "host"], ""), "1");
    let (relay, ssh) = (unstarted.path("relay.py"), unstarted.path("ssh"));
    std::fs::write(&relay, format!("{STRANGER}{THIEF}")).unwrap();
    // Its arguments are -L P:127.0.0.1:R -R R:127.0.0.1:A.
    let script = format!("#!/bin/sh\nexec python3 {} \"${{2%%:*}}\" \"${{4##*:}}\"\n", relay.display());
    install_script(&script, &ssh);
    let running = unstarted.env("AUTOSSH_PATH", &ssh).start();
    running.wait_log_times("connection ok", 2);
    assert_eq!(running.logged("another user"), 0, "{}", running.story());
});

case!(without_a_port_ssh_is_started_unmonitored, Beyond, {
    if !needs("root, unshare(1) and python3", is_root() && has("unshare") && has("python3")) {
        return;
    }
    let in_a_network_of_its_own = "ip link set lo up && exec python3 -c \"$0\" \"$@\"";
    let before = ["unshare", "--net", "sh", "-c", in_a_network_of_its_own, ALL_PORTS];
    let running = eager(Autossh::run_by(&before, ["-N", "host"], "await go; exit 255\nhang"), "600").start();
    // The C library's words for it follow.
    let why = "no port for the monitor: Address ";
    running.wait_log(why);
    assert_eq!(running.wait_start(1).args(), ["-N", "host"]);
    std::fs::write(running.path("go"), "").unwrap();
    assert_eq!(running.wait_start(2).args(), ["-N", "host"]);
    running.wait_log_times(why, 2);
    // A thousand attempts each.
    running.explain(100);
});

table!(
    a_flood_costs_no_session,
    Beyond,
    [("hold", 1_250), ("close", 1_250), ("hold", 1_000_000), ("close", 1_000_000)],
    |(how, rate)| {
        if !there_are_others() {
            return;
        }
        // The answer comes 100 ms after its connection. A test may take 30 s.
        let port = port_pair();
        let unstarted = Autossh::new(["-M", &port.to_string(), "-N", "host"], "relay late");
        let running = eager(unstarted, "600").start();
        let ssh = running.wait_up().pid;
        wait_for("the relay", || listens(ssh, port).then_some(()));
        let flood = Attacker::start(FLOOD, &[(port + 1).to_string(), rate.to_string(), how.to_owned()]);
        wait_for("the flood", || has_connection_to(port + 1).then_some(()));
        for passed in 0..8 {
            running.signal(Signal::SIGALRM);
            running.wait_log_times("connection ok", passed + 1);
        }
        // A stranger costs a twentieth of a millisecond at most.
        running.explain(flood.ended() / 10);
        assert_eq!(running.starts().len(), 1, "{}", running.story());
        assert_eq!(running.logged("port down"), 0, "{}", running.story());
    }
);

case!(a_test_that_a_crowd_has_disturbed_is_repeated_three_times_at_most, Beyond, {
    let port = port_pair();
    let unstarted = eager(Autossh::new(["-M", &port.to_string(), "-N", "host"], "hang"), "2");
    let running = unstarted.env("AUTOSSH_FIRST_POLL", "600").start();
    running.wait_up();
    // In place of ssh, which does nothing, we take the message, and bring no answer.
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    running.signal(Signal::SIGALRM);
    let mut tests = Vec::new();
    let mut crowd = Vec::new();
    while tests.len() < 4 {
        tests.push(accept(&listener));
        assert_eq!(running.logged("port down"), 0, "after {} tests: {}", tests.len(), running.story());
        // There is room for 256.
        crowd.extend((0..400).filter_map(|_| TcpStream::connect(("127.0.0.1", port + 1)).ok()));
        running.explain(400);
    }
    running.wait_log("port down, restarting ssh");
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "a fifth test");
    assert_eq!(running.logged("timeout polling"), 1, "{}", running.story());
});
