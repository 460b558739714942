use std::io::Write;

use nix::fcntl::OFlag;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cases::cases;
use crate::ssh::stderr::lines::tests::some_output;

/// The end to read from and the end to write to.
pub fn blocking_pipe() -> (File, File) {
    let (reader, writer) = crate::sys::system::pipe(OFlag::empty()).unwrap();
    (reader.into(), writer.into())
}

fn attach(stderr: &mut SshStderr) -> File {
    let (reader, writer) = blocking_pipe();
    stderr.attach(reader).unwrap();
    writer
}

fn advance(stderr: &mut SshStderr) -> Vec<SshOutput> {
    let mut outputs = Vec::new();
    stderr.advance(Time::ZERO, &mut |output| outputs.push(output));
    outputs
}

fn wants(stderr: &SshStderr) -> Vec<PollFlags> {
    stderr.interest().map(|(_, flags)| flags).collect()
}

const REFUSED: &[u8] = b"Warning: remote port forwarding failed for listen port 2200\r\n";

#[test]
fn lines_for_the_log() {
    let mut stderr = SshStderr::for_log();
    assert_eq!(wants(&stderr), []);
    let mut ssh = attach(&mut stderr);
    assert_eq!((wants(&stderr), advance(&mut stderr)), (vec![PollFlags::POLLIN], vec![]));
    ssh.write_all(REFUSED).unwrap();
    let line = String::from_utf8_lossy(REFUSED).trim_end().to_owned();
    assert_eq!(advance(&mut stderr), [SshOutput::Line(line), SshOutput::RemoteRefused(Listen::Port(2200))]);
    // ssh has closed it.
    ssh.write_all(b"unfinished").unwrap();
    drop(ssh);
    assert_eq!(advance(&mut stderr), [SshOutput::Line("unfinished".into())]);
    assert_eq!((wants(&stderr), stderr.last_line().as_deref()), (vec![], Some("unfinished")));
    stderr.ssh_exited(Time::ZERO, &mut |output| panic!("{output:?}"));
    // Of the next ssh nothing is known yet.
    let _ssh = attach(&mut stderr);
    assert_eq!(stderr.last_line(), None);
}

#[test]
fn a_pipe_that_somebody_else_holds_open() {
    let mut stderr = SshStderr::for_log();
    let mut ssh = attach(&mut stderr);
    ssh.write_all(b"last words\r\n").unwrap();
    let mut outputs = Vec::new();
    stderr.ssh_exited(Time::ZERO, &mut |output| outputs.push(output));
    assert_eq!((outputs, wants(&stderr)), (vec![SshOutput::Line("last words".into())], vec![]));
    assert!(ssh.write_all(b"nobody reads this").is_err());
}

#[test]
fn on_its_way_to_our_stderr() {
    let (mut ours, end) = blocking_pipe();
    let mut stderr = SshStderr::passed_on(end.as_fd()).unwrap();
    let mut ssh = attach(&mut stderr);
    ssh.write_all(REFUSED).unwrap();
    assert_eq!(advance(&mut stderr), [SshOutput::RemoteRefused(Listen::Port(2200))]);
    let mut seen = vec![0; REFUSED.len()];
    ours.read_exact(&mut seen).unwrap();
    assert_eq!((seen.as_slice(), wants(&stderr)), (REFUSED, vec![PollFlags::POLLIN]));
}

#[test]
fn ssh_is_held_back_while_our_stderr_is_full_and_its_last_words_are_kept() {
    let (mut ours, end) = blocking_pipe();
    let mut stderr = SshStderr::passed_on(end.as_fd()).unwrap();
    let mut ssh = attach(&mut stderr);
    let ssh_twin = crate::sys::fd::nonblocking_twin(ssh.as_fd()).unwrap();
    let mut written = 0;
    while let Ok(count) = nix::unistd::write(&ssh_twin, &[b'v'; 1000]) {
        written += count;
        advance(&mut stderr);
    }
    // Our stderr is full, so is our buffer, and ssh must wait.
    assert_eq!(wants(&stderr), [PollFlags::POLLOUT]);
    let mut buffer = vec![0; 8000];
    ours.read_exact(&mut buffer).unwrap();
    let mut taken = buffer.len();
    advance(&mut stderr);
    ssh.write_all(REFUSED).unwrap();
    written += REFUSED.len();
    let mut outputs = Vec::new();
    stderr.ssh_exited(Time::ZERO, &mut |output| outputs.push(output));
    drop(ssh);
    assert_eq!(wants(&stderr), [PollFlags::POLLOUT]);
    let mut last = Vec::new();
    while taken < written {
        let count = ours.read(&mut buffer).unwrap();
        last = [&last, &buffer[..count]].concat();
        taken += count;
        advance(&mut stderr);
    }
    assert!(last.ends_with(REFUSED) && wants(&stderr).is_empty());
}

