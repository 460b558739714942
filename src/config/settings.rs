//! Reads the settings from AUTOSSH_* and the command line, and checks them (autossh(1), ENVIRONMENT).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use autossh_core::level::Level;
use autossh_core::rules::{Monitoring, Rules};

use crate::config::cli::{CommandLine, is_digits};
use crate::config::ssh_options;

/// Half the time that a test may take, unless the poll time is short.
const NET_TIMEOUT: Duration = Duration::from_secs(15);
/// The largest number of seconds or starts that is accepted.
const LARGEST: i64 = 2_147_483_647;
/// The maximum length of AUTOSSH_MESSAGE in bytes.
const MAX_MESSAGE: usize = 64;
/// ssh's options that open no session, so that there is nothing to monitor: -W, -O, -Q and -G.
const NO_SESSION: [u8; 4] = [b'W', b'O', b'Q', b'G'];

/// The loopback address at which ssh's forwards listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 127.0.0.1
    V4,
    /// ::1, where `-6` or `-o AddressFamily=inet6` was typed.
    V6,
}

/// The usage, for `--help` and for a command line without a destination.
pub const USAGE: &str = "\
usage: autossh [-V] [-M port[:echo_port]] [-f] [ssh options] [user@]host [command ...]

    -M  the monitor port, or the monitor port and the port of an echo service on
        the server; 0 turns monitoring off; without -M ports are found by themselves
    -f  go to the background (autossh does so, not ssh)
    -V  print the version

Environment variables: AUTOSSH_DEBUG, AUTOSSH_FIRST_POLL, AUTOSSH_GATETIME,
AUTOSSH_LOGFILE, AUTOSSH_LOGLEVEL, AUTOSSH_MAXLIFETIME, AUTOSSH_MAXSTART,
AUTOSSH_MESSAGE, AUTOSSH_NETWATCH, AUTOSSH_NTSERVICE, AUTOSSH_PATH,
AUTOSSH_PIDFILE, AUTOSSH_POLL, AUTOSSH_PORT. autossh(1) explains them.
";

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// syslog, facility user.
    Syslog,
    /// This file, appended to.
    File(PathBuf),
}

/// All settings, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The arguments for ssh.
    pub ssh_args: Vec<OsString>,
    /// The index in `ssh_args` at which the monitor's forwards are inserted.
    pub forwards_index: usize,
    /// The settings that decisions depend on.
    pub rules: Rules,
    /// The loopback address of the monitor's forwards.
    pub family: Family,
    /// `-f`: go to the background.
    pub background: bool,
    /// Half the time that one connection test may take.
    pub net_timeout: Duration,
    /// What AUTOSSH_MESSAGE adds to the test message.
    pub message: OsString,
    /// AUTOSSH_PATH: the ssh to run.
    pub ssh_path: Option<PathBuf>,
    /// AUTOSSH_PIDFILE: the file for our pid.
    pub pid_file: Option<PathBuf>,
    /// Where log lines go.
    pub log_target: LogTarget,
    /// The highest level number that is logged.
    pub log_level: u8,
    /// AUTOSSH_DEBUG: lines for syslog also go to stderr.
    pub log_on_stderr: bool,
    /// Messages about these settings, for the log.
    pub notes: Vec<(Level, String)>,
}

/// A value that cannot be used: its name, the value, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid {
    name: &'static str,
    value: OsString,
    wanted: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid {} {:?}: {}", self.name, self.value, self.wanted)
    }
}

/// Reads the environment through `variable`, checks everything and fills in defaults.
///
/// # Errors
/// The first value that cannot be used.
pub fn resolve(line: CommandLine, variable: impl Fn(&str) -> Option<OsString>) -> Result<Settings, Invalid> {
    let defaults = Rules::default();
    let mut notes = Vec::new();
    let not_empty = |name| variable(name).filter(|value| !value.is_empty());
    let number = |name, least| whole(&variable, name, least);

    let (monitoring, port_typed) = monitoring(&line, not_empty("AUTOSSH_PORT").as_deref(), &mut notes)?;
    let family = ssh_options::family(&line.options);
    let no_command = ssh_options::no_command(&line.options);
    let service = not_empty("AUTOSSH_NTSERVICE").is_some_and(|value| value == "yes");
    let watch_network = match not_empty("AUTOSSH_NETWATCH") {
        None => defaults.watch_network,
        Some(value) if value == "yes" => true,
        Some(value) if value == "no" => false,
        Some(value) => {
            return Err(Invalid { name: "AUTOSSH_NETWATCH", value, wanted: "give no, or yes (the default)".into() });
        }
    };

    let lifetime = number("AUTOSSH_MAXLIFETIME", -LARGEST)?.filter(|seconds| *seconds > 0).map(seconds);
    let within_life = |time: Duration| lifetime.map_or(time, |lifetime| time.min(lifetime));
    let poll = number("AUTOSSH_POLL", 1)?.map_or(defaults.poll, seconds);
    let first_poll = number("AUTOSSH_FIRST_POLL", 1)?.map_or(poll, seconds);
    let (poll, first_poll) = (within_life(poll), within_life(first_poll));
    let net_timeout = NET_TIMEOUT.min(poll / 2);
    if net_timeout < NET_TIMEOUT {
        notes.push((Level::Info, format!("short poll time: adjusting net timeouts to {}", net_timeout.as_millis())));
    }

    let gate_time = number("AUTOSSH_GATETIME", 0)?.map_or(defaults.gate_time, seconds);
    let gate_time = if line.background { Duration::ZERO } else { gate_time };
    // A negative number means no limit.
    let max_starts = number("AUTOSSH_MAXSTART", -LARGEST)?.and_then(|starts| u64::try_from(starts).ok());

    let debug = variable("AUTOSSH_DEBUG").is_some();
    let log_level = number_in(&variable, "AUTOSSH_LOGLEVEL", 0, 7, "give a syslog level, 0 to 7")?
        .and_then(|level| u8::try_from(level).ok());
    let log_target = match not_empty("AUTOSSH_LOGFILE") {
        Some(file) => LogTarget::File(file.into()),
        None if service => LogTarget::File("/dev/stdout".into()),
        None => LogTarget::Syslog,
    };

    let message = not_empty("AUTOSSH_MESSAGE").unwrap_or_default();
    if message.len() > MAX_MESSAGE {
        let wanted = format!("it has {} bytes, and {MAX_MESSAGE} is the most", message.len());
        return Err(Invalid { name: "AUTOSSH_MESSAGE", value: message, wanted });
    }

    let mut ssh_args = line.ssh_args;
    let mut forwards_index = if port_typed { line.port_index } else { 0 };
    if service && !no_command {
        ssh_args.insert(0, "-N".into());
        forwards_index = if port_typed { forwards_index.saturating_add(1) } else { 0 };
    }

    Ok(Settings {
        ssh_args,
        forwards_index,
        rules: Rules {
            monitoring,
            no_command: no_command || service,
            service,
            forwards: ssh_options::forwards(&line.options),
            poll,
            first_poll,
            gate_time,
            max_starts,
            lifetime,
            watch_network,
        },
        family,
        background: line.background,
        net_timeout,
        message,
        ssh_path: not_empty("AUTOSSH_PATH").map(PathBuf::from),
        pid_file: not_empty("AUTOSSH_PIDFILE").map(PathBuf::from),
        log_target,
        log_level: if debug { 7 } else { log_level.unwrap_or(6) },
        log_on_stderr: debug,
        notes,
    })
}

