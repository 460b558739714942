//! What the [`Machine`] does from one start of ssh to the next: it starts and terminates ssh, and decides what follows from
//! its exit (autossh(1), EXIT STATUS).

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::Machine;
use crate::backoff;
use crate::event::{Action, ChildExit, Exit};
use crate::exit_policy::{self, Decision, StartPhase};
use crate::level::Level;
use crate::link::LinkWatch;
use crate::messages;
use crate::state::{State, StopPhase, Then};
use crate::time::{Time, in_units};

/// Time from SIGTERM to SIGKILL when ssh is terminated (autossh(1), SIGNALS).
const TERM_TIME: Duration = Duration::from_secs(5);

impl Machine {
    /// Starts ssh, unless AUTOSSH_MAXSTART is reached.
    pub(super) fn start(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.may_not_start() {
            return self.no_more_starts(actions);
        }
        self.starts = self.starts.saturating_add(1);
        self.last_start = now;
        let of = self.rules.max_starts.map(|limit| format!(" of {limit}")).unwrap_or_default();
        actions.push(Action::info(format!("starting ssh (count {}{of})", self.counted_starts())));
        self.state = State::Starting;
        actions.push(Action::Start { monitored: self.is_monitored() });
    }

    pub(super) fn started(&mut self, pid: i32, now: Time, actions: &mut Vec<Action>) {
        actions.push(Action::info(format!("ssh child pid is {pid}")));
        // It may have been terminated meanwhile.
        if self.state != State::Starting {
            return;
        }
        self.state = State::Running { since: now };
        self.health.started(now, self.readiness_pending);
        self.forwards.started();
        let watched = self.may_roam() || self.readiness_pending || self.forwards.are_asked_for();
        self.link = watched.then(|| LinkWatch::new(now));
    }

    pub(super) fn not_started(&mut self, why: &str, now: Time, actions: &mut Vec<Action>) {
        let text = format!("cannot start ssh: {why}");
        match self.state {
            State::Stopping { then: Then::Exit(exit), .. } => self.exit(exit, actions),
            _ if self.starts <= 1 => {
                actions.push(Action::Explain(Level::Error, text));
                self.exit(Exit::Status(1), actions);
            }
            _ => {
                self.outage.failed(text.clone());
                actions.push(Action::Log(Level::Error, text));
                self.retry(now, actions);
            }
        }
    }

    pub(super) fn child_exited(&mut self, exit: ChildExit, said: Option<&str>, now: Time, actions: &mut Vec<Action>) {
        match self.state {
            State::Running { since } => self.ended_by_itself(exit, said, now.saturating_sub(since), now, actions),
            // Killed before it was executed.
            State::Starting => self.ended_by_itself(exit, said, Duration::ZERO, now, actions),
            State::Stopping { then: Then::Restart, .. } => self.retry(now, actions),
            State::Stopping { then: Then::Retry, .. } => {
                self.retries = self.retries.saturating_add(1);
                self.state = State::Waiting { until: now };
            }
            State::Stopping { then: Then::Exit(exit), .. } => self.exit(exit, actions),
            State::Waiting { .. } | State::Over => {}
        }
    }

    fn ended_by_itself(
        &mut self,
        exit: ChildExit,
        said: Option<&str>,
        lived: Duration,
        now: Time,
        actions: &mut Vec<Action>,
    ) {
        let refused = self.forwards.refused_text();
        self.health.ended(exit, actions);
        self.session_over();
        if lived >= backoff::enough(self.rules.poll) {
            self.hold_off.reset();
        }
        let phase = StartPhase::of(self.starts, lived, self.rules.gate_time);
        let decision = exit_policy::decide(exit, phase, self.rules.service);
        let (level, text) = messages::child_exit(exit, decision);
        actions.push(Action::Log(level, text));
        if exit == ChildExit::Status(0) && self.rules.no_command && !self.normal_end_logged {
            self.normal_end_logged = true;
            actions.push(Action::Explain(Level::Warning, messages::NORMAL_END.into()));
        }
        match decision {
            Decision::Restart => {
                self.outage.failed(messages::last_failure(exit, said));
                self.retry(now, actions);
            }
            Decision::Exit(status) => self.exit(Exit::Status(status), actions),
            Decision::GiveUp => {
                let may_be_the_monitor = self.is_monitored() && !self.health.has_consequence();
                let text = messages::gate(exit, self.rules.gate_time, may_be_the_monitor, refused.as_deref());
                actions.push(Action::Explain(level, text));
                self.exit(Exit::Status(1), actions);
            }
        }
    }

    /// Plans the next start: ssh is gone.
    fn retry(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.may_not_start() {
            return self.no_more_starts(actions);
        }
        let poll = self.rules.poll;
        self.tries = backoff::tries(self.tries, now.saturating_sub(self.last_start), poll);
        let wait = backoff::wait(poll, self.tries, (self.random)());
        if !wait.is_zero() {
            let seconds = in_units(wait, Duration::from_secs(1));
            let warning = self.outage.warning(wait).map(Action::warning);
            actions.push(warning.unwrap_or_else(|| Action::info(format!("waiting {seconds} s before the next start"))));
        }
        self.state = State::Waiting { until: now.saturating_add(wait) };
    }

    /// The number of starts that AUTOSSH_MAXSTART counts.
    fn counted_starts(&self) -> u64 {
        self.starts.saturating_sub(self.retries)
    }

    fn may_not_start(&self) -> bool {
        self.rules.max_starts.is_some_and(|limit| self.counted_starts() >= limit)
    }

    fn no_more_starts(&mut self, actions: &mut Vec<Action>) {
        actions.push(Action::info("max start count reached; exiting"));
        if self.starts == 0 {
            actions.push(Action::Explain(Level::Warning, messages::NO_STARTS.into()));
        }
        self.exit(Exit::Status(0), actions);
    }

    /// Terminates ssh, if there is one, and then goes on with `then`.
    pub(super) fn end_ssh(&mut self, then: Then, now: Time, actions: &mut Vec<Action>) {
        let was_leaving = self.state.is_leaving();
        match (&mut self.state, then) {
            (State::Running { .. } | State::Starting, _) => {
                self.health.stop(actions);
                self.session_over();
                actions.push(Action::Term);
                self.state = State::Stopping { then, phase: StopPhase::Term(now.saturating_add(TERM_TIME)) };
            }
            (State::Stopping { then: next, .. }, _) => *next = then,
            (State::Waiting { .. }, Then::Exit(exit)) => self.exit(exit, actions),
            (State::Waiting { .. }, Then::Restart | Then::Retry) | (State::Over, _) => {}
        }
        if !was_leaving && self.state.is_leaving() {
            // Another autossh that is started for this tunnel now may need the port at once.
            actions.push(Action::CloseMonitor);
            actions.push(Action::NotifyStopping);
        }
    }

    /// Drops what was known about the ssh that is gone.
    fn session_over(&mut self) {
        self.link = None;
        self.forwards.stopped();
    }

    pub(super) fn exit(&mut self, exit: Exit, actions: &mut Vec<Action>) {
        self.state = State::Over;
        actions.push(Action::Exit(exit));
    }
}
