//! The behaviour of autossh, tested on the running binary.
//!
//! The cases run against `AUTOSSH_UNDER_TEST`, or our own binary if that is not set. The second argument of
//! a case says whether autossh 1.4g differs: see [`harness::Reference`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    clippy::unchecked_time_subtraction,
    reason = "a test that cannot go on should fail, and say so"
)]

mod harness;

mod attacks;
mod automatic;
mod background;
mod building;
mod clients;
mod command_line;
mod completions;
mod elsewhere;
mod ending;
mod environment;
mod examples;
mod faults;
mod forwards;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod inject;
mod logs;
mod monitor;
mod network;
mod packaging;
mod pages;
mod real;
mod rest;
mod roaming;
mod signals;
mod soak;
mod suspend;
mod systemd;
mod takeover;
mod terminal;
