//! What the connection tests have shown, and what follows from the next result (autossh(1), MONITORING).

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use crate::event::{Action, Failure, Outcome};
use crate::exit_policy::ChildExit;
use crate::level::Level;
use crate::messages;
use crate::rules::{Monitoring, Rules};
use crate::test_schedule::{Schedule, TestTrigger};
use crate::time::Time;

/// Number of ssh in a row that exit because an automatic forward was refused, before autossh goes on without a monitor.
const REFUSALS: u32 = 2;
/// Number of ssh in a row that fail their first test, after which connection sharing is a likely cause.
const UNSOUND: u32 = 2;

/// What is known about the traffic through ssh.
#[derive(Debug)]
pub struct Health {
    monitoring: Monitoring,
    poll: Duration,
    first_poll: Duration,
    /// A test of this autossh has passed once.
    proven: bool,
    /// Number of ssh in a row that failed a test without passing one before.
    unsound: u32,
    /// Number of ssh in a row that exited because an automatic forward was refused.
    refusals: u32,
    said: Said,
    /// The tests of the running ssh.
    tests: Option<Tests>,
}

/// What has been logged and need not be repeated.
#[derive(Debug, Default)]
struct Said {
    never_passed: Vec<Failure>,
    held: bool,
    shared: bool,
}

/// The tests of one ssh.
#[derive(Debug)]
struct Tests {
    schedule: Schedule,
    under_way: Option<TestTrigger>,
    sound: bool,
    refused: bool,
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
            unsound: 0,
            refusals: 0,
            said: Said::default(),
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

    /// An ssh was started at `now`; `waits` if readiness is still to be reported.
    pub fn started(&mut self, now: Time, waits: bool) {
        // An automatic monitor must pass a test before it has consequences.
        let early = waits || !self.has_consequence();
        self.tests = self.is_monitored().then(|| Tests {
            schedule: Schedule::new(now, self.first_poll, self.poll, early),
            under_way: None,
            sound: false,
            refused: false,
        });
    }

    /// When the next test is due, unless one is under way.
    pub fn due(&self) -> Option<Time> {
        self.tests.as_ref().filter(|tests| tests.under_way.is_none()).map(|tests| tests.schedule.due())
    }

    /// Takes the test that is due at `now`; it counts as begun.
    pub fn take(&mut self, now: Time) -> Option<TestTrigger> {
        let tests = self.tests.as_mut().filter(|tests| tests.under_way.is_none())?;
        tests.under_way = tests.schedule.take(now);
        tests.under_way
    }

    /// Makes the next test due now.
    pub fn run_now(&mut self, now: Time) {
        if let Some(tests) = &mut self.tests {
            tests.schedule.run_now(now);
        }
    }

    /// The network has changed. Returns whether this brought the next test forward, and not an earlier change.
    pub fn network_changed(&mut self, now: Time) -> bool {
        self.tests.as_mut().is_some_and(|tests| tests.schedule.changed(now))
    }

    /// The machine was suspended: the current test is dropped.
    pub fn resumed(&mut self, now: Time, actions: &mut Vec<Action>) {
        if let Some(tests) = &mut self.tests {
            let interrupted = tests.under_way.take();
            if interrupted.is_some() {
                actions.push(Action::DropTest);
            }
            tests.schedule.resumed(now, interrupted.is_some_and(|trigger| trigger != TestTrigger::Early));
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
            if !self.said.held {
                self.said.held = true;
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
        match outcome {
            Outcome::Passed => {
                let first = !tests.sound;
                tests.sound = true;
                tests.schedule.passed();
                self.proven = true;
                self.unsound = 0;
                self.refusals = 0;
                self.said = Said::default();
                actions.push(Action::TouchPidFile);
                actions.push(Action::debug("connection ok"));
                if first { Verdict::Healthy } else { Verdict::Nothing }
            }
            Outcome::Impossible(why) => {
                actions.push(Action::warning(format!("connection test left out: {why}")));
                Verdict::Nothing
            }
            Outcome::Failed(failure, why) if trigger == TestTrigger::Early => {
                let level = if *failure == Failure::Foreign { Level::Warning } else { Level::Debug };
                actions.push(Action::Log(level, format!("early connection test failed: {why}")));
                let long = tests.schedule.early_failed(now);
                // Where nothing listens yet, ssh may still be asking for a password.
                if long && *failure != Failure::NoListener {
                    self.say_never_passed(*failure, actions);
                }
                Verdict::Nothing
            }
            Outcome::Failed(failure, why) if !consequence => {
                let level = if *failure == Failure::Foreign { Level::Warning } else { Level::Debug };
                actions.push(Action::Log(level, why.clone()));
                self.say_never_passed(*failure, actions);
                Verdict::Nothing
            }
            Outcome::Failed(Failure::Foreign, why) => {
                actions.push(Action::warning(why.as_str()));
                actions.push(Action::info("port down, restarting ssh"));
                Verdict::Down
            }
            Outcome::Failed(failure, why) => {
                if !tests.sound {
                    self.unsound = self.unsound.saturating_add(1);
                }
                let (failure, sound) = (*failure, tests.sound);
                actions.push(Action::info(why.as_str()));
                self.explain(failure, sound, actions);
                actions.push(Action::info("port down, restarting ssh"));
                Verdict::Down
            }
        }
    }

    /// Logs the likely reason of a failed test that restarts ssh.
    fn explain(&mut self, failure: Failure, sound: bool, actions: &mut Vec<Action>) {
        if !self.proven {
            self.say_never_passed(failure, actions);
        } else if !sound && failure != Failure::NoListener && !self.said.held {
            self.said.held = true;
            actions.push(Action::warning(messages::port_held(self.monitoring)));
        }
        if self.unsound >= UNSOUND && !self.said.shared {
            self.said.shared = true;
            actions.push(Action::warning(messages::SHARED));
        }
    }

    /// Says once what the first failures mean, each kind for itself.
    fn say_never_passed(&mut self, failure: Failure, actions: &mut Vec<Action>) {
        // Both mean that forwarding is refused.
        let kind = if failure == Failure::NoListener { Failure::Closed } else { failure };
        if !self.proven && kind != Failure::Foreign && !self.said.never_passed.contains(&kind) {
            self.said.never_passed.push(kind);
            actions.push(Action::warning(messages::never_passed(self.monitoring, failure)));
        }
    }
}
