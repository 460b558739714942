//! The faults.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lab::{Lab, MONITORS, PORTS};
use crate::attacks::{Attacker, FLOOD};
use crate::faults::limit;
use crate::harness::{Running, child_of, inside};
use crate::logs::set_zone;

/// Something that goes wrong, and comes to its end.
pub struct Fault {
    pub name: &'static str,
    pub begin: fn(&mut Lab),
    pub end: fn(&mut Lab),
    pub ends: Ends,
}

/// When a fault ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    AtOnce,
    /// The tunnels must be back soon after that.
    AfterAPause,
    /// The tunnels must be back in spite of it.
    WhenTheyAreBack,
}

const fn passing(name: &'static str, begin: fn(&mut Lab), end: fn(&mut Lab)) -> Fault {
    Fault { name, begin, end, ends: Ends::AfterAPause }
}

const fn short(name: &'static str, begin: fn(&mut Lab)) -> Fault {
    Fault { name, begin, end: |_| (), ends: Ends::AtOnce }
}

const fn lasting(name: &'static str, begin: fn(&mut Lab), end: fn(&mut Lab)) -> Fault {
    Fault { name, begin, end, ends: Ends::WhenTheyAreBack }
}

pub const FAULTS: [Fault; 34] = [
    // The server.
    short("session killed", kill_sessions),
    passing("session frozen, then killed", freeze_sessions, kill_frozen),
    passing("ports held by the dead session", lose_sessions, kill_frozen),
    passing("server restarted", |lab| lab.server.stop(), start_server),
    passing("server frozen", freeze_server, thaw_server),
    passing("server refuses forwards", refuse_forwards, allow_forwards),
    // The network.
    passing("packets dropped", drop_packets, |lab| lab.hosts.on_client("iptables -F")),
    passing("link down", |lab| link(lab, "down"), |lab| link(lab, "up")),
    short("link flapping", flap),
    passing("address removed", remove_address, add_address),
    short("address replaced", replace_address),
    // ssh and this machine.
    short("ssh killed", |lab| signal_ssh(lab, Signal::SIGKILL)),
    passing("ssh stopped", stop_ssh, continue_unmonitored),
    passing("suspended", suspend, resume),
    passing("ports here held by another program", take_ports, |lab| lab.held.clear()),
    passing("no descriptors", |lab| descriptors(lab, "3"), |lab| descriptors(lab, "1024")),
    short("time zone changed", change_zone),
    // Logs and the service manager.
    lasting("disk full", fill_disk, empty_disk),
    short("log deleted", delete_log),
    lasting("log pipe stuck", stop_pipe, |lab| lab.sinks.resume_pipe()),
    lasting("syslogd gone", end_syslogd, |lab| lab.sinks.resume_syslogd()),
    lasting("syslogd stuck", stop_syslogd, |lab| lab.sinks.resume_syslogd()),
    lasting("NOTIFY_SOCKET full", stop_manager, |lab| lab.sinks.resume_manager()),
    // Other users.
    passing("flood of connections, held", |lab| flood(lab, "hold"), end_floods),
    passing("flood of connections, closed", |lab| flood(lab, "close"), end_floods),
    short("strangers on the monitor port", strangers),
    // Signals.
    short("USR1", |lab| lab.each(|autossh| autossh.signal(Signal::SIGUSR1))),
    short("storm of USR1", |lab| storm(lab, &[Signal::SIGUSR1])),
    short("storm of HUP", |lab| storm(lab, &[Signal::SIGHUP])),
    short("storm of ALRM", |lab| storm(lab, &[Signal::SIGALRM])),
    short("storm of USR2", |lab| storm(lab, &[Signal::SIGUSR2])),
    short("storm of CONT", |lab| storm(lab, &[Signal::SIGCONT])),
    short("storm of STOP and CONT", |lab| storm(lab, &[Signal::SIGSTOP, Signal::SIGCONT])),
    short("storm of all", |lab| storm(lab, &STORM)),
];

const STORM: [Signal; 5] = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGALRM, Signal::SIGCONT];

