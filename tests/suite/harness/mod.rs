//! The tools of the cases: running autossh with a scripted ssh, looking at what that recorded, and waiting for conditions.

mod command;
mod process;
mod rest;
mod run;
mod running;
mod server;
mod start;

pub use command::{DOWNLOAD, end, has, output, output_of, output_of_within, output_within};
pub use process::{
    Held, child_of, has_connection_to, inherited_descriptors, inherited_ignored, install, install_script, is_gone,
    is_root, listens, needs, process_state, wait_greeting,
};
pub use rest::{all_of, cpu_time};
pub use run::{Autossh, disposing, injector, scripted_ssh};
pub use running::Running;
pub use server::{Hosts, Server, enter, inside};
pub use start::Start;

use std::fmt::Debug;
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// What autossh 1.4g does on a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The same, at the second attempt if necessary.
    Same,
    /// It differs, as the documents say or as our manual page says under DIFFERENCES: on purpose.
    Documented,
    /// It differs, and that is a defect of 1.4g. If it passes, the run fails.
    Defect,
    /// It differs at times, because of a race in 1.4g: neither outcome shows anything.
    Racy,
    /// It has nothing of the kind, so there is nothing to run.
    Beyond,
}

/// Defines test cases: `case!(name, Same, { ... });`
#[macro_export]
macro_rules! case {
    ($(#[$attribute:meta])* $name:ident, $reference:ident, $body:block) => {
        #[test]
        $(#[$attribute])*
        fn $name() {
            $crate::harness::case(stringify!($name), $crate::harness::Reference::$reference, || $body);
        }
    };
}

/// Defines a case for each row of a table: `table!(name, Same, [rows], |row| { ... });` The reference must differ on each
/// row, if it differs. Every row runs, whatever becomes of the others.
#[macro_export]
macro_rules! table {
    ($name:ident, $reference:ident, $rows:expr, |$row:pat_param| $body:block) => {
        #[test]
        fn $name() {
            let mut failed = Vec::new();
            for row in $rows {
                let name = format!("{} {row:?}", stringify!($name));
                let $row = row;
                let case = || $crate::harness::case(&name, $crate::harness::Reference::$reference, || $body);
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(case)).is_err() {
                    failed.push(name);
                }
            }
            assert!(failed.is_empty(), "rows failed: {failed:#?}");
        }
    };
}

/// The program under test, if it is not our own.
fn other_program() -> Option<PathBuf> {
    let program = std::env::var_os("AUTOSSH_UNDER_TEST")?;
    // The cases run it in their own directories.
    Some(std::path::absolute(&program).unwrap_or(program.into()))
}

/// Whether we test our own program.
pub fn is_ours() -> bool {
    other_program().is_none()
}

/// The program under test. Our own may be another build of it: `AUTOSSH_BINARY`.
pub fn program() -> PathBuf {
    let ours = || std::env::var_os("AUTOSSH_BINARY").map(|path| std::path::absolute(&path).unwrap_or(path.into()));
    other_program().or_else(ours).unwrap_or_else(|| env!("CARGO_BIN_EXE_autossh").into())
}

/// Runs a case; if the reference differs, it must fail there.
pub fn case(name: &str, reference: Reference, body: impl Fn()) {
    let on_reference = !is_ours();
    let differs = on_reference && reference != Reference::Same;
    if differs && reference == Reference::Beyond {
        eprintln!("{name}: nothing of the kind in the reference");
        return;
    }
    EXPECT_FAILURE.set(differs);
    let mut outcome = catch_unwind(AssertUnwindSafe(&body));
    EXPECT_FAILURE.set(false);
    if outcome.is_err() && on_reference && !differs {
        // In races of its own it loses signals, and the exit of an ssh that ends at once. Ours gets no second attempt.
        eprintln!("{name}: the reference has failed, once more");
        outcome = catch_unwind(AssertUnwindSafe(&body));
    }
    match outcome {
        Ok(()) if differs && reference != Reference::Racy => {
            panic!("{name}: the reference is said to differ ({reference:?}), but does not")
        }
        Err(panic) if !differs => {
            eprintln!("failed: {name}");
            resume_unwind(panic);
        }
        Ok(()) | Err(_) => {}
    }
}

std::thread_local! {
    /// The running case is expected to fail, so it should not wait for long.
    static EXPECT_FAILURE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// How long a case waits for a condition. Much longer than it takes: the machine may be busy.
pub fn limit() -> Duration {
    if EXPECT_FAILURE.get() { Duration::from_secs(3) } else { Duration::from_secs(30) }
}

/// Waits until `condition` returns something, and returns that.
pub fn wait_for<T>(what: impl Debug, condition: impl FnMut() -> Option<T>) -> T {
    wait_within(limit(), what, condition)
}

/// Waits until `condition` returns something, for at most `limit`.
pub fn wait_within<T>(limit: Duration, what: impl Debug, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for a connection, whose reads then have a deadline too.
pub fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let stream = wait_for("a connection", || listener.accept().ok().map(|(stream, _)| stream));
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(limit())).unwrap();
    stream
}

/// Lets time pass: what is looked at is what does not happen in it.
pub fn pass(seconds: u64) {
    let start = Instant::now();
    wait_within(Duration::from_secs(seconds * 2), "time to pass", || {
        (start.elapsed() >= Duration::from_secs(seconds)).then_some(())
    });
}

/// The first of the ports that are this process's, until it ends: other tests may run beside it.
static PORTS: LazyLock<(u16, UnixListener)> = LazyLock::new(|| {
    wait_for("ports that no other test has", || {
        (2_000..9_000).step_by(500).find_map(|first| {
            let name = SocketAddr::from_abstract_name(format!("autossh-tests-{first}")).unwrap();
            Some((first, UnixListener::bind_addr(&name).ok()?))
        })
    })
});

/// Two free ports, the second above the first, for `-M`. Below the range that automatic ports are picked from.
pub fn port_pair() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    wait_for("two free ports", || {
        let port = PORTS.0 + NEXT.fetch_add(2, Ordering::Relaxed) % 500;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        (free(port) && free(port + 1)).then_some(port)
    })
}
