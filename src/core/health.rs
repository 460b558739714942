//! What the connection tests have shown, and what follows from the next result (autossh(1), MONITORING).

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use crate::event::{Action, ChildExit, Failure, Outcome, TestTrigger};
use crate::level::Level;
use crate::messages;
use crate::rules::{Monitoring, Rules};
use crate::test_schedule::Schedule;
use crate::time::Time;

/// Number of ssh in a row that exit because an automatic forward was refused, before autossh goes on without a monitor.
const REFUSALS: u32 = 2;
/// Number of ssh in a row that fail their first test, after which connection sharing is a likely cause.
const FAILED_FIRST: u32 = 2;

/// What is known about the traffic through ssh.
#[derive(Debug)]
pub struct Health {
    monitoring: Monitoring,
    poll: Duration,
    first_poll: Duration,
    /// A test of this autossh has passed once.
    proven: bool,
    /// Number of ssh in a row that failed a test without passing one before.
    failed_first: u32,
    /// Number of ssh in a row that exited because an automatic forward was refused.
    refusals: u32,
    logged: Logged,
    /// The ssh being started has no monitor.
    unavailable: bool,
    /// The tests of the running ssh.
    tests: Option<Tests>,
}

/// What has been logged and need not be repeated.
#[derive(Debug, Default)]
struct Logged {
    never_passed: Vec<Failure>,
    held: bool,
    shared: bool,
}

/// The tests of one ssh.
#[derive(Debug)]
struct Tests {
    schedule: Schedule,
    under_way: Option<TestTrigger>,
    last_passed: Option<Passed>,
    refused: bool,
}

/// A test that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// When.
    pub at: Time,
    /// How long it took.
    pub round_trip: Duration,
}

/// What a test result means for ssh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing changes.
    Nothing,
    /// This ssh works: its first test has passed.
    Healthy,
    /// This ssh must be restarted.
    Down,
}

impl Health {
    /// Nothing is known yet.
    pub fn new(rules: &Rules) -> Health {
        Health {
            monitoring: rules.monitoring,
            poll: rules.poll,
            first_poll: rules.first_poll,
            proven: false,
            failed_first: 0,
            refusals: 0,
            logged: Logged::default(),
            unavailable: false,
            tests: None,
        }
    }

    /// Whether connections are tested at all.
    pub fn is_monitored(&self) -> bool {
        self.monitoring != Monitoring::Off
    }

    /// Whether a failed test restarts ssh: the monitor was asked for, or has passed a test.
    pub fn has_consequence(&self) -> bool {
        match self.monitoring {
            Monitoring::Off => false,
            Monitoring::Automatic => self.proven,
            Monitoring::Loop { .. } | Monitoring::Echo { .. } => true,
        }
    }

    /// The ssh being started has no monitor, because no port or descriptor was available.
    pub fn unavailable(&mut self) {
        self.unavailable = true;
    }

    /// The last test that the running ssh has passed.
    pub fn last_passed(&self) -> Option<Passed> {
        self.tests.as_ref().and_then(|tests| tests.last_passed)
    }

    /// Whether the running ssh is tested.
    pub fn is_tested(&self) -> bool {
        self.tests.is_some()
    }

    /// An ssh was started at `now`, with a monitor; `waits` if readiness is still to be reported.
    pub fn started(&mut self, now: Time, waits: bool) {
        // An automatic monitor must pass a test before it has consequences.
        let early = waits || !self.has_consequence();
        let available = !core::mem::take(&mut self.unavailable);
        self.tests = (available && self.is_monitored()).then(|| Tests {
            schedule: Schedule::new(now, self.first_poll, self.poll, early),
            under_way: None,
            last_passed: None,
            refused: false,
        });
    }

    /// When the next test is due, unless one is under way.
    pub fn due(&self) -> Option<Time> {
        self.tests.as_ref().filter(|tests| tests.under_way.is_none()).map(|tests| tests.schedule.due())
    }

    /// Takes the test that is due at `now`; it counts as begun.
    pub fn take(&mut self, now: Time) -> Option<TestTrigger> {
        let tests = self.tests.as_mut()?;
        tests.under_way = tests.schedule.take(now);
        tests.under_way
    }

    /// Makes the next test due now.
    pub fn run_now(&mut self, now: Time) {
        if let Some(tests) = &mut self.tests {
            tests.schedule.run_now(now);
        }
    }

    /// The network has changed, which counts from `from` on. Returns whether this brought the next test forward, and not
    /// an earlier change.
    pub fn network_changed(&mut self, from: Time) -> bool {
        let consequence = self.has_consequence();
        self.tests.as_mut().is_some_and(|tests| consequence && tests.schedule.changed(from))
    }

    /// The machine was suspended (`slept`), or autossh was stopped: the current test is repeated.
    pub fn resumed(&mut self, slept: bool, now: Time, actions: &mut Vec<Action>) {
        let Some(tests) = &mut self.tests else {
            return;
        };
        // A test is interrupted only once: repeated SIGCONT must not keep it from ever finishing.
        let interrupted = tests.under_way.is_some_and(|trigger| trigger != TestTrigger::Early);
        if tests.schedule.resumed(slept, now, interrupted) && tests.under_way.take().is_some() {
            actions.push(Action::DropTest);
        }
    }

