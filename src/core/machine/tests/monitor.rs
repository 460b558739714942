//! What connection tests do (autossh(1), MONITORING).

use super::*;

#[test]
fn an_automatic_monitor_costs_nothing_before_it_has_passed() {
    let mut machine = running(rules(Monitoring::Automatic, |_| {}));
    assert_eq!(machine.network_relevant_from(), None);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(1)), [Action::Test(TestTrigger::Early)]);
    assert_eq!(acts(&mut machine, Event::Tested(FAILED), START + secs(2)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(600)), [Action::Test(TestTrigger::Regular)]);
    assert_eq!(acts(&mut machine, Event::Tested(FAILED), START + secs(630)), []);
    assert!(matches!(machine.state(), State::Running { .. }));

    assert_eq!(acts(&mut machine, Event::Tick, START + secs(1200)), [Action::Test(TestTrigger::Regular)]);
    assert_eq!(acts(&mut machine, Event::Tested(PASSED), START + secs(1201)), [Action::TouchPidFile]);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(1800)), [Action::Test(TestTrigger::Regular)]);
    assert_eq!(acts(&mut machine, Event::Tested(FAILED), START + secs(1830)), [Action::Term]);
}

#[test]
fn an_automatic_forward_that_costs_sessions_is_given_up() {
    let mut machine = running(rules(Monitoring::Automatic, no_gate));
    for number in 1..=2 {
        assert!(machine.is_monitored(), "{number}");
        machine.handle(Event::MonitorRefused, START);
        machine.handle(exited(ChildExit::Status(255)), START);
        assert_eq!(acts(&mut machine, Event::Tick, START), [Action::Start { monitored: number < 2 }]);
        machine.handle(Event::Started(42), START);
    }
    assert!(!machine.is_monitored());
}

#[test]
fn what_cannot_be_tested_is_no_failure() {
    let mut machine = running(rules(LOOP, |_| {}));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(600)), [Action::Test(TestTrigger::Regular)]);
    assert_eq!(acts(&mut machine, Event::Tested(Outcome::Impossible(String::new())), START + secs(600)), []);
    assert!(matches!(machine.state(), State::Running { .. }));
}

#[test]
fn a_test_that_a_sleep_interrupts_is_made_again() {
    let mut machine = running(rules(LOOP, |_| {}));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(600)), [Action::Test(TestTrigger::Regular)]);
    let wake = START + secs(8 * 3600);
    assert_eq!(acts(&mut machine, Event::Slept, wake), [Action::DropTest]);
    assert_eq!(acts(&mut machine, Event::Tick, wake + secs(9)), []);
    assert_eq!(acts(&mut machine, Event::Tick, wake + secs(10)), [Action::Test(TestTrigger::Regular)]);
}

#[test]
fn stops_put_a_test_off_once_and_sleeps_always() {
    let mut machine = running(rules(LOOP, |_| {}));
    let due = START + secs(600);
    for (event, millis, expected) in [
        (Event::Continued, 0, 10_000),
        (Event::Continued, 10_000, 10_000),
        (Event::Slept, 10_000, 20_000),
        (Event::Slept, 20_000, 30_000),
    ] {
        assert_eq!(machine.handle(event.clone(), due + Duration::from_millis(millis)), []);
        assert_eq!(machine.due_at(Timer::Test), Some(due + Duration::from_millis(expected)), "{event:?} {millis}");
    }
}

#[test]
fn a_test_that_fails_is_the_last_failure() {
    let mut machine = running(rules(LOOP, |_| {}));
    machine.handle(Event::Tick, START + secs(600));
    assert_eq!(acts(&mut machine, Event::Tested(FAILED), START + secs(630)), [Action::Term]);
    assert_eq!(machine.last_failure(), Some("port down"));
}

#[test]
fn the_connection_is_looked_for_until_a_test_passes() {
    let mut machine = running(rules(LOOP, |_| {}));
    let soon = START + Duration::from_millis(200);
    assert_eq!(machine.handle(Event::Tick, soon), [Action::FindLink]);
    machine.handle(Event::LinkSeen(Link::None), soon);
    assert!(machine.due_at(Timer::Link).is_some());
    machine.handle(Event::TestNow, START + secs(1));
    machine.handle(Event::Tick, START + secs(1));
    machine.handle(Event::Tested(PASSED), START + secs(1));
    assert_eq!(machine.due_at(Timer::Link), None);
}

#[test]
fn a_session_without_a_monitor_is_not_tested() {
    let mut machine = machine(rules(Monitoring::Automatic, |_| {}), false);
    machine.handle(Event::Tick, START);
    let warning = Action::warning("no port; this session goes on without a monitor");
    assert_eq!(machine.handle(Event::MonitorUnavailable("no port".into()), START), [warning]);
    machine.handle(Event::Started(42), START);
    assert_eq!(machine.due_at(Timer::Test), None);
    // The next one tries again.
    machine.handle(exited(ChildExit::Signal(9)), START);
    assert_eq!(acts(&mut machine, Event::Tick, START), [Action::Start { monitored: true }]);
    machine.handle(Event::Started(43), START);
    assert!(machine.due_at(Timer::Test).is_some());
}

#[test]
fn the_last_test_is_the_running_sshs() {
    let mut machine = running(rules(LOOP, |_| {}));
    machine.handle(Event::Tick, START + secs(600));
    machine.handle(Event::Tested(PASSED), START + secs(601));
    let passed = Passed { at: START + secs(601), round_trip: Duration::from_micros(1234) };
    assert_eq!(machine.last_passed(), Some(passed));
    machine.handle(exited(ChildExit::Signal(9)), START + secs(700));
    assert_eq!(machine.last_passed(), None);
}
