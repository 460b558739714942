//! autossh(1), ENVIRONMENT: each variable, and each value that is refused.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::{Autossh, is_root, needs, port_pair, scripted_ssh, wait_for};
use crate::{case, table};

/// Runs autossh with this variable and a script that ends at once.
fn with(name: &str, value: impl AsRef<OsStr>) -> crate::harness::Running {
    Autossh::new(["-M", "0", "host"], "exit 0").env("AUTOSSH_GATETIME", "0").env(name, value).run()
}

/// Checks that nothing is started, nothing is left behind, and one line says what is wrong.
fn is_refused(name: &str, value: &str) {
    let unstarted = Autossh::new(["-M", "0", "host"], "exit 0");
    let pid_file = unstarted.path("pid");
    let mut running = unstarted.env("AUTOSSH_PIDFILE", &pid_file).env(name, value).run();
    assert_eq!(running.status(), 1);
    assert!(running.starts().is_empty());
    assert!(!pid_file.exists());
    assert!(running.stderr().contains(&format!("{name} {value:?}")), "{}", running.stderr());
    assert_eq!(running.stderr().lines().count(), 1, "{}", running.stderr());
}

table!(
    values_that_all_refuse,
    Same,
    [
        ("AUTOSSH_POLL", "0"),
        ("AUTOSSH_POLL", "abc"),
        ("AUTOSSH_POLL", "10x"),
        ("AUTOSSH_POLL", ""),
        ("AUTOSSH_FIRST_POLL", "0"),
        ("AUTOSSH_FIRST_POLL", "x"),
        ("AUTOSSH_GATETIME", "-1"),
        ("AUTOSSH_GATETIME", "x"),
        ("AUTOSSH_MAXSTART", "x"),
        ("AUTOSSH_MAXLIFETIME", "x"),
        ("AUTOSSH_LOGLEVEL", "8"),
        ("AUTOSSH_LOGLEVEL", "-1"),
        ("AUTOSSH_LOGLEVEL", "x"),
        ("AUTOSSH_PORT", "x"),
        ("AUTOSSH_PORT", "65535"),
        ("AUTOSSH_MESSAGE", "12345678901234567890123456789012345678901234567890123456789012345"),
        ("AUTOSSH_PATH", "/nonexistent/ssh"),
        ("AUTOSSH_PIDFILE", "/nonexistent/pid"),
        ("AUTOSSH_LOGFILE", "/nonexistent/log"),
    ],
    |(name, value)| {
        let unstarted = Autossh::new(["host"], "exit 0").env("AUTOSSH_GATETIME", "0").env("AUTOSSH_PORT", "0");
        let mut running = unstarted.own_log().env(name, value).run();
        assert_eq!(running.status(), 1);
        assert!(running.starts().is_empty());
    }
);

table!(
    refused_values_are_named,
    Defect,
    [
        ("AUTOSSH_POLL", "0"),
        ("AUTOSSH_POLL", "-1"),
        ("AUTOSSH_POLL", "abc"),
        ("AUTOSSH_POLL", "1.5"),
        ("AUTOSSH_POLL", ""),
        ("AUTOSSH_POLL", "2147483648"),
        ("AUTOSSH_POLL", "99999999999999999999"),
        ("AUTOSSH_FIRST_POLL", "0"),
        ("AUTOSSH_FIRST_POLL", ""),
        ("AUTOSSH_GATETIME", "-1"),
        ("AUTOSSH_GATETIME", ""),
        ("AUTOSSH_MAXSTART", "x"),
        ("AUTOSSH_MAXSTART", ""),
        ("AUTOSSH_MAXLIFETIME", "x"),
        ("AUTOSSH_MAXLIFETIME", "2147483648"),
        ("AUTOSSH_LOGLEVEL", "8"),
        ("AUTOSSH_LOGLEVEL", ""),
        ("AUTOSSH_PORT", "x"),
        ("AUTOSSH_MESSAGE", "12345678901234567890123456789012345678901234567890123456789012345"),
        ("AUTOSSH_PATH", "/nonexistent/ssh"),
        ("AUTOSSH_PATH", "/etc/passwd"),
        ("AUTOSSH_PATH", "/tmp"),
        ("AUTOSSH_PATH", "no-such-program"),
        ("AUTOSSH_NETWATCH", "off"),
    ],
    |(name, value)| {
        is_refused(name, value);
    }
);

case!(a_pid_file_that_cannot_be_written_is_named, Defect, {
    let mut running = with("AUTOSSH_PIDFILE", "/nonexistent/pid");
    assert_eq!(running.status(), 1);
    assert!(running.starts().is_empty());
    assert!(running.stderr().contains("pid file \"/nonexistent/pid\": No such file"), "{}", running.stderr());
});

