//! The loop: waits for everything at once, passes events to the [`Machine`], and carries out its actions.

mod actions;
mod poll_set;

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use autossh_core::event::{ChildExit, Event, Exit};
use autossh_core::forwards::{Listen, Refusal};
use autossh_core::level::Level;
use autossh_core::machine::Machine;
use autossh_core::time::{Reading, SleepWatch, Time};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use self::poll_set::{PollSet, Source};
use crate::log::Log;
use crate::monitor::Monitor;
use crate::session::Session;
use crate::ssh::connection::listens_on;
use crate::ssh::spawn::Launcher;
use crate::ssh::stderr::{SshOutput, SshStderr};
use crate::ssh::{self, Report};
use crate::status::Status;
use crate::sys::clock::Clock;
use crate::sys::daemon::Readiness;
use crate::sys::pidfile::PidFile;
use crate::sys::sd_notify::Notifier;
use crate::sys::signals::{Notice, Signals};
use crate::sys::system::NetworkWatch;
use crate::sys::terminal::Terminal;
use crate::text::error_text;

/// How long the loop waits at a time where poll(2) fails: less than a test takes.
const FALLBACK_WAIT: Duration = Duration::from_millis(100);
/// How often it waits like that for ssh to end, before it kills it.
const LAST_WAITS: u32 = 50;

/// What the loop works with.
pub struct Resources {
    /// The log.
    pub log: Log,
    /// Incoming signals.
    pub signals: Signals,
    /// The clock and its alarm.
    pub clock: Clock,
    /// The monitor's forwards, listener and test, unless connections are not tested.
    pub monitor: Option<Monitor>,
    /// Network changes.
    pub network: Option<NetworkWatch>,
    /// Starts ssh.
    pub launcher: Launcher,
    /// ssh's stderr, if it comes through us.
    pub stderr: Option<SshStderr>,
    /// The arguments for ssh, and the index at which the monitor's forwards are inserted.
    pub args: (Vec<OsString>, usize),
    /// The terminal, whose modes ssh may leave changed.
    pub terminal: Terminal,
    /// systemd, if it started us.
    pub notifier: Notifier,
    /// The pid file, if there is one.
    pub pid_file: Option<PidFile>,
    /// The caller of -f, while it waits.
    pub readiness: Option<Readiness>,
}

/// What is logged only once.
#[derive(Debug, Default)]
struct LoggedOnce {
    directory_loss: bool,
    poll_failure: bool,
}

/// The loop and its state.
pub struct Supervisor {
    machine: Machine,
    resources: Resources,
    session: Option<Session>,
    /// The network watch has something to read.
    network_readable: bool,
    /// Pending network changes are old, since they were not read for a while.
    network_is_stale: bool,
    logged: LoggedOnce,
    last_status: String,
}

impl Supervisor {
    /// The loop for a new `machine`.
    pub fn new(machine: Machine, resources: Resources) -> Supervisor {
        Supervisor {
            machine,
            resources,
            session: None,
            network_readable: false,
            network_is_stale: false,
            logged: LoggedOnce::default(),
            last_status: String::new(),
        }
    }

    /// Supervises ssh until autossh exits, and returns how.
    pub fn run(&mut self) -> Exit {
        let exit = self.rounds().unwrap_or_else(|error| {
            let text = format!("cannot go on: {}", error_text(&error));
            self.resources.log.explain(Level::Error, &text);
            self.resources.notifier.status(&text);
            self.end_without_loop();
            Exit::Status(1)
        });
        if let Some(stderr) = &mut self.resources.stderr {
            stderr.flush();
        }
        self.resources.notifier.send();
        exit
    }

    /// Terminates ssh if the loop cannot go on.
    fn end_without_loop(&mut self) {
        let Some(child) = self.session.as_ref().map(Session::pid) else { return };
        let _ = ssh::ask_to_end(child);
        for _ in 0..LAST_WAITS {
            let waited = self.resources.signals.wait(FALLBACK_WAIT);
            while let Some((pid, report)) = ssh::reap() {
                if pid == child && matches!(report, Report::Exited(_)) {
                    return;
                }
            }
            if waited.is_err() {
                break;
            }
        }
        let _ = kill(child, Signal::SIGKILL);
    }

