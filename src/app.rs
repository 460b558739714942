//! From the command line to the exit: reads the settings, gets everything ready, and supervises.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use autossh_core::event::Exit;
use autossh_core::level::Level;
use autossh_core::machine::Machine;
use autossh_core::rules::Monitoring;

use crate::config::cli::{self, Request};
use crate::config::settings::{self, Settings, USAGE};
use crate::log::{Log, complain};
use crate::monitor::Monitor;
use crate::ssh::{self, Launcher};
use crate::supervisor::{Resources, Supervisor};
use crate::sys::clock::Clock;
use crate::sys::daemon::{self, ForkSide, Readiness};
use crate::sys::netlink::NetworkWatch;
use crate::sys::pidfile::PidFile;
use crate::sys::random::random;
use crate::sys::sd_notify::Notifier;
use crate::sys::signals::{Inherited, Signals};
use crate::sys::terminal::Terminal;
use crate::text::error_text;

/// Runs autossh with the arguments `args`, and returns how to exit.
pub fn run(args: Vec<OsString>, inherited: Inherited) -> Exit {
    match cli::parse(args) {
        Ok(Request::Version) => print(&format!("autossh {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Request::Help) => print(USAGE),
        Ok(Request::Run(line)) => match settings::resolve(line, |name| env::var_os(name)) {
            Ok(settings) => {
                // Lives until the reason has been written: the caller of -f exits when this is dropped.
                let mut readiness = None;
                supervise(settings, inherited, &mut readiness).unwrap_or_else(|error| fail(&error))
            }
            Err(invalid) => fail(&invalid.to_string()),
        },
        Err(cli::Error::NoPort) => fail("option -M needs a port: -M port[:echo_port], or -M 0"),
        Err(cli::Error::NoDestination) => {
            let _ = io::stderr().write_all(USAGE.as_bytes());
            Exit::Status(1)
        }
    }
}

/// Prepares everything, in the background if asked, and supervises ssh until autossh exits.
fn supervise(mut settings: Settings, inherited: Inherited, readiness: &mut Option<Readiness>) -> Result<Exit, String> {
    let program = ssh::find(settings.ssh_path.as_deref(), env::var_os("PATH").as_deref())?;
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let pid_path = settings.pid_file.take().map(absolute);
    let directory = settings.background.then(|| env::current_dir().unwrap_or_else(|_| "/".into()));

    if settings.background {
        match daemon::daemonize().map_err(|error| format!("cannot go to the background: {}", error_text(&error)))? {
            ForkSide::Caller(end) => return Ok(end),
            ForkSide::Daemon(given_later) => *readiness = Some(given_later),
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
            PidFile::write(path).map_err(|error| format!("cannot write the pid file {name}: {}", error_text(&error)))
        })
        .transpose()?;
    let signals = Signals::new().map_err(|error| format!("cannot receive signals: {}", error_text(&error)))?;
    let clock = Clock::new().map_err(|errno| format!("cannot make a timer: {}", error_text(&errno.into())))?;
    let started_at = clock.read().map_err(|errno| format!("cannot read the clock: {}", error_text(&errno.into())))?.now;
    let notifier = Notifier::new(env::var_os("NOTIFY_SOCKET").as_deref());
    let terminal = if settings.background { Terminal::none() } else { Terminal::controlling() };
    let network = settings.rules.watch_network.then(NetworkWatch::listen).flatten();
    let args = (std::mem::take(&mut settings.ssh_args), settings.forwards_index);

    let machine = Machine::new(settings.rules, started_at, random, notifier.is_heard());
    let resources = Resources {
        log,
        signals,
        clock,
        monitor,
        network,
        launcher: Launcher { program, inherited, background: directory },
        args,
        terminal,
        notifier,
        pid_file,
        readiness: readiness.take(),
    };
    Ok(Supervisor::new(machine, resources).run())
}

/// Opens the monitor. An automatic one is optional.
fn open_monitor(settings: &mut Settings) -> Result<Monitor, String> {
    Monitor::new(settings)
        .or_else(|(address, error)| {
            let text = format!("cannot listen on {address}: {}", error_text(&error));
            if settings.rules.monitoring != Monitoring::Automatic {
                return Err((address, error));
            }
            settings.notes.push((Level::Warning, format!("{text}; going on without a monitor")));
            settings.rules.monitoring = Monitoring::Off;
            Monitor::new(settings)
        })
        .map_err(|(address, error)| {
            format!(
                "cannot listen on {address}, where the monitor's answers arrive: {}; give -M another port, or none",
                error_text(&error)
            )
        })
}

fn print(text: &str) -> Exit {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => Exit::Status(0),
        Err(error) => fail(&format!("cannot write: {}", error_text(&error))),
    }
}

fn fail(text: &str) -> Exit {
    complain(text);
    Exit::Status(1)
}
