//! The tracer: every system call of every process passes here twice, when it is entered and when it returns.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::process::{Command, exit};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// close(2).
const CLOSE: u64 = libc::SYS_close as u64;

/// The system call that is to fail.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fault {
    process: usize,
    call: u64,
    nth: usize,
    /// All that follow fail too.
    lasting: bool,
    errno: u64,
}

impl Fault {
    fn parse(text: &OsString) -> Option<Fault> {
        let text = text.to_str().filter(|text| *text != "-")?;
        let parts: Vec<&str> = text.split(':').collect();
        let [process, call, nth, errno] = parts[..].try_into().expect("PROCESS:CALL:NTH:ERRNO");
        let number = |text: &str| text.parse::<usize>().expect("a number");
        Some(Fault {
            process: number(process),
            call: number(call) as u64,
            nth: number(nth.trim_end_matches('+')),
            lasting: nth.ends_with('+'),
            errno: number(errno) as u64,
        })
    }

    fn hits(&self, process: usize, call: u64, nth: usize) -> bool {
        (self.process, self.call) == (process, call) && (nth == self.nth || self.lasting && nth > self.nth)
    }
}

/// A process that is traced.
struct Process {
    number: usize,
    /// How often it has made each call.
    counts: HashMap<u64, usize>,
    /// It is in a call.
    inside: bool,
    /// The call that it is in fails with this.
    failing: Option<u64>,
}

struct Injector {
    trace: File,
    fault: Option<Fault>,
    processes: HashMap<Pid, Process>,
    forked: usize,
}

/// Runs the program that the arguments name, and traces it to its end.
pub fn main() {
    let mut args = std::env::args_os().skip(1);
    let trace = File::create(args.next().expect("no TRACE")).unwrap();
    let fault = Fault::parse(&args.next().expect("no fault"));
    let mut command = Command::new(args.next().expect("no program"));
    command.args(args);
    #[allow(unsafe_code, reason = "only the child itself can ask to be traced")]
    // SAFETY: ptrace(2) is async-signal-safe.
    unsafe {
        command.pre_exec(|| Ok(ptrace::traceme()?));
    }
    let first = Pid::from_raw(i32::try_from(command.spawn().unwrap().id()).unwrap());
    // It stops at its exec.
    waitpid(first, None).unwrap();
    let forks = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
    let exec = Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(first, forks | exec).unwrap();
    let mut injector = Injector { trace, fault, processes: HashMap::new(), forked: 0 };
    injector.add(first);
    let _ = ptrace::syscall(first, None);
    exit(injector.run());
}

impl Injector {
    /// Follows all processes to their ends. Returns the status of the first.
    fn run(&mut self) -> i32 {
        let mut first = 0;
        loop {
            // A process that is killed meanwhile cannot be resumed, and is heard of next time.
            let _ = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::PtraceSyscall(pid)) => self.call(pid).and_then(|()| ptrace::syscall(pid, None)),
                Ok(WaitStatus::PtraceEvent(pid, _, event)) if event == Event::PTRACE_EVENT_EXEC as i32 => {
                    let number = self.processes.remove(&pid).map(|process| process.number);
                    self.note("exec", number, "");
                    ptrace::detach(pid, None)
                }
                Ok(WaitStatus::PtraceEvent(pid, ..)) => ptrace::syscall(pid, None),
                Ok(WaitStatus::Stopped(pid, Signal::SIGSTOP)) if !self.processes.contains_key(&pid) => {
                    self.add(pid);
                    ptrace::syscall(pid, None)
                }
                Ok(WaitStatus::Stopped(pid, signal)) => ptrace::syscall(pid, signal),
                Ok(WaitStatus::Exited(pid, status)) => {
                    self.end(pid, status, &mut first);
                    Ok(())
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.end(pid, 128 + signal as i32, &mut first);
                    Ok(())
                }
                Ok(_) | Err(Errno::EINTR) => Ok(()),
                Err(_) => return first,
            };
        }
    }

    fn add(&mut self, pid: Pid) {
        let process = Process { number: self.forked, counts: HashMap::new(), inside: false, failing: None };
        self.note("pid", Some(self.forked), &pid.to_string());
        self.processes.insert(pid, process);
        self.forked += 1;
    }

    fn end(&mut self, pid: Pid, status: i32, first: &mut i32) {
        let Some(process) = self.processes.remove(&pid) else { return };
        self.note("end", Some(process.number), &status.to_string());
        if process.number == 0 {
            *first = status;
        }
    }

    /// A process enters or leaves a system call.
    fn call(&mut self, pid: Pid) -> nix::Result<()> {
        let Some(process) = self.processes.get_mut(&pid) else { return Ok(()) };
        process.inside = !process.inside;
        if !process.inside && process.failing.is_none() {
            return Ok(());
        }
        let mut registers = ptrace::getregs(pid)?;
        if let Some(errno) = process.failing.take() {
            registers.rax = errno.wrapping_neg();
            return ptrace::setregs(pid, registers);
        }
        let call = registers.orig_rax;
        let count = process.counts.entry(call).or_default();
        *count += 1;
        let (number, nth) = (process.number, *count);
        let fails = self.fault.filter(|fault| fault.hits(number, call, nth));
        process.failing = fails.map(|fault| fault.errno);
        // Descriptors, signals, requests: what else is in there does not matter.
        let args = [registers.rdi, registers.rsi].map(|arg| arg & u64::from(u32::MAX));
        self.note("call", Some(number), &format!("{call} {} {}", args[0], args[1]));
        if fails.is_some() {
            self.note("fault", None, "");
            // close(2) lets go of the descriptor whatever it returns. Any other call is not made at all.
            if call != CLOSE {
                registers.orig_rax = u64::MAX;
                ptrace::setregs(pid, registers)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, what: &str, process: Option<usize>, more: &str) {
        let process = process.map(|number| number.to_string()).unwrap_or_default();
        let line = format!("{what} {process} {more}");
        writeln!(self.trace, "{}", line.trim_end()).unwrap();
    }
}
