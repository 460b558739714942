//! The documents: whether they cover everything that the program does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::case;
use crate::harness::{Autossh, has, needs, output, output_within, port_pair, program};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The program's own sources below `src`, without their tests.
fn sources() -> Vec<PathBuf> {
    fn below(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    below(&root().join("src"), &mut found);
    found.retain(|path| path.parent().unwrap().file_name().unwrap() != "tests");
    assert!(found.len() > 30, "{found:?}");
    found
}

/// A source's name below `src`.
fn name_of(source: &Path) -> String {
    source.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned()
}

/// The variables that the program reads.
fn variables() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in sources() {
        let text = fs::read_to_string(file).unwrap();
        for piece in text.split("\"AUTOSSH_").skip(1) {
            let name: String = piece.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            found.insert(format!("AUTOSSH_{name}"));
        }
    }
    found
}

case!(every_variable_is_in_both, Beyond, {
    let variables = variables();
    assert_eq!(variables.len(), 14, "{variables:?}");
    let (manual, readme) = (read("man/autossh.1"), read("README.md"));
    let help = output(Command::new(program()).arg("--help"));
    let help = String::from_utf8(help.stdout).unwrap();
    for name in variables {
        assert!(manual.contains(&format!(".It Ev {name}\n")), "{name} is not in man/autossh.1");
        assert!(readme.contains(&format!("| `{name}` |")), "{name} is not in README.md");
        assert!(help.contains(&name), "{name} is not in --help");
    }
});

case!(every_option_is_in_both, Beyond, {
    let (manual, readme) = (read("man/autossh.1"), read("README.md"));
    for option in ["M", "f", "V"] {
        assert!(manual.contains(&format!(".It Fl {option}")), "-{option} is not in man/autossh.1");
        assert!(readme.contains(&format!("| `-{option}")), "-{option} is not in README.md");
    }
    for signal in ["TERM", "INT", "QUIT", "USR1", "USR2", "HUP", "ALRM", "KILL", "CONT"] {
        assert!(manual.contains(&format!("SIG{signal}")), "SIG{signal} is not in man/autossh.1");
    }
});

case!(the_manual_page_is_sound, Beyond, {
    if !needs("mandoc", has("mandoc")) {
        return;
    }
    let output = output(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(root().join("man/autossh.1")));
    assert!(output.status.success() && output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let page = read("man/autossh.1");
    for section in ["EXIT STATUS", "FILES", "EXAMPLES", "DIFFERENCES FROM AUTOSSH 1.4g"] {
        assert!(page.contains(&format!(".Sh {section}\n")), "{section}");
    }
});

case!(sections_that_the_sources_name_exist, Beyond, {
    let manual = read("man/autossh.1");
    for file in sources() {
        // Comments are wrapped, so the name of a section may be too.
        let text = fs::read_to_string(&file).unwrap().replace("\n//!", "").replace("\n///", "");
        for piece in text.split("(autossh(1), ").skip(1) {
            let name = piece.split(')').next().unwrap();
            assert!(manual.contains(&format!(".Sh {name}\n")), "{} names the section {name}", file.display());
        }
    }
});

case!(the_version_is_the_packages, Beyond, {
    let output = output(Command::new(program()).arg("-V"));
    let version = String::from_utf8(output.stdout).unwrap();
    let changelog = read("CHANGELOG.md");
    let latest = changelog.lines().find_map(|line| line.strip_prefix("## ")).unwrap().split(' ').next().unwrap();
    assert_eq!(version, format!("autossh {latest}\n"));
});

case!(the_wall_clock_is_for_stamps_alone, Beyond, {
    // If nothing else reads it, its jumps can change no gate, wait, poll or lifetime.
    for file in sources() {
        let name = name_of(&file);
        let text = fs::read_to_string(&file).unwrap();
        let asks = text.contains("SystemTime::now") || text.contains("CLOCK_REALTIME");
        assert_eq!(asks, ["log/mod.rs", "supervisor.rs"].contains(&name.as_str()), "{name}");
    }
    let supervisor = read("src/supervisor.rs");
    assert!(!supervisor.contains("SystemTime::UNIX_EPOCH") && !supervisor.contains(".elapsed()"));
});

case!(every_unsafe_block_is_argued_for, Beyond, {
    let page = read("CONTRIBUTING.md");
    for file in sources() {
        let name = name_of(&file);
        let blocks = fs::read_to_string(&file).unwrap().matches("unsafe {").count();
        let row = format!("| `{name}` | {blocks} |");
        let unsafe_rows = page.matches(&row).count();
        assert_eq!(unsafe_rows, usize::from(blocks > 0), "CONTRIBUTING.md should say: {row}");
    }
});

case!(the_core_compiles_without_the_system, Beyond, {
    // Without the standard library, without any other crate and without unsafe code there are no effects to be had.
    let core = root().join("src/core/lib.rs");
    let text = fs::read_to_string(&core).unwrap();
    assert!(text.contains("\n#![cfg_attr(not(test), no_std)]\n") && text.contains("\n#![forbid(unsafe_code)]\n"));
    let out = tempfile::tempdir().unwrap();
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    rustc.args(["--edition", "2024", "--crate-type", "lib", "--crate-name", "autossh_core", "--emit", "metadata"]);
    let output = output(rustc.arg("--out-dir").arg(out.path()).arg(core));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Not even by the one way in which a crate without the standard library can ask for it.
    for file in sources().iter().filter(|file| name_of(file).starts_with("core/")) {
        let text = fs::read_to_string(file).unwrap();
        assert!(!text.contains("extern crate std"), "{}", file.display());
    }
});

/// How long the example may take, which logs in many times.
const TRY: Duration = Duration::from_secs(300);

case!(the_example_of_the_main_job_works, Beyond, {
    if !needs("ssh-keyscan", has("ssh-keyscan")) {
        return;
    }
    let output = output_within(TRY, Command::new("sh").arg(root().join("examples/try.sh")).env("AUTOSSH", program()));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for cut in ["opened", "the session was killed", "the session was frozen", "sshd was stopped"] {
        assert!(text.lines().any(|line| line.contains(cut) && line.contains("traffic flows again after")), "{text}");
    }
    assert!(text.contains("a line through the tunnel: SSH-2.0-"), "{text}");
});

/// The commands that a page shows: a shell's line each.
fn examples_of(page: &str, beginning: &str) -> Vec<String> {
    let text = read(page).replace("\\(dq", "\"").replace(" \\e\n", " \\\n").replace(".Dl \\ ", "").replace("\\ ", "");
    let text = text.replace("\\\n", "");
    let lines = text.lines().filter_map(|line| line.strip_prefix(beginning)).map(str::trim);
    lines.filter(|line| line.split(' ').any(|word| word == "autossh")).map(str::to_owned).collect()
}

case!(the_examples_start_ssh_without_what_is_autosshs, Beyond, {
    let examples = [examples_of("man/autossh.1", ".Dl "), examples_of("README.md", "    ")].concat();
    let examples: Vec<&String> = examples.iter().filter(|line| !line.contains("systemctl")).collect();
    assert!(examples.len() >= 8, "{examples:?}");
    for line in examples {
        // Another case may have the port that is shown.
        let line = line.replace("20000", &port_pair().to_string());
        let running = Autossh::run_as(["sh", "-c", &line], "hang").start();
        let args = running.wait_start(1).args();
        assert!(args.contains(&"user@host".to_owned()), "{line}: {args:?}");
        assert!(!args.iter().any(|arg| arg == "-f" || arg == "-M"), "{line}: {args:?}");
    }
});
