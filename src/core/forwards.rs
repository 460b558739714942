//! The forwards that the user asked for: which of them work, and when ssh is restarted for those that do not
//! (autossh(1), FORWARDS).

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::event::Action;
use crate::messages;
use crate::time::{Time, earliest};

/// Time from a refusal to the first restart; it doubles for each further one.
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// ssh's lines about its forwards arrive together: after this time all of them are known.
const SETTLE: Duration = Duration::from_secs(1);
/// A session that has lived this long on its TCP connection has the forwards that were not refused.
const PROOF: Duration = Duration::from_secs(30);
/// Maximum number of restarts for a remote forward that never worked, while others do, ...
const LIMITED_TRIES: u32 = 5;
/// ... within this time.
const LIMITED_TIME: Duration = Duration::from_secs(600);

/// Where a forward listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listen {
    /// A TCP port.
    Port(u16),
    /// The path of a socket.
    Path(String),
}

/// A forward that ssh could not set up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The server refuses to listen there.
    Remote(Listen),
    /// ssh cannot listen here; one of the addresses that it tried.
    Local(SocketAddr),
}

/// The forwards on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Where the server listens (`-R`); a port may occur several times.
    pub remote: Vec<Listen>,
    /// Where ssh listens here (`-L`, `-D`).
    pub local: Vec<Listen>,
    /// There is a tunnel device (`-w`): more than forwards may depend on the session.
    pub tunnel: bool,
}

/// What is known about the forwards.
#[derive(Debug)]
pub struct Forwards {
    asked: Asked,
    /// The longest time between two restarts.
    longest: Duration,
    /// The remote forwards that have worked; one that is given twice may be here twice.
    had: Vec<Listen>,
    /// The restarts for forwards so far, until all of them work.
    series: Option<Series>,
    session: Option<Session>,
}

/// Restarts at growing intervals.
#[derive(Debug)]
struct Series {
    began: Time,
    tries: u32,
    step: Duration,
    /// The warning has been logged.
    warned: bool,
}

/// What the running ssh has reported about its forwards.
#[derive(Debug, Default)]
struct Session {
    remote: Vec<Listen>,
    local: Vec<SocketAddr>,
    first_refusal: Time,
    /// When all refusals are known, and it is decided what to do.
    decide_at: Option<Time>,
    retry_at: Option<Time>,
    proof_at: Option<Time>,
    /// It uses a shared connection, or shares its own.
    shared: bool,
}

/// What to do about refused forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Restart ssh until they work: one worked before, or none works.
    Persist,
    /// Restart ssh a few times only, because others work.
    Try,
    /// Restart ssh once the local ports are free.
    AwaitLocal,
    /// Nothing: a restart cannot help, or would do more harm than good.
    LeaveAlone,
}

/// What the loop must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    None,
    /// Restart ssh; this counts neither for the backoff nor for the number of starts.
    Restart,
    /// Check whether these local addresses are free.
    CheckLocal(Vec<SocketAddr>),
}

impl Forwards {
    /// Nothing is known yet; `poll` is the longest time between two restarts.
    pub fn new(asked: Asked, poll: Duration) -> Forwards {
        Forwards { asked, longest: poll, had: Vec::new(), series: None, session: None }
    }

    /// Whether there are any.
    pub fn are_asked_for(&self) -> bool {
        !self.asked.remote.is_empty() || !self.asked.local.is_empty()
    }

    /// A new ssh is running.
    pub fn started(&mut self) {
        self.session = Some(Session::default());
    }

    /// ssh has exited, or is being terminated.
    pub fn stopped(&mut self) {
        self.session = None;
    }

    /// ssh's TCP connection was established at `now`.
    pub fn established(&mut self, now: Time) {
        // Forwards of ssh_config's are known once one was refused.
        let known = self.are_asked_for() || self.series.is_some();
        if let Some(session) = self.session.as_mut().filter(|_| known) {
            session.proof_at = Some(now.saturating_add(PROOF));
        }
    }

    /// ssh uses a shared connection, or shares its own.
    pub fn shared(&mut self) {
        if let Some(session) = &mut self.session {
            session.shared = true;
        }
    }

    /// ssh has reported a refused forward.
    pub fn refused(&mut self, refusal: Refusal, now: Time) {
        let Some(session) = &mut self.session else {
            return;
        };
        if !session.is_refused() {
            session.first_refusal = now;
        }
        match refusal {
            Refusal::Remote(listen) => session.remote.push(listen),
            Refusal::Local(address) => session.local.push(address),
        }
        if session.decide_at.is_none() {
            session.decide_at = Some(now.saturating_add(SETTLE));
        }
    }

