use core::net::SocketAddr;

use super::network::COALESCE;
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
    let (mut machine, until) = waiting();
    assert_eq!(acts(&mut machine, Event::Slept, START), []);
    assert_eq!(acts(&mut machine, Event::Tick, until.saturating_sub(secs(1))), []);
    assert_eq!(acts(&mut machine, Event::Tick, until + secs(8 * 3600)), [UNMONITORED], "overdue after a sleep");
}

#[test]
fn a_change_of_the_network_ends_a_wait_and_then_there_is_a_hold_off() {
    let (mut machine, _) = waiting();
    assert_eq!(machine.network_relevant_from(), Some(Time::ZERO));
    machine.handle(Event::NetworkChanged, START);
    assert_eq!(machine.state(), State::Waiting { until: START + Duration::from_millis(200) });
    assert_eq!(machine.network_relevant_from(), Some(START + secs(10)));

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
    machine.handle(Event::NetworkChanged, START + secs(100));
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(101)), [Action::Test(TestTrigger::Change)]);
    assert_eq!(machine.network_relevant_from(), Some(START + secs(111)));
    // The first test that an ssh passes shows that it works; the next shows nothing new.
    machine.handle(Event::Tested(PASSED), START + secs(101));
    assert_eq!(machine.network_relevant_from(), Some(Time::ZERO));
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
fn systemd_hears_when_traffic_flows() {
    // With a monitor: at the first test that passes, which is tried early.
    let mut machine = machine(rules(LOOP, |_| {}), true);
    machine.handle(Event::Tick, START);
    machine.handle(Event::Started(42), START);
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(1)), [Action::Test(TestTrigger::Early)]);
    assert_eq!(acts(&mut machine, Event::Tested(FAILED), START + secs(1)), [], "without consequence");
    assert_eq!(acts(&mut machine, Event::Tick, START + secs(2)), [Action::Test(TestTrigger::Early)]);
    let passed = acts(&mut machine, Event::Tested(PASSED), START + secs(2));
    assert_eq!(passed, [Action::TouchPidFile, Action::NotifyReady]);
    machine.handle(Event::LinkSeen(Link::Established), START + secs(2));
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

/// A reverse tunnel whose first ssh runs.
fn tunnel(change: impl FnOnce(&mut Rules)) -> Machine {
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
        machine.handle(Event::Refused(Refusal::Remote(Listen::Port(2200))), now);
        assert_eq!(acts(&mut machine, Event::Tick, now + secs(1)), []);
        assert_eq!(acts(&mut machine, Event::Tick, now + secs(600)), [Action::Term], "{number}");
        assert_eq!(acts(&mut machine, exited(ChildExit::Status(255)), now + secs(600)), []);
        assert_eq!(acts(&mut machine, Event::Tick, now + secs(600)), [UNMONITORED], "no wait, and no limit");
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
fn a_control_master_is_known_when_a_forward_is_refused() {
    let mut machine = tunnel(|_| {});
    let refused = || Event::Refused(Refusal::Local(HERE));
    machine.handle(Event::LinkSeen(Link::Established), START);
    assert_eq!(machine.handle(refused(), START + secs(1)), [Action::FindLink]);
    assert_eq!(machine.handle(refused(), START + secs(1)), [], "one look is enough");
    machine.handle(Event::LinkSeen(Link::Master), START + secs(1));
    for second in [2, 6, 7, 700] {
        assert_eq!(acts(&mut machine, Event::Tick, START + secs(second)), []);
    }
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
    assert_eq!(machine.network_relevant_from(), Some(START + secs(100) + COALESCE));
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
fn an_outage_is_one_warning_and_one_line_when_it_is_over() {
    let warnings = |actions: Vec<Action>| -> Vec<Action> {
        actions.into_iter().filter(|action| matches!(action, Action::Log(Level::Warning, _))).collect()
    };
    let mut machine = running(rules(OFF, no_gate));
    let refused = || Event::ChildExited(ChildExit::Status(255), Some("Connection refused".into()));
    let mut all = Vec::new();
    let mut now = START;
    for _ in 0..20 {
        all.extend(warnings(machine.handle(refused(), now)));
        now = machine.deadline().unwrap();
        machine.handle(Event::Tick, now);
        machine.handle(Event::Started(42), now);
    }
    let text = "ssh has failed 6 times in a row (last: status 255, Connection refused), next start in 2.0 s";
    assert_eq!(all, [Action::warning(text)]);
    // An ssh that has lived for a tenth of the poll time works.
    assert_eq!(machine.handle(Event::Tick, now + secs(59)), []);
    let over = machine.handle(Event::Tick, now + secs(60));
    assert_eq!(over, [Action::info("ssh is up again after 20 failures in a row")]);
    assert_eq!(machine.handle(Event::Tick, now + secs(600)), []);
    // A restart on request is not a failure.
    let mut machine = running(rules(OFF, no_gate));
    for _ in 0..20 {
        machine.handle(Event::Restart, START);
        assert_eq!(warnings(machine.handle(exited(ChildExit::Status(255)), START)), []);
        machine.handle(Event::Hangup, START);
        machine.handle(Event::Tick, START);
        machine.handle(Event::Started(42), START);
    }
}

#[test]
fn a_session_without_a_monitor_is_not_tested() {
    let mut machine = machine(rules(Monitoring::Automatic, |_| {}), false);
    machine.handle(Event::Tick, START);
    machine.handle(Event::MonitorUnavailable("no port".into()), START);
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

#[test]
fn after_a_sleep_the_next_network_change_matters_at_once() {
    let (mut machine, _) = waiting();
    machine.handle(Event::NetworkChanged, START);
    assert!(machine.network_relevant_from() > Some(START));
    machine.handle(Event::Slept, START);
    assert_eq!(machine.network_relevant_from(), Some(Time::ZERO));
}

#[test]
fn a_hangup_while_ssh_ends_spares_the_wait() {
    for (hangup, waits) in [(false, true), (true, false)] {
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
        assert_eq!(machine.state() != (State::Waiting { until: START }), waits, "hangup: {hangup}");
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

mod sequences;
