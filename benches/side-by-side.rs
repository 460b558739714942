//! autossh beside the reference, autossh 1.4g, in one run: ratios of medians, less is better, and no pass or fail.
//!
//!     cargo bench
//!     cargo bench -- FILTER
//!
//! Ours is what `packaging/build.sh` builds, or `AUTOSSH_UNDER_TEST`.
//! The reference is the program of Debian's package: `AUTOSSH_REFERENCE`, or what `tests/run.sh` has unpacked below
//! `target/reference`, or the installed one.

#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark that cannot go on should fail, and what it has to say goes to stdout"
)]
#![allow(clippy::disallowed_methods, reason = "whoever runs a benchmark sees that it hangs")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Set for our copy that replaces ssh: the file to which it appends its times.
const AS_SSH: &str = "AUTOSSH_BENCH_SSH";
/// Set for it too if it is to stay: the number of the start that does, from 1. Those before it fail.
const STAY: &str = "AUTOSSH_BENCH_STAY";
/// The first start that comes after a wait.
const AFTER_A_WAIT: usize = 7;

/// C's `main`: the replacement for ssh should take as little time as possible.
#[allow(unsafe_code, reason = "the name is the system's")]
#[unsafe(no_mangle)]
pub extern "C" fn main() -> i32 {
    let started = now();
    match std::env::var_os(AS_SSH) {
        Some(file) => be_ssh(started, Path::new(&file)),
        None => compare(),
    }
    0
}

/// Microseconds since boot.
fn now() -> f64 {
    Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap()).as_secs_f64() * 1e6
}

/// Records when it started and when it exits, which is at once or on a signal.
fn be_ssh(started: f64, file: &Path) {
    let start = fs::read_to_string(file).unwrap().lines().count() + 1;
    let mut file = fs::File::options().append(true).open(file).unwrap();
    if std::env::var(STAY).is_ok_and(|number| start >= number.parse().unwrap()) {
        writeln!(file, "{started} 0").unwrap();
        loop {
            nix::unistd::pause();
        }
    }
    writeln!(file, "{started} {}", now()).unwrap();
    std::process::exit(255);
}

/// What is measured on one of the two.
type Measure = fn(&Program) -> Vec<f64>;

/// One of the two programs.
struct Program {
    path: PathBuf,
    directory: PathBuf,
}

fn compare() {
    let directory = std::env::temp_dir().join(format!("autossh-bench-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let program = |path: PathBuf| Program { path, directory: directory.clone() };
    let (ours, theirs) = (program(ours()), program(reference()));
    println!("ours:      {}\nreference: {}\n", ours.path.display(), theirs.path.display());
    println!("{:38} {:>10} {:>10} {:>7}", "", "ours", "reference", "ratio");

    let measures: [(&str, Measure, usize); 7] = [
        ("exec of autossh to ssh's start (us)", start, 300),
        ("ssh's death to the next start (us)", restart, 60),
        ("CPU for a test by echo (us)", cpu_of_echo, 3),
        ("CPU for a test by loop (us)", cpu_of_loop, 3),
        ("memory of one in a fleet of 100 (kB)", fleet, 1),
        ("CPU in ten idle seconds (us)", idle_cpu, 1),
        ("wake-ups in ten idle seconds", wake_ups, 1),
    ];
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    for (name, measure, rounds) in measures.into_iter().filter(|(name, ..)| name.contains(&filter)) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            // In turns, so that other load on the machine affects both.
            first.extend(measure(&ours));
            second.extend(measure(&theirs));
        }
        let (first, second) = (median(first), median(second));
        let ratio = if second > 0.0 { format!("{:7.2}", first / second) } else { String::new() };
        println!("{name:38} {first:10.1} {second:10.1} {ratio}");
    }
    let size = |program: &Program| fs::metadata(&program.path).unwrap().len() as f64 / 1000.0;
    println!("{:38} {:10.1} {:10.1}", "size of the binary (kB)", size(&ours), size(&theirs));
    fs::remove_dir_all(&directory).unwrap();
}

/// The binary of a release, which says on stderr what it is.
fn ours() -> PathBuf {
    std::env::var_os("AUTOSSH_UNDER_TEST").map_or_else(build, PathBuf::from)
}

fn build() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build.sh");
    let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "packaging/build.sh failed");
    String::from_utf8(output.stdout).unwrap().trim_end().into()
}

