//! sd_notify(3): messages to systemd. Each is one datagram that is sent without blocking, which no crate does.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The socket that NOTIFY_SOCKET names, if any.
#[derive(Debug)]
pub struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// The notifier for the value of NOTIFY_SOCKET.
    pub fn new(address: Option<&OsStr>) -> Notifier {
        Notifier(address.and_then(|address| {
            let address = match address.as_bytes().split_first()? {
                (b'@', name) => SocketAddr::from_abstract_name(name).ok()?,
                _ => SocketAddr::from_pathname(address).ok()?,
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        }))
    }

    /// Whether there is such a socket.
    pub fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// The service is ready.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The service is stopping.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The status, for `systemctl status`.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={text}"));
    }

    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.0 {
            // A message that systemd does not receive is no loss.
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}
