//! autossh(1), LOGGING.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::harness::{Autossh, is_root, needs, wait_for};
use crate::{case, table};

/// autossh without a monitor or a gate, and with whatever log the case wants.
fn autossh(script: &str) -> Autossh {
    Autossh::new(["-M", "0", "-N", "host"], script).own_log().env("AUTOSSH_GATETIME", "0")
}

/// Whether a line is `YYYY/MM/DD HH:MM:SS autossh[PID]: text`.
fn is_stamped(line: &str, pid: i32, text: &str) -> bool {
    let Some((stamp, rest)) = line.split_at_checked(20) else { return false };
    let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    shape == "9999/99/99 99:99:99 " && rest == format!("autossh[{pid}]: {text}")
}

case!(a_line_in_the_file, Same, {
    let unstarted = autossh("exit 3");
    let log = unstarted.path("log");
    let running = unstarted.env("AUTOSSH_LOGFILE", &log).run();
    let lines = running.log();
    let expected = [
        "port set to 0, monitoring disabled".to_owned(),
        "starting ssh (count 1)".to_owned(),
        format!("ssh child pid is {}", running.starts()[0].pid),
        "ssh exited with status 3; autossh exiting".to_owned(),
    ];
    assert_eq!(lines.lines().count(), expected.len(), "{lines}");
    for (line, text) in lines.lines().zip(expected) {
        assert!(is_stamped(line, running.pid(), &text), "{line}");
    }
});

case!(the_stamp_is_local_time, Same, {
    let stamp = |zone: &str| {
        let unstarted = autossh("exit 0").env("TZ", zone);
        let log = unstarted.path("log");
        let running = unstarted.env("AUTOSSH_LOGFILE", log).run();
        running.log()[11..13].parse::<i32>().unwrap()
    };
    let hours = (stamp("XXX-9") - stamp("XXX3")).rem_euclid(24);
    assert!(hours == 12 || hours == 11, "{hours} hours apart");
});

case!(the_file_is_appended_to, Same, {
    let unstarted = autossh("exit 0");
    let log = unstarted.path("log");
    fs::write(&log, "before\n").unwrap();
    let running = unstarted.env("AUTOSSH_LOGFILE", log).run();
    assert!(running.log().starts_with("before\n"));
});

case!(a_hangup_reopens_the_file, Defect, {
    let unstarted = autossh("hang");
    let log = unstarted.path("log");
    let running = unstarted.env("AUTOSSH_LOGFILE", &log).start();
    running.wait_log("ssh child pid");
    fs::rename(&log, running.path("log.1")).unwrap();
    running.signal(Signal::SIGHUP);
    wait_for("the new file", || log.exists().then_some(()));
    running.signal(Signal::SIGUSR1);
    running.wait_log("starting ssh (count 2)");
});

case!(a_file_that_cannot_be_reopened_stays, Beyond, {
    let unstarted = autossh("hang");
    let folder = unstarted.path("logs");
    fs::create_dir(&folder).unwrap();
    let running = unstarted.env("AUTOSSH_LOGFILE", folder.join("log")).start();
    wait_for("the log", || running.text("logs/log").contains("ssh child pid").then_some(()));
    fs::rename(&folder, running.path("gone")).unwrap();
    running.signal(Signal::SIGHUP);
    running.signal(Signal::SIGUSR1);
    wait_for("the log", || running.text("gone/log").contains("starting ssh (count 2)").then_some(()));
    assert!(running.text("gone/log").contains("cannot reopen the log file"), "{}", running.text("gone/log"));
});

table!(a_log_file_that_is_stdout, Same, ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"], |name| {
    let running = autossh("exit 3").env("AUTOSSH_LOGFILE", name).run();
    assert!(running.text("stdout").contains(": starting ssh (count 1)\n"), "{}", running.text("stdout"));
});

table!(a_log_file_that_is_stderr, Same, ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"], |name| {
    let running = autossh("exit 3").env("AUTOSSH_LOGFILE", name).run();
    assert!(running.stderr().contains(": starting ssh (count 1)\n"), "{}", running.stderr());
});

case!(a_log_file_that_links_to_stdout, Same, {
    let unstarted = autossh("exit 3");
    let link = unstarted.path("link");
    std::os::unix::fs::symlink("/dev/stdout", &link).unwrap();
    let running = unstarted.env("AUTOSSH_LOGFILE", &link).run();
    assert!(running.text("stdout").contains(": starting ssh (count 1)\n"));
});

