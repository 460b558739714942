//! The command line in ssh's own grammar: autossh's words are taken out, ssh's stay byte for byte.
//!
//! ssh reads options, then the destination, then options again; the first word after the destination that is no option
//! begins the remote command, which nobody here looks into (ssh(1), SYNOPSIS; autossh(1), SYNOPSIS).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The letters that take a value in OpenSSH 9.2p1 to 10.5p1; every other letter is a flag, unknown ones too.
const VALUE_LETTERS: &[u8] = b"BDEFIJLOPQRSWbceilmopw";

/// What the command line said, autossh's words and ssh's apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The value of the last `-M`.
    pub port: Option<OsString>,
    /// `-f`: go to the background.
    pub background: bool,
    /// The words for ssh, in the order they were typed.
    pub ssh_words: Vec<OsString>,
    /// The place in `ssh_words` of what the first `-M` stands for.
    pub port_place: usize,
    /// The options among `ssh_words`: each letter with its value (empty for a flag).
    pub options: Vec<(u8, OsString)>,
    /// Whether a destination was given.
    pub destination: bool,
}

impl CommandLine {
    /// Whether ssh was given the option `letter`.
    pub fn has(&self, letter: u8) -> bool {
        self.options.iter().any(|(given, _)| *given == letter)
    }
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
    /// Nothing to connect to: the usage is what helps.
    NoDestination,
    /// `-M` was the last word.
    NoPort,
}

/// How far ssh's reading has come, and whether autossh's words may still stand there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before the destination, autossh's words among the options.
    Ours,
    /// Before the destination, after autossh's `--`: every option is ssh's.
    Theirs,
    /// After ssh's own `--`: the next word is the destination, the rest the command.
    DestinationNext,
    /// After the destination; autossh's words may stand here unless its `--` was given.
    AfterOurs,
    /// After the destination, after autossh's `--`.
    AfterTheirs,
}

/// Reads the words after the program's name.
///
/// # Errors
/// [`Error`] when there is no destination, or `-M` has no value.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Request, Error> {
    let mut words = words.into_iter();
    let mut line = CommandLine::default();
    let mut stage = Stage::Ours;

    while let Some(word) = words.next() {
        let dashes = word == "--";
        let option = !dashes && word.len() > 1 && word.as_bytes().starts_with(b"-");
        match stage {
            Stage::Ours if dashes => stage = Stage::Theirs,
            Stage::Theirs if dashes => {
                line.ssh_words.push(word);
                stage = Stage::DestinationNext;
            }
            Stage::Ours | Stage::Theirs | Stage::AfterOurs | Stage::AfterTheirs if option => {
                let ours = matches!(stage, Stage::Ours | Stage::AfterOurs);
                if let Some(request) = option_word(word, &mut words, ours, &mut line)? {
                    return Ok(request);
                }
            }
            Stage::Ours | Stage::Theirs => {
                line.ssh_words.push(word);
                line.destination = true;
                stage = if stage == Stage::Ours { Stage::AfterOurs } else { Stage::AfterTheirs };
            }
            // Either the destination that ssh's `--` announced, or what begins the command.
            Stage::DestinationNext | Stage::AfterOurs | Stage::AfterTheirs => {
                line.ssh_words.push(word);
                line.destination = true;
                break;
            }
        }
    }
    line.ssh_words.extend(words);
    if line.destination { Ok(Request::Run(line)) } else { Err(Error::NoDestination) }
}

/// Reads one word of option letters, such as `-fNL`, and the value that its last letter may take from `words`.
///
/// Answers with a request that ends the reading at once, if the word is one.
fn option_word(
    word: OsString,
    words: &mut impl Iterator<Item = OsString>,
    ours: bool,
    line: &mut CommandLine,
) -> Result<Option<Request>, Error> {
    if ours && word == "--help" {
        return Ok(Some(Request::Help));
    }
    if ours && word == "--version" {
        return Ok(Some(Request::Version));
    }
    if word.as_bytes().starts_with(b"--") {
        // ssh has no long options: their letters are not options, and ssh says so itself.
        line.ssh_words.push(word);
        return Ok(None);
    }
    let mut kept = vec![b'-'];
    let mut value_word = None;
    let mut port = None;

    let mut rest = word.as_bytes().get(1..).unwrap_or_default();
    while let Some((&letter, tail)) = rest.split_first() {
        rest = tail;
        match letter {
            b'V' if ours => return Ok(Some(Request::Version)),
            b'f' if ours => line.background = true,
            b'M' if ours => {
                port = Some(value(tail, words).ok_or(Error::NoPort)?.0);
                break;
            }
            _ if VALUE_LETTERS.contains(&letter) => {
                kept.push(letter);
                kept.extend_from_slice(tail);
                // A missing value is ssh's to complain about.
                if let Some((value, from_next)) = value(tail, words) {
                    value_word = from_next.then(|| value.clone());
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
        line.ssh_words.push(OsString::from_vec(kept));
        line.ssh_words.extend(value_word);
    }
    if let Some(port) = port {
        if line.port.is_none() {
            line.port_place = line.ssh_words.len();
        }
        line.port = Some(port);
    }
    Ok(None)
}

/// An option's value: the rest of its word or else the next word, and whether it was the next word.
fn value(tail: &[u8], words: &mut impl Iterator<Item = OsString>) -> Option<(OsString, bool)> {
    if tail.is_empty() {
        words.next().map(|word| (word, true))
    } else {
        Some((OsString::from_vec(tail.to_vec()), false))
    }
}

#[cfg(test)]
mod tests;
