//! A scenario that is played while a system call fails, and what is said of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Fault;
use super::calls::CALLS;
use super::scenarios::Scenario;
use crate::harness::{Running, all_of, injector, is_ours};

/// Longer than anything takes that goes on: 5 s until ssh is killed, 10 s for the caller of -f.
const LIMIT: Duration = Duration::from_secs(30);

/// What came of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Recovered,
    Ended,
    /// This time the process made fewer calls.
    NotReached,
}

/// What the injector has written down so far.
#[derive(Default)]
pub struct Trace {
    /// The calls of each process, with their first two arguments.
    pub calls: BTreeMap<usize, Vec<[i64; 3]>>,
    pub pids: BTreeMap<usize, i32>,
    pub ends: BTreeMap<usize, i32>,
    pub executed: Vec<usize>,
    /// The fault has happened.
    pub reached: bool,
}

impl Trace {
    pub fn read(running: &Running) -> Trace {
        let mut trace = Trace::default();
        let text = running.text("trace");
        // The last line may be half written.
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |place: usize| words[place].parse::<i64>().unwrap();
            let process = || usize::try_from(number(1)).unwrap();
            let value = || i32::try_from(number(2)).unwrap();
            match words[0] {
                "call" => trace.calls.entry(process()).or_default().push([2, 3, 4].map(number)),
                "pid" => drop(trace.pids.insert(process(), value())),
                "end" => drop(trace.ends.insert(process(), value())),
                "exec" => trace.executed.push(process()),
                _ => trace.reached = true,
            }
        }
        trace
    }

    /// How many calls of ours there were.
    pub fn length(&self) -> usize {
        self.calls.values().map(Vec::len).sum()
    }
}

/// Why a scenario came to no good end.
pub enum Stop {
    /// autossh has ended.
    Ended,
    /// This was waited for in vain.
    Stuck(String),
}

/// A scenario under way.
pub struct Play {
    pub scenario: &'static Scenario,
    pub running: Running,
}

impl Play {
    pub fn start(scenario: &'static Scenario, fault: Option<&Fault>) -> Play {
        let injector = injector();
        let before = [injector.to_str().unwrap(), "trace", &fault.map_or("-".into(), Fault::words)];
        let running = (scenario.autossh)(&before).start();
        // It is the injector that it sees using the processor.
        running.explain(1_000_000);
        Play { scenario, running }
    }

