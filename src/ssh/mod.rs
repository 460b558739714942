//! The child: finding ssh, starting it, ending it, reaping it.

pub mod connection;
pub mod spawn;
pub mod stderr;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use autossh_core::event::ChildExit;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{AccessFlags, Pid, access};

use crate::text::error_text;

/// The default ssh.
const DEFAULT: &str = "/usr/bin/ssh";

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
