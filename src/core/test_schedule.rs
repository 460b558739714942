//! When the next connection test of a running ssh is due (autossh(1), MONITORING).

use core::time::Duration;

use crate::event::TestTrigger;
use crate::time::Time;

/// How long after the last change of the network a test begins, so that addresses and routes are all there.
const SETTLE: Duration = Duration::from_secs(1);
/// A network that never settles puts a test off no longer than this.
const MAX_SETTLE: Duration = Duration::from_secs(5);
/// How long an overdue test waits after a suspend: Wi-Fi needs a moment.
const AFTER_SLEEP: Duration = Duration::from_secs(10);
/// The first early test comes this long after ssh's start.
const FIRST_EARLY: Duration = Duration::from_secs(1);
/// When even early tests have failed for this long, something is wrong.
const LONG: Duration = Duration::from_secs(30);

/// The tests of one ssh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    poll: Duration,
    regular: Time,
    early: Option<Early>,
    change: Option<Change>,
    /// When the next regular test was due before the last one was taken.
    regular_before: Time,
    /// A suspend or a stop has put a test off, and none has been finished since.
    put_off: bool,
}

/// Early tests, fewer and fewer until one passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Early {
    at: Time,
    step: Duration,
    long: Time,
}

/// A change of the network that has brought the next test forward.
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

    /// The test that is due at `now`, if one is; it counts as begun.
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

    /// An early test has failed at `now`: the next comes twice as late. Returns whether this has gone on for long.
    pub fn early_failed(&mut self, now: Time) -> bool {
        let Some(early) = &mut self.early else {
            return false;
        };
        early.at = now.saturating_add(early.step);
        early.step = early.step.saturating_mul(2);
        now >= early.long
    }

    /// A test has passed: there is nothing to find out early.
    pub fn passed(&mut self) {
        self.early = None;
    }

    /// The next test is due now: SIGALRM.
    pub fn run_now(&mut self, now: Time) {
        self.regular = self.regular.min(now);
    }

    /// The network has changed: the next test is due once it has settled. Returns whether that is news.
    pub fn changed(&mut self, now: Time) -> bool {
        let news = self.change.is_none();
        let first = self.change.map_or(now, |change| change.first);
        let at = now.saturating_add(SETTLE).min(first.saturating_add(MAX_SETTLE));
        self.change = Some(Change { first, at });
        news
    }

    /// The last test has shown nothing: the regular one comes when it would have come without it.
    pub fn take_back(&mut self) {
        self.regular = self.regular_before;
    }

    /// The test that was taken is finished.
    pub fn finished(&mut self) {
        self.put_off = false;
    }

    /// The machine `slept` until `now`, or we were only stopped; `interrupted` if a test was under way. An overdue test
    /// waits a moment: after each sleep, but only once for all the times that somebody stops and continues us. Returns
    /// whether the test under way is to be made again.
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
