//! What each event does in each state. Pure: no clock, no process, no socket.
//!
//! The caller passes events in the order of their priority, [`Event::Tick`] last, and carries out the actions that are
//! returned.

mod lifecycle;
mod network;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::backoff::HoldOff;
use crate::event::{Action, Event, Exit, TestTrigger};
use crate::forwards::{Forwards, Step};
use crate::health::{Health, Passed, Verdict};
use crate::level::Level;
use crate::link::{Due, LinkWatch};
use crate::messages;
use crate::outage::Outage;
use crate::rules::Rules;
use crate::state::{State, StopPhase, Then};
use crate::time::Time;
use crate::timers::Timer;

/// Time after SIGKILL until autossh exits without ssh: the kernel may keep it without limit.
const KILL_TIME: Duration = Duration::from_secs(5);

/// The state machine of autossh.
#[derive(Debug)]
pub struct Machine {
    pub(crate) rules: Rules,
    random: fn() -> u64,
    pub(crate) started_at: Time,
    pub(crate) state: State,
    starts: u64,
    /// Number of starts that were made for a forward, and do not count.
    retries: u64,
    tries: u32,
    last_start: Time,
    hold_off: HoldOff,
    /// Network changes are acted on from then on, while ssh runs.
    coalesce_until: Time,
    pub(crate) health: Health,
    pub(crate) forwards: Forwards,
    pub(crate) link: Option<LinkWatch>,
    pub(crate) outage: Outage,
    /// systemd still waits for readiness.
    pub(crate) readiness_pending: bool,
    normal_end_logged: bool,
}

impl Machine {
    /// Starts at `started_at`; `random` provides the jitter; `readiness_pending` if systemd waits for readiness.
    pub fn new(rules: Rules, started_at: Time, random: fn() -> u64, readiness_pending: bool) -> Machine {
        Machine {
            random,
            started_at,
            state: State::Waiting { until: started_at },
            starts: 0,
            retries: 0,
            tries: 0,
            last_start: Time::ZERO,
            hold_off: HoldOff::new(rules.poll),
            coalesce_until: Time::ZERO,
            health: Health::new(&rules),
            forwards: Forwards::new(rules.forwards.clone(), rules.poll),
            link: None,
            outage: Outage::default(),
            readiness_pending,
            normal_end_logged: false,
            rules,
        }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// How ssh has failed last, if no working session has followed.
    pub fn last_failure(&self) -> Option<&str> {
        self.outage.last()
    }

    /// How many times ssh was started.
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// Whether connections are tested, if a monitor is available.
    pub fn is_monitored(&self) -> bool {
        self.health.is_monitored()
    }

    /// The last test that the running ssh has passed.
    pub fn last_passed(&self) -> Option<Passed> {
        self.health.last_passed()
    }

    /// The refused forwards of the running ssh, as text.
    pub fn refused_forwards(&self) -> Option<String> {
        self.forwards.refused_text()
    }

    /// When [`Event::Tick`] is due, if nothing else happens.
    pub fn deadline(&self) -> Option<Time> {
        Timer::ALL.into_iter().filter_map(|timer| self.due_at(timer)).min()
    }

    /// Handles `event` at `now`, and returns what to do.
    pub fn handle(&mut self, event: Event, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Stop(signal) => self.stop(signal, now, &mut actions),
            Event::Restart => self.restart(now, &mut actions),
            Event::MonitorUnavailable(why) => {
                self.health.unavailable();
                actions.push(Action::warning(messages::no_monitor(&why)));
            }
            Event::Started(pid) => self.started(pid, now, &mut actions),
            Event::NotStarted(why) => self.not_started(&why, now, &mut actions),
            Event::MonitorRefused => self.health.forward_refused(&mut actions),
            Event::Refused(refusal) => {
                // A ControlMaster offers its connection only after the login, which may be after the last look.
                if self.link.is_some() && !self.forwards.is_refused() {
                    actions.push(Action::FindLink);
                }
                self.forwards.refused(refusal, now);
            }
            Event::ChildExited(exit, said) => self.child_exited(exit, said.as_deref(), now, &mut actions),
            Event::Slept => {
                self.hold_off.reset();
                self.health.resumed(true, now, &mut actions);
            }
            Event::Continued => self.health.resumed(false, now, &mut actions),
            Event::Tested(outcome) => match self.health.tested(&outcome, now, &mut actions) {
                Verdict::Nothing => {}
                Verdict::Healthy => {
                    if let Some(link) = &mut self.link {
                        link.logged_in();
                    }
                    self.healthy(&mut actions);
                    self.forwards.proven(&mut actions);
                    self.notify_ready(&mut actions);
                }
                Verdict::Down => {
                    self.outage.failed("port down".into());
                    self.end_ssh(Then::Restart, now, &mut actions);
                }
            },
            Event::LinkSeen(link) => self.link_seen(link, now),
            Event::AddressChecked(gone) => self.address_checked(gone, now, &mut actions),
            Event::LocalChecked(free) => {
                if self.forwards.local_checked(free, now, &mut actions) {
                    self.end_ssh(Then::Retry, now, &mut actions);
                }
            }
            Event::NetworkChanged => self.network_changed(now, &mut actions),
            Event::Hangup => self.hangup(now, &mut actions),
            Event::TestNow => match self.state {
                State::Waiting { .. } => self.state = State::Waiting { until: now },
                State::Running { .. } => self.health.run_now(now),
                State::Starting | State::Stopping { .. } | State::Over => {}
            },
            Event::Tick => {
                for timer in Timer::ALL {
                    if self.due_at(timer).is_some_and(|at| at <= now) {
                        self.expired(timer, now, &mut actions);
                    }
                }
            }
        }
        actions
    }

