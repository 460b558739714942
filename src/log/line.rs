//! How a line looks in each of the log's targets. Lines are allocated once with their final size, so that a log that is
//! written for years does not fragment the heap.

use std::time::SystemTime;

use crate::sys::local_time::local;

/// In a file: `YYYY/MM/DD HH:MM:SS autossh[PID]: text`.
pub fn for_file(time: SystemTime, text: &str) -> String {
    [&stamp(time), " ", &ident(), text, "\n"].concat()
}

/// For syslogd, as syslog(3) writes it: `<priority>Mmm dd HH:MM:SS autossh[PID]: text`, in local time and without a
/// host name.
pub fn for_syslog(priority: u8, time: SystemTime, text: &str) -> String {
    ["<", &priority.to_string(), ">", &short_stamp(time), " ", &ident(), text].concat()
}

/// On stderr: `autossh[PID]: text`.
pub fn for_stderr(text: &str) -> String {
    [&ident(), text, "\n"].concat()
}

fn ident() -> String {
    ["autossh[", &std::process::id().to_string(), "]: "].concat()
}

/// A time in local time: `YYYY/MM/DD HH:MM:SS`.
pub fn stamp(time: SystemTime) -> String {
    let Some(t) = local(time) else { return String::new() };
    let (year, month) = (t.tm_year.saturating_add(1900), t.tm_mon.saturating_add(1));
    format!("{year:04}/{month:02}/{:02} {:02}:{:02}:{:02}", t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec)
}

/// A time in local time: `Mmm dd HH:MM:SS`.
fn short_stamp(time: SystemTime) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Some(t) = local(time) else { return String::new() };
    let month = usize::try_from(t.tm_mon).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"Jan");
    format!("{month} {:2} {:02}:{:02}:{:02}", t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec)
}