case!(a_pid_file_on_a_full_disk_is_refused, Defect, {
    // Through a link, since 1.4g removes the path that it was given when it exits.
    let unstarted = Autossh::new(["-M", "0", "host"], "exit 0");
    let link = unstarted.path("full");
    std::os::unix::fs::symlink("/dev/full", &link).unwrap();
    let mut running = unstarted.env("AUTOSSH_PIDFILE", &link).run();
    assert_eq!(running.status(), 1);
    assert!(running.starts().is_empty());
    assert!(running.stderr().contains("No space left"), "{}", running.stderr());
    assert!(fs::symlink_metadata(&link).is_ok());
});

case!(a_log_file_that_cannot_be_opened_is_named, Defect, {
    let mut running =
        Autossh::new(["-M", "0", "host"], "exit 0").own_log().env("AUTOSSH_LOGFILE", "/nonexistent/log").run();
    assert_eq!(running.status(), 1);
    assert!(running.starts().is_empty());
    assert!(running.stderr().contains("log file \"/nonexistent/log\": No such file"), "{}", running.stderr());
});

table!(
    blanks_around_numbers_are_skipped,
    Same,
    [("AUTOSSH_POLL", " 60"), ("AUTOSSH_GATETIME", " 0"), ("AUTOSSH_MAXSTART", " 2"), ("AUTOSSH_LOGLEVEL", " 7")],
    |(name, value)| {
        assert_eq!(with(name, value).starts().len(), 1);
    }
);

table!(
    the_largest_numbers_work,
    Beyond,
    [
        ("AUTOSSH_POLL", "2147483647"),
        ("AUTOSSH_POLL", " 2147483647 "),
        ("AUTOSSH_FIRST_POLL", "2147483647"),
        ("AUTOSSH_GATETIME", "2147483647"),
        ("AUTOSSH_MAXSTART", "2147483647"),
        ("AUTOSSH_MAXSTART", "-2147483647"),
        ("AUTOSSH_MAXLIFETIME", "2147483647"),
        ("AUTOSSH_MAXLIFETIME", "-1"),
    ],
    |(name, value)| {
        let mut running = with(name, value);
        assert_eq!((running.status(), running.starts().len()), (0, 1), "{}", running.story());
    }
);

table!(
    empty_values_count_as_unset,
    Beyond,
    ["AUTOSSH_LOGFILE", "AUTOSSH_PIDFILE", "AUTOSSH_PORT", "AUTOSSH_MESSAGE", "AUTOSSH_NTSERVICE", "AUTOSSH_NETWATCH"],
    |name| {
        let mut running =
            Autossh::new(["-M", "0", "host"], "exit 0").own_log().env("AUTOSSH_GATETIME", "0").env(name, "").run();
        assert_eq!((running.status(), running.starts().len()), (0, 1), "{}", running.stderr());
        assert_eq!(running.starts()[0].args(), ["host"]);
    }
);

case!(an_empty_path_is_the_usual_ssh, Beyond, {
    let running = Autossh::new(["-M", "0", "-V", "host"], "").env("AUTOSSH_PATH", "").run();
    assert_eq!(running.text("stdout"), format!("autossh {}\n", env!("CARGO_PKG_VERSION")));
    let mut running = Autossh::new(["-M", "0", "-T", "-Q", "cipher"], "").env("AUTOSSH_PATH", "").run();
    assert_eq!(running.status(), 1, "no destination");
    let mut running = Autossh::new(["-M", "0", "-Q", "cipher", "x"], "").env("AUTOSSH_PATH", "").run();
    assert_eq!(running.status(), 0);
    assert!(running.text("stdout").contains("aes"), "{}", running.story());
});

case!(a_path_without_a_slash_is_searched_for, Defect, {
    let unstarted = Autossh::new(["-M", "0", "host"], "exit 0");
    let directory = unstarted.path("bin");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("other"), "").unwrap();
    let decoy = unstarted.path("decoy");
    fs::create_dir(&decoy).unwrap();
    fs::write(decoy.join("my-ssh"), "not executable").unwrap();
    fs::set_permissions(decoy.join("my-ssh"), fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(scripted_ssh(), directory.join("my-ssh")).unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", decoy.display(), directory.display());
    let running = unstarted.env("AUTOSSH_PATH", "my-ssh").env("PATH", path).run();
    let expected = directory.join("my-ssh");
    assert_eq!(running.starts()[0].argv[0].as_bytes(), expected.as_os_str().as_bytes());
});

