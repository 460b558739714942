//! Any sequence of events: never two children, every stop ends in time, starts are counted right.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cases::cases;
use crate::forwards::{Asked, Listen, Refusal};

const LOOKS: Looks = Looks { link: Link::Unknown, gone: false, free: false };

/// Any event that is not the result of an action.
fn an_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => Just(Event::Stop(15)),
        4 => Just(Event::Restart),
        4 => Just(Event::Hangup),
        4 => Just(Event::TestNow),
        4 => Just(Event::NetworkChanged),
        2 => Just(Event::Slept),
        2 => Just(Event::Continued),
        1 => Just(Event::MonitorRefused),
        2 => select_refusal().prop_map(Event::Refused),
        4 => Just(Event::Started(42)),
        4 => Just(Event::NotStarted("x".into())),
        8 => select_exit().prop_map(exited),
        8 => select_outcome().prop_map(Event::Tested),
        12 => Just(Event::Tick),
    ]
}

fn select_exit() -> impl Strategy<Value = ChildExit> {
    prop_oneof![Just(ChildExit::Status(255)), Just(ChildExit::Status(1)), (1..65).prop_map(ChildExit::Signal)]
}

fn select_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(PASSED), Just(FAILED), Just(Outcome::Impossible(String::new()))]
}

fn select_refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        Just(Refusal::Remote(Listen::Port(2200))),
        Just(Refusal::Remote(Listen::Port(2201))),
        Just(Refusal::Local(HERE))
    ]
}

/// What checks of the system find.
#[derive(Clone, Copy, Debug)]
struct Looks {
    link: Link,
    gone: bool,
    free: bool,
}

fn some_looks() -> impl Strategy<Value = Looks> {
    let link = prop::sample::select(vec![Link::None, Link::Established, Link::Master, Link::Shared, Link::Unknown]);
    (link, any::<bool>(), any::<bool>()).prop_map(|(link, gone, free)| Looks { link, gone, free })
}

/// An ssh, from its fork until it is reaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ssh {
    Forked,
    Executed,
}

/// A model of the loop: whether there is an ssh, whether it is executed, and whether there is a test.
#[derive(Default)]
struct World {
    ssh: Option<Ssh>,
    test: bool,
    starts: u64,
    over: bool,
}

impl World {
    /// Hands the event in if it can happen, carries the actions out, and checks each.
    fn step(&mut self, machine: &mut Machine, event: Event, now: Time, looks: Looks) {
        match &event {
            Event::ChildExited(..) if self.ssh.is_none() => return,
            Event::Started(_) | Event::NotStarted(_) if self.ssh != Some(Ssh::Forked) => return,
            Event::Started(_) => self.ssh = Some(Ssh::Executed),
            Event::ChildExited(..) | Event::NotStarted(_) => self.ssh = None,
            Event::Tested(_) if !self.test => return,
            Event::Tested(_) => self.test = false,
            _ => {}
        }
        let mut results = Vec::new();
        for action in machine.handle(event, now) {
            match action {
                Action::Start { .. } => {
                    assert!(self.ssh.is_none(), "a second ssh");
                    self.starts += 1;
                    self.ssh = Some(Ssh::Forked);
                }
                Action::Test(_) => {
                    assert!(!self.test && self.ssh.is_some(), "a test without an ssh, or a second one");
                    self.test = true;
                }
                Action::DropTest => self.test = false,
                Action::Term | Action::Kill => assert!(self.ssh.is_some(), "nobody to end"),
                Action::FindLink => results.push(Event::LinkSeen(looks.link)),
                Action::CheckAddress => {
                    results.push(Event::AddressChecked(looks.gone.then(|| "192.0.2.1".into())));
                }
                Action::CheckLocal(_) => results.push(Event::LocalChecked(looks.free)),
                Action::Exit(_) => {
                    assert!(!self.over, "a second end");
                    self.over = true;
                }
                _ => {}
            }
        }
        assert!(!self.test || self.ssh.is_some(), "a test has outlived its ssh");
        assert_eq!(machine.starts(), self.starts);
        if let State::Waiting { until } = machine.state() {
            assert!(until <= now.max(START) + secs(600), "a wait of more than the poll time");
        }
        for result in results {
            self.step(machine, result, now, looks);
        }
    }
}

/// The rules of a reverse tunnel.
fn tunnel(monitoring: Monitoring, gate: u64) -> Rules {
    rules(monitoring, |rules| {
        rules.gate_time = secs(gate);
        rules.no_command = true;
        let ports = |ports: &[u16]| ports.iter().map(|port| Listen::Port(*port)).collect();
        rules.forwards = Asked { remote: ports(&[2200, 2201]), local: ports(&[8080]), tunnel: false };
    })
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn whatever_happens(
        events in vec((an_event(), 0_u64..100_000, some_looks()), 0..60),
        monitoring in prop_oneof![
            Just(OFF), Just(LOOP), Just(Monitoring::Automatic), Just(Monitoring::Echo { port: 5, echo: 7 })
        ],
        gate in prop_oneof![Just(0), Just(30)],
        readiness_pending: bool,
    ) {
        let mut machine = machine(tunnel(monitoring, gate), readiness_pending);
        let mut world = World::default();
        let mut now = START;
        for (event, millis, looks) in events {
            now += Duration::from_millis(millis);
            if !world.over {
                world.step(&mut machine, event, now, looks);
            }
            // After a failed start the next may be due at once, but only as often as starts are not delayed.
            let mut rounds = 0;
            while !world.over && (rounds == 0 || machine.deadline().is_some_and(|deadline| deadline <= now)) {
                world.step(&mut machine, Event::Tick, now, looks);
                rounds += 1;
                prop_assert!(rounds < 10, "something due is left undone");
            }
        }
        // A stop always ends, even if ssh ignores signals.
        if !world.over {
            world.step(&mut machine, Event::Stop(15), now, LOOKS);
        }
        let limit = now + secs(10);
        while !world.over {
            now = machine.deadline().expect("nothing is due any more");
            prop_assert!(now <= limit, "a stop has taken more than ten seconds");
            world.step(&mut machine, Event::Tick, now, LOOKS);
        }
    }
}
