//! All timers, in one table from which both the next deadline and expiry are read.

use core::time::Duration;

use crate::backoff;
use crate::link::{Link, LinkWatch};
use crate::machine::Machine;
use crate::state::{State, StopPhase, Then};
use crate::time::{Time, earliest};

/// Time after which an ssh without a monitor counts as up, if its connection cannot be seen (autossh(1), SYSTEMD).
const UP_TIME: Duration = Duration::from_secs(1);
/// Time after which an ssh without a monitor counts as up, if its connection is established and no forward is refused.
const LINK_UP_TIME: Duration = Duration::from_secs(3);
/// Time after which readiness is reported in any case, so that an unreachable server does not delay the boot.
const READY_TIME: Duration = Duration::from_secs(30);

/// The timers, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Readiness must be reported.
    Readiness,
    /// AUTOSSH_MAXLIFETIME is over.
    Lifetime,
    /// ssh must be started.
    Start,
    /// ssh has not exited in time.
    Stop,
    /// ssh has lived long enough to count as working.
    Healthy,
    /// Something must be done about forwards.
    Forwards,
    /// ssh's connection must be looked for, or its address checked.
    Link,
    /// A connection test must be made.
    Test,
}

impl Timer {
    /// All of them, in the order of their priority.
    pub const ALL: [Timer; 8] = [
        Timer::Readiness,
        Timer::Lifetime,
        Timer::Start,
        Timer::Stop,
        Timer::Healthy,
        Timer::Forwards,
        Timer::Link,
        Timer::Test,
    ];
}

impl Machine {
    /// When `timer` expires, if it is set.
    pub(crate) fn due_at(&self, timer: Timer) -> Option<Time> {
        match (timer, self.state) {
            (_, State::Over) => None,
            (Timer::Readiness, _) if !self.readiness_pending => None,
            (Timer::Readiness, state) => earliest(self.up_at(state), Some(self.started_at.saturating_add(READY_TIME))),
            (Timer::Lifetime, state) if state.is_leaving() => None,
            (Timer::Lifetime, _) => self.rules.lifetime.map(|lifetime| self.started_at.saturating_add(lifetime)),
            (Timer::Start, State::Waiting { until }) => Some(until),
            (Timer::Start, _) => None,
            // No second ssh beside one that the kernel keeps.
            (Timer::Stop, State::Stopping { then: Then::Restart | Then::Retry, phase: StopPhase::Kill(_) }) => None,
            (Timer::Stop, State::Stopping { phase: StopPhase::Term(at) | StopPhase::Kill(at), .. }) => Some(at),
            (Timer::Stop, _) => None,
            // With a working monitor a test decides.
            (Timer::Healthy, State::Running { since }) if !self.health.has_consequence() && self.outage.is_on() => {
                Some(since.saturating_add(backoff::enough(self.rules.poll)))
            }
            (Timer::Healthy, _) => None,
            (Timer::Forwards, State::Running { .. }) => self.forwards.due(),
            (Timer::Link, State::Running { .. }) => self.link.as_ref().and_then(LinkWatch::due),
            (Timer::Test, State::Running { .. }) => self.health.due(),
            (Timer::Forwards | Timer::Link | Timer::Test, _) => None,
        }
    }

    /// When an ssh without a monitor counts as up.
    fn up_at(&self, state: State) -> Option<Time> {
        let State::Running { since } = state else {
            return None;
        };
        let link = self.link.as_ref().filter(|_| !self.health.is_tested())?;
        match link.found() {
            Link::None => None,
            Link::Established | Link::Master if self.forwards.is_refused() => None,
            Link::Established | Link::Master => Some(link.established_at()?.saturating_add(LINK_UP_TIME)),
            Link::Shared | Link::Unknown => Some(since.saturating_add(UP_TIME)),
        }
    }
}
