use super::*;

const START: Time = secs(1_000_000);
const PASSED: Outcome = Outcome::Passed { round_trip_us: 5 };

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn failed(failure: Failure) -> Outcome {
    Outcome::Failed(failure, "how".into())
}

fn health(monitoring: Monitoring) -> Health {
    Health::new(&Rules { monitoring, ..Rules::default() })
}

const LOOP: Monitoring = Monitoring::Loop { port: 5 };
const AUTOMATIC: Monitoring = Monitoring::Automatic;
/// ExitOnForwardFailure has ended ssh.
const COST: ChildExit = ChildExit::Status(255);

/// The `trigger`s test of a new ssh ends like that. Returns what follows, and the warnings.
fn test(health: &mut Health, trigger: TestTrigger, outcome: &Outcome) -> (Verdict, Vec<String>) {
    let (verdict, actions) = tested(health, trigger, outcome);
    (verdict, warnings(actions))
}

/// The same with all actions.
fn tested(health: &mut Health, trigger: TestTrigger, outcome: &Outcome) -> (Verdict, Vec<Action>) {
    let mut actions = Vec::new();
    health.started(START, trigger == TestTrigger::Early);
    let now = match trigger {
        TestTrigger::Early => START + secs(1),
        TestTrigger::Change => {
            health.tests.as_mut().unwrap().schedule.changed(START + secs(2));
            START + secs(3)
        }
        TestTrigger::Regular => START + secs(600),
    };
    // An automatic monitor makes early tests too; this one is about another.
    if trigger == TestTrigger::Change {
        health.tests.as_mut().unwrap().schedule.passed();
    }
    assert_eq!(health.take(now), Some(trigger));
    let verdict = health.tested(outcome, now, &mut actions);
    (verdict, actions)
}

fn warnings(actions: Vec<Action>) -> Vec<String> {
    let text = |action| match action {
        Action::Log(Level::Warning, text) => Some(text),
        _ => None,
    };
    actions.into_iter().filter_map(text).collect()
}

/// What a failed test means: by monitor, whether one has passed before, why it was made, and how it failed.
#[test]
fn what_a_failure_means() {
    use Failure::{Closed, Foreign, Garbled, NoListener, Silent};
    use TestTrigger::{Change, Early, Regular};
    use Verdict::{Down, Nothing};
    for (monitoring, proven, trigger, failure, verdict) in [
        (LOOP, false, Regular, NoListener, Down),
        (LOOP, false, Regular, Closed, Down),
        (LOOP, false, Regular, Silent, Down),
        (LOOP, false, Regular, Garbled, Down),
        (LOOP, false, Regular, Foreign, Down),
        (LOOP, false, Change, NoListener, Nothing),
        (LOOP, false, Change, Closed, Down),
        (LOOP, false, Change, Silent, Down),
        (LOOP, false, Early, NoListener, Nothing),
        (LOOP, false, Early, Closed, Nothing),
        (LOOP, true, Early, Silent, Nothing),
        (LOOP, true, Regular, Silent, Down),
        (LOOP, true, Change, NoListener, Nothing),
        (AUTOMATIC, false, Regular, NoListener, Nothing),
        (AUTOMATIC, false, Regular, Closed, Nothing),
        (AUTOMATIC, false, Regular, Silent, Nothing),
        (AUTOMATIC, false, Regular, Foreign, Nothing),
        (AUTOMATIC, true, Regular, NoListener, Down),
        (AUTOMATIC, true, Regular, Silent, Down),
        (AUTOMATIC, true, Change, NoListener, Nothing),
        (AUTOMATIC, true, Change, Closed, Down),
    ] {
        let mut health = health(monitoring);
        if proven {
            assert_eq!(test(&mut health, Regular, &PASSED).0, Verdict::Healthy);
        }
        let case = format!("{monitoring:?}, proven: {proven}, {trigger:?}, {failure:?}");
        assert_eq!(test(&mut health, trigger, &failed(failure)).0, verdict, "{case}");
    }
}

