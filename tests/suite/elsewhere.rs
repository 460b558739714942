//! Systems that are not here: what they do differently, by a library that does so in place of this one, and the examples
//! for them, the command line that they lead to, and what autossh makes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Autossh, has, needs, output, output_of, port_pair, program};
use crate::{case, table};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// What OpenWrt's rc.common gives to an init script, its configuration being the variables `config_SECTION_OPTION`.
/// What the script sets is written down, each word with a zero byte at its end.
const RC_COMMON: &str = r#"
config_load() { package=$1; }
config_foreach() { for section in $sections; do "$1" "$section"; done; }
config_get() { eval "$1=\${config_$2_$3:-\${4:-}}"; }
config_get_bool() { config_get "$@"; }
procd_open_instance() { instance=$package.$1; }
procd_set_param() { name=$1; shift; printf '%s\0' "$@" >"$instance.$name"; }
procd_close_instance() { instance=; }
. "$script"
start_service
"#;

table!(
    openwrts_init_script,
    Beyond,
    [
        // Its configuration, and ssh's arguments; the monitor's own come first, by their number.
        ("ssh='-N -R 22:a:22 u@h'; monitorport=0", 0, "-N -R 22:a:22 u@h"),
        ("ssh='-N -R 22:a:22 u@h'", 4, "-N -R 22:a:22 u@h"),
        ("ssh='-N host'; monitorport=20000; poll=77; gatetime=9", 4, "-N host"),
    ],
    |(config, monitor, args)| {
        let directory = tempfile::tempdir().unwrap();
        let variables = config.split("; ").map(|set| format!("config_one_{set}\n")).collect::<Vec<_>>().concat();
        let script = format!("sections='off one'\nconfig_off_enabled=0\n{variables}{RC_COMMON}");
        let mut command = Command::new("sh");
        command.args(["-euc", &script]).current_dir(&directory).env("PROG", program());
        output_of(command.env("script", example("openwrt.init")));
        let parameter = |name: &str| {
            let text = fs::read_to_string(directory.path().join(format!("autossh.one.{name}"))).unwrap();
            text.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(!directory.path().join("autossh.off.command").exists());
        assert_eq!(parameter("respawn"), ["3600", "30", "0"]);

        let mut autossh = Autossh::run_as(parameter("command"), "exit 255\nhang");
        for set in parameter("env") {
            let (name, value) = set.split_once('=').unwrap();
            autossh = autossh.env(name, value);
            let (given, default) = if name == "AUTOSSH_POLL" { ("77", "600") } else { ("9", "0") };
            assert_eq!(value, if config.contains("poll") { given } else { default }, "{name}");
        }
        let mut running = autossh.start();
        let start = running.wait_start(1);
        assert_eq!(start.args()[monitor..].join(" "), args);
        if config.contains("gatetime") {
            assert_eq!(running.status(), 1);
        } else {
            running.wait_start(2);
        }
    }
);

case!(openwrts_init_script_can_name_another_client, Beyond, {
    let script = format!("sections=one\nconfig_one_ssh=host\nconfig_one_client=dbclient\n{RC_COMMON}");
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    output_of(command.args(["-euc", &script]).current_dir(&directory).env("script", example("openwrt.init")));
    let variables = fs::read_to_string(directory.path().join("autossh.one.env")).unwrap();
    assert!(variables.split('\0').any(|set| set == "AUTOSSH_PATH=dbclient"), "{variables}");
});

case!(the_property_list_for_launchd, Beyond, {
    let tell = "import plistlib, sys\n\
        job = plistlib.load(open(sys.argv[1], 'rb'))\n\
        assert job['RunAtLoad'] is True and job['KeepAlive'] is True, job\n\
        for word in job['ProgramArguments']: print(word)\n\
        for name, value in job['EnvironmentVariables'].items(): print(name + '=' + value)\n";
    if !needs("python3", has("python3")) {
        return;
    }
    let text = output_of(Command::new("python3").args(["-c", tell]).arg(example("launchd.plist")));
    let (variables, words): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("AUTOSSH_"));
    assert_eq!(words[0], "/usr/local/bin/autossh");
    let mut autossh = Autossh::new(&words[1..], "exit 255\nhang").own_log();
    for set in variables {
        let (name, value) = set.split_once('=').unwrap();
        autossh = autossh.env(name, value);
    }
    let running = autossh.start();
    let expected =
        ["-N", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-R", "2200:localhost:22", "user@host.example.org"];
    assert_eq!(running.wait_start(1).args()[4..], expected);
    running.wait_start(2);
    assert!(running.stderr().contains("starting ssh (count 2)"), "{}", running.stderr());
});

case!(a_write_before_the_connection_is_complete_is_no_refusal, Beyond, {
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("early-write.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/early-write.c");
    if !needs("cc", has("cc")) || is_static(&program()) {
        return;
    }
    output_of(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl"));
    for monitor in [format!("{}:7", port_pair()), port_pair().to_string()] {
        let unstarted = Autossh::new(["-M", &monitor, "-N", "host"], "relay sound");
        let count = unstarted.path("early");
        let running = unstarted
            .env("AUTOSSH_POLL", "1")
            .env("AUTOSSH_DEBUG", "1")
            .env("LD_PRELOAD", &library)
            .env("EARLY_WRITES", &count)
            .start();
        running.wait_log_times("connection ok", 2);
        assert_eq!(running.starts().len(), 1, "{}", running.story());
        assert!(fs::read(count).unwrap().len() >= 2);
    }
});

/// Whether a program has no use for libraries.
fn is_static(program: &Path) -> bool {
    let ldd = output(Command::new("ldd").arg(program));
    !String::from_utf8_lossy(&ldd.stdout).contains("libc.")
}
