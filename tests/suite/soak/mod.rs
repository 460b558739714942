//! Three tunnels with steady streams of bytes, and faults of every kind, for a given time.
//!
//! `sh tests/soak.sh MINUTES` runs this, and `tests/run.sh` for a minute.

mod faults;
mod figures;
mod lab;
mod plan;
mod sinks;
mod streams;

use std::time::{Duration, Instant};

use faults::FAULTS;
use figures::{Figures, Table};
use lab::{Lab, NAMES};
use plan::{Card, Plan};

use crate::harness::{is_ours, program, wait_for};

/// What a minute may cost: a fraction of what a loop that spins costs, and several times what floods and storms do.
const CPU_PER_MINUTE: Duration = Duration::from_secs(2);

/// What the tunnels hold and have used, looked at every minute.
struct Watch {
    first: [Figures; 3],
    last: [Figures; 3],
    at: Instant,
}

impl Watch {
    fn new(lab: &Lab) -> Watch {
        let first = figures(lab);
        Watch { first, last: first, at: Instant::now() }
    }

    /// Says what has changed, and fails if something of ours has leaked or spun.
    fn look(&mut self, lab: &Lab, when: &str) {
        let time = self.at.elapsed();
        for (tunnel, name) in NAMES.iter().enumerate() {
            let pid = lab.tunnels[tunnel].running.pid();
            // It may be in the middle of something.
            let sound = || {
                let now = Figures::of(pid);
                (!is_ours() || now.leak(&self.first[tunnel]).is_none()).then_some(now)
            };
            let what = || format!("{name}: {}", Figures::of(pid).leak(&self.first[tunnel]).unwrap_or_default());
            let now = wait_for(format!("a leak to go away: {}", what()), sound);
            let used = now.cpu.saturating_sub(self.last[tunnel].cpu);
            eprintln!("{when} {name:9} {now}, {} ms in {} s", used.as_millis(), time.as_secs());
            let most = CPU_PER_MINUTE.mul_f64(time.as_secs_f64().max(15.0) / 60.0);
            assert!(!is_ours() || used < most, "{name} has used {used:?} of CPU time in {time:?}");
            self.last[tunnel] = now;
        }
        self.at = Instant::now();
    }
}

fn figures(lab: &Lab) -> [Figures; 3] {
    lab.tunnels.each_ref().map(|tunnel| Figures::of(tunnel.running.pid()))
}

/// Plays a card. A lost tunnel of ours is a failure; another program's is said, and started anew.
fn play(lab: &mut Lab, card: &Card, table: &mut Table) -> String {
    let healed = lab.play(card);
    table.add(card.kind(), healed);
    let mut lost = Vec::new();
    for tunnel in (0..NAMES.len()).filter(|tunnel| healed[*tunnel].is_none()) {
        assert!(!is_ours(), "{} did not survive: {}", NAMES[tunnel], card.name());
        lost.push(NAMES[tunnel]);
        lab.replace(tunnel);
    }
    if lost.is_empty() {
        let slowest = healed.iter().flatten().max().copied().unwrap_or_default();
        return format!("{:.2} s", slowest.as_secs_f64());
    }
    lab.heal();
    format!("did not survive: {}", lost.join(", "))
}

#[test]
#[ignore = "takes as long as SOAK_MINUTES says; sh tests/soak.sh MINUTES"]
fn soak() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let minutes = number("SOAK_MINUTES").unwrap_or(1);
    let seed = number("SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("{}: {minutes} minutes of faults, SOAK_SEED={seed}", program().display());
    let Some(mut lab) = Lab::new() else { return };
    let (mut plan, mut table) = (Plan::new(seed), Table::default());

    assert!(lab.heal().iter().all(Option::is_some), "no tunnel to begin with");
    // After one restart the heap has its first pages.
    let restart = FAULTS.iter().find(|fault| fault.name == "session killed").unwrap();
    lab.play(&Card { faults: vec![restart], pause: Duration::ZERO });
    let mut watch = Watch::new(&lab);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(minutes * 60) {
        let card = plan.next();
        let seconds = began.elapsed().as_secs();
        let outcome = play(&mut lab, &card, &mut table);
        eprintln!("{seconds:5} s: {}: {outcome}", card.name());
        if watch.at.elapsed() > Duration::from_secs(60) {
            watch.look(&lab, "         ");
        }
    }

    eprintln!("{table}");
    let bytes: u64 = lab.tunnels.iter().map(|tunnel| tunnel.stream.bytes()).sum();
    eprintln!("{bytes} bytes came back, every one right");
    for (tunnel, (name, first)) in lab.tunnels.iter().zip(NAMES.iter().zip(&watch.first)) {
        eprintln!("first     {name:9} {first}; {} starts in all", tunnel.running.starts().len());
    }
    watch.look(&lab, "last     ");
}
