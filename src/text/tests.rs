use super::*;

#[test]
fn strange_bytes_are_escaped() {
    for (bytes, expected) in [
        (&b"plain text"[..], "plain text"),
        ("gr\u{fc}n \u{2713}".as_bytes(), "gr\u{fc}n \u{2713}"),
        (b"\x1b[31m\x07\t\r\x00\x7f", "\\u{1b}[31m\\u{7}\\t\\r\\u{0}\\u{7f}"),
        (b"\xff\xfea", "\\xff\\xfea"),
        ("\u{9b}".as_bytes(), "\\u{9b}"),
        ("a\u{2028}b\u{2029}c".as_bytes(), "a\\u{2028}b\\u{2029}c"),
        ("\u{202a}\u{202e}\u{2066}\u{2069}".as_bytes(), "\\u{202a}\\u{202e}\\u{2066}\\u{2069}"),
        ("\u{2027}\u{202f}\u{2065}\u{206a}".as_bytes(), "\u{2027}\u{202f}\u{2065}\u{206a}"),
    ] {
        assert_eq!(escape(bytes), expected);
    }
}

#[test]
fn text_is_cut_between_characters() {
    for (text, most, expected) in
        [("abc", 5, "abc"), ("abc", 3, "abc"), ("abc", 2, "ab"), ("a\u{fc}c", 2, "a"), ("", 0, ""), ("\u{fc}", 1, "")]
    {
        assert_eq!(cut(text, most), expected, "{text} {most}");
    }
}

#[test]
fn errors_are_in_the_systems_words() {
    assert_eq!(error_text(&io::Error::from_raw_os_error(2)), "No such file or directory");
    assert_eq!(error_text(&io::Error::other("other")), "other");
}
