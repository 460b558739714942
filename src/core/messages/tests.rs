use super::*;

#[test]
fn refusal_is_named_only_where_the_server_refused() {
    for (failure, monitoring, text) in [
        (Failure::Closed, Monitoring::Automatic, "AllowTcpForwarding"),
        (Failure::NoListener, Monitoring::Automatic, "ClearAllForwardings"),
        (Failure::Closed, Monitoring::Loop { port: 5 }, "port 5 is taken there"),
        (Failure::Closed, Monitoring::Echo { port: 5, echo: 7 }, "nothing echoes on its port 7"),
        (Failure::Silent, Monitoring::Loop { port: 5 }, "the connection is dead or slow"),
        (Failure::Garbled, Monitoring::Echo { port: 5, echo: 7 }, "port 7 is no echo service"),
    ] {
        let said = never_passed(monitoring, failure);
        assert!(said.contains(text), "{failure:?}: {said}");
        let refused = failure == Failure::Closed;
        assert_eq!(said.contains("seems to be refused"), refused, "{said}");
        assert_eq!(said.ends_with("; -M 0 with ServerAliveInterval works there"), refused, "{said}");
    }
}

#[test]
fn what_a_test_that_never_passed_costs() {
    for (monitoring, text) in [
        (Monitoring::Automatic, "this session goes on unmonitored"),
        (Monitoring::Loop { port: 5 }, "ssh is restarted at each test"),
        (Monitoring::Echo { port: 5, echo: 7 }, "ssh is restarted at each test"),
    ] {
        let said = never_passed(monitoring, Failure::Silent);
        assert!(said.ends_with(text), "{said}");
    }
}

#[test]
fn a_refused_or_held_port_is_named() {
    let monitors = [Monitoring::Loop { port: 5 }, Monitoring::Echo { port: 5, echo: 7 }, Monitoring::Automatic];
    let texts = ["port 5 on the server is still held", "the server refused the monitor's port", "the server refused"];
    for (monitoring, text) in monitors.into_iter().zip(texts) {
        assert!(forward_refused(monitoring).starts_with(text), "{monitoring:?}");
    }
    let texts =
        ["port 5 on the server is still held", "the echo service on the server's port 7", "the new session's forwards"];
    for (monitoring, text) in monitors.into_iter().zip(texts) {
        assert!(port_held(monitoring).starts_with(text), "{monitoring:?}");
    }
    assert!(port_in_use(5).starts_with("port 5 is still in use on this machine"));
    assert_eq!(no_monitor("no port"), "no port; this session goes on without a monitor");
}

#[test]
fn giving_up_names_the_gate_time_and_what_may_be_the_cause() {
    let monitor = "; if the server forbids forwarding and ExitOnForwardFailure is set, -M 0 leaves the monitor out";
    for (status, may_be_the_monitor, refused, cause) in [
        (255, false, None, ""),
        (255, true, None, monitor),
        (1, true, None, ""),
        (255, false, Some("port 5 here"), "; port 5 here is refused"),
    ] {
        let text = format!(
            "giving up: the first ssh ended with status {status} before the gate time of 30 s was over; AUTOSSH_GATETIME=0 keeps \
             autossh trying{cause}"
        );
        assert_eq!(gate(ChildExit::Status(status), Duration::from_secs(30), may_be_the_monitor, refused), text);
    }
}

#[test]
fn phrases_that_filters_match() {
    for (ended, decision, level, text) in [
        (ChildExit::Signal(9), Decision::Restart, Level::Info, "ssh exited on signal 9, restarting ssh"),
        (ChildExit::Status(255), Decision::Restart, Level::Info, "ssh exited with error status 255; restarting ssh"),
        (ChildExit::Status(0), Decision::Exit(0), Level::Info, "ssh exited with status 0; autossh exiting"),
        (ChildExit::Status(3), Decision::Exit(1), Level::Info, "ssh exited with status 3; autossh exiting"),
        (ChildExit::Status(1), Decision::GiveUp, Level::Error, "ssh exited prematurely with status 1; autossh exiting"),
    ] {
        assert_eq!(child_exit(ended, decision), (level, text.to_owned()));
    }
    assert_eq!(stop_signal(15), "received signal to exit (15)");
    assert_eq!(last_failure(ChildExit::Status(255), Some("refused")), "status 255, refused");
    assert_eq!(last_failure(ChildExit::Signal(9), None), "signal 9");
}

#[test]
fn what_is_refused_is_named_once_and_waits_are_rounded_up() {
    let here = "127.0.0.1:8080".parse().unwrap();
    let port = || Listen::Port(2200);
    let text = refused(&[port(), port(), Listen::Path("/a".into())], &[here, "[::1]:8080".parse().unwrap()]);
    assert_eq!(text, "port 2200 on the server and /a on the server and port 8080 here");
    for (millis, seconds) in [(0, "0 s"), (1000, "1 s"), (1001, "2 s")] {
        let wait = Duration::from_millis(millis);
        assert!(still_held("x", wait).ends_with(&format!("trying again in {seconds}")), "{millis}");
        assert!(trying_again("x", wait).ends_with(&format!("trying again in {seconds}")), "{millis}");
    }
}
