//! The status in one line: SIGUSR2's line in the log, and what systemd shows (autossh(1), SIGNALS).

use std::time::{Duration, SystemTime};

use autossh_core::health::Passed;
use autossh_core::state::State;
use autossh_core::time::{Time, in_units};
use nix::unistd::Pid;

use crate::log::stamp;

/// What the line shows.
#[derive(Debug)]
pub struct Status {
    /// The supervisor's state.
    pub state: State,
    /// The pid of ssh.
    pub pid: Option<Pid>,
    /// How many times ssh was started.
    pub starts: u64,
    /// Whether connections are tested.
    pub monitored: bool,
    /// The last test that this ssh passed.
    pub last_passed: Option<Passed>,
    /// The refused forwards of this ssh.
    pub refused: Option<String>,
    /// How ssh has failed last, if no working session has followed.
    pub last_failure: Option<String>,
}

impl Status {
    /// The line at `now`, which is `wall` on the wall clock.
    pub fn line(&self, now: Time, wall: SystemTime) -> String {
        let starts = self.starts;
        let past = |at: Time| wall.checked_sub(now.saturating_sub(at)).unwrap_or(wall);
        let time_of_day = |time| stamp(time).split_off("YYYY/MM/DD ".len());
        match self.state {
            State::Running { since } => {
                let pid = self.pid.map(Pid::as_raw).unwrap_or_default();
                let refused = self.refused.as_ref().map(|refused| format!(", but {refused} is refused"));
                let test = match self.last_passed {
                    _ if !self.monitored => "not monitored".to_owned(),
                    Some(Passed { at, round_trip }) => {
                        let took = in_units(round_trip, Duration::from_millis(1));
                        format!("last test passed at {}, round trip {took} ms", time_of_day(past(at)))
                    }
                    None => "no test has passed yet".to_owned(),
                };
                let (since, refused) = (stamp(past(since)), refused.unwrap_or_default());
                format!("ssh {pid} up since {since}{refused}, starts {starts}; {test}")
            }
            State::Waiting { until } => {
                let at = wall.checked_add(until.saturating_sub(now));
                let last = self.last_failure.as_ref().map(|how| format!("; last: {how}")).unwrap_or_default();
                let at = at.map(time_of_day).unwrap_or_default();
                format!("waiting until {at} to start ssh; starts so far {starts}{last}")
            }
            State::Starting => "starting ssh".to_owned(),
            State::Stopping { .. } => format!("ending ssh; starts so far {starts}"),
            State::Over => "ending".to_owned(),
        }
    }
}
