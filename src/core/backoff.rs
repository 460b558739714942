//! How long to wait: before the next start of ssh, and before the next change of the network is heeded.

use core::time::Duration;

use crate::time::Time;

/// So many quick starts are free (autossh(1), CONTINUED FAILURES).
const FREE_TRIES: u32 = 5;
/// The first hold-off after an early try or test.
const FIRST_HOLD_OFF: Duration = Duration::from_secs(10);

/// How many starts in quick succession the next one makes, when there have been `tries` so far and the last was
/// `since_start` ago.
pub fn tries(tries: u32, since_start: Duration, poll: Duration) -> u32 {
    if since_start >= enough(poll) { 0 } else { tries.saturating_add(1) }
}

/// How long an ssh must live for its start to count as a success: a tenth of the poll time, at least 10 s.
pub fn enough(poll: Duration) -> Duration {
    (poll / 10).max(Duration::from_secs(10))
}

/// The wait before a start that makes `tries` in quick succession: with t = tries − 5, ⌊poll/100 · t²/3⌋ seconds, at
/// most `poll`; then up to 10 % more or less as `random` has it, so that a thousand clients do not return to a
/// restarted server in step; in the end 1 s to `poll`.
pub fn wait(poll: Duration, tries: u32, random: u64) -> Duration {
    let t = match tries.checked_sub(FREE_TRIES) {
        None | Some(0) => return Duration::ZERO,
        Some(t) => u128::from(t),
    };
    let poll_ms = poll.as_millis();
    let seconds = (poll_ms / 1000).saturating_mul(t.saturating_mul(t)) / 300;
    let base_ms = seconds.saturating_mul(1000).min(poll_ms);
    let parts_per_thousand = 900_u128.saturating_add(u128::from(random % 201));
    let wait_ms = base_ms.saturating_mul(parts_per_thousand) / 1000;
    // `max` comes last: a wait of no time would be a busy loop, whatever the poll time.
    let wait_ms = wait_ms.min(poll_ms).max(1000);
    Duration::from_millis(u64::try_from(wait_ms).unwrap_or(u64::MAX))
}

/// Early tries and tests thin out by themselves, so that a flapping link causes no storm of them: after one that
/// brought nothing, changes of the network are heeded only after a hold-off that doubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldOff {
    /// The hold-off after the next early try or test.
    next: Duration,
    /// The most a hold-off may be.
    most: Duration,
    /// Changes are heeded from then on.
    until: Time,
}

impl HoldOff {
    /// No hold-off yet; `poll` is the longest there may be.
    pub fn new(poll: Duration) -> HoldOff {
        HoldOff { next: FIRST_HOLD_OFF.min(poll), most: poll, until: Time::ZERO }
    }

    /// Since when changes are heeded.
    pub fn until(&self) -> Time {
        self.until
    }

    /// A change of the network has made a try or a test come early.
    pub fn arm(&mut self, now: Time) {
        // What came after a long quiet is no part of a storm.
        if now >= self.until.saturating_add(self.most) {
            self.next = FIRST_HOLD_OFF.min(self.most);
        }
        self.until = now.saturating_add(self.next);
        self.next = self.next.saturating_mul(2).min(self.most);
    }

    /// ssh is sound, or the machine has slept: the next change is heeded at once.
    pub fn reset(&mut self) {
        *self = HoldOff::new(self.most);
    }
}

#[cfg(test)]
mod tests;
