//! The loop: waits for everything at once, passes events to the [`Machine`], and carries out its actions.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use autossh_core::event::{Action, Event, Exit, Outcome};
use autossh_core::exit_policy::ChildExit;
use autossh_core::forwards::Listen;
use autossh_core::level::Level;
use autossh_core::machine::Machine;
use autossh_core::time::{Reading, SleepWatch, Time};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;

use crate::log::Log;
use crate::monitor::Monitor;
use crate::ssh::stderr::{SshOutput, SshStderr};
use crate::ssh::{self, Launcher, Report};
use crate::status::{LastTest, Status};
use crate::sys::clock::Clock;
use crate::sys::daemon::Readiness;
use crate::sys::pidfile::PidFile;
use crate::sys::sd_notify::Notifier;
use crate::sys::signals::Signals;
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
    /// The monitor's forwards, listener and test.
    pub monitor: Monitor,
    /// Network changes.
    pub network: Option<NetworkWatch>,
    /// Starts ssh.
    pub launcher: Launcher,
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

/// What is logged at its first occurrence alone.
#[derive(Debug, Default)]
struct LoggedOnce {
    directory_loss: bool,
    poll_failure: bool,
}

/// The loop and its state.
pub struct Supervisor {
    machine: Machine,
    resources: Resources,
    /// The ssh that has been started and not yet reaped.
    child: Option<Pid>,
    stderr: SshStderr,
    /// The network watch has something to read.
    network_readable: bool,
    /// Pending network changes are old, since they were not read for a while.
    network_is_stale: bool,
    logged: LoggedOnce,
    last_test: Option<LastTest>,
    up_since: Option<SystemTime>,
    last_status: String,
}

impl Supervisor {
    /// The loop for a new `machine`.
    pub fn new(machine: Machine, resources: Resources) -> Supervisor {
        Supervisor {
            machine,
            resources,
            child: None,
            stderr: SshStderr::for_log(),
            network_readable: false,
            network_is_stale: false,
            logged: LoggedOnce::default(),
            last_test: None,
            up_since: None,
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
        self.resources.notifier.send();
        exit
    }

    /// Ends ssh where the loop cannot go on.
    fn end_without_loop(&mut self) {
        let Some(child) = self.child else { return };
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
            if let Some(end) = self.handle(events, reading.now) {
                return Ok(end);
            }
            if self.machine.state().is_leaving() {
                self.resources.monitor.stop_listening();
            }
            self.tell_status();
            self.resources.notifier.flush(reading.now);
            self.wait(reading.now)?;
        }
    }

