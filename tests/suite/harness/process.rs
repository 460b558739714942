//! What can be seen of processes and connections from outside.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::{output_of, wait_for};

/// The state letter of a process, as in ps(1).
pub fn process_state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether a process is gone, or a zombie.
pub fn is_gone(pid: i32) -> bool {
    matches!(process_state(pid), None | Some('Z'))
}

/// The first child of a process.
pub fn child_of(pid: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Whether there is a connection to this port of the loopback interface.
pub fn has_connection_to(port: u16) -> bool {
    const ESTABLISHED: &str = "01";
    let remote = format!("0100007F:{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(2) == Some(&remote.as_str()) && fields.get(3) == Some(&ESTABLISHED)
    })
}

/// Whether this port is listened on in the network namespace of process `pid`.
pub fn listens(pid: i32, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let tables =
        ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines()).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1).is_some_and(|local| local.ends_with(&format!(":{port:04X}"))) && fields.get(3) == Some(&LISTEN)
    })
}

/// Whether a precondition of a case holds; a case that cannot run is named, and `tests/run.sh` lists those.
pub fn needs(what: &str, is_there: bool) -> bool {
    if !is_there {
        let name = std::thread::current().name().unwrap_or("a case").to_owned();
        eprintln!("not run: {name}: it needs {what}");
        if let Some(list) = std::env::var_os("AUTOSSH_TESTS_NOT_RUN") {
            use std::io::Write;
            let mut list = fs::File::options().append(true).create(true).open(list).unwrap();
            writeln!(list, "{name}: it needs {what}").unwrap();
        }
    }
    is_there
}

/// Whether we may make namespaces.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The descriptors above 2 that every child inherits, since the parent of the tests left them open.
pub fn inherited_descriptors() -> Vec<i32> {
    const CLOSE_ON_EXEC: i32 = 0o2_000_000;
    let numbers = fs::read_dir("/proc/self/fd").unwrap();
    let numbers = numbers.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let stays_open = |number: &i32| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim);
        flags.is_some_and(|flags| i32::from_str_radix(flags, 8).unwrap() & CLOSE_ON_EXEC == 0)
    };
    numbers.filter(|number| *number > 2).filter(stays_open).collect()
}

/// The signals that every child ignores, one bit each, since the parent of the tests did.
pub fn inherited_ignored() -> u64 {
    const PIPE: u64 = 1 << (libc::SIGPIPE - 1);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    // The tests' own, which their children do not get.
    u64::from_str_radix(ignored, 16).unwrap() & !PIPE
}

/// A process that the kernel does not let die: no parent hears of its death before we let go of it.
pub struct Held(Pid);

impl Held {
    /// Holds this process.
    #[allow(unsafe_code, reason = "nix has ptrace(2) only with a feature that our program does not need")]
    pub fn hold(pid: i32) -> Held {
        // SAFETY: the call takes no pointers.
        Errno::result(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) }).unwrap();
        Held(Pid::from_raw(pid))
    }

    /// Lets go of it; it must have been killed.
    pub fn release(self) {
        waitpid(self.0, Some(WaitPidFlag::__WALL)).unwrap();
    }
}

/// Waits until an sshd answers on this local port, as it does at the end of a working tunnel.
pub fn wait_greeting(port: u16) {
    wait_for(format!("an sshd behind port {port}"), || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut greeting = [0; 8];
        stream.read_exact(&mut greeting).ok()?;
        (greeting == *b"SSH-2.0-").then_some(())
    });
}

/// Installs `source` as a program. Another process writes it: otherwise a child that another thread forks meanwhile
/// would hold our descriptor open, and the program would be "busy".
pub fn install(source: &Path, program: &Path) {
    output_of(Command::new("install").args(["-m", "755"]).args([source, program]));
}

/// Installs `text` as a script.
pub fn install_script(text: &str, program: &Path) {
    let source = program.with_extension("source");
    fs::write(&source, text).unwrap();
    install(&source, program);
}
