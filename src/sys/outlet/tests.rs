use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::*;

/// Reads what is there.
fn read(from: &mut impl Read, most: usize) -> Vec<u8> {
    let mut buffer = vec![0; most];
    let count = from.read(&mut buffer).unwrap_or_default();
    buffer.truncate(count);
    buffer
}

fn line(letter: u8, length: usize) -> Vec<u8> {
    let mut line = vec![letter; length];
    line.push(b'\n');
    line
}

#[test]
fn the_rest_of_a_line_goes_before_the_next() {
    let (read_end, write_end) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
    let mut read_end = std::fs::File::from(read_end);
    let mut outlet = Outlet::new(write_end);
    // Longer than a pipe's buffer: it takes a part.
    let long = line(b'a', 1 << 20);
    outlet.write(&long).unwrap();
    assert_eq!(outlet.write(b"lost\n").unwrap_err().kind(), ErrorKind::WouldBlock);
    let mut all = Vec::new();
    while all.len() < long.len() {
        all.extend(read(&mut read_end, 1 << 20));
        let _ = outlet.write(b"");
    }
    outlet.write(b"next\n").unwrap();
    all.extend(read(&mut read_end, 1 << 20));
    assert_eq!(all, [&long[..], b"next\n"].concat());
}

#[test]
fn a_full_socket_does_not_block() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut outlet = Outlet::new(theirs.into());
    let mut sent = 0;
    while outlet.write(&line(b'x', 1000)).is_ok() {
        sent += 1;
    }
    ours.set_nonblocking(true).unwrap();
    let mut all = Vec::new();
    let _ = ours.read_to_end(&mut all);
    assert_eq!(all, line(b'x', 1000).repeat(sent));
    outlet.write(b"again\n").unwrap();
    assert_eq!(read(&mut ours, 100), b"again\n");
}
