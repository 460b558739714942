//! Any sequence of events: never two children, every stop ends in time, starts are counted right.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Any event that is not caused by an action.
fn an_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => Just(Event::Stop(15)),
        4 => Just(Event::Restart),
        4 => Just(Event::Hangup),
        4 => Just(Event::TestNow),
        4 => Just(Event::NetworkChanged),
        2 => Just(Event::Resumed),
        1 => Just(Event::ForwardRefused),
        8 => select_end().prop_map(Event::ChildExited),
        8 => select_outcome().prop_map(Event::Tested),
        12 => Just(Event::Tick),
    ]
}

fn select_end() -> impl Strategy<Value = ChildExit> {
    prop_oneof![Just(ChildExit::Status(255)), Just(ChildExit::Status(1)), (1..65).prop_map(ChildExit::Signal)]
}

fn select_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Passed), Just(FAILED), Just(Outcome::Impossible(String::new()))]
}

/// A model of the loop: whether there is an ssh, and a test.
#[derive(Default)]
struct World {
    ssh: bool,
    test: bool,
    starts: u64,
    over: bool,
}

impl World {
    /// Hands the event in if it can happen, carries the actions out, and checks each.
    fn step(&mut self, machine: &mut Machine, event: Event, now: Time, starts_fail: bool) {
        match &event {
            Event::ChildExited(_) if !self.ssh => return,
            Event::ChildExited(_) => self.ssh = false,
            Event::Tested(_) if !self.test => return,
            Event::Tested(_) => self.test = false,
            _ => {}
        }
        for action in machine.handle(event, now) {
            match action {
                Action::Start => {
                    assert!(!self.ssh, "a second ssh");
                    self.starts += 1;
                    self.ssh = !starts_fail;
                    let answer = if starts_fail { Event::NotStarted("x".into()) } else { Event::Started(42) };
                    self.step(machine, answer, now, starts_fail);
                }
                Action::Test(_) => {
                    assert!(!self.test && self.ssh, "a test without an ssh, or a second one");
                    self.test = true;
                }
                Action::DropTest => self.test = false,
                Action::Term | Action::Kill => {}
                Action::Exit(_) => {
                    assert!(!self.over, "a second end");
                    self.over = true;
                }
                _ => {}
            }
        }
        assert!(!self.test || self.ssh, "a test has outlived its ssh");
        assert_eq!(machine.starts(), self.starts);
        if let State::Waiting { until } = machine.state() {
            assert!(until <= now.max(START) + secs(600), "a wait of more than the poll time");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(
        events in vec((an_event(), 0_u64..100_000, any::<bool>()), 0..60),
        monitoring in prop_oneof![
            Just(OFF), Just(LOOP), Just(Monitoring::Automatic), Just(Monitoring::Echo { port: 5, echo: 7 })
        ],
        gate in prop_oneof![Just(0), Just(30)],
        readiness_pending: bool,
    ) {
        let mut machine = machine(rules(monitoring, |rules| rules.gate_time = secs(gate)), readiness_pending);
        let mut world = World::default();
        let mut now = START;
        for (event, millis, starts_fail) in events {
            now += Duration::from_millis(millis);
            if !world.over {
                world.step(&mut machine, event, now, starts_fail);
            }
            // After a failed start the next may be due at once, but only as often as starts are not delayed.
            let mut rounds = 0;
            while !world.over && (rounds == 0 || machine.deadline().is_some_and(|deadline| deadline <= now)) {
                world.step(&mut machine, Event::Tick, now, starts_fail);
                rounds += 1;
                prop_assert!(rounds < 10, "something due is left undone");
            }
        }
        // A stop always ends, even if ssh ignores signals.
        if !world.over {
            world.step(&mut machine, Event::Stop(15), now, false);
        }
        let limit = now + secs(10);
        while !world.over {
            now = machine.deadline().expect("nothing is due any more");
            prop_assert!(now <= limit, "a stop has taken more than ten seconds");
            world.step(&mut machine, Event::Tick, now, false);
        }
    }
}
