//! Other ssh clients than OpenSSH's: Dropbear's dbclient, as OpenWrt has it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::signal::Signal;

use crate::case;
use crate::harness::{
    Autossh, DOWNLOAD, Server, needs, output_of, output_within, pass, port_pair, wait_for, wait_greeting,
};

/// The directory of Dropbear's programs, if they are to be had.
fn dropbear() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dropbear");
            let script = root.join("tests/find-dbclient.sh");
            let output = output_within(DOWNLOAD, Command::new("sh").arg(script).arg(directory));
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            needs("Dropbear's dbclient", output.status.success())
                .then(|| String::from_utf8(output.stdout).unwrap().trim_end().into())
        })
        .as_deref()
}

/// A server that knows a key of dbclient's, and an autossh that runs it with these arguments, PORT the
/// server's, and then those to log in.
fn tunnel(args: &[&str]) -> Option<(Server, Autossh)> {
    let (dropbear, server) = (dropbear()?, Server::here("")?);
    let key = server.path("dropbear-key").display().to_string();
    let told = output_of(Command::new(dropbear.join("dropbearkey")).args(["-t", "ed25519", "-f", &key]));
    fs::write(server.path("authorized-keys"), told.lines().find(|line| line.starts_with("ssh-")).unwrap()).unwrap();
    let port = server.port().to_string();
    let args: Vec<String> = args.iter().map(|arg| arg.replace("PORT", &port)).collect();
    let login = ["-y", "-i", &key, "-p", &port, "127.0.0.1"];
    let path = format!("{}:/usr/bin:/bin", dropbear.display());
    let autossh =
        Autossh::new(args.iter().map(String::as_str).chain(login), "").env("PATH", path).env("HOME", server.path(""));
    let autossh = autossh.env("AUTOSSH_PATH", "dbclient").env("AUTOSSH_GATETIME", "0").env("AUTOSSH_DEBUG", "1");
    Some((server, autossh))
}

case!(dbclient_is_monitored_and_started_again, Beyond, {
    let port = port_pair();
    let forward = format!("{port}:127.0.0.1:PORT");
    // -K is its keepalive and -W the size of a window; for OpenSSH they are something else.
    let Some((server, autossh)) = tunnel(&["-K", "60", "-W", "65536", "-N", "-L", &forward]) else { return };
    let running = autossh.env("AUTOSSH_POLL", "1").start();
    running.wait_log("connection ok");
    wait_greeting(port);
    server.signal_sessions(Signal::SIGKILL);
    running.wait_log("ssh exited with error status 1; restarting ssh");
    running.wait_log_times("connection ok", running.logged("connection ok") + 1);
});

case!(what_dbclient_says_of_a_refused_forward_is_understood, Beyond, {
    let port = port_pair();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let forward = format!("127.0.0.1:{port}:127.0.0.1:PORT");
    let Some((_server, autossh)) = tunnel(&["-M", "0", "-N", "-R", &forward]) else { return };
    let running = autossh.start();
    running.wait_log(&format!("port {port} on the server is refused"));
    drop(taken);
    running.wait_log_times("ssh child pid is ", 2);
    wait_greeting(port);
});

case!(what_dbclient_says_of_a_local_port_is_not_understood, Beyond, {
    let port = port_pair();
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let forward = format!("127.0.0.1:{port}:127.0.0.1:PORT");
    let Some((_server, autossh)) = tunnel(&["-M", "0", "-N", "-L", &forward]) else { return };
    let running = autossh.start();
    wait_for("its warning", || running.stderr().contains(&port.to_string()).then_some(()));
    pass(3);
    assert_eq!(running.logged("is refused"), 0, "{}", running.story());
});

case!(dbclient_refuses_the_forwards_for_inet6, Beyond, {
    let Some((_server, autossh)) = tunnel(&["-6", "-N"]) else { return };
    let running = autossh.start();
    running.wait_log("ssh exited with error status 1");
    assert!(running.stderr().contains("[::1]"), "{}", running.story());
});
