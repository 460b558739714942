//! Runs a program and makes one system call of it, or of a process that it forks, fail. strace(1) cannot say in which of
//! several processes, which decides what is tested here.
//!
//!     injector TRACE PROCESS:CALL:NTH:ERRNO program args...
//!     injector TRACE - program args...
//!
//! PROCESS counts from 0 in the order of the forks, CALL is the number of the system call, NTH counts the calls of that
//! number in that process from 1; with `NTH+` all that follow fail too. TRACE gets a line per event: `pid PROCESS PID`,
//! `call PROCESS CALL ARG ARG` with the lower halves of the first two arguments, `fault`, `exec PROCESS`, `end PROCESS
//! STATUS`. A process that executes another program is let go. The injector ends when no process is left that it traces,
//! with the status of the first one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test's tool that cannot go on should fail, and say so"
)]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tracer;

fn main() {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    tracer::main();
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    panic!("the registers of a system call are known for x86-64 alone");
}
