//! Which connection is ssh's own, and what is known of its addresses. Where /proc does not tell, nothing is known.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::sys::socket::{self, SockaddrStorage, sockopt};
use nix::unistd::Pid;

use crate::sys::system::tcp_socket;
use crate::sys::tables::{self, Tcp, TcpState, Unix};

/// Maximum number of processes that are looked at: ssh, and what it runs to reach its server.
const MAX_PROCESSES: usize = 32;

/// ssh's own TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The socket's number, which no other socket has at the same time.
    pub inode: u64,
    /// The address that ssh is connected from.
    pub local: SocketAddr,
    /// The address that ssh is connected to; a jump host's or a proxy's, where there is one.
    pub peer: SocketAddr,
}

/// What is known of ssh's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is a TCP connection of its own.
    Tcp(Connection),
    /// Other ssh processes use it too: ssh is a ControlMaster, whose own connection this is, or the client of one.
    Shared(Option<Connection>),
    /// Nothing is known, or nothing yet.
    Unknown,
}

impl Connection {
    /// Looks for the connection of `ssh`. Before ssh has logged in nothing but this connection can be found; later a
    /// connection of one of its forwards may look like it, so that there are several candidates and nothing is known.
    pub fn find(ssh: Pid) -> Found {
        find(Path::new("/proc"), ssh.as_raw()).unwrap_or(Found::Unknown)
    }

    /// Returns whether the local address does not exist any more, and another one has taken its place on the way to the
    /// peer. It may yet come back.
    pub fn address_is_gone(&self) -> bool {
        let bound = UdpSocket::bind((self.local.ip(), 0));
        let is_missing = bound.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable);
        is_missing && source_towards(self.peer).is_some_and(|source| source != self.local.ip())
    }
}

/// Returns whether the connections of `ssh` can be seen at all.
pub fn are_visible(ssh: Pid) -> bool {
    let directory = Path::new("/proc").join(ssh.to_string());
    fs::read_dir(directory.join("fd")).is_ok() && directory.join("net/tcp").exists()
}

/// The address that a new connection to `peer` would have at this end.
fn source_towards(peer: SocketAddr) -> Option<IpAddr> {
    let any = if peer.is_ipv6() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Nothing is sent.
    socket.connect(peer).ok()?;
    socket.local_addr().ok().map(|source| source.ip())
}

/// Returns whether `ssh`, or a process that it has started, listens on this local port.
pub fn listens_on(ssh: Pid, port: u16) -> bool {
    let proc = Path::new("/proc");
    let owned = family(proc, ssh.as_raw()).into_iter().flat_map(|pid| sockets(proc, pid)).collect();
    let mut tcp = tcp_of(proc, ssh.as_raw(), owned).into_values();
    tcp.any(|socket| socket.state == TcpState::Listening && socket.local.port() == port)
}

/// Returns whether `address` is free, so that ssh, which binds as this does, can listen there.
pub fn can_bind(address: SocketAddr) -> bool {
    let bind = || {
        let socket = tcp_socket(address)?;
        socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        if address.is_ipv6() {
            socket::setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
        }
        socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))
    };
    bind().is_ok()
}

/// What `proc` tells about the connection of `ssh`.
fn find(proc: &Path, ssh: i32) -> Option<Found> {
    // Our own addresses say nothing about those of another network namespace.
    let namespace = |pid: &str| fs::read_link(proc.join(pid).join("ns/net"));
    let ours = namespace("self").ok()?;
    if namespace(&ssh.to_string()).ok()? != ours {
        return None;
    }
    let own = sockets(proc, ssh);
    let mut children = Vec::new();
    for child in family(proc, ssh).into_iter().skip(1) {
        match namespace(&child.to_string()) {
            Ok(namespace) if namespace == ours => children.push(sockets(proc, child)),
            // It has exited.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // A proxy in a network of its own, or one that may not be looked at.
            Ok(_) | Err(_) => return None,
        }
    }
    let tcp = tcp_of(proc, ssh, own.iter().chain(children.iter().flatten()).copied().collect());
    let mut candidates = candidates(&own, &tcp);
    // Its Unix domain sockets, if it has any.
    let local: BTreeSet<u64> = own.into_iter().filter(|inode| !tcp.contains_key(inode)).collect();
    if !local.is_empty() {
        let unix = tables::unix(&read(&process(proc, ssh).join("net/unix")));
        if unix.iter().any(|socket| socket.listening && is_control(socket) && local.contains(&socket.inode)) {
            return Some(Found::Shared(only(&candidates)));
        }
        // Whose client a process is, /proc does not tell. But a client there is, of whichever ControlMaster.
        let is_client = |socket: &Unix| socket.connected && socket.path.is_none() && local.contains(&socket.inode);
        let is_served = |socket: &Unix| socket.connected && is_control(socket);
        if unix.iter().any(is_client) && unix.iter().any(is_served) {
            return Some(Found::Shared(None));
        }
    }
    candidates.extend(children.iter().flat_map(|child| self::candidates(child, &tcp)));
    only(&candidates).map(Found::Tcp)
}