/// A listener of another user's is a warning, and no reason for advice; the rest matters as much as what follows.
#[test]
fn how_a_failure_is_logged() {
    use TestTrigger::{Change, Early, Regular};
    let early = "early connection test failed: how";
    for (monitoring, trigger, failure, level, text) in [
        (LOOP, Regular, Failure::Silent, Level::Info, "how"),
        (LOOP, Regular, Failure::Foreign, Level::Warning, "how"),
        (LOOP, Change, Failure::NoListener, Level::Debug, "ssh is still logging in: how"),
        (AUTOMATIC, Regular, Failure::Silent, Level::Debug, "how"),
        (AUTOMATIC, Regular, Failure::Foreign, Level::Warning, "how"),
        (AUTOMATIC, Early, Failure::Silent, Level::Debug, early),
        (AUTOMATIC, Early, Failure::Foreign, Level::Warning, early),
    ] {
        let (verdict, actions) = tested(&mut health(monitoring), trigger, &failed(failure));
        let case = format!("{monitoring:?}, {trigger:?}, {failure:?}");
        assert_eq!(actions[0], Action::Log(level, text.into()), "{case}");
        let advice = failure == Failure::Silent && trigger == Regular;
        let advice = advice.then(|| Action::warning(messages::never_passed(monitoring, failure)));
        assert_eq!(actions.get(1).filter(|action| matches!(action, Action::Log(Level::Warning, _))), advice.as_ref());
        let down = Action::info("port down, restarting ssh");
        assert_eq!(actions.last() == Some(&down), verdict == Verdict::Down, "{case}");
    }
    // Advice fits no stranger, however often he comes.
    let mut proven = health(LOOP);
    test(&mut proven, Regular, &PASSED);
    for _ in 0..3 {
        assert_eq!(test(&mut proven, Regular, &failed(Failure::Foreign)).1, ["how"]);
    }
    let passed = [Action::TouchPidFile, Action::debug("connection ok")];
    assert_eq!(tested(&mut health(LOOP), Regular, &PASSED).1, passed);
    let left_out = Action::warning("connection test left out: no socket");
    assert_eq!(tested(&mut health(LOOP), Regular, &Outcome::Impossible("no socket".into())).1, [left_out]);
}

#[test]
fn a_refused_forward_of_the_monitor_is_logged_once_until_a_test_passes() {
    let refused = |health: &mut Health| {
        let mut actions = Vec::new();
        health.forward_refused(&mut actions);
        actions
    };
    let mut health = health(LOOP);
    assert_eq!(refused(&mut health), [], "there is no ssh");
    for _ in 0..2 {
        health.started(START, false);
        assert_eq!(refused(&mut health), [Action::warning(messages::forward_refused(LOOP))]);
        assert_eq!(refused(&mut health), []);
        health.started(START, false);
        assert_eq!(refused(&mut health), [], "the next ssh's");
        test(&mut health, TestTrigger::Regular, &PASSED);
    }
}

#[test]
fn the_first_test_that_an_ssh_passes_makes_it_healthy() {
    let mut health = health(AUTOMATIC);
    assert!(!health.has_consequence());
    assert_eq!(test(&mut health, TestTrigger::Regular, &PASSED).0, Verdict::Healthy);
    assert!(health.has_consequence());
    assert_eq!(health.take(START + secs(1200)), Some(TestTrigger::Regular));
    assert_eq!(health.tested(&PASSED, START + secs(1200), &mut Vec::new()), Verdict::Nothing);
    // The next ssh has to show it anew.
    assert_eq!(test(&mut health, TestTrigger::Regular, &PASSED).0, Verdict::Healthy);
}

#[test]
fn what_has_never_passed_is_explained_once_for_each_kind() {
    let mut health = health(LOOP);
    for (failure, count) in [
        (Failure::Closed, 1),
        (Failure::Closed, 1), // Another one: session after session.
        (Failure::NoListener, 1),
        (Failure::NoListener, 0),
        (Failure::Silent, 1),
        (Failure::Silent, 0),
    ] {
        assert_eq!(test(&mut health, TestTrigger::Regular, &failed(failure)).1.len(), count, "{failure:?}");
    }
}

#[test]
fn a_port_that_is_held_is_explained_once_until_a_test_passes() {
    let mut health = health(LOOP);
    test(&mut health, TestTrigger::Regular, &PASSED);
    for _ in 0..2 {
        let (_, first) = test(&mut health, TestTrigger::Regular, &failed(Failure::Silent));
        assert!(first.len() == 1 && first[0].contains("still held"), "{first:?}");
        let (_, second) = test(&mut health, TestTrigger::Regular, &failed(Failure::Silent));
        assert_eq!(second, [messages::SHARED], "session after session");
        assert_eq!(test(&mut health, TestTrigger::Regular, &failed(Failure::Silent)).1.len(), 0);
        test(&mut health, TestTrigger::Regular, &PASSED);
    }
    // Where nobody listens here the server's port is no explanation.
    assert_eq!(test(&mut health, TestTrigger::Regular, &failed(Failure::NoListener)).1.len(), 0);
}

#[test]
fn sessions_that_fail_their_first_test_are_counted_in_a_row() {
    let mut health = health(LOOP);
    test(&mut health, TestTrigger::Regular, &PASSED);
    // One that has passed a test before is none of them.
    for _ in 0..5 {
        test(&mut health, TestTrigger::Regular, &PASSED);
        health.take(START + secs(1200));
        let mut actions = Vec::new();
        assert_eq!(health.tested(&failed(Failure::Silent), START + secs(1200), &mut actions), Verdict::Down);
        assert_eq!(warnings(actions).len(), 0);
        // Neither is the single one after it.
        assert_eq!(test(&mut health, TestTrigger::Regular, &failed(Failure::NoListener)).1.len(), 0);
    }
    test(&mut health, TestTrigger::Regular, &PASSED);
    test(&mut health, TestTrigger::Regular, &failed(Failure::NoListener));
    test(&mut health, TestTrigger::Regular, &PASSED);
    let (_, after_a_pass) = test(&mut health, TestTrigger::Regular, &failed(Failure::NoListener));
    assert_eq!(after_a_pass.len(), 0, "the count began anew");
}

