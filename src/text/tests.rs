use proptest::prelude::*;

use super::*;
use crate::cases::cases;

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

/// The bytes that were escaped, if no backslash was among them.
fn unescaped(text: &str) -> Vec<u8> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (kind, rest) = part.split_at(1);
        let rest = match kind {
            "x" => {
                let (digits, rest) = rest.split_at(2);
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest
            }
            "u" => {
                let (digits, rest) = rest.strip_prefix('{').unwrap().split_once('}').unwrap();
                let character = char::from_u32(u32::from_str_radix(digits, 16).unwrap()).unwrap();
                bytes.extend(character.to_string().bytes());
                rest
            }
            letter => {
                let known = [("t", b'\t'), ("n", b'\n'), ("r", b'\r')];
                bytes.push(known.iter().find(|(known, _)| *known == letter).unwrap().1);
                rest
            }
        };
        bytes.extend(rest.bytes());
    }
    bytes
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn nothing_disturbing_is_left_and_nothing_is_lost(
        mut bytes: Vec<u8>,
        text in "[a-z \u{1}-\u{1f}\u{7f}-\u{ff}\u{20ac}\u{2028}-\u{202e}\u{2066}-\u{2069}]{0,20}",
    ) {
        bytes.retain(|byte| *byte != b'\\');
        for bytes in [&bytes, text.as_bytes()] {
            let escaped = escape(bytes);
            let disturbs = |c: char| c.is_control() || "\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}".contains(c)
                || ('\u{2066}'..='\u{2069}').contains(&c);
            prop_assert!(!escaped.contains(disturbs), "{}", escaped);
            prop_assert_eq!(unescaped(&escaped), bytes);
            let is_plain = std::str::from_utf8(bytes).is_ok_and(|text| !text.contains(disturbs));
            prop_assert_eq!(escaped.as_bytes() == bytes, is_plain);
        }
    }

    #[test]
    fn as_much_as_fits_is_kept(text in "[a\u{fc}\u{20ac}\u{1f600}]{0,20}", most in 0_usize..90) {
        let cut = cut(&text, most);
        prop_assert!(text.starts_with(cut) && cut.len() <= most);
        let next = text.strip_prefix(cut).and_then(|rest| rest.chars().next());
        prop_assert!(next.is_none_or(|next| cut.len() + next.len_utf8() > most));
    }
}
