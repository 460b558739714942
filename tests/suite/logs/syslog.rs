//! syslogd and the journal.

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen as open, socket};

use super::autossh;
use crate::harness::{Autossh, is_root, needs, wait_for};
use crate::{case, table};

/// Shell commands for a /dev of one's own in a mount namespace, where /dev/log leads to `$target`.
pub const OWN_DEV: &str = "mkdir dev && mount -t tmpfs none dev && \
    for name in null zero full urandom tty; do \
        : >dev/$name && mount --bind /dev/$name dev/$name || exit; \
    done && \
    ln -s \"$target\" dev/log && mount --rbind dev /dev";

mod without_syslogd {
    //! In a namespace where nothing listens at /dev/log.

    use super::*;

    /// autossh in such a place, which is here where there is no syslogd.
    fn alone(script: &str) -> Option<Autossh> {
        needs("a machine without a syslogd", UnixDatagram::unbound().unwrap().connect("/dev/log").is_err())
            .then(|| autossh(script))
    }

    case!(errors_are_on_stderr, Beyond, {
        let Some(unstarted) = alone("exit 1") else { return };
        let running = unstarted.env("AUTOSSH_GATETIME", "30").run();
        let stderr = running.stderr();
        assert!(stderr.contains(": ssh exited prematurely with status 1; autossh exiting"), "{stderr}");
    });

    case!(info_lines_too_if_there_is_no_other_output, Beyond, {
        let Some(unstarted) = alone("exit 255\nexit 0") else { return };
        let running = unstarted.run();
        let stderr = running.stderr();
        let expected = format!("autossh[{}]: ssh exited with error status 255; restarting ssh\n", running.pid());
        assert!(stderr.contains(&expected), "{stderr}");
    });

    case!(but_not_into_the_output_of_a_command, Beyond, {
        if alone("").is_none() {
            return;
        }
        let unstarted = Autossh::new(["-M", "0", "host", "cmd"], "exit 0").own_log();
        assert_eq!(unstarted.run().stderr(), "");
    });

    case!(info_lines_of_pid_1_too, Beyond, {
        if alone("").is_none() || !needs("root", is_root()) {
            return;
        }
        let before = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
        let running = Autossh::run_by(&before, ["-M", "0", "host", "cmd"], "exit 0").own_log().run();
        assert!(running.stderr().contains("autossh[1]: starting ssh (count 1)\n"), "{}", running.stderr());
    });

    case!(debug_lines_are_on_stderr, Same, {
        let Some(unstarted) = alone("exit 0") else { return };
        let running = unstarted.env("AUTOSSH_DEBUG", "1").run();
        let expected = format!("autossh[{}]: starting ssh (count 1)\n", running.pid());
        assert!(running.stderr().contains(&expected), "{}", running.stderr());
    });
}

mod with_syslogd {
    //! In a mount namespace with a /dev of its own, where /dev/log is the case's to make.

    use super::*;

    const ARGS: [&str; 4] = ["-M", "0", "-N", "host"];

    /// Runs autossh where /dev/log leads to the file `syslog` in its directory.
    fn contained(args: &[&str], script: &str) -> Option<Autossh> {
        after("target=$PWD/syslog", args, script)
    }

    /// Runs autossh where /dev/log leads to the file `syslog` in its directory by the name that the journal's has.
    fn journaled(script: &str) -> Option<Autossh> {
        let own_run = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && : >/run/systemd/journal/dev-log && \
            mount --bind syslog /run/systemd/journal/dev-log && target=/run/systemd/journal/dev-log";
        after(own_run, &ARGS, script)
    }

