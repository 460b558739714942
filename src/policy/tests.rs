use super::*;

#[test]
fn the_table() {
    use Standing::{First, Trusted, WithinGate};
    use Verdict::{Exit, GiveUp, Restart};
    for status in 0..=255 {
        let row = match status {
            0 => [Exit(0), Exit(0), Exit(0)],
            1 | 2 => [GiveUp, Exit(1), Restart],
            255 => [GiveUp, Restart, Restart],
            _ => [GiveUp, Exit(1), Exit(1)],
        };
        for (standing, expected) in [WithinGate, First, Trusted].into_iter().zip(row) {
            assert_eq!(judge(Ended::Status(status), standing, false), expected, "status {status}, {standing:?}");
            let expected = if status == 0 { Restart } else { expected };
            assert_eq!(judge(Ended::Status(status), standing, true), expected, "status {status}, service");
        }
    }
    for signal in 1..=64 {
        for standing in [WithinGate, First, Trusted] {
            assert_eq!(judge(Ended::Signal(signal), standing, false), Restart, "signal {signal}");
        }
    }
}

#[test]
fn standings() {
    const GATE: Duration = Duration::from_secs(30);
    let just_less = GATE.saturating_sub(Duration::from_nanos(1));
    for (start, lived, gate, expected) in [
        (1, Duration::ZERO, GATE, Standing::WithinGate),
        (1, just_less, GATE, Standing::WithinGate),
        (1, GATE, GATE, Standing::First),
        (2, Duration::ZERO, GATE, Standing::Trusted),
        (1, Duration::ZERO, Duration::ZERO, Standing::Trusted),
    ] {
        assert_eq!(Standing::of(start, lived, gate), expected, "start {start}, lived {lived:?}");
    }
}

#[test]
fn phrases_that_filters_match() {
    for (ended, verdict, level, text) in [
        (Ended::Signal(9), Verdict::Restart, Level::Info, "ssh exited on signal 9, restarting ssh"),
        (Ended::Status(255), Verdict::Restart, Level::Info, "ssh exited with error status 255; restarting ssh"),
        (Ended::Status(0), Verdict::Exit(0), Level::Info, "ssh exited with status 0; autossh exiting"),
        (Ended::Status(3), Verdict::Exit(1), Level::Info, "ssh exited with status 3; autossh exiting"),
        (Ended::Status(1), Verdict::GiveUp, Level::Error, "ssh exited prematurely with status 1; autossh exiting"),
    ] {
        assert_eq!(words(ended, verdict), (level, text.to_owned()));
    }
}
