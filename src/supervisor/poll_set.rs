//! What the loop waits for: descriptors, each bound to its meaning when it is registered.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::sys::signals::Signals;

/// What to wait for: descriptors, each bound to its meaning.
#[derive(Default)]
pub struct PollSet<'a> {
    fds: Vec<PollFd<'a>>,
    sources: Vec<Source>,
}

/// What a descriptor belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Signals have arrived.
    Signals,
    /// A timer has expired.
    Alarm,
    /// The network has changed.
    Network,
    /// ssh has been executed, or not.
    Start,
    /// ssh's stderr, and ours.
    Stderr,
    /// The monitor's listener and test.
    Monitor,
}

impl<'a> PollSet<'a> {
    /// Adds a descriptor.
    pub fn add(&mut self, source: Source, fd: BorrowedFd<'a>, flags: PollFlags) {
        self.fds.push(PollFd::new(fd, flags));
        self.sources.push(source);
    }

    /// Waits until one is ready or one of `signals` comes, for `timeout` at most.
    ///
    /// # Errors
    /// As for poll(2), but for an interruption.
    pub fn wait(&mut self, signals: &Signals, timeout: PollTimeout) -> Result<(), Errno> {
        match signals.poll(&mut self.fds, timeout) {
            Ok(()) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Returns whether one of this source is ready.
    pub fn is_ready(&self, wanted: Source) -> bool {
        let mut ready = self.sources.iter().zip(&self.fds);
        ready.any(|(source, fd)| *source == wanted && fd.any().unwrap_or_default())
    }
}
