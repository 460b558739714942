use super::*;

/// The lines from these bytes, each with the second of its arrival, and the refused ports.
fn heard(talk: &[(u64, &[u8])]) -> (Vec<String>, Vec<u16>) {
    let mut lines = Lines::default();
    let (mut said, mut ports) = (Vec::new(), Vec::new());
    let mut take = |heard| match heard {
        SshOutput::Line(line) => said.push(line),
        SshOutput::ForwardFailed(port) => ports.push(port),
    };
    for (second, bytes) in talk {
        lines.push(bytes, Duration::from_secs(100 + second), &mut take);
    }
    lines.finish(&mut take);
    (said, ports)
}

fn lines(talk: &[(u64, &[u8])]) -> Vec<String> {
    heard(talk).0
}

#[test]
fn lines_are_put_together() {
    assert_eq!(lines(&[(0, b"one\r\ntw"), (0, b"o\n\nrest")]), ["one", "two", "", "rest"]);
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
fn a_failed_forward_is_known_even_when_its_line_is_left_out() {
    let many = b"debug1: line\n".repeat(50);
    let failure = b"Warning: remote port forwarding failed for listen port 20000\r\n";
    let (said, ports) = heard(&[(0, &many), (0, failure), (0, &many)]);
    assert_eq!((said[20..].to_vec(), ports), (vec!["(81 lines left out)".to_owned()], vec![20000]));
}

#[test]
fn ssh_names_the_port_that_failed() {
    for (line, port) in [
        ("Warning: remote port forwarding failed for listen port 20000", Some(20000)),
        ("Error: remote port forwarding failed for listen port 20000\\r", Some(20000)),
        ("remote port forwarding failed for listen path /x", None),
        ("remote port forwarding failed for listen port x", None),
        ("Connection closed", None),
    ] {
        assert_eq!(failed_forward(line.as_bytes()), port, "{line}");
    }
}