    /// Waits until something happens or something is due.
    fn wait(&mut self, now: Time) -> io::Result<()> {
        let heeds_network = self.resources.network.as_ref().and(self.machine.heeds_network_from());
        if heeds_network.is_none() {
            self.network_is_stale = true;
        } else if std::mem::take(&mut self.network_is_stale) {
            self.resources.network.as_ref().map(NetworkWatch::has_changed);
        }
        let listens = heeds_network.is_some_and(|from| from <= now);
        // At the end of a hold-off the changes that came meanwhile are read.
        let hold_off_end = heeds_network.filter(|from| *from > now);
        let notifier = self.resources.notifier.deadline();
        let deadlines = [self.machine.deadline(), self.resources.monitor.deadline(now), hold_off_end, notifier];
        let (alarm, timeout) = self.resources.clock.set_alarm(deadlines.into_iter().flatten().min(), now);

        let mut fds = vec![PollFd::new(self.resources.signals.as_fd(), PollFlags::POLLIN)];
        if let Some(network) = self.resources.network.as_ref().filter(|_| listens) {
            fds.push(PollFd::new(network.as_fd(), PollFlags::POLLIN));
        }
        fds.extend(alarm.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        fds.extend(self.stderr.interest().map(|(fd, flags)| PollFd::new(fd, flags)));
        fds.extend(self.resources.monitor.interest(now).map(|(fd, flags)| PollFd::new(fd, flags)));
        let polled = poll(&mut fds, timeout);
        let woke = |place: usize| polled.is_err() || fds.get(place).and_then(PollFd::any).unwrap_or_default();
        self.network_readable = listens && woke(1);
        match polled {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => self.wait_without_poll(errno),
        }
    }

    /// Waits where poll(2) has failed, for want of memory or of descriptors: a signal is seen at once, all else a little
    /// later.
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
            events.push(Event::Resumed);
        }
        // SIGCHLD announces the exit of a child. After the children are reaped the signals are read once more: a signal
        // that was sent to us and to ssh is then known together with the exit of ssh.
        loop {
            let signals: Vec<Signal> = self.resources.signals.pending().collect();
            if signals.is_empty() {
                break;
            }
            for signal in signals {
                self.signalled(signal, &mut events);
            }
            while let Some((pid, report)) = ssh::reap() {
                self.reaped(pid, report, reading.now, &mut events);
            }
        }
        let mut outputs = Vec::new();
        self.stderr.advance(reading.now, &mut |output| outputs.push(output));
        self.heard(outputs, &mut events);
        if let Some((outcome, took)) = self.resources.monitor.advance(reading.now) {
            if outcome == Outcome::Passed {
                self.last_test = Some(LastTest { at: SystemTime::now(), took });
            }
            events.push(Event::Tested(outcome));
        }
        if std::mem::take(&mut self.network_readable)
            && self.resources.network.as_ref().is_some_and(NetworkWatch::has_changed)
        {
            events.push(Event::NetworkChanged);
        }
        events
    }

    fn reaped(&mut self, pid: Pid, report: Report, now: Time, events: &mut Vec<Event>) {
        if self.child != Some(pid) {
            return;
        }
        match report {
            Report::Exited(ended) => {
                self.child = None;
                self.up_since = None;
                let mut outputs = Vec::new();
                self.stderr.ssh_exited(now, &mut |output| outputs.push(output));
                self.heard(outputs, events);
                if matches!(ended, ChildExit::Signal(_)) {
                    self.resources.terminal.restore();
                }
                events.push(Event::ChildExited(ended));
            }
            Report::Stopped(signal) if signal == Signal::SIGTSTP as i32 => {
                if self.resources.terminal.stop_with_ssh() {
                    let _ = kill(pid, Signal::SIGCONT);
                    events.push(Event::Resumed);
                }
            }
            Report::Stopped(_) => {}
        }
    }

    fn signalled(&mut self, signal: Signal, events: &mut Vec<Event>) {
        match signal {
            Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT => events.push(Event::Stop(signal as i32)),
            Signal::SIGUSR1 => events.push(Event::Restart),
            Signal::SIGALRM => events.push(Event::TestNow),
            Signal::SIGHUP => {
                self.resources.log.reopen();
                events.push(Event::Hangup);
            }
            Signal::SIGUSR2 => {
                let status = self.status();
                self.resources.log.line(Level::Info, &status);
            }
            Signal::SIGCONT => {
                // ssh may have been stopped together with us, but SIGCONT may have been sent to us alone.
                if let Some(child) = self.child {
                    let _ = kill(child, Signal::SIGCONT);
                }
                events.push(Event::Resumed);
            }
            _ => {}
        }
    }

    /// Handles what ssh wrote to stderr.
    fn heard(&mut self, outputs: Vec<SshOutput>, events: &mut Vec<Event>) {
        for output in outputs {
            match output {
                SshOutput::Line(line) => drop(self.resources.log.line(Level::Info, &format!("ssh: {line}"))),
                SshOutput::RemoteRefused(Listen::Port(port)) if Some(port) == self.resources.monitor.remote_port() => {
                    events.push(Event::ForwardRefused);
                }
                SshOutput::RemoteRefused(_) | SshOutput::LocalRefused(_) => {}
                SshOutput::Unreadable(why) => self.stderr_lost(&why),
            }
        }
    }

    /// Passes the events to the machine one by one and carries out its actions. Returns how to exit, once decided.
    fn handle(&mut self, events: Vec<Event>, now: Time) -> Option<Exit> {
        let mut events = VecDeque::from(events);
        while let Some(event) = events.pop_front() {
            let mut reason = String::new();
            for action in self.machine.handle(event, now) {
                match action {
                    Action::Start => events.push_front(self.start()),
                    Action::Term => self.signal_child(ssh::ask_to_end),
                    Action::Kill => self.signal_child(|child| kill(child, Signal::SIGKILL)),
                    Action::Test(trigger) => {
                        if let Err(outcome) = self.resources.monitor.begin(trigger, now) {
                            events.push_front(Event::Tested(outcome));
                        }
                    }
                    Action::DropTest => self.resources.monitor.drop_test(),
                    Action::TouchPidFile => {
                        if let Some(pid_file) = &self.resources.pid_file {
                            pid_file.touch();
                        }
                    }
                    Action::NotifyReady => self.resources.notifier.ready(),
                    Action::NotifyStopping => self.resources.notifier.stopping(),
                    Action::Log(level, text) => {
                        self.resources.log.line(level, &text);
                        reason = text;
                    }
                    Action::Explain(level, text) => {
                        self.resources.log.explain(level, &text);
                        reason = text;
                    }
                    Action::Exit(end) => {
                        if matches!(end, Exit::Status(1..)) {
                            self.resources.notifier.status(&reason);
                        }
                        return Some(end);
                    }
                }
            }
        }
        None
    }

    /// Sends ssh a signal that is to end it.
    fn signal_child(&mut self, send: impl Fn(Pid) -> nix::Result<()>) {
        if let Some((child, Err(errno))) = self.child.map(|child| (child, send(child))) {
            let text = format!("cannot end ssh {child}: {}", error_text(&errno.into()));
            self.resources.log.line(Level::Error, &text);
        }
    }

    fn stderr_lost(&mut self, why: &str) {
        self.resources.log.line(Level::Warning, &format!("cannot read ssh's stderr: {why}"));
    }

    /// Starts ssh. Returns the event that says whether that worked.
    fn start(&mut self) -> Event {
        match self.try_to_start() {
            Ok(pid) => Event::Started(pid.as_raw()),
            Err(error) => {
                let program = &self.resources.launcher.program;
                Event::NotStarted(format!("{program:?}: {}", error_text(&error)))
            }
        }
    }

    fn try_to_start(&mut self) -> io::Result<Pid> {
        let (args, index) = &self.resources.args;
        let (before, after) = args.split_at(args.len().min(*index));
        let forwards = if self.machine.is_monitored() { self.resources.monitor.forwards()? } else { Vec::new() };
        self.resources.terminal.save();
        let child =
            self.resources.launcher.start(before.iter().cloned().chain(forwards).chain(after.iter().cloned()))?;
        self.child = Some(child.pid);
        self.up_since = Some(SystemTime::now());
        if let Some(Err(error)) = child.stderr.map(|pipe| self.stderr.attach(pipe)) {
            self.stderr_lost(&error_text(&error));
        }
        match self.resources.readiness.take().map(Readiness::notify_ready) {
            Some(Ok(())) => self.resources.log.let_go_of_stderr(),
            Some(Err(error)) => {
                // The caller takes it that nothing has been started, so nothing may stay.
                let text = format!("cannot report that ssh runs: {}", error_text(&error));
                self.resources.log.explain(Level::Error, &text);
                let _ = raise(Signal::SIGTERM);
            }
            None => {}
        }
        if let (Some(errno), false) = (child.lost_directory, self.logged.directory_loss) {
            self.logged.directory_loss = true;
            let directory = &self.resources.launcher.background;
            let text =
                format!("cannot enter {:?}, starting ssh in /: {}", directory.as_deref(), error_text(&errno.into()));
            self.resources.log.line(Level::Warning, &text);
        }
        Ok(child.pid)
    }

    /// The status in one line.
    fn status(&self) -> String {
        let status = Status {
            state: self.machine.state(),
            starts: self.machine.starts(),
            monitored: self.machine.is_monitored(),
            up_since: self.up_since,
            last_test: self.last_test,
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
