use super::*;

/// 127.0.0.1:8080
const HERE: SocketAddr = SocketAddr::V4(core::net::SocketAddrV4::new(core::net::Ipv4Addr::LOCALHOST, 8080));
const START: Time = secs(1_000_000);
const POLL: Duration = secs(600);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ports(ports: &[u16]) -> Vec<Listen> {
    ports.iter().map(|port| Listen::Port(*port)).collect()
}

fn asked(remote: &[u16], local: &[u16]) -> Asked {
    Asked { remote: ports(remote), local: ports(local), tunnel: false }
}

/// The forwards of an ssh that has just been started.
fn started(asked: Asked) -> Forwards {
    let mut forwards = Forwards::new(asked, POLL);
    forwards.started();
    forwards
}

fn refuse_remote(forwards: &mut Forwards, refused: &[u16], now: Time) {
    for port in refused {
        forwards.refused(Refusal::Remote(Listen::Port(*port)), now);
    }
}

/// Takes everything that is due until `now`, and returns the steps with their times, and the warnings.
fn until(forwards: &mut Forwards, now: Time) -> (Vec<(u64, Step)>, Vec<String>) {
    let (mut steps, mut actions) = (Vec::new(), Vec::new());
    while let Some(at) = forwards.due().filter(|at| *at <= now) {
        let step = forwards.take(at, &mut actions);
        if step != Step::None {
            steps.push((at.saturating_sub(START).as_secs(), step));
        }
    }
    let warnings = actions.into_iter().filter_map(|action| match action {
        Action::Log(crate::level::Level::Warning, text) => Some(text),
        _ => None,
    });
    (steps, warnings.collect())
}

/// Makes a session, in which nothing is refused, count as working.
fn proven(forwards: &mut Forwards) {
    forwards.started();
    forwards.proven(&mut Vec::new());
    forwards.stopped();
    forwards.started();
}

/// What follows from a refusal: worked before or not, all or some, remote or local.
#[test]
fn plans() {
    for (name, asked, had, remote, local, expected) in [
        ("had, all refused", asked(&[2200], &[]), true, &[2200][..], &[][..], Plan::Persist),
        ("had, some refused", asked(&[2200, 2201], &[]), true, &[2200], &[], Plan::Persist),
        ("had, others stand", asked(&[2200], &[8080]), true, &[2200], &[], Plan::Persist),
        ("never had, all refused", asked(&[2200, 2201], &[]), false, &[2200, 2201], &[], Plan::Persist),
        ("never had, a local one stands", asked(&[2200], &[8080]), false, &[2200], &[], Plan::Try),
        ("never had, all refused, local too", asked(&[2200], &[8080]), false, &[2200], &[HERE], Plan::Persist),
        ("never had, another remote one stands", asked(&[2200, 2201], &[]), false, &[2200], &[], Plan::Try),
        ("any free port", asked(&[0], &[]), false, &[0], &[], Plan::Persist),
        ("one of two with the same port", asked(&[2200, 2200], &[]), false, &[2200], &[], Plan::Try),
        ("one of two with the same port, had", asked(&[2200, 2200], &[]), true, &[2200], &[], Plan::Persist),
        ("both with the same port", asked(&[2200, 2200], &[]), false, &[2200, 2200], &[], Plan::Persist),
        ("local", asked(&[], &[8080]), false, &[], &[HERE], Plan::AwaitLocal),
        ("local, had", asked(&[], &[8080]), true, &[], &[HERE], Plan::AwaitLocal),
        ("local, a remote one stands", asked(&[2200], &[8080]), true, &[], &[HERE], Plan::AwaitLocal),
        ("of the configuration alone", asked(&[], &[]), false, &[2200], &[], Plan::Persist),
    ] {
        let mut forwards = started(asked);
        if had {
            proven(&mut forwards);
        }
        refuse_remote(&mut forwards, remote, START);
        for address in local {
            forwards.refused(Refusal::Local(*address), START);
        }
        assert_eq!(forwards.plan(START), expected, "{name}");
    }
}

