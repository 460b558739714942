//! A replacement for ssh that records how it was started, and then follows a script.
//!
//! The directory is in `SCRIPTED_SSH`. The Nth start leaves `start.N` there (see [`record`]) and plays the Nth line of
//! `script`, or the last. A line is commands separated by `;`:
//!
//! | command | what it does |
//! |---|---|
//! | `exit N`, `kill N` | ends with that status, by that signal |
//! | `hang`, `ignore`, `deaf` | waits for a signal; ignores TERM, INT, QUIT and HUP; does both |
//! | `stop` | stops itself (STOP), then goes on |
//! | `tstp` | stops itself (TSTP), as `~^Z` does, then goes on |
//! | `live MS` | lives for that long |
//! | `await NAME` | lives until the file `NAME` is in the directory |
//! | `say TEXT`, `flood N` | a line, or N lines, on stderr |
//! | `bytes HEX` | these bytes on stderr |
//! | `note NAME` | creates the file `NAME.N` in the directory |
//! | `raw` | puts the terminal on stdin into raw mode |
//! | `spawn` | leaves a process behind that holds stderr open |
//! | `orphan` | leaves a process behind that ends soon |
//! | `connect PORT` | connects to that port of the loopback address, as ssh does to its server |
//! | `relay HOW...` | serves its own `-L`, as a server with `-R`, or an echo service, would; see [`relay`] |
//! | `real` | becomes the ssh of `SCRIPTED_SSH_REAL`, with the arguments there before its own |

#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test's tool that cannot go on should fail, and say so"
)]
#![allow(clippy::zombie_processes, reason = "that is what is wanted")]
#![allow(clippy::print_stderr, reason = "its stderr is what a test reads")]

mod relay;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal, raise, signal};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

/// C's `main`, since Rust's own would ignore SIGPIPE before we can see whether it was.
#[allow(unsafe_code, reason = "the name is the system's")]
#[unsafe(no_mangle)]
pub extern "C" fn main() -> i32 {
    let directory = PathBuf::from(std::env::var_os("SCRIPTED_SSH").expect("SCRIPTED_SSH is not set"));
    let number = take_number(&directory);
    record(&directory, number);
    let script = fs::read_to_string(directory.join("script")).expect("no script");
    let line = script.lines().nth(number - 1).or_else(|| script.lines().last()).unwrap_or_default().to_owned();
    for command in line.split(';') {
        let (word, rest) = command.trim().split_once(' ').unwrap_or((command.trim(), ""));
        play(word, rest, &directory, number);
    }
    0
}

/// The number of this start, from 1.
fn take_number(directory: &Path) -> usize {
    for number in 1.. {
        match fs::File::options().write(true).create_new(true).open(directory.join(format!("taken.{number}"))) {
            Ok(_) => return number,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            // The case is over.
            Err(_) => exit(99),
        }
    }
    exit(99)
}

/// Records, one fact per line, how we were started; arguments as hexadecimal bytes.
fn record(directory: &Path, number: usize) {
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let mut facts = String::new();
    for word in std::env::args_os() {
        writeln!(facts, "word {}", hex(word.as_bytes())).unwrap();
    }
    let cwd = std::env::current_dir().unwrap_or_default();
    writeln!(facts, "cwd {}", hex(cwd.as_os_str().as_bytes())).unwrap();
    writeln!(facts, "pid {}", std::process::id()).unwrap();
    writeln!(facts, "ppid {}", std::os::unix::process::parent_id()).unwrap();
    // Pids mean something to the test only where they are the test's own.
    writeln!(facts, "pids {}", fs::read_link("/proc/self/ns/pid").unwrap_or_default().display()).unwrap();
    writeln!(facts, "session {}", nix::unistd::getsid(None).unwrap()).unwrap();
    let death = nix::sys::prctl::get_pdeathsig().unwrap();
    writeln!(facts, "death {}", death.map_or(0, |signal| signal as i32)).unwrap();
    for line in fs::read_to_string("/proc/self/status").unwrap().lines() {
        if let Some((name @ ("SigBlk" | "SigIgn"), mask)) = line.split_once(":\t") {
            writeln!(facts, "{name} {mask}").unwrap();
        }
    }
    // The descriptor that reads the directory is closed by the time its link is read.
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        if let Ok(target) = fs::read_link(entry.path()) {
            writeln!(facts, "fd {} {}", entry.file_name().to_string_lossy(), target.display()).unwrap();
        }
    }
    let unfinished = directory.join(format!("unfinished.{number}"));
    fs::write(&unfinished, facts).unwrap();
    fs::rename(unfinished, directory.join(format!("start.{number}"))).unwrap();
}

