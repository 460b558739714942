//! The border to the system: each module wraps one of its facilities and decides nothing. [`system`] has what systems
//! offer in different ways.

pub mod clock;
pub mod daemon;
pub mod entry;
pub mod fd;
pub mod local_time;
pub mod outlet;
pub mod pidfile;
pub mod random;
pub mod retry;
pub mod sd_notify;
pub mod signals;
pub mod system;
pub mod tables;
pub mod terminal;
