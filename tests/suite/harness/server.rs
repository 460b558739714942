//! A real sshd with keys of its own, here or in a network namespace of its own.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Autossh, DOWNLOAD, end, has, listens, needs, output, output_of, output_within, scripted_ssh, wait_for};

/// The command that runs an sshd, if one can be found.
fn sshd() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sshd");
            let output =
                output_within(DOWNLOAD, Command::new("sh").arg(root.join("tests/find-sshd.sh")).arg(directory));
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim_end().into())
        })
        .as_deref()
}

/// Two hosts with a link between them: network namespaces that are removed with this.
pub struct Hosts {
    name: String,
}

impl Hosts {
    /// The address of the server.
    pub const SERVER: &str = "10.99.0.2";
    /// The address of the client.
    pub const CLIENT: &str = "10.99.0.1";
    /// Makes them; `None` without root.
    pub fn new() -> Option<Hosts> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !needs("root and ip(8)", super::is_root() && has("ip")) {
            return None;
        }
        let name = format!("autossh-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let hosts = Hosts { name };
        let (client, server) = (hosts.client(), hosts.server());
        for command in [
            format!("ip netns add {client}"),
            format!("ip netns add {server}"),
            format!("ip -n {client} link set lo up"),
            format!("ip -n {server} link set lo up"),
            format!("ip -n {client} link add wire-c type veth peer name wire-s netns {server}"),
            format!("ip -n {client} addr add {}/24 dev wire-c", Hosts::CLIENT),
            format!("ip -n {server} addr add {}/24 dev wire-s", Hosts::SERVER),
            // No automatic addresses, which would appear a second or two later.
            format!("ip -n {client} link set wire-c addrgenmode none"),
            format!("ip -n {client} link set wire-c up"),
            format!("ip -n {server} link set wire-s up"),
        ] {
            shell(&command);
        }
        Some(hosts)
    }

    /// The name of the client's namespace.
    pub fn client(&self) -> String {
        format!("{}-c", self.name)
    }

    /// The name of the server's namespace.
    pub fn server(&self) -> String {
        format!("{}-s", self.name)
    }

    /// Runs a shell command on the server.
    pub fn on_server(&self, command: &str) {
        shell(&format!("ip netns exec {} {command}", self.server()));
    }

    /// Runs a shell command on the client.
    pub fn on_client(&self, command: &str) {
        shell(&format!("ip netns exec {} {command}", self.client()));
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in [self.client(), self.server()] {
            output(Command::new("ip").args(["netns", "del", &name]));
        }
    }
}

/// Moves this thread to a network namespace.
pub fn enter(name: &str) {
    setns(fs::File::open(format!("/run/netns/{name}")).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
}

/// Does something in a network namespace. Sockets that come of it stay there.
pub fn inside<T: Send + 'static>(name: &str, action: impl FnOnce() -> T + Send + 'static) -> T {
    let name = name.to_owned();
    let thread = std::thread::spawn(move || {
        enter(&name);
        action()
    });
    thread.join().unwrap()
}

/// Runs a shell command that must succeed.
fn shell(command: &str) {
    output_of(Command::new("sh").args(["-c", command]));
}

/// A running sshd.
pub struct Server {
    directory: tempfile::TempDir,
    address: String,
    port: u16,
    before: Vec<String>,
    client_before: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// One on the loopback interface, with these lines in its configuration.
    pub fn here(config: &str) -> Option<Server> {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        Server::new("127.0.0.1", port, Vec::new(), Vec::new(), config)
    }

    /// One on the server of `hosts`, with these lines in its configuration.
    pub fn on(hosts: &Hosts, config: &str) -> Option<Server> {
        Server::at(hosts, Hosts::SERVER, config)
    }

    /// The same, at another address of the server's.
    pub fn at(hosts: &Hosts, address: &str, config: &str) -> Option<Server> {
        let inside = |name: String| ["ip", "netns", "exec"].map(str::to_owned).into_iter().chain([name]).collect();
        Server::new(address, 2222, inside(hosts.server()), inside(hosts.client()), config)
    }

