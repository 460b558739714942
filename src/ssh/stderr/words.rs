//! Recognizes ssh's lines about refused forwards.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use autossh_core::forwards::Listen;

use crate::text::escape;

/// The remote forward that the server has refused, if this line says so. OpenSSH's own line begins with one of two words
/// and ends in CR LF. A ControlMaster uses the same phrase, hours later, for forwards of its clients.
pub fn refused_remote(line: &[u8]) -> Option<Listen> {
    dropbear(line).map(Listen::Port).or_else(|| {
        let line = line.strip_suffix(b"\r")?;
        let line = line.strip_prefix(b"Warning: ").or_else(|| line.strip_prefix(b"Error: "))?;
        let listen = line.strip_prefix(b"remote port forwarding failed for listen ")?;
        match listen.strip_prefix(b"port ") {
            Some(port) => number(port).map(Listen::Port),
            None => listen.strip_prefix(b"path ").map(|path| Listen::Path(escape(path))),
        }
    })
}

/// The same in dbclient's words: `PROGRAM: Remote TCP forward request failed (port N -> HOST:PORT)`.
fn dropbear(line: &[u8]) -> Option<u16> {
    let (_, text) = std::str::from_utf8(line).ok()?.split_once(": ")?;
    let (port, target) = text.strip_prefix("Remote TCP forward request failed (port ")?.split_once(" -> ")?;
    if target.ends_with(')') { number(port.as_bytes()) } else { None }
}

/// The address that ssh cannot bind, if this line says so: `bind [ADDRESS]:PORT: REASON`. It need not be the end of the
/// forward, which may have addresses of both families.
pub fn unbound(line: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(line.strip_suffix(b"\r")?).ok()?;
    let (address, rest) = text.strip_prefix("bind [")?.split_once("]:")?;
    let (port, _) = rest.split_once(": ")?;
    Some(SocketAddr::new(address.parse().ok()?, number(port.as_bytes())?))
}

/// The local forward that ssh does without, if this line says so; `last` is what [`unbound`] made of the line before.
pub fn refused_local(line: &[u8], last: Option<SocketAddr>) -> Option<SocketAddr> {
    let line = line.strip_suffix(b"\r")?.strip_prefix(b"channel_setup_fwd_listener")?;
    let line = line.strip_prefix(b"_tcpip").unwrap_or(line);
    let port = number(line.strip_prefix(b": cannot listen to port: ")?)?;
    let usual = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    Some(last.filter(|last| last.port() == port).unwrap_or(usual))
}

/// Whether a line is one of those that `ssh -v` adds.
pub fn is_debug(line: &[u8]) -> bool {
    let level = line.strip_prefix(b"debug").and_then(<[u8]>::split_first);
    level.is_some_and(|(level, rest)| level.is_ascii_digit() && rest.starts_with(b": "))
}

fn number(digits: &[u8]) -> Option<u16> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests;
