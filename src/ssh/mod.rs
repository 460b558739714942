//! The child: finding ssh, starting it, ending it, reaping it.

#[expect(dead_code, reason = "the loop comes to use it next")]
pub mod connection;
pub mod stderr;

use std::cell::Cell;
use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::{io, iter, ptr};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, Pid, access, chdir, dup2_stderr, dup2_stdin, dup2_stdout, getpid, getppid};

use crate::sys::signals::Inherited;
use crate::sys::system;
use crate::text::error_text;
use autossh_core::exit_policy::ChildExit;

/// The default ssh.
const DEFAULT: &str = "/usr/bin/ssh";
/// Runs scripts without an interpreter line, as execvp(3) does.
const SHELL: &CStr = c"/bin/sh";
/// The size of the stack that a child has until its exec: several times what it takes.
const STACK: usize = 8 * 1024;

/// Finds the ssh to run: `wanted` (AUTOSSH_PATH), else the default, else the one on PATH. The path is absolute,
/// since it is looked up once and the working directory may change.
///
/// # Errors
/// What is wrong with it, as text.
pub fn find(wanted: Option<&Path>, path: Option<&OsStr>) -> Result<PathBuf, String> {
    let found = match wanted {
        None if Path::new(DEFAULT).exists() => usable(Path::new(DEFAULT)),
        None => on_path(OsStr::new("ssh"), path),
        Some(wanted) if wanted.as_os_str().as_encoded_bytes().contains(&b'/') => usable(wanted),
        Some(wanted) => on_path(wanted.as_os_str(), path),
    };
    found.map_err(|error| match wanted {
        None => format!("cannot run ssh: {error}; set AUTOSSH_PATH to where it is"),
        Some(wanted) => format!("cannot run AUTOSSH_PATH {wanted:?}: {error}; give the ssh to run"),
    })
}

fn usable(program: &Path) -> Result<PathBuf, String> {
    let text = |errno: Errno| error_text(&errno.into());
    access(program, AccessFlags::X_OK).map_err(text)?;
    if program.is_dir() {
        return Err(text(Errno::EISDIR));
    }
    std::path::absolute(program).map_err(|error| error_text(&error))
}