table!(a_log_file_that_is_a_socket, Defect, ["/dev/stdout", "LINK"], |name| {
    // Such is the stdout of a service.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let unstarted = autossh("exit 3");
    let link = unstarted.path("link");
    std::os::unix::fs::symlink("/dev/stdout", &link).unwrap();
    let name = if name == "LINK" { link.as_path() } else { Path::new(name) };
    let mut running = unstarted
        .env("AUTOSSH_LOGFILE", name)
        .with(|command| {
            command.stdout(std::os::fd::OwnedFd::from(theirs)).stderr(Stdio::null());
        })
        .spawn();
    running.wait();
    let mut text = String::new();
    ours.set_nonblocking(true).unwrap();
    let _ = (&ours).read_to_string(&mut text);
    assert!(text.contains(": starting ssh (count 1)\n"), "{text}");
});

case!(a_stdout_that_nobody_reads_does_not_block, Defect, {
    let (ours, theirs) = std::io::pipe().unwrap();
    let script = "exit 255\n".repeat(2000) + "hang";
    let mut running = autossh(&script)
        .env("AUTOSSH_LOGFILE", "/dev/stdout")
        .env("AUTOSSH_MESSAGE", "")
        .with(|command| {
            command.stdout(theirs).stderr(Stdio::null());
        })
        .spawn();
    // 64 kB are full after some hundred starts. What counts is that signals are still served.
    for number in 1..400 {
        running.wait_start(number);
        running.signal(Signal::SIGHUP);
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.status(), 128 + 15);
    drop(ours);
});

case!(a_fifo_is_a_log_file_too, Defect, {
    let unstarted = autossh("hang");
    let fifo = unstarted.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    // Nobody reads it yet.
    let running = unstarted.env("AUTOSSH_LOGFILE", &fifo).start();
    running.wait_start(1);
    let mut reader = fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap();
    let mut text = String::new();
    wait_for("the log", || {
        let _ = reader.read_to_string(&mut text);
        text.contains("ssh child pid").then_some(())
    });
    // Nor does anybody any more.
    drop(reader);
    for number in 2..600 {
        running.signal(Signal::SIGUSR1);
        running.signal(Signal::SIGHUP);
        running.wait_start(number);
    }
});

case!(a_full_disk_is_said_once, Defect, {
    let mut running = autossh("exit 255\nexit 255\nexit 255\nexit 0").env("AUTOSSH_LOGFILE", "/dev/full").run();
    assert_eq!((running.status(), running.starts().len()), (0, 4));
    let stderr = running.stderr();
    assert_eq!(
        stderr.matches("cannot write to the log file \"/dev/full\": No space left on device").count(),
        1,
        "{stderr}"
    );
});

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

    case!(info_lines_too_where_they_disturb_nobody, Beyond, {
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

    /// Runs autossh where /dev/log leads to the file `syslog` in its folder.
    fn contained(args: &[&str], script: &str) -> Option<Autossh> {
        needs("root", is_root()).then(|| {
            let own_dev = "mkdir dev && mount -t tmpfs none dev && \
                for name in null zero full urandom tty; do \
                    : >dev/$name && mount --bind /dev/$name dev/$name || exit; \
                done && \
                ln -s \"$PWD/syslog\" dev/log && mount --rbind dev /dev && exec \"$@\"";
            let before = ["unshare", "--mount", "--propagation", "private", "sh", "-c", own_dev, "sh"];
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
        let Some(unstarted) = contained(&["-M", "0", "-N", "host"], "exit 3") else { return };
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
        let Some(unstarted) = contained(&["-M", "0", "-N", "host"], "exit 3") else { return };
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
        let Some(unstarted) = contained(&["-M", "0", "-N", "host"], "hang") else { return };
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
        let Some(unstarted) = contained(&["-M", "0", "-N", "host"], "hang") else { return };
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

    case!(what_ends_autossh_at_its_start_is_on_stderr_all_the_same, Beyond, {
        let Some(unstarted) = contained(&["-M", "0", "-N", "host"], "exit 255") else { return };
        let _socket = listen(&unstarted.path("syslog"));
        let mut running = unstarted.env("AUTOSSH_GATETIME", "30").run();
        assert_eq!(running.status(), 1);
        assert!(running.stderr().contains("AUTOSSH_GATETIME"), "{}", running.stderr());
    });
}
