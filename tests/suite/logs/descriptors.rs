//! A log file that is a descriptor which autossh was given.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::autossh;
use crate::faults::as_user;
use crate::harness::{Autossh, Running, inherited_descriptors, wait_for};
use crate::terminal::terminal;
use crate::{case, table};

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
    symlink("/dev/stdout", &link).unwrap();
    let running = unstarted.env("AUTOSSH_LOGFILE", &link).run();
    assert!(running.text("stdout").contains(": starting ssh (count 1)\n"));
});

/// Runs autossh to its end with a socket as its stdout, and returns what came there.
fn with_a_socket(unstarted: Autossh) -> (Running, String) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let stderr = fs::File::create(unstarted.path("stderr")).unwrap();
    let mut running = unstarted
        .with(|command| {
            command.stdout(OwnedFd::from(theirs)).stderr(stderr);
        })
        .spawn();
    running.wait();
    let mut text = String::new();
    ours.set_nonblocking(true).unwrap();
    let _ = ours.read_to_string(&mut text);
    (running, text)
}

case!(a_log_file_that_is_a_socket, Defect, {
    // Such is the stdout of a service.
    let (_, text) = with_a_socket(autossh("exit 3").env("AUTOSSH_LOGFILE", "/dev/stdout"));
    assert!(text.contains(": starting ssh (count 1)\n"), "{text}");
});

case!(only_the_name_itself_stands_for_a_descriptor, Same, {
    // Who made the link? It is the kernel that knows whether it may be followed, and it cannot open sockets.
    let unstarted = autossh("exit 3");
    let link = unstarted.path("link");
    symlink("/dev/stdout", &link).unwrap();
    let (mut running, text) = with_a_socket(unstarted.env("AUTOSSH_LOGFILE", &link));
    assert_eq!((running.status(), text.as_str()), (1, ""));
});

table!(a_descriptor_that_was_not_given_cannot_be_opened, Same, 3..12, |number| {
    // Least of all one that is autossh's own, such as the pipe on which the caller of -f waits for its word.
    let name = format!("/dev/fd/{number}");
    let unstarted = Autossh::new(["-f", "-M", "0", "-N", "host"], "hang").own_log().env("AUTOSSH_LOGFILE", name);
    if inherited_descriptors().contains(&number) {
        return;
    }
    let mut running = unstarted.run();
    assert_eq!((running.status(), running.starts().len()), (1, 0));
});

case!(a_stdout_that_nobody_reads_does_not_block, Defect, {
    let (ours, theirs) = std::io::pipe().unwrap();
    fcntl(&ours, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let script = "exit 255\n".repeat(60) + "hang";
    let mut running = autossh(&script)
        .env("AUTOSSH_LOGFILE", "/dev/stdout")
        .with(|command| {
            command.stdout(theirs).stderr(Stdio::null());
        })
        .spawn();
    // It is full after some 20 starts. What counts is that signals are still served.
    for number in 1..60 {
        running.wait_start(number);
        running.signal(Signal::SIGHUP);
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.status(), 128 + 15);
    drop(ours);
});

/// The open files of a process that are this pipe or terminal: the flags of the shared one, 1, and of its own.
fn flags_of(pid: i32) -> (OFlag, Vec<OFlag>) {
    let target = |number: i32| fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap();
    let flags = |number: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap();
        let octal = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        OFlag::from_bits_retain(i32::from_str_radix(octal, 8).unwrap())
    };
    let numbers = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let numbers = numbers.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap());
    let own = numbers.filter(|number| *number > 2 && target(*number) == target(1));
    (flags(1), own.map(flags).collect())
}

table!(ssh_can_fill_a_shared_pipe_at_any_moment, Defect, ["pipe", "terminal"], |what| {
    // Between our poll(2) and our write(2), too: only a file of our own can be set not to block, as ssh's must not be.
    let (ours, theirs): (OwnedFd, OwnedFd) = if what == "pipe" {
        let (ours, theirs) = std::io::pipe().unwrap();
        (ours.into(), theirs.into())
    } else {
        let (theirs, ours) = terminal();
        (ours.into(), theirs.into())
    };
    let running = autossh("hang")
        .env("AUTOSSH_LOGFILE", "/dev/stdout")
        .with(|command| {
            command.stdout(theirs).stderr(Stdio::null());
        })
        .spawn();
    running.wait_start(1);
    let (shared, own) = flags_of(running.pid());
    assert!(!shared.contains(OFlag::O_NONBLOCK), "{shared:?}");
    assert_eq!(own.len(), 1);
    assert!(own[0].contains(OFlag::O_NONBLOCK), "{own:?}");
    drop(ours);
});

case!(a_pipe_that_cannot_be_opened_anew_is_a_log_file_too, Beyond, {
    // It belongs to root, and autossh runs as somebody else.
    let Some(unstarted) = as_user(54_341, None, "hang") else { return };
    let (ours, theirs) = std::io::pipe().unwrap();
    let running = unstarted
        .env("AUTOSSH_LOGFILE", "/dev/stdout")
        .with(|command| {
            command.stdout(theirs).stderr(Stdio::null());
        })
        .spawn();
    running.wait_start(1);
    let (shared, own) = flags_of(running.pid());
    assert_eq!((shared.contains(OFlag::O_NONBLOCK), own.len()), (false, 1));
    read_until(ours, "ssh child pid is");
});

/// Reads until this text has come.
fn read_until(pipe: impl Into<OwnedFd>, text: &str) {
    let mut pipe = fs::File::from(pipe.into());
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut all = Vec::new();
    wait_for(text, || {
        let _ = pipe.read_to_end(&mut all);
        String::from_utf8_lossy(&all).contains(text).then_some(())
    });
}

case!(stdout_stays_the_log_in_the_background, Same, {
    let (ours, theirs) = std::io::pipe().unwrap();
    let unstarted = Autossh::new(["-f", "-M", "0", "-N", "host"], "hang").own_log();
    let mut running = unstarted
        .env("AUTOSSH_LOGFILE", "/dev/stdout")
        .with(|command| {
            command.stdout(theirs).stderr(Stdio::null());
        })
        .spawn();
    running.wait();
    let daemon = running.wait_start(1).parent;
    kill(Pid::from_raw(daemon), Signal::SIGTERM).unwrap();
    read_until(ours, "received signal to exit (15)");
});

case!(a_reason_is_on_stderr_once_if_that_is_the_log, Beyond, {
    let mut running = autossh("exit 255").env("AUTOSSH_LOGFILE", "/dev/stderr").env("AUTOSSH_GATETIME", "30").run();
    assert_eq!(running.status(), 1);
    let stderr = running.stderr();
    assert_eq!(stderr.matches("AUTOSSH_GATETIME").count(), 1, "{stderr}");
});
