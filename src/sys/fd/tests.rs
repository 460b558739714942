use std::fs::File;
use std::io::pipe;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use nix::pty::{OpenptyResult, openpty};

use super::*;

#[test]
fn pipes_and_terminals_are_opened_again_and_nothing_else() {
    let (_reader, writer) = pipe().unwrap();
    assert!(nonblocking_twin(writer.as_fd()).is_ok());
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    assert!(nonblocking_twin(slave.as_fd()).is_ok());
    assert!(nonblocking_twin(master.as_fd()).is_err(), "it would be another terminal's");
    assert!(nonblocking_twin(tempfile::tempfile().unwrap().as_fd()).is_err(), "it would have an offset of its own");
    assert!(nonblocking_twin(File::open("/dev/null").unwrap().as_fd()).is_err());
    assert!(nonblocking_twin(UnixStream::pair().unwrap().0.as_fd()).is_err());
}

#[test]
fn a_descriptor_that_blocks_is_written_to_without_blocking() {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let (_reader, writer) = pipe().unwrap();
        let mut counts = Vec::new();
        while let Ok(count) = write_some(writer.as_fd(), &vec![0; 1_000_000]) {
            counts.push(count);
        }
        sender.send(counts).unwrap();
    });
    let counts = receiver.recv_timeout(Duration::from_secs(30)).expect("it has blocked");
    assert!(!counts.is_empty() && counts.iter().all(|count| *count == PIPE_BUF), "{counts:?}");
}
