//! Two tunnels with a steady stream of bytes and random faults, for a given time.
//!
//! `sh tests/soak.sh MINUTES` runs this; it is not part of the usual run.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Hosts, Running, Server, child_of, output, wait_for};

/// A stream without bytes for this time counts as cut.
const CUT: Duration = Duration::from_millis(700);
/// A stream that has flowed for this time counts as recovered.
const STEADY: Duration = Duration::from_secs(3);
/// If recovery takes longer, the soak has failed.
const LIMIT: Duration = Duration::from_secs(120);
/// Where the tunnels begin.
const PORTS: [u16; 2] = [7_000, 7_001];

/// A stream through a tunnel.
struct Stream {
    began: Instant,
    /// Bytes that have come back right.
    bytes: AtomicU64,
    /// When the last of them came, in ms since `began`.
    last: AtomicU64,
}

impl Stream {
    /// Sends blocks through the tunnel, without end, and compares what comes back.
    fn through(port: u16, client: String) -> Arc<Stream> {
        let stream = Arc::new(Stream { began: Instant::now(), bytes: AtomicU64::new(0), last: AtomicU64::new(0) });
        let ours = Arc::clone(&stream);
        thread::spawn(move || {
            enter(&client);
            let mut block = vec![0; 20_000];
            for round in 0_u64.. {
                // A connection for some blocks, as applications use them.
                let _ = ours.talk(port, &mut block, round);
                thread::sleep(Duration::from_millis(20));
            }
        });
        stream
    }

