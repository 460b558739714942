//! autossh(1), THE NETWORK: it notices when the network comes back.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::case;
use crate::harness::{Autossh, Hosts, Running, Server, pass, wait_within};

/// Two hosts, a server on one, and an autossh on the other whose tests come no more often than every `poll` seconds.
fn lab(poll: u32) -> Option<(Hosts, Server, Autossh)> {
    let hosts = Hosts::new()?;
    let server = Server::on(&hosts, "")?;
    let autossh = server.autossh(&["-M", "20000", "-N", "HOST"]);
    let autossh = autossh.env("AUTOSSH_POLL", poll.to_string()).env("AUTOSSH_DEBUG", "1").env("AUTOSSH_GATETIME", "0");
    Some((hosts, server, autossh))
}

/// Asks for a test and waits until it passes.
fn is_tested(running: &Running) {
    let passed = running.logged("connection ok");
    running.signal(Signal::SIGALRM);
    running.wait_log_times("connection ok", passed + 1);
}

/// Within this time the next test of a running ssh, or the next start, must come.
const SOON: Duration = Duration::from_secs(12);

case!(a_link_that_comes_up_ends_the_wait, Beyond, {
    let Some((hosts, _server, autossh)) = lab(60) else { return };
    hosts.on_client("ip link set wire-c down");
    let running = autossh.env("AUTOSSH_FIRST_POLL", "4").start();
    // Until it waits for longer than it may take below.
    let waits = |log: &str| {
        let wait = log.lines().filter_map(|line| line.split_once("waiting ")?.1.split_once(" s before")).next_back();
        wait.is_some_and(|(seconds, _)| seconds.parse::<f64>().unwrap() > 14.0)
    };
    wait_within(Duration::from_secs(150), "a long wait", || waits(&running.log()).then_some(()));
    let starts = running.starts().len();
    hosts.on_client("ip link set wire-c up");
    wait_within(SOON, "the next try", || (running.starts().len() > starts).then_some(()));
    running.wait_log("connection ok");
});

case!(without_the_watch_the_wait_goes_on, Beyond, {
    let Some((hosts, _server, autossh)) = lab(60) else { return };
    hosts.on_client("ip link set wire-c down");
    let running = autossh.env("AUTOSSH_NETWATCH", "no").start();
    running.wait_start(10);
    let starts = running.starts().len();
    hosts.on_client("ip link set wire-c up");
    // The tenth wait is 5 s long.
    pass(2);
    assert_eq!(running.starts().len(), starts);
});

case!(a_session_survives_an_outage, Beyond, {
    let Some((hosts, _server, autossh)) = lab(600) else { return };
    let running = autossh.start();
    running.wait_healthy();
    let passed = running.logged("connection ok");
    hosts.on_client("ip link set wire-c down");
    pass(40);
    hosts.on_client("ip link set wire-c up");
    // The test that the link brings forward.
    wait_within(Duration::from_secs(60), "the test", || (running.logged("connection ok") > passed).then_some(()));
    assert_eq!(running.starts().len(), 1, "{}", running.story());
});

case!(a_dead_session_is_found_when_the_network_changes, Beyond, {
    let Some((hosts, server, autossh)) = lab(600) else { return };
    let running = autossh.start();
    running.wait_healthy();
    server.signal_sessions(Signal::SIGSTOP);
    hosts.on_client("ip addr add 10.98.0.1/24 dev wire-c");
    hosts.on_client("ip addr del 10.98.0.1/24 dev wire-c");
    // Twice the network timeout and a little more, and much less than the poll time of ten minutes.
    wait_within(Duration::from_secs(100), "the next ssh", || (running.starts().len() > 1).then_some(()));
});

case!(link_down_and_removals_are_ignored, Beyond, {
    let Some((hosts, _server, autossh)) = lab(600) else { return };
    hosts.on_client("ip addr add 10.98.0.1/24 dev wire-c");
    hosts.on_client("ip route add 10.97.0.0/24 via 10.99.0.2");
    let running = autossh.start();
    running.wait_healthy();
    is_tested(&running);
    let heard = running.logged("the network has changed");
    hosts.on_client("ip route del 10.97.0.0/24");
    hosts.on_client("ip addr del 10.98.0.1/24 dev wire-c");
    pass(3);
    assert_eq!(running.logged("the network has changed"), heard, "{}", running.log());
});

case!(a_flapping_link_causes_no_storm_of_tests, Beyond, {
    let Some((hosts, _server, autossh)) = lab(60) else { return };
    hosts.on_client("ip link add flap type veth peer name flop");
    hosts.on_client("ip link set flop up");
    let running = autossh.start();
    running.wait_healthy();
    let passed = running.logged("connection ok");
    hosts.on_client(
        "sh -c 'for i in $(seq 100); do ip link set flap up; sleep 0.1; ip link set flap down; sleep 0.1; done'",
    );
    let tests = running.logged("connection ok") - passed;
    assert!(tests <= 10, "{tests} tests");
    assert!(tests >= 1, "the link was not heard of");
    assert_eq!(running.starts().len(), 1, "{}", running.story());
});

case!(a_flapping_link_causes_no_storm_of_starts, Beyond, {
    let Some((hosts, mut server, autossh)) = lab(60) else { return };
    server.stop();
    hosts.on_client("ip link add flap type veth peer name flop");
    hosts.on_client("ip link set flop up");
    let running = autossh.start();
    running.wait_start(9);
    let starts = running.starts().len();
    let begin = Instant::now();
    hosts.on_client(
        "sh -c 'for i in $(seq 50); do ip link set flap up; sleep 0.1; ip link set flap down; sleep 0.1; done'",
    );
    let seconds = begin.elapsed().as_secs();
    // One at once, one after each hold-off of 10 s, 20 s and so on, and those that were due anyway: each after more
    // than 2 s by now.
    let hold_offs = 3 + u64::from(seconds.div_ceil(10).ilog2());
    let most = hold_offs + seconds / 2 + 1;
    let made = (running.starts().len() - starts) as u64;
    assert!(made <= most, "{made} starts in {seconds} s, and {most} at the most");
});

case!(nothing_is_done_to_an_ssh_with_a_command_and_without_a_monitor, Beyond, {
    let Some((hosts, server, _)) = lab(600) else { return };
    // It may be a shell in somebody's hands.
    let running = server.autossh(&["-M", "0", "HOST", "sleep", "1000"]).env("AUTOSSH_DEBUG", "1").start();
    running.wait_log("ssh child pid");
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
        status.lines().find(|line| line.starts_with("voluntary_ctxt")).unwrap().to_owned()
    };
    pass(1);
    let before = switches();
    for _ in 0..10 {
        hosts.on_client("ip addr add 10.98.0.1/24 dev wire-c");
        hosts.on_client("ip addr del 10.98.0.1/24 dev wire-c");
    }
    assert_eq!(switches(), before, "it was not even woken");
    assert_eq!(running.starts().len(), 1);
});
