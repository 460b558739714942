//! Any sequence of events: never two children, every stop ends in time, starts are counted right.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Any event that is not an answer.
fn an_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => Just(Event::Stop(15)),
        4 => Just(Event::Restart),
        4 => Just(Event::Prod),
        4 => Just(Event::TestNow),
        4 => Just(Event::NetworkChanged),
        2 => Just(Event::Resumed),
        1 => Just(Event::ForwardRefused),
        8 => select_end().prop_map(Event::Ended),
        8 => select_outcome().prop_map(Event::Tested),
        12 => Just(Event::Tick),
    ]
}

fn select_end() -> impl Strategy<Value = Ended> {
    prop_oneof![Just(Ended::Status(255)), Just(Ended::Status(1)), (1..65).prop_map(Ended::Signal)]
}

fn select_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Passed), Just(FAILED), Just(Outcome::Impossible(String::new()))]
}

/// What the loop would be like: there is an ssh or not, and a test or not.
#[derive(Default)]
struct World {
    ssh: bool,
    test: bool,
    starts: u64,
    over: bool,
}

impl World {
    /// Hands the event in if it can happen, carries the actions out, and checks each.
    fn step(&mut self, machine: &mut Supervision, event: Event, now: Time, starts_fail: bool) {
        match &event {
            Event::Ended(_) if !self.ssh => return,
            Event::Ended(_) => self.ssh = false,
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
        line in prop_oneof![Just("-M 0 host"), Just("-M 5 host"), Just("-N host"), Just("-fN host"), Just("-M 5:7 host")],
        gate in prop_oneof![Just("0"), Just("30")],
        awaited: bool,
    ) {
        let mut machine = machine(line, &[("AUTOSSH_GATETIME", gate)], awaited);
        let mut world = World::default();
        let mut now = START;
        for (event, millis, starts_fail) in events {
            now += Duration::from_millis(millis);
            if !world.over {
                world.step(&mut machine, event, now, starts_fail);
            }
            // A start that fails may leave the next one due at once; that ends with the starts that are free.
            let mut rounds = 0;
            while !world.over && (rounds == 0 || machine.deadline().is_some_and(|deadline| deadline <= now)) {
                world.step(&mut machine, Event::Tick, now, starts_fail);
                rounds += 1;
                prop_assert!(rounds < 10, "something due is left undone");
            }
        }
        // A stop always comes to its end, be ssh as deaf as it may.
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
