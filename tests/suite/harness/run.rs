//! autossh, run with a scripted ssh.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{SigHandler, Signal};

use super::{Running, program, rest};

/// An autossh to be started, in a directory of its own.
pub struct Autossh {
    /// The directory.
    pub directory: tempfile::TempDir,
    command: Command,
    log: bool,
}

impl Autossh {
    /// With `args`, and an ssh that follows `script`, one line for each start.
    pub fn new<Word: AsRef<OsStr>>(args: impl IntoIterator<Item = Word>, script: &str) -> Autossh {
        Autossh::run_by(&[] as &[&str], args, script)
    }

    /// The same, with a command in front of autossh, such as `nohup`.
    pub fn run_by<First: AsRef<OsStr>, Word: AsRef<OsStr>>(
        first: &[First],
        args: impl IntoIterator<Item = Word>,
        script: &str,
    ) -> Autossh {
        let mut words: Vec<OsString> = first.iter().map(|word| word.as_ref().to_owned()).collect();
        words.push(program().into_os_string());
        words.extend(args.into_iter().map(|word| word.as_ref().to_owned()));
        Autossh::run_as(words, script)
    }

    /// Any command that runs autossh, which it finds on PATH.
    pub fn run_as<Word: AsRef<OsStr>>(words: impl IntoIterator<Item = Word>, script: &str) -> Autossh {
        let directory = tempfile::Builder::new().prefix("autossh-").tempdir().unwrap();
        fs::write(directory.path().join("script"), script).unwrap();
        let words: Vec<OsString> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let path = [program().parent().unwrap().as_os_str(), &std::env::var_os("PATH").unwrap()].join(OsStr::new(":"));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(directory.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AUTOSSH_") || name == "NOTIFY_SOCKET" || name == "SYSTEMD_EXEC_PID" {
                command.env_remove(name);
            }
        }
        command
            .env("AUTOSSH_PATH", scripted_ssh())
            .env("SCRIPTED_SSH", directory.path())
            .env("TZ", "UTC")
            .env("PATH", path);
        Autossh { directory, command, log: true }
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Autossh {
        self.command.env(name, value);
        self
    }

    /// Leaves AUTOSSH_LOGFILE alone; else the log is a file.
    pub fn own_log(mut self) -> Autossh {
        self.log = false;
        self
    }

    /// Changes the command in other ways.
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Autossh {
        change(&mut self.command);
        self
    }

    /// The path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What this environment variable has been set to.
    pub fn variable(&self, name: &str) -> String {
        let value = self.command.get_envs().find(|(set, _)| *set == name).and_then(|(_, value)| value);
        value.unwrap_or_default().to_str().unwrap().to_owned()
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        if self.log {
            self.command.env("AUTOSSH_LOGFILE", self.path("log"));
        }
        let out = self.path("stdout");
        let err = self.path("stderr");
        self.command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
        self.spawn()
    }

    /// Starts it with the stdout and stderr that [`Autossh::with`] gave it.
    pub fn spawn(mut self) -> Running {
        if self.log {
            self.command.env("AUTOSSH_LOGFILE", self.path("log"));
        }
        rest::keep_the_dead();
        let child = self.command.spawn().unwrap_or_else(|error| panic!("cannot run {:?}: {error}", self.command));
        Running::new(self.directory, child)
    }

    /// Runs it to its end.
    pub fn run(self) -> Running {
        let mut running = self.start();
        running.wait();
        running
    }
}

/// Where cargo has put the scripted ssh.
pub fn scripted_ssh() -> PathBuf {
    example("scripted-ssh")
}

/// Where cargo has put the program that makes system calls fail.
pub fn injector() -> PathBuf {
    example("injector")
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_autossh")).with_file_name("examples").join(name)
}

/// Starts a command with this disposition, `SigIgn` or `SigDfl`, of these signals.
#[allow(unsafe_code, reason = "there is no other way to make a child that ignores something")]
pub fn disposing(command: &mut Command, signals: &'static [Signal], disposition: SigHandler) {
    let set = move || {
        for signal in signals {
            // SAFETY: no handler is involved.
            unsafe { nix::sys::signal::signal(*signal, disposition) }?;
        }
        Ok(())
    };
    // SAFETY: signal(2) is async-signal-safe.
    unsafe { command.pre_exec(set) };
}
