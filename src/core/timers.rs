//! Everything that can come due, in one table that both the next deadline and the expiry are read from.

use core::time::Duration;

use crate::backoff;
use crate::link::{Link, LinkWatch};
use crate::machine::Machine;
use crate::state::{State, StopPhase, Then};
use crate::time::{Time, earliest};

/// An ssh without a monitor, of whose connection nothing can be learnt, is up when it has lived this long (autossh(1),
/// SYSTEMD).
const UP_TIME: Duration = Duration::from_secs(1);
/// An ssh without a monitor is up when its connection has stood this long without a refused forward.
const LINK_UP_TIME: Duration = Duration::from_secs(3);
/// systemd is told so at the latest, so that an unreachable server never holds up a boot.
const READY_TIME: Duration = Duration::from_secs(30);

/// What can come due, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// systemd is to hear that the service is up.
    Readiness,
    /// autossh has lived for long enough (AUTOSSH_MAXLIFETIME).
    Lifetime,
    /// ssh is to be started.
    Start,
    /// ssh has not ended in time.
    Stop,
    /// ssh has lived for so long that it is sound.
    Sound,
    /// Something is to be done about forwards.
    Forwards,
    /// ssh's connection is to be looked at.
    Link,
    /// A connection test is to be made.
    Test,
}

impl Timer {
    /// All of them, in the order of their priority.
    pub const ALL: [Timer; 8] = [
        Timer::Readiness,
        Timer::Lifetime,
        Timer::Start,
        Timer::Stop,
        Timer::Sound,
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
            // Never a second ssh beside one that the kernel does not let die.
            (Timer::Stop, State::Stopping { then: Then::Restart | Then::Retry, phase: StopPhase::Kill(_) }) => None,
            (Timer::Stop, State::Stopping { phase: StopPhase::Term(at) | StopPhase::Kill(at), .. }) => Some(at),
            (Timer::Stop, _) => None,
            // With a monitor that works, a test tells.
            (Timer::Sound, State::Running { since }) if !self.health.has_consequence() && self.outage.is_on() => {
                Some(since.saturating_add(backoff::enough(self.rules.poll)))
            }
            (Timer::Sound, _) => None,
            (Timer::Forwards, State::Running { .. }) => self.forwards.due(),
            (Timer::Link, State::Running { .. }) => self.link.as_ref().and_then(LinkWatch::due),
            (Timer::Test, State::Running { .. }) => self.health.due(),
            (Timer::Forwards | Timer::Link | Timer::Test, _) => None,
        }
    }

    /// When an ssh without a monitor is taken to be up.
    fn up_at(&self, state: State) -> Option<Time> {
        let State::Running { since } = state else {
            return None;
        };
        let link = self.link.as_ref().filter(|_| !self.health.is_tested())?;
        match link.found() {
            Link::None => None,
            Link::Established if self.forwards.is_refused() => None,
            Link::Established => Some(link.established_at()?.saturating_add(LINK_UP_TIME)),
            Link::Shared | Link::Unknown => Some(since.saturating_add(UP_TIME)),
        }
    }
}
