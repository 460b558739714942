//! autossh(1), SYSTEMD: what is said to NOTIFY_SOCKET.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use nix::sys::signal::Signal;

use crate::case;
use crate::harness::{Autossh, Server, wait_for};

/// systemd's ear.
pub struct Ear {
    socket: UnixDatagram,
    /// What has been heard so far.
    pub heard: Vec<String>,
}

impl Ear {
    /// One with this path.
    pub fn at(path: &Path) -> Ear {
        Ear::of(UnixDatagram::bind(path).unwrap())
    }

    fn of(socket: UnixDatagram) -> Ear {
        socket.set_nonblocking(true).unwrap();
        Ear { socket, heard: Vec::new() }
    }

    /// Listens to all there is, and answers whether something that begins like that has been heard.
    pub fn has_heard(&mut self, beginning: &str) -> bool {
        let mut buffer = [0; 4096];
        while let Ok(count) = self.socket.recv(&mut buffer) {
            self.heard.push(String::from_utf8(buffer[..count].to_vec()).unwrap());
        }
        self.heard.iter().any(|message| message.starts_with(beginning))
    }

    /// Waits for something that begins like that.
    pub fn wait(&mut self, beginning: &str) {
        wait_for(format!("{beginning} at NOTIFY_SOCKET"), || self.has_heard(beginning).then_some(()));
    }
}

/// An autossh that is heard.
fn heard(unstarted: Autossh) -> (Autossh, Ear) {
    let path = unstarted.path("notify");
    let ear = Ear::at(&path);
    (unstarted.env("NOTIFY_SOCKET", &path).env("AUTOSSH_GATETIME", "0"), ear)
}

case!(without_a_monitor_an_ssh_that_has_lived_for_a_second_is_up, Beyond, {
    let (unstarted, mut ear) = heard(Autossh::new(["-M", "0", "-N", "host"], "hang"));
    let mut running = unstarted.start();
    running.wait_start(1);
    ear.wait("READY=1");
    let pid = running.wait_start(1).pid;
    ear.wait(&format!("STATUS=ssh {pid} up since "));
    running.signal(Signal::SIGTERM);
    running.wait();
    ear.wait("STOPPING=1");
    assert_eq!(ear.heard.iter().filter(|message| *message == "READY=1").count(), 1);
});

case!(an_ssh_that_does_not_live_for_a_second_is_not_up, Beyond, {
    let (unstarted, mut ear) = heard(Autossh::new(["-M", "0", "-N", "host"], "exit 255"));
    let running = unstarted.start();
    ear.wait("STATUS=waiting until ");
    assert!(!ear.has_heard("READY=1"), "{:?}", ear.heard);
    drop(running);
});

case!(with_a_monitor_traffic_must_have_flowed, Beyond, {
    let Some(server) = Server::here("") else { return };
    let (unstarted, mut ear) = heard(server.autossh(&["-N", "HOST"]));
    let running = unstarted.start();
    ear.wait("READY=1");
    // The poll time is ten minutes: this was an early test.
    wait_for("the round trip in the status", || {
        ear.has_heard("");
        ear.heard
            .iter()
            .any(|message| message.contains("last test passed at ") && message.ends_with(" ms"))
            .then_some(())
    });
    let up = ear.heard.iter().position(|message| message == "READY=1").unwrap();
    assert!(ear.heard[..up].iter().all(|message| !message.contains("last test passed")), "{:?}", ear.heard);
    drop(running);
});

case!(an_abstract_socket_is_heard_too, Beyond, {
    let name = format!("autossh-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let mut ear = Ear::of(UnixDatagram::bind_addr(&address).unwrap());
    let unstarted = Autossh::new(["-M", "0", "-N", "host"], "hang").env("NOTIFY_SOCKET", format!("@{name}"));
    let running = unstarted.start();
    ear.wait("READY=1");
    drop(running);
});

case!(nobody_at_the_socket_is_no_hindrance, Beyond, {
    for socket in ["", "@", "relative", "/nonexistent/notify", "/dev/null"] {
        let unstarted = Autossh::new(["-M", "0", "-N", "host"], "kill 9\nexit 0");
        let mut running = unstarted.env("NOTIFY_SOCKET", socket).env("AUTOSSH_GATETIME", "0").start();
        assert_eq!((running.status(), running.starts().len()), (0, 2), "{socket}");
    }
});
