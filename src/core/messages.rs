//! Messages about failures: the likely cause and what to do.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::event::{ChildExit, Failure};
use crate::exit_policy::Decision;
use crate::forwards::Listen;
use crate::level::Level;
use crate::rules::Monitoring;
use crate::time::in_units;

/// A signal to stop arrived.
pub fn stop_signal(signal: i32) -> String {
    format!("received signal to exit ({signal})")
}

/// The monitor port is not free for the first ssh.
pub fn port_in_use(port: u16) -> String {
    format!("port {port} is still in use on this machine; ssh is started all the same")
}

/// No test has ever passed: the likely cause, from how this one failed.
pub fn never_passed(monitoring: Monitoring, failure: Failure) -> String {
    let meanwhile = match monitoring {
        Monitoring::Automatic => "this session goes on unmonitored",
        _ => "ssh is restarted at each test",
    };
    match (failure, monitoring) {
        (Failure::NoListener, _) => format!(
            "no connection test has passed so far: ssh does not listen on the monitor's port here, so it has not logged in \
             (ConnectTimeout limits how long it waits for a silent server) or its forwards are switched off \
             (ClearAllForwardings); {meanwhile}"
        ),
        (Failure::Silent, _) => format!(
            "no connection test has passed so far: nothing comes back in time, so the connection is dead or slow; \
             {meanwhile}"
        ),
        (Failure::Garbled, Monitoring::Echo { echo, .. }) => format!(
            "no connection test has passed so far: what answers on the server's port {echo} is no echo service; \
             {meanwhile}"
        ),
        _ => forwarding_refused(monitoring, meanwhile),
    }
}

/// The server seems to refuse forwarding.
fn forwarding_refused(monitoring: Monitoring, meanwhile: &str) -> String {
    let taken = match monitoring {
        Monitoring::Loop { port } => format!(", or port {port} is taken there"),
        Monitoring::Echo { echo, .. } => format!(", or nothing echoes on its port {echo}"),
        Monitoring::Automatic | Monitoring::Off => String::new(),
    };
    format!(
        "no connection test has passed so far: forwarding seems to be refused on the server (AllowTcpForwarding, \
         permitopen or permitlisten{taken}); {meanwhile}; -M 0 with \
         ServerAliveInterval works there"
    )
}

/// The first test of a new session failed, though tests have passed before.
pub fn port_held(monitoring: Monitoring) -> String {
    match monitoring {
        Monitoring::Loop { port } => held(port),
        Monitoring::Echo { echo, .. } => {
            format!("the echo service on the server's port {echo} does not answer, or the connection is down")
        }
        Monitoring::Automatic | Monitoring::Off => {
            "the new session's forwards do not work yet; the next picks others".into()
        }
    }
}

/// ssh has reported that the remote forward was refused.
pub fn forward_refused(monitoring: Monitoring) -> String {
    match monitoring {
        Monitoring::Loop { port } => held(port),
        _ => {
            "the server refused the monitor's port: it is taken there, or AllowTcpForwarding or permitlisten forbid it"
                .into()
        }
    }
}

fn held(port: u16) -> String {
    format!(
        "port {port} on the server is still held, most likely by our own last session, which the server does not know \
         to be dead; ClientAliveInterval in its sshd_config ends such sessions, and automatic ports (no -M) do without"
    )
}

/// No monitor is available for the ssh being started.
pub fn no_monitor(why: &str) -> String {
    format!("{why}; this session goes on without a monitor")
}

/// Several sessions in a row failed their first test.
pub const SHARED: &str = "session after session fails its first connection test: if ssh shares a connection \
    (ControlMaster, ControlPath), starting it again cannot help, since the shared one stays; use -S none for this tunnel";

/// Refused automatic forwards have ended several sessions.
pub const WITHOUT_MONITOR: &str = "the server refuses the monitor's forward and ExitOnForwardFailure ends ssh for it: \
    going on without a monitor; ServerAliveInterval notices a dead connection then";

/// The first ssh exited within the gate time, perhaps because of an automatic monitor.
pub fn gate(ended: ChildExit, gate_time: Duration, may_be_the_monitor: bool, refused: Option<&str>) -> String {
    let seconds = gate_time.as_secs();
    let monitor = if may_be_the_monitor && ended == ChildExit::Status(255) {
        "; if the server forbids forwarding and ExitOnForwardFailure is set, -M 0 leaves the monitor out"
    } else {
        ""
    };
    let refused = refused.map(|refused| format!("; {refused} is refused")).unwrap_or_default();
    format!(
        "giving up: the first ssh ended with {} before the gate time of {seconds} s was over; AUTOSSH_GATETIME=0 keeps \
         autossh trying{monitor}{refused}",
        how(ended)
    )
}