#[test]
fn socket_paths_are_forwards_too() {
    let path = |name: &str| Listen::Path(name.into());
    let mut forwards = started(Asked { remote: vec![path("/a"), path("/b")], ..Asked::default() });
    forwards.refused(Refusal::Remote(path("/a")), START);
    assert_eq!(forwards.plan(START), Plan::Try);
    assert_eq!(forwards.refused_text().unwrap(), "/a on the server");
    forwards.refused(Refusal::Remote(path("/b")), START);
    assert_eq!(forwards.plan(START), Plan::Persist);
}

#[test]
fn restarts_grow_rare_until_the_forward_stands_and_are_warned_of_once() {
    let mut forwards = started(asked(&[2200], &[]));
    let mut now = START;
    let mut waits = Vec::new();
    let mut warnings = Vec::new();
    for _ in 0..10 {
        refuse_remote(&mut forwards, &[2200], now);
        let (steps, new) = until(&mut forwards, now + secs(5000));
        warnings.extend(new);
        let [(at, Step::Restart)] = steps[..] else { panic!("{steps:?}") };
        waits.push(at - now.saturating_sub(START).as_secs());
        now = START + secs(at + 1);
        forwards.stopped();
        forwards.started();
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
    let text = "port 2200 on the server is refused, most likely still held by our last session; trying again in 4 s";
    assert_eq!(warnings, [text]);

    let mut actions = Vec::new();
    forwards.proven(&mut actions);
    assert_eq!(actions, [Action::info("all forwards work again")]);
    // The next refusal is logged as a warning again.
    refuse_remote(&mut forwards, &[2200], now);
    let (steps, warnings) = until(&mut forwards, now + secs(10));
    assert_eq!((steps.len(), warnings.len()), (1, 1));
}

#[test]
fn a_forward_that_never_stood_while_others_do_is_tried_five_times() {
    let mut forwards = started(asked(&[2200, 2201], &[]));
    let mut now = START;
    let mut warnings = Vec::new();
    for number in 0..7 {
        refuse_remote(&mut forwards, &[2200], now);
        let (steps, new) = until(&mut forwards, now + secs(5000));
        assert_eq!(steps.len(), usize::from(number < 5), "{number}");
        warnings.extend(new);
        now += secs(90);
        forwards.stopped();
        forwards.started();
    }
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.starts_with("port 2200 on the server is refused in session after session"), "{warning}");
    assert!(warning.contains("ExitOnForwardFailure"), "{warning}");
}

#[test]
fn the_five_tries_are_over_after_ten_minutes() {
    let mut forwards = started(asked(&[2200, 2201], &[]));
    refuse_remote(&mut forwards, &[2200], START);
    assert_eq!(until(&mut forwards, START + secs(60)).0.len(), 1);
    // The series began with the decision, a second after the refusal.
    assert_eq!(forwards.plan(START + secs(600)), Plan::Try);
    assert_eq!(forwards.plan(START + secs(601)), Plan::LeaveAlone);
    forwards.stopped();
    forwards.started();
    let later = START + secs(660);
    refuse_remote(&mut forwards, &[2200], later);
    let (steps, warnings) = until(&mut forwards, later + secs(5000));
    assert_eq!((steps.len(), warnings.len()), (0, 1));
    assert!(warnings[0].contains("in session after session"), "{warnings:?}");
}

#[test]
fn a_session_with_a_refused_forward_does_not_end_the_series() {
    for (remote, ends) in [(&[2200][..], false), (&[], true)] {
        let mut forwards = started(asked(&[2200, 2201], &[]));
        proven(&mut forwards);
        refuse_remote(&mut forwards, &[2200], START);
        assert_eq!(until(&mut forwards, START + secs(1)).1.len(), 1);
        forwards.stopped();
        forwards.started();
        refuse_remote(&mut forwards, remote, START + secs(10));
        let mut actions = Vec::new();
        forwards.proven(&mut actions);
        assert_eq!(actions.len(), usize::from(ends));
        assert_eq!(forwards.series.is_none(), ends);
    }
}

