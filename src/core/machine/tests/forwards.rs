//! What refused forwards do (autossh(1), FORWARDS).

use super::*;

/// A reverse tunnel whose first ssh runs.
pub(super) fn tunnel(change: impl FnOnce(&mut Rules)) -> Machine {
    running(rules(OFF, |rules| {
        rules.no_command = true;
        rules.forwards = Asked { remote: vec![Listen::Port(2200)], ..Asked::default() };
        change(rules);
    }))
}

#[test]
fn a_restart_for_a_forward_costs_nothing() {
    let mut machine = tunnel(|rules| rules.max_starts = Some(1));
    for number in 0..20 {
        let now = START + secs(1000 * number);
        machine.handle(Event::LinkSeen(Link::Established), now);
        machine.handle(Event::Refused(Refusal::Remote(Listen::Port(2200))), now);
        assert_eq!(acts(&mut machine, Event::Tick, now + secs(1)), []);
        assert_eq!(machine.refused_forwards().as_deref(), Some("port 2200 on the server"));
        machine.handle(Event::Tick, now + secs(30));
        assert_eq!(acts(&mut machine, Event::Tick, now + secs(600)), [Action::Term], "{number}");
        assert_eq!(acts(&mut machine, exited(ChildExit::Status(255)), now + secs(600)), []);
        let start = [Action::info("starting ssh (count 1 of 1)"), UNMONITORED];
        assert_eq!(machine.handle(Event::Tick, now + secs(600)), start, "no wait, and no limit");
        machine.handle(Event::Started(42), now + secs(600));
        assert_eq!(machine.refused_forwards(), None, "nothing is known of the new one");
    }
    // It is not the first ssh any more either.
    assert_eq!(machine.starts(), 21);
}

#[test]
fn the_local_ports_are_looked_at() {
    let mut machine = tunnel(|_| {});
    machine.handle(Event::Refused(Refusal::Local(HERE)), START);
    acts(&mut machine, Event::Tick, START + secs(1));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(5)), [Action::CheckLocal(vec![HERE])]);
    assert_eq!(acts(&mut machine, Event::LocalChecked(false), START + secs(5)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(15)), [Action::CheckLocal(vec![HERE])]);
    assert_eq!(acts(&mut machine, Event::LocalChecked(true), START + secs(15)), [Action::Term]);
}

#[test]
fn a_shared_connection_is_known_when_a_forward_is_refused() {
    for (first, then) in [(Link::Established, Link::Master), (Link::None, Link::Shared)] {
        let mut machine = tunnel(|_| {});
        let refused = || Event::Refused(Refusal::Local(HERE));
        machine.handle(Event::LinkSeen(first), START);
        assert_eq!(machine.handle(refused(), START + secs(1)), [Action::FindLink]);
        assert_eq!(machine.handle(refused(), START + secs(1)), [], "one look is enough");
        machine.handle(Event::LinkSeen(then), START + secs(1));
        for second in [2, 6, 7, 700] {
            assert_eq!(acts(&mut machine, Event::Tick, START + secs(second)), [], "{then:?}");
        }
    }
}

#[test]
fn a_session_has_its_forwards_half_a_minute_after_its_connection() {
    let mut machine = tunnel(|_| {});
    machine.handle(Event::LinkSeen(Link::None), START);
    assert_eq!(machine.due_at(Timer::Forwards), None);
    machine.handle(Event::LinkSeen(Link::Established), START + secs(1));
    machine.handle(Event::LinkSeen(Link::Master), START + secs(20));
    assert_eq!(machine.due_at(Timer::Forwards), Some(START + secs(31)), "the first look counts");
    let mut machine = tunnel(|_| {});
    machine.handle(Event::LinkSeen(Link::Master), START + secs(1));
    assert_eq!(machine.due_at(Timer::Forwards), Some(START + secs(31)));
    // A test that passes shows it sooner.
    let mut machine = tunnel(|rules| rules.monitoring = LOOP);
    machine.handle(Event::LinkSeen(Link::Established), START);
    machine.handle(Event::TestNow, START + secs(1));
    machine.handle(Event::Tick, START + secs(1));
    assert!(machine.due_at(Timer::Forwards).is_some());
    machine.handle(Event::Tested(PASSED), START + secs(1));
    assert_eq!(machine.due_at(Timer::Forwards), None);
}

#[test]
fn refusals_are_the_running_sshs() {
    let refused = || Event::Refused(Refusal::Remote(Listen::Port(2200)));
    let mut machine = tunnel(|_| {});
    machine.handle(refused(), START);
    machine.handle(Event::Restart, START);
    assert_eq!(machine.refused_forwards(), None);
    assert_eq!(machine.handle(refused(), START), [], "it is being terminated");
    assert_eq!(machine.refused_forwards(), None);

    let mut machine = tunnel(|_| {});
    machine.handle(refused(), START);
    machine.handle(exited(ChildExit::Signal(9)), START);
    assert_eq!(machine.refused_forwards(), None);
}
