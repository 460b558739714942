//! From the command line to the exit: reads the settings, gets everything ready, and supervises.

use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use autossh_core::event::Exit;
use autossh_core::level::Level;
use autossh_core::machine::Machine;
use autossh_core::messages;
use nix::errno::Errno;

use crate::config::cli::{self, Request};
use crate::config::settings::{self, Settings, USAGE};
use crate::log::{Log, complain};
use crate::monitor::Monitor;
use crate::ssh;
use crate::ssh::spawn::Launcher;
use crate::ssh::stderr::SshStderr;
use crate::supervisor::{Resources, Supervisor};
use crate::sys::clock::Clock;
use crate::sys::daemon::{self, ForkSide, Readiness};
use crate::sys::pidfile::PidFile;
use crate::sys::random::random;
use crate::sys::retry::retry;
use crate::sys::sd_notify::{self, Notifier};
use crate::sys::signals::{Inherited, Signals};
use crate::sys::system::NetworkWatch;
use crate::sys::terminal::Terminal;
use crate::text::error_text;

/// sysexits(3): the configuration is wrong.
const EX_CONFIG: i32 = 78;
/// Why -f has no effect.
const STAYS: &str = "-f is not needed, since systemd waits for this process: staying in the foreground";
/// How long the monitor's listener may wait for its port: an autossh that is about to exit may still have it.
const BIND_TIME: Duration = Duration::from_millis(1_500);
/// How long the first ssh may wait for its port: the last ssh has 5 s to exit before it is killed.
const PORT_TIME: Duration = Duration::from_secs(6);

