use core::net::SocketAddr;

use super::*;
use crate::event::{ChildExit, Failure, Outcome};
use crate::forwards::{Asked, Listen, Refusal};
use crate::link::Link;
use crate::rules::Monitoring;

/// 127.0.0.1:8080
const HERE: SocketAddr = SocketAddr::V4(core::net::SocketAddrV4::new(core::net::Ipv4Addr::LOCALHOST, 8080));
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

const UNMONITORED: Action = Action::Start { monitored: false };
/// What a stop does to a running ssh.
const STOPS: [Action; 3] = [Action::Term, Action::CloseMonitor, Action::NotifyStopping];

/// Handles an event, and leaves out the log lines and the looks for ssh's connection.
fn acts(machine: &mut Machine, event: Event, now: Time) -> Vec<Action> {
    let mut actions = machine.handle(event, now);
    actions.retain(|action| !matches!(action, Action::Log(..) | Action::Explain(..) | Action::FindLink));
    actions
}

/// ssh has exited in this way.
fn exited(exit: ChildExit) -> Event {
    Event::ChildExited(exit, None)
}

/// A machine whose first ssh runs since [`START`].
fn running(rules: Rules) -> Machine {
    let mut machine = machine(rules, false);
    let monitored = machine.is_monitored();
    assert_eq!(acts(&mut machine, Event::Tick, START), [Action::Start { monitored }]);
    assert_eq!(acts(&mut machine, Event::Started(42), START), []);
    machine
}

/// A machine with a long wait before its next start.
fn waiting() -> (Machine, Time) {
    let mut machine = running(rules(OFF, no_gate));
    for _ in 0..30 {
        machine.handle(exited(ChildExit::Status(255)), START);
        if machine.state() != (State::Waiting { until: START }) {
            break;
        }
        machine.handle(Event::Tick, START);
        machine.handle(Event::Started(42), START);
    }
    assert_eq!(machine.state(), State::Waiting { until: START + secs(2) });
    (machine, START + secs(2))
}

/// How many more starts there are without a wait.
fn quick_starts(mut machine: Machine) -> u32 {
    let mut starts = 0;
    while machine.state() == (State::Waiting { until: START }) {
        machine.handle(Event::Tick, START);
        machine.handle(Event::Started(42), START);
        machine.handle(exited(ChildExit::Status(255)), START);
        starts += 1;
    }
    starts
}

const PASSED: Outcome = Outcome::Passed { round_trip_us: 1234 };
const FAILED: Outcome = Outcome::Failed(Failure::Silent, String::new());

#[test]
fn a_stop_in_every_state() {
    let (mut waits, _) = waiting();
    assert_eq!(acts(&mut waits, Event::Stop(15), START), [Action::Exit(Exit::Signal(15))]);

    let mut runs = running(rules(OFF, |_| {}));
    assert_eq!(acts(&mut runs, Event::Stop(15), START), STOPS);
    assert_eq!(runs.deadline(), Some(START + secs(5)));
    assert_eq!(acts(&mut runs, Event::Stop(2), START), [Action::Kill]);
    assert_eq!(acts(&mut runs, exited(ChildExit::Status(0)), START), [Action::Exit(Exit::Signal(15))]);

    let mut restarts = running(rules(OFF, |_| {}));
    assert_eq!(acts(&mut restarts, Event::Restart, START), [Action::Term]);
    assert_eq!(acts(&mut restarts, Event::Stop(3), START), STOPS[1..], "it has got TERM already");
    assert_eq!(acts(&mut restarts, exited(ChildExit::Signal(9)), START), [Action::Exit(Exit::Signal(3))]);
}

#[test]
fn an_ssh_that_does_not_end() {
    let mut machine = running(rules(OFF, |_| {}));
    machine.handle(Event::Restart, START);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(4)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(5)), [Action::Kill]);
    assert_eq!(machine.deadline(), None, "never a second ssh beside it");
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(500)), []);
    assert_eq!(acts(&mut machine, Event::Stop(15), START + secs(500)), STOPS[1..]);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(500)), [Action::Exit(Exit::Signal(15))]);
}

#[test]
fn the_order_of_what_comes_at_once() {
    // exit > restart on request > ssh's exit > lifetime > due test.
    let mut events = [
        Event::TestNow,
        exited(ChildExit::Status(0)),
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
    assert_eq!(place(&exited(ChildExit::Status(0))), Some(2));
    assert_eq!(place(&Event::Tick), Some(6));

    // A requested restart wins over an exit of ssh that would have ended autossh.
    let mut machine = running(rules(OFF, no_gate));
    machine.handle(Event::Restart, START);
    machine.handle(exited(ChildExit::Status(3)), START);
    assert_eq!(acts(&mut machine, Event::Tick, START), [UNMONITORED]);

    // The lifetime wins over a due test.
    let mut machine = running(rules(LOOP, a_minute));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(60)), STOPS);
}