fn reference() -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/reference/usr/lib/autossh/autossh");
    let candidates = [std::env::var_os("AUTOSSH_REFERENCE").map(PathBuf::from), Some(unpacked)];
    let installed = PathBuf::from("/usr/lib/autossh/autossh");
    candidates.into_iter().flatten().find(|path| path.exists()).unwrap_or(installed)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Program {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(args)
            .env("AUTOSSH_PATH", std::env::current_exe().unwrap())
            .env("AUTOSSH_GATETIME", "0")
            .env("AUTOSSH_LOGFILE", "/dev/null")
            .env(AS_SSH, self.times_file())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        fs::write(self.times_file(), "").unwrap();
        command
    }

    fn times_file(&self) -> PathBuf {
        self.directory.join("times")
    }

    /// The starts and exits of the replacements so far.
    fn times(&self) -> Vec<(f64, f64)> {
        let text = fs::read_to_string(self.times_file()).unwrap();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.map(|(started, exited)| (started.parse().unwrap(), exited.parse().unwrap())).collect()
    }

    /// Starts one whose first ssh stays, and waits for that.
    fn stay(&self, args: &[&str], poll: u32) -> Running {
        self.stay_from(1, args, poll)
    }

    /// Starts one whose ssh stays from the `number`th on, and waits for that.
    fn stay_from(&self, number: usize, args: &[&str], poll: u32) -> Running {
        let mut command = self.command(args);
        command.env(STAY, number.to_string()).env("AUTOSSH_POLL", poll.to_string());
        let running = Running(command.spawn().unwrap());
        while self.times().len() < number {
            std::thread::sleep(Duration::from_millis(1));
        }
        running
    }
}

/// A program that ends with this.
struct Running(Child);

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).unwrap())
    }

    fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.0.id())).unwrap()
    }

    /// A number from a file of lines such as `Pss: 12 kB`.
    fn number(&self, file: &str, name: &str) -> f64 {
        let text = self.proc(file);
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Its CPU time in microseconds.
    fn cpu(&self) -> f64 {
        self.proc("schedstat").split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1000.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill(self.pid(), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn start(program: &Program) -> Vec<f64> {
    let mut command = program.command(&["-M", "0", "host"]);
    command.env("AUTOSSH_MAXSTART", "1");
    let begin = now();
    assert!(command.status().unwrap().success());
    vec![program.times()[0].0 - begin]
}

fn restart(program: &Program) -> Vec<f64> {
    // Six starts are not delayed.
    assert!(program.command(&["-M", "0", "host"]).env("AUTOSSH_MAXSTART", "6").status().unwrap().success());
    program.times().windows(2).map(|pair| pair[1].0 - pair[0].1).collect()
}

fn cpu_of_echo(program: &Program) -> Vec<f64> {
    cpu_of_tests(program, false)
}

fn cpu_of_loop(program: &Program) -> Vec<f64> {
    cpu_of_tests(program, true)
}

/// The cost of a regular test; we are the tunnel.
fn cpu_of_tests(program: &Program, looped: bool) -> Vec<f64> {
    const TESTS: u32 = 10;
    // It is ssh's, which is started only when it is free.
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let monitor = if looped { port.to_string() } else { format!("{port}:7") };
    let running = program.stay(&["-M", &monitor, "host"], 1);
    let tunnel = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut before = 0.0;
    for test in 0..=TESTS {
        let (mut from, _) = tunnel.accept().unwrap();
        let mut message = [0; 512];
        let count = from.read(&mut message).unwrap();
        let mut to =
            if looped { TcpStream::connect(("127.0.0.1", port + 1)).unwrap() } else { from.try_clone().unwrap() };
        to.write_all(&message[..count]).unwrap();
        // It closes the connection when the test has passed, and then sleeps again.
        while from.read(&mut message).is_ok_and(|count| count > 0) {}
        let asked = Instant::now();
        while !running.proc("stat").contains(") S ") && asked.elapsed() < Duration::from_millis(500) {}
        if test == 0 {
            before = running.cpu();
        }
    }
    vec![(running.cpu() - before) / f64::from(TESTS)]
}

fn fleet(program: &Program) -> Vec<f64> {
    let all: Vec<Running> = (0..100).map(|_| program.stay(&["-M", "0", "host"], 600)).collect();
    vec![all.iter().map(|one| one.number("smaps_rollup", "Pss")).sum::<f64>() / 100.0]
}

fn idle_cpu(program: &Program) -> Vec<f64> {
    idle(program, Running::cpu)
}

fn wake_ups(program: &Program) -> Vec<f64> {
    idle(program, |running| running.number("status", "voluntary_ctxt_switches"))
}

/// By how much a figure grows in ten seconds in which nothing happens, after a wait has run out.
fn idle(program: &Program, figure: fn(&Running) -> f64) -> Vec<f64> {
    let running = program.stay_from(AFTER_A_WAIT, &["-M", "0", "host"], 600);
    std::thread::sleep(Duration::from_secs(1));
    let before = figure(&running);
    std::thread::sleep(Duration::from_secs(10));
    vec![figure(&running) - before]
}
