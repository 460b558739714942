use autossh_core::forwards::Listen;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::cases::cases;

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

/// What ssh, a server's banner or a remote command may write: a part of a line, or a few.
pub fn some_output() -> impl Strategy<Value = Vec<u8>> {
    let known = select(vec![
        "\n",
        "\r\n",
        "\r",
        "ssh: ",
        "debug1: ",
        "Warning: remote port forwarding failed for listen port 2200\r\n",
        "Error: remote port forwarding failed for listen path /a b\r\n",
        "Warning: remote port forwarding failed for listen port ",
        "bind [127.0.0.1]:80: Permission denied\r\n",
        "channel_setup_fwd_listener_tcpip: cannot listen to port: 80\r\n",
        "dbclient: Remote TCP forward request failed (port 7 -> h:22)\n",
        "\u{20ac}\u{202e}\u{9b}",
    ]);
    prop_oneof![
        6 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u16>().prop_map(|port| format!("{port}\r\n").into_bytes()),
        1 => (1000..1050_usize).prop_map(|length| vec![b'x'; length]),
        1 => (0..30_usize).prop_map(|count| b"line\n".repeat(count)),
        2 => vec(any::<u8>(), 0..20),
    ]
}

/// The bytes, split after every so many.
fn split<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<(u64, &'a [u8])> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (part, after) = rest.split_at(rest.len().min(*size));
        parts.push((0, part));
        rest = after;
    }
    parts
}

/// How many lines this output is for: that many were left out, or it is one.
fn lines_behind(line: &str) -> usize {
    let left_out = line.strip_prefix('(').and_then(|line| line.strip_suffix(" lines left out)"));
    left_out.map_or(1, |count| count.parse().unwrap())
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn how_reads_split_the_stream_does_not_matter(
        output in vec(some_output(), 0..40),
        sizes in vec(1_usize..60, 1..8),
        for_log: bool,
    ) {
        let output = output.concat();
        let whole = heard(for_log, &[(0, &output)]);
        prop_assert_eq!(&whole, &heard(for_log, &split(&output, &sizes)));
        // Nor does the log for what was refused.
        let refused = |outputs: &[SshOutput]| -> Vec<SshOutput> {
            outputs.iter().filter(|output| !matches!(output, SshOutput::Line(_))).cloned().collect()
        };
        prop_assert_eq!(refused(&whole.0), heard(!for_log, &[(0, &output)]).0.into_iter()
            .filter(|output| !matches!(output, SshOutput::Line(_))).collect::<Vec<_>>());
    }

    #[test]
    fn every_line_is_logged_or_counted_and_none_is_too_much(talk in vec((0_u64..3, some_output()), 0..40)) {
        let mut second = 100;
        let mut all = Vec::new();
        let mut lines = Lines::new(true);
        let mut said: Vec<(u64, String)> = Vec::new();
        let mut take = |second, output| if let SshOutput::Line(line) = output { said.push((second, line)) };
        for (pause, bytes) in &talk {
            second += pause;
            all.extend_from_slice(bytes);
            lines.push(bytes, Duration::from_secs(second), &mut |output| take(second, output));
        }
        lines.finish(&mut |output| take(second, output));

        let newlines = all.split(|byte| *byte == b'\n').count() - 1;
        let unfinished = usize::from(all.last().is_some_and(|byte| *byte != b'\n'));
        prop_assert_eq!(said.iter().map(|(_, line)| lines_behind(line)).sum::<usize>(), newlines + unfinished);
        for (_, line) in &said {
            // A byte that is escaped takes six.
            let most = if line.contains('\\') { MAX_LINE * 6 } else { MAX_LINE };
            prop_assert!(line.len() <= most, "{}", line.len());
            prop_assert!(escape(line.as_bytes()) == *line, "{}", line);
        }
        for second in 100..=second {
            let logged = said.iter().filter(|(at, line)| *at == second && !line.ends_with(" left out)")).count();
            // The last one may be unfinished.
            prop_assert!(logged <= MAX_LINES as usize + 1);
        }
        prop_assert!(lines.last().is_none_or(|last| !last.is_empty() && last.len() <= MAX_LAST));
    }
}
