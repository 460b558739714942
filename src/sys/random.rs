//! Random numbers, from the kernel.

use std::time::Duration;

/// 64 random bits that cannot be guessed.
///
/// If the kernel has none, which is possible only early in the boot, they come from the pid and the clock.
#[expect(unsafe_code, reason = "nix has no getrandom(2)")]
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the pointer and the length are those of `bytes`, and any bytes are a valid value of it.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    if count == 8 {
        return u64::from_ne_bytes(bytes);
    }
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::from(time.subsec_nanos()).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(std::process::id())
}
