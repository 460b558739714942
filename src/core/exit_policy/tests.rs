use super::*;

#[test]
fn the_table() {
    use Decision::{Exit, GiveUp, Restart};
    use StartPhase::{First, Trusted, WithinGate};
    for status in 0..=255 {
        let row = match status {
            0 => [Exit(0), Exit(0), Exit(0)],
            1 | 2 => [GiveUp, Exit(1), Restart],
            255 => [GiveUp, Restart, Restart],
            _ => [GiveUp, Exit(1), Exit(1)],
        };
        for (phase, expected) in [WithinGate, First, Trusted].into_iter().zip(row) {
            assert_eq!(decide(ChildExit::Status(status), phase, false), expected, "status {status}, {phase:?}");
            let expected = if status == 0 { Restart } else { expected };
            assert_eq!(decide(ChildExit::Status(status), phase, true), expected, "status {status}, service");
        }
    }
    for signal in 1..=64 {
        for phase in [WithinGate, First, Trusted] {
            assert_eq!(decide(ChildExit::Signal(signal), phase, false), Restart, "signal {signal}");
        }
    }
}

#[test]
fn start_phases() {
    const GATE: Duration = Duration::from_secs(30);
    let just_less = GATE.saturating_sub(Duration::from_nanos(1));
    for (start, lived, gate, expected) in [
        (1, Duration::ZERO, GATE, StartPhase::WithinGate),
        (1, just_less, GATE, StartPhase::WithinGate),
        (1, GATE, GATE, StartPhase::First),
        (2, Duration::ZERO, GATE, StartPhase::Trusted),
        (1, Duration::ZERO, Duration::ZERO, StartPhase::Trusted),
    ] {
        assert_eq!(StartPhase::of(start, lived, gate), expected, "start {start}, lived {lived:?}");
    }
}
