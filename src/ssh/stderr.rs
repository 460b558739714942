//! ssh's stderr in the background, as lines for the log (autossh(1), LOGGING).

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::text::escape;
use autossh_core::time::Time;

/// Maximum length of a line in bytes.
const MAX_LINE: usize = 1024;
/// Maximum number of lines in each [`WINDOW`].
const MAX_LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);
/// What all versions of ssh write when the server refuses a remote forward.
const FORWARD_FAILED: &str = "remote port forwarding failed for listen port ";

/// What ssh's stderr contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshOutput {
    /// A line for the log.
    Line(String),
    /// The server refuses to listen on this port. Reported even if the line is dropped by the rate limit, as with
    /// `ssh -v`.
    ForwardFailed(u16),
}

/// ssh's stderr.
#[derive(Debug)]
pub struct SshStderr {
    pipe: File,
    lines: Lines,
}

impl SshStderr {
    /// Reads from `pipe`.
    ///
    /// # Errors
    /// The pipe cannot be made non-blocking.
    pub fn new(pipe: File) -> io::Result<SshStderr> {
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(SshStderr { pipe, lines: Lines::default() })
    }

    /// Reads what is there, and passes the results to `take`. Returns itself if more may follow.
    pub fn read(mut self, now: Time, take: &mut dyn FnMut(SshOutput)) -> Option<SshStderr> {
        if self.read_on(now, take) {
            return Some(self);
        }
        self.lines.finish(take);
        None
    }

    /// Reads what is there. Returns whether more may follow. Not inlined, so that its buffer is not on the loop's stack
    /// when nothing is read.
    #[inline(never)]
    fn read_on(&mut self, now: Time, take: &mut dyn FnMut(SshOutput)) -> bool {
        let mut buffer = [0; 8 * 1024];
        // A limited number of reads, so that endless output does not block everything else.
        for _ in 0..16 {
            match self.pipe.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.lines.push(buffer.get(..count).unwrap_or_default(), now, take),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// ssh has exited: passes on what is still there. If another process holds the pipe open, such as a ControlPersist
    /// master, it is not waited for.
    pub fn finish(mut self, now: Time, take: &mut dyn FnMut(SshOutput)) {
        self.read_on(now, take);
        self.lines.finish(take);
    }
}

impl AsFd for SshStderr {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Splits a stream of bytes into lines for the log.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    window_from: Time,
    in_window: u32,
    left_out: u32,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], now: Time, take: &mut dyn FnMut(SshOutput)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let whole = part.strip_suffix(b"\n");
            let part = whole.unwrap_or(part);
            let room = MAX_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(part.get(..room).unwrap_or(part));
            if whole.is_some() {
                self.end_line(now, take);
            }
        }
    }

    fn end_line(&mut self, now: Time, take: &mut dyn FnMut(SshOutput)) {
        if now >= self.window_from.saturating_add(WINDOW) {
            self.window_from = now;
            self.in_window = 0;
            self.say_left_out(take);
        }
        self.in_window = self.in_window.saturating_add(1);
        if self.in_window <= MAX_LINES {
            take(SshOutput::Line(escape(self.line.trim_ascii_end())));
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
        if let Some(port) = failed_forward(&self.line) {
            take(SshOutput::ForwardFailed(port));
        }
        self.line.clear();
    }

    fn finish(&mut self, take: &mut dyn FnMut(SshOutput)) {
        self.say_left_out(take);
        if !self.line.is_empty() {
            take(SshOutput::Line(escape(self.line.trim_ascii_end())));
        }
    }

    fn say_left_out(&mut self, take: &mut dyn FnMut(SshOutput)) {
        if self.left_out > 0 {
            take(SshOutput::Line(format!("({} lines left out)", self.left_out)));
            self.left_out = 0;
        }
    }
}

/// The port that the server refuses, if the line says that.
fn failed_forward(line: &[u8]) -> Option<u16> {
    let (_, rest) = std::str::from_utf8(line).ok()?.split_once(FORWARD_FAILED)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests;
