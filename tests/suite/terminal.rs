//! On a terminal: its modes, and the keys that stop and continue.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::case;
use crate::harness::{Autossh, Running, has, is_gone, needs, process_state, wait_for};

/// Both ends of a new terminal: what a program sees, and the other one. Closed on exec, all of it: a terminal hangs up when
/// nobody holds its other end any more.
pub fn terminal() -> (File, File) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let slave = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(ptsname_r(&master).unwrap());
    (slave.unwrap(), File::from(OwnedFd::from(master)))
}

/// Starts a command on a terminal of its own, and returns the other end of that.
fn on_terminal(unstarted: Autossh) -> (Running, File) {
    let (slave, master) = terminal();
    let stream = || OwnedFd::from(slave.try_clone().unwrap());
    let running = unstarted
        .with(|command| {
            command.stdin(stream()).stdout(stream()).stderr(stream());
            controlling(command);
        })
        .spawn();
    (running, master)
}

/// Makes the terminal on stdin the controlling one of a session of its own.
#[allow(unsafe_code, reason = "there is no other way to have a terminal in a test")]
fn controlling(command: &mut Command) {
    let take = || {
        nix::unistd::setsid()?;
        // SAFETY: descriptor 0 is the terminal, and the call takes no pointer.
        nix::errno::Errno::result(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })?;
        Ok(())
    };
    // SAFETY: only system calls that are async-signal-safe.
    unsafe { command.pre_exec(take) };
}

/// Whether the terminal is in its usual mode, in which it echoes.
fn echoes(terminal: &File) -> bool {
    tcgetattr(terminal).unwrap().local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON)
}

/// autossh without a monitor or a gate.
fn autossh(script: &str) -> Autossh {
    Autossh::new(["-M", "0", "host"], script).env("AUTOSSH_GATETIME", "0")
}

case!(the_modes_are_put_back_when_ssh_dies_by_a_signal, Defect, {
    let (running, terminal) = on_terminal(autossh("raw;note raw;await now;kill 9\nhang"));
    running.wait_file("raw.1");
    assert!(!echoes(&terminal));
    std::fs::write(running.path("now"), "").unwrap();
    running.wait_start(2);
    assert!(echoes(&terminal));
});

case!(the_modes_are_put_back_when_autossh_ends_ssh, Defect, {
    let (mut running, terminal) = on_terminal(autossh("raw;note raw;hang"));
    running.wait_file("raw.1");
    running.signal(Signal::SIGTERM);
    running.wait();
    assert!(echoes(&terminal));
});

case!(the_modes_are_put_back_when_a_deaf_ssh_is_killed, Defect, {
    let (mut running, terminal) = on_terminal(autossh("raw;deaf"));
    running.wait_file("deaf.1");
    running.signal(Signal::SIGTERM);
    running.signal(Signal::SIGINT);
    running.wait();
    assert!(echoes(&terminal));
});

case!(the_modes_are_sshs_own_business_when_it_exits, Beyond, {
    let (running, terminal) = on_terminal(autossh("raw;exit 255\nnote second;hang"));
    running.wait_file("second.2");
    assert!(!echoes(&terminal));
});

case!(an_interrupt_from_the_keyboard_ends_both, Documented, {
    let (mut running, mut terminal) = on_terminal(autossh("hang"));
    let ssh = running.wait_up().pid;
    terminal.write_all(b"\x03").unwrap();
    assert_eq!(running.status(), 128 + 2);
    assert!(is_gone(ssh));
    assert_eq!(running.starts().len(), 1);
});

case!(a_terminal_that_goes_away_does_not_end_autossh, Beyond, {
    // The hangup comes to the leader of the session, which is autossh here.
    let (running, terminal) = on_terminal(autossh("hang"));
    running.wait_up();
    drop(terminal);
    wait_for("the hangup", || fs_link(&running, "fd/0").ends_with("(deleted)").then_some(()));
    running.signal(Signal::SIGUSR1);
    running.wait_start(2);
});

/// The leader of a session with two jobs: the command, which begins in the foreground, and itself.
const LEADER: &str = "
import os, signal, sys, time
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])
while not os.path.exists('take'): time.sleep(0.01)
os.tcsetpgrp(0, os.getpgrp())
open('taken', 'w')
os.waitpid(job, 0)
";

case!(losing_the_terminal_while_its_modes_are_restored_stops_nothing, Beyond, {
    if !needs("python3 and strace(1)", has("python3") && has("strace")) {
        return;
    }
    // Whatever autossh does with the terminal takes a second, so that there is time to take it away.
    let slowly = ["python3", "-c", LEADER, "strace", "-D", "-o", "/dev/null", "-e", "inject=ioctl:delay_enter=1000000"];
    let unstarted = Autossh::run_by(&slowly, ["-M", "0", "host"], "kill 9\nhang").env("AUTOSSH_GATETIME", "0");
    let (running, _terminal) = on_terminal(unstarted);
    let autossh = running.wait_start(1).parent;
    let sets_modes = |call: String| {
        let mut fields = call.split(' ');
        fields.next() == Some(&libc::SYS_ioctl.to_string()) && SET_MODES.contains(&fields.nth(1).unwrap())
    };
    wait_for("the modes to be restored", || {
        std::fs::read_to_string(format!("/proc/{autossh}/syscall")).is_ok_and(sets_modes).then_some(())
    });
    std::fs::write(running.path("take"), "").unwrap();
    running.wait_file("taken");
    running.wait_start(2);
});

/// TCSETS and TCSETS2, as /proc/PID/syscall shows them.
const SET_MODES: [&str; 2] = ["0x5402", "0x402c542b"];

/// What a link in autossh's directory in /proc leads to.
fn fs_link(running: &Running, name: &str) -> String {
    std::fs::read_link(format!("/proc/{}/{name}", running.pid())).unwrap().display().to_string()
}

/// An interactive shell on a terminal, which runs autossh as a job.
fn in_shell(script: &str) -> (Running, File) {
    let unstarted = Autossh::run_by(
        &["bash", "--norc", "--noprofile", "-i", "-c", "\"$@\"; sleep 1000", "bash"],
        ["-M", "0", "host"],
        script,
    );
    on_terminal(unstarted.env("AUTOSSH_GATETIME", "0"))
}

case!(the_stop_key_stops_and_the_shell_continues, Same, {
    let (running, mut terminal) = in_shell("hang");
    let start = running.wait_up();
    terminal.write_all(b"\x1a").unwrap();
    wait_for("both to stop", || {
        (process_state(start.pid) == Some('T') && process_state(start.parent) == Some('T')).then_some(())
    });
});

case!(an_ssh_that_stops_itself_stops_autossh, Defect, {
    // `~^Z`: ssh has stopped only itself, and the shell would wait for autossh without end.
    let (running, _terminal) = in_shell("tstp;note continued;hang");
    let start = running.wait_start(1);
    wait_for("autossh to stop", || (process_state(start.parent) == Some('T')).then_some(()));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(start.parent), Signal::SIGCONT).unwrap();
    running.wait_file("continued.1");
    assert_eq!(running.starts().len(), 1);
});