/// Runs autossh with the arguments `args`, and returns how to exit.
pub fn run(args: Vec<OsString>, inherited: Inherited) -> Exit {
    match cli::parse(args) {
        Ok(Request::Version) => print(&format!("autossh {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Request::Help) => print(USAGE),
        Ok(Request::Run(line)) => match settings::resolve(line, |name| env::var_os(name)) {
            Ok(settings) => {
                // Lives until the reason has been written: the caller of -f exits when this is dropped.
                let mut readiness = None;
                supervise(settings, inherited, &mut readiness).unwrap_or_else(fail)
            }
            Err(invalid) => fail(Failure::Unusable(invalid.to_string())),
        },
        Err(cli::Error::NoPort) => {
            fail(Failure::Unusable("option -M needs a port: -M port[:echo_port], or -M 0".into()))
        }
        Err(cli::Error::NoDestination) if Notifier::from_environment().is_heard() => {
            fail(Failure::Unusable("no host to connect to: give [user@]host".into()))
        }
        Err(cli::Error::NoDestination) => {
            let _ = io::stderr().write_all(USAGE.as_bytes());
            Exit::Status(1)
        }
    }
}

/// Why autossh cannot start or go on, as text.
enum Failure {
    /// A value or the command line cannot be used, now or later.
    Unusable(String),
    /// It may be different at another time.
    Passing(String),
}

impl Failure {
    /// The failure that `text` describes, whose cause is `error`.
    fn of(error: &io::Error, text: String) -> Failure {
        use Errno::{EACCES, EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENXIO, EPERM, EROFS};
        match error.raw_os_error().map(Errno::from_raw) {
            Some(EACCES | EINVAL | EISDIR | ELOOP | ENAMETOOLONG | ENOENT | ENOTDIR | ENXIO | EPERM | EROFS) => {
                Failure::Unusable(text)
            }
            _ => Failure::Passing(text),
        }
    }
}

/// Prepares everything, in the background if asked, and supervises ssh until autossh exits.
fn supervise(mut settings: Settings, inherited: Inherited, readiness: &mut Option<Readiness>) -> Result<Exit, Failure> {
    let program = ssh::find(settings.ssh_path.as_deref(), env::var_os("PATH").as_deref()).map_err(Failure::Unusable)?;
    if settings.background && sd_notify::is_main_process() {
        settings.background = false;
        settings.notes.push((Level::Info, STAYS.into()));
    }
    let notifier = Notifier::from_environment();
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let pid_path = settings.pid_file.take().map(absolute);
    let directory = settings.background.then(|| env::current_dir().unwrap_or_else(|_| "/".into()));

    if settings.background {
        match daemon::daemonize().map_err(|error| passing("cannot go to the background", &error))? {
            ForkSide::Caller(end) => return Ok(end),
            ForkSide::Daemon(given_later) => *readiness = Some(given_later),
        }
    }

    let mut signals = Signals::new().map_err(|error| passing("cannot receive signals", &error))?;
    let clock = Clock::new().map_err(|errno| passing("cannot make a timer", &errno.into()))?;
    // First of all: an autossh that finds its port taken leaves the log and the pid file of the other one alone.
    let monitor = match retry(
        &mut signals,
        &clock,
        BIND_TIME,
        || Monitor::new(&settings),
        |(_, error)| error.kind() == ErrorKind::AddrInUse,
    ) {
        Ok(opened) => opened.map_err(|(address, error)| {
            let text = format!(
                "cannot listen on {address}, where the monitor's answers arrive: {}; give -M another port, or none",
                error_text(&error)
            );
            Failure::of(&error, text)
        })?,
        Err(signal) => return Ok(Exit::Signal(signal)),
    };
    let mut log = Log::open(&settings).map_err(|(text, error)| Failure::of(&error, text))?;
    for (level, note) in &settings.notes {
        log.line(*level, note);
    }
    let pid_file = pid_path
        .map(|path| {
            let name = format!("{path:?}");
            PidFile::write(path).map_err(|error| {
                Failure::of(&error, format!("cannot write the pid file {name}: {}", error_text(&error)))
            })
        })
        .transpose()?;
    match retry(
        &mut signals,
        &clock,
        PORT_TIME,
        || monitor.as_ref().map_or(Ok(()), Monitor::local_port_is_free),
        |_| true,
    ) {
        Ok(Ok(())) => {}
        Ok(Err(port)) => drop(log.line(Level::Warning, &messages::port_in_use(port))),
        Err(signal) => {
            log.line(Level::Info, &messages::stop_signal(signal));
            return Ok(Exit::Signal(signal));
        }
    }
    let started_at = clock.read().map_err(|errno| passing("cannot read the clock", &errno.into()))?.now;
    let terminal = if settings.background { Terminal::none() } else { Terminal::controlling() };
    let network = settings.rules.watch_network.then(NetworkWatch::listen).flatten();
    let args = (std::mem::take(&mut settings.ssh_args), settings.forwards_index);

    let stderr = ssh_stderr(&settings);

    let machine = Machine::new(settings.rules, started_at, random, notifier.is_heard());
    let resources = Resources {
        log,
        signals,
        clock,
        monitor,
        network,
        launcher: Launcher { program, inherited, pipe_stderr: stderr.is_some(), background: directory },
        stderr,
        args,
        terminal,
        notifier,
        pid_file,
        readiness: readiness.take(),
    };
    Ok(Supervisor::new(machine, resources).run())
}

/// Where ssh's stderr goes if it comes through us: to the log in the background, to our stderr with -N if that is no
/// terminal. Elsewhere ssh keeps our stderr, which prompts and banners need.
fn ssh_stderr(settings: &Settings) -> Option<SshStderr> {
    if settings.background {
        return Some(SshStderr::for_log());
    }
    let passes = settings.rules.no_command && !io::stderr().is_terminal();
    passes.then(|| SshStderr::passed_on(io::stderr().as_fd()).ok()).flatten()
}

fn print(text: &str) -> Exit {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => Exit::Status(0),
        Err(error) => fail(passing("cannot write", &error)),
    }
}

fn passing(what: &str, error: &io::Error) -> Failure {
    Failure::Passing(format!("{what}: {}", error_text(error)))
}

/// Reports a failure, and returns how to exit: if systemd is told, so that it can tell what is worth another try.
fn fail(failure: Failure) -> Exit {
    let (status, text) = match failure {
        Failure::Unusable(text) => (EX_CONFIG, text),
        Failure::Passing(text) => (1, text),
    };
    complain(&text);
    let mut notifier = Notifier::from_environment();
    notifier.status(&text);
    notifier.send();
    Exit::Status(if notifier.is_heard() { status } else { 1 })
}
