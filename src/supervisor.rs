//! The loop: one wait for everything, then events in, decisions ([`Supervision`]), effects out.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::background::Word;
use crate::chatter::{Chatter, Heard};
use crate::clock::Clock;
use crate::event::{Action, End, Event, Outcome};
use crate::level::Level;
use crate::log::{Log, stamp};
use crate::monitor::Monitor;
use crate::network::Network;
use crate::pidfile::PidFile;
use crate::policy::Ended;
use crate::signals::Signals;
use crate::ssh::{self, Launcher, Report};
use crate::state::State;
use crate::supervision::Supervision;
use crate::systemd::Notifier;
use crate::terminal::Terminal;
use crate::text::{in_units, plain};
use crate::time::{Reading, SleepWatch, Time};

/// Everything that the loop works with.
pub struct Supervisor {
    /// What decides.
    pub state: Supervision,
    /// The log.
    pub log: Log,
    /// The signals that come.
    pub signals: Signals,
    /// The clock and its alarm.
    pub clock: Clock,
    /// The monitor's forwards, listener and test.
    pub monitor: Monitor,
    /// News of the network.
    pub network: Option<Network>,
    /// Starts ssh.
    pub launcher: Launcher,
    /// The words for ssh, and where among them the monitor's forwards go.
    pub words: (Vec<OsString>, usize),
    /// The terminal that ssh may leave in disorder.
    pub terminal: Terminal,
    /// systemd, if it listens.
    pub notifier: Notifier,
    /// The pid file, if there is one.
    pub pid_file: Option<PidFile>,
    /// The caller of -f, as long as it waits.
    pub word: Option<Word>,
    /// What the loop itself keeps.
    pub own: Own,
}

/// What the loop keeps from one round to the next.
#[derive(Debug, Default)]
pub struct Own {
    /// The ssh that has been started and not yet reaped.
    child: Option<Pid>,
    chatter: Option<Chatter>,
    /// There are news of the network.
    network_spoke: bool,
    /// News of the network were not read for a while, and are old.
    network_is_stale: bool,
    folder_loss_said: bool,
    last_test: Option<(SystemTime, Duration)>,
    up_since: Option<SystemTime>,
    told: String,
}

impl Supervisor {
    /// Supervises until all is done, and answers how to end.
    ///
    /// # Errors
    /// The kernel refuses to wait or to tell the time; ssh is told to end then.
    pub fn run(&mut self) -> Result<End, Errno> {
        let ended = self.rounds();
        if let (Err(_), Some(child)) = (&ended, self.own.child) {
            ssh::ask_to_end(child);
        }
        ended
    }

    fn rounds(&mut self) -> Result<End, Errno> {
        let mut sleep_watch = SleepWatch::new(self.clock.read()?);
        loop {
            let reading = self.clock.read()?;
            let mut events = self.events(reading, &mut sleep_watch);
            events.sort_unstable();
            events.push(Event::Tick);
            if let Some(end) = self.handle(events, reading.now) {
                return Ok(end);
            }
            self.tell_status();
            self.wait(reading.now)?;
        }
    }

    /// Waits until something happens or something is due.
    fn wait(&mut self, now: Time) -> Result<(), Errno> {
        let heeds_network = self.network.as_ref().and(self.state.heeds_network_from());
        if heeds_network.is_none() {
            self.own.network_is_stale = true;
        } else if std::mem::take(&mut self.own.network_is_stale) {
            self.network.as_ref().map(Network::has_changed);
        }
        let listens = heeds_network.is_some_and(|from| from <= now);
        // The end of a hold-off is an event of its own: what has come meanwhile is read then.
        let hold_off_end = heeds_network.filter(|from| *from > now);
        let deadlines = [self.state.deadline(), self.monitor.deadline(now), hold_off_end];
        let timeout = self.clock.set_alarm(deadlines.into_iter().flatten().min(), now);

        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.clock.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(network) = self.network.as_ref().filter(|_| listens) {
            fds.push(PollFd::new(network.as_fd(), PollFlags::POLLIN));
        }
        if let Some(chatter) = &self.own.chatter {
            fds.push(PollFd::new(chatter.as_fd(), PollFlags::POLLIN));
        }
        fds.extend(self.monitor.interest(now).map(|(fd, flags)| PollFd::new(fd, flags)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno),
        }
        let woke = |place: usize| fds.get(place).and_then(PollFd::any).unwrap_or_default();
        self.own.network_spoke = listens && woke(2);
        Ok(())
    }

