//! How long to wait before the next start of ssh, and before network changes are acted on again.

use core::time::Duration;

use crate::time::Time;

/// Number of quick starts that are not delayed (autossh(1), CONTINUED FAILURES).
const FREE_TRIES: u32 = 5;
/// The first hold-off after an early start or test.
const FIRST_HOLD_OFF: Duration = Duration::from_secs(10);

/// Number of quick starts including the next one, if there were `tries` so far and the last start was
/// `since_start` ago.
pub fn tries(tries: u32, since_start: Duration, poll: Duration) -> u32 {
    if since_start >= enough(poll) { 0 } else { tries.saturating_add(1) }
}

/// How long an ssh must live for its start to count as a success: a tenth of the poll time, at least 10 s.
pub fn enough(poll: Duration) -> Duration {
    (poll / 10).max(Duration::from_secs(10))
}

/// The wait before quick start number `tries`: with t = tries − 5, ⌊poll/100 · t²/3⌋ seconds, at most `poll`, plus or
/// minus up to 10 % jitter from `random`, so that a thousand clients do not reconnect to a restarted server at the
/// same moment. The result is 1 s to `poll`.
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
    // `max` comes last: a zero wait would be a busy loop, whatever the poll time.
    let wait_ms = wait_ms.min(poll_ms).max(1000);
    Duration::from_millis(u64::try_from(wait_ms).unwrap_or(u64::MAX))
}

/// Limits early starts and tests, so that a flapping link causes no storm of them: after one that achieved nothing,
/// network changes are ignored during a hold-off that doubles each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldOff {
    /// The hold-off after the next early start or test.
    next: Duration,
    /// The longest hold-off.
    most: Duration,
    /// Network changes are acted on from then on.
    until: Time,
}

impl HoldOff {
    /// No hold-off yet; `poll` is the longest.
    pub fn new(poll: Duration) -> HoldOff {
        HoldOff { next: FIRST_HOLD_OFF.min(poll), most: poll, until: Time::ZERO }
    }

    /// From when on network changes are acted on.
    pub fn until(&self) -> Time {
        self.until
    }

    /// A network change has caused an early start or test.
    pub fn arm(&mut self, now: Time) {
        // After a long quiet time this is not part of a storm.
        if now >= self.until.saturating_add(self.most) {
            self.next = FIRST_HOLD_OFF.min(self.most);
        }
        self.until = now.saturating_add(self.next);
        self.next = self.next.saturating_mul(2).min(self.most);
    }

    /// ssh works, or the machine was suspended: the next change is acted on at once.
    pub fn reset(&mut self) {
        *self = HoldOff::new(self.most);
    }
}

#[cfg(test)]
mod tests;