/// The established ones of `own` sockets, by inode, without those that were accepted from a listener among them.
fn candidates(own: &BTreeSet<u64>, tcp: &BTreeMap<u64, Tcp>) -> BTreeMap<u64, Connection> {
    let own: Vec<&Tcp> = own.iter().filter_map(|inode| tcp.get(inode)).collect();
    let listens = |port| own.iter().any(|socket| socket.state == TcpState::Listening && socket.local.port() == port);
    let established = own.iter().filter(|socket| socket.state == TcpState::Established);
    established
        .filter(|socket| !listens(socket.local.port()))
        .map(|socket| (socket.inode, Connection { inode: socket.inode, local: socket.local, peer: socket.peer }))
        .collect()
}

fn only(candidates: &BTreeMap<u64, Connection>) -> Option<Connection> {
    candidates.values().next().filter(|_| candidates.len() == 1).copied()
}

/// Whether this is the listener of a ControlMaster, or a connection that one has accepted. A ControlMaster binds a name of
/// its own, with a dot and 16 random characters at the end, before it gives the socket its proper name.
fn is_control(socket: &Unix) -> bool {
    let suffix = socket.path.as_deref().and_then(|path| path.rsplit_once('.')).map(|(_, suffix)| suffix);
    suffix.is_some_and(|suffix| suffix.len() == 16 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn process(proc: &Path, pid: i32) -> PathBuf {
    proc.join(pid.to_string())
}

/// The TCP sockets among those with these `inodes`, in the network namespace of `pid`. To print a table, the kernel visits
/// all that it could hold, which takes milliseconds: no more of them are read than necessary.
fn tcp_of(proc: &Path, pid: i32, mut inodes: BTreeSet<u64>) -> BTreeMap<u64, Tcp> {
    let mut found = BTreeMap::new();
    for table in ["net/tcp", "net/tcp6"] {
        let file = if inodes.is_empty() { None } else { File::open(process(proc, pid).join(table)).ok() };
        let mut lines = file.into_iter().flat_map(|file| BufReader::new(file).split(b'\n').map_while(Result::ok));
        while let Some(line) = lines.next().filter(|_| !inodes.is_empty()) {
            let socket = tables::tcp_line(&String::from_utf8_lossy(&line));
            found.extend(socket.filter(|socket| inodes.remove(&socket.inode)).map(|socket| (socket.inode, socket)));
        }
    }
    found
}

/// The inodes of the sockets that `pid` has opened: its stdin, stdout and stderr, perhaps sockets too, were given to it.
fn sockets(proc: &Path, pid: i32) -> BTreeSet<u64> {
    let entries = fs::read_dir(process(proc, pid).join("fd")).into_iter().flatten().flatten();
    let opened = entries.filter(|entry| !["0", "1", "2"].iter().any(|given| entry.file_name() == *given));
    let targets = opened.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.filter_map(|target| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

/// `pid` and the processes that it has started, and these in turn.
pub fn family(proc: &Path, pid: i32) -> Vec<i32> {
    let mut family = vec![pid];
    let mut looked_at = 0;
    while let Some(pid) = family.get(looked_at).copied().filter(|_| family.len() < MAX_PROCESSES) {
        let children = read(&process(proc, pid).join(format!("task/{pid}/children")));
        family.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        looked_at = looked_at.saturating_add(1);
    }
    family
}

/// A file's content, or as much as can be had of it.
fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