    fn rounds(&mut self) -> io::Result<Exit> {
        let mut sleep_watch = SleepWatch::new(self.resources.clock.read()?);
        loop {
            let reading = self.resources.clock.read()?;
            let mut events = self.events(reading, &mut sleep_watch);
            events.sort_unstable();
            events.push(Event::Tick);
            if let Some(exit) = self.handle(events, reading.now) {
                return Ok(exit);
            }
            self.tell_status();
            self.resources.notifier.flush(reading.now);
            self.wait(reading.now)?;
        }
    }

    /// Waits until something happens or something is due.
    fn wait(&mut self, now: Time) -> io::Result<()> {
        let relevant_from = self.resources.network.as_ref().and(self.machine.network_relevant_from());
        if relevant_from.is_none() {
            self.network_is_stale = true;
        } else if std::mem::take(&mut self.network_is_stale) {
            self.resources.network.as_ref().map(NetworkWatch::has_changed);
        }
        let listens = relevant_from.is_some_and(|from| from <= now);
        // At the end of a hold-off the changes that came meanwhile are read.
        let hold_off_end = relevant_from.filter(|from| *from > now);
        let monitor = self.resources.monitor.as_ref();
        let deadlines = [
            self.machine.deadline(),
            monitor.and_then(|monitor| monitor.deadline(now)),
            hold_off_end,
            self.resources.notifier.deadline(),
        ];
        let (alarm, timeout) = self.resources.clock.set_alarm(deadlines.into_iter().flatten().min(), now);

        let mut set = PollSet::default();
        set.add(Source::Signals, self.resources.signals.as_fd(), PollFlags::POLLIN);
        if let Some(fd) = alarm {
            set.add(Source::Alarm, fd, PollFlags::POLLIN);
        }
        if let Some(network) = self.resources.network.as_ref().filter(|_| listens) {
            set.add(Source::Network, network.as_fd(), PollFlags::POLLIN);
        }
        if let Some(fd) = self.session.as_ref().and_then(Session::start_fd) {
            set.add(Source::Start, fd, PollFlags::POLLIN);
        }
        for (fd, flags) in self.resources.stderr.iter().flat_map(SshStderr::interest) {
            set.add(Source::Stderr, fd, flags);
        }
        for (fd, flags) in monitor.into_iter().flat_map(|monitor| monitor.interest(now)) {
            set.add(Source::Monitor, fd, flags);
        }
        let waited = set.wait(&self.resources.signals, timeout);
        self.network_readable = listens && (waited.is_err() || set.is_ready(Source::Network));
        waited.or_else(|errno| self.wait_without_poll(errno))
    }

    /// Waits after poll(2) has failed because memory or descriptors are short: a signal is seen at once, everything else a
    /// little later.
    fn wait_without_poll(&mut self, errno: Errno) -> io::Result<()> {
        if !std::mem::replace(&mut self.logged.poll_failure, true) {
            let text =
                format!("cannot wait for events, looking for them ten times a second: {}", error_text(&errno.into()));
            self.resources.log.line(Level::Warning, &text);
        }
        self.resources.signals.wait(FALLBACK_WAIT)
    }

    /// What has happened, in no particular order.
    fn events(&mut self, reading: Reading, sleep_watch: &mut SleepWatch) -> Vec<Event> {
        let mut events = Vec::new();
        if sleep_watch.slept(reading) {
            events.push(Event::Slept);
        }
        // SIGCHLD announces the exit of a child. After the children are reaped the signals are read once more: a signal
        // that was sent to us and to ssh is then known together with the exit of ssh.
        loop {
            let notices: Vec<Notice> = self.resources.signals.pending().collect();
            if notices.is_empty() {
                break;
            }
            for notice in notices {
                self.signalled(notice, &mut events);
            }
            while let Some((pid, report)) = ssh::reap() {
                self.reaped(pid, report, reading.now, &mut events);
            }
        }
        self.read_session(reading.now, &mut events);
        if let Some(outcome) = self.resources.monitor.as_mut().and_then(|monitor| monitor.advance(reading.now)) {
            events.push(Event::Tested(outcome));
        }
        if std::mem::take(&mut self.network_readable)
            && self.resources.network.as_ref().is_some_and(NetworkWatch::has_changed)
        {
            events.push(Event::NetworkChanged);
        }
        events
    }