    /// What has happened, in no order.
    fn events(&mut self, reading: Reading, sleep_watch: &mut SleepWatch) -> Vec<Event> {
        let mut events = Vec::new();
        if sleep_watch.slept(reading) {
            events.push(Event::Resumed);
        }
        // A child's death comes with a signal. Each look at the children is followed by one more at the signals: one that
        // was sent to us and ssh alike is then known along with ssh's death.
        loop {
            let signals: Vec<Signal> = self.signals.pending().collect();
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
        if let Some(chatter) = self.own.chatter.take() {
            self.own.chatter = chatter.read(reading.now, &mut |heard| self.heard(heard, &mut events));
        }
        if let Some((outcome, took)) = self.monitor.advance(reading.now) {
            if outcome == Outcome::Passed {
                self.own.last_test = Some((SystemTime::now(), took));
            }
            events.push(Event::Tested(outcome));
        }
        if std::mem::take(&mut self.own.network_spoke) && self.network.as_ref().is_some_and(Network::has_changed) {
            events.push(Event::NetworkChanged);
        }
        events
    }

    fn reaped(&mut self, pid: Pid, report: Report, now: Time, events: &mut Vec<Event>) {
        if self.own.child != Some(pid) {
            return;
        }
        match report {
            Report::Ended(ended) => {
                self.own.child = None;
                self.own.up_since = None;
                if let Some(chatter) = self.own.chatter.take() {
                    chatter.finish(now, &mut |heard| self.heard(heard, events));
                }
                if matches!(ended, Ended::Signal(_)) {
                    self.terminal.restore();
                }
                events.push(Event::Ended(ended));
            }
            Report::Stopped(signal) if signal == Signal::SIGTSTP as i32 => {
                if self.terminal.stop_with_ssh() {
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
                self.log.reopen();
                events.push(Event::Prod);
            }
            Signal::SIGUSR2 => {
                let status = self.status();
                self.log.line(Level::Info, &status);
            }
            Signal::SIGCONT => {
                // Whoever stopped us may have stopped ssh with us, but need not continue it.
                if let Some(child) = self.own.child {
                    let _ = kill(child, Signal::SIGCONT);
                }
                events.push(Event::Resumed);
            }
            _ => {}
        }
    }

    /// What ssh has said in the background.
    fn heard(&mut self, heard: Heard, events: &mut Vec<Event>) {
        match heard {
            Heard::Line(line) => drop(self.log.line(Level::Info, &format!("ssh: {line}"))),
            Heard::ForwardFailed(port) if Some(port) == self.monitor.remote_port() => {
                events.push(Event::ForwardRefused);
            }
            Heard::ForwardFailed(_) => {}
        }
    }

    /// Hands the events to the state one by one and does what it says. Answers how to end, once that is so.
    fn handle(&mut self, events: Vec<Event>, now: Time) -> Option<End> {
        let mut events = VecDeque::from(events);
        while let Some(event) = events.pop_front() {
            for action in self.state.handle(event, now) {
                match action {
                    Action::Start => events.push_front(self.start()),
                    Action::Term => {
                        if let Some(child) = self.own.child {
                            ssh::ask_to_end(child);
                        }
                    }
                    Action::Kill => {
                        if let Some(child) = self.own.child {
                            let _ = kill(child, Signal::SIGKILL);
                        }
                    }
                    Action::Test(purpose) => {
                        if let Err(outcome) = self.monitor.begin(purpose, now) {
                            events.push_front(Event::Tested(outcome));
                        }
                    }
                    Action::DropTest => self.monitor.drop_test(),
                    Action::TouchPidFile => {
                        if let Some(pid_file) = &self.pid_file {
                            pid_file.touch();
                        }
                    }
                    Action::Ready => self.notifier.ready(),
                    Action::Stopping => self.notifier.stopping(),
                    Action::Log(level, text) => drop(self.log.line(level, &text)),
                    Action::Explain(level, text) => self.log.explain(level, &text),
                    Action::Exit(end) => return Some(end),
                }
            }
        }
        None
    }

    /// Starts ssh, and answers whether that worked.
    fn start(&mut self) -> Event {
        match self.try_to_start() {
            Ok(pid) => Event::Started(pid.as_raw()),
            Err(error) => {
                let program = &self.launcher.program;
                Event::NotStarted(format!("{program:?}: {}", plain(&error)))
            }
        }
    }

    fn try_to_start(&mut self) -> io::Result<Pid> {
        let (words, place) = &self.words;
        let (before, after) = words.split_at(words.len().min(*place));
        let forwards = if self.state.is_monitored() { self.monitor.forwards()? } else { Vec::new() };
        self.terminal.save();
        let child = self.launcher.start(before.iter().cloned().chain(forwards).chain(after.iter().cloned()))?;
        self.own.child = Some(child.pid);
        self.own.up_since = Some(SystemTime::now());
        self.own.chatter = child.stderr.map(Chatter::new).transpose().unwrap_or_default();
        if let Some(word) = self.word.take() {
            word.give();
            self.log.let_go_of_stderr();
        }
        if let (Some(errno), false) = (child.lost_folder, self.own.folder_loss_said) {
            self.own.folder_loss_said = true;
            let folder = &self.launcher.background;
            let text = format!("cannot enter {:?}, starting ssh in /: {}", folder.as_deref(), plain(&errno.into()));
            self.log.line(Level::Warning, &text);
        }
        Ok(child.pid)
    }

    /// What goes on, in a line for people.
    fn status(&self) -> String {
        let starts = self.state.starts();
        let now = self.clock.read().map(|reading| reading.now).unwrap_or_default();
        let time = |time| stamp(time).split_off("YYYY/MM/DD ".len());
        match self.state.state() {
            State::Running { pid, .. } => {
                let since = self.own.up_since.map(stamp).unwrap_or_default();
                let test = match self.own.last_test {
                    _ if !self.state.is_monitored() => "not monitored".to_owned(),
                    Some((at, took)) => {
                        let took = in_units(took, Duration::from_millis(1));
                        format!("last test passed at {}, round trip {took} ms", time(at))
                    }
                    None => "no test has passed yet".to_owned(),
                };
                format!("ssh {pid} up since {since}, starts {starts}; {test}")
            }
            State::Waiting { until } => {
                let at = SystemTime::now().checked_add(until.saturating_sub(now));
                format!("waiting until {} to start ssh; starts so far {starts}", at.map(time).unwrap_or_default())
            }
            State::Starting => "starting ssh".to_owned(),
            State::Ending { .. } => format!("ending ssh; starts so far {starts}"),
            State::Over => "ending".to_owned(),
        }
    }

    fn tell_status(&mut self) {
        if self.notifier.is_heard() {
            let status = self.status();
            if status != self.own.told {
                self.notifier.status(&status);
                self.own.told = status;
            }
        }
    }
}
