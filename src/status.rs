//! The status in one line: SIGUSR2's line in the log, and what systemd shows (autossh(1), SIGNALS).

use std::time::{Duration, SystemTime};

use autossh_core::state::State;
use autossh_core::time::{Time, in_units};

use crate::log::stamp;

/// What the line shows.
#[derive(Debug)]
pub struct Status {
    /// The supervisor's state.
    pub state: State,
    /// How many times ssh was started.
    pub starts: u64,
    /// Whether connections are tested.
    pub monitored: bool,
    /// When the running ssh was started.
    pub up_since: Option<SystemTime>,
    /// The last test that passed.
    pub last_test: Option<LastTest>,
}

/// A test that passed.
#[derive(Clone, Copy, Debug)]
pub struct LastTest {
    /// When.
    pub at: SystemTime,
    /// Its round trip.
    pub took: Duration,
}

impl Status {
    /// The line at `now`, which is `wall` on the wall clock.
    pub fn line(&self, now: Time, wall: SystemTime) -> String {
        let starts = self.starts;
        let time = |time| stamp(time).split_off("YYYY/MM/DD ".len());
        match self.state {
            State::Running { pid, .. } => {
                let since = self.up_since.map(stamp).unwrap_or_default();
                let test = match self.last_test {
                    _ if !self.monitored => "not monitored".to_owned(),
                    Some(LastTest { at, took }) => {
                        let took = in_units(took, Duration::from_millis(1));
                        format!("last test passed at {}, round trip {took} ms", time(at))
                    }
                    None => "no test has passed yet".to_owned(),
                };
                format!("ssh {pid} up since {since}, starts {starts}; {test}")
            }
            State::Waiting { until } => {
                let at = wall.checked_add(until.saturating_sub(now));
                format!("waiting until {} to start ssh; starts so far {starts}", at.map(time).unwrap_or_default())
            }
            State::Starting => "starting ssh".to_owned(),
            State::Stopping { .. } => format!("ending ssh; starts so far {starts}"),
            State::Over => "ending".to_owned(),
        }
    }
}
