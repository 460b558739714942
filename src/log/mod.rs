//! The log: which lines are written, and what happens when the target fails (autossh(1), LOGGING).

mod line;
mod sink;
mod syslogd;

use std::env;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::SystemTime;

use nix::sys::stat::fstat;

pub use self::line::stamp;
use self::sink::LogFile;
use self::syslogd::Syslogd;
use crate::config::settings::{LogTarget, Settings};
use crate::sys::outlet::{identity, is_same, write_once};
use crate::text::{cut, error_text};
use autossh_core::level::Level;

/// The longest text of a line, in bytes: a pipe takes that much without blocking once it takes anything.
const MAX_TEXT: usize = 2048;

/// The log.
pub struct Log {
    most: u8,
    target: Target,
    /// What goes to stderr; `None` in the background.
    stderr: Option<Stderr>,
    /// Number of lines that are missing in the target since the last one that it took.
    lost: u32,
    /// A write error of the log file has been reported.
    failure_said: bool,
}

enum Target {
    File(LogFile),
    Syslog(Syslogd),
}

/// Which lines go to stderr.
struct Stderr {
    /// Lines for syslog up to this level, when it does not take them.
    fallback: u8,
    /// All lines for syslog (AUTOSSH_DEBUG).
    copies: bool,
    /// stderr and syslog both end in the journal.
    is_journal: bool,
}

impl Log {
    /// Opens the log that the settings ask for.
    ///
    /// # Errors
    /// The log file cannot be opened: the message, and why.
    pub fn open(settings: &Settings) -> Result<Log, (String, io::Error)> {
        let target =
            match &settings.log_target {
                LogTarget::Syslog => Target::Syslog(Syslogd::new()),
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
        let stderr = Stderr {
            fallback: fallback.min(settings.log_level),
            copies: settings.log_on_stderr,
            is_journal: is_journal(io::stderr().as_fd()) && Syslogd::is_journal(),
        };
        Ok(Log { most: settings.log_level, target, stderr: Some(stderr), lost: 0, failure_said: false })
    }

    /// Writes a line that must be seen: to stderr too, wherever the log goes.
    pub fn explain(&mut self, level: Level, text: &str) {
        if !self.line(level, text) && self.stderr.is_some() {
            complain(text);
        }
    }

    /// Writes a line. Returns whether it can be seen where stderr goes.
    pub fn line(&mut self, level: Level, text: &str) -> bool {
        if level as u8 > self.most {
            return false;
        }
        let now = SystemTime::now();
        let lost = if self.lost > 0 { &format!("({} lines lost) ", self.lost) } else { "" };
        let whole = [lost, text].concat();
        let whole = cut(&whole, MAX_TEXT);
        let written = match &mut self.target {
            Target::Syslog(syslogd) => syslogd.write(level, now, whole),
            Target::File(file) => file.write(line::for_file(now, whole).as_bytes()),
        };
        let shown = match (&self.stderr, &self.target) {
            (None, _) => false,
            (Some(_), Target::File(file)) => written.is_ok() && is_same(file.as_fd(), io::stderr().as_fd()),
            (Some(stderr), Target::Syslog(_)) if written.is_ok() && stderr.is_journal => true,
            (Some(stderr), Target::Syslog(_)) => {
                let wanted = stderr.copies || written.is_err() && level as u8 <= stderr.fallback;
                if wanted {
                    to_stderr(&line::for_stderr(cut(text, MAX_TEXT)));
                }
                wanted
            }
        };
        match written {
            Ok(()) => self.lost = 0,
            Err(error) => {
                self.lost = self.lost.saturating_add(1);
                if error.kind() != ErrorKind::WouldBlock {
                    self.say_failure(&error);
                }
            }
        }
        shown
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
        self.stderr = None;
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
        let heard = Syslogd::new().write(Level::Error, SystemTime::now(), &text).is_ok();
        if self.stderr.as_ref().is_some_and(|stderr| !(heard && stderr.is_journal)) {
            complain(&text);
        }
    }
}

/// Writes a line to stderr, wherever the log goes: errors that end autossh at startup must be seen.
pub fn complain(text: &str) {
    to_stderr(&["autossh: ", text, "\n"].concat());
}

fn to_stderr(line: &str) {
    // If stderr is full or closed, there is nowhere else to report it.
    let _ = write_once(io::stderr().as_fd(), line.as_bytes());
}

/// Whether this is the connection to the journal that systemd has given us (`JOURNAL_STREAM` in systemd.exec(5)).
fn is_journal(descriptor: BorrowedFd<'_>) -> bool {
    let (Some(named), Ok(file)) = (env::var_os("JOURNAL_STREAM"), fstat(descriptor)) else {
        return false;
    };
    let (device, inode) = identity(&file);
    named == *format!("{device}:{inode}")
}
