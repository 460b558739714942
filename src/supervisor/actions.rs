//! What the loop does: the actions of the [`Machine`](autossh_core::machine::Machine), carried out.

use std::collections::VecDeque;
use std::io;

use autossh_core::event::{Action, Event, Exit};
use autossh_core::level::Level;
use autossh_core::link::Link;
use autossh_core::time::Time;
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;

use super::Supervisor;
use crate::monitor::Monitor;
use crate::session::Session;
use crate::ssh;
use crate::ssh::connection::can_bind;
use crate::ssh::spawn::Child;
use crate::sys::daemon::Readiness;
use crate::text::error_text;

impl Supervisor {
    /// Passes the events to the machine one by one and carries out its actions. Returns how to exit, once decided.
    pub(super) fn handle(&mut self, events: Vec<Event>, now: Time) -> Option<Exit> {
        let mut events = VecDeque::from(events);
        while let Some(event) = events.pop_front() {
            if matches!(event, Event::Started(_)) {
                self.release_caller();
            }
            let mut reason = String::new();
            for action in self.machine.handle(event, now) {
                match action {
                    Action::Start { monitored } => self.start(monitored, &mut events),
                    Action::Term => self.signal_child(ssh::ask_to_end),
                    Action::Kill => self.signal_child(|child| kill(child, Signal::SIGKILL)),
                    Action::Test(trigger) => {
                        if let Some(Err(outcome)) = self.resources.monitor.as_mut().map(|m| m.begin(trigger, now)) {
                            events.push_front(Event::Tested(outcome));
                        }
                    }
                    Action::DropTest => {
                        if let Some(monitor) = &mut self.resources.monitor {
                            monitor.drop_test();
                        }
                    }
                    Action::CloseMonitor => self.resources.monitor = None,
                    Action::FindLink => {
                        let found = self.session.as_mut().map_or(Link::Unknown, Session::find_link);
                        events.push_front(Event::LinkSeen(found));
                    }
                    Action::CheckAddress => {
                        let lost = self.session.as_ref().and_then(Session::lost_address);
                        events.push_front(Event::AddressChecked(lost));
                    }
                    Action::CheckLocal(addresses) => {
                        let free = addresses.into_iter().all(can_bind);
                        events.push_front(Event::LocalChecked(free));
                    }
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
                    Action::Exit(exit) => {
                        if matches!(exit, Exit::Status(1..)) {
                            self.resources.notifier.status(&reason);
                        }
                        return Some(exit);
                    }
                }
            }
        }
        None
    }

    /// Forks an ssh. Its session reports what becomes of it.
    fn start(&mut self, monitored: bool, events: &mut VecDeque<Event>) {
        match self.try_to_start(monitored, events) {
            Ok(mut child) => {
                self.session = Some(Session::new(&mut child));
                let attached =
                    self.resources.stderr.as_mut().zip(child.stderr).map(|(stderr, pipe)| stderr.attach(pipe));
                if let Some(Err(error)) = attached {
                    self.stderr_lost(&error_text(&error));
                }
            }
            Err(error) => {
                let program = &self.resources.launcher.program;
                events.push_back(Event::NotStarted(format!("{program:?}: {}", error_text(&error))));
            }
        }
    }

    fn try_to_start(&mut self, monitored: bool, events: &mut VecDeque<Event>) -> io::Result<Child> {
        let mut monitor = self.resources.monitor.as_mut();
        // Ports and descriptors of the last monitor must not keep this ssh from starting.
        if let Some(monitor) = &mut monitor {
            monitor.release_ports();
        }
        let pipes = self.resources.launcher.pipes()?;
        let forwards = match monitor.filter(|_| monitored).map(Monitor::forwards) {
            None => Vec::new(),
            Some(Ok(forwards)) => forwards,
            Some(Err(error)) => {
                events.push_back(Event::MonitorUnavailable(format!("no port for the monitor: {}", error_text(&error))));
                Vec::new()
            }
        };
        let (args, index) = &self.resources.args;
        let (before, after) = args.split_at(args.len().min(*index));
        self.resources.terminal.save();
        self.resources.launcher.start(pipes, before.iter().cloned().chain(forwards).chain(after.iter().cloned()))
    }

    /// Sends ssh a signal to terminate it.
    fn signal_child(&mut self, send: impl Fn(Pid) -> nix::Result<()>) {
        let child = self.session.as_ref().map(Session::pid);
        if let Some((child, Err(errno))) = child.map(|child| (child, send(child))) {
            let text = format!("cannot end ssh {child}: {}", error_text(&errno.into()));
            self.resources.log.line(Level::Error, &text);
        }
    }

    /// ssh has been executed: the caller of -f need not wait any longer.
    fn release_caller(&mut self) {
        match self.resources.readiness.take().map(Readiness::notify_ready) {
            Some(Ok(())) => self.resources.log.let_go_of_stderr(),
            Some(Err(error)) => {
                // The caller assumes that nothing was started, so nothing may stay.
                let text = format!("cannot report that ssh runs: {}", error_text(&error));
                self.resources.log.explain(Level::Error, &text);
                let _ = raise(Signal::SIGTERM);
            }
            None => {}
        }
    }
}
