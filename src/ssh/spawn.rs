//! Starting ssh without blocking: fork, and a pipe that tells when it has been executed, or why not.
//!
//! The child may hang in chdir(2) or execve(2) on a dead network file system; the loop goes on meanwhile.

use std::ffi::{CStr, CString, OsString, c_char};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::{iter, ptr};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, getpid, getppid, write};

use crate::sys::signals::Inherited;
use crate::sys::system;

/// Runs scripts without an interpreter line, as execvp(3) does.
const SHELL: &CStr = c"/bin/sh";

/// How ssh is started, every time.
#[derive(Debug)]
pub struct Launcher {
    /// Its full path.
    pub program: PathBuf,
    /// The signals as they were when autossh was started.
    pub inherited: Inherited,
    /// For -f: the directory that the user was in. ssh then runs without a terminal.
    pub background: Option<PathBuf>,
    /// ssh's stderr is a pipe to us.
    pub pipe_stderr: bool,
}

/// An ssh that has just been forked.
#[derive(Debug)]
pub struct Child {
    /// Its pid.
    pub pid: Pid,
    /// Tells when it has been executed.
    pub exec: Option<ExecPipe>,
    /// Its stderr.
    pub stderr: Option<File>,
}

/// The child's reports: one for each failure, and the end of file when it has executed ssh or is dead.
#[derive(Debug)]
pub struct ExecPipe {
    pipe: File,
    /// The beginning of an incomplete report.
    partial: Vec<u8>,
}

/// What the child has reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecReport {
    /// It could not enter the directory, and goes on in `/`.
    LostDirectory(Errno),
    /// It cannot execute ssh, and exits.
    Failed(Errno),
    /// It has executed ssh, or has died before.
    Closed,
}

/// The first byte of a report; the errno follows.
const LOST_DIRECTORY: u8 = 1;
const FAILED: u8 = 2;
/// The size of a report.
const REPORT: usize = 5;

/// The pipes of one start.
#[derive(Debug)]
pub struct Pipes {
    exec: (OwnedFd, OwnedFd),
    stderr: Option<(OwnedFd, OwnedFd)>,
}

impl Launcher {
    /// Makes the pipes for a start, before anything that is optional.
    ///
    /// # Errors
    /// No descriptors for them.
    pub fn pipes(&self) -> io::Result<Pipes> {
        let exec = system::pipe(OFlag::empty())?;
        fcntl(&exec.0, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let stderr = self.pipe_stderr.then(|| system::pipe(OFlag::empty())).transpose()?;
        Ok(Pipes { exec, stderr })
    }

    /// Forks a child that executes ssh with these arguments.
    ///
    /// # Errors
    /// No process or memory for it.
    pub fn start(&self, pipes: Pipes, args: impl IntoIterator<Item = OsString>) -> io::Result<Child> {
        // Everything that allocates memory is done before the fork.
        let c_string = |text: OsString| CString::new(text.into_vec());
        let args = iter::once(self.program.clone().into_os_string()).chain(args);
        let args = args.map(c_string).collect::<Result<Vec<_>, _>>()?;
        let pointers = iter::once(SHELL).chain(args.iter().map(CString::as_c_str)).map(CStr::as_ptr);
        let pointers: Vec<_> = pointers.chain([ptr::null()]).collect();
        let directory = self.background.clone().map(|path| c_string(path.into_os_string())).transpose()?;
        let Pipes { exec: (exec, report), stderr } = pipes;
        let (stderr, stderr_end) = stderr.unzip();
        let parent = getpid();

        // Until the child has its own dispositions back, no signal may run our handlers in it.
        let unblocked = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let forked = duplicate();
        if matches!(forked, Ok(ForkResult::Child)) {
            let prepared = self.prepare(parent, directory.as_deref(), stderr_end.as_ref(), &report);
            let errno = prepared.map_or_else(|errno| errno, |()| execute(&pointers));
            tell(&report, FAILED, errno);
            exit_now();
        }
        unblocked.thread_set_mask()?;
        match forked? {
            ForkResult::Parent { child } => Ok(Child {
                pid: child,
                exec: Some(ExecPipe { pipe: exec.into(), partial: Vec::new() }),
                stderr: stderr.map(File::from),
            }),
            // It has exited above.
            ForkResult::Child => Err(Errno::EINVAL.into()),
        }
    }

    /// What the child does before it executes ssh. Only async-signal-safe calls.
    fn prepare(
        &self,
        parent: Pid,
        directory: Option<&CStr>,
        stderr: Option<&OwnedFd>,
        report: &OwnedFd,
    ) -> nix::Result<()> {
        let mut death_signal = Signal::SIGTERM;
        if let Some(stderr) = stderr {
            dup2_stderr(stderr)?;
        }
        if let Some(directory) = directory {
            death_signal = Signal::SIGKILL;
            if let Err(errno) = chdir(directory) {
                tell(report, LOST_DIRECTORY, errno);
                chdir(c"/")?;
            }
            let null = open(c"/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
            dup2_stdin(&null)?;
            dup2_stdout(&null)?;
        }
        // If it is refused (seccomp), the only effect is that ssh outlives a killed autossh.
        let _ = system::die_with_parent(death_signal);
        // The kernel does not report a parent that died before that call. Zero means a parent in another pid namespace.
        let now = getppid();
        if now != parent && now.as_raw() != 0 {
            return Err(Errno::ESRCH);
        }
        self.inherited.put_back()
    }
}

impl ExecPipe {
    /// The next report, if there is one.
    pub fn read(&mut self) -> Option<ExecReport> {
        loop {
            if let Some((report, rest)) = self.partial.split_first_chunk::<REPORT>() {
                let [kind, errno @ ..] = *report;
                let errno = Errno::from_raw(i32::from_ne_bytes(errno));
                self.partial = rest.to_vec();
                return Some(if kind == FAILED { ExecReport::Failed(errno) } else { ExecReport::LostDirectory(errno) });
            }
            let mut buffer = [0; 4 * REPORT];
            match self.pipe.read(&mut buffer) {
                Ok(0) => return Some(ExecReport::Closed),
                Ok(count) => self.partial.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // Treated as closed: nothing more will arrive.
                Err(_) => return Some(ExecReport::Closed),
            }
        }
    }
}

impl AsFd for ExecPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Reports a failure to the parent. Async-signal-safe.
fn tell(report: &OwnedFd, kind: u8, errno: Errno) {
    let [a, b, c, d] = (errno as i32).to_ne_bytes();
    let _ = write(report, &[kind, a, b, c, d]);
}

/// Executes `args`, which begin with the shell and then the program, and end with a null pointer. Returns why not.
#[expect(unsafe_code, reason = "nix would make a list of its own, which allocates memory in the child")]
fn execute(args: &[*const c_char]) -> Errno {
    let (Some(shell), Some(program)) = (args.first(), args.get(1)) else {
        return Errno::EINVAL;
    };
    // SAFETY: the args are C strings, the last pointer is null.
    unsafe { libc::execv(*program, program) };
    if Errno::last() == Errno::ENOEXEC {
        // SAFETY: as above.
        unsafe { libc::execv(*shell, shell) };
    }
    Errno::last()
}

#[expect(unsafe_code, reason = "fork(2)")]
fn duplicate() -> Result<ForkResult, Errno> {
    // SAFETY: we have one thread, and the child makes only async-signal-safe calls until it executes ssh or exits.
    unsafe { fork() }
}

#[expect(unsafe_code, reason = "std's exit runs what only the parent may run")]
fn exit_now() -> ! {
    // SAFETY: _exit(2) never returns and touches no memory.
    unsafe { libc::_exit(127) }
}
