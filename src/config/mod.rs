//! The command line and the environment, parsed and checked.

pub mod cli;
pub mod settings;
pub mod ssh_options;
