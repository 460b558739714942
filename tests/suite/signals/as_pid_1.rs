//! In a PID namespace of its own, as in a container.

use super::*;
use crate::harness::{child_of, is_root, needs};

fn contained(script: &str) -> Option<Running> {
    needs("root", is_root()).then(|| {
        let before = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
        Autossh::run_by(&before, ["-M", "0", "host"], script).env("AUTOSSH_GATETIME", "0").start()
    })
}

case!(orphans_are_reaped, Beyond, {
    let Some(running) = contained("orphan;exit 255\norphan;exit 255\nhang") else { return };
    running.wait_start(3);
    let autossh = wait_for("autossh", || child_of(running.pid()));
    wait_for("all orphans to be reaped", || {
        let children = fs::read_to_string(format!("/proc/{autossh}/task/{autossh}/children")).unwrap();
        (children.split_whitespace().count() == 1).then_some(())
    });
});

case!(a_stop_is_a_status, Beyond, {
    let Some(mut running) = contained("hang") else { return };
    running.wait_start(1);
    let autossh = wait_for("autossh", || child_of(running.pid()));
    kill(Pid::from_raw(autossh), Signal::SIGTERM).unwrap();
    assert_eq!(running.status(), 128 + 15);
});
