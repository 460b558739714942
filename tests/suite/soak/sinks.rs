//! Where the tunnels write: a FIFO, a syslogd and a service manager. Each can be stuck.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// What fills them. Nobody else writes this.
const FILLER: &[u8] = b"filler.\n";

/// The readers of what tunnels write.
pub struct Sinks {
    /// The name that syslogd has.
    syslog: PathBuf,
    pipe: fs::File,
    syslogd: Option<UnixDatagram>,
    manager: UnixDatagram,
    manager_at: PathBuf,
    /// What has come through the pipe without the end of its line.
    begun: Vec<u8>,
    pipe_stuck: bool,
    syslogd_stuck: bool,
    manager_stuck: bool,
}

impl Sinks {
    /// In this directory: `pipe`, `syslog` and `notify`.
    pub fn new(directory: &Path) -> Sinks {
        let pipe = directory.join("pipe");
        mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        // Open for both, so that it never ends.
        let mut both = fs::File::options();
        both.read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let (syslog, manager_at) = (directory.join("syslog"), directory.join("notify"));
        Sinks {
            pipe: both.open(pipe).unwrap(),
            syslogd: Some(listening(&syslog)),
            manager: listening(&manager_at),
            syslog,
            manager_at,
            begun: Vec::new(),
            pipe_stuck: false,
            syslogd_stuck: false,
            manager_stuck: false,
        }
    }

    /// Reads what is there, and appends what came through the pipe and to syslogd to these files.
    pub fn drain(&mut self, pipe_log: &Path, syslog_log: &Path) {
        if !self.pipe_stuck {
            let _ = self.pipe.read_to_end(&mut self.begun);
            let end = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
            let lines: Vec<u8> = self.begun.drain(..end).collect();
            append(pipe_log, lines.split_inclusive(|byte| *byte == b'\n').filter(|line| *line != FILLER));
        }
        if let (Some(syslogd), false) = (&self.syslogd, self.syslogd_stuck) {
            let messages = received(syslogd);
            append(syslog_log, messages.iter().flat_map(|message| [&message[..], b"\n"]));
        }
        if !self.manager_stuck {
            received(&self.manager);
        }
    }

    /// The pipe is full, and nobody reads.
    pub fn stop_pipe(&mut self) {
        self.pipe_stuck = true;
        while self.pipe.write(FILLER).is_ok() {}
    }

    /// The pipe is read again.
    pub fn resume_pipe(&mut self) {
        self.pipe_stuck = false;
    }

    /// syslogd is full, and does not read.
    pub fn stop_syslogd(&mut self) {
        self.syslogd_stuck = true;
        fill(&self.syslog);
    }

    /// There is no syslogd.
    pub fn end_syslogd(&mut self) {
        self.syslogd = None;
        let _ = fs::remove_file(&self.syslog);
    }

    /// syslogd is there, and reads.
    pub fn resume_syslogd(&mut self) {
        self.syslogd_stuck = false;
        if self.syslogd.is_none() {
            self.syslogd = Some(listening(&self.syslog));
        }
    }

    /// The service manager's socket is full.
    pub fn stop_manager(&mut self) {
        self.manager_stuck = true;
        fill(&self.manager_at);
    }

    /// The service manager reads again.
    pub fn resume_manager(&mut self) {
        self.manager_stuck = false;
    }
}

fn listening(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn fill(path: &Path) {
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(FILLER, path).is_ok() {}
}

fn received(socket: &UnixDatagram) -> Vec<Vec<u8>> {
    let mut buffer = [0; 4096];
    let mut next = || socket.recv(&mut buffer).ok().map(|count| buffer[..count].to_vec());
    std::iter::from_fn(&mut next).filter(|message| message != FILLER).collect()
}

fn append<'a>(path: &Path, parts: impl Iterator<Item = &'a [u8]>) {
    let bytes: Vec<u8> = parts.flatten().copied().collect();
    if !bytes.is_empty() {
        fs::File::options().append(true).create(true).open(path).unwrap().write_all(&bytes).unwrap();
    }
}
