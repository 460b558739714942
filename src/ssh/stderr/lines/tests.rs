use super::*;
use autossh_core::forwards::Listen;

/// What follows from these bytes, each with the second of its arrival, and the last line.
fn heard(for_log: bool, talk: &[(u64, &[u8])]) -> (Vec<SshOutput>, Option<String>) {
    let mut lines = Lines::new(for_log);
    let mut outputs = Vec::new();
    for (second, bytes) in talk {
        lines.push(bytes, Duration::from_secs(100 + second), &mut |output| outputs.push(output));
    }
    lines.finish(&mut |output| outputs.push(output));
    (outputs, lines.last().map(str::to_owned))
}

fn lines(talk: &[(u64, &[u8])]) -> Vec<String> {
    let lines = heard(true, talk).0.into_iter();
    lines.filter_map(|output| if let SshOutput::Line(line) = output { Some(line) } else { None }).collect()
}

#[test]
fn lines_are_put_together() {
    assert_eq!(lines(&[(0, b"one\r\ntw"), (0, b"o\n\nrest")]), ["one", "two", "", "rest"]);
}

#[test]
fn sshs_own_prefix_is_left_to_the_log() {
    let said = lines(&[(0, b"ssh: connect to host h port 22: Connection refused\r\nnot ssh: a prefix\nssh: rest")]);
    assert_eq!(said, ["connect to host h port 22: Connection refused", "not ssh: a prefix", "rest"]);
}

#[test]
fn lines_are_cut() {
    let long = vec![b'x'; 5000];
    assert_eq!(lines(&[(0, &long), (0, b"\nnext\n")]), ["x".repeat(1024), "next".into()]);
}

#[test]
fn twenty_lines_a_second_and_what_was_left_out() {
    let many = b"line\n".repeat(50);
    let said = lines(&[(0, &many), (1, b"later\n")]);
    assert_eq!(said.len(), 22);
    assert_eq!(said[20..], ["(30 lines left out)", "later"]);
    assert_eq!(lines(&[(0, &many)]).last().map(String::as_str), Some("(30 lines left out)"));
}

#[test]
fn a_refused_forward_is_recognised_even_when_its_line_is_left_out() {
    let many = b"debug1: line\n".repeat(50);
    let refusal = b"Warning: remote port forwarding failed for listen port 20000\r\n";
    let (outputs, _) = heard(true, &[(0, &many), (0, refusal), (0, &many)]);
    assert_eq!(
        outputs[20..],
        [SshOutput::RemoteRefused(Listen::Port(20000)), SshOutput::Line("(81 lines left out)".into())]
    );
}

#[test]
fn without_a_log_only_refusals_count() {
    let talk = b"banner\nbind [10.1.2.3]:80: Permission denied\r\n\
        channel_setup_fwd_listener_tcpip: cannot listen to port: 80\r\nunfinished";
    for size in [1, 7, talk.len()] {
        let parts: Vec<_> = talk.chunks(size).map(|part| (0, part)).collect();
        let (outputs, last) = heard(false, &parts);
        assert_eq!(outputs, [SshOutput::LocalRefused("10.1.2.3:80".parse().unwrap())]);
        assert_eq!(last.as_deref(), Some("unfinished"));
    }
}

#[test]
fn the_last_line_is_the_last_that_means_something() {
    for (talk, last) in [
        ("", None),
        ("\r\n \n", None),
        ("debug1: Connecting\r\n", None),
        ("Permission denied (publickey).\r\ndebug3: send packet\r\n\r\n", Some("Permission denied (publickey).")),
        ("one\r\ntwo\x1b\r\n", Some("two\\u{1b}")),
        ("debugging\n", Some("debugging")),
    ] {
        assert_eq!(heard(true, &[(0, talk.as_bytes())]).1.as_deref(), last, "{talk:?}");
    }
    let long = "\u{20ac}".repeat(100);
    assert_eq!(heard(true, &[(0, long.as_bytes())]).1, Some("\u{20ac}".repeat(66)));
}
