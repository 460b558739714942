//! Points in time, and how to detect a suspend.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

/// A point in time: the time since boot.
pub type Time = Duration;

/// One reading of the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Time since boot, suspend included.
    pub now: Time,
    /// Time since boot, suspend not included.
    pub awake: Time,
}

/// Detects a suspend from the two times since boot.
#[derive(Clone, Copy, Debug)]
pub struct SleepWatch {
    asleep: Duration,
}

impl SleepWatch {
    /// A smaller difference comes from reading one clock after the other.
    const NOTICED: Duration = Duration::from_secs(1);

    /// Watches from `reading` on.
    pub fn new(reading: Reading) -> SleepWatch {
        SleepWatch { asleep: reading.now.saturating_sub(reading.awake) }
    }

    /// Whether the machine was suspended since the last reading.
    pub fn slept(&mut self, reading: Reading) -> bool {
        let asleep = reading.now.saturating_sub(reading.awake);
        let slept = asleep.saturating_sub(self.asleep) >= SleepWatch::NOTICED;
        // A pause between the two readings makes the suspend look shorter, never longer.
        self.asleep = self.asleep.max(asleep);
        slept
    }
}

/// A duration in this unit, with one decimal.
pub fn in_units(time: Duration, unit: Duration) -> String {
    let tenths = time.saturating_mul(10).as_nanos().checked_div(unit.as_nanos()).unwrap_or_default();
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The earlier of two optional times.
pub fn earliest(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
