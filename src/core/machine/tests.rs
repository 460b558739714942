use super::*;
use crate::event::{Failure, Outcome};
use crate::rules::Monitoring;

const START: Time = Duration::from_secs(1_000_000);
/// `-M 0`.
const OFF: Monitoring = Monitoring::Off;
/// `-M 5`.
const LOOP: Monitoring = Monitoring::Loop { port: 5 };

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The rules of a command line without variables, but for what `change` changes.
fn rules(monitoring: Monitoring, change: impl FnOnce(&mut Rules)) -> Rules {
    let mut rules = Rules { monitoring, ..Rules::default() };
    change(&mut rules);
    rules
}

/// No gate time.
fn no_gate(rules: &mut Rules) {
    rules.gate_time = Duration::ZERO;
}

/// AUTOSSH_MAXLIFETIME=60
fn a_minute(rules: &mut Rules) {
    rules.lifetime = Some(secs(60));
    rules.poll = secs(60);
    rules.first_poll = secs(60);
}

fn machine(rules: Rules, readiness_pending: bool) -> Machine {
    Machine::new(rules, START, || 100, readiness_pending)
}

/// Handles an event and leaves the log lines out.
fn acts(machine: &mut Machine, event: Event, now: Time) -> Vec<Action> {
    let mut actions = machine.handle(event, now);
    actions.retain(|action| !matches!(action, Action::Log(..) | Action::Explain(..)));
    actions
}

/// A machine whose first ssh runs since [`START`].
fn running(rules: Rules) -> Machine {
    let mut machine = machine(rules, false);
    assert_eq!(acts(&mut machine, Event::Tick, START), [Action::Start]);
    assert_eq!(acts(&mut machine, Event::Started(42), START), []);
    machine
}

/// A machine with a long wait before its next start.
fn waiting() -> (Machine, Time) {
    let mut machine = running(rules(OFF, no_gate));
    for _ in 0..30 {
        machine.handle(Event::ChildExited(ChildExit::Status(255)), START);
        if machine.state() != (State::Waiting { until: START }) {
            break;
        }
        machine.handle(Event::Tick, START);
        machine.handle(Event::Started(42), START);
    }
    assert_eq!(machine.state(), State::Waiting { until: START + secs(2) });
    (machine, START + secs(2))
}

const FAILED: Outcome = Outcome::Failed(Failure::Closed, String::new());

#[test]
fn a_stop_in_every_state() {
    let (mut waits, _) = waiting();
    assert_eq!(acts(&mut waits, Event::Stop(15), START), [Action::Exit(Exit::Signal(15))]);

    let mut runs = running(rules(OFF, |_| {}));
    assert_eq!(acts(&mut runs, Event::Stop(15), START), [Action::NotifyStopping, Action::Term]);
    assert_eq!(runs.deadline(), Some(START + secs(5)));
    assert_eq!(acts(&mut runs, Event::Stop(2), START), [Action::Kill]);
    assert_eq!(acts(&mut runs, Event::ChildExited(ChildExit::Status(0)), START), [Action::Exit(Exit::Signal(15))]);

    let mut restarts = running(rules(OFF, |_| {}));
    assert_eq!(acts(&mut restarts, Event::Restart, START), [Action::Term]);
    assert_eq!(acts(&mut restarts, Event::Stop(3), START), [], "it has got TERM already");
    assert_eq!(acts(&mut restarts, Event::ChildExited(ChildExit::Signal(9)), START), [Action::Exit(Exit::Signal(3))]);
}

#[test]
fn an_ssh_that_does_not_end() {
    let mut machine = running(rules(OFF, |_| {}));
    machine.handle(Event::Restart, START);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(4)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(5)), [Action::Kill]);
    assert_eq!(machine.deadline(), None, "never a second ssh beside it");
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(500)), []);
    assert_eq!(acts(&mut machine, Event::Stop(15), START + secs(500)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(500)), [Action::Exit(Exit::Signal(15))]);
}

