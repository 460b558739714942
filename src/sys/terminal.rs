//! The terminal's modes, which an ssh that is killed leaves as it had set them (autossh(1), SIGNALS).

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

    /// Keeps the modes that ssh finds.
    pub fn save(&mut self) {
        if let Some(tty) = self.ours() {
            self.modes = tcgetattr(tty).ok();
        }
    }

    /// Puts the modes back that ssh found.
    pub fn restore(&self) {
        let (Some(tty), Some(modes)) = (self.ours(), &self.modes) else {
            return;
        };
        // Should we not be the foreground group any more by now, the call would stop us.
        let mut stops = SigSet::empty();
        stops.add(Signal::SIGTTOU);
        if let Ok(before) = stops.thread_swap_mask(SigmaskHow::SIG_BLOCK) {
            let _ = tcsetattr(tty, SetArg::TCSANOW, modes);
            let _ = before.thread_set_mask();
        }
    }

    /// ssh has stopped itself on our terminal (`~^Z`): stops us too, so that the shell notices. Comes back when we are
    /// continued. Returns whether there is a terminal for which to do so.
    pub fn stop_with_ssh(&self) -> bool {
        self.tty.is_some() && raise(Signal::SIGTSTP).is_ok()
    }

    /// The terminal, if it is ours to change: other programs own it while we are not the foreground group.
    fn ours(&self) -> Option<&File> {
        self.tty.as_ref().filter(|tty| tcgetpgrp(tty.as_fd()) == Ok(getpgrp()))
    }
}
