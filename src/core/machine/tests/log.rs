//! What the log says of starts and ends (autossh(1), LOGGING).

use super::*;

#[test]
fn what_the_log_says() {
    // Starts, ...
    let mut machine = machine(rules(OFF, |rules| rules.max_starts = Some(2)), false);
    let line = |text: &str| Action::info(text);
    assert_eq!(machine.handle(Event::Tick, START), [line("starting ssh (count 1 of 2)"), UNMONITORED]);
    assert_eq!(machine.handle(Event::Started(42), START), [line("ssh child pid is 42")]);
    // ... restarts on request, ...
    assert_eq!(machine.handle(Event::Restart, START), [line("signalled to kill and restart ssh"), Action::Term]);
    assert_eq!(machine.handle(Event::Tick, START + secs(5)), [line("ssh does not end, killing it"), Action::Kill]);
    machine.handle(exited(ChildExit::Signal(9)), START + secs(6));
    assert_eq!(machine.handle(Event::Tick, START + secs(6)), [line("starting ssh (count 2 of 2)"), UNMONITORED]);
    // ... and their end.
    assert_eq!(
        machine.handle(exited(ChildExit::Signal(9)), START + secs(7)),
        [
            line("ssh exited on signal 9, restarting ssh"),
            line("max start count reached; exiting"),
            Action::Exit(Exit::Status(0))
        ]
    );
    let mut never = self::machine(rules(OFF, |rules| rules.max_starts = Some(0)), false);
    assert_eq!(
        never.handle(Event::Tick, START),
        [
            line("max start count reached; exiting"),
            Action::Explain(Level::Warning, messages::NO_STARTS.into()),
            Action::Exit(Exit::Status(0))
        ]
    );

    // What ends a wait, which is logged once.
    for (event, text) in [(Event::Restart, "signalled to start ssh now"), (Event::Hangup, "prodded: starting ssh now")]
    {
        let (mut machine, _) = waiting();
        assert_eq!(machine.handle(event, START), [line(text)]);
        assert_eq!(machine.handle(Event::Hangup, START), []);
        let [start, _] = &machine.handle(Event::Tick, START)[..] else { panic!() };
        assert_eq!(*start, line("starting ssh (count 7)"));
    }

    // The end of autossh.
    let mut machine = running(rules(OFF, a_minute));
    let said = machine.handle(Event::Tick, START + secs(60));
    assert_eq!(said[0], line("exceeded maximum time to live, shutting down"));
    let mut machine = running(rules(OFF, |_| {}));
    assert_eq!(machine.handle(Event::Stop(15), START)[0], line("received signal to exit (15)"));
    let again = line("received signal to exit (2) again, killing ssh");
    assert_eq!(machine.handle(Event::Stop(2), START + secs(1)), [again, Action::Kill]);
    let left = Action::Log(Level::Error, "ssh does not end even when killed, leaving it".into());
    assert_eq!(machine.handle(Event::Tick, START + secs(5)), []);
    assert_eq!(machine.handle(Event::Tick, START + secs(6)), [left, Action::Exit(Exit::Signal(15))]);
    let (mut machine, _) = waiting();
    assert_eq!(machine.handle(Event::Stop(15), START)[0], line("received signal to exit (15)"));

    // An ssh that cannot be started: the first, and a later one.
    let mut machine = machine_with_no_gate();
    machine.handle(Event::Tick, START);
    let why = "cannot start ssh: no memory";
    let first = machine.handle(Event::NotStarted("no memory".into()), START);
    assert_eq!(first, [Action::Explain(Level::Error, why.into()), Action::Exit(Exit::Status(1))]);
    let mut machine = running(rules(OFF, no_gate));
    machine.handle(exited(ChildExit::Status(255)), START);
    machine.handle(Event::Tick, START);
    assert_eq!(machine.handle(Event::NotStarted("no memory".into()), START), [Action::Log(Level::Error, why.into())]);
    assert_eq!(machine.last_failure(), Some(why));
}

#[test]
fn status_0_of_an_ssh_without_a_command_is_explained_once() {
    let explained = |rules| {
        let mut machine = running(rules);
        let mut explain = || {
            let said = machine.handle(exited(ChildExit::Status(0)), START + secs(60));
            machine.handle(Event::Tick, START + secs(60));
            machine.handle(Event::Started(43), START + secs(60));
            said.contains(&Action::Explain(Level::Warning, messages::NORMAL_END.into()))
        };
        (explain(), explain())
    };
    for (service, no_command, expected) in
        [(true, true, (true, false)), (true, false, (false, false)), (false, true, (true, false))]
    {
        let rules = rules(OFF, |rules| {
            rules.service = service;
            rules.no_command = no_command;
        });
        assert_eq!(explained(rules), expected, "service: {service}, no command: {no_command}");
    }
    let mut machine = running(rules(OFF, |rules| (rules.service, rules.no_command) = (true, true)));
    let text = "ssh exited on signal 15, restarting ssh";
    assert_eq!(machine.handle(exited(ChildExit::Signal(15)), START), [Action::info(text)]);
}

/// Giving up within the gate time names an automatic monitor, which may be the cause, and refused forwards.
#[test]
fn giving_up_says_why() {
    for (monitoring, refused) in [(OFF, false), (OFF, true), (LOOP, false), (Monitoring::Automatic, false)] {
        let mut machine = running(rules(monitoring, |_| {}));
        if refused {
            machine.handle(Event::Refused(Refusal::Local(HERE)), START);
        }
        let gate_time = secs(30);
        let automatic = monitoring == Monitoring::Automatic;
        let text = messages::gate(ChildExit::Status(255), gate_time, automatic, refused.then_some("port 8080 here"));
        assert_eq!(
            machine.handle(exited(ChildExit::Status(255)), START + secs(1))[1..],
            [Action::Explain(Level::Error, text), Action::Exit(Exit::Status(1))],
            "{monitoring:?}"
        );
    }
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
    // One failure is enough if the starts were frequent for other reasons.
    let mut restarted = running(rules(OFF, no_gate));
    for _ in 0..5 {
        restarted.handle(Event::Restart, START);
        restarted.handle(exited(ChildExit::Status(255)), START);
        restarted.handle(Event::Tick, START);
        restarted.handle(Event::Started(42), START);
    }
    let text = "ssh has failed 1 times in a row (last: status 255), next start in 2.0 s";
    assert_eq!(warnings(restarted.handle(exited(ChildExit::Status(255)), START)), [Action::warning(text)]);
    // What follows it is not worth one.
    let (mut warned, until) = waiting();
    warned.handle(Event::Tick, until);
    warned.handle(Event::Started(42), until);
    let wait = Action::info("waiting 8.0 s before the next start");
    assert_eq!(warned.handle(exited(ChildExit::Status(255)), until).last(), Some(&wait));
    assert_eq!(machine.last_failure(), Some("status 255, Connection refused"));
    // An ssh that has lived for a tenth of the poll time works.
    assert_eq!(machine.handle(Event::Tick, now + secs(59)), []);
    let over = machine.handle(Event::Tick, now + secs(60));
    assert_eq!(over, [Action::info("ssh is up again after 20 failures in a row")]);
    assert_eq!(machine.last_failure(), None);
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