fn signal(pids: impl IntoIterator<Item = i32>, signal: Signal) {
    for pid in pids {
        // It may be gone.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn signal_sessions(lab: &Lab, signal: Signal) -> Vec<i32> {
    if lab.server.is_up() { lab.server.signal_sessions(signal) } else { Vec::new() }
}

fn kill_sessions(lab: &mut Lab) {
    signal_sessions(lab, Signal::SIGKILL);
}

fn freeze_sessions(lab: &mut Lab) {
    lab.frozen.extend(signal_sessions(lab, Signal::SIGSTOP));
}

fn kill_frozen(lab: &mut Lab) {
    signal(lab.frozen.drain(..), Signal::SIGKILL);
}

/// The server does not notice that ssh is gone.
fn lose_sessions(lab: &mut Lab) {
    freeze_sessions(lab);
    signal_ssh(lab, Signal::SIGKILL);
}

fn start_server(lab: &mut Lab) {
    if !lab.server.is_up() {
        lab.server.start();
    }
}

fn freeze_server(lab: &mut Lab) {
    if lab.server.is_up() {
        lab.server.signal(Signal::SIGSTOP);
    }
    freeze_sessions(lab);
}

fn thaw_server(lab: &mut Lab) {
    if lab.server.is_up() {
        lab.server.signal(Signal::SIGCONT);
    }
    signal(lab.frozen.drain(..), Signal::SIGCONT);
}

const REFUSAL: &str = "AllowTcpForwarding no\n";

fn refuse_forwards(lab: &mut Lab) {
    let path = lab.server.path("sshd-config");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{REFUSAL}{config}")).unwrap();
    reload(lab);
    kill_sessions(lab);
}

/// The sessions that have been refused stay.
fn allow_forwards(lab: &mut Lab) {
    let path = lab.server.path("sshd-config");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace(REFUSAL, "")).unwrap();
    reload(lab);
}

fn reload(lab: &Lab) {
    if lab.server.is_up() {
        lab.server.signal(Signal::SIGHUP);
    }
}

fn drop_packets(lab: &mut Lab) {
    lab.hosts.on_client("iptables -I INPUT -i wire-c -j DROP");
    lab.hosts.on_client("iptables -I OUTPUT -o wire-c -j DROP");
}

fn link(lab: &Lab, state: &str) {
    lab.hosts.on_client(&format!("ip link set wire-c {state}"));
}

fn flap(lab: &mut Lab) {
    let round = "ip link set wire-c down; sleep 0.1; ip link set wire-c up; sleep 0.2";
    lab.hosts.on_client(&format!("sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do {round}; done'"));
}

fn remove_address(lab: &mut Lab) {
    lab.hosts.on_client("ip addr flush dev wire-c");
}

fn add_address(lab: &mut Lab) {
    lab.hosts.on_client(&format!("ip addr replace {}/24 dev wire-c", lab.address));
}

/// As from another DHCP server.
fn replace_address(lab: &mut Lab) {
    lab.address = if lab.address == "10.99.0.7" { "10.99.0.1" } else { "10.99.0.7" };
    remove_address(lab);
    add_address(lab);
}

fn ssh_of(autossh: &Running) -> Option<i32> {
    child_of(autossh.pid())
}

fn all_ssh(lab: &Lab) -> Vec<i32> {
    lab.tunnels.iter().filter_map(|tunnel| ssh_of(&tunnel.running)).collect()
}

fn signal_ssh(lab: &mut Lab, what: Signal) {
    signal(all_ssh(lab), what);
}

fn stop_ssh(lab: &mut Lab) {
    signal_ssh(lab, Signal::SIGSTOP);
    lab.stopped.extend(all_ssh(lab).last());
}

/// The third has no monitor that would notice.
fn continue_unmonitored(lab: &mut Lab) {
    signal(lab.stopped.drain(..), Signal::SIGCONT);
}

fn suspend(lab: &mut Lab) {
    lab.each(|autossh| autossh.signal(Signal::SIGSTOP));
    signal_ssh(lab, Signal::SIGSTOP);
}

fn resume(lab: &mut Lab) {
    signal_ssh(lab, Signal::SIGCONT);
    lab.each(|autossh| autossh.signal(Signal::SIGCONT));
}

