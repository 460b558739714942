//! A stream of bytes as lines: those for the log, those that autossh understands, and the last one.

use std::net::SocketAddr;
use std::time::Duration;

use autossh_core::time::Time;

use super::SshOutput;
use super::words::{is_debug, refused_local, refused_remote, unbound};
use crate::text::{cut, escape};

/// Maximum length of a line in bytes.
const MAX_LINE: usize = 1024;
/// Maximum number of lines for the log in each [`WINDOW`].
const MAX_LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);
/// Maximum length of the last line as it is kept, in bytes.
const MAX_LAST: usize = 200;

/// Splits a stream of bytes into lines. The rate limit concerns the log alone: a refused forward is recognised even if its
/// line is dropped, as with `ssh -v`.
#[derive(Debug, Default)]
pub struct Lines {
    /// They are wanted for the log.
    for_log: bool,
    line: Vec<u8>,
    window_from: Time,
    in_window: u32,
    left_out: u32,
    unbound: Option<SocketAddr>,
    last: Option<String>,
}

impl Lines {
    /// An empty stream, whose lines are wanted for the log or not.
    pub fn new(for_log: bool) -> Lines {
        Lines { for_log, ..Lines::default() }
    }

    /// Takes the next bytes of the stream, and gives what follows from them to `take`.
    pub fn push(&mut self, bytes: &[u8], now: Time, take: &mut dyn FnMut(SshOutput)) {
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

    /// The stream has ended: nothing follows.
    pub fn finish(&mut self, take: &mut dyn FnMut(SshOutput)) {
        self.say_left_out(take);
        if !self.line.is_empty() {
            self.keep();
            if self.for_log {
                take(SshOutput::Line(self.text_for_log()));
            }
        }
    }

    /// The last line that was not empty and not one of those that `ssh -v` adds.
    pub fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    fn end_line(&mut self, now: Time, take: &mut dyn FnMut(SshOutput)) {
        if self.for_log {
            self.log(now, take);
        }
        self.recognise(take);
        self.keep();
        self.line.clear();
    }

    fn log(&mut self, now: Time, take: &mut dyn FnMut(SshOutput)) {
        if now >= self.window_from.saturating_add(WINDOW) {
            self.window_from = now;
            self.in_window = 0;
            self.say_left_out(take);
        }
        self.in_window = self.in_window.saturating_add(1);
        if self.in_window <= MAX_LINES {
            take(SshOutput::Line(self.text_for_log()));
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    fn recognise(&mut self, take: &mut dyn FnMut(SshOutput)) {
        if let Some(listen) = refused_remote(&self.line) {
            take(SshOutput::RemoteRefused(listen));
        }
        if let Some(address) = refused_local(&self.line, self.unbound) {
            take(SshOutput::LocalRefused(address));
        }
        self.unbound = unbound(&self.line);
    }

    fn keep(&mut self) {
        if !self.line.trim_ascii().is_empty() && !is_debug(&self.line) {
            self.last = Some(cut(&self.text(), MAX_LAST).to_owned());
        }
    }

    fn text(&self) -> String {
        escape(self.line.trim_ascii_end())
    }

    /// The line without the prefix that some of ssh's lines have, and that the log adds to all of them.
    fn text_for_log(&self) -> String {
        let line = self.line.trim_ascii_end();
        escape(line.strip_prefix(b"ssh: ").unwrap_or(line))
    }

    fn say_left_out(&mut self, take: &mut dyn FnMut(SshOutput)) {
        if self.left_out > 0 {
            take(SshOutput::Line(format!("({} lines left out)", self.left_out)));
            self.left_out = 0;
        }
    }
}

#[cfg(test)]
pub mod tests;
