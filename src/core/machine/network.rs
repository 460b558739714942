//! What the [`Machine`] does when the network changes: a wait may end, a test come sooner, and the address that ssh is
//! connected from may be gone (autossh(1), THE NETWORK).

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::Machine;
use crate::event::Action;
use crate::link::Link;
use crate::messages;
use crate::state::{State, Then};
use crate::time::Time;

/// Time from a network change to the end of a backoff wait, since an address and its route are two changes.
const START_SETTLE: Duration = Duration::from_millis(200);
/// The shortest interval at which network changes are read: a busy container host has many.
const COALESCE: Duration = Duration::from_millis(200);

impl Machine {
    /// From when on network changes are acted on, if they are at all.
    pub fn network_relevant_from(&self) -> Option<Time> {
        let from = match self.state {
            State::Waiting { .. } => Some(self.hold_off.until()),
            State::Running { .. } if self.forwards.is_refused() || self.is_roaming() => Some(self.coalesce_until),
            State::Running { .. } => self.health.has_consequence().then(|| self.hold_off.until()),
            State::Starting | State::Stopping { .. } | State::Over => None,
        };
        from.filter(|_| self.rules.watch_network)
    }

    pub(super) fn link_seen(&mut self, found: Link, now: Time) {
        let Some(link) = &mut self.link else {
            return;
        };
        let stood = link.established_at().is_some();
        link.seen(found, now);
        if matches!(found, Link::Established | Link::Master) && !stood {
            self.forwards.established(now);
        }
        if matches!(found, Link::Master | Link::Shared) {
            self.forwards.shared();
        }
    }

    pub(super) fn address_checked(&mut self, gone: Option<String>, now: Time, actions: &mut Vec<Action>) {
        if let Some(address) = self.link.as_mut().and_then(|link| link.checked(gone)) {
            let text = messages::address_gone(&address);
            actions.push(Action::info(text.as_str()));
            self.end_ssh(Then::Restart, now, actions);
        }
    }

    /// Whether the loss of its local address may restart ssh. Without -N and a monitor it may be a shell in use.
    pub(super) fn may_roam(&self) -> bool {
        self.rules.watch_network && (self.rules.no_command || self.is_monitored())
    }

    /// Whether the loss of ssh's local address would be noticed now.
    fn is_roaming(&self) -> bool {
        self.may_roam() && self.link.as_ref().is_some_and(|link| link.found() == Link::Established)
    }

    pub(super) fn network_changed(&mut self, now: Time, actions: &mut Vec<Action>) {
        match self.state {
            State::Waiting { until } => {
                let soon = now.saturating_add(START_SETTLE);
                if until > soon {
                    actions.push(Action::debug("the network has changed: starting ssh now"));
                    self.hold_off.arm(now);
                    self.state = State::Waiting { until: soon };
                }
            }
            State::Running { .. } => {
                self.coalesce_until = now.saturating_add(COALESCE);
                if self.health.network_changed(now.max(self.hold_off.until())) {
                    actions.push(Action::debug("the network has changed: testing the connection soon"));
                }
                if self.is_roaming() {
                    if let Some(link) = &mut self.link {
                        link.network_changed(now);
                    }
                }
                self.forwards.restart_series(now);
            }
            State::Starting | State::Stopping { .. } | State::Over => {}
        }
    }
}
