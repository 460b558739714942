use super::*;

#[test]
fn refusal_is_named_only_where_the_server_refused() {
    for (failure, monitoring, text) in [
        (Failure::NoListener, Monitoring::Automatic, "AllowTcpForwarding"),
        (Failure::Closed, Monitoring::Loop { port: 5 }, "port 5 is taken there"),
        (Failure::Closed, Monitoring::Echo { port: 5, echo: 7 }, "nothing echoes on its port 7"),
        (Failure::Silent, Monitoring::Loop { port: 5 }, "the connection is dead or slow"),
        (Failure::Garbled, Monitoring::Echo { port: 5, echo: 7 }, "port 7 is no echo service"),
    ] {
        let said = never_passed(monitoring, failure);
        assert!(said.contains(text), "{failure:?}: {said}");
        let refused = matches!(failure, Failure::NoListener | Failure::Closed);
        assert_eq!(said.contains("seems to be refused"), refused, "{said}");
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
}
