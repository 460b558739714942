//! What an autossh holds and has used, and the table of how soon tunnels were back.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::Duration;

use super::lab::NAMES;
use crate::harness::{cpu_time, is_gone};

/// What an autossh holds and has used.
#[derive(Clone, Copy)]
pub struct Figures {
    pub cpu: Duration,
    kilobytes: u64,
    descriptors: usize,
    sockets: usize,
    children: usize,
    zombies: usize,
}

impl Figures {
    /// Those of this process.
    pub fn of(pid: i32) -> Figures {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let status = read("status");
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        let targets: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .collect();
        let children: Vec<i32> =
            read(&format!("task/{pid}/children")).split_whitespace().map(|child| child.parse().unwrap()).collect();
        Figures {
            cpu: cpu_time(pid).unwrap_or_default(),
            kilobytes: memory.split_whitespace().next().unwrap().parse().unwrap(),
            descriptors: targets.len(),
            sockets: targets.iter().filter(|target| target.to_string_lossy().starts_with("socket:")).count(),
            children: children.len(),
            zombies: children.iter().filter(|child| is_gone(**child)).count(),
        }
    }

    /// What has grown since `first` that should not.
    pub fn leak(&self, first: &Figures) -> Option<&'static str> {
        // A test under way has a connection, and its answer another.
        let leaks = [
            (self.descriptors > first.descriptors + 2, "descriptors"),
            (self.sockets > first.sockets + 2, "sockets"),
            (self.children > 1, "children"),
            (self.zombies > 0, "zombies"),
            (self.kilobytes > first.kilobytes + 1_000, "memory"),
        ];
        leaks.iter().find_map(|(leaks, what)| leaks.then_some(*what))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        let Figures { cpu, kilobytes, descriptors, sockets, children, zombies } = self;
        let cpu = cpu.as_millis();
        write!(
            to,
            "{cpu:6} ms CPU {kilobytes:6} kB {descriptors:3} descriptors {sockets:3} sockets {children:2} children \
             {zombies} zombies"
        )
    }
}

/// How soon each tunnel was back, if it was.
pub type Healed = [Option<Duration>; 3];

/// How soon tunnels were back after each kind of fault.
#[derive(Default)]
pub struct Table(BTreeMap<&'static str, Vec<Healed>>);

impl Table {
    /// Adds how soon they were back once.
    pub fn add(&mut self, kind: &'static str, healed: Healed) {
        self.0.entry(kind).or_default().push(healed);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        let [first, second, third] = NAMES;
        writeln!(
            to,
            "{:40} {:>5} {:>7} {:>7}   worst of {first:>9} {second:>9} {third:>9}",
            "fault", "times", "mean s", "worst s"
        )?;
        let all: Vec<Healed> = self.0.values().flatten().copied().collect();
        for (kind, rows) in self.0.iter().map(|(kind, rows)| (*kind, rows)).chain([("all", &all)]) {
            // The tunnel that is last decides.
            let times: Vec<Duration> = rows.iter().filter_map(|row| row.iter().flatten().max().copied()).collect();
            let mean =
                times.iter().sum::<Duration>().as_secs_f64() / f64::from(u32::try_from(times.len().max(1)).unwrap());
            let worst = times.iter().max().map_or(0.0, Duration::as_secs_f64);
            write!(to, "{kind:40} {:5} {mean:7.2} {worst:7.2}            ", rows.len())?;
            for tunnel in 0..NAMES.len() {
                let lost = rows.iter().filter(|row| row[tunnel].is_none()).count();
                let worst = rows.iter().filter_map(|row| row[tunnel]).max().unwrap_or_default();
                let cell = if lost > 0 { format!("lost {lost}") } else { format!("{:.2}", worst.as_secs_f64()) };
                write!(to, "{cell:>9} ")?;
            }
            writeln!(to)?;
        }
        Ok(())
    }
}