#[test]
fn the_end_of_a_lifetime() {
    let mut machine = running(rules(OFF, a_minute));
    assert_eq!(machine.deadline(), Some(START + secs(60)));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(60)), STOPS);
    assert_eq!(acts(&mut machine, exited(ChildExit::Status(255)), START + secs(61)), [Action::Exit(Exit::Status(0))]);

    // While waiting, ...
    let mut machine = running(rules(OFF, a_minute));
    machine.handle(exited(ChildExit::Signal(9)), START + secs(59));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(60)), [Action::Exit(Exit::Status(0))]);

    // ... and while ssh ends for another reason.
    let mut machine = running(rules(OFF, a_minute));
    machine.handle(Event::Restart, START + secs(59));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(60)), STOPS[1..]);
    assert_eq!(acts(&mut machine, exited(ChildExit::Status(255)), START + secs(60)), [Action::Exit(Exit::Status(0))]);

    // A stop that is under way stays one, ...
    let mut machine = running(rules(OFF, a_minute));
    machine.handle(Event::Stop(15), START + secs(59));
    assert_eq!(machine.handle(Event::Tick, START + secs(60)), []);
    assert_eq!(acts(&mut machine, exited(ChildExit::Status(255)), START + secs(60)), [Action::Exit(Exit::Signal(15))]);

    // ... and one that comes later becomes one.
    let mut machine = running(rules(OFF, a_minute));
    machine.handle(Event::Tick, START + secs(60));
    let line = Action::info("received signal to exit (2)");
    assert_eq!(machine.handle(Event::Stop(2), START + secs(61)), [line], "the monitor is closed already");
    assert_eq!(acts(&mut machine, exited(ChildExit::Status(255)), START + secs(61)), [Action::Exit(Exit::Signal(2))]);
}

#[test]
fn the_gate_and_the_first_start() {
    let mut machine = running(rules(OFF, |_| {}));
    assert_eq!(acts(&mut machine, exited(ChildExit::Status(255)), START + secs(29)), [Action::Exit(Exit::Status(1))]);
    let mut machine = running(rules(OFF, |_| {}));
    assert_eq!(acts(&mut machine, exited(ChildExit::Status(255)), START + secs(30)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(30)), [UNMONITORED]);
    // A later ssh that cannot be started is like one that ended with 255.
    assert_eq!(acts(&mut machine, Event::NotStarted("x".into()), START + secs(30)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(30)), [UNMONITORED]);

    let mut machine = machine_with_no_gate();
    assert_eq!(acts(&mut machine, Event::Tick, START), [UNMONITORED]);
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
    machine.handle(exited(ChildExit::Status(255)), START);
    assert_eq!(acts(&mut machine, Event::Tick, START), [UNMONITORED]);
    machine.handle(Event::Started(43), START);
    machine.handle(Event::Restart, START);
    assert_eq!(acts(&mut machine, exited(ChildExit::Status(255)), START), [Action::Exit(Exit::Status(0))]);
    assert_eq!(machine.starts(), 2);

    let mut none = self::machine(rules(OFF, |rules| rules.max_starts = Some(0)), false);
    assert_eq!(acts(&mut none, Event::Tick, START), [Action::Exit(Exit::Status(0))]);
}

#[test]
fn what_ends_a_wait() {
    for event in [Event::Restart, Event::Hangup, Event::TestNow] {
        let (mut machine, _) = waiting();
        assert_eq!(acts(&mut machine, event.clone(), START), []);
        assert_eq!(acts(&mut machine, Event::Tick, START), [UNMONITORED], "{event:?}");
    }
    // After a hangup the next starts are quick again.
    let (mut machine, _) = waiting();
    machine.handle(Event::Hangup, START);
    assert_eq!(quick_starts(machine), 6);
    let (mut machine, until) = waiting();
    assert_eq!(acts(&mut machine, Event::Slept, START), []);
    assert_eq!(acts(&mut machine, Event::Tick, until.saturating_sub(secs(1))), []);
    assert_eq!(acts(&mut machine, Event::Tick, until + secs(8 * 3600)), [UNMONITORED], "overdue after a sleep");
}

#[test]
fn an_alarm_tests_a_running_ssh() {
    let mut machine = running(rules(LOOP, |_| {}));
    assert_eq!(machine.handle(Event::TestNow, START + secs(5)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(5)), [Action::Test(TestTrigger::Regular)]);
}

