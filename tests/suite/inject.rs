//! Faults, injected one by one: a system call of a scenario fails, and autossh recovers, or ends and says why. It never
//! hangs or spins, leaves no process behind, and the status of its caller is true.
//!
//! `sh tests/inject.sh` runs this. A healthy run of each scenario shows its system calls; the first and the last few of
//! each kind, in each process, are made to fail in every way that is plausible for them.

mod calls;
mod play;
mod scenarios;

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, io, thread};

use nix::errno::Errno;

use crate::harness::{is_ours, is_root, needs};
use calls::{CALLS, Call, LASTING, NEVER_FAIL};
use play::{Play, Stop, Trace, Verdict};
use scenarios::{SCENARIOS, Scenario};

/// That many calls of a kind are made to fail, at the beginning and at the end of a process.
const FIRST: usize = 2;
const LAST: usize = 1;
/// Scenarios that are played at the same time: most of the time they wait.
const AT_ONCE: usize = 8;

/// A system call that fails.
#[derive(Clone, Copy)]
struct Fault {
    /// Counted in the order of the forks.
    process: usize,
    call: &'static Call,
    nth: usize,
    /// All that follow fail too.
    lasting: bool,
    errno: Errno,
}

impl Fault {
    /// In the words of the injector.
    fn words(&self) -> String {
        let more = if self.lasting { "+" } else { "" };
        format!("{}:{}:{}{more}:{}", self.process, self.call.number, self.nth, self.errno as i32)
    }

    /// What people call the error.
    fn text(&self) -> String {
        let text = io::Error::from(self.errno).to_string();
        text.split(" (os error").next().unwrap().to_owned()
    }
}

/// The faults of a scenario, and how many calls a healthy run of it makes.
fn faults(scenario: &'static Scenario) -> (Vec<Fault>, usize) {
    let mut play = Play::start(scenario, None);
    if let Err(stop) = (scenario.play)(&mut play).and_then(|()| play.end()) {
        let what = match stop {
            Stop::Ended => "its end".into(),
            Stop::Stuck(what) => what,
        };
        panic!("{} fails without any fault: {what}\n{}", scenario.name, play.story());
    }
    let trace = Trace::read(&play.running);
    let last = trace.calls.keys().copied().max().unwrap();
    let mut faults = Vec::new();
    // The children that start ssh are all alike.
    for (&process, calls) in trace.calls.iter().filter(|(process, _)| **process < 4 || **process == last) {
        // What the loader and the C library do is not ours. autossh begins by blocking the signals; in 1.4g's case the last
        // thing that the loader does shows where it begins.
        let begin = if is_ours() { libc::SYS_rt_sigprocmask } else { libc::SYS_munmap };
        let ours = calls.iter().position(|[number, ..]| *number == begin && process == 0).unwrap_or_default();
        let mut counts = BTreeMap::new();
        let mut places: BTreeMap<[i64; 2], Vec<usize>> = BTreeMap::new();
        for (place, args) in calls.iter().enumerate() {
            let nth = counts.entry(args[0]).or_insert(0);
            *nth += 1;
            if place >= ours {
                places.entry(calls::kind(*args)).or_default().push(*nth);
            }
        }
        for ([number, _], nths) in places {
            let Some(call) = CALLS.iter().find(|call| call.number == number) else {
                assert!(NEVER_FAIL.contains(&number), "how can system call {number} fail? {:?}", scenario.name);
                continue;
            };
            for (place, nth) in nths.iter().copied().enumerate() {
                if place < FIRST || place + LAST >= nths.len() {
                    let fault = |errno: &Errno| Fault { process, call, nth, lasting: false, errno: *errno };
                    faults.extend(call.errnos.iter().map(fault));
                    let lasting = |errno: &Errno| Fault { lasting: true, ..fault(errno) };
                    faults.extend(
                        call.errnos
                            .iter()
                            .filter(|errno| LASTING.contains(&number) && **errno != Errno::EINTR)
                            .map(lasting),
                    );
                }
            }
        }
    }
    (faults, trace.length())
}

/// What is done with all faults.
#[derive(Default)]
struct Tally {
    recovered: usize,
    ended: usize,
    not_reached: usize,
    failed: Vec<String>,
}

#[test]
#[ignore = "takes minutes: sh tests/inject.sh"]
fn every_fault() {
    let seconds = env::var("INJECT_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let wanted = env::var("INJECT_ONLY").unwrap_or_default();
    let mut list = Vec::new();
    let can_run = |scenario: &&Scenario| scenario.name != "syslog" || needs("root", is_root());
    for scenario in SCENARIOS.iter().filter(|scenario| is_ours() || scenario.reference).filter(can_run) {
        let (faults, healthy) = faults(scenario);
        let mut ranks: BTreeMap<_, usize> = BTreeMap::new();
        for fault in faults {
            let rank = ranks.entry((fault.process, fault.call.number)).or_default();
            *rank += 1;
            list.push((*rank, scenario, fault, healthy));
        }
    }
    // If there is no time for all, then one of each kind comes first.
    list.sort_by_key(|(rank, ..)| *rank);
    let name = |scenario: &Scenario, fault: &Fault| {
        let Fault { process, call, nth, lasting, errno } = fault;
        let more = if *lasting { "+" } else { "" };
        format!("{}: process {process}, {} {nth}{more}: {errno:?}", scenario.name, call.name)
    };
    list.retain(|(_, scenario, fault, _)| name(scenario, fault).contains(&wanted));
    let (total, tally) = (list.len(), Mutex::new(Tally::default()));
    let queue = Mutex::new(list.into_iter());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while until.is_none_or(|until| Instant::now() < until) {
                    let Some((_, scenario, fault, healthy)) = queue.lock().unwrap().next() else { break };
                    let name = name(scenario, &fault);
                    // What the harness finds at the end of every case is found here too.
                    let judged = catch_unwind(|| {
                        let mut play = Play::start(scenario, Some(&fault));
                        play.judge(&fault, healthy).inspect_err(|what| eprintln!("{name}: {what}\n{}", play.story()))
                    });
                    let mut tally = tally.lock().unwrap();
                    match judged.unwrap_or_else(|_| Err("see above".into())) {
                        Ok(Verdict::Recovered) => tally.recovered += 1,
                        Ok(Verdict::Ended) => tally.ended += 1,
                        Ok(Verdict::NotReached) => tally.not_reached += 1,
                        Err(what) => tally.failed.push(format!("{name}: {what}")),
                    }
                }
            });
        }
    });
    let Tally { recovered, ended, not_reached, failed } = tally.into_inner().unwrap();
    let held = recovered + ended;
    let injected = held + failed.len();
    eprintln!(
        "{injected} faults of {total} injected: {held} held ({recovered} recovered, {ended} ended with a reason), \
         {} did not; {not_reached} were not reached",
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(injected > 0, "no fault was injected");
}
