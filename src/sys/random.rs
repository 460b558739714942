//! Random numbers, from the kernel.

use std::time::Duration;

use crate::sys::system::random_bytes;

/// 64 random bits that cannot be guessed.
///
/// If the kernel has none, which is possible only early in the boot, they come from the pid and the clock.
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    if random_bytes(&mut bytes) {
        return u64::from_ne_bytes(bytes);
    }
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::from(time.subsec_nanos()).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(std::process::id())
}
