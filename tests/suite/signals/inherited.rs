//! What ssh inherits: its signal mask, dispositions and descriptors.

use super::*;

case!(ssh_starts_with_an_empty_mask_and_default_dispositions, Same, {
    let running = autossh("exit 255\nexit 255\nexit 0").run();
    let starts = running.starts();
    assert_eq!(starts.len(), 3);
    assert!(starts.iter().all(|start| start.blocked == 0), "{starts:?}");
});

/// These signals as /proc/PID/status shows a set of them.
fn bits(signals: &[Signal]) -> u64 {
    signals.iter().fold(0, |mask, signal| mask | 1 << (*signal as i32 - 1))
}

case!(ssh_ignores_nothing_that_autossh_was_not_told_to, Same, {
    // Except what the parent of this run ignores: 1.4g does not pass on all of it, which is the next case.
    static HEEDED: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];
    let running =
        autossh("exit 255\nexit 255\nexit 0").with(|command| disposing(command, &HEEDED, SigHandler::SigDfl)).run();
    let expected = inherited_ignored() & !bits(&HEEDED);
    assert!(running.starts().iter().all(|start| start.ignored == expected), "{:?}", running.starts());
});

case!(ssh_ignores_what_autossh_was_started_to_ignore, Defect, {
    static IGNORED: [Signal; 7] = [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGPIPE,
        Signal::SIGXFSZ,
        Signal::SIGCHLD,
        Signal::SIGUSR2,
    ];
    let running =
        autossh("exit 255\nexit 255\nexit 0").with(|command| disposing(command, &IGNORED, SigHandler::SigIgn)).run();
    let expected = inherited_ignored() | bits(&IGNORED);
    for start in running.starts() {
        assert_eq!(start.ignored, expected, "{start:?}");
    }
    assert_eq!(running.starts().len(), 3);
});

case!(nohup_reaches_ssh_and_autossh_still_hears_a_hangup, Defect, {
    let script = "exit 255\nexit 255\nexit 255\nexit 255\nexit 255\nexit 255\nexit 255\nhang";
    let running = Autossh::run_by(&["nohup"], ["-M", "0", "host"], script).env("AUTOSSH_GATETIME", "0").start();
    running.wait_log_times("exited with error status 255", 7);
    assert!(running.starts().iter().all(|start| start.ignores(Signal::SIGHUP)));
    running.signal(Signal::SIGHUP);
    running.wait_start(8);
});

table!(ssh_gets_none_of_our_descriptors, Defect, [&[][..], &["-f"]], |args| {
    let port = port_pair().to_string();
    let unstarted = Autossh::new(args.iter().chain(&["-M", &port, "host"]), "relay sound\nhang");
    let running = unstarted.env("AUTOSSH_POLL", "1").env("AUTOSSH_LOGLEVEL", "7").start();
    running.wait_log("connection ok");
    let autossh = running.wait_start(1).parent;
    kill(Pid::from_raw(autossh), Signal::SIGUSR1).unwrap();
    for number in [1, 2] {
        let start = running.wait_start(number);
        let ours = |(number, target): &&(i32, String)| {
            *number > 2 && !target.ends_with("/fd") && !inherited_descriptors().contains(number)
        };
        let others: Vec<_> = start.descriptors.iter().filter(ours).collect();
        assert!(others.is_empty(), "{others:?}");
    }
});

case!(ssh_gets_the_descriptors_that_autossh_was_given, Same, {
    let unstarted = Autossh::run_by(&["sh", "-c", "exec \"$@\" 7<script", "sh"], ["-M", "0", "host"], "exit 0");
    let running = unstarted.run();
    let start = &running.starts()[0];
    assert!(start.descriptors.iter().any(|(number, target)| *number == 7 && target.ends_with("/script")), "{start:?}");
});