#[test]
fn what_is_waiting_is_written_before_autossh_exits() {
    let (mut ours, end) = blocking_pipe();
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut stderr = SshStderr::passed_on(end.as_fd()).unwrap();
    let mut ssh = attach(&mut stderr);
    let twin = crate::sys::fd::nonblocking_twin(end.as_fd()).unwrap();
    let mut full = Vec::new();
    while let Ok(count) = nix::unistd::write(&twin, &[b'v'; 1000]) {
        full.resize(full.len() + count, 0);
    }
    ssh.write_all(REFUSED).unwrap();
    advance(&mut stderr);
    assert!(wants(&stderr).contains(&PollFlags::POLLOUT));
    ours.read_exact(&mut full).unwrap();
    stderr.flush();
    let mut seen = vec![0; REFUSED.len()];
    ours.read_exact(&mut seen).unwrap();
    assert_eq!(seen, REFUSED);
}

#[test]
#[cfg(target_os = "linux")]
fn more_than_is_read_at_a_time_is_read_the_next_time() {
    let mut stderr = SshStderr::for_log();
    let mut ssh = attach(&mut stderr);
    fcntl(&ssh, FcntlArg::F_SETPIPE_SZ(1 << 18)).unwrap();
    ssh.write_all(&vec![b'v'; 200_000]).unwrap();
    ssh.write_all(b"\r\nlast words\r\n").unwrap();
    assert_eq!((advance(&mut stderr), wants(&stderr)), (vec![], vec![PollFlags::POLLIN]));
    assert_eq!(advance(&mut stderr).last(), Some(&SshOutput::Line("last words".into())));
}

#[test]
fn a_pipe_that_cannot_be_read_is_closed() {
    let mut stderr = SshStderr::for_log();
    stderr.attach(File::open("/").unwrap()).unwrap();
    assert_eq!(advance(&mut stderr), [SshOutput::Unreadable("Is a directory".into())]);
    assert_eq!(wants(&stderr), []);
}

/// What happens between ssh, us and our stderr.
#[derive(Clone, Debug)]
enum Step {
    SshWrites(Vec<u8>),
    /// We are polled.
    Advance,
    /// Whoever reads our stderr takes so many bytes.
    Read(usize),
    /// ssh exits, and the next is started.
    NextSsh,
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => vec(some_output(), 0..5).prop_map(|parts| Step::SshWrites(parts.concat())),
        1 => (0..6000_usize).prop_map(|length| Step::SshWrites(vec![b'v'; length])),
        4 => Just(Step::Advance),
        3 => (0..6000_usize).prop_map(Step::Read),
        1 => Just(Step::NextSsh),
    ]
}

/// As `ours`, not blocking, and as small as a pipe can be.
fn small(ours: &File) {
    fcntl(ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    #[cfg(target_os = "linux")]
    fcntl(ours, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn no_byte_is_lost_doubled_or_changed_on_its_way(steps in vec(a_step(), 0..40)) {
        let (mut ours, end) = blocking_pipe();
        small(&ours);
        let mut stderr = SshStderr::passed_on(end.as_fd()).unwrap();
        let mut ssh = attach(&mut stderr);
        fcntl(&ssh, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let (mut written, mut seen, mut heard) = (Vec::new(), Vec::new(), Vec::new());
        let mut buffer = vec![0; 6000];
        // What ssh has written, and what each ssh has said by itself.
        let (mut expected, mut own) = (Vec::new(), Lines::new(false));
        for step in steps {
            match step {
                Step::SshWrites(bytes) => {
                    let count = ssh.write(&bytes).unwrap_or_default();
                    written.extend_from_slice(&bytes[..count]);
                    own.push(&bytes[..count], Time::ZERO, &mut |output| expected.push(output));
                }
                Step::Advance => heard.extend(advance(&mut stderr)),
                Step::Read(most) => {
                    let count = ours.read(&mut buffer[..most]).unwrap_or_default();
                    seen.extend_from_slice(&buffer[..count]);
                }
                Step::NextSsh => {
                    stderr.ssh_exited(Time::ZERO, &mut |output| heard.push(output));
                    ssh = attach(&mut stderr);
                    fcntl(&ssh, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
                    own = Lines::new(false);
                }
            }
            prop_assert!(stderr.has_room() || !wants(&stderr).contains(&PollFlags::POLLIN), "ssh is not held back");
        }
        stderr.ssh_exited(Time::ZERO, &mut |output| heard.push(output));
        while !wants(&stderr).is_empty() || seen.len() < written.len() {
            let count = ours.read(&mut buffer).unwrap_or_default();
            seen.extend_from_slice(&buffer[..count]);
            let before = wants(&stderr).len();
            heard.extend(advance(&mut stderr));
            prop_assert!(count > 0 || before > 0, "{} of {} bytes", seen.len(), written.len());
        }
        prop_assert!(seen == written, "other bytes");
        prop_assert_eq!(heard, expected);
    }
}
