//! autossh: starts ssh, monitors it, and restarts it when it exits or stops passing traffic.
//!
//! [`app`] is what happens from start to exit; `main` itself is in [`sys::entry`].

#![cfg_attr(not(test), no_main)]

mod app;
mod config;
mod log;
mod monitor;
mod session;
mod ssh;
mod status;
mod supervisor;
mod sys;
mod text;

#[cfg(test)]
#[path = "../tests/cases.rs"]
mod cases;
