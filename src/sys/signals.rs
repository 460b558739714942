//! Signals: those that we handle arrive while we wait, and are read from a pipe; inherited dispositions are kept for ssh
//! (autossh(1), SIGNALS).

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::sys::system::{no_core_file, poll_unblocked};

/// What a signal requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// End ssh and autossh.
    Stop(Signal),
    /// Reopen the log, end a wait.
    Hangup,
    /// Restart ssh.
    Restart,
    /// Log the status.
    Status,
    /// Make a connection test.
    TestNow,
    /// A child has exited or stopped.
    Child,
    /// We were stopped and continued. The loop only needs to know.
    Continued,
}

/// The signals that the loop handles, and what each requests (autossh(1), SIGNALS).
const HANDLED: [(Signal, Notice); 9] = [
    (Signal::SIGTERM, Notice::Stop(Signal::SIGTERM)),
    (Signal::SIGINT, Notice::Stop(Signal::SIGINT)),
    (Signal::SIGQUIT, Notice::Stop(Signal::SIGQUIT)),
    (Signal::SIGHUP, Notice::Hangup),
    (Signal::SIGUSR1, Notice::Restart),
    (Signal::SIGUSR2, Notice::Status),
    (Signal::SIGALRM, Notice::TestNow),
    (Signal::SIGCHLD, Notice::Child),
    (Signal::SIGCONT, Notice::Continued),
];
/// The signals that are ignored: the system call that causes them fails too, and that is handled.
const IGNORED: [Signal; 2] = [Signal::SIGPIPE, Signal::SIGXFSZ];

/// The dispositions, at startup, of the signals that we change.
#[derive(Clone, Debug)]
pub struct Inherited {
    ignored: Vec<Signal>,
}

impl Inherited {
    /// Blocks every signal, so that none is lost or fatal until [`Signals::new`], and records their dispositions.
    pub fn take() -> Inherited {
        // It cannot fail with a full set.
        let _ = SigSet::all().thread_block();
        let ignored = changed().filter(|signal| is_ignored(*signal)).collect();
        for signal in IGNORED {
            let _ = set(signal, libc::SIG_IGN);
        }
        Inherited { ignored }
    }

    /// Restores the dispositions and unblocks all signals. Async-signal-safe, for a child before its exec.
    pub fn put_back(&self) -> nix::Result<()> {
        for signal in changed() {
            let ignore = self.ignored.contains(&signal);
            set(signal, if ignore { libc::SIG_IGN } else { libc::SIG_DFL })?;
        }
        SigSet::empty().thread_set_mask()?;
        Ok(())
    }
}

/// All signals whose dispositions we change.
fn changed() -> impl Iterator<Item = Signal> {
    HANDLED.into_iter().map(|(signal, _)| signal).chain(IGNORED)
}

/// Incoming signals.
#[derive(Debug)]
pub struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
}

impl Signals {
    /// Installs the handlers. The signals that they handle stay blocked, but for the time that we wait.
    ///
    /// # Errors
    /// The pipe or a handler cannot be set up.
    pub fn new() -> io::Result<Signals> {
        let (read, write) = UnixStream::pair()?;
        let handled = HANDLED.map(|(signal, _)| signal as i32);
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, handled)?;
        HANDLED.into_iter().map(|(signal, _)| signal).collect::<SigSet>().thread_set_mask()?;
        Ok(Signals { delivery })
    }

    /// Waits as poll(2) does, but never through a signal that has come before: even if the pipe does not take its byte.
    ///
    /// # Errors
    /// As for poll(2): `EINTR` for a signal.
    #[expect(clippy::unused_self, reason = "without the handlers, signals would be fatal here")]
    pub fn poll(&self, fds: &mut [PollFd<'_>], timeout: PollTimeout) -> nix::Result<()> {
        poll_unblocked(fds, timeout).map(drop)
    }

    /// Waits for a signal, at most for `limit`: what is left where poll(2) fails.
    ///
    /// # Errors
    /// Waiting is impossible like this too.
    pub fn wait(&self, limit: Duration) -> io::Result<()> {
        let mut stream = self.delivery.get_read();
        stream.set_read_timeout(Some(limit))?;
        let blocked = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let read = stream.read(&mut [0]);
        blocked.thread_set_mask()?;
        // The signal itself is kept elsewhere.
        match read {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            done => done.map(drop),
        }
    }

    /// The requests of the signals since the last call, each once.
    pub fn pending(&mut self) -> impl Iterator<Item = Notice> + use<> {
        let notice = |number| HANDLED.iter().find(|(signal, _)| *signal as i32 == number).map(|(_, notice)| *notice);
        self.delivery.pending().filter_map(notice)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

/// Ends this process with `signal`, as its sender expects. For PID 1 this does not work, and the caller exits with
/// 128 + n.
pub fn die_of(signal: i32) {
    // QUIT would leave a core file, but nothing has crashed.
    no_core_file();
    if let Ok(signal) = Signal::try_from(signal) {
        let _ = set(signal, libc::SIG_DFL);
        let mut only = SigSet::empty();
        only.add(signal);
        let _ = only.thread_unblock();
        let _ = nix::sys::signal::raise(signal);
    }
}

#[expect(unsafe_code, reason = "nix can only set dispositions, not ask for them")]
fn is_ignored(signal: Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null pointer for the new action asks for the old one only, which `action` has room for.
    let asked = unsafe { libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) };
    if asked != 0 {
        return false;
    }
    // SAFETY: the call above succeeded, so it has filled `action` in.
    unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

#[expect(unsafe_code, reason = "signal dispositions are process-wide state")]
fn set(signal: Signal, disposition: libc::sighandler_t) -> Result<(), Errno> {
    // SAFETY: only ever SIG_IGN or SIG_DFL, so no handler can run; signal(2) is async-signal-safe.
    let old = unsafe { libc::signal(signal as i32, disposition) };
    if old == libc::SIG_ERR { Err(Errno::last()) } else { Ok(()) }
}
