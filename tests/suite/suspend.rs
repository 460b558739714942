//! autossh(1), NETWORK CHANGES: a machine that was suspended, as far as the clocks show.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::case;
use crate::harness::{Autossh, Running, has, listens, needs, output_of, port_pair, wait_for};

/// Lets the clock that includes suspend gain half an hour once the file `asleep` is there.
const CLOCK: &str = "
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    int result = syscall(SYS_clock_gettime, id, at);
    if (result == 0 && id == CLOCK_BOOTTIME && access(\"asleep\", F_OK) == 0) at->tv_sec += 1800;
    return result;
}
";

/// autossh with the clock of this C source, if it can be compiled.
pub fn with_clock(unstarted: Autossh, clock: &str) -> Option<Autossh> {
    if !needs("cc", has("cc")) {
        return None;
    }
    let (source, library) = (unstarted.path("clock.c"), unstarted.path("clock.so"));
    fs::write(&source, clock).unwrap();
    output_of(Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]));
    Some(unstarted.env("LD_PRELOAD", &library))
}

/// Whether it has that clock.
pub fn has_that_clock(running: &Running) -> bool {
    let maps = fs::read_to_string(format!("/proc/{}/maps", running.pid())).unwrap();
    needs("an autossh that is linked dynamically", maps.contains("clock.so"))
}

case!(an_overdue_test_waits_for_ten_seconds_after_a_suspend, Beyond, {
    let port = port_pair();
    let unstarted = Autossh::new(["-M", &port.to_string(), "-N", "host"], "relay sound").env("AUTOSSH_DEBUG", "1");
    let Some(unstarted) = with_clock(unstarted, CLOCK) else { return };
    let running = unstarted.start();
    let ssh = running.wait_up().pid;
    wait_for("ssh to serve the port", || listens(ssh, port).then_some(()));
    if !has_that_clock(&running) {
        return;
    }
    fs::write(running.path("asleep"), "").unwrap();
    let awake = Instant::now();
    // The kernel's own timer has not gained anything: autossh looks at the clock when something happens.
    wait_for("the test", || {
        running.signal(Signal::SIGUSR2);
        std::thread::sleep(Duration::from_millis(20));
        (running.logged("connection ok") > 0).then_some(())
    });
    assert!(awake.elapsed() > Duration::from_secs(8), "{:?}", awake.elapsed());
    assert_eq!(running.starts().len(), 1);
});