    /// A timer has expired.
    fn expired(&mut self, timer: Timer, now: Time, actions: &mut Vec<Action>) {
        match (timer, self.state) {
            (Timer::Readiness, _) => self.notify_ready(actions),
            (Timer::Lifetime, _) => {
                actions.push(Action::info("exceeded maximum time to live, shutting down"));
                self.end_ssh(Then::Exit(Exit::Status(0)), now, actions);
            }
            (Timer::Start, _) => self.start(now, actions),
            (Timer::Stop, State::Stopping { then, phase: StopPhase::Term(_) }) => {
                actions.push(Action::info("ssh does not end, killing it"));
                actions.push(Action::Kill);
                self.state = State::Stopping { then, phase: StopPhase::Kill(now.saturating_add(KILL_TIME)) };
            }
            (Timer::Stop, State::Stopping { then: Then::Exit(exit), phase: StopPhase::Kill(_) }) => {
                actions.push(Action::Log(Level::Error, "ssh does not end even when killed, leaving it".into()));
                self.exit(exit, actions);
            }
            (Timer::Stop, _) => {}
            (Timer::Healthy, _) => self.healthy(actions),
            (Timer::Forwards, _) => match self.forwards.take(now, actions) {
                Step::None => {}
                Step::Restart => self.end_ssh(Then::Retry, now, actions),
                Step::CheckLocal(addresses) => actions.push(Action::CheckLocal(addresses)),
            },
            (Timer::Link, _) => match self.link.as_mut().and_then(|link| link.take(now)) {
                Some(Due::Look) => actions.push(Action::FindLink),
                Some(Due::Check) => actions.push(Action::CheckAddress),
                None => {}
            },
            (Timer::Test, _) => {
                let due = self.health.take(now);
                if due == Some(TestTrigger::Change) {
                    self.hold_off.arm(now);
                }
                actions.extend(due.map(Action::Test));
            }
        }
    }

    fn stop(&mut self, signal: i32, now: Time, actions: &mut Vec<Action>) {
        let exit = Exit::Signal(signal);
        match &mut self.state {
            State::Over => {}
            State::Waiting { .. } | State::Starting | State::Running { .. } => {
                actions.push(Action::info(messages::stop_signal(signal)));
                self.end_ssh(Then::Exit(exit), now, actions);
            }
            State::Stopping { then: Then::Exit(Exit::Signal(_)), phase } => {
                actions.push(Action::info(format!("received signal to exit ({signal}) again, killing ssh")));
                *phase = StopPhase::Kill(now.saturating_add(KILL_TIME));
                actions.push(Action::Kill);
            }
            State::Stopping { .. } => {
                actions.push(Action::info(messages::stop_signal(signal)));
                self.end_ssh(Then::Exit(exit), now, actions);
            }
        }
    }

    fn restart(&mut self, now: Time, actions: &mut Vec<Action>) {
        match self.state {
            State::Waiting { .. } => {
                actions.push(Action::info("signalled to start ssh now"));
                self.state = State::Waiting { until: now };
            }
            // The sender of the signal may already know that it is executed.
            State::Starting | State::Running { .. } => {
                actions.push(Action::info("signalled to kill and restart ssh"));
                self.end_ssh(Then::Restart, now, actions);
            }
            // A start or something more important is under way.
            State::Stopping { .. } | State::Over => {}
        }
    }

    fn hangup(&mut self, now: Time, actions: &mut Vec<Action>) {
        match self.state {
            State::Waiting { until } => {
                self.tries = 0;
                self.state = State::Waiting { until: now };
                if until > now {
                    actions.push(Action::info("prodded: starting ssh now"));
                }
            }
            State::Running { .. } => self.forwards.restart_series(now),
            // The next start will not wait.
            State::Stopping { then: Then::Restart, .. } => self.tries = 0,
            State::Starting | State::Stopping { .. } | State::Over => {}
        }
    }

    /// The running ssh works: traffic flows, or it has lived long enough.
    fn healthy(&mut self, actions: &mut Vec<Action>) {
        self.hold_off.reset();
        actions.extend(self.outage.over().map(Action::info));
    }

    fn notify_ready(&mut self, actions: &mut Vec<Action>) {
        if self.readiness_pending {
            self.readiness_pending = false;
            actions.push(Action::NotifyReady);
        }
    }
}

#[cfg(test)]
mod tests;