#[test]
fn systemd_hears_when_traffic_flows() {
    // With a monitor: at the first test that passes, which is tried early.
    let mut machine = machine(rules(LOOP, |_| {}), true);
    machine.handle(Event::Tick, START);
    machine.handle(Event::Started(42), START);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(1)), [Action::Test(TestTrigger::Early)]);
    assert_eq!(acts(&mut machine, Event::Tested(FAILED), START + secs(1)), [], "without consequence");
    machine.handle(Event::LinkSeen(Link::Established), START + secs(1));
    assert_eq!(machine.due_at(Timer::Readiness), Some(START + secs(30)), "a test decides");
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(2)), [Action::Test(TestTrigger::Early)]);
    let passed = acts(&mut machine, Event::Tested(PASSED), START + secs(2));
    assert_eq!(passed, [Action::TouchPidFile, Action::NotifyReady]);
    assert_eq!(machine.deadline(), Some(START + secs(600)));

    // Without: when it has been connected for three seconds, or if that cannot be seen, when it has lived for one.
    for (link, refused, seconds) in [
        (Link::Established, false, 5),
        (Link::Established, true, 30),
        (Link::None, false, 30),
        (Link::Unknown, false, 2),
        (Link::Shared, false, 2),
    ] {
        let mut machine = self::machine(rules(OFF, |_| {}), true);
        machine.handle(Event::Tick, START);
        machine.handle(Event::Started(42), START + secs(1));
        machine.handle(Event::LinkSeen(link), START + secs(2));
        if refused {
            machine.handle(Event::Refused(Refusal::Local(HERE)), START + secs(2));
        }
        let at = START + secs(seconds);
        assert_eq!(machine.due_at(Timer::Readiness), Some(at), "{link:?}");
        assert_eq!(acts(&mut machine, Event::Tick, at), [Action::NotifyReady]);
        assert_eq!(machine.due_at(Timer::Readiness), None);
    }

    // In any case after half a minute.
    let mut machine = self::machine(rules(OFF, no_gate), true);
    let mut now = START;
    let mut ready = Vec::new();
    while now < START + secs(100) {
        for action in machine.handle(Event::Tick, now) {
            match action {
                Action::Start { .. } => {
                    machine.handle(Event::Started(42), now);
                    machine.handle(exited(ChildExit::Status(255)), now);
                }
                Action::NotifyReady => ready.push(now),
                _ => {}
            }
        }
        now = machine.deadline().unwrap();
    }
    assert_eq!(ready, [START + secs(30)]);
}

#[test]
fn an_ssh_that_is_being_started_can_be_ended() {
    let starting = || {
        let mut machine = machine(rules(OFF, |rules| rules.lifetime = Some(secs(60))), false);
        assert_eq!(acts(&mut machine, Event::Tick, START), [UNMONITORED]);
        assert_eq!(machine.state(), State::Starting);
        machine
    };
    for event in [Event::Hangup, Event::TestNow, Event::NetworkChanged, Event::Slept, Event::Continued] {
        let mut machine = starting();
        assert_eq!(acts(&mut machine, event.clone(), START), []);
        assert_eq!(machine.state(), State::Starting, "{event:?}");
    }
    let mut machine = starting();
    assert_eq!(acts(&mut machine, Event::Restart, START), [Action::Term], "it may be executed already");
    // A stop, and an ssh that the kernel does not let die.
    let mut machine = starting();
    assert_eq!(acts(&mut machine, Event::Stop(15), START), STOPS);
    assert_eq!(acts(&mut machine, Event::Started(42), START), [], "too late");
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(5)), [Action::Kill]);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(9)), []);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(10)), [Action::Exit(Exit::Signal(15))]);
    // The same if its start fails in the end.
    let mut machine = starting();
    machine.handle(Event::Stop(15), START);
    assert_eq!(acts(&mut machine, Event::NotStarted("x".into()), START), [Action::Exit(Exit::Signal(15))]);
    // The end of a lifetime.
    let mut machine = starting();
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(60)), STOPS);
    // Killed before it was executed.
    let mut machine = starting();
    assert_eq!(acts(&mut machine, exited(ChildExit::Signal(9)), START), []);
    assert_eq!(acts(&mut machine, Event::Tick, START), [UNMONITORED]);
}

#[test]
fn a_hangup_while_ssh_ends_spares_the_wait() {
    for (hangup, quick) in [(false, 0), (true, 5)] {
        let mut machine = running(rules(OFF, no_gate));
        for _ in 0..5 {
            machine.handle(Event::Restart, START);
            machine.handle(exited(ChildExit::Status(255)), START);
            machine.handle(Event::Tick, START);
            machine.handle(Event::Started(42), START);
        }
        machine.handle(Event::Restart, START);
        if hangup {
            machine.handle(Event::Hangup, START);
        }
        // A restart on request is no outage, whatever its wait.
        let actions = machine.handle(exited(ChildExit::Status(255)), START);
        assert!(!actions.iter().any(|action| matches!(action, Action::Log(Level::Warning, _))), "{actions:?}");
        assert_eq!(quick_starts(machine), quick, "hangup: {hangup}");
    }
}

mod forwards;
mod log;
mod monitor;
mod network;
mod sequences;
