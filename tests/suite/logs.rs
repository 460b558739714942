//! autossh(1), LOGGING.

mod descriptors;
pub mod syslog;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::faults::{as_user, limit};
use crate::harness::{Autossh, is_root, needs, wait_for};
use crate::{case, table};

/// autossh without a monitor or a gate, and with whatever log the case wants.
fn autossh(script: &str) -> Autossh {
    Autossh::new(["-M", "0", "-N", "host"], script).own_log().env("AUTOSSH_GATETIME", "0")
}

/// Whether a line is `YYYY/MM/DD HH:MM:SS autossh[PID]: text`.
fn is_stamped(line: &str, pid: i32, text: &str) -> bool {
    let Some((stamp, rest)) = line.split_at_checked(20) else { return false };
    let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    shape == "9999/99/99 99:99:99 " && rest == format!("autossh[{pid}]: {text}")
}

case!(a_line_in_the_file, Same, {
    let unstarted = autossh("exit 3");
    let log = unstarted.path("log");
    let running = unstarted.env("AUTOSSH_LOGFILE", &log).run();
    let lines = running.log();
    let expected = [
        "port set to 0, monitoring disabled".to_owned(),
        "starting ssh (count 1)".to_owned(),
        format!("ssh child pid is {}", running.starts()[0].pid),
        "ssh exited with status 3; autossh exiting".to_owned(),
    ];
    assert_eq!(lines.lines().count(), expected.len(), "{lines}");
    for (line, text) in lines.lines().zip(expected) {
        assert!(is_stamped(line, running.pid(), &text), "{line}");
    }
});

case!(the_stamp_is_local_time, Same, {
    let stamp = |zone: &str| {
        let unstarted = autossh("exit 0").env("TZ", zone);
        let log = unstarted.path("log");
        let running = unstarted.env("AUTOSSH_LOGFILE", log).run();
        running.log()[11..13].parse::<i32>().unwrap()
    };
    let hours = (stamp("XXX-9") - stamp("XXX3")).rem_euclid(24);
    assert!(hours == 12 || hours == 11, "{hours} hours apart");
});

case!(the_file_is_appended_to, Same, {
    let unstarted = autossh("exit 0");
    let log = unstarted.path("log");
    fs::write(&log, "before\n").unwrap();
    let running = unstarted.env("AUTOSSH_LOGFILE", log).run();
    assert!(running.log().starts_with("before\n"));
});

case!(a_hangup_reopens_the_file, Defect, {
    let unstarted = autossh("hang");
    let log = unstarted.path("log");
    let running = unstarted.env("AUTOSSH_LOGFILE", &log).start();
    running.wait_log("ssh child pid");
    fs::rename(&log, running.path("log.1")).unwrap();
    running.signal(Signal::SIGHUP);
    wait_for("the new file", || log.exists().then_some(()));
    running.signal(Signal::SIGUSR1);
    running.wait_log("starting ssh (count 2)");
});

case!(a_file_that_cannot_be_reopened_stays, Beyond, {
    let unstarted = autossh("hang");
    let directory = unstarted.path("logs");
    fs::create_dir(&directory).unwrap();
    let running = unstarted.env("AUTOSSH_LOGFILE", directory.join("log")).start();
    wait_for("the log", || running.text("logs/log").contains("ssh child pid").then_some(()));
    fs::rename(&directory, running.path("gone")).unwrap();
    running.signal(Signal::SIGHUP);
    running.signal(Signal::SIGUSR1);
    wait_for("the log", || running.text("gone/log").contains("starting ssh (count 2)").then_some(()));
    assert!(running.text("gone/log").contains("cannot reopen the log file"), "{}", running.text("gone/log"));
});

case!(a_fifo_is_a_log_file_too, Defect, {
    let unstarted = autossh("hang");
    let fifo = unstarted.path("fifo");
    mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
    // Nobody reads it yet.
    let running = unstarted.env("AUTOSSH_LOGFILE", &fifo).start();
    running.wait_start(1);
    let mut reader = fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap();
    let mut text = String::new();
    wait_for("the log", || {
        let _ = reader.read_to_string(&mut text);
        text.contains("ssh child pid").then_some(())
    });
    // Nor does anybody any more, and it fills up.
    fcntl(&reader, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    drop(reader);
    for number in 2..60 {
        running.signal(Signal::SIGUSR1);
        running.signal(Signal::SIGHUP);
        running.wait_start(number);
    }
});

case!(a_full_disk_is_reported_once, Defect, {
    let mut running = autossh("exit 255\nexit 255\nexit 255\nexit 0").env("AUTOSSH_LOGFILE", "/dev/full").run();
    assert_eq!((running.status(), running.starts().len()), (0, 4));
    let stderr = running.stderr();
    assert_eq!(
        stderr.matches("cannot write to the log file \"/dev/full\": No space left on device").count(),
        1,
        "{stderr}"
    );
});

table!(what_another_user_left_in_tmp_is_refused, Same, ["file", "fifo", "link", "link to stdout"], |what| {
    if !needs("root", is_root()) {
        return;
    }
    for name in ["protected_fifos", "protected_regular", "protected_symlinks"] {
        let value = fs::read_to_string(format!("/proc/sys/fs/{name}")).unwrap();
        if !needs(&format!("fs.{name}"), value.trim() != "0") {
            return;
        }
    }
    let unstarted = autossh("exit 3");
    let (tmp, trap) = (unstarted.path("tmp"), unstarted.path("tmp/log"));
    fs::create_dir(&tmp).unwrap();
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).unwrap();
    match what {
        "file" => fs::write(&trap, "").unwrap(),
        "fifo" => mkfifo(&trap, Mode::from_bits_truncate(0o666)).unwrap(),
        "link" => symlink(unstarted.path("target"), &trap).unwrap(),
        _ => symlink("/dev/stdout", &trap).unwrap(),
    }
    lchown(&trap, Some(54_342), Some(54_342)).unwrap();
    let mut running = unstarted.env("AUTOSSH_LOGFILE", &trap).run();
    assert_eq!((running.status(), running.starts().len()), (1, 0));
    assert_eq!((running.text("stdout"), running.path("target").exists()), (String::new(), false));
});

