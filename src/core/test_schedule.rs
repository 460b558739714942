//! When the next connection test of a running ssh is due (autossh(1), MONITORING).

use core::time::Duration;

use crate::event::TestTrigger;
use crate::time::Time;

/// Time from the last network change to a test, so that all addresses and routes are there.
const SETTLE: Duration = Duration::from_secs(1);
/// The longest delay of a test by a network that does not settle.
const MAX_SETTLE: Duration = Duration::from_secs(5);
/// Delay of an overdue test after a suspend: Wi-Fi takes time to connect.
const AFTER_SLEEP: Duration = Duration::from_secs(10);
/// Time from the start of ssh to the first early test.
const FIRST_EARLY: Duration = Duration::from_secs(1);
/// If early tests have failed for this long, something is wrong.
const LONG: Duration = Duration::from_secs(30);

/// The tests of one ssh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    poll: Duration,
    regular: Time,
    early: Option<Early>,
    change: Option<Change>,
    /// When the next regular test was due, before the last one was taken.
    regular_before: Time,
    /// A suspend or a stop has delayed a test, and none has finished since.
    put_off: bool,
}

/// Early tests, at growing intervals until one passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Early {
    at: Time,
    step: Duration,
    long: Time,
}

/// A network change that has brought the next test forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    first: Time,
    at: Time,
}

impl Schedule {
    /// For an ssh started at `start`: tests `first_poll` after that, then every `poll`, and early ones if `early`.
    pub fn new(start: Time, first_poll: Duration, poll: Duration, early: bool) -> Schedule {
        Schedule {
            poll,
            regular: start.saturating_add(first_poll),
            early: early.then(|| Early {
                at: start.saturating_add(FIRST_EARLY),
                step: FIRST_EARLY,
                long: start.saturating_add(LONG),
            }),
            change: None,
            regular_before: Time::MAX,
            put_off: false,
        }
    }

    /// When the next test is due.
    pub fn due(&self) -> Time {
        let early = self.early.map_or(Time::MAX, |early| early.at);
        let change = self.change.map_or(Time::MAX, |change| change.at);
        self.regular.min(early).min(change)
    }

    /// Takes the test that is due at `now`, if any; it counts as begun.
    pub fn take(&mut self, now: Time) -> Option<TestTrigger> {
        let trigger = if self.regular <= now {
            TestTrigger::Regular
        } else if self.change.is_some_and(|change| change.at <= now) {
            TestTrigger::Change
        } else if self.early.is_some_and(|early| early.at <= now) {
            return Some(TestTrigger::Early);
        } else {
            return None;
        };
        self.change = None;
        self.regular_before = self.regular;
        self.regular = now.saturating_add(self.poll);
        Some(trigger)
    }

    /// An early test failed at `now`: the interval doubles. Returns whether this has gone on for long.
    pub fn early_failed(&mut self, now: Time) -> bool {
        let Some(early) = &mut self.early else {
            return false;
        };
        early.at = now.saturating_add(early.step);
        early.step = early.step.saturating_mul(2);
        now >= early.long
    }

    /// A test has passed: no more early tests are needed.
    pub fn passed(&mut self) {
        self.early = None;
    }

    /// Makes the next test due now (SIGALRM).
    pub fn run_now(&mut self, now: Time) {
        self.regular = self.regular.min(now);
    }

    /// The network has changed: the next test is due once it has settled. Returns whether no earlier change did that.
    pub fn changed(&mut self, now: Time) -> bool {
        let news = self.change.is_none();
        let first = self.change.map_or(now, |change| change.first);
        let at = now.saturating_add(SETTLE).min(first.saturating_add(MAX_SETTLE));
        self.change = Some(Change { first, at });
        news
    }

    /// The last test has shown nothing: the regular one comes at its usual time.
    pub fn take_back(&mut self) {
        self.regular = self.regular_before;
    }

    /// The test that was taken is finished.
    pub fn finished(&mut self) {
        self.put_off = false;
    }

    /// The machine was suspended until `now` (`slept`), or we were only stopped; `interrupted` if a test was under way. An
    /// overdue test is delayed after each suspend, but only once if we are stopped and continued repeatedly. Returns
    /// whether the interrupted test must be repeated.
    pub fn resumed(&mut self, slept: bool, now: Time, interrupted: bool) -> bool {
        if self.put_off && !slept {
            return false;
        }
        let later = now.saturating_add(AFTER_SLEEP);
        if interrupted || self.regular <= now {
            self.regular = later;
            self.put_off = true;
        }
        if let Some(early) = self.early.as_mut().filter(|early| early.at < later) {
            early.at = later;
            self.put_off = true;
        }
        true
    }
}

#[cfg(test)]
mod tests;