    /// Whether something is refused in this session.
    pub fn is_refused(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_refused)
    }

    /// What is refused in this session, as text.
    pub fn refused_text(&self) -> Option<String> {
        let session = self.session.as_ref().filter(|session| session.is_refused())?;
        Some(messages::refused(&session.remote, &session.local))
    }

    /// A test has passed, or the session has lived long enough: forwards that were not refused work.
    pub fn proven(&mut self, actions: &mut Vec<Action>) {
        let Some(session) = &mut self.session else {
            return;
        };
        session.proof_at = None;
        let standing = without(&self.asked.remote, &session.remote);
        let new = without(&standing, &self.had);
        self.had.extend(new);
        if !session.is_refused() && self.series.take().is_some_and(|series| series.warned) {
            actions.push(Action::info(messages::FORWARDS_WORK));
        }
    }

    /// When [`Forwards::take`] must be called.
    pub fn due(&self) -> Option<Time> {
        let session = self.session.as_ref()?;
        earliest(session.decide_at, earliest(session.retry_at, session.proof_at))
    }

    /// Does what is due at `now`.
    pub fn take(&mut self, now: Time, actions: &mut Vec<Action>) -> Step {
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let Some(session) = &mut self.session else {
            return Step::None;
        };
        if is_due(session.proof_at) {
            self.proven(actions);
            return Step::None;
        }
        if is_due(session.decide_at) {
            session.decide_at = None;
            self.decide(now, actions);
            return Step::None;
        }
        if !is_due(session.retry_at) {
            return Step::None;
        }
        session.retry_at = None;
        match self.plan(now) {
            Plan::LeaveAlone => Step::None,
            Plan::Persist | Plan::Try => {
                self.count_try();
                actions.push(Action::info(messages::restarting_for(&self.refused_text().unwrap_or_default())));
                Step::Restart
            }
            Plan::AwaitLocal => {
                Step::CheckLocal(self.session.as_ref().map(|session| session.local.clone()).unwrap_or_default())
            }
        }
    }

    /// The local addresses were checked. Returns whether ssh must be restarted.
    pub fn local_checked(&mut self, free: bool, now: Time, actions: &mut Vec<Action>) -> bool {
        if self.plan(now) != Plan::AwaitLocal {
            return false;
        }
        self.count_try();
        if free {
            actions.push(Action::info(messages::restarting_for(&self.refused_text().unwrap_or_default())));
            return true;
        }
        if let (Some(session), Some(series)) = (&mut self.session, &self.series) {
            session.retry_at = Some(now.saturating_add(series.step));
        }
        false
    }

    /// The network has come back, or HUP asks for a new attempt: the series starts again.
    pub fn restart_series(&mut self, now: Time) {
        let first = FIRST_RETRY.min(self.longest);
        let Some(series) = &mut self.series else {
            return;
        };
        *series = Series { began: now, tries: 0, step: first, warned: series.warned };
        if let Some(session) = self.session.as_mut().filter(|session| session.is_refused()) {
            let soon = now.saturating_add(first);
            session.retry_at = Some(session.retry_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// Decides what to do about all refusals.
    fn decide(&mut self, now: Time, actions: &mut Vec<Action>) {
        let step = FIRST_RETRY.min(self.longest);
        self.series.get_or_insert(Series { began: now, tries: 0, step, warned: false });
        let plan = self.plan(now);
        let text = self.refused_text().unwrap_or_default();
        let (Some(session), Some(series)) = (&mut self.session, &mut self.series) else {
            return;
        };
        let at = session.first_refusal.saturating_add(series.step).max(now);
        session.retry_at = (plan != Plan::LeaveAlone).then_some(at);
        let wait = at.saturating_sub(now);
        let warning = match plan {
            Plan::Persist => Some(messages::still_held(&text, wait)),
            Plan::Try => None,
            Plan::AwaitLocal => Some(messages::awaiting_local(&text)),
            Plan::LeaveAlone if series.tries > 0 => Some(messages::never_forwarded(&text)),
            Plan::LeaveAlone => Some(messages::left_alone(&text)),
        };
        match warning {
            Some(warning) if !series.warned => {
                series.warned = true;
                actions.push(Action::warning(warning));
            }
            _ if plan == Plan::LeaveAlone => {}
            _ => actions.push(Action::info(messages::trying_again(&text, wait))),
        }
    }

    /// Counts a restart or check: the time to the next one doubles.
    fn count_try(&mut self) {
        if let Some(series) = &mut self.series {
            series.tries = series.tries.saturating_add(1);
            series.step = series.step.saturating_mul(2).min(self.longest);
        }
    }

    /// What to do at `now` about the refusals of this session.
    fn plan(&self, now: Time) -> Plan {
        let Some(session) = &self.session else {
            return Plan::LeaveAlone;
        };
        let standing = without(&self.asked.remote, &session.remote);
        let lost = !without(&self.had, &standing).is_empty();
        if session.shared || (self.asked.tunnel && !lost) {
            return Plan::LeaveAlone;
        }
        let local: Vec<Listen> = session.local.iter().map(|address| Listen::Port(address.port())).collect();
        let none_stands = standing.is_empty() && without(&self.asked.local, &local).is_empty();
        let exhausted = self
            .series
            .as_ref()
            .is_some_and(|series| series.tries >= LIMITED_TRIES || now.saturating_sub(series.began) >= LIMITED_TIME);
        match (session.remote.is_empty(), session.local.is_empty()) {
            (false, _) if lost || none_stands => Plan::Persist,
            (false, _) if !exhausted => Plan::Try,
            (_, false) => Plan::AwaitLocal,
            (_, true) => Plan::LeaveAlone,
        }
    }
}

impl Session {
    fn is_refused(&self) -> bool {
        !self.remote.is_empty() || !self.local.is_empty()
    }
}

/// `all` without the elements of `less`, each once.
fn without(all: &[Listen], less: &[Listen]) -> Vec<Listen> {
    let mut rest = all.to_vec();
    for listen in less {
        if let Some(index) = rest.iter().position(|other| other == listen) {
            rest.swap_remove(index);
        }
    }
    rest
}

#[cfg(test)]
mod tests;
