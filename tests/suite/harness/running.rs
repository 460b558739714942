//! An autossh that has been started.

use std::cell::Cell;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::rest::{self, Explained};
use super::{Start, end, is_ours, listens, wait_for};

/// An autossh that has been started.
pub struct Running {
    directory: tempfile::TempDir,
    child: Child,
    since: Instant,
    ended: Option<ExitStatus>,
    /// The processor time that it had used when it ended.
    used: Option<Duration>,
    /// How many events there were that its log does not show.
    events: Cell<u32>,
    /// Whether ssh may be there after autossh.
    ssh_may_outlive: Cell<bool>,
}

impl Running {
    /// One that has just been started in this directory.
    pub fn new(directory: tempfile::TempDir, child: Child) -> Running {
        Running {
            directory,
            child,
            since: Instant::now(),
            ended: None,
            used: None,
            events: Cell::new(0),
            ssh_may_outlive: Cell::new(false),
        }
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.explain(1);
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Whether it has a handler for a signal.
    pub fn catches(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
        caught.is_some_and(|mask| u64::from_str_radix(mask, 16).unwrap() & 1 << (signal as i32 - 1) != 0)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        if self.ended.is_none() {
            let what = format!("autossh's end; {}", self.story());
            self.ended = Some(wait_for(what, || self.try_wait()));
        }
        self.ended.unwrap()
    }

    /// Its exit status, if it has ended already; a signal counts as 128 + n.
    pub fn has_ended(&mut self) -> Option<i32> {
        self.ended = self.ended.or_else(|| self.try_wait());
        self.ended.map(|_| self.status())
    }

    /// Ends it and all that it has started.
    pub fn end(&mut self) {
        end(&mut self.child);
        rest::end_all_of(self.directory.path(), &self.starts());
    }

    /// Whether it has not ended.
    pub fn is_there(&self) -> bool {
        !super::is_gone(self.pid())
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        self.used = rest::used_by_the_dead(self.pid()).or(self.used);
        self.child.try_wait().unwrap()
    }

    /// Says that ssh may outlive autossh, as one does that ignores the signal of its parent's death.
    pub fn ssh_may_outlive_it(&self) {
        self.ssh_may_outlive.set(true);
    }

    /// Says that so many events have kept it busy that neither its log nor [`Running::signal`] shows.
    pub fn explain(&self, events: u32) {
        self.events.set(self.events.get() + events);
    }

    /// Waits for its end, and returns its exit status; a signal counts as 128 + n.
    pub fn status(&mut self) -> i32 {
        let status = self.wait();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The starts of ssh so far.
    pub fn starts(&self) -> Vec<Start> {
        (1..).map_while(|number| Start::read(&self.path(&format!("start.{number}")))).collect()
    }

    /// Waits for the `number`th start of ssh, from 1.
    pub fn wait_start(&self, number: usize) -> Start {
        wait_for(format!("start {number} of ssh; {}", self.story()), || {
            Start::read(&self.path(&format!("start.{number}")))
        })
    }

    /// Waits until ssh has started for the first time and autossh has logged its pid. 1.4g loses earlier signals.
    pub fn wait_up(&self) -> Start {
        let start = self.wait_start(1);
        self.wait_log("ssh child pid");
        start
    }

    /// Waits for a test that has begun since now and passes, and leaves none under way. Each ssh that forwards is asked for
    /// one, so that nothing depends on how long a login takes on a busy machine.
    pub fn wait_healthy(&self) {
        let mut asked: Option<(i32, usize, Instant)> = None;
        wait_for(format!("a test that passes; {}", self.story()), || {
            let start = self.starts().pop()?;
            let port = start.args().iter().skip_while(|arg| *arg != "-L").nth(1)?.split(':').next()?.parse().ok()?;
            if !listens(start.pid, port) || rest::is_testing(start.parent) {
                return None;
            }
            let passed = self.logged("connection ok");
            // 1.4g loses signals.
            let answered =
                |(ssh, _, at): (i32, usize, Instant)| ssh == start.pid && at.elapsed() < Duration::from_secs(3);
            if !asked.is_some_and(answered) {
                asked = Some((start.pid, passed, Instant::now()));
                let _ = kill(Pid::from_raw(start.parent), Signal::SIGALRM);
            }
            asked.is_some_and(|(_, before, _)| passed > before).then_some(())
        });
    }

    /// A file in the directory, as text; empty if it is not there.
    pub fn text(&self, name: &str) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = fs::File::open(self.path(name)) {
            file.read_to_end(&mut bytes).unwrap();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.text("log")
    }

    /// Its stderr so far.
    pub fn stderr(&self) -> String {
        self.text("stderr")
    }

    /// How often `text` is in the log so far.
    pub fn logged(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until `text` is in the log `times` times.
    pub fn wait_log_times(&self, text: &str, times: usize) {
        wait_for(format!("{times} times {text:?} in the log"), || (self.logged(text) >= times).then_some(()));
    }

    /// Waits until `text` is in the log.
    pub fn wait_log(&self, text: &str) {
        self.wait_log_times(text, 1);
    }

    /// Waits until a file is in the directory.
    pub fn wait_file(&self, name: &str) {
        wait_for(format!("the file {name}"), || self.path(name).exists().then_some(()));
    }

    /// What is known when something goes wrong.
    pub fn story(&self) -> String {
        format!("so far log:\n{}stderr:\n{}", self.log(), self.stderr())
    }
}

impl Drop for Running {
    /// Nothing that a case has started outlives it, and no autossh may have been busy for nothing or hold too much.
    fn drop(&mut self) {
        let complaint = if std::thread::panicking() {
            eprintln!("{}", self.story());
            None
        } else {
            is_ours().then(|| self.complaint()).flatten()
        };
        self.end();
        if let Some(complaint) = complaint {
            panic!("{complaint}; {}", self.story());
        }
    }
}

impl Running {
    /// What keeps it busy now, or has kept it busy longer than its events explain.
    pub fn unrest(&self) -> Option<String> {
        let used = rest::cpu_time(self.pid()).unwrap();
        self.explained().complaint(self.pid(), used).or_else(|| rest::restless(self.pid()))
    }

    fn explained(&self) -> Explained {
        let lines: usize = ["log", "stderr", "stdout"].iter().map(|name| self.text(name).lines().count()).sum();
        let starts = u32::try_from(self.starts().len()).unwrap();
        let events = u32::try_from(lines).unwrap() + starts + self.events.get();
        Explained { life: self.since.elapsed(), events, starts }
    }

    fn complaint(&self) -> Option<String> {
        let explained = self.explained();
        let ended = self.ended.and(self.used).and_then(|used| explained.complaint(self.pid(), used));
        let starts = self.starts();
        ended
            .or_else(|| rest::complaint(self.directory.path(), &starts, explained))
            .or_else(|| if self.ssh_may_outlive.get() { None } else { rest::orphans(&starts) })
    }
}
