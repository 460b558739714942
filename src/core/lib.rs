//! autossh's decisions: what each event leads to, as a function of the rules, the state and the time.
//!
//! The core knows no clock, socket, file or process, by construction: it is a crate without the standard library
//! (`no_std`) and without unsafe code, and a test compiles it without any other crate.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod backoff;
pub mod event;
pub mod exit_policy;
pub mod forwards;
pub mod health;
pub mod level;
pub mod link;
pub mod machine;
pub mod messages;
pub mod outage;
pub mod rules;
pub mod state;
pub mod test_schedule;
pub mod time;
pub mod timers;

#[cfg(test)]
#[path = "../../tests/cases.rs"]
mod cases;
