//! What the scripted ssh recorded about one of its starts.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One start of ssh.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// All its arguments, beginning with the program's name.
    pub argv: Vec<OsString>,
    /// The directory it was started in.
    pub cwd: PathBuf,
    /// Its pid.
    pub pid: i32,
    /// Its parent's pid, which should be autossh's.
    pub parent: i32,
    /// The PID namespace in which these mean something.
    pub pids: PathBuf,
    /// Its session.
    pub session: i32,
    /// The signal that it gets when its parent dies.
    pub death: i32,
    /// The blocked signals, one bit each.
    pub blocked: u64,
    /// The ignored signals, one bit each.
    pub ignored: u64,
    /// Its open descriptors, and what they are.
    pub descriptors: Vec<(i32, String)>,
}

impl Start {
    /// Reads the file that the scripted ssh left.
    pub fn read(file: &Path) -> Option<Start> {
        let mut start = Start::default();
        for line in std::fs::read_to_string(file).ok()?.lines() {
            let (name, value) = line.split_once(' ').unwrap();
            match name {
                "word" => start.argv.push(OsString::from_vec(unhex(value))),
                "cwd" => start.cwd = OsString::from_vec(unhex(value)).into(),
                "pid" => start.pid = value.parse().unwrap(),
                "ppid" => start.parent = value.parse().unwrap(),
                "pids" => start.pids = value.into(),
                "session" => start.session = value.parse().unwrap(),
                "death" => start.death = value.parse().unwrap(),
                "SigBlk" => start.blocked = u64::from_str_radix(value, 16).unwrap(),
                "SigIgn" => start.ignored = u64::from_str_radix(value, 16).unwrap(),
                "fd" => {
                    let (number, target) = value.split_once(' ').unwrap();
                    start.descriptors.push((number.parse().unwrap(), target.into()));
                }
                _ => panic!("{file:?} has a strange line: {line}"),
            }
        }
        Some(start)
    }

    /// Its pid and its parent's, if they are such as we see them.
    pub fn visible_pids(&self) -> Option<[i32; 2]> {
        let ours = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        (self.pids == ours).then_some([self.pid, self.parent])
    }

    /// The arguments after the program's name, as text.
    pub fn args(&self) -> Vec<String> {
        self.argv[1..].iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// Whether this signal was ignored.
    pub fn ignores(&self, signal: nix::sys::signal::Signal) -> bool {
        self.ignored & (1 << (signal as i32 - 1)) != 0
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|place| u8::from_str_radix(&text[place..place + 2], 16).unwrap()).collect()
}