case!(the_path_is_looked_up_once, Defect, {
    let unstarted = Autossh::new(["-M", "0", "host"], "hang");
    let (first, second) = (unstarted.path("first"), unstarted.path("second"));
    for directory in [&first, &second] {
        fs::create_dir(directory).unwrap();
    }
    std::os::unix::fs::symlink(scripted_ssh(), second.join("my-ssh")).unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", first.display(), second.display());
    let running = unstarted.env("AUTOSSH_PATH", "my-ssh").env("PATH", path).start();
    running.wait_up();
    // A search would find this one now.
    std::os::unix::fs::symlink(scripted_ssh(), first.join("my-ssh")).unwrap();
    running.signal(nix::sys::signal::Signal::SIGUSR1);
    assert_eq!(running.wait_start(2).argv[0], second.join("my-ssh").into_os_string());
});

case!(without_the_usual_ssh_the_one_on_path_is_taken, Beyond, {
    if !needs("root", is_root()) {
        return;
    }
    let hide = "mount -t tmpfs none /usr/bin && exec \"$@\"";
    let before = ["unshare", "--mount", "--propagation", "private", "sh", "-c", hide, "sh"];
    let unstarted = Autossh::run_by(&before, ["-M", "0", "host"], "exit 0").env("AUTOSSH_PATH", "");
    let ssh = unstarted.path("ssh");
    std::os::unix::fs::symlink(scripted_ssh(), &ssh).unwrap();
    let path = format!("{}:{}", ssh.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let running = unstarted.env("PATH", path).run();
    assert_eq!(running.starts()[0].argv[0], ssh.into_os_string(), "{}", running.story());
});

case!(a_message_of_64_bytes_is_taken, Same, {
    assert_eq!(with("AUTOSSH_MESSAGE", "x".repeat(64)).starts().len(), 1);
});

case!(a_relative_path_is_made_absolute, Beyond, {
    let unstarted = Autossh::new(["-f", "-M", "0", "host"], "exit 0");
    std::os::unix::fs::symlink(scripted_ssh(), unstarted.path("my-ssh")).unwrap();
    let expected = fs::canonicalize(unstarted.directory.path()).unwrap().join("my-ssh");
    let running = unstarted.env("AUTOSSH_PATH", "./my-ssh").run();
    assert_eq!(running.wait_start(1).argv[0], expected.into_os_string());
});

case!(max_start_limits_the_starts, Same, {
    let mut running =
        Autossh::new(["-M", "0", "host"], "exit 255").env("AUTOSSH_GATETIME", "0").env("AUTOSSH_MAXSTART", "3").run();
    assert_eq!((running.status(), running.starts().len()), (0, 3));
    assert_eq!(running.logged("starting ssh (count 3 of 3)"), 1);
    assert_eq!(running.logged("max start count reached; exiting"), 1);
});

case!(max_start_of_zero_starts_nothing, Same, {
    let mut running = with("AUTOSSH_MAXSTART", "0");
    assert_eq!((running.status(), running.starts().len()), (0, 0));
    assert_eq!(running.logged("max start count reached; exiting"), 1);
});

case!(max_start_of_zero_names_the_value_for_no_limit, Documented, {
    assert!(with("AUTOSSH_MAXSTART", "0").stderr().contains("-1"));
});

case!(a_negative_max_start_is_no_limit, Same, {
    let script = "exit 255\nexit 255\nexit 255\nexit 0";
    let mut running =
        Autossh::new(["-M", "0", "host"], script).env("AUTOSSH_GATETIME", "0").env("AUTOSSH_MAXSTART", "-1").run();
    assert_eq!((running.status(), running.starts().len()), (0, 4));
    assert_eq!(running.logged("starting ssh (count 4)"), 1);
});

case!(max_lifetime_ends_ssh_and_autossh, Same, {
    let mut running = Autossh::new(["-M", "0", "host"], "hang").env("AUTOSSH_MAXLIFETIME", "1").start();
    let ssh = running.wait_start(1).pid;
    assert_eq!(running.status(), 0);
    assert_eq!(running.logged("exceeded maximum time to live, shutting down"), 1);
    wait_for("ssh's end", || (!Path::new(&format!("/proc/{ssh}")).exists()).then_some(()));
});

case!(max_lifetime_counts_while_waiting_too, Defect, {
    let mut running = Autossh::new(["-M", "0", "host"], "exit 255")
        .env("AUTOSSH_GATETIME", "0")
        .env("AUTOSSH_MAXLIFETIME", "3")
        .start();
    running.wait_start(6);
    let starts = running.starts().len();
    assert_eq!(running.status(), 0);
    assert!(running.starts().len() <= starts + 2);
    assert_eq!(running.logged("exceeded maximum time to live, shutting down"), 1);
});

case!(a_short_poll_shortens_the_network_timeouts, Same, {
    let running = with("AUTOSSH_POLL", "5");
    assert_eq!(running.logged("short poll time: adjusting net timeouts to 2500"), 1);
});

case!(a_usual_poll_leaves_the_network_timeouts, Same, {
    assert_eq!(with("AUTOSSH_POLL", "30").logged("short poll time"), 0);
});

case!(a_short_lifetime_shortens_the_poll, Same, {
    let running = with("AUTOSSH_MAXLIFETIME", "4");
    assert_eq!(running.logged("short poll time: adjusting net timeouts to 2000"), 1);
});

case!(the_pid_file_names_autossh_and_goes_with_it, Same, {
    let unstarted = Autossh::new(["-M", "0", "host"], "hang");
    let pid_file = unstarted.path("pid");
    let mut running = unstarted.env("AUTOSSH_PIDFILE", &pid_file).start();
    running.wait_up();
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{}\n", running.pid()));
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.wait();
    assert!(!pid_file.exists());
});

case!(somebody_elses_pid_file_is_left_alone, Defect, {
    let unstarted = Autossh::new(["-M", "0", "host"], "hang");
    let pid_file = unstarted.path("pid");
    let mut running = unstarted.env("AUTOSSH_PIDFILE", &pid_file).start();
    running.wait_start(1);
    fs::write(&pid_file, "1\n").unwrap();
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.wait();
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), "1\n");
});

