//! autossh, run with a scripted ssh.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{SigHandler, Signal, kill};
use nix::unistd::Pid;

use super::{Start, program, wait_for};

/// An autossh to be run, in a folder of its own.
pub struct Autossh {
    /// The folder.
    pub folder: tempfile::TempDir,
    command: Command,
    log: bool,
}

impl Autossh {
    /// With `args`, and an ssh that follows `script`, a line a start.
    pub fn new<Word: AsRef<OsStr>>(args: impl IntoIterator<Item = Word>, script: &str) -> Autossh {
        Autossh::run_by(&[] as &[&str], args, script)
    }

    /// The same, with a program and its words before autossh's, such as `nohup`.
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

    /// Any command that comes to run autossh, which it finds on PATH.
    pub fn run_as<Word: AsRef<OsStr>>(words: impl IntoIterator<Item = Word>, script: &str) -> Autossh {
        let folder = tempfile::Builder::new().prefix("autossh-").tempdir().unwrap();
        fs::write(folder.path().join("script"), script).unwrap();
        let words: Vec<OsString> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let path = [program().parent().unwrap().as_os_str(), &std::env::var_os("PATH").unwrap()].join(OsStr::new(":"));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(folder.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AUTOSSH_") || name == "NOTIFY_SOCKET" {
                command.env_remove(name);
            }
        }
        command
            .env("AUTOSSH_PATH", scripted_ssh())
            .env("SCRIPTED_SSH", folder.path())
            .env("TZ", "UTC")
            .env("PATH", path);
        Autossh { folder, command, log: true }
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

    /// What else a command can be told.
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Autossh {
        change(&mut self.command);
        self
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
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
        let child = self.command.spawn().unwrap_or_else(|error| panic!("cannot run {:?}: {error}", self.command));
        Running { folder: self.folder, child, ended: None }
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
    Path::new(env!("CARGO_BIN_EXE_autossh")).parent().unwrap().join("examples/scripted-ssh")
}

/// An autossh that has been started.
pub struct Running {
    folder: tempfile::TempDir,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Its pid.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        if self.ended.is_none() {
            let what = format!("autossh's end; {}", self.story());
            self.ended = Some(wait_for(what, || self.child.try_wait().unwrap()));
        }
        self.ended.unwrap()
    }

    /// Its exit status, if it has ended already; a signal counts as 128 + n.
    pub fn has_ended(&mut self) -> Option<i32> {
        self.ended = self.ended.or_else(|| self.child.try_wait().unwrap());
        self.ended.map(|_| self.status())
    }

    /// Waits for its end, and answers with its exit status; a signal counts as 128 + n.
    pub fn status(&mut self) -> i32 {
        let status = self.wait();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The starts of ssh so far.
    pub fn starts(&self) -> Vec<Start> {
        (1..).map_while(|number| Start::read(&self.path(&format!("start.{number}")))).collect()
    }

    /// Waits for the `number`th start of ssh, from 1.
    pub fn wait_start(&self, number: usize) -> Start {
        wait_for(format!("start {number} of ssh; {}", self.story()), || {
            Start::read(&self.path(&format!("start.{number}")))
        })
    }

    /// Waits until ssh has started for the first time and autossh has logged its pid. 1.4g loses signals that come sooner.
    pub fn wait_up(&self) -> Start {
        let start = self.wait_start(1);
        self.wait_log("ssh child pid");
        start
    }

    /// A file in the folder, as text; empty if it is not there.
    pub fn text(&self, name: &str) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = fs::File::open(self.path(name)) {
            file.read_to_end(&mut bytes).unwrap();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.text("log")
    }

    /// What it has said on stderr so far.
    pub fn stderr(&self) -> String {
        self.text("stderr")
    }

    /// How often `text` is in the log so far.
    pub fn logged(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until `text` is in the log `times` times.
    pub fn wait_log_times(&self, text: &str, times: usize) {
        wait_for(format!("{times} times {text:?} in the log"), || (self.logged(text) >= times).then_some(()));
    }

    /// Waits until `text` is in the log.
    pub fn wait_log(&self, text: &str) {
        self.wait_log_times(text, 1);
    }

    /// Waits until a file is in the folder.
    pub fn wait_file(&self, name: &str) {
        wait_for(format!("the file {name}"), || self.path(name).exists().then_some(()));
    }

    /// All there is to know when something goes wrong.
    pub fn story(&self) -> String {
        format!("so far log:\n{}stderr:\n{}", self.log(), self.stderr())
    }
}

impl Drop for Running {
    /// Nothing that a case has started outlives it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.story());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        end_all_of(self.folder.path());
    }
}

/// Kills every process that was started with this folder, daemons and what 1.4g leaves behind.
fn end_all_of(folder: &Path) {
    let ours = format!("SCRIPTED_SSH={}", folder.display());
    let is_ours = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == ours.as_bytes())
    };
    // Until a round finds none: one that is about to be killed may just have started another.
    loop {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let found: Vec<i32> = pids.filter(is_ours).collect();
        if found.is_empty() {
            return;
        }
        for pid in found {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Lets a command begin with this disposition, `SigIgn` or `SigDfl`, of these signals.
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
