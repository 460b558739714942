//! What the log says of refused forwards (autossh(1), FORWARDS).

use super::*;

/// The lines of each session in which this is refused, until nothing more is due.
fn lines(forwards: &mut Forwards, remote: &[u16], local: &[SocketAddr], sessions: usize) -> Vec<Vec<Action>> {
    let mut now = START;
    let mut all = Vec::new();
    for _ in 0..sessions {
        forwards.started();
        refuse_remote(forwards, remote, now);
        for address in local {
            forwards.refused(Refusal::Local(*address), now);
        }
        let mut lines = Vec::new();
        let mut step = Step::None;
        while let Some(at) = forwards.due().filter(|_| step == Step::None) {
            now = at;
            step = forwards.take(at, &mut lines);
        }
        forwards.stopped();
        all.push(lines);
    }
    all
}

#[test]
fn what_the_log_says() {
    let retries = |port: &str, wait: u64| {
        let text = format!("port {port} on the server is refused; trying again in {wait} s");
        vec![Action::info(text), Action::info(format!("restarting ssh to try port {port} on the server again"))]
    };
    // None stands: the first session of the series has a warning in place of the line.
    let [first, second, third] = &lines(&mut started(asked(&[2200], &[])), &[2200], &[], 3)[..] else { panic!() };
    assert!(matches!(&first[0], Action::Log(crate::level::Level::Warning, _)));
    assert_eq!((&first[1], second, third), (&retries("2200", 9)[1], &retries("2200", 9), &retries("2200", 19)));
    // Others stand: only the last has one, and what follows has none.
    let all = lines(&mut started(asked(&[2200, 2201], &[])), &[2200], &[], 8);
    let waits = [4, 9, 19, 39, 79];
    assert_eq!(all[..5], waits.map(|wait| retries("2200", wait)));
    let text = "port 2200 on the server is refused in session after session: the server forbids it, or another program has \
        it; leaving this session as it is; with ExitOnForwardFailure=yes ssh would end instead";
    assert_eq!(all[5..], [vec![Action::warning(text)], vec![], vec![]]);
    // Here.
    let all = lines(&mut started(asked(&[], &[8080])), &[], &[HERE], 2);
    let text = "port 8080 here is refused: another program listens there; ssh is restarted once it is free";
    assert_eq!(all[0], [Action::warning(text)]);
    assert_eq!(all[1], [Action::info("port 8080 here is refused; trying again in 4 s")], "once");
    let mut forwards = started(asked(&[], &[8080]));
    forwards.refused(Refusal::Local(HERE), START);
    let mut actions = Vec::new();
    assert!(forwards.local_checked(true, START + secs(5), &mut actions));
    assert_eq!(actions, [Action::info("restarting ssh to try port 8080 here again")]);
    // A tunnel device.
    let all = lines(&mut started(Asked { tunnel: true, ..asked(&[2200], &[]) }), &[2200], &[], 2);
    let text = "port 2200 on the server is refused; leaving this session as it is, since it is shared or carries a \
        tunnel device";
    assert_eq!(all, [vec![Action::warning(text)], vec![]]);
}

#[test]
fn all_that_is_refused_is_named_in_one_warning() {
    let mut forwards = started(asked(&[2200, 2201], &[8080]));
    refuse_remote(&mut forwards, &[2200], START);
    forwards.refused(Refusal::Local(HERE), START + Duration::from_millis(100));
    refuse_remote(&mut forwards, &[2201], START + Duration::from_millis(200));
    assert_eq!(forwards.due(), Some(START + secs(1)), "after the first");
    let (_, warnings) = until(&mut forwards, START + secs(2));
    assert_eq!(forwards.due(), Some(START + secs(5)));
    let text = "port 2200 on the server and port 2201 on the server and port 8080 here is refused, ";
    assert!(warnings.len() == 1 && warnings[0].starts_with(text), "{warnings:?}");
}
