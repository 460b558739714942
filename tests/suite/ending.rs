//! autossh(1), EXIT STATUS and CONTINUED FAILURES: when ssh exits, and when it is restarted.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Autossh, Running, install_script, scripted_ssh, wait_for};
use crate::{case, table};

/// Runs autossh without a monitor, with this gate time and script.
fn with_gate(gate: &str, script: &str) -> Running {
    Autossh::new(["-M", "0", "host"], script).env("AUTOSSH_GATETIME", gate).run()
}

table!(within_the_gate_a_status_ends_autossh, Same, [1, 2, 3, 127, 254, 255], |status| {
    let mut running = with_gate("30", &format!("exit {status}"));
    assert_eq!((running.status(), running.starts().len()), (1, 1));
    assert_eq!(running.logged(&format!("ssh exited prematurely with status {status}; autossh exiting")), 1);
});

table!(within_the_gate_the_reason_is_on_stderr, Defect, [1, 255], |status| {
    let running = with_gate("30", &format!("exit {status}"));
    let stderr = running.stderr();
    assert!(stderr.contains("AUTOSSH_GATETIME") && stderr.contains(&format!("status {status}")), "{stderr}");
});

case!(status_0_within_the_gate_is_a_normal_end, Documented, {
    let mut running = with_gate("30", "exit 0");
    assert_eq!((running.status(), running.starts().len()), (0, 1));
    assert_eq!(running.logged("ssh exited with status 0; autossh exiting"), 1);
});

case!(status_0_after_the_gate_is_a_normal_end, Same, {
    let mut running = with_gate("1", "live 2100;exit 0");
    assert_eq!((running.status(), running.starts().len()), (0, 1));
    assert_eq!(running.logged("ssh exited with status 0; autossh exiting"), 1);
});

table!(statuses_of_the_first_ssh_after_the_gate_that_end_autossh, Same, [1, 2, 3, 254], |status| {
    let mut running = with_gate("1", &format!("live 2100;exit {status}"));
    assert_eq!((running.status(), running.starts().len()), (1, 1));
    assert_eq!(running.logged(&format!("ssh exited with status {status}; autossh exiting")), 1);
});

case!(status_255_of_the_first_ssh_after_the_gate_restarts, Same, {
    let mut running = with_gate("1", "live 2100;exit 255\nexit 0");
    assert_eq!((running.status(), running.starts().len()), (0, 2));
    assert_eq!(running.logged("ssh exited with error status 255; restarting ssh"), 1);
});

table!(statuses_that_restart_without_a_gate, Same, [1, 2, 255], |status| {
    let mut running = with_gate("0", &format!("exit {status}\nexit {status}\nexit 0"));
    assert_eq!((running.status(), running.starts().len()), (0, 3));
    assert_eq!(running.logged(&format!("ssh exited with error status {status}; restarting ssh")), 2);
});

table!(statuses_that_end_autossh_without_a_gate, Same, [0, 3, 126, 254], |status| {
    let mut running = with_gate("0", &format!("exit {status}"));
    assert_eq!((running.status(), running.starts().len()), (i32::from(status != 0), 1));
    assert_eq!(running.logged(&format!("ssh exited with status {status}; autossh exiting")), 1);
});

case!(every_status_ends_or_restarts_as_the_table_says, Beyond, {
    // All statuses, of a later ssh; the rows of the table are in src/core/exit_policy.rs.
    for status in 0..=255 {
        let restarts = matches!(status, 1 | 2 | 255);
        let mut running = with_gate("0", &format!("exit 255\nexit {status}\nexit 0"));
        let expected = if restarts { (0, 3) } else { (i32::from(status != 0), 2) };
        assert_eq!((running.status(), running.starts().len()), expected, "status {status}");
    }
});

table!(statuses_of_a_later_ssh_within_the_gate_time, Same, [1, 2, 255], |status| {
    let mut running = with_gate("30", &format!("kill 9\nexit {status}\nexit 0"));
    assert_eq!((running.status(), running.starts().len()), (0, 3));
});

table!(signals_restart_within_the_gate_too, Same, [1, 2, 3, 6, 9, 11, 13, 14, 15], |signal| {
    let mut running = Autossh::new(["-M", "0", "host"], &format!("kill {signal}\nexit 0")).run();
    running.wait();
    assert_eq!(running.starts().len(), 2);
    assert_eq!(running.logged(&format!("ssh exited on signal {signal}, restarting ssh")), 1);
});

case!(a_real_time_signal_restarts_as_well, Same, {
    let running = with_gate("0", "kill 34\nexit 0");
    assert_eq!(running.starts().len(), 2);
    assert_eq!(running.logged("ssh exited on signal 34, restarting ssh"), 1);
});

