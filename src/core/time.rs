//! Moments, and how a suspend shows in them.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

/// A moment: the time since boot.
pub type Time = Duration;

/// One look at the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Time since boot, suspend included.
    pub now: Time,
    /// Time since boot, suspend not included.
    pub awake: Time,
}

/// Tells a suspend from the two times since boot.
#[derive(Clone, Copy, Debug)]
pub struct SleepWatch {
    asleep: Duration,
}

impl SleepWatch {
    /// Less than this is the clocks being read one after the other.
    const NOTICED: Duration = Duration::from_secs(1);

    /// Watches from `reading` on.
    pub fn new(reading: Reading) -> SleepWatch {
        SleepWatch { asleep: reading.now.saturating_sub(reading.awake) }
    }

    /// Whether the machine has slept since the last look.
    pub fn slept(&mut self, reading: Reading) -> bool {
        let asleep = reading.now.saturating_sub(reading.awake);
        let slept = asleep.saturating_sub(self.asleep) >= SleepWatch::NOTICED;
        // A pause between the two readings makes the time asleep look shorter, never longer.
        self.asleep = self.asleep.max(asleep);
        slept
    }
}

/// A duration in this unit, with one decimal.
pub fn in_units(time: Duration, unit: Duration) -> String {
    let tenths = time.saturating_mul(10).as_nanos().checked_div(unit.as_nanos()).unwrap_or_default();
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests;
