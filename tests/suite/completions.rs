//! The completions for bash, zsh and fish, as somebody who types and presses TAB meets them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{needs, wait_for};
use crate::table;

/// A shell, the command that runs it, and the files of its home, with COMPLETIONS for the directory of ours.
struct Shell {
    name: &'static str,
    command: &'static str,
    files: &'static [(&'static str, &'static str)],
}

impl std::fmt::Debug for Shell {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

const BASH: Shell = Shell {
    name: "bash",
    command: "bash --noprofile -i",
    // As bash-completion reads them: its own first, then /etc/bash_completion.d.
    files: &[(".bashrc", ". /usr/share/bash-completion/bash_completion\n. COMPLETIONS/autossh.bash\nPS1='ready> '\n")],
};
const ZSH: Shell = Shell {
    name: "zsh",
    command: "zsh -d -i",
    files: &[(".zshrc", "fpath=(COMPLETIONS $fpath)\nautoload -Uz compinit\ncompinit -u -D\nPROMPT='ready> '\n")],
};
const FISH: Shell = Shell {
    name: "fish",
    command: "fish -i",
    files: &[(".config/fish/config.fish", "set fish_greeting\nfunction fish_prompt; echo -n 'ready> '; end\n")],
};

table!(a_line_that_is_typed_with_tab, Beyond, [BASH, ZSH, FISH], |shell| {
    let is_there = |path: &str| Path::new(path).exists();
    let there = match shell.name {
        "bash" => is_there("/usr/share/bash-completion/bash_completion"),
        name => is_there(&format!("/usr/bin/{name}")),
    };
    if !needs(&format!("{} and its completions", shell.name), there) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let write = |name: &str, text: &str| {
        fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        fs::write(path(name), text).unwrap();
    };
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/completions");
    for (name, text) in shell.files {
        write(name, &text.replace("COMPLETIONS", ours.to_str().unwrap()));
    }
    fs::create_dir_all(path(".config/fish/completions")).unwrap();
    symlink(ours.join("autossh.fish"), path(".config/fish/completions/autossh.fish")).unwrap();
    write(".ssh/config", "Host tunnel-one\nHost tunnel-two\n");
    // What ends up on the command line when the line is run.
    write("bin/autossh", "#!/bin/sh\n{ printf '<%s>' \"$@\"; echo; } >>\"$HOME/got\"\n");
    fs::set_permissions(path("bin/autossh"), fs::Permissions::from_mode(0o755)).unwrap();

    let search = format!("{}:{}", path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("script");
    command.args(["--quiet", "--flush", "--command", shell.command, "/dev/null"]);
    command.env("HOME", home.path()).env("ZDOTDIR", home.path()).env("XDG_CONFIG_HOME", path(".config"));
    command.env("XDG_DATA_HOME", path(".local")).env("PATH", search).env("TERM", "dumb").current_dir(home.path());
    let shown = fs::File::create(path("shown")).unwrap();
    let mut terminal = command.stdin(Stdio::piped()).stdout(shown).stderr(Stdio::null()).spawn().unwrap();
    let mut keys = terminal.stdin.take().unwrap();

    let mut lines = vec![
        ("autossh -M 20000 tunnel-o\t\n", "<-M><20000><tunnel-one>"),
        ("autossh -M 20000:7 -L 8080:localhost:80 tunnel-t\t\n", "<-M><20000:7><-L><8080:localhost:80><tunnel-two>"),
        ("autossh -fNM 20000 -i .ssh/conf\t tunnel-t\t\n", "<-fNM><20000><-i><.ssh/config><tunnel-two>"),
        ("autossh -M20000 -N tunnel-o\t\n", "<-M20000><-N><tunnel-one>"),
        ("autossh --vers\t\n", "<--version>"),
    ];
    if shell.name != "fish" {
        let typed = "autossh -fN -o ExitOnForwardF\tyes tunnel-o\t\n";
        lines.push((typed, "<-fN><-o><ExitOnForwardFailure=yes><tunnel-one>"));
    }
    let prompts = || fs::read_to_string(path("shown")).unwrap_or_default().matches("ready> ").count();
    wait_for(format!("the prompt of {}", shell.name), || (prompts() > 0).then_some(()));
    let mut expected = String::new();
    for (line, runs) in lines {
        let before = prompts();
        keys.write_all(line.as_bytes()).unwrap();
        expected.push_str(runs);
        expected.push('\n');
        let got = || fs::read_to_string(path("got")).unwrap_or_default();
        wait_for(format!("{line:?} in {}", shell.name), || (got().len() >= expected.len()).then_some(()));
        assert_eq!(got(), expected, "{line:?} in {}", shell.name);
        wait_for(format!("the next prompt of {}", shell.name), || (prompts() > before).then_some(()));
    }
    keys.write_all(b"exit\n").unwrap();
    wait_for(format!("the end of {}", shell.name), || terminal.try_wait().unwrap());
});
