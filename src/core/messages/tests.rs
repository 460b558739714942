use super::*;

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
