//! sd_notify(3): messages to systemd. Each is one datagram that is sent without blocking, which no crate does.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use std::{io, mem};

use autossh_core::time::Time;
use nix::errno::Errno;
use nix::unistd::{getpid, getppid};

use crate::sys::system::abstract_address;

/// The pause before a message that the socket cannot take is sent again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The socket that NOTIFY_SOCKET names, if that is meant for us, and what it has not taken yet.
#[derive(Debug)]
pub struct Notifier {
    address: Option<SocketAddr>,
    /// To send from, as soon as one can be had.
    socket: Option<UnixDatagram>,
    unsent: VecDeque<Message>,
    pause: Duration,
    retry_at: Option<Time>,
}

#[derive(Debug, PartialEq, Eq)]
enum Message {
    Ready,
    Stopping,
    Status(String),
}

/// Whether systemd waits for this very process, so that one that went to the background would be lost to it.
pub fn is_main_process() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some() && exec_pid() == Some(getpid().as_raw())
}

/// The pid of the process that systemd has started (since version 248).
fn exec_pid() -> Option<i32> {
    env::var_os("SYSTEMD_EXEC_PID")?.to_str()?.parse().ok()
}

impl Notifier {
    /// The notifier for our environment. A socket that we inherited from some other service is not for us: systemd has
    /// started us or our parent, a wrapper script.
    pub fn from_environment() -> Notifier {
        let inherited = env::var_os("SYSTEMD_EXEC_PID").is_some()
            && exec_pid().is_none_or(|pid| pid != getpid().as_raw() && pid != getppid().as_raw());
        Notifier::new(env::var_os("NOTIFY_SOCKET").filter(|_| !inherited).as_deref())
    }

    /// The notifier for the value of NOTIFY_SOCKET.
    fn new(address: Option<&OsStr>) -> Notifier {
        let address = address.and_then(|address| match address.as_bytes().split_first()? {
            (b'@', name) => abstract_address(name),
            _ => SocketAddr::from_pathname(address).ok(),
        });
        Notifier { address, socket: None, unsent: VecDeque::new(), pause: FIRST_PAUSE, retry_at: None }
    }

    /// Whether there is such a socket.
    pub fn is_heard(&self) -> bool {
        self.address.is_some()
    }

    /// The service is ready.
    pub fn ready(&mut self) {
        self.unsent.push_back(Message::Ready);
    }

    /// The service is stopping.
    pub fn stopping(&mut self) {
        self.unsent.push_back(Message::Stopping);
    }

    /// The status, for `systemctl status`. It replaces one that has not been sent.
    pub fn status(&mut self, text: &str) {
        self.unsent.retain(|message| !matches!(message, Message::Status(_)));
        // A newline would begin another assignment.
        self.unsent.push_back(Message::Status(text.replace('\n', " ")));
    }

    /// When to call [`Notifier::flush`] again.
    pub fn deadline(&self) -> Option<Time> {
        self.retry_at
    }

    /// Sends what has not been sent, in order, as far as the socket takes it now.
    pub fn flush(&mut self, now: Time) {
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.send();
        if self.unsent.is_empty() {
            (self.pause, self.retry_at) = (FIRST_PAUSE, None);
        } else {
            let longer = (self.pause * 2).min(LONGEST_PAUSE);
            self.retry_at = Some(now.saturating_add(mem::replace(&mut self.pause, longer)));
        }
    }

    /// The same when autossh exits, without waiting.
    pub fn send(&mut self) {
        while let Some(message) = self.unsent.pop_front() {
            if !self.is_sent(&message) {
                self.unsent.push_front(message);
                return;
            }
        }
    }

    /// Sends one, and returns whether that is done; if not, it may work later.
    fn is_sent(&mut self, message: &Message) -> bool {
        let Some(address) = &self.address else { return true };
        if self.socket.is_none() {
            self.socket = open().ok();
        }
        let Some(socket) = &self.socket else { return false };
        let sent = match message {
            Message::Ready => socket.send_to_addr(b"READY=1", address),
            Message::Stopping => socket.send_to_addr(b"STOPPING=1", address),
            Message::Status(text) => socket.send_to_addr(format!("STATUS={text}").as_bytes(), address),
        };
        !sent.is_err_and(|error| is_full(&error))
    }
}

fn open() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether the socket may take the message later. Other errors mean that nobody receives it.
fn is_full(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM | Errno::EINTR | Errno::EPERM))
}

#[cfg(test)]
mod tests;
