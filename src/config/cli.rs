//! The command line in ssh's grammar: autossh's options are removed, everything else stays unchanged.
//!
//! ssh reads options, then the destination, then options again; the first arg after the destination that is not an
//! option begins the remote command, which is not parsed (ssh(1), SYNOPSIS; autossh(1), SYNOPSIS).

use std::ffi::{OsStr, OsString};
use std::iter::Peekable;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The letters that take a value in OpenSSH 10.5p1; every other letter is a flag, including unknown ones. Older releases
/// lack some of them; the only one that changed is `-P`, a flag without effect before 9.4.
const VALUE_LETTERS: &[u8] = b"BDEFIJLOPQRSWbceilmopw";

/// The command line, with autossh's args separated from ssh's.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The value of the last `-M`.
    pub port: Option<OsString>,
    /// `-f`: go to the background.
    pub background: bool,
    /// The args for ssh, in the order they were typed.
    pub ssh_args: Vec<OsString>,
    /// The index in `ssh_args` at which the first `-M` was.
    pub port_index: usize,
    /// The options among `ssh_args`: each letter with its value (empty for a flag).
    pub options: Vec<(u8, OsString)>,
    /// Whether a destination was given.
    pub destination: bool,
}

/// What the user wants of autossh.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Supervise an ssh.
    Run(CommandLine),
    /// `-V`, `--version`.
    Version,
    /// `--help`.
    Help,
}

/// The command line cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no destination; the usage is shown.
    NoDestination,
    /// `-M` was the last arg.
    NoPort,
}

/// How far parsing has come, and whether autossh's options are still recognized.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before the destination; autossh's options are recognized.
    Ours,
    /// Before the destination, after autossh's `--`: every option is ssh's.
    Theirs,
    /// After ssh's own `--`: the next arg is the destination, the rest the command.
    DestinationNext,
    /// After the destination; autossh's options are recognized, since its `--` was not given.
    AfterOurs,
    /// After the destination, after autossh's `--`.
    AfterTheirs,
}

/// Parses the args after the program's name.
///
/// # Errors
/// [`Error`] when there is no destination, or `-M` has no value.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, Error> {
    let mut args = args.into_iter().peekable();
    let mut line = CommandLine::default();
    let mut stage = Stage::Ours;

    while let Some(arg) = args.next() {
        let dashes = arg == "--";
        let option = !dashes && arg.len() > 1 && arg.as_bytes().starts_with(b"-");
        match stage {
            Stage::Ours if dashes => stage = Stage::Theirs,
            Stage::Theirs if dashes => {
                line.ssh_args.push(arg);
                stage = Stage::DestinationNext;
            }
            Stage::Ours | Stage::Theirs | Stage::AfterOurs | Stage::AfterTheirs if option => {
                let ours = matches!(stage, Stage::Ours | Stage::AfterOurs);
                if let Some(request) = option_arg(arg, &mut args, ours, &mut line)? {
                    return Ok(request);
                }
            }
            Stage::Ours | Stage::Theirs => {
                line.ssh_args.push(arg);
                line.destination = true;
                stage = if stage == Stage::Ours { Stage::AfterOurs } else { Stage::AfterTheirs };
            }
            // Either the destination after ssh's `--`, or the beginning of the command.
            Stage::DestinationNext | Stage::AfterOurs | Stage::AfterTheirs => {
                line.ssh_args.push(arg);
                line.destination = true;
                break;
            }
        }
    }
    line.ssh_args.extend(args);
    if line.destination { Ok(Request::Run(line)) } else { Err(Error::NoDestination) }
}

/// Parses one arg of option letters, such as `-fNL`, and the value that its last letter may take from `args`.
///
/// Returns a request that ends parsing at once, if the arg is one.
fn option_arg(
    arg: OsString,
    args: &mut Peekable<impl Iterator<Item = OsString>>,
    ours: bool,
    line: &mut CommandLine,
) -> Result<Option<Request>, Error> {
    if ours && arg == "--help" {
        return Ok(Some(Request::Help));
    }
    if ours && arg == "--version" {
        return Ok(Some(Request::Version));
    }
    if arg.as_bytes().starts_with(b"--") {
        // ssh has no long options; it reports them itself.
        line.ssh_args.push(arg);
        return Ok(None);
    }
    let mut kept = vec![b'-'];
    let mut value_arg = None;
    let mut port = None;

    let mut rest = arg.as_bytes().get(1..).unwrap_or_default();
    while let Some((&letter, tail)) = rest.split_first() {
        rest = tail;
        match letter {
            b'V' if ours => return Ok(Some(Request::Version)),
            b'f' if ours => line.background = true,
            b'M' if ours => {
                port = Some(value(tail, args).ok_or(Error::NoPort)?.0);
                break;
            }
            _ if VALUE_LETTERS.contains(&letter) || (letter == b'K' && is_keepalive(tail, args)) => {
                kept.push(letter);
                kept.extend_from_slice(tail);
                // ssh reports a missing value itself.
                if let Some((value, from_next)) = value(tail, args) {
                    value_arg = from_next.then(|| value.clone());
                    line.options.push((letter, value));
                }
                break;
            }
            _ => {
                kept.push(letter);
                line.options.push((letter, OsString::new()));
            }
        }
    }
    if kept.len() > 1 {
        line.ssh_args.push(OsString::from_vec(kept));
        line.ssh_args.extend(value_arg);
    }
    if let Some(port) = port {
        if line.port.is_none() {
            line.port_index = line.ssh_args.len();
        }
        line.port = Some(port);
    }
    Ok(None)
}

/// Whether what follows `-K` is its value: Dropbear's dbclient has its keepalive there, while OpenSSH's is a flag.
fn is_keepalive(tail: &[u8], args: &mut Peekable<impl Iterator<Item = OsString>>) -> bool {
    if tail.is_empty() { args.peek().is_some_and(|next| is_digits(next)) } else { tail.iter().all(u8::is_ascii_digit) }
}

/// Whether it is a number, whatever its size.
pub fn is_digits(text: &OsStr) -> bool {
    !text.is_empty() && text.as_bytes().iter().all(u8::is_ascii_digit)
}

/// An option's value: the rest of its arg or else the next arg, and whether it was the next arg.
fn value(tail: &[u8], args: &mut impl Iterator<Item = OsString>) -> Option<(OsString, bool)> {
    if tail.is_empty() { args.next().map(|arg| (arg, true)) } else { Some((OsString::from_vec(tail.to_vec()), false)) }
}

#[cfg(test)]
mod tests;