    /// Waits until `condition` holds.
    pub fn until(&mut self, what: &str, mut condition: impl FnMut(&Running) -> bool) -> Result<(), Stop> {
        let start = Instant::now();
        loop {
            if condition(&self.running) {
                return Ok(());
            }
            // Not while the caller of -f has ended alone.
            if self.running.has_ended().is_some() {
                return if condition(&self.running) { Ok(()) } else { Err(Stop::Ended) };
            }
            if start.elapsed() > LIMIT {
                return Err(Stop::Stuck(what.into()));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the `number`th start of ssh.
    pub fn until_start(&mut self, number: usize) -> Result<(), Stop> {
        self.until(&format!("start {number} of ssh"), |running| running.starts().len() >= number)
    }

    /// Waits until the log has `text` that many times more than `before`.
    pub fn until_logged(&mut self, text: &str, times: usize) -> Result<(), Stop> {
        self.until(&format!("{text:?} in the log, {times} times"), |running| running.logged(text) >= times)
    }

    /// The process that supervises.
    fn main(&self) -> usize {
        usize::from(self.scenario.background)
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Trace::read(&self.running).pids.get(&self.main()) {
            let _ = kill(Pid::from_raw(*pid), signal);
        }
    }

    /// Waits until nothing happens any more, as it must where nothing is due.
    pub fn rests(&self) -> Result<(), Stop> {
        const WINDOW: Duration = Duration::from_millis(200);
        const MOST: usize = 20;
        let start = Instant::now();
        loop {
            let before = Trace::read(&self.running).length();
            thread::sleep(WINDOW);
            let calls = Trace::read(&self.running).length() - before;
            if calls <= MOST {
                return Ok(());
            }
            if start.elapsed() > LIMIT {
                return Err(Stop::Stuck(format!("rest: {calls} system calls in {WINDOW:?}")));
            }
        }
    }

    /// Waits until the caller of -f knows.
    pub fn until_told(&mut self) -> Result<(), Stop> {
        self.until("the end of the caller", |running| Trace::read(running).ends.contains_key(&0))
    }

    /// Ends it, as anybody would. One whose caller was told that nothing runs must end by itself.
    pub fn end(&mut self) -> Result<(), Stop> {
        let told = Trace::read(&self.running).ends.get(&0).copied();
        if self.scenario.background && told.is_some_and(|status| status != 0) {
            return self.until("the end of a daemon whose caller was not told 0", |_| false);
        }
        self.signal(Signal::SIGTERM);
        match self.until("the end after TERM", |_| false) {
            Err(Stop::Ended) => Ok(()),
            other => other,
        }
    }

    /// Plays it to its end. Returns what did not hold.
    pub fn judge(&mut self, fault: &Fault, healthy: usize) -> Result<Verdict, String> {
        let played = (self.scenario.play)(self).and_then(|()| self.end());
        let running = &self.running;
        let said = running.log() + &running.stderr();
        let explained = said.contains(&fault.text());
        let verdict = match played {
            Err(Stop::Stuck(what)) => return Err(format!("it hangs, or is not there: {what}")),
            Err(Stop::Ended) if !explained => return Err("it ended without saying why".into()),
            Err(Stop::Ended) => Verdict::Ended,
            Ok(()) => Verdict::Recovered,
        };
        let trace = Trace::read(running);
        // 1.4g leaves ssh's own words to a stderr that is gone.
        let due = self.scenario.logs.iter().filter(|text| is_ours() || !text.starts_with("ssh: "));
        let missing = due.into_iter().find(|text| running.logged(text) == 0);
        if let (Verdict::Recovered, Some(text), false) = (verdict, missing, explained || said.contains("lines lost")) {
            return Err(format!("the log has no {text:?}, and nothing says why"));
        }
        self.statuses(&trace, verdict)?;
        if trace.length() > 3 * healthy + 500 {
            return Err(format!("it spins: {} system calls, and {healthy} in a healthy run", trace.length()));
        }
        let start = Instant::now();
        while let Some(pid) = all_of(running.directory()).first() {
            if said.contains("leaving it") {
                // It could not be killed, which has been said.
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            if start.elapsed() > Duration::from_secs(3) {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                return Err(format!("it leaves {} behind", name.trim()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(if trace.reached { verdict } else { Verdict::NotReached })
    }

    /// Whether the statuses are true.
    fn statuses(&self, trace: &Trace, verdict: Verdict) -> Result<(), String> {
        let status = |process| trace.ends.get(&process).copied();
        if let Some((process, status)) = trace.ends.iter().find(|(_, status)| [134, 135, 139].contains(*status)) {
            return Err(format!("process {process} crashed with status {status}"));
        }
        if status(self.main()) == Some(0) {
            return Err("it ended with status 0".into());
        }
        if !self.scenario.background {
            return Ok(());
        }
        match (status(0), verdict) {
            (Some(0), _) if trace.executed.is_empty() => Err("its caller was told 0, and no ssh has started".into()),
            (Some(0), _) => Ok(()),
            (_, Verdict::Recovered) => Err("its caller was not told 0, and all is well".into()),
            _ if self.running.stderr().is_empty() => Err("its caller was told nothing".into()),
            _ => Ok(()),
        }
    }

    /// All there is to know.
    pub fn story(&self) -> String {
        let trace = self.running.text("trace");
        let lines: Vec<&str> = trace.lines().collect();
        let last: Vec<String> = lines[lines.len().saturating_sub(25)..].iter().map(|line| named(line)).collect();
        format!("{}trace: {}\n", self.running.story(), last.join(", "))
    }
}

/// A line of the trace with the call's name.
fn named(line: &str) -> String {
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["call", process, number, ..] => {
            let call = CALLS.iter().find(|call| call.number.to_string() == number);
            format!("{process} {}", call.map_or(number, |call| call.name))
        }
        _ => line.to_owned(),
    }
}
