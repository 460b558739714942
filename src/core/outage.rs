//! An outage is logged as one warning, when the first wait begins, and one line when a session works again (autossh(1),
//! LOGGING).

use alloc::string::String;
use core::time::Duration;

use crate::messages;

/// The failures in a row so far.
#[derive(Debug, Default)]
pub struct Outage {
    failures: u32,
    last: String,
    warned: bool,
}

impl Outage {
    /// ssh has failed; how, as text.
    pub fn failed(&mut self, how: String) {
        self.failures = self.failures.saturating_add(1);
        self.last = how;
    }

    /// Whether there are failures that no working session has followed.
    pub fn is_on(&self) -> bool {
        self.failures > 0
    }

    /// How ssh has failed last, if it has.
    pub fn last(&self) -> Option<&str> {
        self.is_on().then_some(&self.last)
    }

    /// The warning, if it is due: the next start is `wait` away.
    pub fn warning(&mut self, wait: Duration) -> Option<String> {
        let due = self.failures > 0 && !core::mem::replace(&mut self.warned, true);
        due.then(|| messages::outage(self.failures, &self.last, wait))
    }

    /// A session works. Returns the line for the log, if the outage was logged.
    pub fn over(&mut self) -> Option<String> {
        let over = core::mem::take(self);
        over.warned.then(|| messages::recovered(over.failures))
    }
}