#[test]
fn the_order_of_what_comes_at_once() {
    // exit > restart on request > ssh's exit > lifetime > due test.
    let mut events = [
        Event::TestNow,
        Event::ChildExited(ChildExit::Status(0)),
        Event::NetworkChanged,
        Event::Restart,
        Event::Tested(FAILED),
        Event::Stop(15),
        Event::Tick,
    ];
    events.sort();
    let place = |wanted: &Event| events.iter().position(|event| event == wanted);
    assert_eq!(place(&Event::Stop(15)), Some(0));
    assert_eq!(place(&Event::Restart), Some(1));
    assert_eq!(place(&Event::ChildExited(ChildExit::Status(0))), Some(2));
    assert_eq!(place(&Event::Tick), Some(6));

    // A requested restart wins over an exit of ssh that would have ended autossh.
    let mut machine = running(rules(OFF, no_gate));
    machine.handle(Event::Restart, START);
    machine.handle(Event::ChildExited(ChildExit::Status(3)), START);
    assert_eq!(acts(&mut machine, Event::Tick, START), [Action::Start]);

    // The lifetime wins over a due test.
    let mut machine = running(rules(LOOP, a_minute));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(60)), [Action::NotifyStopping, Action::Term]);
}

#[test]
fn the_end_of_a_lifetime() {
    let mut machine = running(rules(OFF, a_minute));
    assert_eq!(machine.deadline(), Some(START + secs(60)));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(60)), [Action::NotifyStopping, Action::Term]);
    assert_eq!(
        acts(&mut machine, Event::ChildExited(ChildExit::Status(255)), START + secs(61)),
        [Action::Exit(Exit::Status(0))]
    );

    // While waiting, …
    let mut machine = running(rules(OFF, a_minute));
    machine.handle(Event::ChildExited(ChildExit::Signal(9)), START + secs(59));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(60)), [Action::Exit(Exit::Status(0))]);

    // … and while ssh ends for another reason.
    let mut machine = running(rules(OFF, a_minute));
    machine.handle(Event::Restart, START + secs(59));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(60)), []);
    assert_eq!(
        acts(&mut machine, Event::ChildExited(ChildExit::Status(255)), START + secs(60)),
        [Action::Exit(Exit::Status(0))]
    );
}

#[test]
fn the_gate_and_the_first_start() {
    let mut machine = running(rules(OFF, |_| {}));
    assert_eq!(
        acts(&mut machine, Event::ChildExited(ChildExit::Status(255)), START + secs(29)),
        [Action::Exit(Exit::Status(1))]
    );
    let mut machine = running(rules(OFF, |_| {}));
    assert_eq!(acts(&mut machine, Event::ChildExited(ChildExit::Status(255)), START + secs(30)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(30)), [Action::Start]);
    // A later ssh that cannot be started is like one that ended with 255.
    assert_eq!(acts(&mut machine, Event::NotStarted("x".into()), START + secs(30)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(30)), [Action::Start]);

    let mut machine = machine_with_no_gate();
    assert_eq!(acts(&mut machine, Event::Tick, START), [Action::Start]);
    assert_eq!(acts(&mut machine, Event::NotStarted("x".into()), START), [Action::Exit(Exit::Status(1))]);
}

fn machine_with_no_gate() -> Machine {
    machine(rules(OFF, no_gate), false)
}

#[test]
fn starts_are_counted_whatever_caused_them() {
    let two_starts = |rules: &mut Rules| rules.max_starts = Some(2);
    let mut machine = running(rules(OFF, two_starts));
    machine.handle(Event::Restart, START);
    machine.handle(Event::ChildExited(ChildExit::Status(255)), START);
    assert_eq!(acts(&mut machine, Event::Tick, START), [Action::Start]);
    machine.handle(Event::Started(43), START);
    machine.handle(Event::Restart, START);
    assert_eq!(acts(&mut machine, Event::ChildExited(ChildExit::Status(255)), START), [Action::Exit(Exit::Status(0))]);
    assert_eq!(machine.starts(), 2);

    let mut none = self::machine(rules(OFF, |rules| rules.max_starts = Some(0)), false);
    assert_eq!(acts(&mut none, Event::Tick, START), [Action::Exit(Exit::Status(0))]);
}