fn on_path(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, String> {
    let directories = path.map(std::env::split_paths).into_iter().flatten();
    // An empty entry means the working directory.
    let candidates = directories.map(|directory| {
        if directory.as_os_str().is_empty() { Path::new(".").join(name) } else { directory.join(name) }
    });
    candidates.into_iter().find_map(|candidate| usable(&candidate).ok()).ok_or_else(|| "not found on PATH".into())
}

/// How ssh is started, every time.
#[derive(Debug)]
pub struct Launcher {
    /// Its full path.
    pub program: PathBuf,
    /// The signals as they were when autossh was started.
    pub inherited: Inherited,
    /// For -f: the directory that the user was in. ssh then runs without a terminal, and its stderr is a pipe to us.
    pub background: Option<PathBuf>,
}

/// An ssh that has just been started.
#[derive(Debug)]
pub struct Child {
    /// Its pid.
    pub pid: Pid,
    /// With -f: its stderr.
    pub stderr: Option<File>,
    /// With -f: why it was started in `/`.
    pub lost_directory: Option<Errno>,
}

impl Launcher {
    /// Starts ssh with these args. It is running the program when this returns.
    ///
    /// # Errors
    /// It could not be cloned or executed.
    #[expect(
        unsafe_code,
        reason = "a child that shares our memory until its exec starts fastest, and says why it fails"
    )]
    pub fn start(&self, args: impl IntoIterator<Item = OsString>) -> io::Result<Child> {
        let args = iter::once(self.program.clone().into_os_string()).chain(args);
        let args = args.map(|arg| CString::new(arg.into_vec())).collect::<Result<Vec<_>, _>>()?;
        let pointers = iter::once(SHELL).chain(args.iter().map(CString::as_c_str)).map(CStr::as_ptr);
        let pointers: Vec<_> = pointers.chain([ptr::null()]).collect();
        let (stderr, end) = match self.background {
            Some(_) => system::pipe(OFlag::empty()).map(|(read, write)| (Some(read), Some(write)))?,
            None => (None, None),
        };

        let (failed, lost_directory) = (Cell::new(None), Cell::new(None));
        let parent = getpid();
        let child = || {
            let prepared = self.prepare(parent, end.as_ref(), &lost_directory);
            failed.set(Some(prepared.map_or_else(|errno| errno, |()| execute(&pointers))));
            127
        };
        let mut stack = [0; STACK];
        // Until the child has its own dispositions back, no signal may run our handlers in it.
        let unblocked = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // SAFETY: we sleep until the child, on a stack of its own, has executed ssh or ended; with every signal blocked
        // nothing but `child` runs in it. That makes system calls, keeps nothing that it allocates, and never returns
        // into our frames.
        let cloned = unsafe {
            clone(
                Box::new(child),
                &mut stack,
                CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK,
                Some(Signal::SIGCHLD as i32),
            )
        };
        unblocked.thread_set_mask()?;
        match (cloned?, failed.get()) {
            // Reaped along with all others, some time.
            (_, Some(errno)) => Err(Errno::into(errno)),
            (pid, None) => Ok(Child { pid, stderr: stderr.map(File::from), lost_directory: lost_directory.get() }),
        }
    }

    /// What the child does before it executes ssh.
    fn prepare(&self, parent: Pid, stderr: Option<&OwnedFd>, lost_directory: &Cell<Option<Errno>>) -> nix::Result<()> {
        let mut death_signal = Signal::SIGTERM;
        if let (Some(directory), Some(stderr)) = (&self.background, stderr) {
            death_signal = Signal::SIGKILL;
            if let Err(errno) = chdir(directory) {
                lost_directory.set(Some(errno));
                chdir("/")?;
            }
            let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
            dup2_stdin(&null)?;
            dup2_stdout(&null)?;
            dup2_stderr(stderr)?;
        }
        system::die_with_parent(death_signal)?;
        // The kernel does not report a parent that died before that call.
        if getppid() != parent {
            return Err(Errno::ESRCH);
        }
        self.inherited.put_back()
    }
}

/// Executes `args`, which begin with the shell and then the program, and end with a null pointer. Returns why not.
#[expect(unsafe_code, reason = "nix would make a list of args of its own, and there is no time to give it back")]
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

/// Sends ssh SIGTERM, and SIGCONT so that a stopped one receives it.
///
/// # Errors
/// ssh has become somebody else's process.
pub fn ask_to_end(pid: Pid) -> nix::Result<()> {
    let sent = kill(pid, Signal::SIGTERM);
    let _ = kill(pid, Signal::SIGCONT);
    sent
}

/// What has happened to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It has exited.
    Exited(ChildExit),
    /// This signal has stopped it.
    Stopped(i32),
}

/// The next child that has exited or stopped, if any. Every child is reaped: as PID 1 we inherit orphans.
#[expect(unsafe_code, reason = "nix loses a child that a real-time signal has killed: it knows no such signal")]
pub fn reap() -> Option<(Pid, Report)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is there to be written to for as long as the call takes.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
        let report = match pid {
            -1 if Errno::last() == Errno::EINTR => continue,
            ..=0 => return None,
            _ if libc::WIFEXITED(status) => Report::Exited(ChildExit::Status(libc::WEXITSTATUS(status))),
            _ if libc::WIFSIGNALED(status) => Report::Exited(ChildExit::Signal(libc::WTERMSIG(status))),
            _ if libc::WIFSTOPPED(status) => Report::Stopped(libc::WSTOPSIG(status)),
            _ => continue,
        };
        return Some((Pid::from_raw(pid), report));
    }
}