/// ssh ends, and somebody is faster than the next one.
fn take_ports(lab: &mut Lab) {
    signal_ssh(lab, Signal::SIGKILL);
    let taken = inside(&lab.hosts.client(), || {
        let begin = Instant::now();
        // Both, or ssh would be content with the other.
        let addresses = |port| [format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
        let mut wanted: Vec<String> = [PORTS[0], PORTS[1], MONITORS[0]].into_iter().flat_map(addresses).collect();
        let mut taken = Vec::new();
        while !wanted.is_empty() && begin.elapsed() < Duration::from_secs(1) {
            wanted.retain(|address| match TcpListener::bind(address) {
                Ok(listener) => {
                    taken.push(listener);
                    false
                }
                Err(error) => error.kind() == ErrorKind::AddrInUse,
            });
            thread::sleep(Duration::from_millis(1));
        }
        taken
    });
    lab.held.extend(taken);
}

fn descriptors(lab: &Lab, most: &str) {
    lab.each(|autossh| {
        if autossh.is_there() {
            limit(autossh.pid(), &format!("--nofile={most}:"));
        }
    });
}

fn change_zone(lab: &mut Lab) {
    lab.hours = (lab.hours + 5) % 12;
    set_zone(&lab.path(""), lab.hours);
    storm(lab, &[Signal::SIGUSR2]);
}

fn fill_disk(lab: &mut Lab) {
    let mut ballast = fs::File::create(lab.path("disk/ballast")).unwrap();
    while ballast.write(&[0; 4096]).is_ok() {}
    kill_sessions(lab);
}

fn empty_disk(lab: &mut Lab) {
    let _ = fs::remove_file(lab.path("disk/ballast"));
}

fn delete_log(lab: &mut Lab) {
    let first = &lab.tunnels[0].running;
    // Its lines have explained what the processor was used for.
    first.explain(u32::try_from(first.log().lines().count()).unwrap());
    let _ = fs::remove_file(lab.path("disk/log"));
    first.signal(Signal::SIGHUP);
}

fn stop_pipe(lab: &mut Lab) {
    lab.sinks.stop_pipe();
    kill_sessions(lab);
}

fn end_syslogd(lab: &mut Lab) {
    lab.sinks.end_syslogd();
    kill_sessions(lab);
}

fn stop_syslogd(lab: &mut Lab) {
    lab.sinks.stop_syslogd();
    kill_sessions(lab);
}

fn stop_manager(lab: &mut Lab) {
    lab.sinks.stop_manager();
    kill_sessions(lab);
}

/// The port where the answers of a tunnel's monitor arrive, if it has one.
fn answers(autossh: &Running) -> Option<u16> {
    let args = autossh.starts().pop()?.args();
    let monitored = args.first().is_some_and(|arg| arg == "-L");
    let forward = args.get(3).filter(|_| monitored)?;
    forward.rsplit(':').next()?.parse().ok()
}

fn flood(lab: &mut Lab, how: &'static str) {
    for port in lab.tunnels.iter().filter_map(|tunnel| answers(&tunnel.running)) {
        let args = [port.to_string(), "1250".to_owned(), how.to_owned()];
        let flood = inside(&lab.hosts.client(), move || Attacker::start(FLOOD, &args));
        lab.floods.push(flood);
    }
}

fn end_floods(lab: &mut Lab) {
    let count: u32 = std::mem::take(&mut lab.floods).into_iter().map(Attacker::ended).sum();
    // A stranger costs a twentieth of a millisecond at most.
    lab.each(|autossh| autossh.explain(count / 10));
}

fn strangers(lab: &mut Lab) {
    let port = answers(&lab.tunnels[0].running).unwrap_or_default();
    let crowd = inside(&lab.hosts.client(), move || {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        // 1.4g leaves them waiting.
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        (0..40).filter_map(|_| connect()).collect::<Vec<_>>()
    });
    for mut stranger in crowd.into_iter().step_by(2) {
        let _ = stranger.write_all(b"who is there?\r\n");
    }
}

fn storm(lab: &Lab, signals: &[Signal]) {
    for _ in 0..50 {
        for signal in signals {
            lab.each(|autossh| autossh.signal(*signal));
        }
    }
}
