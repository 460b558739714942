//! The log: which lines are written, how they look, and what happens when the target fails (autossh(1), LOGGING).

pub mod sink;

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use self::sink::{LogFile, Syslog};
use crate::config::settings::{LogTarget, Settings};
use crate::text::{cut, error_text};
use autossh_core::level::Level;

/// The longest text of a line, in bytes: a pipe takes that much without blocking once it takes anything.
const MAX_TEXT: usize = 2048;

/// The log.
pub struct Log {
    most: u8,
    target: Target,
    /// Lines up to this level go to stderr when syslog does not take them; `None` once stderr is not ours any more.
    fallback: Option<u8>,
    /// Lines for syslog also go to stderr (AUTOSSH_DEBUG).
    also_stderr: bool,
    /// Number of lines that are lost, because writing would have blocked.
    lost: u32,
    /// A write error of the log file has been reported.
    failure_said: bool,
}

enum Target {
    File(LogFile),
    Syslog(Syslog),
}

impl Log {
    /// Opens the log that the settings ask for.
    ///
    /// # Errors
    /// The log file cannot be opened: the message, and why.
    pub fn open(settings: &Settings) -> Result<Log, (String, io::Error)> {
        let target =
            match &settings.log_target {
                LogTarget::Syslog => Target::Syslog(sink::syslog()),
                LogTarget::File(path) => {
                    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                    let opened = LogFile::open(absolute);
                    Target::File(opened.map_err(|error| {
                        (format!("cannot open the log file {path:?}: {}", error_text(&error)), error)
                    })?)
                }
            };
        // Info lines must not mix with the output of a remote command.
        let disturbs =
            io::IsTerminal::is_terminal(&io::stderr()) || !(settings.rules.no_command || std::process::id() == 1);
        let fallback = if disturbs { Level::Warning as u8 } else { settings.log_level };
        Ok(Log {
            most: settings.log_level,
            target,
            fallback: Some(fallback.min(settings.log_level)),
            also_stderr: settings.log_on_stderr,
            lost: 0,
            failure_said: false,
        })
    }

    /// Writes a line that must be seen: to stderr too, wherever the log goes.
    pub fn explain(&mut self, level: Level, text: &str) {
        if !self.line(level, text) {
            complain(text);
        }
    }

    /// Writes a line. Returns whether it went to stderr.
    pub fn line(&mut self, level: Level, text: &str) -> bool {
        if level as u8 > self.most {
            return false;
        }
        let text = if self.lost > 0 { &format!("({} lines lost) {text}", self.lost) } else { text };
        let text = cut(text, MAX_TEXT);
        let to_stderr = match &mut self.target {
            Target::Syslog(syslog) => {
                let taken = sink::write_syslog(syslog, level, &stamp_syslog(SystemTime::now()), text);
                match &taken {
                    Ok(()) => self.lost = 0,
                    Err(syslog::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => self.count_lost(),
                    Err(_) => {}
                }
                self.also_stderr || (taken.is_err() && self.fallback.is_some_and(|most| level as u8 <= most))
            }
            Target::File(file) => {
                let line = [&stamp(SystemTime::now()), " ", &sink::with_ident(text), "\n"].concat();
                match file.write(line.as_bytes()) {
                    Ok(()) => self.lost = 0,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.count_lost(),
                    Err(error) => self.say_failure(&error),
                }
                false
            }
        };
        let to_stderr = to_stderr && self.fallback.is_some();
        if to_stderr {
            stderr(&sink::with_ident(text));
        }
        to_stderr
    }

    /// Reopens the log file (HUP).
    pub fn reopen(&mut self) {
        let Target::File(file) = &mut self.target else {
            return;
        };
        if let Err(error) = file.reopen() {
            let text = format!(
                "cannot reopen the log file {:?}, going on with the old one: {}",
                file.path(),
                error_text(&error)
            );
            self.line(Level::Error, &text);
        }
    }

    /// Stops using stderr: we are in the background.
    pub fn let_go_of_stderr(&mut self) {
        self.fallback = None;
    }

    fn count_lost(&mut self) {
        self.lost = self.lost.saturating_add(1);
    }

    /// Reports once, where it can be seen, that the log file cannot be written to.
    fn say_failure(&mut self, error: &io::Error) {
        let Target::File(file) = &self.target else {
            return;
        };
        if self.failure_said {
            return;
        }
        self.failure_said = true;
        let text = format!("cannot write to the log file {:?}: {}", file.path(), error_text(error));
        let stamp = stamp_syslog(SystemTime::now());
        let heard = sink::write_syslog(&mut sink::syslog(), Level::Error, &stamp, &text);
        if self.fallback.is_some() || heard.is_err() {
            complain(&text);
        }
    }
}

/// Writes a line to stderr, wherever the log goes: errors that end autossh at startup must be seen.
pub fn complain(text: &str) {
    stderr(&["autossh: ", text].concat());
}

fn stderr(line: &str) {
    // If stderr is full or closed, there is nowhere else to report it.
    let _ = sink::write_now(io::stderr().as_fd(), [line, "\n"].concat().as_bytes());
}

/// A time in local time, as in the log file: `YYYY/MM/DD HH:MM:SS`.
pub fn stamp(time: SystemTime) -> String {
    let t = local(time);
    format!(
        "{:04}/{:02}/{:02} {:02}:{:02}:{:02}",
        t.tm_year.saturating_add(1900),
        t.tm_mon.saturating_add(1),
        t.tm_mday,
        t.tm_hour,
        t.tm_min,
        t.tm_sec
    )
}

/// A time in local time, as in syslog: `Mmm dd HH:MM:SS`.
fn stamp_syslog(time: SystemTime) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let t = local(time);
    let month = usize::try_from(t.tm_mon).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"Jan");
    format!("{month} {:2} {:02}:{:02}:{:02}", t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec)
}

#[expect(unsafe_code, reason = "std and nix know no time zones")]
fn local(time: SystemTime) -> libc::tm {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = libc::time_t::try_from(since.as_secs()).unwrap_or_default();
    // SAFETY: all zeros are a valid `tm`.
    let mut broken_down = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live longer than the call, and we have one thread.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut broken_down) };
    broken_down
}