#[test]
fn what_ends_a_wait() {
    for event in [Event::Restart, Event::Hangup, Event::TestNow] {
        let (mut machine, _) = waiting();
        assert_eq!(acts(&mut machine, event.clone(), START), []);
        assert_eq!(acts(&mut machine, Event::Tick, START), [Action::Start], "{event:?}");
    }
    let (mut machine, until) = waiting();
    assert_eq!(acts(&mut machine, Event::Resumed, START), []);
    assert_eq!(acts(&mut machine, Event::Tick, until.saturating_sub(secs(1))), []);
    assert_eq!(acts(&mut machine, Event::Tick, until + secs(8 * 3600)), [Action::Start], "overdue after a sleep");
}

#[test]
fn a_change_of_the_network_ends_a_wait_and_then_there_is_a_hold_off() {
    let (mut machine, _) = waiting();
    assert_eq!(machine.heeds_network_from(), Some(Time::ZERO));
    machine.handle(Event::NetworkChanged, START);
    assert_eq!(machine.state(), State::Waiting { until: START + Duration::from_millis(200) });
    assert_eq!(machine.heeds_network_from(), Some(START + secs(10)));

    // It achieved nothing: the next hold-off is longer.
    let later = START + secs(11);
    machine.handle(Event::Tick, later);
    machine.handle(Event::Started(42), later);
    assert_eq!(machine.heeds_network_from(), None, "nothing is done to an ssh without a monitor");
    machine.handle(Event::ChildExited(ChildExit::Status(255)), later);
    machine.handle(Event::NetworkChanged, later);
    assert_eq!(machine.heeds_network_from(), Some(later + secs(20)));

    // An ssh that lived long enough did work.
    let later = later + secs(30);
    machine.handle(Event::Tick, later);
    machine.handle(Event::Started(42), later);
    let later = later + secs(3600);
    machine.handle(Event::ChildExited(ChildExit::Status(255)), later);
    assert_eq!(machine.heeds_network_from(), Some(Time::ZERO));
}

#[test]
fn a_change_of_the_network_brings_a_test_forward_and_then_there_is_a_hold_off() {
    let mut machine = running(rules(LOOP, |_| {}));
    machine.handle(Event::NetworkChanged, START + secs(100));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(101)), [Action::Test(TestTrigger::Change)]);
    assert_eq!(machine.heeds_network_from(), Some(START + secs(111)));
    // The first test that an ssh passes shows that it works; the next shows nothing new.
    machine.handle(Event::Tested(Outcome::Passed), START + secs(101));
    assert_eq!(machine.heeds_network_from(), Some(Time::ZERO));
    for (change, hold_off) in [(200, 10), (212, 20), (233, 40)] {
        machine.handle(Event::NetworkChanged, START + secs(change));
        let test = START + secs(change + 1);
        assert_eq!(acts(&mut machine, Event::Tick, test), [Action::Test(TestTrigger::Change)]);
        machine.handle(Event::Tested(Outcome::Passed), test);
        assert_eq!(machine.heeds_network_from(), Some(test + secs(hold_off)));
    }
}

#[test]
fn the_network_can_be_left_alone() {
    let machine = running(rules(LOOP, |rules| rules.watch_network = false));
    assert_eq!(machine.heeds_network_from(), None);
}

