//! Two hosts, three tunnels between them, and everything that can go wrong there.

use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use super::faults::Ends;
use super::figures::Healed;
use super::plan::Card;
use super::sinks::Sinks;
use super::streams::{ECHO, Stream, echo};
use crate::attacks::Attacker;
use crate::harness::{Hosts, Running, Server, is_ours, output_of};
use crate::logs::syslog::OWN_DEV;
use crate::logs::{OWN_ETC, set_zone};

/// What the tunnels are called.
pub const NAMES: [&str; 3] = ["-M port", "no -M", "-M 0 -R"];
/// Where the tunnels begin: two on the client, one on the server.
pub const PORTS: [u16; 3] = [7_000, 7_001, 7_002];
/// The monitor port of the first, and that of the second where one must be given.
pub const MONITORS: [u16; 2] = [20_000, 20_010];

/// A stream that has flowed for this time counts as recovered.
const STEADY: Duration = Duration::from_secs(3);
/// A tunnel that is not back by then is lost.
const LIMIT: Duration = Duration::from_secs(120);

/// An autossh, and the stream through it.
pub struct Tunnel {
    pub running: Running,
    pub stream: Arc<Stream>,
}

/// Everything that is broken and mended. What the faults leave behind is public, since they come and go in pairs.
pub struct Lab {
    pub tunnels: [Tunnel; 3],
    pub server: Server,
    pub hosts: Hosts,
    pub sinks: Sinks,
    /// Processes of the server that do not run now.
    pub frozen: Vec<i32>,
    /// Processes of the client that do not run now.
    pub stopped: Vec<i32>,
    /// Ports that are taken.
    pub held: Vec<TcpListener>,
    pub floods: Vec<Attacker>,
    /// The client's address.
    pub address: &'static str,
    /// The time zone.
    pub hours: i32,
    /// The last, since the others use it until they end.
    place: Place,
}

impl Lab {
    /// Sets everything up, if it can be here.
    pub fn new() -> Option<Lab> {
        let hosts = Hosts::new()?;
        let place = Place::new();
        let server = Server::on(&hosts, "ClientAliveInterval 1\nClientAliveCountMax 3")?;
        let sinks = Sinks::new(place.path());
        for namespace in [hosts.client(), hosts.server()] {
            echo(&namespace);
        }
        let mut tunnel = 0;
        let tunnels = PORTS.map(|port| {
            let namespace = if tunnel < 2 { hosts.client() } else { hosts.server() };
            let running = start(&server, place.path(), tunnel);
            tunnel += 1;
            Tunnel { running, stream: Stream::through(port, namespace) }
        });
        Some(Lab {
            tunnels,
            server,
            hosts,
            sinks,
            frozen: Vec::new(),
            stopped: Vec::new(),
            held: Vec::new(),
            floods: Vec::new(),
            address: Hosts::CLIENT,
            hours: 0,
            place,
        })
    }

    /// A file in the place of all three.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join(name)
    }

    pub fn each(&self, action: impl Fn(&Running)) {
        self.tunnels.iter().for_each(|tunnel| action(&tunnel.running));
    }

    /// Lets time pass, in which what the tunnels write is read.
    pub fn pass(&mut self, time: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < time {
            let [_, second, third] = &self.tunnels;
            self.sinks.drain(&third.running.path("log"), &second.running.path("log"));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Causes faults, ends those that end before tunnels can be back, and waits until they are.
    pub fn play(&mut self, card: &Card) -> Healed {
        for fault in &card.faults {
            (fault.begin)(self);
        }
        if card.faults.iter().any(|fault| fault.ends == Ends::AfterAPause) {
            self.pass(card.pause);
        }
        let end = |lab: &mut Lab, when| {
            for fault in card.faults.iter().filter(|fault| fault.ends == when) {
                (fault.end)(lab);
            }
        };
        end(self, Ends::AfterAPause);
        let healed = self.heal();
        end(self, Ends::WhenTheyAreBack);
        healed
    }

    /// Waits until all streams flow steadily, and says how soon each did. Those that do not within the limit, or whose autossh
    /// has ended, are lost.
    pub fn heal(&mut self) -> Healed {
        let since = Instant::now();
        loop {
            self.pass(Duration::from_millis(20));
            let flowing = self.tunnels.each_ref().map(|tunnel| tunnel.stream.flowing_since());
            let ended = self.tunnels.each_mut().map(|tunnel| tunnel.running.has_ended().is_some());
            let back = |from: Instant| from.max(since).elapsed() >= STEADY;
            let settled = |tunnel: usize| ended[tunnel] || flowing[tunnel].is_some_and(back);
            if (0..NAMES.len()).all(settled) || since.elapsed() > LIMIT {
                let took = |tunnel: usize| flowing[tunnel].filter(|_| !ended[tunnel]);
                return [0, 1, 2].map(|tunnel| took(tunnel).map(|from| from.saturating_duration_since(since)));
            }
        }
    }

    /// Starts a tunnel anew that is lost, whose autossh may be there and may not.
    pub fn replace(&mut self, tunnel: usize) {
        self.tunnels[tunnel].running.end();
        self.tunnels[tunnel].running = start(&self.server, self.place.path(), tunnel);
    }
}

/// Starts an autossh. Each has another monitor and another log, and the second has a service manager.
fn start(server: &Server, place: &Path, tunnel: usize) -> Running {
    let [first, second, third] = PORTS.map(|port| format!("{port}:127.0.0.1:{ECHO}"));
    let [given, given_too] = MONITORS.map(|port| port.to_string());
    let monitor: &[&str] = if is_ours() { &[] } else { &["-M", &given_too] };
    let args = match tunnel {
        0 => vec!["-M", &given, "-N", "-L", &first, "HOST"],
        1 => [monitor, &["-N", "-L", &second, "HOST"]].concat(),
        // What is recommended where there is no monitor.
        _ => [
            &["-M", "0", "-N", "-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=2"][..],
            &["-R", &third, "HOST"],
        ]
        .concat(),
    };
    let autossh = server.autossh(&args).own_log().env("AUTOSSH_GATETIME", "0");
    let autossh = autossh.env("AUTOSSH_POLL", "4").env("AUTOSSH_LOGLEVEL", "7");
    // It is the file that changes.
    let autossh = autossh.with(|command| {
        command.env_remove("TZ");
    });
    match tunnel {
        0 => {
            let running = autossh.env("AUTOSSH_LOGFILE", place.join("disk/log")).start();
            symlink(place.join("disk/log"), running.path("log")).unwrap();
            running
        }
        1 => autossh.env("NOTIFY_SOCKET", place.join("notify")).start(),
        _ => autossh.env("AUTOSSH_LOGFILE", place.join("pipe")).start(),
    }
}

/// A mount namespace with an /etc and a /dev of its own, and a directory with a small disk. Only this thread and what it
/// starts are in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let place = Place(tempfile::Builder::new().prefix("autossh-soak-").tempdir().unwrap());
        set_zone(place.path(), 0);
        place.shell(&format!(
            "mount --make-rprivate / && {OWN_ETC} && target=$PWD/syslog && {OWN_DEV} && \
             mkdir disk && mount -t tmpfs -o size=4m none disk"
        ));
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn shell(&self, command: &str) {
        output_of(Command::new("sh").args(["-c", command]).current_dir(self.path()));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shell("umount -l disk dev");
    }
}