/// AUTOSSH_MAXSTART is 0.
pub const NO_STARTS: &str = "AUTOSSH_MAXSTART is 0, so ssh is never started; -1 stands for no limit";

/// `ssh -N` has exited with status 0.
pub const NORMAL_END: &str = "ssh -N does not end by itself: somebody has sent it SIGTERM, or it has gone on in the \
    background or left its forwards to a shared connection, where autossh cannot watch it (ControlPersist, ControlMaster \
    or ForkAfterAuthentication in ssh_config; use -S none, or -o ForkAfterAuthentication=no)";

/// What is refused, as text: `port 2200 on the server and port 8080 here`.
pub fn refused(remote: &[Listen], local: &[SocketAddr]) -> String {
    let remote = remote.iter().map(|listen| match listen {
        Listen::Port(port) => format!("port {port} on the server"),
        Listen::Path(path) => format!("{path} on the server"),
    });
    let local = local.iter().map(|address| format!("port {} here", address.port()));
    let mut parts: Vec<String> = Vec::new();
    for part in remote.chain(local) {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts.join(" and ")
}

/// Forwards that worked before, or all of them, are refused.
pub fn still_held(refused: &str, wait: Duration) -> String {
    format!(
        "{refused} is refused, most likely still held by our last session; trying again in {} s",
        wait.as_millis().div_ceil(1000)
    )
}

/// Forwards are refused, which is already known, or not worth a warning yet.
pub fn trying_again(refused: &str, wait: Duration) -> String {
    format!("{refused} is refused; trying again in {} s", wait.as_millis().div_ceil(1000))
}

/// Forwards that never worked are refused in every session, while others work.
pub fn never_forwarded(refused: &str) -> String {
    format!(
        "{refused} is refused in session after session: the server forbids it, or another program has it; leaving this \
         session as it is; with ExitOnForwardFailure=yes ssh would end instead"
    )
}

/// ssh cannot listen here, because another program does.
pub fn awaiting_local(refused: &str) -> String {
    format!("{refused} is refused: another program listens there; ssh is restarted once it is free")
}

/// Forwards are refused in a session that is not restarted for them.
pub fn left_alone(refused: &str) -> String {
    format!("{refused} is refused; leaving this session as it is, since it is shared or carries a tunnel device")
}

/// ssh is restarted for the forwards.
pub fn restarting_for(refused: &str) -> String {
    format!("restarting ssh to try {refused} again")
}

/// No forward is refused any more.
pub const FORWARDS_WORK: &str = "all forwards work again";

/// ssh has failed several times, and the first wait begins.
pub fn outage(failures: u32, last: &str, wait: Duration) -> String {
    let seconds = in_units(wait, Duration::from_secs(1));
    format!("ssh has failed {failures} times in a row (last: {last}), next start in {seconds} s")
}

/// A session works again.
pub fn recovered(failures: u32) -> String {
    format!("ssh is up again after {failures} failures in a row")
}

/// How the last ssh exited, and the last line of its stderr.
pub fn last_failure(exit: ChildExit, said: Option<&str>) -> String {
    let exit = how(exit);
    said.map_or(exit.clone(), |said| format!("{exit}, {said}"))
}

/// How ssh exited.
fn how(exit: ChildExit) -> String {
    match exit {
        ChildExit::Status(status) => format!("status {status}"),
        ChildExit::Signal(signal) => format!("signal {signal}"),
    }
}

/// The local address of ssh's connection no longer exists.
pub fn address_gone(address: &str) -> String {
    format!("the address {address} that ssh was connected from is gone, restarting ssh")
}

/// The log line for a decision.
pub fn child_exit(ended: ChildExit, decision: Decision) -> (Level, String) {
    match (ended, decision) {
        (ChildExit::Signal(signal), _) => (Level::Info, format!("ssh exited on signal {signal}, restarting ssh")),
        (ChildExit::Status(status), Decision::Restart) => {
            (Level::Info, format!("ssh exited with error status {status}; restarting ssh"))
        }
        (ChildExit::Status(status), Decision::Exit(_)) => {
            (Level::Info, format!("ssh exited with status {status}; autossh exiting"))
        }
        (ChildExit::Status(status), Decision::GiveUp) => {
            (Level::Error, format!("ssh exited prematurely with status {status}; autossh exiting"))
        }
    }
}

#[cfg(test)]
mod tests;
