//! Failures of the machine: supervising goes on, or ends with a clear error; nothing leaks, nothing is lost.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::case;
use crate::harness::{
    Autossh, Running, accept, cpu_time, has, install, is_gone, is_root, needs, output_of, port_pair, program,
    scripted_ssh, wait_for,
};
use crate::suspend::{has_that_clock, with_clock};

/// Changes a limit of a running process, as prlimit(1) names it, with the rights of its user.
pub fn limit(pid: i32, what: &str) {
    let user = fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    let mut command = Command::new("prlimit");
    command.args([&format!("--pid={pid}"), what]).uid(user).gid(user);
    output_of(&mut command);
}

fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// autossh with a loop of forwards and a test every second.
fn looped(before: &[&str], script: &str) -> Autossh {
    let autossh = Autossh::run_by(before, ["-M", &port_pair().to_string(), "-N", "host"], script);
    autossh.env("AUTOSSH_POLL", "1").env("AUTOSSH_DEBUG", "1").env("AUTOSSH_GATETIME", "0")
}

/// Waits for two tests that have passed since now.
fn wait_healthy(running: &Running) {
    running.wait_log_times("connection ok", running.logged("connection ok") + 2);
}

/// autossh, run by a user of its own, since a limit on processes counts all processes of a user.
pub fn as_user(number: u32, nproc: Option<u32>, script: &str) -> Option<Autossh> {
    if !needs("root and setpriv(1)", is_root()) {
        return None;
    }
    let user = number.to_string();
    let mut words = vec!["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"];
    let most = nproc.map(|nproc| format!("--nproc={nproc}"));
    words.extend(most.iter().flat_map(|most| ["prlimit", most]));
    words.extend(["./autossh", "-M", "0", "-N", "host"]);
    let unstarted = Autossh::run_as(words, script).env("AUTOSSH_PATH", "./ssh").own_log();
    // The build directory may not be open to others.
    install(&program(), &unstarted.path("autossh"));
    install(&scripted_ssh(), &unstarted.path("ssh"));
    for name in ["", "autossh", "ssh", "script"] {
        chown(unstarted.path(name), Some(number), Some(number)).unwrap();
    }
    Some(unstarted)
}

case!(a_first_ssh_that_cannot_be_forked_ends_autossh, Beyond, {
    let Some(unstarted) = as_user(54_321, Some(1), "hang") else { return };
    let mut running = unstarted.env("AUTOSSH_GATETIME", "0").run();
    assert_eq!((running.status(), running.starts().len()), (1, 0));
    let expected = "cannot start ssh: ";
    assert!(running.stderr().contains(expected), "{}", running.stderr());
    assert!(running.stderr().contains("temporarily unavailable"), "{}", running.stderr());
});

case!(a_later_ssh_that_cannot_be_forked_is_tried_again, Beyond, {
    let Some(unstarted) = as_user(54_322, None, "await go; exit 255\nhang") else { return };
    let log = unstarted.path("own-log");
    let running = unstarted.env("AUTOSSH_GATETIME", "0").env("AUTOSSH_LOGFILE", &log).start();
    running.wait_start(1);
    limit(running.pid(), "--nproc=0:");
    fs::write(running.path("go"), "").unwrap();
    let said = || fs::read_to_string(&log).unwrap().contains("cannot start ssh: ");
    wait_for("the failure in the log", || said().then_some(()));
    limit(running.pid(), "--nproc=100:");
    running.signal(Signal::SIGUSR1);
    running.wait_start(2);
});

/// An autossh whose ssh hangs in execve(2) for that long, as on a network file system that does not answer.
fn hanging(seconds: u32, args: &[&str]) -> Option<Autossh> {
    if !needs("strace(1)", has("strace")) {
        return None;
    }
    let ssh = scripted_ssh();
    let first = ["strace", "-D", "-f", "-o", "/dev/null", "-P", ssh.to_str().unwrap(), "-e", "trace=execve", "-e"];
    let delay = format!("inject=execve:delay_enter={seconds}000000");
    let first = [&first[..], &[&delay]].concat();
    Some(Autossh::run_by(&first, args, "hang").env("AUTOSSH_GATETIME", "0"))
}

