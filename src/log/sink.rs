//! Where log lines can go: a file, a descriptor of ours, syslog, stderr. Writing never blocks.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::write;
use syslog::{Facility, LogFormat, Logger, Severity};

use autossh_core::level::Level;

/// syslogd's socket.
const DEV_LOG: &str = "/dev/log";
/// Maximum number of symbolic links that are followed to find a descriptor of ours.
const MAX_LINKS: usize = 8;

/// A file that lines are appended to (AUTOSSH_LOGFILE).
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: OwnedFd,
    /// It is a regular file, which log rotation may move away.
    regular: bool,
}

impl LogFile {
    /// Opens `path`; if it names a descriptor of ours, such as `/dev/stdout`, that is duplicated.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: PathBuf) -> io::Result<LogFile> {
        if let Some(descriptor) = own_descriptor(&path) {
            return Ok(LogFile { path, file: duplicate(descriptor)?, regular: false });
        }
        let fifo = fs::metadata(&path).is_ok_and(|metadata| metadata.file_type().is_fifo());
        let file = File::options()
            // A FIFO opened for reading too needs no reader to be opened, and does not fail when a reader goes away.
            .read(fifo)
            .append(true)
            .create(!fifo)
            .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
            .open(&path)?;
        let regular = file.metadata()?.is_file();
        Ok(LogFile { path, file: file.into(), regular })
    }

    /// Reopens the file, since it may have been rotated (HUP). If that fails, the old one stays.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn reopen(&mut self) -> io::Result<()> {
        if self.regular {
            *self = LogFile::open(self.path.clone())?;
        }
        Ok(())
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line.
    ///
    /// # Errors
    /// It cannot be written, or not all of it; `WouldBlock` if that would block.
    pub fn write(&self, line: &[u8]) -> io::Result<()> {
        write_now(self.file.as_fd(), line)
    }
}

/// Writes all of `bytes` to a descriptor without blocking, even if it is a blocking one: others may share it.
///
/// # Errors
/// As for write(2); `WouldBlock` if it would block.
pub fn write_now(descriptor: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let count = match send(descriptor.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
        // Not a socket. If poll(2) reports it as writable, it takes a line of our length without blocking.
        Err(Errno::ENOTSOCK) => {
            let mut fds = [PollFd::new(descriptor, PollFlags::POLLOUT)];
            if poll(&mut fds, PollTimeout::ZERO)? == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            write(descriptor, bytes)?
        }
        sent => sent?,
    };
    if count == bytes.len() { Ok(()) } else { Err(Errno::ENOSPC.into()) }
}

/// A line's text with the identity: `autossh[PID]: text`. Allocated once with its final size, so that a log that is
/// written for years does not fragment the heap.
pub fn with_ident(text: &str) -> String {
    ["autossh[", &std::process::id().to_string(), "]: ", text].concat()
}

/// The descriptor of ours that `path` names, directly or through symbolic links.
fn own_descriptor(path: &Path) -> Option<RawFd> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if let Some(descriptor) = named_descriptor(&path) {
            return Some(descriptor);
        }
        let target = fs::read_link(&path).ok()?;
        path = path.parent()?.join(target);
    }
    None
}

/// The descriptor of ours that the name `path` itself stands for.
fn named_descriptor(path: &Path) -> Option<RawFd> {
    let text = path.to_str()?;
    match text {
        "/dev/stdin" => return Some(0),
        "/dev/stdout" => return Some(1),
        "/dev/stderr" => return Some(2),
        _ => {}
    }
    let number = if let Some(number) = text.strip_prefix("/dev/fd/") {
        number
    } else {
        let (process, number) = text.strip_prefix("/proc/")?.split_once("/fd/")?;
        let ours = matches!(process, "self" | "thread-self") || process == std::process::id().to_string();
        ours.then_some(number)?
    };
    number.parse().ok().filter(|descriptor| *descriptor >= 0)
}

#[expect(unsafe_code, reason = "the user gives us the number of a descriptor, which only the system knows about")]
fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: not -1; the borrow ends with this function, and fcntl(2) says so when there is no such descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let number = fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: the descriptor is new, so nobody else owns it.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(number) })
}

/// syslog by way of the `syslog` crate, with a backend that finds a restarted syslogd again and never waits for one.
pub type Syslog = Logger<Datagrams, Rfc3164>;

/// A connection to syslog, which works as soon as there is a syslogd.
pub fn syslog() -> Syslog {
    Logger::new(Datagrams { socket: None }, Rfc3164)
}

/// Sends one line of `level`, stamped with `stamp`, to syslog.
///
/// # Errors
/// There is no syslogd, or it is stuck.
pub fn write_syslog(syslog: &mut Syslog, level: Level, stamp: &str, text: &str) -> Result<(), syslog::Error> {
    let line = Stamped { stamp, text };
    match level {
        Level::Error => syslog.err(line),
        Level::Warning => syslog.warning(line),
        Level::Info => syslog.info(line),
        Level::Debug => syslog.debug(line),
    }
}

/// The socket to syslogd; each write is one datagram.
#[derive(Debug)]
pub struct Datagrams {
    socket: Option<UnixDatagram>,
}

impl Datagrams {
    fn connect() -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(DEV_LOG)?;
        Ok(socket)
    }
}

impl Write for Datagrams {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(socket) = &self.socket {
            match socket.send(line) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => self.socket = None,
                done => return done,
            }
        }
        // This is the first line, or syslogd has gone away and may have been restarted.
        self.socket.insert(Datagrams::connect()?).send(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The format of /dev/log, in local time and without a host name, as syslog(3) writes it.
#[derive(Debug)]
pub struct Rfc3164;

/// A line and its time stamp.
struct Stamped<'a> {
    stamp: &'a str,
    text: &'a str,
}

impl LogFormat<Stamped<'_>> for Rfc3164 {
    fn format<W: Write>(&self, w: &mut W, severity: Severity, line: Stamped<'_>) -> syslog::Result<()> {
        let priority = Facility::LOG_USER as u8 | severity as u8;
        let message = ["<", &priority.to_string(), ">", line.stamp, " ", &with_ident(line.text)].concat();
        // A datagram is written whole or not at all.
        w.write(message.as_bytes()).map(drop).map_err(syslog::Error::Io)
    }
}
