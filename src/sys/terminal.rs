//! The terminal's modes, which ssh does not restore when it is killed (autossh(1), SIGNALS).

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

/// Our controlling terminal, if we have one.
#[derive(Debug)]
pub struct Terminal {
    tty: Option<File>,
    modes: Option<Termios>,
}

impl Terminal {
    /// The controlling terminal.
    pub fn controlling() -> Terminal {
        let tty =
            File::options().read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open("/dev/tty");
        Terminal { tty: tty.ok(), modes: None }
    }

    /// No terminal: we are in the background.
    pub fn none() -> Terminal {
        Terminal { tty: None, modes: None }
    }

    /// Saves the modes before ssh starts.
    pub fn save(&mut self) {
        if let Some(tty) = self.ours() {
            self.modes = tcgetattr(tty).ok();
        }
    }

    /// Restores the saved modes.
    pub fn restore(&self) {
        let (Some(tty), Some(modes)) = (self.ours(), &self.modes) else {
            return;
        };
        // If we are no longer the foreground group, the call would stop us.
        let mut stops = SigSet::empty();
        stops.add(Signal::SIGTTOU);
        if let Ok(before) = stops.thread_swap_mask(SigmaskHow::SIG_BLOCK) {
            let _ = tcsetattr(tty, SetArg::TCSANOW, modes);
            let _ = before.thread_set_mask();
        }
    }

    /// ssh has stopped itself on our terminal (`~^Z`): stops us too, so that the shell notices. Returns after we are
    /// continued, with whether there is a terminal at all.
    pub fn stop_with_ssh(&self) -> bool {
        self.tty.is_some() && raise(Signal::SIGTSTP).is_ok()
    }

    /// The terminal, if we may change it: another program uses it while we are not the foreground group.
    fn ours(&self) -> Option<&File> {
        self.tty.as_ref().filter(|tty| tcgetpgrp(tty.as_fd()) == Ok(getpgrp()))
    }
}
