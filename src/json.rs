//! JSON as text, read without building a tree.

mod cursor;
mod scan;
mod tokens;
mod walk;

use std::borrow::Cow;

pub use cursor::Cursor;
pub use scan::{Lookup, Scan, scan};
pub use tokens::{Token, tokens};
pub use walk::{first_value, items, members, unquoted};

/// The deepest accepted nesting. Programs that read a payload often recurse, and so does this one.
pub const MAX_DEPTH: usize = 128;

/// `\ud83d`
const ESCAPED_UNIT_BYTES: usize = 6;

/// The byte order mark, with which programs of Windows begin UTF-8. A parser of JSON may ignore it (RFC 8259, section 8.1).
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// The text without the byte order mark, if it has one.
pub fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(BOM).unwrap_or(text)
}

pub fn begins_object_or_array(text: &[u8]) -> bool {
    matches!(first_byte(text), Some(b'{' | b'['))
}

pub fn begins_object(text: &[u8]) -> bool {
    first_byte(text) == Some(b'{')
}

fn first_byte(text: &[u8]) -> Option<u8> {
    without_bom(text).trim_ascii_start().first().copied()
}

/// Whether the text is in UTF-16: JSON begins with an ASCII character, which then has a zero byte beside it, or with the
/// byte order mark.
pub fn is_utf16(text: &[u8]) -> bool {
    matches!(text, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..]) || matches!(text, [a, b, ..] if (*a == 0) != (*b == 0))
}

/// The same JSON with U+FFFD, the replacement character, for each escape of a UTF-16 surrogate without its other half. The
/// grammar allows them, programs that cut a text within an emoji send them, and no string can hold them.
pub fn replace_lone_surrogates(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let (mut replaced, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += found;
        let escape_bytes = match (escaped_unit(bytes, at), escaped_unit(bytes, at + ESCAPED_UNIT_BYTES)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 2 * ESCAPED_UNIT_BYTES,
            (Some(0xD800..=0xDFFF), _) => {
                replaced.push_str(&json[copied..at]);
                replaced.push_str("\\ufffd");
                copied = at + ESCAPED_UNIT_BYTES;
                ESCAPED_UNIT_BYTES
            }
            // The character after the backslash may be another backslash.
            _ => 2,
        };
        at += escape_bytes;
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    replaced.push_str(&json[copied..]);
    Cow::Owned(replaced)
}

/// The UTF-16 unit that is written as an escape at `at`, if there is one.
fn escaped_unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPED_UNIT_BYTES)?.strip_prefix(b"\\u")?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_surrogate_becomes_the_replacement_character() {
        for (json, replaced) in [
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (r#""\uDE00x\ud83d\n""#, r#""\ufffdx\ufffd\n""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\u0041""#, r#""\ufffd\u0041""#),
        ] {
            assert_eq!(replace_lone_surrogates(json), replaced, "{json}");
            assert!(serde_json::from_str::<String>(replaced).is_ok(), "{replaced}");
        }
        for same in
            [r#"{"a":"\ud83d\ude00 \\ud83d \\\\ud83d"}"#, r#""\u00e9""#, "", "\\", "\\u", "\\ud8", "\\é", "\\u+d83"]
        {
            assert!(matches!(replace_lone_surrogates(same), Cow::Borrowed(_)), "{same}");
        }
    }
}