case!(a_script_that_does_not_say_what_runs_it_is_run_by_the_shell, Same, {
    let unstarted = Autossh::new(["-M", "0", "host", "a  b"], "");
    let script = unstarted.path("ssh");
    install_script("echo $# \"$0\" \"$@\" >said\n", &script);
    let mut running = unstarted.env("AUTOSSH_PATH", &script).env("AUTOSSH_GATETIME", "0").start();
    assert_eq!(running.status(), 0);
    assert_eq!(running.text("said"), format!("2 {} host a  b\n", script.display()));
});

case!(a_later_ssh_that_cannot_be_executed_is_tried_again, Defect, {
    // openssh is being upgraded: for a moment there is no ssh.
    let unstarted = Autossh::new(["-M", "0", "host"], "hang");
    let ssh = unstarted.path("ssh");
    std::os::unix::fs::symlink(scripted_ssh(), &ssh).unwrap();
    let running = unstarted.env("AUTOSSH_PATH", &ssh).start();
    running.wait_start(1);
    fs::remove_file(&ssh).unwrap();
    running.signal(Signal::SIGUSR1);
    running.wait_log("cannot start ssh: ");
    std::os::unix::fs::symlink(scripted_ssh(), &ssh).unwrap();
    running.wait_start(2);
});

case!(a_first_ssh_that_cannot_be_executed_ends_autossh, Same, {
    let unstarted = Autossh::new(["-M", "0", "host"], "");
    let ssh = unstarted.path("ssh");
    install_script("#!/nonexistent/interpreter\n", &ssh);
    let mut running = unstarted.env("AUTOSSH_PATH", &ssh).env("AUTOSSH_GATETIME", "0").run();
    assert_eq!(running.status(), 1);
});

case!(a_first_ssh_that_cannot_be_executed_is_named, Defect, {
    let unstarted = Autossh::new(["-M", "0", "host"], "");
    let (ssh, pid) = (unstarted.path("ssh"), unstarted.path("pid"));
    install_script("#!/nonexistent/interpreter\n", &ssh);
    let mut running = unstarted.env("AUTOSSH_PATH", &ssh).env("AUTOSSH_PIDFILE", &pid).run();
    assert_eq!(running.status(), 1);
    assert!(running.stderr().contains("No such file or directory"), "{}", running.stderr());
    assert!(!pid.exists());
});

case!(six_quick_starts_are_not_delayed, Same, {
    let running = Autossh::new(["-M", "0", "host"], "exit 255").env("AUTOSSH_GATETIME", "0").start();
    running.wait_start(6);
    let sixth = Instant::now();
    // The seventh start is the first that waits: 2 s, more or less.
    running.wait_start(7);
    assert!(sixth.elapsed() > Duration::from_millis(1500), "{:?}", sixth.elapsed());
});

case!(waits_never_exceed_the_poll_time, Same, {
    let running =
        Autossh::new(["-M", "0", "host"], "exit 255").env("AUTOSSH_GATETIME", "0").env("AUTOSSH_POLL", "1").start();
    running.wait_start(10);
});

case!(a_wait_is_logged, Beyond, {
    let running = Autossh::new(["-M", "0", "host"], "exit 255").env("AUTOSSH_GATETIME", "0").start();
    running.wait_log("s before the next start");
});

case!(an_outage_is_one_warning_and_one_line_when_it_is_over, Beyond, {
    let script = "exit 255\n".repeat(7) + "relay sound";
    let start = |level| {
        let unstarted = Autossh::new(["-N", "host"], &script).env("AUTOSSH_GATETIME", "0").env("AUTOSSH_POLL", "1");
        unstarted.env("AUTOSSH_LOGLEVEL", level).start()
    };
    let (all, warnings) = (start("6"), start("4"));
    all.wait_log("ssh is up again after 7 failures in a row");
    warnings.wait_start(8);
    for running in [&all, &warnings] {
        assert_eq!(running.logged("ssh has failed "), 1, "{}", running.story());
        let warning = "ssh has failed 6 times in a row (last: status 255), next start in ";
        assert_eq!(running.logged(warning), 1, "{}", running.story());
    }
    assert_eq!(warnings.log().lines().count(), 1, "{}", warnings.story());
});

case!(ssh_without_a_command_that_ends_with_status_0_is_explained, Beyond, {
    let mut running = Autossh::new(["-M", "0", "-N", "host"], "exit 0").run();
    assert_eq!(running.status(), 0);
    assert!(running.stderr().contains("ControlPersist"), "{}", running.stderr());
    assert_eq!(running.logged("ControlPersist"), 1);
});

case!(all_ends_leave_no_ssh_behind, Same, {
    let mut running = Autossh::new(["-M", "0", "host"], "hang").start();
    let ssh = running.wait_up().pid;
    running.signal(Signal::SIGTERM);
    running.wait();
    wait_for("ssh's end", || (!std::path::Path::new(&format!("/proc/{ssh}")).exists()).then_some(()));
});
