//! The kernel's tables of sockets, as /proc shows them (proc(5)).

use std::net::{IpAddr, SocketAddr};

/// The states of a TCP socket that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpState {
    /// It is connected.
    Established,
    /// It waits for connections.
    Listening,
}

/// A line of /proc/net/tcp or tcp6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// The address at this end.
    pub local: SocketAddr,
    /// The address at the other end.
    pub peer: SocketAddr,
    /// Its state.
    pub state: TcpState,
    /// The user of the process that made it; 0 if no process has it.
    pub uid: u32,
    /// Its number, which is 0 while no process has it yet, or any more.
    pub inode: u64,
}

/// Reads a line of such a table; the heading is none.
pub fn tcp_line(line: &str) -> Option<Tcp> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, peer) = (fields.next()?, fields.next()?);
    let state = match fields.next()? {
        "01" => TcpState::Established,
        "0A" => TcpState::Listening,
        _ => return None,
    };
    // Between them are queues, a timer and more.
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(Tcp { local: address(local)?, peer: address(peer)?, state, uid, inode })
}

/// An address as `HEX:PORT`. An IPv4 address within IPv6 becomes what it is.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words: Vec<[u8; 4]> = address.as_bytes().chunks(8).map(word).collect::<Option<_>>()?;
    let ip = match *words.as_flattened() {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        ref bytes => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(SocketAddr::new(ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

/// Four bytes of an address. The kernel prints them as if they were a number of this machine, in eight digits.
fn word(digits: &[u8]) -> Option<[u8; 4]> {
    let hex = std::str::from_utf8(digits).ok().filter(|hex| hex.len() == 8)?;
    u32::from_str_radix(hex, 16).ok().map(u32::to_ne_bytes)
}

/// A line of /proc/net/unix, of a stream socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unix {
    /// It waits for connections.
    pub listening: bool,
    /// It is connected.
    pub connected: bool,
    /// Its number.
    pub inode: u64,
    /// Where it was bound; for a connection that was accepted, where the listener was.
    pub path: Option<String>,
}

/// Reads the table of Unix domain sockets, of which only stream sockets matter.
pub fn unix(table: &str) -> Vec<Unix> {
    table.lines().filter_map(unix_line).collect()
}

fn unix_line(line: &str) -> Option<Unix> {
    const ACCEPTS: u32 = 1 << 16;
    let mut rest = line;
    let mut field = || {
        let (field, after) = rest.trim_ascii_start().split_once(' ').unwrap_or((rest.trim_ascii_start(), ""));
        rest = after;
        field
    };
    let _address = field();
    let (_references, _protocol) = (field(), field());
    let flags = u32::from_str_radix(field(), 16).ok()?;
    let (kind, state) = (field(), field());
    let inode = field().parse().ok()?;
    let path = Some(rest).filter(|path| !path.is_empty()).map(str::to_owned);
    (kind == "0001").then_some(Unix { listening: flags & ACCEPTS != 0, connected: state == "03", inode, path })
}

#[cfg(test)]
mod tests;