case!(an_ssh_that_hangs_in_its_start_does_not_make_autossh_deaf, Beyond, {
    let Some(unstarted) = hanging(6, &["-M", "0", "-N", "host"]) else { return };
    let mut running = unstarted.start();
    running.wait_log("starting ssh");
    running.signal(Signal::SIGUSR2);
    wait_for("the status", || running.log().contains("]: starting ssh\n").then_some(()));
    assert_eq!(running.logged("ssh child pid is"), 0, "it is not executed yet");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.status(), 128 + 15, "{}", running.story());
    assert_eq!(running.starts().len(), 0);
});

case!(the_caller_does_not_wait_for_ever_for_an_ssh_that_hangs_in_its_start, Beyond, {
    let Some(unstarted) = hanging(14, &["-M", "0", "-f", "-N", "host"]) else { return };
    let mut running = unstarted.start();
    assert_eq!(running.status(), 1, "{}", running.story());
    assert!(running.stderr().contains("ssh has not been executed within 10 s"), "{}", running.stderr());
    running.wait_log("received signal to exit (15)");
    assert_eq!(running.starts().len(), 0);
});

/// Whether autossh, run with so many descriptors, starts ssh; else how it has ended.
fn starts_ssh(args: &[&str], descriptors: u32) -> Result<(), Running> {
    let before = ["prlimit", &format!("--nofile={descriptors}")];
    let mut running = Autossh::run_by(&before, args, "hang").env("AUTOSSH_DEBUG", "1").start();
    let up = |running: &Running| running.logged("ssh child pid is") > 0;
    let ended = wait_for("its end or ssh's start", || running.has_ended().or(up(&running).then_some(0)));
    if ended != 0 && !up(&running) {
        return Err(running);
    }
    // The caller of -f comes back a little earlier.
    running.wait_log("ssh child pid is");
    // The scripted ssh cannot work with so few, and may have ended by now.
    let pid = running.log().split("ssh child pid is ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let _ = kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL);
    Ok(())
}

case!(with_however_few_descriptors_it_works_or_says_why_not, Beyond, {
    let port = port_pair().to_string();
    for words in [&["-N", "host"][..], &["-M", &port, "-N", "host"], &["-M", "0", "-f", "-N", "host"]] {
        // With three not even a dynamic loader gets on.
        for count in 4..24 {
            if let Err(mut running) = starts_ssh(words, count) {
                assert_eq!(running.status(), 1, "{count} descriptors, {words:?}: {}", running.story());
                assert!(running.stderr().contains("autossh: cannot "), "{count}, {words:?}: {}", running.story());
            }
        }
    }
});

case!(an_automatic_monitor_never_keeps_ssh_from_starting, Beyond, {
    for background in [&[][..], &["-f"]] {
        for count in 4..24 {
            let unmonitored = starts_ssh(&[background, &["-M", "0", "-N", "host"]].concat(), count);
            let automatic = starts_ssh(&[background, &["-N", "host"]].concat(), count);
            if let (Ok(()), Err(running)) = (unmonitored, automatic) {
                panic!("with {count} descriptors: {}", running.story());
            }
        }
    }
});

case!(when_descriptors_run_out_tests_are_left_out_and_nothing_is_lost, Beyond, {
    let running = looped(&[], "relay sound").start();
    wait_healthy(&running);
    let before = descriptors(running.pid());
    let port: u16 = running.starts()[0].args()[1].split(':').next().unwrap().parse().unwrap();
    limit(running.pid(), "--nofile=3:");
    running.wait_log("connection test left out: ");
    let spent = cpu_time(running.pid()).unwrap();

    // The log cannot be reopened, and the old one stays.
    running.signal(Signal::SIGHUP);
    running.wait_log("cannot reopen");
    // Another connection cannot be accepted, and must not make the loop spin.
    let stranger = TcpStream::connect(("127.0.0.1", port + 1)).unwrap();
    running.wait_log_times("connection test left out: ", running.logged("connection test left out: ") + 3);
    let spent = cpu_time(running.pid()).unwrap().checked_sub(spent).unwrap();
    assert!(spent < Duration::from_millis(500), "{spent:?} for three tests");

    limit(running.pid(), "--nofile=1024:");
    wait_healthy(&running);
    drop(stranger);
    assert_eq!(running.starts().len(), 1);
    assert_eq!(running.logged("port down"), 0, "{}", running.story());
    wait_for("the descriptors to be as before", || (descriptors(running.pid()) == before).then_some(()));
});

case!(an_automatic_monitor_without_descriptors_recovers, Beyond, {
    let unstarted = Autossh::new(["-N", "host"], "relay sound").env("AUTOSSH_GATETIME", "0");
    let running = unstarted.env("AUTOSSH_POLL", "1").env("AUTOSSH_DEBUG", "1").start();
    wait_healthy(&running);
    limit(running.pid(), "--nofile=3:");
    running.signal(Signal::SIGUSR1);
    running.wait_log_times("cannot start ssh: ", 2);
    limit(running.pid(), "--nofile=1024:");
    running.signal(Signal::SIGUSR1);
    wait_healthy(&running);
});

/// A directory that holds 4 kB, in a mount namespace of autossh's own, and the command in it.
const SMALL_DISK: &str = "mkdir disk && mount -t tmpfs -o size=8k none disk && exec \"$@\"";

case!(a_disk_that_fills_under_the_log_is_reported_once_and_then_used_again, Beyond, {
    if !needs("root and unshare(1)", is_root()) {
        return;
    }
    let before = ["unshare", "--mount", "sh", "-c", SMALL_DISK, "sh"];
    let unstarted = Autossh::run_by(&before, ["-M", "0", "-N", "host"], "hang");
    let running = unstarted.env("AUTOSSH_LOGFILE", "disk/log").own_log().env("AUTOSSH_GATETIME", "0").start();
    running.wait_start(1);
    let inside = |name: &str| {
        let directory = running.path("disk");
        PathBuf::from(format!("/proc/{}/root{}", running.pid(), directory.join(name).display()))
    };
    let log = || fs::read_to_string(inside("log")).unwrap();
    wait_for("the first lines", || log().contains("ssh child pid").then_some(()));
    // The other half of the disk.
    let _ = fs::File::create(inside("ballast")).unwrap().write_all(&[0; 8192]);
    wait_for("the full disk to be said", || {
        running.signal(Signal::SIGUSR2);
        running.stderr().contains("No space left on device").then_some(())
    });
    running.signal(Signal::SIGUSR1);
    running.wait_start(2);
    assert_eq!(running.stderr().matches("No space left on device").count(), 1, "{}", running.stderr());
    fs::remove_file(inside("ballast")).unwrap();
    running.signal(Signal::SIGUSR1);
    running.wait_start(3);
    wait_for("lines again", || log().contains("starting ssh (count 3)").then_some(()));
});

case!(a_pid_file_without_room_ends_autossh_and_leaves_nothing, Beyond, {
    if !needs("root and unshare(1)", is_root()) {
        return;
    }
    let fill = SMALL_DISK.replace("&& exec", "&& ! head -c 99999 /dev/zero 2>/dev/null >disk/ballast && exec");
    let list = format!("{}; status=$?; ls disk >left; exit $status", fill.replace("exec \"$@\"", "\"$@\""));
    let before = ["unshare", "--mount", "sh", "-c", &list, "sh"];
    let mut running =
        Autossh::run_by(&before, ["-M", "0", "-N", "host"], "hang").env("AUTOSSH_PIDFILE", "disk/pid").run();
    assert_eq!((running.status(), running.starts().len()), (1, 0), "{}", running.story());
    assert!(running.stderr().contains("cannot write the pid file"), "{}", running.stderr());
    assert_eq!(running.text("left"), "ballast\n");
});

case!(a_monitor_port_that_somebody_else_takes_between_two_starts, Beyond, {
    let running = looped(&[], "relay sound\nhang\nrelay sound").start();
    wait_healthy(&running);
    let port: u16 = running.starts()[0].args()[1].split(':').next().unwrap().parse().unwrap();
    kill(Pid::from_raw(running.starts()[0].pid), Signal::SIGKILL).unwrap();
    running.wait_start(2);
    let thief = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut stream = accept(&thief);
    drop(thief);
    // It sends something else.
    let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n");
    running.wait_log("port down, restarting ssh");
    running.wait_start(3);
    drop(stream);
    wait_healthy(&running);
});

case!(a_storm_of_signals_interrupts_everything_and_changes_nothing, Beyond, {
    let mut running = looped(&[], "relay sound").env("AUTOSSH_LOGLEVEL", "7").start();
    running.wait_start(1);
    let harmless = [Signal::SIGUSR2, Signal::SIGCHLD, Signal::SIGCONT, Signal::SIGWINCH, Signal::SIGPIPE];
    let mut kills = 0;
    for round in 0..20_000 {
        running.signal(harmless[round % harmless.len()]);
        if round % 4_000 == 2_000 {
            kills += 1;
            kill(Pid::from_raw(running.wait_start(kills).pid), Signal::SIGKILL).unwrap();
        }
    }
    running.wait_start(kills + 1);
    wait_healthy(&running);
    assert_eq!(running.starts().len(), kills + 1);
    // An ssh that exits closes its sockets first: a test may notice that first.
    let found = running.logged("ssh exited on signal 9, restarting ssh") + running.logged("port down, restarting ssh");
    assert_eq!(found, kills, "{}", running.story());
    running.signal(Signal::SIGTERM);
    assert_eq!(running.status(), 128 + Signal::SIGTERM as i32);
    assert!(is_gone(running.wait_start(kills + 1).pid));
});

case!(any_of_the_standard_streams_may_be_closed, Beyond, {
    for closed in 1..8 {
        let closing: Vec<&str> =
            (0..3).filter(|bit| closed & (1 << bit) != 0).map(|bit| ["0<&-", "1>&-", "2>&-"][bit]).collect();
        let closing = closing.join(" ");
        let before = ["sh", "-c", &format!("exec \"$@\" {closing}"), "sh"];
        let mut running = looped(&before, "relay sound").start();
        wait_healthy(&running);
        running.signal(Signal::SIGTERM);
        assert_eq!(running.status(), 128 + Signal::SIGTERM as i32, "{closing}");
    }
});

/// A clock that cannot be read once the file `broken` is there.
const BROKEN_CLOCK: &str = "
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    if (id != CLOCK_BOOTTIME || access(\"broken\", F_OK) != 0) return syscall(SYS_clock_gettime, id, at);
    errno = EPERM;
    return -1;
}
";

case!(a_loop_that_cannot_go_on_ends_ssh_and_says_why, Beyond, {
    for script in ["hang", "deaf"] {
        let Some(unstarted) = with_clock(Autossh::new(["-M", "0", "-N", "host"], script), BROKEN_CLOCK) else { return };
        let mut running = unstarted.start();
        let ssh = running.wait_up().pid;
        if !has_that_clock(&running) {
            return;
        }
        fs::write(running.path("broken"), "").unwrap();
        running.signal(Signal::SIGUSR2);
        assert_eq!(running.status(), 1, "{}", running.story());
        assert!(running.stderr().contains("cannot go on: Operation not permitted"), "{}", running.story());
        wait_for("ssh's end", || is_gone(ssh).then_some(()));
    }
});
