//! What a change of the network does (autossh(1), THE NETWORK).

use super::forwards::tunnel;
use super::*;

#[test]
fn a_change_of_the_network_ends_a_wait_and_then_there_is_a_hold_off() {
    let (mut machine, _) = waiting();
    assert_eq!(machine.network_relevant_from(), Some(Time::ZERO));
    let line = Action::debug("the network has changed: starting ssh now");
    assert_eq!(machine.handle(Event::NetworkChanged, START), [line]);
    assert_eq!(machine.state(), State::Waiting { until: START + Duration::from_millis(200) });
    assert_eq!(machine.network_relevant_from(), Some(START + secs(10)));
    assert_eq!(machine.handle(Event::NetworkChanged, START), []);
    assert_eq!(machine.network_relevant_from(), Some(START + secs(10)), "it has ended the wait already");

    // It achieved nothing: the next hold-off is longer.
    let later = START + secs(11);
    machine.handle(Event::Tick, later);
    machine.handle(Event::Started(42), later);
    assert_eq!(machine.network_relevant_from(), None, "nothing is done to an ssh without a monitor");
    machine.handle(exited(ChildExit::Status(255)), later);
    machine.handle(Event::NetworkChanged, later);
    assert_eq!(machine.network_relevant_from(), Some(later + secs(20)));

    // An ssh that lived long enough did work.
    let later = later + secs(30);
    machine.handle(Event::Tick, later);
    machine.handle(Event::Started(42), later);
    let later = later + secs(3600);
    machine.handle(exited(ChildExit::Status(255)), later);
    assert_eq!(machine.network_relevant_from(), Some(Time::ZERO));
}

#[test]
fn a_change_of_the_network_brings_a_test_forward_and_then_there_is_a_hold_off() {
    let mut machine = running(rules(LOOP, |_| {}));
    let line = Action::debug("the network has changed: testing the connection soon");
    assert_eq!(machine.handle(Event::NetworkChanged, START + secs(100)), [line]);
    assert_eq!(machine.handle(Event::NetworkChanged, START + secs(100)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(101)), [Action::Test(TestTrigger::Change)]);
    assert_eq!(machine.network_relevant_from(), Some(START + secs(111)));
    // The first test that an ssh passes shows that it works; the next shows nothing new.
    machine.handle(Event::Tested(PASSED), START + secs(101));
    assert_eq!(machine.network_relevant_from(), Some(Time::ZERO));
    // A regular test is no reason for a hold-off, ...
    machine.handle(Event::TestNow, START + secs(150));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(150)), [Action::Test(TestTrigger::Regular)]);
    machine.handle(Event::Tested(PASSED), START + secs(150));
    assert_eq!(machine.network_relevant_from(), Some(Time::ZERO));
    // ... and each that a change has brought forward is one for a longer one.
    for (change, hold_off) in [(200, 10), (212, 20), (233, 40)] {
        machine.handle(Event::NetworkChanged, START + secs(change));
        let test = START + secs(change + 1);
        assert_eq!(acts(&mut machine, Event::Tick, test), [Action::Test(TestTrigger::Change)]);
        machine.handle(Event::Tested(PASSED), test);
        assert_eq!(machine.network_relevant_from(), Some(test + secs(hold_off)));
    }
}

#[test]
fn the_network_can_be_left_alone() {
    let machine = running(rules(LOOP, |rules| rules.watch_network = false));
    assert_eq!(machine.network_relevant_from(), None);
}

#[test]
fn after_a_sleep_the_next_network_change_matters_at_once() {
    let (mut machine, _) = waiting();
    machine.handle(Event::NetworkChanged, START);
    assert!(machine.network_relevant_from() > Some(START));
    machine.handle(Event::Slept, START);
    assert_eq!(machine.network_relevant_from(), Some(Time::ZERO));
}

#[test]
fn a_login_survives_network_changes() {
    let nobody = || Event::Tested(Outcome::Failed(Failure::NoListener, String::new()));
    let mut machine = running(rules(LOOP, |_| {}));
    machine.handle(Event::NetworkChanged, START + secs(2));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(3)), [Action::Test(TestTrigger::Change)]);
    assert_eq!(acts(&mut machine, nobody(), START + secs(3)), [], "it is still logging in");
    // The first regular test decides, at its usual time.
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(600)), [Action::Test(TestTrigger::Regular)]);
    assert_eq!(acts(&mut machine, nobody(), START + secs(600)), [Action::Term]);
    // An ssh that has passed a test is logged in.
    let mut machine = running(rules(LOOP, |_| {}));
    machine.handle(Event::Tick, START + secs(600));
    machine.handle(Event::Tested(PASSED), START + secs(600));
    machine.handle(Event::NetworkChanged, START + secs(700));
    machine.handle(Event::Tick, START + secs(701));
    assert_eq!(acts(&mut machine, nobody(), START + secs(701)), [Action::Term]);
}