fn play(word: &str, rest: &str, directory: &Path, number: usize) {
    let as_number = || rest.trim().parse().expect("a number");
    match word {
        "" => {}
        "exit" => exit(as_number()),
        "kill" => {
            // Leave no core file.
            nix::sys::prctl::set_dumpable(false).unwrap();
            let number = as_number();
            // The parent of the tests may have ignored it.
            if let Ok(ignored) = Signal::try_from(number) {
                let _ = set(ignored, SigHandler::SigDfl);
            }
            kill_self(number);
        }
        "hang" => wait(),
        "ignore" => ignore_stops(),
        "deaf" => {
            ignore_stops();
            fs::write(directory.join(format!("deaf.{number}")), "").unwrap();
            wait();
        }
        "stop" => raise(Signal::SIGSTOP).unwrap(),
        "tstp" => raise(Signal::SIGTSTP).unwrap(),
        "live" => std::thread::sleep(Duration::from_millis(rest.trim().parse().expect("milliseconds"))),
        "await" => {
            while !directory.join(rest.trim()).exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        "say" => eprintln!("{rest}"),
        "flood" => (0..as_number()).for_each(|line| eprintln!("line {line}")),
        "bytes" => {
            let bytes: Vec<u8> = rest
                .trim()
                .as_bytes()
                .chunks(2)
                .map(|hex| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap())
                .collect();
            std::io::stderr().write_all(&bytes).unwrap();
        }
        "note" => fs::write(directory.join(format!("{}.{number}", rest.trim())), "").unwrap(),
        "raw" => {
            let mut modes = tcgetattr(std::io::stdin()).unwrap();
            cfmakeraw(&mut modes);
            tcsetattr(std::io::stdin(), SetArg::TCSANOW, &modes).unwrap();
        }
        "spawn" => {
            Command::new("sleep").arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        }
        "orphan" => {
            Command::new("sleep").arg("0.3").stdin(Stdio::null()).spawn().unwrap();
        }
        "connect" => {
            let stream = std::net::TcpStream::connect(("127.0.0.1", u16::try_from(as_number()).unwrap())).unwrap();
            // It stays open until we end.
            let _ = std::os::fd::IntoRawFd::into_raw_fd(stream);
        }
        "relay" => relay::serve(rest),
        "real" => {
            let real = std::env::var("SCRIPTED_SSH_REAL").expect("SCRIPTED_SSH_REAL is not set");
            let mut words = real.split_whitespace();
            let error = Command::new(words.next().unwrap()).args(words).args(std::env::args_os().skip(1)).exec();
            panic!("cannot become {real}: {error}");
        }
        _ => panic!("no such command: {word}"),
    }
}

fn ignore_stops() {
    for ignored in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        set(ignored, SigHandler::SigIgn).unwrap();
    }
}

fn wait() {
    loop {
        nix::unistd::pause();
    }
}

#[allow(unsafe_code, reason = "only ever to ignore a signal")]
fn set(which: Signal, handler: SigHandler) -> nix::Result<SigHandler> {
    // SAFETY: no handler of ours runs.
    unsafe { signal(which, handler) }
}

#[allow(unsafe_code, reason = "nix knows no real-time signals")]
fn kill_self(number: i32) {
    // SAFETY: no memory is involved.
    unsafe { libc::raise(number) };
}