#[test]
fn an_automatic_monitor_costs_nothing_before_it_has_passed() {
    let mut machine = running(rules(Monitoring::Automatic, |_| {}));
    assert_eq!(machine.heeds_network_from(), None);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(1)), [Action::Test(TestTrigger::Early)]);
    assert_eq!(acts(&mut machine, Event::Tested(FAILED), START + secs(2)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(600)), [Action::Test(TestTrigger::Regular)]);
    assert_eq!(acts(&mut machine, Event::Tested(FAILED), START + secs(630)), []);
    assert!(matches!(machine.state(), State::Running { .. }));

    assert_eq!(acts(&mut machine, Event::Tick, START + secs(1200)), [Action::Test(TestTrigger::Regular)]);
    assert_eq!(acts(&mut machine, Event::Tested(Outcome::Passed), START + secs(1201)), [Action::TouchPidFile]);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(1800)), [Action::Test(TestTrigger::Regular)]);
    assert_eq!(acts(&mut machine, Event::Tested(FAILED), START + secs(1830)), [Action::Term]);
}

#[test]
fn an_automatic_forward_that_costs_sessions_is_given_up() {
    let mut machine = running(rules(Monitoring::Automatic, no_gate));
    for number in 1..=2 {
        assert!(machine.is_monitored(), "{number}");
        machine.handle(Event::ForwardRefused, START);
        machine.handle(Event::ChildExited(ChildExit::Status(255)), START);
        assert_eq!(acts(&mut machine, Event::Tick, START), [Action::Start]);
        machine.handle(Event::Started(42), START);
    }
    assert!(!machine.is_monitored());
}

#[test]
fn another_users_listener_is_a_warning_and_fails_a_test() {
    let foreign = || Event::Tested(Outcome::Failed(Failure::Foreign, "somebody else listens".into()));
    let warning = || Action::warning("somebody else listens");
    let mut asked_for = running(rules(LOOP, |_| {}));
    asked_for.handle(Event::Tick, START + secs(600));
    let actions = asked_for.handle(foreign(), START + secs(600));
    assert_eq!(actions, [warning(), Action::info("port down, restarting ssh"), Action::Term]);

    let mut automatic = running(rules(Monitoring::Automatic, |_| {}));
    automatic.handle(Event::Tick, START + secs(600));
    assert_eq!(automatic.handle(foreign(), START + secs(600)), [warning()], "nobody asked for it");
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
    assert_eq!(acts(&mut machine, Event::Resumed, wake), [Action::DropTest]);
    assert_eq!(acts(&mut machine, Event::Tick, wake + secs(9)), []);
    assert_eq!(acts(&mut machine, Event::Tick, wake + secs(10)), [Action::Test(TestTrigger::Regular)]);
}

#[test]
fn systemd_hears_when_traffic_flows() {
    // With a monitor: at the first test that passes, which is tried early.
    let mut machine = machine(rules(LOOP, |_| {}), true);
    machine.handle(Event::Tick, START);
    machine.handle(Event::Started(42), START);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(1)), [Action::Test(TestTrigger::Early)]);
    assert_eq!(acts(&mut machine, Event::Tested(FAILED), START + secs(1)), [], "without consequence");
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(2)), [Action::Test(TestTrigger::Early)]);
    let passed = acts(&mut machine, Event::Tested(Outcome::Passed), START + secs(2));
    assert_eq!(passed, [Action::TouchPidFile, Action::NotifyReady]);
    assert_eq!(machine.deadline(), Some(START + secs(600)));

    // Without: when ssh has lived for a second.
    let mut machine = self::machine(rules(OFF, |_| {}), true);
    machine.handle(Event::Tick, START);
    machine.handle(Event::Started(42), START);
    assert_eq!(machine.deadline(), Some(START + secs(1)));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(1)), [Action::NotifyReady]);
    assert_eq!(machine.deadline(), None);

    // In any case after half a minute.
    let mut machine = self::machine(rules(OFF, no_gate), true);
    let mut now = START;
    let mut ready = Vec::new();
    while now < START + secs(100) {
        for action in machine.handle(Event::Tick, now) {
            match action {
                Action::Start => {
                    machine.handle(Event::Started(42), now);
                    machine.handle(Event::ChildExited(ChildExit::Status(255)), now);
                }
                Action::NotifyReady => ready.push(now),
                _ => {}
            }
        }
        now = machine.deadline().unwrap();
    }
    assert_eq!(ready, [START + secs(30)]);
}

mod sequences;