    fn new(address: &str, port: u16, before: Vec<String>, client_before: Vec<String>, config: &str) -> Option<Server> {
        let there = sshd().is_some();
        if !needs("an sshd", there) {
            return None;
        }
        let directory = tempfile::Builder::new().prefix("autossh-sshd-").tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        for key in ["host-key", "key"] {
            shell(&format!("ssh-keygen -q -t ed25519 -N '' -f {}", path(key)));
        }
        fs::copy(directory.path().join("key.pub"), directory.path().join("authorized-keys")).unwrap();
        let host_key = fs::read_to_string(directory.path().join("host-key.pub")).unwrap();
        fs::write(directory.path().join("known-hosts"), format!("* {host_key}")).unwrap();
        fs::write(
            directory.path().join("sshd-config"),
            format!(
                "{config}\nPort {port}\nListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nUseDNS no\nLogLevel VERBOSE\n\
                 MaxStartups 1000\n",
                path("host-key"),
                path("authorized-keys"),
            ),
        )
        .unwrap();
        fs::write(
            directory.path().join("ssh-config"),
            format!(
                "Host *\nUserKnownHostsFile {}\nIdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\nBatchMode yes\n\
                 StrictHostKeyChecking yes\nPort {port}\nConnectTimeout 5\n",
                path("known-hosts"),
                path("key"),
            ),
        )
        .unwrap();
        let mut server = Server { directory, address: address.into(), port, before, client_before, child: None };
        server.start();
        Some(server)
    }

    /// Starts it, and waits until it takes connections.
    pub fn start(&mut self) {
        let log = fs::File::options().append(true).create(true).open(self.path("sshd-log")).unwrap();
        let mut words = self.before.clone();
        words.push(sshd().unwrap().display().to_string());
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["-D", "-e", "-f"])
            .arg(self.path("sshd-config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        wait_for("sshd to listen", || listens(self.pid(), self.port).then_some(()));
    }

    /// The path of a file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Adds lines to the configuration of the clients.
    pub fn configure_client(&self, lines: &str) {
        let path = self.path("ssh-config");
        let config = fs::read_to_string(&path).unwrap() + lines;
        fs::write(path, config).unwrap();
    }

    /// Puts options before the key in authorized_keys.
    pub fn restrict_key(&self, options: &str) {
        let key = fs::read_to_string(self.path("key.pub")).unwrap();
        fs::write(self.path("authorized-keys"), format!("{options} {key}")).unwrap();
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it has been started, and not been stopped since.
    pub fn is_up(&self) -> bool {
        self.child.is_some()
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().expect("sshd is stopped").id()).unwrap()
    }

    /// Whether somebody listens on this port where it runs.
    pub fn listens(&self, port: u16) -> bool {
        listens(self.pid(), port)
    }

    /// Sends it a signal, but not to its sessions.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// The processes of its sessions, the session's own last.
    pub fn sessions(&self) -> Vec<i32> {
        fn below(pid: i32, all: &mut Vec<i32>) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            for child in children.split_whitespace().map(|child| child.parse().unwrap()) {
                all.push(child);
                below(child, all);
            }
        }
        let mut all = Vec::new();
        below(self.pid(), &mut all);
        all
    }

    /// Sends a signal to the processes of all sessions, and returns their pids.
    pub fn signal_sessions(&self, signal: Signal) -> Vec<i32> {
        let sessions = self.sessions();
        for pid in &sessions {
            let _ = kill(Pid::from_raw(*pid), signal);
        }
        sessions
    }

    /// Ends it and all of its sessions.
    pub fn stop(&mut self) {
        if self.child.is_some() {
            let sessions = self.sessions();
            let mut child = self.child.take().unwrap();
            end(&mut child);
            for pid in sessions {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }

    /// An autossh that runs a real ssh to it, through the scripted one, which records how it was started.
    pub fn autossh<Word: AsRef<str>>(&self, args: &[Word]) -> Autossh {
        let args = args.iter().map(|word| word.as_ref().replace("HOST", &self.address));
        self.prepared(Autossh::run_by(&self.client_before, args, "real"))
    }

    /// Any command that runs autossh, prepared in the same way.
    pub fn run_as<Word: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = Word>) -> Autossh {
        self.prepared(Autossh::run_as(words, "real"))
    }

    fn prepared(&self, autossh: Autossh) -> Autossh {
        let real = format!("/usr/bin/ssh -F {}", self.path("ssh-config").display());
        autossh.env("SCRIPTED_SSH_REAL", real).env("AUTOSSH_PATH", scripted_ssh())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("sshd-log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the last of sshd's log:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        self.stop();
    }
}
