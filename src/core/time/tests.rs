use super::*;

/// A reading `now` seconds after boot, of which the machine was awake for `awake` seconds.
fn at(now: u64, awake: u64) -> Reading {
    Reading { now: Duration::from_secs(now), awake: Duration::from_secs(awake) }
}

#[test]
fn eight_hours_of_suspend_are_noticed_once() {
    const HOURS: u64 = 8 * 3600;
    let mut watch = SleepWatch::new(at(1000, 900));
    assert!(!watch.slept(at(1010, 910)));
    assert!(watch.slept(at(1020 + HOURS, 920)));
    assert!(!watch.slept(at(1030 + HOURS, 930)));
    assert!(watch.slept(at(1040 + 2 * HOURS, 940)));
    // A second is enough, and a suspend before the start is none of ours.
    assert!(SleepWatch::new(at(1000, 900)).slept(at(1011, 910)));
    assert!(SleepWatch::new(at(5 + HOURS, 5)).slept(at(12 + HOURS, 10)));
    assert!(!SleepWatch::new(at(5 + HOURS, 5)).slept(at(10 + HOURS, 10)));
}

#[test]
fn a_pause_between_the_two_readings_is_no_suspend() {
    let mut watch = SleepWatch::new(at(1000, 1000));
    // The second clock was read two seconds later than the first.
    assert!(!watch.slept(at(1000, 1002)));
    assert!(!watch.slept(at(1010, 1010)));
}

#[test]
fn a_clock_without_suspend_never_says_so() {
    let mut watch = SleepWatch::new(at(5, 5));
    assert!((6..100).all(|now| !watch.slept(at(now, now))));
}

#[test]
fn times_have_one_decimal() {
    let second = Duration::from_secs(1);
    let millisecond = Duration::from_millis(1);
    for (time, unit, text) in [
        (Duration::ZERO, second, "0.0"),
        (Duration::from_millis(2_049), second, "2.0"),
        (Duration::from_millis(2_050), second, "2.0"),
        (Duration::from_millis(2_100), second, "2.1"),
        (Duration::from_micros(1_234), millisecond, "1.2"),
        (Duration::from_secs(2_147_483_647), second, "2147483647.0"),
    ] {
        assert_eq!(in_units(time, unit), text);
    }
}
