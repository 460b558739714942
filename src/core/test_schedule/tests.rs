use super::*;

const START: Time = secs(1_000_000);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// First poll after 60 s, then every 600 s.
fn schedule(early: bool) -> Schedule {
    Schedule::new(START, secs(60), secs(600), early)
}

#[test]
fn regular_tests() {
    let mut tests = schedule(false);
    assert_eq!(tests.due(), START + secs(60));
    assert_eq!(tests.take(START + secs(59)), None);
    assert_eq!(tests.take(START + secs(60)), Some(TestTrigger::Regular));
    assert_eq!(tests.due(), START + secs(660));
}

#[test]
fn an_alarm_makes_the_next_test_due() {
    let mut tests = schedule(false);
    tests.run_now(START + secs(5));
    assert_eq!(tests.take(START + secs(5)), Some(TestTrigger::Regular));
    assert_eq!(tests.due(), START + secs(605));
}

#[test]
fn early_tests_grow_rare_until_one_passes() {
    let mut tests = Schedule::new(START, secs(600), secs(600), true);
    let mut times = Vec::new();
    for _ in 0..7 {
        let now = tests.due();
        let passed = now.saturating_sub(START);
        times.push(passed.as_secs());
        assert_eq!(tests.take(now), Some(TestTrigger::Early));
        // From the 30th second on it has gone on for long.
        assert_eq!(tests.early_failed(now), passed >= secs(30));
    }
    assert_eq!(times, [1, 2, 4, 8, 16, 32, 64]);
    tests.passed();
    assert_eq!(tests.due(), START + secs(600));
    for (millis, long) in [(29_999, false), (30_000, true)] {
        assert_eq!(schedule(true).early_failed(START + Duration::from_millis(millis)), long, "{millis}");
        assert!(!schedule(false).early_failed(START + Duration::from_millis(millis)), "it was no early test");
    }
}

#[test]
fn regular_tests_come_before_early_ones() {
    let mut tests = schedule(true);
    assert_eq!(tests.take(START + secs(60)), Some(TestTrigger::Regular));
}

#[test]
fn a_change_of_the_network_brings_the_test_forward() {
    let mut tests = schedule(false);
    let now = START + secs(10);
    assert!(tests.changed(now));
    assert_eq!(tests.due(), now + secs(1));
    // About a second after the last change …
    assert!(!tests.changed(now + Duration::from_millis(900)));
    assert_eq!(tests.due(), now + Duration::from_millis(1900));
    // ... but not delayed without limit.
    for second in 1..10 {
        tests.changed(now + secs(second));
    }
    assert_eq!(tests.due(), now + secs(5));
    assert_eq!(tests.take(now + secs(5)), Some(TestTrigger::Change));
    assert_eq!(tests.due(), now + secs(605));
}

#[test]
fn a_change_does_not_put_a_due_test_off() {
    let mut tests = schedule(false);
    tests.changed(START + Duration::from_millis(59_500));
    assert_eq!(tests.take(START + secs(60)), Some(TestTrigger::Regular));
    assert_eq!(tests.due(), START + secs(660), "the change is dealt with");
}

#[test]
fn after_a_sleep_an_overdue_test_waits_a_moment_or_for_the_network() {
    let wake = START + secs(8 * 3600);
    let mut tests = schedule(false);
    tests.resumed(true, wake, false);
    assert_eq!(tests.due(), wake + secs(10));
    tests.changed(wake + secs(2));
    assert_eq!(tests.due(), wake + secs(3));
}

#[test]
fn after_a_sleep_a_test_that_is_not_due_stays_where_it_was() {
    let mut tests = schedule(false);
    tests.resumed(true, START + secs(30), false);
    assert_eq!(tests.due(), START + secs(60));
}

#[test]
fn a_test_that_a_sleep_interrupted_is_made_again() {
    let mut tests = schedule(true);
    assert_eq!(tests.take(START + secs(60)), Some(TestTrigger::Regular));
    let wake = START + secs(100);
    tests.resumed(true, wake, true);
    assert_eq!(tests.due(), wake + secs(10));
}

#[test]
fn stops_and_continues_put_a_test_off_only_once() {
    let mut tests = schedule(false);
    let due = START + secs(60);
    assert!(tests.resumed(false, due, false));
    for half in 1..20 {
        assert!(!tests.resumed(false, due + Duration::from_millis(500 * half), false));
    }
    assert_eq!(tests.take(due + secs(10)), Some(TestTrigger::Regular));
    assert!(!tests.resumed(false, due + secs(11), true), "not while that one is under way either");
    assert!(tests.resumed(true, due + secs(12), true), "a sleep is another matter");
    assert_eq!(tests.take(due + secs(22)), Some(TestTrigger::Regular));
    tests.finished();
    assert!(tests.resumed(false, due + secs(700), false));
    assert_eq!(tests.due(), due + secs(710));
}

#[test]
fn a_test_that_showed_nothing_is_taken_back() {
    let mut tests = schedule(false);
    tests.changed(START);
    assert_eq!(tests.take(START + secs(1)), Some(TestTrigger::Change));
    tests.take_back();
    assert_eq!(tests.due(), START + secs(60));
}

#[test]
fn a_stop_that_delays_no_test_is_none_of_those() {
    let mut tests = schedule(true);
    for _ in 0..2 {
        assert!(tests.resumed(false, START.saturating_sub(secs(9)), false));
        assert_eq!(tests.due(), START + secs(1));
    }
    assert!(tests.resumed(false, START, false));
    assert_eq!(tests.due(), START + secs(10));
    assert!(!tests.resumed(false, START + secs(5), false));
}
