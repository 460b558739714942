//! Messages about failures: the likely cause and what to do.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use crate::event::Failure;
use crate::exit_policy::{ChildExit, Decision};
use crate::level::Level;
use crate::rules::Monitoring;

/// A signal to stop arrived.
pub fn stop_signal(signal: i32) -> String {
    format!("received signal to exit ({signal})")
}

/// The monitor port is not free for the first ssh.
pub fn port_in_use(port: u16) -> String {
    format!("port {port} is still in use on this machine; ssh is started all the same")
}

/// No test has ever passed; what the way in which this one failed says about the cause.
pub fn never_passed(monitoring: Monitoring, failure: Failure) -> String {
    let meanwhile = match monitoring {
        Monitoring::Automatic => "this session goes on unmonitored",
        _ => "ssh is restarted at each test",
    };
    match (failure, monitoring) {
        (Failure::Silent, _) => format!(
            "no connection test has passed so far: nothing comes back in time, so the connection is dead or slow; \
             {meanwhile}"
        ),
        (Failure::Garbled, Monitoring::Echo { echo, .. }) => format!(
            "no connection test has passed so far: what answers on the server's port {echo} is no echo service; \
             {meanwhile}"
        ),
        _ => refused(monitoring, meanwhile),
    }
}

/// The server seems to refuse forwarding.
fn refused(monitoring: Monitoring, meanwhile: &str) -> String {
    let taken = match monitoring {
        Monitoring::Loop { port } => format!(", or port {port} is taken there"),
        Monitoring::Echo { echo, .. } => format!(", or nothing echoes on its port {echo}"),
        Monitoring::Automatic | Monitoring::Off => String::new(),
    };
    format!(
        "no connection test has passed so far: forwarding seems to be refused on the server (AllowTcpForwarding, \
         permitopen or permitlisten{taken}) or switched off here (ClearAllForwardings); {meanwhile}; -M 0 with \
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

/// Several sessions in a row failed their first test.
pub const SHARED: &str = "session after session fails its first connection test: if ssh shares a connection \
    (ControlMaster, ControlPath), starting it again cannot help, since the shared one stays; use -S none for this tunnel";

/// Refused automatic forwards have ended several sessions.
pub const WITHOUT_MONITOR: &str = "the server refuses the monitor's forward and ExitOnForwardFailure ends ssh for it: \
    going on without a monitor; ServerAliveInterval notices a dead connection then";

/// The first ssh exited within the gate time, perhaps because of an automatic monitor.
pub fn gate(ended: ChildExit, gate_time: Duration, perhaps_the_monitor: bool) -> String {
    let status = match ended {
        ChildExit::Status(status) => format!("with status {status}"),
        ChildExit::Signal(signal) => format!("on signal {signal}"),
    };
    let seconds = gate_time.as_secs();
    let monitor = if perhaps_the_monitor && ended == ChildExit::Status(255) {
        "; if the server forbids forwarding and ExitOnForwardFailure is set, -M 0 leaves the monitor out"
    } else {
        ""
    };
    format!(
        "giving up: the first ssh ended {status} before the gate time of {seconds} s was over; AUTOSSH_GATETIME=0 keeps \
         autossh trying{monitor}"
    )
}

/// AUTOSSH_MAXSTART is 0.
pub const NO_STARTS: &str = "AUTOSSH_MAXSTART is 0, so ssh is never started; -1 stands for no limit";

/// `ssh -N` has exited with status 0.
pub const NORMAL_END: &str = "ssh -N does not end by itself: somebody has sent it SIGTERM, or it has gone on in the \
    background or left its forwards to a shared connection, where autossh cannot watch it (ControlPersist, ControlMaster \
    or ForkAfterAuthentication in ssh_config; use -S none, or -o ForkAfterAuthentication=no)";

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