    fn talk(&self, port: u16, block: &mut [u8], round: u64) -> std::io::Result<()> {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_read_timeout(Some(Duration::from_secs(1)))?;
        connection.set_write_timeout(Some(Duration::from_secs(1)))?;
        let mut back = vec![0; block.len()];
        for number in 0..200_u64 {
            let mut state = round.wrapping_mul(1_000_003) ^ number;
            for byte in &mut *block {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = state.to_be_bytes()[0];
            }
            connection.write_all(block)?;
            connection.read_exact(&mut back)?;
            assert!(back == block, "a byte has changed on its way");
            self.bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
            self.last.store(u64::try_from(self.began.elapsed().as_millis()).unwrap(), Ordering::Relaxed);
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn flows(&self) -> bool {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last) < CUT
    }
}

/// Moves this thread to a network namespace.
fn enter(name: &str) {
    setns(fs::File::open(format!("/run/netns/{name}")).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
}

/// An echo service on the server.
fn echo(server: String) {
    thread::spawn(move || {
        enter(&server);
        for stream in TcpListener::bind(("127.0.0.1", 7)).unwrap().incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 16_384];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// What autossh holds and has used.
fn figures(running: &Running) -> (usize, u64, usize, u64) {
    let pid = running.pid();
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let status = read("status");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let memory = memory.split_whitespace().next().unwrap().parse().unwrap();
    let children = read(&format!("task/{pid}/children"));
    let zombies =
        children.split_whitespace().filter(|child| fs::read_link(format!("/proc/{child}/exe")).is_err()).count();
    let cpu: u64 = read("schedstat").split(' ').next().unwrap().parse().unwrap();
    (descriptors, memory, zombies, cpu / 1_000_000)
}

/// Numbers from which faults are picked.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn seconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from * 1000 + self.throw((to - from) * 1000))
    }
}

/// Everything that is cut and healed.
struct Lab {
    hosts: Hosts,
    server: Server,
    tunnels: [Running; 2],
    dice: Dice,
}

const FAULTS: [&str; 16] = [
    "session killed",
    "session frozen, then killed",
    "sshd stopped and started",
    "packets dropped and let through",
    "link down and up",
    "address removed and added",
    "ssh killed",
    "ssh stopped",
    "USR1",
    "HUP",
    "ALRM",
    "USR2",
    "log deleted",
    "no descriptors",
    "strangers on the monitor port",
    "two faults at once",
];

impl Lab {
    /// Causes a fault, and ends it if necessary.
    fn inflict(&mut self, fault: &str) {
        let pause = self.dice.seconds(1, 6);
        let each = |action: &dyn Fn(&Running)| self.tunnels.iter().for_each(action);
        match fault {
            "session killed" => drop(self.server.signal_sessions(Signal::SIGKILL)),
            "session frozen, then killed" => {
                let frozen = self.server.signal_sessions(Signal::SIGSTOP);
                thread::sleep(pause);
                for pid in frozen {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
            }
            "sshd stopped and started" => {
                self.server.stop();
                thread::sleep(pause);
                self.server.start();
            }
            "packets dropped and let through" => {
                self.hosts.on_client("iptables -I INPUT -i wire-c -j DROP");
                self.hosts.on_client("iptables -I OUTPUT -o wire-c -j DROP");
                thread::sleep(pause);
                self.hosts.on_client("iptables -F");
            }
            "link down and up" => {
                self.hosts.on_client("ip link set wire-c down");
                thread::sleep(pause);
                self.hosts.on_client("ip link set wire-c up");
            }
            "address removed and added" => {
                let address = format!("{}/24 dev wire-c", Hosts::CLIENT);
                self.hosts.on_client(&format!("ip addr del {address}"));
                thread::sleep(pause);
                self.hosts.on_client(&format!("ip addr add {address}"));
            }
            "ssh killed" | "ssh stopped" => {
                let signal = if fault == "ssh killed" { Signal::SIGKILL } else { Signal::SIGSTOP };
                each(&|tunnel| {
                    if let Some(ssh) = child_of(tunnel.pid()) {
                        let _ = kill(Pid::from_raw(ssh), signal);
                    }
                });
            }
            "USR1" => each(&|tunnel| tunnel.signal(Signal::SIGUSR1)),
            "HUP" => each(&|tunnel| (0..50).for_each(|_| tunnel.signal(Signal::SIGHUP))),
            "ALRM" => each(&|tunnel| (0..50).for_each(|_| tunnel.signal(Signal::SIGALRM))),
            "USR2" => each(&|tunnel| (0..50).for_each(|_| tunnel.signal(Signal::SIGUSR2))),
            "log deleted" => each(&|tunnel| {
                fs::remove_file(tunnel.path("log")).unwrap();
                tunnel.signal(Signal::SIGHUP);
                tunnel.wait_file("log");
            }),
            "no descriptors" => {
                let limit = |most: &str| {
                    each(&|tunnel| {
                        let pid = format!("--pid={}", tunnel.pid());
                        output(std::process::Command::new("prlimit").args([&pid, most]));
                    });
                };
                limit("--nofile=3:");
                thread::sleep(pause);
                limit("--nofile=1024:");
            }
            "strangers on the monitor port" => {
                let client = self.hosts.client();
                let crowd = thread::spawn(move || {
                    enter(&client);
                    let mut held: Vec<TcpStream> =
                        (0..40).filter_map(|_| TcpStream::connect(("127.0.0.1", 20_001)).ok()).collect();
                    held.iter_mut().step_by(2).for_each(|stream| drop(stream.write_all(b"who is there?\r\n")));
                    thread::sleep(pause);
                });
                crowd.join().unwrap();
            }
            _ => {
                for _ in 0..2 {
                    let next = FAULTS[usize::try_from(self.dice.throw(FAULTS.len() as u64 - 1)).unwrap()];
                    self.inflict(next);
                }
            }
        }
    }

    /// Waits until both streams flow steadily, and returns how long after `since` that began.
    fn heal(&self, streams: &[Arc<Stream>; 2], since: Instant) -> Duration {
        let mut steady: Option<Instant> = None;
        loop {
            thread::sleep(Duration::from_millis(20));
            if streams.iter().all(|stream| stream.flows()) {
                let from = *steady.get_or_insert_with(Instant::now);
                if from.elapsed() >= STEADY {
                    return from.saturating_duration_since(since);
                }
            } else {
                steady = None;
            }
            let stories = || self.tunnels.each_ref().map(Running::story).concat();
            assert!(since.elapsed() < LIMIT, "not healed after {LIMIT:?}: {}", stories());
        }
    }
}

#[test]
#[ignore = "takes as long as SOAK_MINUTES says; sh tests/soak.sh MINUTES"]
fn soak() {
    let minutes: u64 = std::env::var("SOAK_MINUTES").map_or(1, |text| text.parse().unwrap());
    let seed = std::process::id().into();
    let hosts = Hosts::new().expect("a soak needs root");
    let server = Server::on(&hosts, "ClientAliveInterval 1\nClientAliveCountMax 3").expect("a soak needs an sshd");
    let [first, second] = PORTS.map(|port| format!("{port}:127.0.0.1:7"));
    server.configure_client("ServerAliveInterval 0\n");
    let start = |words: &[&str]| {
        let autossh = server.autossh(words).env("AUTOSSH_GATETIME", "0");
        autossh.env("AUTOSSH_POLL", "2").env("AUTOSSH_LOGLEVEL", "6").start()
    };
    let tunnels = [start(&["-N", "-L", &first, "HOST"]), start(&["-M", "20000", "-N", "-L", &second, "HOST"])];
    echo(hosts.server());
    let streams = PORTS.map(|port| Stream::through(port, hosts.client()));
    let mut lab = Lab { hosts, server, tunnels, dice: Dice(seed) };
    eprintln!("{minutes} minutes of faults, seed {seed}");

    wait_for("both streams", || streams.iter().all(|stream| stream.flows()).then_some(()));
    lab.heal(&streams, Instant::now());
    // After one restart the heap has its first pages.
    lab.inflict("USR1");
    lab.heal(&streams, Instant::now());
    let before = lab.tunnels.each_ref().map(figures);
    let mut healed: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(minutes * 60) {
        let fault = FAULTS[usize::try_from(lab.dice.throw(FAULTS.len() as u64)).unwrap()];
        lab.inflict(fault);
        let took = lab.heal(&streams, Instant::now());
        healed.entry(fault).or_default().push(took);
    }

    eprintln!("{:34} {:>6} {:>9} {:>9}", "fault", "times", "mean s", "worst s");
    let row = |name: &str, times: &[Duration]| {
        let mean = times.iter().sum::<Duration>().as_secs_f64() / f64::from(u32::try_from(times.len()).unwrap());
        let worst = times.iter().max().unwrap().as_secs_f64();
        eprintln!("{name:34} {:6} {mean:9.2} {worst:9.2}", times.len());
    };
    for (name, times) in &healed {
        row(name, times);
    }
    row("all", &healed.values().flatten().copied().collect::<Vec<_>>());
    let bytes: u64 = streams.iter().map(|stream| stream.bytes.load(Ordering::Relaxed)).sum();
    eprintln!("{bytes} bytes came back, every one right");
    for (tunnel, before) in lab.tunnels.iter().zip(before) {
        let after = figures(tunnel);
        let starts = tunnel.starts().len();
        eprintln!(
            "descriptors {} -> {}, memory {} -> {} kB, zombies {} -> {}, processor {} -> {} ms, {starts} starts",
            before.0, after.0, before.1, after.1, before.2, after.2, before.3, after.3,
        );
        // A test under way has up to two.
        assert!(after.0 <= before.0 + 2 && after.2 == 0, "something has leaked");
        assert!(after.1 <= before.1 + 1_000, "memory has grown");
    }
}
