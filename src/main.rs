//! autossh: starts ssh, watches it, and starts it again when it dies or stops passing traffic.
//!
//! This room is the order of things, and nothing else.

#![cfg_attr(not(test), no_main)]

mod advice;
mod background;
mod backoff;
mod chatter;
mod cli;
mod clock;
mod entry;
mod event;
mod level;
mod log;
mod monitor;
mod network;
mod pidfile;
mod policy;
mod probe;
mod random;
mod schedule;
mod settings;
mod signals;
mod sink;
mod ssh;
mod state;
mod supervision;
mod supervisor;
mod systemd;
mod terminal;
mod text;
mod time;
mod traffic;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use background::{Side, Word};
use cli::Request;
use clock::Clock;
use event::End;
use level::Level;
use log::{Log, complain};
use monitor::Monitor;
use network::Network;
use pidfile::PidFile;
use settings::{Monitoring, Settings};
use signals::{Inherited, Signals};
use ssh::Launcher;
use supervision::Supervision;
use supervisor::{Own, Supervisor};
use systemd::Notifier;
use terminal::Terminal;
use text::plain;

/// The usage, for `--help` and for a command line without a destination.
const USAGE: &str = "\
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

/// Runs autossh with these words of the command line, and answers how to end.
fn run(words: Vec<OsString>, inherited: Inherited) -> End {
    match cli::parse(words) {
        Ok(Request::Version) => print(&format!("autossh {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Request::Help) => print(USAGE),
        Ok(Request::Run(line)) => match settings::resolve(line, |name| env::var_os(name)) {
            Ok(settings) => {
                // Lives until the reason has been said: the caller of -f goes when it ends.
                let mut word = None;
                supervise(settings, inherited, &mut word).unwrap_or_else(|error| fail(&error))
            }
            Err(invalid) => fail(&invalid.to_string()),
        },
        Err(cli::Error::NoPort) => fail("option -M needs a port: -M port[:echo_port], or -M 0"),
        Err(cli::Error::NoDestination) => {
            let _ = io::stderr().write_all(USAGE.as_bytes());
            End::Status(1)
        }
    }
}

/// Gets everything ready, in the background if asked, and supervises ssh to the end.
fn supervise(mut settings: Settings, inherited: Inherited, word: &mut Option<Word>) -> Result<End, String> {
    let program = ssh::find(settings.ssh_path.as_deref(), env::var_os("PATH").as_deref())?;
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let pid_path = settings.pid_file.take().map(absolute);
    let folder = settings.background.then(|| env::current_dir().unwrap_or_else(|_| "/".into()));

    if settings.background {
        match background::split().map_err(|error| format!("cannot go to the background: {}", plain(&error)))? {
            Side::Caller(end) => return Ok(end),
            Side::Daemon(given_later) => *word = Some(given_later),
        }
    }

    let mut log = Log::open(&settings)?;
    let monitor = open_monitor(&mut settings)?;
    for (level, note) in &settings.notes {
        log.line(*level, note);
    }
    let pid_file = pid_path
        .map(|path| {
            let name = format!("{path:?}");
            PidFile::write(path).map_err(|error| format!("cannot write the pid file {name}: {}", plain(&error)))
        })
        .transpose()?;
    let signals = Signals::new().map_err(|error| format!("cannot receive signals: {}", plain(&error)))?;
    let clock = Clock::new().map_err(|errno| format!("cannot make a timer: {}", plain(&errno.into())))?;
    let born = clock.read().map_err(|errno| format!("cannot read the clock: {}", plain(&errno.into())))?.now;
    let notifier = Notifier::new(env::var_os("NOTIFY_SOCKET").as_deref());
    let terminal = if settings.background { Terminal::none() } else { Terminal::controlling() };
    let network = settings.watch_network.then(Network::listen).flatten();
    let words = (std::mem::take(&mut settings.ssh_words), settings.forwards_place);

    let mut supervisor = Supervisor {
        state: Supervision::new(settings, born, random::random, notifier.is_heard()),
        log,
        signals,
        clock,
        monitor,
        network,
        launcher: Launcher { program, inherited, background: folder },
        words,
        terminal,
        notifier,
        pid_file,
        word: word.take(),
        own: Own::default(),
    };
    supervisor.run().map_err(|errno| format!("cannot go on: {}", plain(&errno.into())))
}

/// Opens the monitor. One that nobody asked for may be missing.
fn open_monitor(settings: &mut Settings) -> Result<Monitor, String> {
    Monitor::new(settings)
        .or_else(|(address, error)| {
            let text = format!("cannot listen on {address}: {}", plain(&error));
            if settings.monitoring != Monitoring::Automatic {
                return Err((address, error));
            }
            settings.notes.push((Level::Warning, format!("{text}; going on without a monitor")));
            settings.monitoring = Monitoring::Off;
            Monitor::new(settings)
        })
        .map_err(|(address, error)| {
            format!(
                "cannot listen on {address}, where the monitor's answers arrive: {}; give -M another port, or none",
                plain(&error)
            )
        })
}

fn print(text: &str) -> End {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => End::Status(0),
        Err(error) => fail(&format!("cannot write: {}", plain(&error))),
    }
}

fn fail(text: &str) -> End {
    complain(text);
    End::Status(1)
}
