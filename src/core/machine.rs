//! What each event does in each state. Pure: no clock, no process, no socket.
//!
//! The caller passes events in the order of their priority, [`Event::Tick`] last, and carries out the actions that are
//! returned.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use crate::backoff::{self, HoldOff};
use crate::event::{Action, Event, Exit};
use crate::exit_policy::{self, ChildExit, Decision, StartPhase};
use crate::health::{Health, Verdict};
use crate::level::Level;
use crate::messages;
use crate::rules::Rules;
use crate::state::{State, StopPhase, Then};
use crate::test_schedule::TestTrigger;
use crate::time::Time;
use crate::time::in_units;

/// Time from SIGTERM to SIGKILL when ssh is terminated (autossh(1), SIGNALS).
const TERM_TIME: Duration = Duration::from_secs(5);
/// Time after SIGKILL until autossh exits without ssh: the kernel may keep it without limit.
const KILL_TIME: Duration = Duration::from_secs(5);
/// Time from a network change to the end of a backoff wait, since an address and its route are two changes.
const START_SETTLE: Duration = Duration::from_millis(200);
/// Time after which an ssh without a monitor counts as up (autossh(1), SYSTEMD).
const UP_TIME: Duration = Duration::from_secs(1);
/// Time after which readiness is reported in any case, so that an unreachable server does not delay the boot.
const READY_TIME: Duration = Duration::from_secs(30);

/// The state machine of autossh.
#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    random: fn() -> u64,
    started_at: Time,
    state: State,
    starts: u64,
    tries: u32,
    last_start: Time,
    hold_off: HoldOff,
    health: Health,
    /// systemd still waits for readiness.
    readiness_pending: bool,
    normal_end_said: bool,
}

impl Machine {
    /// Starts at `started_at`; `random` provides the jitter; `readiness_pending` if systemd waits for readiness.
    pub fn new(rules: Rules, started_at: Time, random: fn() -> u64, readiness_pending: bool) -> Machine {
        Machine {
            random,
            started_at,
            state: State::Waiting { until: started_at },
            starts: 0,
            tries: 0,
            last_start: Time::ZERO,
            hold_off: HoldOff::new(rules.poll),
            health: Health::new(&rules),
            readiness_pending,
            normal_end_said: false,
            rules,
        }
    }

    /// The current state.
    pub fn state(&self) -> State {
        self.state
    }

    /// How many times ssh was started.
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// Whether ssh is to be given the monitor's forwards.
    pub fn is_monitored(&self) -> bool {
        self.health.is_monitored()
    }

    /// From when on network changes are acted on, if they are at all.
    pub fn heeds_network_from(&self) -> Option<Time> {
        let heeds = match self.state {
            State::Waiting { .. } => true,
            State::Running { .. } => self.health.has_consequence(),
            State::Starting | State::Stopping { .. } | State::Over => false,
        };
        (heeds && self.rules.watch_network).then(|| self.hold_off.until())
    }

    /// When [`Event::Tick`] is due, if nothing else happens.
    pub fn deadline(&self) -> Option<Time> {
        let next = match self.state {
            State::Waiting { until } => Some(until),
            State::Running { .. } => earliest(self.health.due(), self.ready_at()),
            State::Stopping { then: Then::Restart, phase: StopPhase::Kill(_) } => None,
            State::Stopping { phase: StopPhase::Term(at) | StopPhase::Kill(at), .. } => Some(at),
            State::Starting | State::Over => return None,
        };
        let ready = self.readiness_pending.then(|| self.started_at.saturating_add(READY_TIME));
        earliest(earliest(next, ready), self.lifetime_deadline().filter(|_| !self.state.is_leaving()))
    }

