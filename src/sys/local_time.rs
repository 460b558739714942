//! Local time, which neither std nor nix offers.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

/// The time zone of the system, used if TZ is not set.
const ZONE: &str = "/etc/localtime";

/// Device, inode and modification time of the zone file.
type Version = (u64, u64, i64, i64);

/// The zone file that the C library has read. It caches that for the whole process, so this is as global.
static READ: Mutex<Option<Version>> = Mutex::new(None);

/// `time` in the current time zone; `None` if its year cannot be represented.
pub fn local(time: SystemTime) -> Option<libc::tm> {
    if env::var_os("TZ").is_none() {
        let now = fs::metadata(ZONE).ok().map(|file| (file.dev(), file.ino(), file.mtime(), file.mtime_nsec()));
        if READ.lock().is_ok_and(|mut read| std::mem::replace(&mut *read, now) != now) {
            forget_zone();
        }
    }
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    broken_down(since)
}

/// Makes the C library read the zone file again. glibc's localtime(3) checks the file itself; musl only reads it if TZ has
/// changed.
#[expect(unsafe_code, reason = "std calls changing the environment unsafe")]
fn forget_zone() {
    // SAFETY: we have one thread.
    unsafe { env::set_var("TZ", "UTC0") };
    broken_down(Duration::ZERO);
    // SAFETY: as above.
    unsafe { env::remove_var("TZ") };
}

#[expect(unsafe_code, reason = "localtime(3)")]
fn broken_down(since: Duration) -> Option<libc::tm> {
    let seconds = libc::time_t::try_from(since.as_secs()).ok()?;
    // Unlike localtime_r(3), it has to check the zone.
    // SAFETY: the pointer is to a value that outlives the call.
    let time = unsafe { libc::localtime(&raw const seconds) };
    // SAFETY: null, or a `tm` that stays as it is until the next call; we have one thread.
    unsafe { time.as_ref() }.copied()
}
