//! autossh: starts ssh, watches it, and starts it again when it dies or stops passing traffic.
//!
//! [`app`] is the order of things; `main` itself is in [`sys::entry`].

#![cfg_attr(not(test), no_main)]

mod app;
mod config;
mod log;
mod monitor;
mod ssh;
mod status;
mod supervisor;
mod sys;
mod text;
