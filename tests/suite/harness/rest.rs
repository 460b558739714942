//! What is asked of every autossh at the end of its case: whether it rests, whether its events explain the processor time
//! that it has used, and whether it holds no more than it needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::{Start, inherited_descriptors, is_gone, limit, process_state};

/// What a start and an end cost, several times over: this is processor time, which a busy machine stretches little.
const ONCE: Duration = Duration::from_millis(50);
/// What a second may cost in which nothing happens that can be seen from outside.
const PER_SECOND: Duration = Duration::from_millis(1);
/// What a signal, a line of the log or a start of ssh may cost.
const PER_EVENT: Duration = Duration::from_micros(500);

/// What the looks for an ssh's connection may cost: the kernel takes milliseconds to print its table of sockets.
const PER_START: Duration = Duration::from_millis(250);

/// What explains that an autossh was busy.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    /// How long it has lived, at most.
    pub life: Duration,
    /// How many things have happened to it.
    pub events: u32,
    /// How many ssh it has started that lived long enough to be looked at.
    pub starts: u32,
}

impl Explained {
    /// What is wrong if it has used so much processor time.
    pub fn complaint(self, pid: i32, used: Duration) -> Option<String> {
        let rest = PER_SECOND.mul_f64(self.life.as_secs_f64());
        // One that lived on was looked at; of short lives there are no more than seconds.
        let looked_at = self.starts.min(1 + 2 * u32::try_from(self.life.as_secs()).unwrap());
        let bound = ONCE + rest + PER_EVENT * self.events + PER_START * looked_at;
        (used > bound)
            .then(|| format!("autossh {pid} has used {used:?} of processor time, and {self:?} explains {bound:?}"))
    }
}

/// Makes this process the one that gets daemons whose parent has ended: it can look at those that have ended themselves,
/// and reaps them at the end of their case.
pub fn keep_the_dead() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| nix::sys::prctl::set_child_subreaper(true).unwrap());
}

/// The processor time that a child of ours has used which has ended and is still to be reaped.
pub fn used_by_the_dead(pid: i32) -> Option<Duration> {
    (process_state(pid) == Some('Z')).then(|| cpu_time(pid)).flatten()
}

/// The processor time that a process has used, its children's not counted.
pub fn cpu_time(pid: i32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// What is wrong with an autossh that was started in this directory, if something is.
pub fn complaint(directory: &Path, starts: &[Start], explained: Explained) -> Option<String> {
    // Daemons that have ended are ours now; their directory cannot be seen any more.
    let orphaned = |pid: &i32| process_state(*pid) == Some('Z') && parent(*pid) == Some(std::process::id());
    let ended: Vec<i32> =
        starts.iter().filter_map(Start::visible_pids).map(|[_, parent]| parent).filter(orphaned).collect();
    let all = all_of(directory).into_iter().chain(ended);
    let mut autosshs: Vec<i32> = all.filter(|pid| name(*pid).as_deref() == Some("autossh")).collect();
    autosshs.sort_unstable();
    autosshs.dedup();
    autosshs.iter().find_map(|pid| {
        let used = cpu_time(*pid)?;
        explained.complaint(*pid, used).or_else(|| restless(*pid)).or_else(|| leftovers(*pid))
    })
}

/// Looks at a process until it sleeps for once, and nothing wakes it at the next look.
pub fn restless(pid: i32) -> Option<String> {
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let rests = || !matches!(process_state(pid), Some('R'));
    let at_rest = settle(|| {
        let before = switches();
        let rested = rests();
        std::thread::sleep(Duration::from_millis(2));
        (rested && rests() && switches() == before).then_some(())
    });
    at_rest.is_none().then(|| format!("autossh {pid} does not come to rest"))
}

/// What an autossh holds that it should not, if that does not go away.
fn leftovers(pid: i32) -> Option<String> {
    let mut last = None;
    let settled = settle(|| {
        // A stopped one cannot tidy up.
        last = too_much(pid).filter(|_| !matches!(process_state(pid), None | Some('T' | 'Z')));
        last.is_none().then_some(())
    });
    settled.is_none().then(|| format!("autossh {pid} holds {}", last.unwrap_or_default()))
}

/// What an autossh holds now that nothing explains, whatever it is doing.
fn too_much(pid: i32) -> Option<String> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<i32> = children.split_whitespace().map(|child| child.parse().unwrap()).collect();
    let dead = children.iter().filter(|child| is_gone(**child)).count();
    let daemons = children.iter().filter(|child| name(**child).as_deref() == Some("autossh")).count();
    if dead > 0 || children.len() > 1 + daemons {
        return Some(format!("the children {children:?}, {dead} of them dead"));
    }
    let mut counts = BTreeMap::new();
    let held = descriptors(pid);
    for kind in
        held.iter().filter_map(|target| MOST.iter().map(|(kind, _)| *kind).find(|kind| target.starts_with(kind)))
    {
        *counts.entry(kind).or_insert(0) += 1;
    }
    let excess = MOST.iter().find(|(kind, most)| counts.get(kind).is_some_and(|count| count > most));
    excess.map(|(kind, most)| format!("more than {most} of {kind:?}: {held:?}"))
}

