//! The one clock: time since boot, suspend included, and the alarm that runs on it.
//!
//! The wall clock is for log stamps alone, so that its jumps change no gate, wait, poll or lifetime.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use autossh_core::time::{Reading, Time};

use nix::errno::Errno;
use nix::poll::{PollFlags, PollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};

/// Without a timer the clock is read this often, since the timeouts of poll(2) stop during suspend.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The clock and its alarm. Only the kernel knows whether the alarm is set.
#[derive(Debug)]
pub struct Clock {
    id: ClockId,
    timer: TimerFd,
}

impl Clock {
    /// The clock that includes suspend, if the kernel supports it for timers, else the one that does not.
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
        Ok(Reading { now, awake: read(ClockId::CLOCK_MONOTONIC)? })
    }

    /// Makes the descriptor readable from `at` on, or never. Each call replaces the last, and clears an expiry that has
    /// not been read. Returns what poll(2) must wait for on the descriptor, and how long at most: where the kernel refuses
    /// the time, the descriptor may be readable for good, and poll(2) keeps the time itself.
    pub fn set_alarm(&mut self, at: Option<Time>, now: Time) -> (PollFlags, PollTimeout) {
        let set = match at {
            // Zero would disable the timer.
            Some(at) => self.timer.set(
                Expiration::OneShot(TimeSpec::from(at.max(Duration::from_nanos(1)))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            ),
            None => self.timer.unset(),
        };
        match set {
            Ok(()) => (PollFlags::POLLIN, PollTimeout::NONE),
            Err(_) => (PollFlags::empty(), timeout(at, now)),
        }
    }
}

/// The timeout for poll(2) that ends at `at`, rounded up so that the loop does not spin.
fn timeout(at: Option<Time>, now: Time) -> PollTimeout {
    let wait = at.map_or(LONGEST_TIMEOUT, |at| at.saturating_sub(now).min(LONGEST_TIMEOUT));
    let millis = wait.as_nanos().div_ceil(1_000_000);
    u16::try_from(millis).map_or(PollTimeout::MAX, PollTimeout::from)
}

impl AsFd for Clock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}
