//! The entry point: C's `main`, so that nothing has changed the signals before we look at them.
//!
//! Rust's own entry ignores SIGPIPE, which would hide its disposition at startup, and ssh must inherit that.

#![cfg_attr(test, expect(dead_code, reason = "tests have an entry of their own"))]

use std::ffi::{CStr, OsString, c_char, c_int};
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;

use crate::sys::signals::{self, Inherited};
use autossh_core::event::Exit;

/// C's `main`.
#[expect(unsafe_code, reason = "the name and the types are the system's")]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn main(count: c_int, args: *const *const c_char) -> c_int {
    let inherited = Inherited::take();
    open_standard_streams();
    let count = usize::try_from(count).unwrap_or_default();
    let args = match count {
        0 => &[],
        // SAFETY: the system passes `argc` pointers, which do not change.
        _ => unsafe { std::slice::from_raw_parts(args, count) },
    };
    let args = args.iter().skip(1).map(|arg| {
        // SAFETY: each is to a string that ends with a zero byte and lives as long as we do.
        OsString::from_vec(unsafe { CStr::from_ptr(*arg) }.to_bytes().to_vec())
    });
    match crate::app::run(args.collect(), inherited) {
        Exit::Status(status) => status,
        Exit::Signal(signal) => {
            signals::die_of(signal);
            128_i32.saturating_add(signal)
        }
    }
}

/// Opens `/dev/null` where stdin, stdout or stderr is closed, so that no file or socket of ours takes its number.
fn open_standard_streams() {
    const STANDARD: [RawFd; 3] = [0, 1, 2];
    for descriptor in STANDARD {
        if is_closed(descriptor) {
            // The lowest free number is the one that is missing. ssh gets it too, so it is not closed on exec.
            if let Ok(null) = open("/dev/null", OFlag::O_RDWR, Mode::empty()) {
                let _ = null.into_raw_fd();
            }
        }
    }
}

#[expect(unsafe_code, reason = "only the system knows which descriptors we were given")]
fn is_closed(descriptor: RawFd) -> bool {
    // SAFETY: the borrow ends with the question, which is whether there is such a descriptor.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    fcntl(borrowed, FcntlArg::F_GETFD) == Err(Errno::EBADF)
}
