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
    let (seconds, years) = fold(since.as_secs());
    // Unlike localtime_r(3), it has to check the zone.
    // SAFETY: the pointer is to a value that outlives the call.
    let time = unsafe { libc::localtime(&raw const seconds) };
    // SAFETY: null, or a `tm` that stays as it is until the next call; we have one thread.
    let mut time = unsafe { time.as_ref() }.copied()?;
    time.tm_year = time.tm_year.checked_add(years)?;
    Some(time)
}

/// A moment that the C library's `time_t` can hold, and how many years later the real one is: after 2038, where a `time_t`
/// has 32 bits. The calendar repeats itself every 28 years, until 2100.
fn fold<Seconds: TryFrom<u64> + Default>(mut seconds: u64) -> (Seconds, i32) {
    const YEARS: i32 = 28;
    const CYCLE: u64 = (28 * 365 + 7) * 24 * 60 * 60;
    let mut years = 0_i32;
    loop {
        match seconds.try_into() {
            Ok(seconds) => return (seconds, years),
            Err(_) if seconds < CYCLE => return (Seconds::default(), years),
            Err(_) => {
                seconds = seconds.saturating_sub(CYCLE);
                years = years.saturating_add(YEARS);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_time_has_32_bits_the_calendar_goes_on_after_2038() {
        for (seconds, folded) in [(0, (0_i32, 0)), (0x7fff_ffff, (0x7fff_ffff, 0)), (0x8000_0000, (1_263_870_848, 28))]
        {
            assert_eq!(fold::<i32>(seconds), folded);
            assert_eq!(fold::<i64>(seconds).1, 0);
        }
        // 2038-01-19, 2040-02-29, 2066-03-01, 2099-12-31: the same but for the year.
        for seconds in [2_147_483_648, 2_214_000_000, 3_034_000_000, 4_102_400_000] {
            let (folded, years) = fold::<i32>(seconds);
            let right = broken_down(Duration::from_secs(seconds)).unwrap();
            let folded = broken_down(Duration::from_secs(u64::try_from(folded).unwrap())).unwrap();
            let key =
                |time: libc::tm| (time.tm_mon, time.tm_mday, time.tm_wday, time.tm_hour, time.tm_min, time.tm_sec);
            assert_eq!(key(folded), key(right));
            assert_eq!(folded.tm_year + years, right.tm_year);
        }
    }
}