    /// Runs autossh after shell commands that set `target`, where /dev/log leads to that.
    fn after(commands: &str, args: &[&str], script: &str) -> Option<Autossh> {
        needs("root", is_root()).then(|| {
            let whole = format!("{commands} && {OWN_DEV} && exec \"$@\"");
            let before = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &whole, "sh"];
            Autossh::run_by(&before, args, script).own_log().env("AUTOSSH_GATETIME", "0")
        })
    }

    /// Becomes the syslogd of that autossh.
    fn listen(path: &Path) -> UnixDatagram {
        let _ = fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    /// All that has come so far.
    fn read(socket: &UnixDatagram, all: &mut Vec<String>) {
        let mut buffer = [0; 4096];
        while let Ok(count) = socket.recv(&mut buffer) {
            all.push(String::from_utf8(buffer[..count].to_vec()).unwrap());
        }
    }

    case!(lines_are_as_syslog_writes_them, Same, {
        let Some(unstarted) = contained(&ARGS, "exit 3") else { return };
        let socket = listen(&unstarted.path("syslog"));
        let running = unstarted.run();
        let mut lines = Vec::new();
        read(&socket, &mut lines);
        let line = lines.iter().find(|line| line.contains("starting ssh (count 1)")).unwrap();
        // Facility user, level info.
        let rest = line.strip_prefix("<14>").unwrap();
        let (stamp, rest) = rest.split_at(16);
        let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
        assert!(shape[3..] == *" 99 99:99:99 " || shape[3..] == *"  9 99:99:99 ", "{stamp}");
        assert_eq!(rest, format!("autossh[{}]: starting ssh (count 1)", running.pid()));
    });

    case!(debug_lines_go_to_syslog_and_stderr, Same, {
        let Some(unstarted) = contained(&ARGS, "exit 3") else { return };
        let socket = listen(&unstarted.path("syslog"));
        let running = unstarted.env("AUTOSSH_DEBUG", "1").start();
        let mut lines = Vec::new();
        wait_for("the lines for syslog", || {
            read(&socket, &mut lines);
            lines.iter().any(|line| line.contains("starting ssh (count 1)")).then_some(())
        });
        assert!(running.stderr().contains(": starting ssh (count 1)\n"), "{}", running.stderr());
    });

    case!(a_syslogd_that_restarts_is_found_again, Same, {
        let Some(unstarted) = contained(&ARGS, "hang") else { return };
        let path = unstarted.path("syslog");
        let socket = listen(&path);
        let running = unstarted.start();
        running.wait_start(1);
        let mut lines = Vec::new();
        wait_for("the first ssh", || {
            read(&socket, &mut lines);
            lines.iter().any(|line| line.contains("ssh child pid")).then_some(())
        });
        drop(socket);
        running.signal(Signal::SIGUSR1);
        running.wait_start(2);
        let socket = listen(&path);
        running.signal(Signal::SIGUSR1);
        running.wait_start(3);
        wait_for("the third ssh", || {
            read(&socket, &mut lines);
            lines.iter().any(|line| line.contains("starting ssh (count 3)")).then_some(())
        });
    });

    case!(a_stuck_syslogd_does_not_block, Defect, {
        let Some(unstarted) = contained(&ARGS, "hang") else { return };
        let socket = listen(&unstarted.path("syslog"));
        let running = unstarted.start();
        for number in 2..50 {
            running.wait_start(number - 1);
            running.signal(Signal::SIGUSR1);
            running.signal(Signal::SIGHUP);
        }
        // Once it reads again, it hears how much it has missed.
        let mut lines = Vec::new();
        read(&socket, &mut lines);
        running.wait_start(49);
        running.signal(Signal::SIGUSR1);
        wait_for("the loss to be said", || {
            read(&socket, &mut lines);
            lines.iter().any(|line| line.contains(" lines lost) ")).then_some(())
        });
    });

    case!(errors_at_startup_are_on_stderr_too, Beyond, {
        let Some(unstarted) = contained(&ARGS, "exit 255") else { return };
        let _socket = listen(&unstarted.path("syslog"));
        let mut running = unstarted.env("AUTOSSH_GATETIME", "30").run();
        assert_eq!(running.status(), 1);
        assert!(running.stderr().contains("AUTOSSH_GATETIME"), "{}", running.stderr());
    });

    fn listen_to_streams(path: &Path) -> UnixListener {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    }

    fn accept(listener: &UnixListener) -> UnixStream {
        wait_for("a connection", || listener.accept().ok()).0
    }

    /// Appends what has come over a stream, and returns the messages, each of which a zero byte must end.
    fn read_stream(mut stream: &UnixStream, all: &mut Vec<u8>) -> Vec<String> {
        stream.set_nonblocking(true).unwrap();
        let _ = stream.read_to_end(all);
        let text = std::str::from_utf8(all).unwrap();
        let messages: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
        for message in &messages {
            assert!(message.starts_with('<') && message.matches(" autossh[").count() == 1, "{message}");
        }
        messages
    }

    case!(dev_log_may_be_a_stream, Same, {
        let Some(unstarted) = contained(&ARGS, "exit 3") else { return };
        let listener = listen_to_streams(&unstarted.path("syslog"));
        let running = unstarted.run();
        let stream = accept(&listener);
        let messages = read_stream(&stream, &mut Vec::new());
        let line = messages.iter().find(|line| line.contains("starting ssh (count 1)")).unwrap();
        assert!(line.starts_with("<14>"), "{line}");
        assert!(line.ends_with(&format!(" autossh[{}]: starting ssh (count 1)", running.pid())), "{line}");
    });

    case!(a_stuck_stream_does_not_block, Defect, {
        let Some(unstarted) = contained(&ARGS, "hang") else { return };
        let listener = listen_to_streams(&unstarted.path("syslog"));
        let running = unstarted.env("AUTOSSH_DEBUG", "1").start();
        for number in 2..150 {
            running.wait_start(number - 1);
            running.signal(Signal::SIGUSR1);
            running.signal(Signal::SIGHUP);
        }
        let stream = accept(&listener);
        let mut all = Vec::new();
        read_stream(&stream, &mut all);
        running.wait_start(149);
        running.signal(Signal::SIGUSR1);
        wait_for("the loss to be said", || {
            read_stream(&stream, &mut all).iter().any(|line| line.contains(" lines lost) ")).then_some(())
        });
    });

    case!(a_stream_that_accepts_nobody_does_not_block, Defect, {
        let Some(unstarted) = contained(&ARGS, "hang") else { return };
        let address = UnixAddr::new(&unstarted.path("syslog")).unwrap();
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let stream = || socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        let listener = stream();
        bind(listener.as_raw_fd(), &address).unwrap();
        open(&listener, Backlog::new(1).unwrap()).unwrap();
        let mut waiting = Vec::new();
        loop {
            let client = stream();
            if connect(client.as_raw_fd(), &address).is_err() {
                break;
            }
            waiting.push(client);
        }
        let running = unstarted.start();
        running.wait_start(1);
        running.signal(Signal::SIGUSR1);
        running.wait_start(2);
        // Once it accepts, it is found.
        let listener = UnixListener::from(listener);
        for _ in waiting {
            accept(&listener);
        }
        running.signal(Signal::SIGUSR1);
        let stream = accept(&listener);
        let mut all = Vec::new();
        wait_for("the loss to be said", || {
            read_stream(&stream, &mut all).iter().any(|line| line.contains(" lines lost) ")).then_some(())
        });
    });

    table!(no_line_is_twice_in_the_journal, Beyond, ["DEBUG", "a reason", "another's stream"], |what| {
        // The journal gets our stderr and what comes to /dev/log.
        let Some(unstarted) = journaled("exit 255") else { return };
        let socket = listen(&unstarted.path("syslog"));
        let stderr = fs::File::create(unstarted.path("stderr")).unwrap();
        let metadata = stderr.metadata().unwrap();
        let stream = format!("{}:{}", metadata.dev(), metadata.ino() + u64::from(what == "another's stream"));
        let variable = if what == "a reason" { "UNUSED" } else { "AUTOSSH_DEBUG" };
        let mut running = unstarted
            .env("JOURNAL_STREAM", stream)
            .env("AUTOSSH_GATETIME", "30")
            .env(variable, "1")
            .with(|command| {
                command.stdout(Stdio::null()).stderr(stderr);
            })
            .spawn();
        assert_eq!(running.status(), 1);
        let mut lines = Vec::new();
        read(&socket, &mut lines);
        assert!(lines.iter().any(|line| line.contains("AUTOSSH_GATETIME")), "{lines:?}");
        let stderr = running.stderr();
        if what == "another's stream" {
            assert!(stderr.contains("starting ssh (count 1)") && stderr.contains("AUTOSSH_GATETIME"), "{stderr}");
        } else {
            assert_eq!(stderr, "");
        }
    });
}
