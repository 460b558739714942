//! ssh's own TCP connection: since when it is established, and whether its local address still exists (autossh(1), THE
//! NETWORK).

use alloc::string::String;
use core::time::Duration;

use crate::time::{Time, earliest};

/// Time from the start of ssh to the first look for its connection, ...
const FIRST_LOOK: Duration = Duration::from_millis(200);
/// ... which is multiplied by this for each further look: the kernel takes milliseconds to print its table of sockets.
const LOOK_FACTOR: u32 = 4;
/// If no connection is found by this time, none can be found.
const LAST_LOOK: Duration = Duration::from_secs(200);
/// Time from the last network change to a check of the address, so that all addresses and routes are there.
const SETTLE: Duration = Duration::from_secs(1);
/// The longest delay of a check by a network that does not settle.
const MAX_SETTLE: Duration = Duration::from_secs(5);
/// An address counts as gone if it is so twice, this far apart: it may return (DHCP, IPv6 duplicate address detection).
const CONFIRM: Duration = Duration::from_secs(3);

/// The result of a look for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// No connection yet.
    None,
    /// A TCP connection of its own, or of its only child with one.
    Established,
    /// The same, and other ssh processes share it: ssh is a ControlMaster.
    Master,
    /// It is the client of a ControlMaster.
    Shared,
    /// It cannot be known: no /proc, another network namespace, several candidates.
    Unknown,
}

/// What is known about the connection of the running ssh.
#[derive(Debug)]
pub struct LinkWatch {
    found: Link,
    /// When it was found established.
    established_at: Option<Time>,
    next_look: Option<Time>,
    step: Duration,
    check: Option<Check>,
}

/// A check of the address that is due.
#[derive(Debug)]
struct Check {
    /// The first network change that asked for it.
    first: Time,
    at: Time,
    /// The address was gone at the last check.
    suspected: bool,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Another look for the connection.
    Look,
    /// A check of its address.
    Check,
}

impl LinkWatch {
    /// For an ssh started at `now`.
    pub fn new(now: Time) -> LinkWatch {
        LinkWatch {
            found: Link::None,
            established_at: None,
            next_look: Some(now.saturating_add(FIRST_LOOK)),
            step: FIRST_LOOK,
            check: None,
        }
    }

    /// What was found last.
    pub fn found(&self) -> Link {
        self.found
    }

    /// Since when the connection is known to be established.
    pub fn established_at(&self) -> Option<Time> {
        self.established_at
    }

    /// When [`LinkWatch::take`] returns something.
    pub fn due(&self) -> Option<Time> {
        earliest(self.next_look, self.check.as_ref().map(|check| check.at))
    }

    /// Takes what is due at `now`; it counts as begun.
    pub fn take(&mut self, now: Time) -> Option<Due> {
        if self.next_look.is_some_and(|at| at <= now) {
            self.step = self.step.saturating_mul(LOOK_FACTOR);
            self.next_look = Some(now.saturating_add(self.step));
            return Some(Due::Look);
        }
        let check = self.check.as_mut().filter(|check| check.at <= now)?;
        // The result, which follows at once, decides what happens to it.
        check.at = now.saturating_add(CONFIRM);
        Some(Due::Check)
    }

    /// Records the result of a look. Once the connection stands, only whether it is shared can be new.
    pub fn seen(&mut self, link: Link, now: Time) {
        if self.established_at.is_some() {
            return;
        }
        let link = if link == Link::Master { Link::Established } else { link };
        self.found = if link == Link::None && self.step > LAST_LOOK { Link::Unknown } else { link };
        if self.found != Link::None {
            self.next_look = None;
        }
        if link == Link::Established {
            self.established_at = Some(now);
        }
    }

    /// ssh is logged in: a connection that was not found by now will not be.
    pub fn logged_in(&mut self) {
        if self.found == Link::None {
            self.found = Link::Unknown;
            self.next_look = None;
        }
    }

    /// A network change may have replaced the address.
    pub fn network_changed(&mut self, now: Time) {
        if self.found != Link::Established {
            return;
        }
        let (first, suspected) = self.check.as_ref().map_or((now, false), |check| (check.first, check.suspected));
        // A suspicion is confirmed later.
        if !suspected {
            let at = now.saturating_add(SETTLE).min(first.saturating_add(MAX_SETTLE));
            self.check = Some(Check { first, at, suspected });
        }
    }

    /// The address was checked; `gone` is the one that is gone. Returns it once that is confirmed.
    pub fn checked(&mut self, gone: Option<String>) -> Option<String> {
        let Some(address) = gone else {
            self.check = None;
            return None;
        };
        let check = self.check.as_mut()?;
        if check.suspected {
            self.check = None;
            return Some(address);
        }
        check.suspected = true;
        None
    }
}

#[cfg(test)]
mod tests;
