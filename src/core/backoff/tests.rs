use proptest::prelude::*;

use super::*;
use crate::cases::cases;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The wait without its jitter.
fn plain(poll: u64, tries: u32) -> Duration {
    wait(secs(poll), tries, 100)
}

#[test]
fn tries_count_quick_starts() {
    assert_eq!(tries(0, secs(0), secs(600)), 1);
    assert_eq!(tries(7, secs(59), secs(600)), 8);
    assert_eq!(tries(7, secs(60), secs(600)), 0);
    assert_eq!(tries(7, secs(9), secs(5)), 8);
    assert_eq!(tries(7, secs(10), secs(5)), 0);
    assert_eq!(tries(u32::MAX, secs(0), secs(600)), u32::MAX);
}

#[test]
fn waits() {
    for tries in 0..=5 {
        assert_eq!(plain(600, tries), Duration::ZERO, "{tries}");
    }
    // As observed with 1.4g.
    for (tries, seconds) in [(6, 2), (7, 8), (8, 18), (9, 32), (10, 50), (11, 72), (12, 98), (13, 128), (14, 162)] {
        assert_eq!(plain(600, tries), secs(seconds), "{tries}");
    }
    assert_eq!(plain(600, 22), secs(578));
    assert_eq!(plain(600, 23), secs(600));
    assert_eq!(plain(600, u32::MAX), secs(600));
    assert_eq!(plain(10, 6), secs(1));
    assert_eq!(plain(1, 6), secs(1));
    assert_eq!(plain(2_147_483_647, u32::MAX), secs(2_147_483_647));
}

#[test]
fn jitter_is_a_tenth_either_way() {
    assert_eq!(wait(secs(600), 10, 0), secs(45));
    assert_eq!(wait(secs(600), 10, 200), secs(55));
    assert_eq!(wait(secs(600), 10, 201), secs(45));
    assert_eq!(wait(secs(600), 30, 200), secs(600));
    assert_eq!(wait(secs(600), 30, 0), secs(540));
    assert_eq!(wait(secs(600), 6, 0), Duration::from_millis(1800));
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn a_wait_is_within_its_bounds(poll in 1_u64..=2_147_483_647, tries in 6_u32.., random: u64) {
        let wait = wait(secs(poll), tries, random);
        prop_assert!(wait >= secs(1) && wait <= secs(poll));
    }
}

#[test]
fn hold_offs_double_up_to_the_poll_time() {
    let mut hold_off = HoldOff::new(secs(100));
    assert_eq!(hold_off.until(), Time::ZERO);
    // Soon after the machine's start.
    let mut now = secs(5);
    for expected in [10, 20, 40, 80, 100, 100] {
        hold_off.arm(now);
        assert_eq!(hold_off.until(), now + secs(expected));
        now = hold_off.until();
    }
    hold_off.reset();
    assert_eq!(hold_off.until(), Time::ZERO);
    hold_off.arm(now);
    assert_eq!(hold_off.until(), now + secs(10));
}

#[test]
fn a_long_quiet_starts_the_hold_offs_over() {
    let mut hold_off = HoldOff::new(secs(100));
    hold_off.arm(secs(1000));
    hold_off.arm(secs(1010));
    assert_eq!(hold_off.until(), secs(1030));
    hold_off.arm(secs(1129));
    assert_eq!(hold_off.until(), secs(1169));
    hold_off.arm(secs(1269));
    assert_eq!(hold_off.until(), secs(1279));
}

#[test]
fn hold_offs_never_exceed_a_short_poll_time() {
    let mut hold_off = HoldOff::new(secs(3));
    hold_off.arm(secs(1000));
    assert_eq!(hold_off.until(), secs(1003));
}