case!(a_fifo_that_may_only_be_written_to_is_a_log_file_too, Beyond, {
    let Some(unstarted) = as_user(54_343, None, "hang") else { return };
    let fifo = unstarted.path("fifo");
    mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
    fs::set_permissions(&fifo, fs::Permissions::from_mode(0o622)).unwrap();
    let mut reader = fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap();
    let _running = unstarted.env("AUTOSSH_LOGFILE", &fifo).start();
    let mut text = String::new();
    wait_for("the log", || {
        let _ = reader.read_to_string(&mut text);
        text.contains("ssh child pid").then_some(())
    });
});

case!(a_file_that_cannot_grow_is_said_once_and_goes_on_when_it_can, Beyond, {
    let unstarted = Autossh::new(["-M", "0", "-N", "host"], "hang").env("AUTOSSH_GATETIME", "0");
    // By far the largest file of all that a limit will be for.
    fs::write(unstarted.path("log"), "before\n".repeat(100_000)).unwrap();
    let running = unstarted.start();
    running.wait_up();
    limit(running.pid(), &format!("--fsize={}:", fs::metadata(running.path("log")).unwrap().len()));
    for number in 2..5 {
        running.signal(Signal::SIGUSR1);
        running.wait_start(number);
    }
    limit(running.pid(), "--fsize=unlimited:");
    running.signal(Signal::SIGUSR1);
    running.wait_log("starting ssh (count 5)");
    assert_eq!(running.logged(" lines lost) "), 1);
    let stderr = running.stderr();
    assert_eq!(stderr.matches("cannot write to the log file").count(), 1, "{stderr}");
    assert!(stderr.contains("File too large"), "{stderr}");
});

case!(a_change_of_the_time_zone_shows, Beyond, {
    if !needs("root", is_root()) {
        return;
    }
    let whole = format!("{OWN_ETC} && exec \"$@\"");
    let before = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &whole, "sh"];
    let unstarted = Autossh::run_by(&before, ["-M", "0", "-N", "host"], "hang").with(|command| {
        command.env_remove("TZ");
    });
    let directory = unstarted.path("");
    set_zone(&directory, -2);
    let running = unstarted.start();
    running.wait_up();
    set_zone(&directory, 9);
    running.signal(Signal::SIGUSR2);
    running.wait_log("up since");
    let hour = |text: &str| {
        let log = running.log();
        let line = log.lines().find(|line| line.contains(text)).unwrap();
        line[11..13].parse::<i32>().unwrap()
    };
    let hours = (hour("up since") - hour("ssh child pid")).rem_euclid(24);
    assert!(hours == 11 || hours == 12, "{hours} hours apart");
});

/// Shell commands for an /etc of one's own in a mount namespace, where /etc/localtime leads to `zone` in this directory.
pub const OWN_ETC: &str = "cp -a /etc etc && ln -sfn \"$PWD/zone\" etc/localtime && mount --bind etc /etc";

/// Changes the time zone there to one that is this many hours east of Greenwich.
pub fn set_zone(directory: &Path, hours: i32) {
    fs::write(directory.join("new"), time_zone(hours)).unwrap();
    fs::rename(directory.join("new"), directory.join("zone")).unwrap();
}

/// A file as in /usr/share/zoneinfo: one zone, this many hours east of Greenwich.
fn time_zone(hours: i32) -> Vec<u8> {
    // No leap seconds and no transitions; one type with a name of four bytes. Twice, for times of 32 and of 64 bits, and
    // the same in the form of TZ: musl reads nothing older.
    let counts = [0_i32, 0, 0, 0, 1, 4].map(i32::to_be_bytes).concat();
    let block = [b"TZif2", &[0; 15][..], &counts, &(hours * 3600).to_be_bytes(), &[0, 0], b"XXX\0"].concat();
    [&block[..], &block, format!("\nXXX{}\n", -hours).as_bytes()].concat()
}
