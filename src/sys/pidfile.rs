//! The pid file (AUTOSSH_PIDFILE).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

/// A file that contains our pid while this exists.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    content: String,
}

impl PidFile {
    /// Writes our pid to `path`. If that fails, no file is left.
    ///
    /// # Errors
    /// It cannot be opened, or not fully written.
    pub fn write(path: PathBuf) -> io::Result<PidFile> {
        // A FIFO without a reader is refused instead of waited for.
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
            .open(&path)?;
        let content = format!("{}\n", std::process::id());
        let written = file.write_all(content.as_bytes());
        let pid_file = PidFile { path, content };
        match written {
            Ok(()) => Ok(pid_file),
            Err(error) => {
                pid_file.remove();
                Err(error)
            }
        }
    }

    /// Sets the file's times to now: a connection test has passed.
    pub fn touch(&self) {
        let now = TimeSpec::UTIME_NOW;
        let _ = utimensat(AT_FDCWD, &self.path, &now, &now, UtimensatFlags::FollowSymlink);
    }

    /// Removes the file if it is a regular file: it may be a device.
    fn remove(&self) {
        if fs::metadata(&self.path).is_ok_and(|metadata| metadata.is_file()) {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Whether it still contains our pid.
    fn names_us(&self) -> bool {
        let mut found = String::new();
        let file = File::options().read(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(&self.path);
        let most = self.content.len().saturating_add(1);
        file.is_ok_and(|file| file.take(most as u64).read_to_string(&mut found).is_ok()) && found == self.content
    }
}

impl Drop for PidFile {
    /// Removes the file, unless it contains another pid by now.
    fn drop(&mut self) {
        if !self.names_us() {
            return;
        }
        // The next autossh may write its pid between our look and the removal. Set aside first, its file can be put back.
        let mut aside = self.path.clone().into_os_string();
        aside.push(format!(".{}", std::process::id()));
        let path = std::mem::replace(&mut self.path, aside.into());
        if fs::rename(&path, &self.path).is_err() {
            self.path = path;
        } else if !self.names_us() {
            let _ = fs::hard_link(&self.path, &path);
        }
        self.remove();
    }
}