    /// ssh is being terminated: there is nothing more to test.
    pub fn stop(&mut self, actions: &mut Vec<Action>) {
        if self.tests.as_ref().is_some_and(|tests| tests.under_way.is_some()) {
            actions.push(Action::DropTest);
        }
        self.tests = None;
    }

    /// ssh has reported that the server refused the monitor's forward.
    pub fn forward_refused(&mut self, actions: &mut Vec<Action>) {
        if let Some(tests) = &mut self.tests {
            tests.refused = true;
            if !self.logged.held {
                self.logged.held = true;
                actions.push(Action::warning(messages::forward_refused(self.monitoring)));
            }
        }
    }

    /// ssh has exited by itself.
    pub fn ended(&mut self, ended: ChildExit, actions: &mut Vec<Action>) {
        let refused = self.tests.as_ref().is_some_and(|tests| tests.refused);
        self.stop(actions);
        if self.has_consequence() || !refused || ended != ChildExit::Status(255) {
            return;
        }
        // With ExitOnForwardFailure our automatic forward has ended the session.
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals >= REFUSALS {
            self.monitoring = Monitoring::Off;
            actions.push(Action::CloseMonitor);
            actions.push(Action::warning(messages::WITHOUT_MONITOR));
        }
    }

    /// The current test finished at `now`.
    pub fn tested(&mut self, outcome: &Outcome, now: Time, actions: &mut Vec<Action>) -> Verdict {
        let consequence = self.has_consequence();
        let Some(tests) = &mut self.tests else {
            return Verdict::Nothing;
        };
        let Some(trigger) = tests.under_way.take() else {
            return Verdict::Nothing;
        };
        tests.schedule.finished();
        match outcome {
            Outcome::Passed { round_trip_us } => {
                let first = tests.last_passed.is_none();
                tests.last_passed = Some(Passed { at: now, round_trip: Duration::from_micros(*round_trip_us) });
                tests.schedule.passed();
                self.proven = true;
                self.failed_first = 0;
                self.logged = Logged::default();
                actions.push(Action::TouchPidFile);
                actions.push(Action::debug("connection ok"));
                if first { Verdict::Healthy } else { Verdict::Nothing }
            }
            Outcome::Impossible(why) => {
                actions.push(Action::warning(format!("connection test left out: {why}")));
                // An early one would be due again at once.
                tests.schedule.early_failed(now);
                Verdict::Nothing
            }
            Outcome::Failed(failure, why) if trigger == TestTrigger::Early => {
                let level = if *failure == Failure::Foreign { Level::Warning } else { Level::Debug };
                actions.push(Action::Log(level, format!("early connection test failed: {why}")));
                // If nothing listens yet, ssh may still be asking for a password.
                if tests.schedule.early_failed(now) && *failure != Failure::NoListener {
                    self.log_never_passed(*failure, actions);
                }
                Verdict::Nothing
            }
            Outcome::Failed(Failure::NoListener, why)
                if trigger == TestTrigger::Change && tests.last_passed.is_none() =>
            {
                tests.schedule.take_back();
                actions.push(Action::debug(format!("ssh is still logging in: {why}")));
                Verdict::Nothing
            }
            Outcome::Failed(failure, why) if !consequence => {
                let level = if *failure == Failure::Foreign { Level::Warning } else { Level::Debug };
                actions.push(Action::Log(level, why.clone()));
                self.log_never_passed(*failure, actions);
                Verdict::Nothing
            }
            Outcome::Failed(failure, why) => {
                let passed_before = tests.last_passed.is_some();
                if !passed_before {
                    self.failed_first = self.failed_first.saturating_add(1);
                }
                let level = if *failure == Failure::Foreign { Level::Warning } else { Level::Info };
                actions.push(Action::Log(level, why.clone()));
                self.explain(*failure, passed_before, actions);
                actions.push(Action::info("port down, restarting ssh"));
                Verdict::Down
            }
        }
    }

    /// Logs the likely reason of a failed test that restarts ssh.
    fn explain(&mut self, failure: Failure, passed_before: bool, actions: &mut Vec<Action>) {
        if failure == Failure::Foreign {
            return;
        }
        if !self.proven {
            self.log_never_passed(failure, actions);
        } else if !passed_before && failure != Failure::NoListener && !self.logged.held {
            self.logged.held = true;
            actions.push(Action::warning(messages::port_held(self.monitoring)));
        }
        if self.failed_first >= FAILED_FIRST && !self.logged.shared {
            self.logged.shared = true;
            actions.push(Action::warning(messages::SHARED));
        }
    }

    /// Logs once, for each kind of failure, what it means.
    fn log_never_passed(&mut self, failure: Failure, actions: &mut Vec<Action>) {
        if !self.proven && failure != Failure::Foreign && !self.logged.never_passed.contains(&failure) {
            self.logged.never_passed.push(failure);
            actions.push(Action::warning(messages::never_passed(self.monitoring, failure)));
        }
    }
}

#[cfg(test)]
mod tests;