/// An automatic forward that was refused and has cost the session is left out after two of them in a row.
#[test]
fn refusals_that_cost_the_session() {
    let ended = |health: &mut Health, refused: bool, exit: ChildExit| {
        health.started(START, false);
        let mut actions = Vec::new();
        if refused {
            health.forward_refused(&mut actions);
        }
        health.ended(exit, &mut actions);
        let given_up = actions.contains(&Action::CloseMonitor);
        assert_eq!(actions.contains(&Action::warning(messages::WITHOUT_MONITOR)), given_up);
        given_up
    };
    for (first, second, given_up) in [
        ((true, COST), (true, COST), true),
        ((true, COST), (false, COST), false),
        ((true, ChildExit::Status(1)), (true, COST), false),
        ((true, ChildExit::Signal(9)), (true, COST), false),
    ] {
        let mut health = health(AUTOMATIC);
        assert!(!ended(&mut health, first.0, first.1));
        assert_eq!(ended(&mut health, second.0, second.1), given_up, "{first:?} {second:?}");
        assert_eq!(health.is_monitored(), !given_up);
    }
    // What was asked for, or has passed a test, stays.
    for monitoring in [LOOP, AUTOMATIC] {
        let mut health = health(monitoring);
        ended(&mut health, true, COST);
        test(&mut health, TestTrigger::Regular, &PASSED);
        for _ in 0..5 {
            assert!(!ended(&mut health, true, COST));
        }
    }
}

#[test]
fn a_test_that_cannot_be_made_is_no_failure_and_the_next_one_comes_later() {
    let impossible = Outcome::Impossible("no socket".into());
    for trigger in [TestTrigger::Early, TestTrigger::Change, TestTrigger::Regular] {
        let mut health = health(LOOP);
        let (verdict, warnings) = test(&mut health, trigger, &impossible);
        assert_eq!((verdict, warnings.len()), (Verdict::Nothing, 1), "{trigger:?}");
        let now = START + secs(if trigger == TestTrigger::Regular { 600 } else { 3 });
        assert!(health.due().unwrap() > START + secs(1), "{trigger:?}: at once, again and again");
        assert!(trigger == TestTrigger::Early || health.due().unwrap() > now, "{trigger:?}");
    }
}

#[test]
fn network_changes_matter_where_a_failure_does() {
    for (monitoring, proven, matter) in
        [(LOOP, false, true), (AUTOMATIC, false, false), (AUTOMATIC, true, true), (Monitoring::Off, false, false)]
    {
        let mut health = health(monitoring);
        health.proven = proven;
        health.started(START, false);
        assert_eq!(health.network_changed(START + secs(5)), matter, "{monitoring:?}, proven: {proven}");
    }
}

/// For half a minute ssh may be logging in, or asking for a password.
#[test]
fn early_failures_are_explained_when_they_have_lasted_and_somebody_listens() {
    for (failure, count) in [(Failure::NoListener, 0), (Failure::Closed, 1), (Failure::Silent, 1)] {
        let mut health = health(AUTOMATIC);
        health.started(START, false);
        let mut logged = Vec::new();
        while let Some(now) = health.due().filter(|due| *due < START + secs(100)) {
            assert_eq!(health.take(now), Some(TestTrigger::Early));
            let mut actions = Vec::new();
            health.tested(&failed(failure), now, &mut actions);
            let new = warnings(actions);
            assert!(new.is_empty() || now >= START + secs(30), "{failure:?}");
            logged.extend(new);
        }
        assert_eq!(logged.len(), count, "{failure:?}");
    }
}

#[test]
fn each_test_may_be_put_off_once_by_stops() {
    let mut health = health(LOOP);
    health.started(START, false);
    for due in [600, 1210] {
        let due = START + secs(due);
        let mut actions = Vec::new();
        health.resumed(false, due, &mut actions);
        health.resumed(false, due + secs(5), &mut actions);
        assert_eq!(health.due(), Some(due + secs(10)));
        assert_eq!(health.take(due + secs(10)), Some(TestTrigger::Regular));
        health.tested(&PASSED, due + secs(10), &mut actions);
    }
}

#[test]
fn a_test_that_is_interrupted_is_repeated() {
    for (trigger, begun) in [(TestTrigger::Regular, 600), (TestTrigger::Early, 1)] {
        let mut health = health(LOOP);
        health.started(START, trigger == TestTrigger::Early);
        let begun = START + secs(begun);
        assert_eq!(health.take(begun), Some(trigger));
        let mut actions = Vec::new();
        health.resumed(true, begun + secs(2), &mut actions);
        assert_eq!(actions, [Action::DropTest]);
        assert_eq!(health.due(), Some(begun + secs(12)));
        assert_eq!(health.take(begun + secs(12)), Some(trigger), "not as another one");
    }
}
