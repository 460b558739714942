//! The one clock: time since boot, suspend included, and the alarm that runs on it.
//!
//! The wall clock is for log stamps alone, so that its jumps change no gate, wait, poll or lifetime.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use autossh_core::time::{Reading, Time};

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::time::{ClockId, clock_gettime};

use crate::sys::system::{AWAKE, Timer};

/// Without a timer the clock is read this often while something is to come, since the timeouts of poll(2) stop during
/// suspend.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The clock and its alarm. Only the kernel knows whether the alarm is set.
#[derive(Debug)]
pub struct Clock {
    id: ClockId,
    timer: Timer,
}

impl Clock {
    /// The clock that includes suspend, if the system has it for timers, else the one that does not.
    ///
    /// # Errors
    /// No timer can be made.
    pub fn new() -> Result<Clock, Errno> {
        let (timer, id) = Timer::new()?;
        Ok(Clock { id, timer })
    }

    /// Reads the clocks.
    ///
    /// # Errors
    /// The kernel has no such clock, which [`Clock::new`] excludes.
    pub fn read(&self) -> Result<Reading, Errno> {
        let read = |id| clock_gettime(id).map(Duration::from);
        // In this order a pause between the two does not look like a suspend.
        let now = read(self.id)?;
        Ok(Reading { now, awake: read(AWAKE)? })
    }

    /// Makes the alarm's descriptor readable from `at` on, or never. Each call replaces the last, and clears an expiry
    /// that has not been read. Returns the descriptor for poll(2) to wait for, and how long it may wait: without limit,
    /// unless there is no timer or the kernel refuses the time, and poll(2) keeps the time itself.
    pub fn set_alarm(&mut self, at: Option<Time>, now: Time) -> (Option<BorrowedFd<'_>>, PollTimeout) {
        match self.timer.set(at) {
            Some(alarm) => (Some(alarm), PollTimeout::NONE),
            None => (None, timeout(at, now)),
        }
    }
}

/// The timeout for poll(2) that ends at `at`, rounded up so that the loop does not spin.
fn timeout(at: Option<Time>, now: Time) -> PollTimeout {
    let Some(at) = at else { return PollTimeout::NONE };
    let wait = at.saturating_sub(now).min(LONGEST_TIMEOUT);
    let millis = wait.as_nanos().div_ceil(1_000_000);
    u16::try_from(millis).map_or(PollTimeout::MAX, PollTimeout::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_ends_no_sooner_than_the_alarm_and_is_never_long() {
        let at = |time: u64| Some(Time::from_micros(time));
        let now = Time::from_millis(1);
        for (alarm, expected) in [
            (at(0), Some(0)),
            (at(1_000), Some(0)),
            (at(1_001), Some(1)),
            (at(2_000), Some(1)),
            (at(2_001), Some(2)),
            (at(60_001_000), Some(60_000)),
            (at(90_000_000), Some(60_000)),
            (Some(Time::MAX), Some(60_000)),
            (None, None),
        ] {
            let expected = expected.map_or(PollTimeout::NONE, |millis: u16| PollTimeout::from(millis));
            assert_eq!(timeout(alarm, now), expected, "{alarm:?}");
        }
    }
}
