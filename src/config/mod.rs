//! What the user has typed and set, read and checked.

pub mod cli;
pub mod settings;
