//! AUTOSSH_LOGFILE: a file that lines are appended to, or a descriptor that we were given.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::sys::outlet::Outlet;

/// A file that lines are appended to.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    outlet: Outlet,
    /// It is a regular file, which log rotation may move away.
    regular: bool,
}

impl LogFile {
    /// Opens `path`; if it names a descriptor of ours, such as `/dev/stdout`, that is duplicated. A symbolic link to such
    /// a name is left to the kernel, which refuses to follow other users' links in sticky directories.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: PathBuf) -> io::Result<LogFile> {
        if let Some(number) = named_descriptor(&path) {
            return Ok(LogFile { path, outlet: Outlet::given(number)?, regular: false });
        }
        let file = open(&path)?;
        let regular = file.metadata()?.is_file();
        Ok(LogFile { path, outlet: Outlet::new(OwnedFd::from(file)), regular })
    }

    /// Reopens the file, since it may have been rotated (HUP). If that fails, the old one stays.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn reopen(&mut self) -> io::Result<()> {
        if self.regular {
            *self = LogFile::open(self.path.clone())?;
        }
        Ok(())
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line.
    ///
    /// # Errors
    /// It cannot be written; `WouldBlock` if that would block.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.outlet.write(line)
    }
}

impl AsFd for LogFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.outlet.as_fd()
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    // O_CREAT even if the file exists: only with it does the kernel refuse files and FIFOs of other users in a sticky
    // directory such as /tmp (protected_regular and protected_fifos in proc(5)).
    options.append(true).create(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    let fifo = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    if fifo {
        // A FIFO opened for reading too needs no reader to be opened, and does not fail when a reader goes away.
        match options.clone().read(true).open(path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            opened => return opened,
        }
    }
    options.open(path)
}

/// The descriptor of ours that the name `path` itself stands for.
fn named_descriptor(path: &Path) -> Option<RawFd> {
    let text = path.to_str()?;
    let number = match text {
        "/dev/stdout" => "1",
        "/dev/stderr" => "2",
        _ => text.strip_prefix("/dev/fd/").or_else(|| {
            let (process, number) = text.strip_prefix("/proc/")?.split_once("/fd/")?;
            let ours = matches!(process, "self" | "thread-self") || process == std::process::id().to_string();
            ours.then_some(number)
        })?,
    };
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())?
}
