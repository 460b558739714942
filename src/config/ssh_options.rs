//! What autossh must know of ssh's own options: the address family, the forwards, and whether there is a command.
//!
//! ssh_config's files are not read: what is set there cannot be seen (autossh(1), CAVEATS).

use std::ffi::OsString;

use autossh_core::forwards::{Asked, Listen};

use crate::config::settings::Family;

/// The options on the command line, each letter with its value (empty for a flag).
pub type Options = [(u8, OsString)];

/// The address family that ssh ends up with: the last of `-4` and `-6`, else the first `-o AddressFamily`.
pub fn family(options: &Options) -> Family {
    let flag = options.iter().rev().find_map(|(letter, _)| match letter {
        b'4' => Some(Family::V4),
        b'6' => Some(Family::V6),
        _ => None,
    });
    let keyword = value_of(options, "AddressFamily")
        .map(|value| if value.eq_ignore_ascii_case("inet6") { Family::V6 } else { Family::V4 });
    flag.or(keyword).unwrap_or(Family::V4)
}

/// Whether ssh was told to run no command: `-N` or `-o SessionType=none`.
pub fn no_command(options: &Options) -> bool {
    options.iter().any(|(letter, _)| *letter == b'N')
        || value_of(options, "SessionType").is_some_and(|value| value.eq_ignore_ascii_case("none"))
}

/// The forwards that ssh was asked for.
pub fn forwards(options: &Options) -> Asked {
    let mut asked = Asked::default();
    for (letter, value) in options {
        let Some(text) = value.to_str() else {
            continue;
        };
        match letter {
            b'R' => asked.remote.extend(listen(text)),
            b'L' | b'D' => asked.local.extend(listen(text)),
            b'w' => asked.tunnel = true,
            b'o' => {
                let Some((keyword, value)) = keyword(text) else {
                    continue;
                };
                let first = value.split_ascii_whitespace().next().unwrap_or_default();
                match keyword.to_ascii_lowercase().as_str() {
                    "remoteforward" => asked.remote.extend(listen(first)),
                    "localforward" | "dynamicforward" => asked.local.extend(listen(first)),
                    "tunnel" => asked.tunnel |= !value.eq_ignore_ascii_case("no"),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    asked
}

/// The value of the first `-o KEYWORD=VALUE`, which is the one that counts.
fn value_of<'a>(options: &'a Options, wanted: &str) -> Option<&'a str> {
    options.iter().filter(|(letter, _)| *letter == b'o').find_map(|(_, option)| {
        let (keyword, value) = keyword(option.to_str()?)?;
        keyword.eq_ignore_ascii_case(wanted).then_some(value)
    })
}

/// The keyword and the value of `-o KEYWORD=VALUE`, in any of the forms that ssh_config(5) allows.
fn keyword(option: &str) -> Option<(&str, &str)> {
    let (keyword, value) = option.trim().split_once(|c: char| c == '=' || c.is_ascii_whitespace())?;
    Some((keyword, value.trim_matches(|c: char| c == '=' || c == '"' || c.is_ascii_whitespace())))
}

/// Where the forward `spec` listens: `[bind_address:]port:…`, `[bind_address:]port`, `path:…` or `path`.
fn listen(spec: &str) -> Option<Listen> {
    if spec.starts_with('/') {
        return spec.split(':').next().map(|path| Listen::Path(path.into()));
    }
    let fields = fields(spec);
    let is_path = |field: Option<&&str>| field.is_some_and(|field| field.starts_with('/'));
    // With two or three fields the last one tells: a path takes the place of a host and a port.
    let bound = match fields.len() {
        2 => !is_path(fields.last()),
        3 => is_path(fields.last()),
        count => count > 3,
    };
    fields.get(usize::from(bound))?.parse().ok().map(Listen::Port)
}

/// The fields of a forward, which colons separate, but not those in brackets.
fn fields(spec: &str) -> Vec<&str> {
    let mut in_brackets = false;
    spec.split(|c: char| {
        in_brackets = (in_brackets || c == '[') && c != ']';
        c == ':' && !in_brackets
    })
    .collect()
}

#[cfg(test)]
mod tests;
