//! `-f`: goes to the background, and tells the caller when ssh has been started.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

use crate::sys::signals::{Notice, Signals};
use crate::sys::system;
use crate::text::error_text;
use autossh_core::event::Exit;

/// How often the caller looks for the report where poll(2) fails.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long the caller waits for ssh to be executed: longer than the monitor port may take to become free.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Why it waits no longer.
const NOT_STARTED: &str = "ssh has not been executed within 10 s, as on a network file system that does not answer; \
    ending all that was started";

/// The two sides of the fork.
#[derive(Debug)]
pub enum ForkSide {
    /// The caller: the daemon has reported or ended, and this is how to exit.
    Caller(Exit),
    /// The daemon, in a session of its own; the caller waits for readiness.
    Daemon(Readiness),
}

/// The daemon's report to the caller, not sent yet.
#[derive(Debug)]
pub struct Readiness {
    pipe: File,
    null: File,
}

/// Forks. In the caller this returns when the daemon has reported readiness or has ended.
///
/// # Errors
/// No pipe, no process, or no signals for the caller.
pub fn daemonize() -> io::Result<ForkSide> {
    let (read, write) = system::pipe(OFlag::O_NONBLOCK)?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| io::Error::new(error.kind(), format!("/dev/null: {}", error_text(&error))))?;
    match duplicate()? {
        ForkResult::Child => {
            drop(read);
            // It cannot fail for a process that has just been forked.
            let _ = setsid();
            Ok(ForkSide::Daemon(Readiness { pipe: File::from(write), null }))
        }
        ForkResult::Parent { child } => {
            drop((write, null));
            let told = wait_for_readiness(File::from(read), child);
            if told.is_err() {
                // Do not leave it half started.
                let _ = kill(child, Signal::SIGTERM);
            }
            told.map(ForkSide::Caller)
        }
    }
}

impl Readiness {
    /// ssh is running: changes to `/`, releases the caller's standard streams, and lets the caller exit.
    ///
    /// # Errors
    /// The caller cannot be told, and will exit as if the start had failed. stderr is still there to say why.
    pub fn notify_ready(mut self) -> io::Result<()> {
        // None of these can fail: there is a `/`, and the descriptors are open.
        let _ = chdir("/");
        let _ = dup2_stdin(&self.null);
        let _ = dup2_stdout(&self.null);
        match self.pipe.write_all(&[0]) {
            // If the caller is gone, nobody needs to be told.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
        let _ = dup2_stderr(&self.null);
        Ok(())
    }
}

/// Waits for readiness, [`START_LIMIT`] at most; a signal to stop is passed on to the daemon, and then ends us.
fn wait_for_readiness(mut pipe: File, daemon: Pid) -> io::Result<Exit> {
    let mut signals = Signals::new()?;
    let mut stopped_by = None;
    let begin = Instant::now();
    loop {
        let left = START_LIMIT.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Err(io::Error::other(NOT_STARTED));
        }
        // Rounded up, lest the loop turn through the last millisecond.
        let timeout = u16::try_from(left.as_millis().saturating_add(1)).map_or(PollTimeout::MAX, PollTimeout::from);
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        match signals.poll(&mut fds, timeout) {
            Ok(()) | Err(Errno::EINTR) => {}
            Err(_) => signals.wait(LOOK_INTERVAL)?,
        }
        for notice in signals.pending() {
            if let Notice::Stop(signal) = notice {
                let _ = kill(daemon, signal);
                stopped_by = Some(Exit::Signal(signal as i32));
            }
        }
        let status = match pipe.read(&mut [0]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => continue,
            Err(error) => return Err(error),
            // It has ended, and has reported why.
            Ok(0) => 1,
            Ok(_) => 0,
        };
        return Ok(stopped_by.unwrap_or(Exit::Status(status)));
    }
}

#[expect(unsafe_code, reason = "fork(2)")]
fn duplicate() -> Result<ForkResult, Errno> {
    // SAFETY: we have one thread, so the child finds no lock held and no state half changed.
    unsafe { fork() }
}
