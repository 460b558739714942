//! The child: finding ssh, starting it, ending it, reaping it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{AccessFlags, Pid, access, chdir, getpid, getppid};

use crate::policy::Ended;
use crate::signals::Inherited;

/// Where ssh is, if nobody says otherwise.
const DEFAULT: &str = "/usr/bin/ssh";

/// Finds the ssh to run: `wanted` (AUTOSSH_PATH), else the usual one, else the one on PATH. The answer is absolute, for
/// it is resolved once and must hold wherever we go.
///
/// # Errors
/// What is wrong with it, in words.
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
    let text = |errno: Errno| errno.desc().to_owned();
    access(program, AccessFlags::X_OK).map_err(text)?;
    if program.is_dir() {
        return Err(text(Errno::EISDIR));
    }
    std::path::absolute(program).map_err(|error| crate::text::plain(&error))
}

fn on_path(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, String> {
    let folders = path.map(std::env::split_paths).into_iter().flatten();
    // An empty entry stands for the folder we are in.
    let candidates =
        folders.map(|folder| if folder.as_os_str().is_empty() { Path::new(".").join(name) } else { folder.join(name) });
    candidates.into_iter().find_map(|candidate| usable(&candidate).ok()).ok_or_else(|| "not found on PATH".into())
}

/// How ssh is started, every time.
#[derive(Debug)]
pub struct Launcher {
    /// Its full path.
    pub program: PathBuf,
    /// The signals as we found them.
    pub inherited: Inherited,
    /// For -f: the folder that the user was in. ssh then runs without our terminal, and what it says comes to us.
    pub background: Option<PathBuf>,
}

/// What has just been started.
#[derive(Debug)]
pub struct Child {
    /// Its pid.
    pub pid: Pid,
    /// In the background: what it says on stderr.
    pub stderr: Option<File>,
    /// In the background: why it had to be started in `/`.
    pub lost_folder: Option<Errno>,
}

impl Launcher {
    /// Starts ssh with these words. It is running the program when this returns.
    ///
    /// # Errors
    /// It could not be forked or executed.
    pub fn start(&self, words: impl IntoIterator<Item = OsString>) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(words);
        let mut lost_folder = None;
        let mut death_signal = Signal::SIGTERM;
        if let Some(folder) = &self.background {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            lost_folder = chdir(folder).err();
            death_signal = Signal::SIGKILL;
        }
        self.before_exec(&mut command, death_signal);

        // Until the child has its own dispositions back, no signal may run our handlers in it.
        let unblocked = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK)?;
        let spawned = command.spawn();
        unblocked.thread_set_mask()?;
        if self.background.is_some() {
            // There always is a `/`.
            let _ = chdir("/");
        }
        let mut child = spawned?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let stderr = child.stderr.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        Ok(Child { pid, stderr, lost_folder })
    }

    #[expect(unsafe_code, reason = "what is done between fork and exec must be async-signal-safe")]
    fn before_exec(&self, command: &mut Command, death_signal: Signal) {
        let parent = getpid();
        let inherited = self.inherited.clone();
        let prepare = move || {
            prctl::set_pdeathsig(death_signal)?;
            // A parent that died before that call will not be missed by the kernel.
            if getppid() != parent {
                return Err(Errno::ESRCH.into());
            }
            inherited.put_back()
        };
        // SAFETY: the closure makes only system calls that are async-signal-safe, and neither allocates nor locks.
        unsafe { command.pre_exec(prepare) };
    }
}

/// Asks ssh to end; a stopped one is continued, so that it hears.
pub fn ask_to_end(pid: Pid) {
    let _ = kill(pid, Signal::SIGTERM);
    let _ = kill(pid, Signal::SIGCONT);
}

/// What a child of ours has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It has ended.
    Ended(Ended),
    /// This signal has stopped it.
    Stopped(i32),
}

/// The next child that has ended or stopped, if there is one. Every child is reaped: as PID 1 we get orphans that we
/// never started.
#[expect(unsafe_code, reason = "nix loses a child that a real-time signal has killed: it knows no such signal")]
pub fn reap() -> Option<(Pid, Report)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is there to be written to for as long as the call takes.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
        let report = match pid {
            -1 if Errno::last() == Errno::EINTR => continue,
            ..=0 => return None,
            _ if libc::WIFEXITED(status) => Report::Ended(Ended::Status(libc::WEXITSTATUS(status))),
            _ if libc::WIFSIGNALED(status) => Report::Ended(Ended::Signal(libc::WTERMSIG(status))),
            _ if libc::WIFSTOPPED(status) => Report::Stopped(libc::WSTOPSIG(status)),
            _ => continue,
        };
        return Some((Pid::from_raw(pid), report));
    }
}
