//! The settings that decisions depend on (autossh(1), ENVIRONMENT).

use core::time::Duration;

use crate::forwards::Asked;

/// How the connection is monitored (autossh(1), MONITORING).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitoring {
    /// Not at all: `-M 0`.
    Off,
    /// No port was given: a loop of forwards through ports that autossh picks.
    Automatic,
    /// A loop of forwards from this port to this port and back to the one above: `-M port`.
    Loop {
        /// The monitor port, here and on the server.
        port: u16,
    },
    /// A forward from this port to an echo service on the server: `-M port:echo_port`.
    Echo {
        /// The monitor port here.
        port: u16,
        /// The echo service's port on the server.
        echo: u16,
    },
}

/// The rules that decisions follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How the connection is monitored.
    pub monitoring: Monitoring,
    /// `-N`: ssh runs no command, so its output is not a user's data.
    pub no_command: bool,
    /// AUTOSSH_NTSERVICE: ssh is restarted after status 0 too.
    pub service: bool,
    /// The forwards that the user asked for.
    pub forwards: Asked,
    /// Time between connection tests, and the longest wait before a start.
    pub poll: Duration,
    /// Time from ssh's start to its first connection test.
    pub first_poll: Duration,
    /// How long the first ssh must live.
    pub gate_time: Duration,
    /// How many times ssh may be started.
    pub max_starts: Option<u64>,
    /// How long autossh may live.
    pub lifetime: Option<Duration>,
    /// Whether network changes are acted on.
    pub watch_network: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        const POLL: Duration = Duration::from_secs(600);
        Rules {
            monitoring: Monitoring::Automatic,
            no_command: false,
            service: false,
            forwards: Asked::default(),
            poll: POLL,
            first_poll: POLL,
            gate_time: Duration::from_secs(30),
            max_starts: None,
            lifetime: None,
            watch_network: true,
        }
    }
}
