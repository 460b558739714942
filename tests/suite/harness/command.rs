//! Commands that a case runs to their end, each with a deadline.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{is_gone, wait_within};

/// How long a command may take that just does its work. Much longer than it takes: the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a download may take.
pub const DOWNLOAD: Duration = Duration::from_secs(300);

/// Runs a command to its end with nothing on stdin, and returns what it said. One that takes longer than a minute, or
/// leaves its output open for so long, is killed and fails the case.
pub fn output(command: &mut Command) -> Output {
    output_within(LIMIT, command)
}

/// The same with a limit of its own.
pub fn output_within(limit: Duration, command: &mut Command) -> Output {
    let deadline = Instant::now() + limit;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let (stdout, stderr) = (all_of(child.stdout.take().unwrap()), all_of(child.stderr.take().unwrap()));
    let mut take =
        |from: &Receiver<Vec<u8>>| match from.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => bytes,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                end(&mut child);
                panic!("after {limit:?} the output of {command:?} was still open");
            }
        };
    let (stdout, stderr) = (take(&stdout), take(&stderr));
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            end(&mut child);
            panic!("after {limit:?} {command:?} was still running");
        }
        thread::sleep(Duration::from_millis(2));
    };
    Output { status, stdout, stderr }
}

/// What a command says on stdout; it must succeed.
pub fn output_of(command: &mut Command) -> String {
    output_of_within(LIMIT, command)
}

/// The same with a limit of its own.
pub fn output_of_within(limit: Duration, command: &mut Command) -> String {
    let output = output_within(limit, command);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Whether there is a tool of this name.
pub fn has(tool: impl AsRef<OsStr>) -> bool {
    let mut command = Command::new(tool);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok_and(|mut child| {
        end(&mut child);
        true
    })
}

/// Kills a child, and waits for its end.
pub fn end(child: &mut Child) -> ExitStatus {
    let _ = child.kill();
    wait_within(LIMIT, format!("the end of {child:?}, which has got KILL"), || child.try_wait().unwrap())
}

fn all_of(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        // Nobody may wait any more.
        let _ = sender.send(bytes);
    });
    receiver
}

#[test]
fn a_command_that_hangs_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    for script in ["echo $$ >pid; exec sleep 1000", "echo $$ >pid; exec sleep 1000 >&- 2>&-"] {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(&directory);
        let run = AssertUnwindSafe(|| output_within(Duration::from_secs(1), &mut command));
        let panic = catch_unwind(run).unwrap_err().downcast::<String>().unwrap();
        assert!(panic.contains("sleep 1000"), "{panic}");
        assert!(is_gone(fs::read_to_string(&pid).unwrap().trim().parse().unwrap()));
    }
}