    fn read_session(&mut self, now: Time, events: &mut Vec<Event>) {
        let lost_directory = self.session.as_mut().and_then(|session| session.read_start(events));
        if let (Some(errno), false) = (lost_directory, self.logged.directory_loss) {
            self.logged.directory_loss = true;
            let directory = &self.resources.launcher.background;
            let text =
                format!("cannot enter {:?}, starting ssh in /: {}", directory.as_deref(), error_text(&errno.into()));
            self.resources.log.line(Level::Warning, &text);
        }
        let mut outputs = Vec::new();
        if let Some(stderr) = &mut self.resources.stderr {
            stderr.advance(now, &mut |output| outputs.push(output));
        }
        self.ssh_output(outputs, events);
    }

    fn reaped(&mut self, pid: Pid, report: Report, now: Time, events: &mut Vec<Event>) {
        let Some(session) = self.session.take_if(|session| session.pid() == pid) else {
            return;
        };
        match report {
            Report::Exited(exit) => {
                let mut outputs = Vec::new();
                if let Some(stderr) = &mut self.resources.stderr {
                    stderr.ssh_exited(now, &mut |output| outputs.push(output));
                }
                self.ssh_output(outputs, events);
                if matches!(exit, ChildExit::Signal(_)) {
                    self.resources.terminal.restore();
                }
                let said = self.resources.stderr.as_ref().and_then(SshStderr::last_line);
                session.reaped(exit, said, &self.resources.launcher.program, events);
            }
            Report::Stopped(signal) => {
                if signal == Signal::SIGTSTP as i32 && self.resources.terminal.stop_with_ssh() {
                    let _ = kill(pid, Signal::SIGCONT);
                    events.push(Event::Continued);
                }
                self.session = Some(session);
            }
        }
    }

    fn signalled(&mut self, notice: Notice, events: &mut Vec<Event>) {
        match notice {
            Notice::Stop(signal) => events.push(Event::Stop(signal as i32)),
            Notice::Restart => events.push(Event::Restart),
            Notice::TestNow => events.push(Event::TestNow),
            Notice::Hangup => {
                self.resources.log.reopen();
                events.push(Event::Hangup);
            }
            Notice::Status => {
                let status = self.status();
                self.resources.log.line(Level::Info, &status);
            }
            Notice::Continued => {
                // ssh may have been stopped together with us, but SIGCONT may have been sent to us alone.
                if let Some(session) = &self.session {
                    let _ = kill(session.pid(), Signal::SIGCONT);
                }
                events.push(Event::Continued);
            }
            // Children are always reaped.
            Notice::Child => {}
        }
    }

    /// Handles what ssh wrote to stderr.
    fn ssh_output(&mut self, outputs: Vec<SshOutput>, events: &mut Vec<Event>) {
        let monitors = self.resources.monitor.as_ref().and_then(Monitor::remote_port).map(Listen::Port);
        let ssh = self.session.as_ref().map(Session::pid);
        for output in outputs {
            match output {
                SshOutput::Line(line) => drop(self.resources.log.line(Level::Info, &format!("ssh: {line}"))),
                SshOutput::RemoteRefused(listen) if Some(&listen) == monitors.as_ref() => {
                    events.push(Event::MonitorRefused);
                }
                SshOutput::RemoteRefused(listen) => events.push(Event::Refused(Refusal::Remote(listen))),
                // If the address is taken in one family, ssh goes on with the other.
                SshOutput::LocalRefused(address) if ssh.is_some_and(|ssh| listens_on(ssh, address.port())) => {}
                SshOutput::LocalRefused(address) => events.push(Event::Refused(Refusal::Local(address))),
                SshOutput::Unreadable(why) => self.stderr_lost(&why),
            }
        }
    }

    fn stderr_lost(&mut self, why: &str) {
        self.resources.log.line(Level::Warning, &format!("cannot read ssh's stderr: {why}"));
    }

    /// The status in one line.
    fn status(&self) -> String {
        let status = Status {
            state: self.machine.state(),
            pid: self.session.as_ref().map(Session::pid),
            starts: self.machine.starts(),
            monitored: self.machine.is_monitored(),
            last_passed: self.machine.last_passed(),
            refused: self.machine.refused_forwards(),
            last_failure: self.machine.last_failure().map(str::to_owned),
        };
        let now = self.resources.clock.read().map(|reading| reading.now).unwrap_or_default();
        status.line(now, SystemTime::now())
    }

    fn tell_status(&mut self) {
        if self.resources.notifier.is_heard() {
            let status = self.status();
            if status != self.last_status {
                self.resources.notifier.status(&status);
                self.last_status = status;
            }
        }
    }
}