/// How to monitor, and whether `-M` decided that.
///
/// AUTOSSH_PORT overrides `-M` (autossh(1), ENVIRONMENT), in case ssh should want that letter one day.
fn monitoring(
    line: &CommandLine,
    variable: Option<&OsStr>,
    notes: &mut Vec<(Level, String)>,
) -> Result<(Monitoring, bool), Invalid> {
    let typed = line.port.as_deref().map(|value| port("-M", value)).transpose()?;
    let set = variable.map(|value| port("AUTOSSH_PORT", value)).transpose()?;
    if let (Some(typed), Some(set), Some(option), Some(variable)) = (typed, set, &line.port, variable) {
        if typed != set {
            notes.push((Level::Warning, format!("AUTOSSH_PORT {variable:?} overrides -M {option:?}")));
        }
    }
    let monitoring = set.or(typed).unwrap_or_else(|| {
        let no_session = |(letter, value): &(u8, OsString)| match letter {
            // A size alone is that of a window: Dropbear's dbclient.
            b'W' => !is_digits(value),
            letter => NO_SESSION.contains(letter),
        };
        let session = !line.options.iter().any(no_session);
        if session { Monitoring::Automatic } else { Monitoring::Off }
    });
    if set.or(typed) == Some(Monitoring::Off) {
        notes.push((Level::Info, "port set to 0, monitoring disabled".into()));
    }
    Ok((monitoring, typed.is_some() && set.is_none()))
}

/// Parses `port[:echo_port]`.
fn port(name: &'static str, value: &OsStr) -> Result<Monitoring, Invalid> {
    let invalid = || Invalid {
        name,
        value: value.into(),
        wanted: "give a port, 1 to 65534, or port:echo_port, or 0 for no monitoring".into(),
    };
    let text = value.to_str().ok_or_else(invalid)?;
    let read = |text: &str| decimal(text).and_then(|number| u16::try_from(number).ok());
    if let Some((port, echo)) = text.split_once(':') {
        match (read(port), read(echo)) {
            (Some(port @ 1..=65534), Some(echo @ 1..)) => Ok(Monitoring::Echo { port, echo }),
            _ => Err(invalid()),
        }
    } else {
        match read(text) {
            Some(0) => Ok(Monitoring::Off),
            Some(port @ 1..=65534) => Ok(Monitoring::Loop { port }),
            _ => Err(invalid()),
        }
    }
}

/// A whole number from `least` in the variable `name`, if that is set.
fn whole(variable: &impl Fn(&str) -> Option<OsString>, name: &'static str, least: i64) -> Result<Option<i64>, Invalid> {
    let wanted = if least < 0 {
        format!("give a whole number, at most {LARGEST}")
    } else {
        format!("give a whole number, {least} to {LARGEST}")
    };
    number_in(variable, name, least, LARGEST, &wanted)
}

/// A whole number from `least` to `most` in the variable `name`, if that is set.
fn number_in(
    variable: &impl Fn(&str) -> Option<OsString>,
    name: &'static str,
    least: i64,
    most: i64,
    wanted: &str,
) -> Result<Option<i64>, Invalid> {
    let Some(value) = variable(name) else {
        return Ok(None);
    };
    match value.to_str().and_then(decimal) {
        Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(Invalid { name, value, wanted: wanted.into() }),
    }
}

/// A decimal number; blanks around it are ignored.
fn decimal(text: &str) -> Option<i64> {
    text.trim_matches(|c: char| c.is_ascii_whitespace()).parse().ok()
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(number.unsigned_abs())
}

#[cfg(test)]
mod tests;