case!(a_listener_that_is_taken_ends_autossh_at_once, Same, {
    let port = port_pair();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let mut running = Autossh::new(["-M", &port.to_string(), "host"], "exit 0").run();
    assert_eq!((running.status(), running.starts().len()), (1, 0));
});

case!(a_listener_that_is_taken_is_named, Defect, {
    let port = port_pair();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let running = Autossh::new(["-M", &port.to_string(), "host"], "exit 0").run();
    let stderr = running.stderr();
    assert!(stderr.contains(&format!("127.0.0.1:{}", port + 1)) && stderr.contains("in use"), "{stderr}");
});

case!(debug_means_level_7, Same, {
    let unstarted = Autossh::new(["-M", "0", "host"], "hang").env("AUTOSSH_LOGLEVEL", "0").env("AUTOSSH_DEBUG", "");
    let running = unstarted.start();
    running.wait_log("starting ssh (count 1)");
});

table!(levels, Same, [("6", true), ("7", true), ("5", false), ("0", false)], |(level, seen)| {
    let running = with("AUTOSSH_LOGLEVEL", level);
    assert_eq!(running.logged("starting ssh (count 1)") == 1, seen);
});

mod service {
    //! AUTOSSH_NTSERVICE.

    use super::*;

    fn service(args: &[&str], script: &str) -> Autossh {
        Autossh::new(args, script).env("AUTOSSH_NTSERVICE", "yes")
    }

    case!(ssh_gets_no_command_and_is_restarted_after_status_0, Beyond, {
        let mut running = service(&["-M", "0", "host"], "exit 0\nexit 0\nexit 3").run();
        assert_eq!((running.status(), running.starts().len()), (1, 3));
        assert!(running.starts().iter().all(|start| start.args() == ["-N", "host"]));
    });

    case!(no_second_option_is_added, Beyond, {
        let running = service(&["-M", "0", "-vN", "host"], "exit 3").run();
        assert_eq!(running.starts()[0].args(), ["-vN", "host"]);
    });

    case!(the_forwards_keep_their_place, Beyond, {
        let port = port_pair();
        let running = service(&["-v", "-M", &format!("{port}:7"), "host"], "exit 3").run();
        assert_eq!(running.starts()[0].args(), ["-N", "-v", "-L", &format!("{port}:127.0.0.1:7"), "host"]);
    });

    case!(the_log_goes_to_stdout, Beyond, {
        let running = service(&["-M", "0", "host"], "exit 3").own_log().run();
        assert!(running.text("stdout").contains(": starting ssh (count 1)\n"), "{}", running.text("stdout"));
    });

    case!(a_log_file_still_wins, Beyond, {
        let running = service(&["-M", "0", "host"], "exit 3").run();
        assert_eq!(running.text("stdout"), "");
        assert_eq!(running.logged("starting ssh (count 1)"), 1);
    });

    case!(only_yes_counts, Same, {
        let running = Autossh::new(["-M", "0", "host"], "exit 3").env("AUTOSSH_NTSERVICE", "no").run();
        assert_eq!(running.starts()[0].args(), ["host"]);
    });
}