#[test]
fn the_forwards_of_ssh_config_are_known_once_one_was_refused() {
    let mut forwards = started(Asked::default());
    forwards.established(START);
    assert_eq!(forwards.due(), None, "there may be none");
    refuse_remote(&mut forwards, &[2200], START);
    assert_eq!(until(&mut forwards, START + secs(5)).0, [(5, Step::Restart)]);
    forwards.started();
    forwards.established(START + secs(10));
    let mut actions = Vec::new();
    assert_eq!(forwards.take(START + secs(40), &mut actions), Step::None);
    assert_eq!(actions, [Action::info("all forwards work again")]);
}

#[test]
fn a_local_port_is_awaited() {
    let mut forwards = started(asked(&[], &[8080]));
    forwards.refused(Refusal::Local(HERE), START);
    let mut times = Vec::new();
    let mut actions = Vec::new();
    for number in 0..5 {
        // The first time the decision comes before that.
        let due = forwards.due().unwrap() + secs(if number == 0 { 4 } else { 0 });
        let (steps, warnings) = until(&mut forwards, due);
        assert_eq!(warnings.len(), usize::from(number == 0));
        let [(at, Step::CheckLocal(addresses))] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!(addresses, &[HERE]);
        times.push(*at);
        assert!(!forwards.local_checked(false, START + secs(*at), &mut actions), "not while it is taken");
    }
    assert_eq!(times, [5, 15, 35, 75, 155]);
    assert!(forwards.local_checked(true, START + secs(200), &mut actions));
    // Not if it was all that was refused, or if something else decides.
    let mut forwards = started(asked(&[2200], &[8080]));
    assert!(!forwards.local_checked(true, START, &mut actions));
    forwards.refused(Refusal::Local(HERE), START);
    refuse_remote(&mut forwards, &[2200], START);
    assert!(!forwards.local_checked(true, START, &mut actions));
}

#[test]
fn nothing_is_done_before_it_is_due() {
    let mut forwards = started(asked(&[2200], &[]));
    refuse_remote(&mut forwards, &[2200], START);
    for (millis, lines, step) in [
        (0, 0, Step::None),
        (999, 0, Step::None),
        (1000, 1, Step::None),
        (4999, 0, Step::None),
        (5000, 1, Step::Restart),
    ] {
        let mut actions = Vec::new();
        assert_eq!(forwards.take(START + Duration::from_millis(millis), &mut actions), step, "{millis}");
        assert_eq!(actions.len(), lines, "{millis}");
    }
}

#[test]
fn what_must_not_be_restarted_for_a_forward() {
    // A shared connection, whether or not the forward worked before.
    for had in [false, true] {
        let mut forwards = started(asked(&[2200], &[8080]));
        if had {
            proven(&mut forwards);
        }
        forwards.shared();
        refuse_remote(&mut forwards, &[2200], START);
        forwards.refused(Refusal::Local(HERE), START);
        let (steps, warnings) = until(&mut forwards, START + secs(5000));
        assert_eq!((steps.len(), warnings.len()), (0, 1));
    }
    // A tunnel device, unless the forward worked before.
    for had in [false, true] {
        let mut forwards = started(Asked { tunnel: true, ..asked(&[2200], &[]) });
        if had {
            proven(&mut forwards);
        }
        refuse_remote(&mut forwards, &[2200], START);
        let (steps, _) = until(&mut forwards, START + secs(5000));
        assert_eq!(steps.len(), usize::from(had));
    }
}