    /// Handles `event` at `now`, and returns what to do.
    pub fn handle(&mut self, event: Event, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Stop(signal) => self.stop(signal, now, &mut actions),
            Event::Restart => self.restart(now, &mut actions),
            Event::Started(pid) => self.started(pid, now, &mut actions),
            Event::NotStarted(why) => self.not_started(&why, now, &mut actions),
            Event::ForwardRefused => self.health.forward_refused(&mut actions),
            Event::ChildExited(ended) => self.ended(ended, now, &mut actions),
            Event::Resumed => {
                self.hold_off.reset();
                self.health.resumed(now, &mut actions);
            }
            Event::Tested(outcome) => match self.health.tested(&outcome, now, &mut actions) {
                Verdict::Nothing => {}
                Verdict::Healthy => {
                    self.hold_off.reset();
                    self.ready(&mut actions);
                }
                Verdict::Down => self.end_ssh(Then::Restart, now, &mut actions),
            },
            Event::NetworkChanged => self.network_changed(now, &mut actions),
            Event::Hangup => self.prod(now, &mut actions),
            Event::TestNow => match self.state {
                State::Waiting { .. } => self.state = State::Waiting { until: now },
                State::Running { .. } => self.health.run_now(now),
                State::Starting | State::Stopping { .. } | State::Over => {}
            },
            Event::Tick => self.tick(now, &mut actions),
        }
        actions
    }

    fn stop(&mut self, signal: i32, now: Time, actions: &mut Vec<Action>) {
        let end = Exit::Signal(signal);
        match &mut self.state {
            State::Over => {}
            State::Waiting { .. } | State::Starting | State::Running { .. } => {
                actions.push(Action::info(messages::stop_signal(signal)));
                self.end_ssh(Then::Exit(end), now, actions);
            }
            State::Stopping { then: Then::Exit(Exit::Signal(_)), phase } => {
                actions.push(Action::info(format!("received signal to exit ({signal}) again, killing ssh")));
                *phase = StopPhase::Kill(now.saturating_add(KILL_TIME));
                actions.push(Action::Kill);
            }
            State::Stopping { then, .. } => {
                actions.push(Action::info(messages::stop_signal(signal)));
                *then = Then::Exit(end);
            }
        }
    }

    fn restart(&mut self, now: Time, actions: &mut Vec<Action>) {
        match self.state {
            State::Waiting { .. } => {
                actions.push(Action::info("signalled to start ssh now"));
                self.state = State::Waiting { until: now };
            }
            State::Running { .. } => {
                actions.push(Action::info("signalled to kill and restart ssh"));
                self.end_ssh(Then::Restart, now, actions);
            }
            // A start or something more important is under way.
            State::Starting | State::Stopping { .. } | State::Over => {}
        }
    }

    fn prod(&mut self, now: Time, actions: &mut Vec<Action>) {
        match self.state {
            State::Waiting { until } => {
                self.tries = 0;
                self.state = State::Waiting { until: now };
                if until > now {
                    actions.push(Action::info("prodded: starting ssh now"));
                }
            }
            // The next start will not wait.
            State::Stopping { then: Then::Restart, .. } => self.tries = 0,
            State::Starting | State::Running { .. } | State::Stopping { .. } | State::Over => {}
        }
    }

    fn started(&mut self, pid: i32, now: Time, actions: &mut Vec<Action>) {
        actions.push(Action::info(format!("ssh child pid is {pid}")));
        self.state = State::Running { pid, since: now };
        self.health.started(now, self.readiness_pending);
    }

    fn not_started(&mut self, why: &str, now: Time, actions: &mut Vec<Action>) {
        let text = format!("cannot start ssh: {why}");
        if self.starts <= 1 {
            actions.push(Action::Explain(Level::Error, text));
            self.exit(Exit::Status(1), actions);
        } else {
            actions.push(Action::Log(Level::Error, text));
            self.retry(now, actions);
        }
    }

    fn ended(&mut self, ended: ChildExit, now: Time, actions: &mut Vec<Action>) {
        match self.state {
            State::Running { since, .. } => {
                let lived = now.saturating_sub(since);
                self.health.ended(ended, actions);
                if lived >= backoff::enough(self.rules.poll) {
                    self.hold_off.reset();
                }
                self.ended_by_itself(ended, lived, now, actions);
            }
            State::Stopping { then: Then::Restart, .. } => self.retry(now, actions),
            State::Stopping { then: Then::Exit(end), .. } => self.exit(end, actions),
            State::Waiting { .. } | State::Starting | State::Over => {}
        }
    }

    fn ended_by_itself(&mut self, ended: ChildExit, lived: Duration, now: Time, actions: &mut Vec<Action>) {
        let standing = StartPhase::of(self.starts, lived, self.rules.gate_time);
        let verdict = exit_policy::decide(ended, standing, self.rules.service);
        let (level, text) = messages::child_exit(ended, verdict);
        actions.push(Action::Log(level, text));
        if ended == ChildExit::Status(0) && self.rules.no_command && !self.normal_end_said {
            self.normal_end_said = true;
            actions.push(Action::Explain(Level::Warning, messages::NORMAL_END.into()));
        }
        match verdict {
            Decision::Restart => self.retry(now, actions),
            Decision::Exit(status) => self.exit(Exit::Status(status), actions),
            Decision::GiveUp => {
                let perhaps_the_monitor = self.is_monitored() && !self.health.has_consequence();
                actions.push(Action::Explain(level, messages::gate(ended, self.rules.gate_time, perhaps_the_monitor)));
                self.exit(Exit::Status(1), actions);
            }
        }
    }

    fn network_changed(&mut self, now: Time, actions: &mut Vec<Action>) {
        match self.state {
            State::Waiting { until } => {
                let soon = now.saturating_add(START_SETTLE);
                if until > soon {
                    actions.push(Action::debug("the network has changed: starting ssh now"));
                    self.hold_off.arm(now);
                    self.state = State::Waiting { until: soon };
                }
            }
            State::Running { .. } => {
                if self.health.network_changed(now) {
                    actions.push(Action::debug("the network has changed: testing the connection soon"));
                }
            }
            State::Starting | State::Stopping { .. } | State::Over => {}
        }
    }

    fn tick(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.ready_at().is_some_and(|at| at <= now) || self.started_at.saturating_add(READY_TIME) <= now {
            self.ready(actions);
        }
        if !self.state.is_leaving() && self.lifetime_deadline().is_some_and(|death| death <= now) {
            actions.push(Action::info("exceeded maximum time to live, shutting down"));
            self.end_ssh(Then::Exit(Exit::Status(0)), now, actions);
        }
        match self.state {
            State::Waiting { until } if until <= now => self.start(now, actions),
            State::Running { .. } => {
                let due = self.health.take(now);
                if due == Some(TestTrigger::Change) {
                    self.hold_off.arm(now);
                }
                actions.extend(due.map(Action::Test));
            }
            State::Stopping { then, phase: StopPhase::Term(at) } if at <= now => {
                actions.push(Action::info("ssh does not end, killing it"));
                actions.push(Action::Kill);
                self.state = State::Stopping { then, phase: StopPhase::Kill(now.saturating_add(KILL_TIME)) };
            }
            State::Stopping { then: Then::Exit(end), phase: StopPhase::Kill(at) } if at <= now => {
                actions.push(Action::Log(Level::Error, "ssh does not end even when killed, leaving it".into()));
                self.exit(end, actions);
            }
            State::Waiting { .. } | State::Starting | State::Stopping { .. } | State::Over => {}
        }
    }

    /// Starts ssh, unless AUTOSSH_MAXSTART is reached.
    fn start(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.rules.max_starts.is_some_and(|most| self.starts >= most) {
            return self.no_more_starts(actions);
        }
        self.starts = self.starts.saturating_add(1);
        self.last_start = now;
        let of = self.rules.max_starts.map(|most| format!(" of {most}")).unwrap_or_default();
        actions.push(Action::info(format!("starting ssh (count {}{of})", self.starts)));
        self.state = State::Starting;
        actions.push(Action::Start);
    }

    /// Plans the next start: ssh is gone.
    fn retry(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.rules.max_starts.is_some_and(|most| self.starts >= most) {
            return self.no_more_starts(actions);
        }
        let poll = self.rules.poll;
        self.tries = backoff::tries(self.tries, now.saturating_sub(self.last_start), poll);
        let wait = backoff::wait(poll, self.tries, (self.random)());
        if !wait.is_zero() {
            let seconds = in_units(wait, Duration::from_secs(1));
            actions.push(Action::info(format!("waiting {seconds} s before the next start")));
        }
        self.state = State::Waiting { until: now.saturating_add(wait) };
    }

    fn no_more_starts(&mut self, actions: &mut Vec<Action>) {
        actions.push(Action::info("max start count reached; exiting"));
        if self.starts == 0 {
            actions.push(Action::Explain(Level::Warning, messages::NO_STARTS.into()));
        }
        self.exit(Exit::Status(0), actions);
    }

    /// Terminates ssh, if there is one, and then goes on with `then`.
    fn end_ssh(&mut self, then: Then, now: Time, actions: &mut Vec<Action>) {
        match (&mut self.state, then) {
            (State::Running { .. } | State::Starting, _) => {
                self.health.stop(actions);
                if matches!(then, Then::Exit(_)) {
                    actions.push(Action::NotifyStopping);
                }
                actions.push(Action::Term);
                self.state = State::Stopping { then, phase: StopPhase::Term(now.saturating_add(TERM_TIME)) };
            }
            (State::Stopping { then: next, .. }, _) => *next = then,
            (State::Waiting { .. }, Then::Exit(end)) => self.exit(end, actions),
            (State::Waiting { .. }, Then::Restart) | (State::Over, _) => {}
        }
    }

    fn exit(&mut self, end: Exit, actions: &mut Vec<Action>) {
        self.state = State::Over;
        actions.push(Action::Exit(end));
    }

    /// When AUTOSSH_MAXLIFETIME is over.
    fn lifetime_deadline(&self) -> Option<Time> {
        self.rules.lifetime.map(|lifetime| self.started_at.saturating_add(lifetime))
    }

    /// When an ssh without a monitor counts as up.
    fn ready_at(&self) -> Option<Time> {
        match self.state {
            State::Running { since, .. } if self.readiness_pending && !self.is_monitored() => {
                Some(since.saturating_add(UP_TIME))
            }
            _ => None,
        }
    }

    fn ready(&mut self, actions: &mut Vec<Action>) {
        if self.readiness_pending {
            self.readiness_pending = false;
            actions.push(Action::NotifyReady);
        }
    }
}

fn earliest(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
