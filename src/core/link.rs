//! ssh's own TCP connection: since when it has been there, and whether its local address still is (autossh(1), THE
//! NETWORK).

use alloc::string::String;
use core::time::Duration;

use crate::time::{Time, earliest};

/// The first look for the connection comes this long after ssh's start, ...
const FIRST_LOOK: Duration = Duration::from_millis(200);
/// ... and each further one this many times as late: the kernel's table of sockets takes it milliseconds to print.
const LOOK_FACTOR: u32 = 4;
/// An ssh without a connection after this time has none that could be found.
const LAST_LOOK: Duration = Duration::from_secs(200);
/// The address is checked this long after the last network change, so that addresses and routes are all there.
const SETTLE: Duration = Duration::from_secs(1);
/// A network that never settles puts the check off no longer than this.
const MAX_SETTLE: Duration = Duration::from_secs(5);
/// An address counts as gone when it was so twice, this far apart: it may be about to return (DHCP, IPv6 duplicate address detection).
const CONFIRM: Duration = Duration::from_secs(3);

/// What a look at ssh has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// No connection yet.
    None,
    /// A TCP connection of its own, or of its only child with one.
    Established,
    /// It is a client of a shared connection, or shares its own.
    Shared,
    /// Nothing can be learnt: no /proc, another network namespace, several candidates.
    Unknown,
}

/// What is known of the connection of the ssh that runs.
#[derive(Debug)]
pub struct LinkWatch {
    found: Link,
    /// When it was found established.
    established_at: Option<Time>,
    next_look: Option<Time>,
    step: Duration,
    check: Option<Check>,
}

/// A look at the address that is due.
#[derive(Debug)]
struct Check {
    /// The first network change that asked for it.
    first: Time,
    at: Time,
    /// The address was gone when it was last looked at.
    suspected: bool,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Another look for the connection.
    Look,
    /// A look at its address.
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

    /// Since when the connection has been known to stand.
    pub fn established_at(&self) -> Option<Time> {
        self.established_at
    }

    /// When [`LinkWatch::take`] has something.
    pub fn due(&self) -> Option<Time> {
        earliest(self.next_look, self.check.as_ref().map(|check| check.at))
    }

    /// What is due at `now`; it counts as begun.
    pub fn take(&mut self, now: Time) -> Option<Due> {
        if self.next_look.is_some_and(|at| at <= now) {
            self.step = self.step.saturating_mul(LOOK_FACTOR);
            self.next_look = Some(now.saturating_add(self.step));
            return Some(Due::Look);
        }
        let check = self.check.as_mut().filter(|check| check.at <= now)?;
        // The result, which comes at once, decides what becomes of it.
        check.at = now.saturating_add(CONFIRM);
        Some(Due::Check)
    }

    /// A look has found this.
    pub fn seen(&mut self, link: Link, now: Time) {
        self.found = if link == Link::None && self.step > LAST_LOOK { Link::Unknown } else { link };
        if self.found != Link::None {
            self.next_look = None;
        }
        if link == Link::Established {
            self.established_at = Some(now);
        }
    }

    /// A network change may have replaced the address.
    pub fn network_changed(&mut self, now: Time) {
        if self.found != Link::Established {
            return;
        }
        let (first, suspected) = self.check.as_ref().map_or((now, false), |check| (check.first, check.suspected));
        // A suspicion is confirmed at its own time.
        if !suspected {
            let at = now.saturating_add(SETTLE).min(first.saturating_add(MAX_SETTLE));
            self.check = Some(Check { first, at, suspected });
        }
    }

    /// The address was looked at; `gone` is the one that is gone. Returns it once that is confirmed.
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
