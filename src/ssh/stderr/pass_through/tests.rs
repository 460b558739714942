use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::*;
use crate::ssh::stderr::tests::blocking_pipe;

/// Fills a pipe of a shared, blocking end, and returns what went into it.
fn fill(end: BorrowedFd<'_>) -> usize {
    let twin = nonblocking_twin(end).unwrap();
    let mut filled = 0;
    while let Ok(count) = nix::unistd::write(&twin, &[b'.'; 1000]) {
        filled += count;
    }
    filled
}

fn blocked() -> (File, File, PassThrough, usize) {
    let (reader, writer) = blocking_pipe();
    let pass_through = PassThrough::new(writer.as_fd()).unwrap();
    let filled = fill(writer.as_fd());
    (reader, writer, pass_through, filled)
}

#[test]
fn a_full_pipe_holds_back_and_loses_nothing() {
    let (mut reader, _writer, mut pass_through, filled) = blocked();
    let text: Vec<u8> = (0..40_000_u32).flat_map(u32::to_be_bytes).collect();
    let mut parts = text.chunks(3000);
    let mut pushed = 0;
    let mut seen = Vec::new();
    while seen.len() < filled + text.len() {
        while pass_through.has_room() {
            let Some(part) = parts.next() else { break };
            pass_through.push(part);
            pushed += part.len();
        }
        assert!(seen.len() + pass_through.waiting.len() <= filled + pushed && pass_through.waiting.len() < FULL + 3000);
        let mut buffer = [0; 5000];
        let count = reader.read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..count]);
        pass_through.write();
    }
    assert!(seen[filled..] == text && !pass_through.is_waiting());
}

#[test]
fn what_is_left_behind_is_bounded() {
    let (_reader, _writer, mut pass_through, _) = blocked();
    for _ in 0..100 {
        pass_through.push(&[b'x'; 8 * 1024]);
    }
    assert_eq!(pass_through.waiting.len(), MAX_WAITING);
    // Returns although nobody reads, but not before it has waited.
    let begin = Instant::now();
    pass_through.flush();
    assert!(pass_through.is_waiting() && begin.elapsed() >= Duration::from_millis(FLUSH_TIME.into()));
}

#[test]
fn a_flush_goes_on_while_somebody_reads() {
    let all_is_taken = |_| {
        let (mut reader, writer, mut pass_through, _) = blocked();
        pass_through.push(&vec![b'x'; MAX_WAITING / 2]);
        let reader = std::thread::spawn(move || while reader.read(&mut [0; 100]).is_ok_and(|count| count > 0) {});
        pass_through.flush();
        let taken = !pass_through.is_waiting();
        drop((pass_through, writer));
        reader.join().unwrap();
        taken
    };
    // On a busy machine the reader may be held up for as long as a flush waits, but not every time.
    assert!((0..10).any(all_is_taken));
}

#[test]
fn a_socket_that_blocks_is_not_waited_for() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut pass_through = PassThrough::new(ours.as_fd()).unwrap();
    let mut pushed = 0;
    while !pass_through.is_waiting() {
        pass_through.push(&[b's'; 4000]);
        pushed += 4000;
    }
    let reader = std::thread::spawn(move || {
        let mut seen = vec![0; pushed];
        theirs.read_exact(&mut seen).map(|()| seen)
    });
    while pass_through.is_waiting() {
        pass_through.flush();
    }
    assert!(reader.join().unwrap().unwrap().iter().all(|byte| *byte == b's'));
}

#[test]
fn a_stderr_that_nobody_reads_or_that_is_full_costs_nothing() {
    let (reader, writer) = blocking_pipe();
    let mut broken = PassThrough::new(writer.as_fd()).unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut full = PassThrough::new(full.as_fd()).unwrap();
    for pass_through in [&mut broken, &mut full] {
        pass_through.push(b"lost");
        assert!(!pass_through.is_waiting());
    }
}

#[test]
fn a_file_is_appended_to_where_others_write_too() {
    let mut file = tempfile::tempfile().unwrap();
    let mut pass_through = PassThrough::new(file.as_fd()).unwrap();
    for text in ["one ", "three "] {
        pass_through.push(text.as_bytes());
        nix::unistd::write(&file, b"and ").unwrap();
    }
    let mut text = String::new();
    io::Seek::rewind(&mut file).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one and three and ");
}