#[test]
fn what_counts_as_had() {
    let had = |change: &dyn Fn(&mut Forwards)| {
        let mut forwards = started(asked(&[2200, 2201], &[]));
        change(&mut forwards);
        forwards.had.clone()
    };
    assert_eq!(had(&|_| {}), [], "not known is not had");
    assert_eq!(had(&|forwards| forwards.proven(&mut Vec::new())), ports(&[2200, 2201]));
    let established = |forwards: &mut Forwards| forwards.established(START);
    assert_eq!(
        had(&|forwards| {
            established(forwards);
            until(forwards, START + Duration::from_millis(29_999));
        }),
        []
    );
    assert_eq!(
        had(&|forwards| {
            established(forwards);
            until(forwards, START + secs(30));
        }),
        ports(&[2200, 2201])
    );
    assert_eq!(
        had(&|forwards| {
            established(forwards);
            forwards.stopped();
            until(forwards, START + secs(30));
        }),
        [],
        "it did not live that long"
    );
    assert_eq!(
        had(&|forwards| {
            refuse_remote(forwards, &[2200], START);
            forwards.proven(&mut Vec::new());
        }),
        ports(&[2201])
    );
    // A forward that worked stays so, and is not counted twice.
    assert_eq!(
        had(&|forwards| {
            proven(forwards);
            proven(forwards);
            refuse_remote(forwards, &[2200], START);
            forwards.proven(&mut Vec::new());
        }),
        ports(&[2200, 2201])
    );
}

#[test]
fn a_hangup_and_the_network_begin_the_series_anew() {
    let mut forwards = started(asked(&[2200], &[]));
    let mut now = START;
    for _ in 0..6 {
        refuse_remote(&mut forwards, &[2200], now);
        until(&mut forwards, now + secs(5000));
        now += secs(1000);
        forwards.stopped();
        forwards.started();
    }
    refuse_remote(&mut forwards, &[2200], now);
    until(&mut forwards, now + secs(2));
    assert_eq!(forwards.due(), Some(now + secs(320)));
    forwards.restart_series(now + secs(50));
    assert_eq!(forwards.due(), Some(now + secs(55)));
    // Never later than it would have been.
    forwards.restart_series(now + secs(53));
    assert_eq!(forwards.due(), Some(now + secs(55)));
    // The intervals grow from the first again.
    until(&mut forwards, now + secs(55));
    forwards.stopped();
    forwards.started();
    forwards.restart_series(now + secs(60));
    assert_eq!(forwards.due(), None, "nothing is refused yet");
    refuse_remote(&mut forwards, &[2200], now + secs(60));
    until(&mut forwards, now + secs(61));
    assert_eq!(forwards.due(), Some(now + secs(65)));
    until(&mut forwards, now + secs(65));
    forwards.stopped();
    forwards.started();
    refuse_remote(&mut forwards, &[2200], now + secs(70));
    until(&mut forwards, now + secs(71));
    assert_eq!(forwards.due(), Some(now + secs(80)));

    // Also after the five attempts.
    let mut forwards = started(asked(&[2200, 2201], &[]));
    for number in 0..6 {
        let now = START + secs(90 * number);
        forwards.stopped();
        forwards.started();
        refuse_remote(&mut forwards, &[2200], now);
        until(&mut forwards, now + secs(5000));
    }
    assert_eq!(forwards.due(), None);
    forwards.restart_series(START + secs(1000));
    assert_eq!(forwards.due(), Some(START + secs(1005)));
    let mut tries = 0;
    while !until(&mut forwards, START + secs(1000 + 90 * (tries + 1))).0.is_empty() {
        tries += 1;
        forwards.stopped();
        forwards.started();
        refuse_remote(&mut forwards, &[2200], START + secs(1000 + 90 * tries));
    }
    assert_eq!(tries, 5);
    // And nothing if nothing is refused.
    let mut forwards = started(asked(&[2200], &[]));
    forwards.restart_series(START);
    assert_eq!(forwards.due(), None);
}

#[test]
fn intervals_are_no_longer_than_the_poll_time() {
    let mut forwards = Forwards::new(asked(&[2200], &[]), secs(3));
    forwards.started();
    refuse_remote(&mut forwards, &[2200], START);
    assert_eq!(until(&mut forwards, START + secs(3)).0, [(3, Step::Restart)]);
}

mod log;
