//! syslogd: the `syslog` crate with a backend that reconnects to a restarted syslogd and never blocks on a stuck one.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockType, UnixAddr, connect};
use syslog::{Facility, LogFormat, Logger, Severity};

use crate::log::line;
use crate::sys::outlet::Outlet;
use crate::sys::system::{SYSLOG_SOCKET, socket};
use autossh_core::level::Level;

/// What that is a link to if syslogd is systemd's journal.
const JOURNAL: &str = "/run/systemd/journal/dev-log";

/// A connection to syslog, which works as soon as there is a syslogd.
pub struct Syslogd(Logger<Socket, Rfc3164>);

impl Syslogd {
    /// Connects with the first line.
    pub fn new() -> Syslogd {
        Syslogd(Logger::new(Socket { connection: None }, Rfc3164))
    }

    /// Sends one line.
    ///
    /// # Errors
    /// There is no syslogd; `WouldBlock` if it is stuck.
    pub fn write(&mut self, level: Level, time: SystemTime, text: &str) -> io::Result<()> {
        let line = (time, text);
        let sent = match level {
            Level::Error => self.0.err(line),
            Level::Warning => self.0.warning(line),
            Level::Info => self.0.info(line),
            Level::Debug => self.0.debug(line),
        };
        sent.map_err(|error| match error {
            syslog::Error::Io(error) => error,
            other => io::Error::other(other),
        })
    }

    /// Whether syslogd is systemd's journal.
    pub fn is_journal() -> bool {
        std::fs::canonicalize(SYSLOG_SOCKET).is_ok_and(|path| path.as_os_str() == JOURNAL)
    }
}

/// The socket to syslogd; each write is one message.
struct Socket {
    connection: Option<Connection>,
}

struct Connection {
    outlet: Outlet,
    /// A stream, in which a NUL ends each message, as in syslog(3).
    stream: bool,
}

impl Connection {
    fn open() -> io::Result<Connection> {
        let (socket, stream) = match connected(SockType::Datagram) {
            Err(Errno::EPROTOTYPE) => (connected(SockType::Stream)?, true),
            datagrams => (datagrams?, false),
        };
        Ok(Connection { outlet: Outlet::new(socket), stream })
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let end: &[u8] = if self.stream { &[0] } else { &[] };
        self.outlet.write(&[message, end].concat())
    }
}

/// Connects without blocking, as connect(2) would if too many wait to be accepted by a stream socket.
fn connected(kind: SockType) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, kind)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(SYSLOG_SOCKET)?)?;
    Ok(socket)
}

impl Write for Socket {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        if let Some(connection) = &mut self.connection {
            match connection.send(message) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.connection = None,
                done => return done.map(|()| message.len()),
            }
        }
        // This is the first line, or syslogd has gone away and may have been restarted.
        self.connection.insert(Connection::open()?).send(message)?;
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The format of /dev/log.
struct Rfc3164;

impl LogFormat<(SystemTime, &str)> for Rfc3164 {
    fn format<W: Write>(&self, w: &mut W, severity: Severity, line: (SystemTime, &str)) -> syslog::Result<()> {
        let priority = Facility::LOG_USER as u8 | severity as u8;
        // One write for each message.
        w.write(line::for_syslog(priority, line.0, line.1).as_bytes()).map(drop).map_err(syslog::Error::Io)
    }
}
