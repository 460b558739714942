//! ssh's stderr, where it comes through us: as lines for the log, or unchanged on its way to our own stderr (autossh(1),
//! LOGGING). Either way autossh hears which forwards were refused.

mod lines;
mod pass_through;
mod words;

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use autossh_core::forwards::Listen;
use autossh_core::time::Time;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;

use self::lines::Lines;
use self::pass_through::PassThrough;
use crate::text::error_text;

/// Maximum number of reads at a time: endless output must not block everything else. More than a full pipe takes.
const MAX_READS: usize = 16;

/// What ssh's stderr contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshOutput {
    /// A line for the log.
    Line(String),
    /// The server refuses to listen there.
    RemoteRefused(Listen),
    /// ssh cannot listen here. The address is one of those that it has tried.
    LocalRefused(SocketAddr),
    /// No more can be read; why.
    Unreadable(String),
}

/// ssh's stderr, of one ssh after the other.
#[derive(Debug)]
pub struct SshStderr {
    pipe: Option<File>,
    lines: Lines,
    pass_through: Option<PassThrough>,
}

impl SshStderr {
    /// What ssh writes becomes lines for the log.
    pub fn for_log() -> SshStderr {
        SshStderr { pipe: None, lines: Lines::new(false), pass_through: None }
    }

    /// What ssh writes goes to `stderr`, our own.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn passed_on(stderr: BorrowedFd<'_>) -> io::Result<SshStderr> {
        let pass_through = Some(PassThrough::new(stderr)?);
        Ok(SshStderr { pipe: None, lines: Lines::new(false), pass_through })
    }

    /// Reads from `pipe` from now on, the stderr of a new ssh.
    ///
    /// # Errors
    /// The pipe cannot be made non-blocking.
    pub fn attach(&mut self, pipe: File) -> io::Result<()> {
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        self.pipe = Some(pipe);
        self.lines = Lines::new(self.pass_through.is_none());
        Ok(())
    }

    /// What to wait for, on which descriptors.
    pub fn interest(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let pipe = self.pipe.iter().filter(|_| self.has_room()).map(|pipe| (pipe.as_fd(), PollFlags::POLLIN));
        let waiting = self.pass_through.iter().filter(|pass_through| pass_through.is_waiting());
        pipe.chain(waiting.map(|pass_through| (pass_through.as_fd(), PollFlags::POLLOUT)))
    }

    /// Reads what is there, passes it on as far as possible, and gives what follows from it to `take`.
    pub fn advance(&mut self, now: Time, take: &mut dyn FnMut(SshOutput)) {
        if let Some(pass_through) = &mut self.pass_through {
            pass_through.write();
        }
        if self.pipe.is_some() && self.has_room() && !self.read(false, now, take) {
            self.close(take);
        }
    }

    /// ssh has exited: reads what is still there. If another process holds the pipe open, such as a ControlPersist
    /// master, it is not waited for.
    pub fn ssh_exited(&mut self, now: Time, take: &mut dyn FnMut(SshOutput)) {
        if self.pipe.is_some() {
            self.read(true, now, take);
            self.close(take);
        }
    }

    /// autossh is about to exit: gives our stderr a short time to take what is waiting for it.
    pub fn flush(&mut self) {
        if let Some(pass_through) = &mut self.pass_through {
            pass_through.flush();
        }
    }

    /// The last line of this ssh, or of the one before the next is started. Lines that `ssh -v` adds do not count.
    pub fn last_line(&self) -> Option<String> {
        self.lines.last().map(str::to_owned)
    }

    fn has_room(&self) -> bool {
        self.pass_through.as_ref().is_none_or(PassThrough::has_room)
    }

    /// Reads what is there, to the last byte or as long as there is room. Returns whether more may follow. Not inlined, so
    /// that its buffer is not on the loop's stack when nothing is read.
    #[inline(never)]
    fn read(&mut self, to_the_last: bool, now: Time, take: &mut dyn FnMut(SshOutput)) -> bool {
        let mut buffer = [0; 8 * 1024];
        for _ in 0..MAX_READS {
            let has_room = to_the_last || self.has_room();
            let Some(pipe) = self.pipe.as_mut().filter(|_| has_room) else {
                return true;
            };
            match pipe.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    if let Some(pass_through) = &mut self.pass_through {
                        pass_through.push(bytes);
                    }
                    self.lines.push(bytes, now, take);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    take(SshOutput::Unreadable(error_text(&error)));
                    return false;
                }
            }
        }
        true
    }

    fn close(&mut self, take: &mut dyn FnMut(SshOutput)) {
        self.pipe = None;
        self.lines.finish(take);
    }
}

#[cfg(test)]
mod tests;
