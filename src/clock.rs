//! The one clock: time since boot, suspend included, and the alarm that runs on it.
//!
//! The wall clock is for log stamps alone, so that its jumps change no gate, wait, poll or lifetime.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::time::{Reading, Time};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};

/// The clock and its alarm.
#[derive(Debug)]
pub struct Clock {
    id: ClockId,
    timer: TimerFd,
    set_for: Option<Time>,
}

impl Clock {
    /// The clock that counts suspend, where the kernel has it for timers too, else the one that does not.
    ///
    /// # Errors
    /// No timer can be made.
    pub fn new() -> Result<Clock, Errno> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let (id, timer) = match TimerFd::new(timerfd::ClockId::CLOCK_BOOTTIME, flags) {
            Ok(timer) => (ClockId::CLOCK_BOOTTIME, timer),
            Err(Errno::EMFILE) => return Err(Errno::EMFILE),
            Err(_) => (ClockId::CLOCK_MONOTONIC, TimerFd::new(timerfd::ClockId::CLOCK_MONOTONIC, flags)?),
        };
        Ok(Clock { id, timer, set_for: None })
    }

    /// Reads the clocks.
    ///
    /// # Errors
    /// The kernel has no such clock, which [`Clock::new`] has ruled out.
    pub fn read(&self) -> Result<Reading, Errno> {
        let read = |id| clock_gettime(id).map(Duration::from);
        // In this order a pause between the two does not look like time asleep.
        let now = read(self.id)?;
        Ok(Reading { now, awake: read(ClockId::CLOCK_MONOTONIC)? })
    }

    /// Makes the alarm readable from `at` on, or never.
    ///
    /// # Errors
    /// The kernel refuses the time.
    pub fn set_alarm(&mut self, at: Option<Time>) -> Result<(), Errno> {
        if self.set_for == at {
            return Ok(());
        }
        match at {
            // A time of zero would switch the timer off.
            Some(at) => self.timer.set(
                Expiration::OneShot(TimeSpec::from(at.max(Duration::from_nanos(1)))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )?,
            None => self.timer.unset()?,
        }
        self.set_for = at;
        Ok(())
    }

    /// Takes note that the alarm went off.
    pub fn alarm_seen(&mut self) {
        // Setting it anew also takes the old expiry back.
        self.set_for = None;
    }
}

impl AsFd for Clock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}