#[test]
fn an_address_that_is_gone_restarts_ssh() {
    let changed = |change: &dyn Fn(&mut Rules), link| {
        let mut machine = running(rules(OFF, |rules| change(rules)));
        machine.handle(Event::LinkSeen(link), START);
        machine.handle(Event::NetworkChanged, START + secs(100));
        machine
    };
    let gone = || Event::AddressChecked(Some("192.0.2.1".into()));
    let no_command = |rules: &mut Rules| rules.no_command = true;

    let mut machine = changed(&no_command, Link::Established);
    assert_eq!(machine.network_relevant_from(), Some(START + Duration::from_millis(100_200)));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(101)), [Action::CheckAddress]);
    assert_eq!(acts(&mut machine, gone(), START + secs(101)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(104)), [Action::CheckAddress]);
    let actions = machine.handle(gone(), START + secs(104));
    let text = "the address 192.0.2.1 that ssh was connected from is gone, restarting ssh";
    assert_eq!(actions, [Action::info(text), Action::Term]);

    // It is back.
    let mut machine = changed(&no_command, Link::Established);
    acts(&mut machine, Event::Tick, START + secs(101));
    acts(&mut machine, gone(), START + secs(101));
    acts(&mut machine, Event::Tick, START + secs(104));
    assert_eq!(acts(&mut machine, Event::AddressChecked(None), START + secs(104)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(500)), []);

    // Not for a shell, a shared connection, or if nothing is known.
    for (change, link) in [
        (&(|_: &mut Rules| {}) as &dyn Fn(&mut Rules), Link::Established),
        (&no_command, Link::Shared),
        (&no_command, Link::Unknown),
    ] {
        let mut machine = changed(change, link);
        assert_eq!(machine.network_relevant_from(), None);
        assert_eq!(acts(&mut machine, Event::Tick, START + secs(101)), []);
    }
}

#[test]
fn the_network_and_a_hangup_try_refused_forwards_soon() {
    for event in [Event::NetworkChanged, Event::Hangup] {
        let mut machine = tunnel(|_| {});
        let mut now = START;
        // Several tries have made the interval long.
        for _ in 0..6 {
            machine.handle(Event::Refused(Refusal::Remote(Listen::Port(2200))), now);
            machine.handle(Event::Tick, now + secs(1));
            now += secs(600);
            machine.handle(Event::Tick, now);
            machine.handle(exited(ChildExit::Status(255)), now);
            machine.handle(Event::Tick, now);
            machine.handle(Event::Started(42), now);
        }
        machine.handle(Event::Refused(Refusal::Remote(Listen::Port(2200))), now);
        machine.handle(Event::Tick, now + secs(1));
        assert!(machine.due_at(Timer::Forwards) > Some(now + secs(100)));
        machine.handle(event.clone(), now + secs(20));
        assert_eq!(machine.due_at(Timer::Forwards), Some(now + secs(25)), "{event:?}");
    }
}

#[test]
fn a_change_that_is_read_during_a_hold_off_waits_for_its_end() {
    let mut machine = running(rules(LOOP, |_| {}));
    machine.handle(Event::LinkSeen(Link::Established), START);
    machine.handle(Event::NetworkChanged, START + secs(100));
    machine.handle(Event::Tick, START + secs(101));
    machine.handle(Event::AddressChecked(None), START + secs(101));
    machine.handle(Event::Tested(Outcome::Impossible(String::new())), START + secs(101));
    // Where the address is watched, changes are read before that.
    assert!(machine.network_relevant_from() < Some(START + secs(102)));
    machine.handle(Event::NetworkChanged, START + secs(102));
    assert_eq!(machine.due_at(Timer::Test), Some(START + secs(112)));
    assert_eq!(machine.due_at(Timer::Link), Some(START + secs(103)));
}

#[test]
fn the_address_of_a_shell_is_not_checked_even_if_a_forward_is_refused() {
    let mut machine = tunnel(|rules| rules.no_command = false);
    machine.handle(Event::LinkSeen(Link::Established), START);
    machine.handle(Event::Refused(Refusal::Remote(Listen::Port(2200))), START);
    assert!(machine.network_relevant_from().is_some());
    machine.handle(Event::NetworkChanged, START);
    assert_eq!(machine.due_at(Timer::Link), None);
}