/// The most descriptors of each kind that are ever needed at once.
const MOST: [(&str, usize); 8] = [
    // Signals two, the log, systemd.
    ("unix", 4),
    ("netlink", 1),
    // For the monitor's answers.
    ("listener", 1),
    // The test under way and its answer; or two ports that are kept for ssh.
    ("connection", 2),
    ("socket", 2),
    // ssh's stderr; the exec of an ssh that is being started, or the caller of -f.
    ("pipe", 2),
    ("anon_inode", 1),
    // The log, the terminal, and what the caller of -f gets for its standard streams.
    ("/", 3),
];

/// Whether an autossh has a connection, as it has during a test.
pub fn is_testing(pid: i32) -> bool {
    descriptors(pid).iter().any(|target| target.starts_with("connection"))
}

/// What the descriptors of a process above 2 are that were not given to it.
fn descriptors(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let number = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let inherited = inherited_descriptors();
    let own = entries.filter(|entry| number(entry).is_some_and(|number| number > 2 && !inherited.contains(&number)));
    let targets = own.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()));
    let sockets = sockets(pid);
    targets.map(|target| sockets.get(&target).map_or(target.clone(), |kind| format!("{kind} {target}"))).collect()
}

/// The kind of each socket where this process lives, by what a link to it in /proc says.
fn sockets(pid: i32) -> BTreeMap<String, &'static str> {
    let mut kinds = BTreeMap::new();
    for (table, column, kind) in
        [("unix", 6, "unix"), ("netlink", 9, "netlink"), ("tcp", 9, "connection"), ("tcp6", 9, "connection")]
    {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for fields in text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()) {
            let kind = if kind == "connection" && fields[3] == "0A" { "listener" } else { kind };
            kinds.insert(format!("socket:[{}]", fields[column]), kind);
        }
    }
    kinds
}

/// Waits for something that should come by itself.
fn settle<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    loop {
        let found = condition();
        if found.is_some() || begin.elapsed() > limit() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Which ssh has outlived its autossh.
pub fn orphans(starts: &[Start]) -> Option<String> {
    let pids = || starts.iter().filter_map(Start::visible_pids);
    let orphan = || pids().find(|[ssh, autossh]| !is_gone(*ssh) && is_gone(*autossh));
    settle(|| orphan().is_none().then_some(()));
    orphan().map(|[ssh, autossh]| format!("ssh {ssh} is there, and its autossh {autossh} is not"))
}

fn name(pid: i32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

fn parent(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Every process that was started with this directory: autossh, daemons, ssh, and what those have left behind.
pub fn all_of(directory: &Path) -> Vec<i32> {
    let ours = format!("SCRIPTED_SSH={}", directory.display());
    let is_ours = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == ours.as_bytes())
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
}

/// Kills every process that was started with this directory, daemons and what 1.4g leaves behind, and reaps what is ours.
pub fn end_all_of(directory: &Path, starts: &[Start]) {
    let mut all: Vec<i32> = starts.iter().filter_map(Start::visible_pids).flatten().collect();
    // Until a round finds none: one that is about to be killed may just have started another.
    loop {
        let found = all_of(directory);
        if found.is_empty() {
            break;
        }
        for pid in &found {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        all.extend(found);
    }
    for pid in all {
        let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
    }
}
