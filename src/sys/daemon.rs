//! `-f`: goes to the background, and tells the caller when ssh has been started.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};

use crate::sys::signals::Signals;
use autossh_core::event::Exit;

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
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    match duplicate()? {
        ForkResult::Child => {
            drop(read);
            // It cannot fail for a process that has just been forked.
            let _ = setsid();
            Ok(ForkSide::Daemon(Readiness { pipe: File::from(write), null }))
        }
        ForkResult::Parent { child } => {
            drop((write, null));
            let told = wait_for_word(File::from(read), child);
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
    pub fn notify_ready(mut self) {
        // None of these can fail: there is a `/`, and the descriptors are open.
        let _ = chdir("/");
        let _ = dup2_stdin(&self.null);
        let _ = dup2_stdout(&self.null);
        let _ = dup2_stderr(&self.null);
        // If the caller is gone, nobody needs to be told.
        let _ = self.pipe.write_all(&[0]);
    }
}

/// Waits for readiness; a signal to stop is passed on to the daemon, and then ends us.
fn wait_for_word(mut pipe: File, daemon: Pid) -> io::Result<Exit> {
    let mut signals = Signals::new()?;
    let mut stopped_by = None;
    loop {
        let ready = {
            let mut fds =
                [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => fds.last().and_then(PollFd::any).unwrap_or_default(),
                Err(errno) => return Err(errno.into()),
            }
        };
        for signal in signals.pending() {
            if matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT) {
                let _ = kill(daemon, signal);
                stopped_by = Some(Exit::Signal(signal as i32));
            }
        }
        if !ready {
            continue;
        }
        let mut word = [1];
        let told = match pipe.read(&mut word) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(1) => true,
            // It has ended, and has reported why.
            Ok(_) | Err(_) => false,
        };
        return Ok(stopped_by.unwrap_or(Exit::Status(i32::from(!told))));
    }
}

#[expect(unsafe_code, reason = "fork(2)")]
fn duplicate() -> Result<ForkResult, Errno> {
    // SAFETY: we have one thread, so the child finds no lock held and no state half changed.
    unsafe { fork() }
}
