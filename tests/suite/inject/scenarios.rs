//! What autossh does while a system call of it fails.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::play::{Play, Stop};
use crate::harness::{Autossh, Running, is_ours, port_pair};
use crate::logs::syslog::OWN_DEV;

/// A stretch of autossh's life.
pub struct Scenario {
    pub name: &'static str,
    /// A process in the background supervises.
    pub background: bool,
    /// autossh 1.4g can do it too.
    pub reference: bool,
    /// What the log must have at the end, if nothing says why not.
    pub logs: &'static [&'static str],
    /// How it is started, by the injector.
    pub autossh: fn(&[&str]) -> Autossh,
    /// What happens then, until it is time to end.
    pub play: fn(&mut Play) -> Result<(), Stop>,
}

/// A foreground autossh without a monitor.
fn plain(before: &[&str], script: &str) -> Autossh {
    Autossh::run_by(before, ["-M", "0", "-N", "host"], script).env("AUTOSSH_GATETIME", "0")
}

fn background(before: &[&str], script: &str) -> Autossh {
    let autossh = Autossh::run_by(before, ["-M", "0", "-f", "-N", "host"], script);
    let pid_file = autossh.path("pid");
    autossh.env("AUTOSSH_PIDFILE", pid_file)
}

/// Without a monitor, with an ssh that is connected, and with a NOTIFY_SOCKET: what arrives there is in the file `notified`.
fn notifying(before: &[&str]) -> Autossh {
    let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let autossh = plain(before, &format!("connect {};hang", server.local_addr().unwrap().port()));
    let path = autossh.path("notify");
    keep(UnixDatagram::bind(&path).unwrap(), autossh.path("notify"), autossh.path("notified"), server);
    autossh.env("NOTIFY_SOCKET", &path)
}

/// With a syslogd, which writes what it receives to the file `log`.
fn with_syslogd(before: &[&str]) -> Autossh {
    let setup = format!("target=$PWD/syslog && {OWN_DEV} && exec \"$@\"");
    let contained = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &setup, "sh"];
    let autossh = plain(&[&contained, before].concat(), "hang").own_log();
    keep(UnixDatagram::bind(autossh.path("syslog")).unwrap(), autossh.path("syslog"), autossh.path("log"), ());
    autossh
}

/// Appends what arrives at this socket to a file, a line each, and keeps something else, as long as the socket is there.
fn keep(socket: UnixDatagram, path: PathBuf, file: PathBuf, kept: impl Send + 'static) {
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut file = File::create(file).unwrap();
    thread::spawn(move || {
        let mut message = [0; 4096];
        while path.exists() {
            if let Ok(count) = socket.recv(&mut message) {
                file.write_all(&[&message[..count], b"\n"].concat()).unwrap();
            }
        }
        drop(kept);
    });
}

/// An ssh that fails, at once unless 1.4g would miss that.
fn failure() -> &'static str {
    if is_ours() { "exit 255" } else { "live 200;exit 255" }
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "start",
        background: false,
        reference: true,
        logs: &["starting ssh (count 1)", "ssh child pid is"],
        autossh: |before| plain(before, "hang"),
        play: |play| {
            play.until_start(1)?;
            play.rests()
        },
    },
    Scenario {
        name: "loop",
        background: false,
        reference: true,
        logs: &["starting ssh (count 1)", "ssh child pid is", "connection ok"],
        autossh: |before| {
            let port = port_pair().to_string();
            let autossh = Autossh::run_by(before, ["-M", &port, "-N", "host"], "relay sound");
            autossh.env("AUTOSSH_GATETIME", "0").env("AUTOSSH_POLL", "1").env("AUTOSSH_DEBUG", "1")
        },
        play: |play| {
            play.until_logged("connection ok", 2)?;
            let starts = play.running.starts().len();
            play.signal(Signal::SIGUSR1);
            play.until_start(starts + 1)?;
            let tests = play.running.logged("connection ok");
            play.until_logged("connection ok", tests + 1)
        },
    },
    Scenario {
        name: "automatic",
        background: false,
        reference: false,
        logs: &["starting ssh (count 1)", "ssh child pid is", "connection ok"],
        autossh: |before| {
            let autossh = Autossh::run_by(before, ["-N", "host"], "relay sound");
            autossh.env("AUTOSSH_GATETIME", "0").env("AUTOSSH_POLL", "1").env("AUTOSSH_DEBUG", "1")
        },
        play: |play| {
            let monitored =
                |running: &Running| running.logged("connection ok") > 0 || running.logged("without a monitor") > 0;
            play.until("a test", monitored)
        },
    },
    Scenario {
        name: "background",
        background: true,
        reference: true,
        logs: &["starting ssh (count 1)", "ssh child pid is", "ssh: hello from ssh"],
        autossh: |before| background(before, "say hello from ssh;note said;hang"),
        play: |play| {
            play.until_told()?;
            play.until_start(1)?;
            // An ssh whose stderr could not be read is restarted when it writes.
            play.until("what ssh says", |running| ["said.1", "said.2"].iter().any(|name| running.path(name).exists()))?;
            play.rests()?;
            let starts = play.running.starts().len();
            play.signal(Signal::SIGUSR1);
            play.until_start(starts + 1)
        },
    },
    Scenario {
        name: "service",
        background: false,
        reference: false,
        logs: &["starting ssh (count 1)", "ssh child pid is"],
        autossh: notifying,
        play: |play| {
            play.until_start(1)?;
            let up = |running: &Running| {
                let messages = running.text("notified");
                messages.lines().any(|line| line == "READY=1") && messages.contains("STATUS=ssh ")
            };
            play.until("READY=1 and a status", up)?;
            play.rests()
        },
    },
    Scenario {
        name: "syslog",
        background: false,
        reference: false,
        logs: &["starting ssh (count 1)", "ssh child pid is", "starting ssh (count 2)"],
        autossh: with_syslogd,
        play: |play| {
            play.until_start(1)?;
            play.rests()?;
            play.signal(Signal::SIGUSR1);
            play.until_start(2)?;
            play.rests()
        },
    },
    Scenario {
        name: "wait",
        background: false,
        reference: true,
        logs: &["starting ssh (count 1)", "ssh exited with error status 255"],
        // The first wait is of minutes.
        autossh: |before| plain(before, failure()).env("AUTOSSH_POLL", "100000"),
        play: |play| {
            let sixth = |running: &Running| {
                running.logged("count 6") + running.logged("count 7") > 0 || running.starts().len() >= 6
            };
            play.until("the sixth start", sixth)?;
            play.rests()
        },
    },
    Scenario {
        name: "comeback",
        background: false,
        reference: true,
        logs: &["starting ssh (count 1)", "ssh exited with error status 255", "starting ssh (count 7)"],
        autossh: |before| plain(before, &([failure(); 6].join("\n") + "\nhang")).env("AUTOSSH_POLL", "1"),
        play: |play| {
            play.until_start(7)?;
            play.rests()
        },
    },
    Scenario {
        name: "deaf",
        background: false,
        reference: false,
        logs: &["starting ssh (count 1)", "ssh child pid is"],
        autossh: |before| plain(before, "deaf"),
        play: |play| play.until("a deaf ssh", |running| running.path("deaf.1").exists()),
    },
    Scenario {
        name: "deaf in the background",
        background: true,
        reference: false,
        logs: &["starting ssh (count 1)", "ssh child pid is"],
        autossh: |before| background(before, "deaf"),
        play: |play| {
            play.until_told()?;
            play.until("a deaf ssh", |running| running.path("deaf.1").exists())
        },
    },
];
