//! Trying again for a while before the loop runs.

use std::time::Duration;

use crate::sys::clock::Clock;
use crate::sys::signals::{Notice, Signals};

/// Time between two attempts.
const INTERVAL: Duration = Duration::from_millis(20);

/// Attempts something until it succeeds, fails in a way that no waiting mends, or `limit` is over; returns how the last
/// attempt ended.
///
/// # Errors
/// The signal to stop that came meanwhile.
pub fn retry<T, E>(
    signals: &mut Signals,
    clock: &Clock,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<T, E>,
    may_pass: impl Fn(&E) -> bool,
) -> Result<Result<T, E>, i32> {
    let deadline = clock.read().map(|reading| reading.now.saturating_add(limit)).unwrap_or_default();
    loop {
        let last = attempt();
        let is_over = || clock.read().map_or(true, |reading| reading.now >= deadline);
        if !last.as_ref().is_err_and(&may_pass) || is_over() {
            return Ok(last);
        }
        // An error here only makes the next attempt come sooner.
        let _ = signals.wait(INTERVAL);
        for notice in signals.pending() {
            if let Notice::Stop(signal) = notice {
                return Err(signal as i32);
            }
        }
    }
}
