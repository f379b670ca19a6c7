//! JSON as text: how deep it is nested, and how a person reads it. Nothing here recurses.

use std::borrow::Cow;

/// The deepest nesting taken. What reads a payload, here or in another program, often recurses.
pub const MAX_DEPTH: usize = 128;

/// `\ud83d`
const ESCAPED_UNIT_BYTES: usize = 6;

/// The deepest nesting of brackets in JSON that is known to be well-formed.
pub fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

/// The same JSON without escapes of half a character (a UTF-16 surrogate by itself). Its grammar allows them, who cuts a text
/// within an emoji sends them, and no string can hold them: each becomes U+FFFD, which stands for what cannot be read.
pub fn of_whole_characters(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let (mut whole, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += found;
        let escape_bytes = match (escaped_unit(bytes, at), escaped_unit(bytes, at + ESCAPED_UNIT_BYTES)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 2 * ESCAPED_UNIT_BYTES,
            (Some(0xD800..=0xDFFF), _) => {
                whole.push_str(&json[copied..at]);
                whole.push_str("\\ufffd");
                copied = at + ESCAPED_UNIT_BYTES;
                ESCAPED_UNIT_BYTES
            }
            // What follows the backslash may be another one.
            _ => 2,
        };
        at += escape_bytes;
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    whole.push_str(&json[copied..]);
    Cow::Owned(whole)
}

/// The UTF-16 unit that is written as an escape at `at`, if one is.
fn escaped_unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPED_UNIT_BYTES)?.strip_prefix(b"\\u")?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

/// JSON that is known to be well-formed, one value a line. Numbers, strings and the order of keys are kept as they are;
/// a character of a string that `is_hidden` is written as an escape, which means the same.
pub fn pretty(json: &str, is_hidden: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match c {
            '"' => {
                taken = string_bytes(rest);
                push_escaped(&mut text, &rest[..taken], &is_hidden);
            }
            '{' | '[' => {
                text.push(c);
                depth += 1;
                match closing(&rest[1..]) {
                    // Empty ones stay on their line.
                    Some(bytes) => {
                        depth -= 1;
                        text.push(if c == '{' { '}' } else { ']' });
                        taken += bytes;
                    }
                    None => new_line(&mut text, depth),
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut text, depth);
                text.push(c);
            }
            ',' => {
                text.push(c);
                new_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => text.push(c),
        }
        rest = &rest[taken..];
    }
    text
}

/// The same without line breaks, all of which are outside of its strings.
pub fn one_line(json: &str, is_hidden: impl Fn(char) -> bool) -> String {
    let mut line = String::with_capacity(json.len());
    push_escaped(&mut line, &json.replace(['\n', '\r', '\t'], " "), &is_hidden);
    line
}

/// The length of the string, with its quotes, at the start of `json`.
fn string_bytes(json: &str) -> usize {
    let mut bytes = json.as_bytes()[1..].iter();
    skip_string(&mut bytes);
    json.len() - bytes.len()
}

/// The bytes up to the end of an object or array that has no member, after its opening bracket.
fn closing(after: &str) -> Option<usize> {
    let trimmed = after.trim_ascii_start();
    trimmed.starts_with(['}', ']']).then(|| after.len() - trimmed.len() + 1)
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

fn push_escaped(text: &mut String, string: &str, is_hidden: impl Fn(char) -> bool) {
    for c in string.chars() {
        if !is_hidden(c) {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            text.push_str(&format!("\\u{unit:04x}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_one_line_it_means_the_same() {
        let odd = "a\u{1b}\u{9b}31m\u{202e}\u{e0041}\r\n\t日本";
        let is_hidden = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{e0041}');
        let line = one_line(&serde_json::json!([odd]).to_string(), is_hidden);
        assert_eq!(line, r#"["a\u001b\u009b31m\u202e\udb40\udc41\r\n\t日本"]"#);
        assert_eq!(serde_json::from_str::<[String; 1]>(&line).unwrap(), [odd]);
        assert_eq!(one_line("{\r\n\t\"a\": 1}", is_hidden), "{   \"a\": 1}");
    }

    #[test]
    fn it_is_one_value_a_line_and_nothing_else_is_changed() {
        let json = r#"{"b" : 12345678901234567890.10,"a":["x, {y}: \"z\"",[ ],{}, null ]}"#;
        let text = "{\n  \"b\": 12345678901234567890.10,\n  \"a\": [\n    \"x, {y}: \\\"z\\\"\",\n    [],\n    {},\n    null\n  ]\n}";
        assert_eq!(pretty(json, |_| false), text);
    }

    #[test]
    fn what_is_not_seen_is_written_as_an_escape_that_means_the_same() {
        let json = "[\"a\u{202e}b\u{e0041}\"]";
        let text = pretty(json, |c| !c.is_ascii());
        assert_eq!(text, "[\n  \"a\\u202eb\\udb40\\udc41\"\n]");
        let read = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(read(&text), read(json));
    }

    #[test]
    fn what_is_no_json_after_all_is_no_crash() {
        for text in ["", "\"", "\"a\\", "]]}", "[", "{\"a\":", "ä"] {
            pretty(text, |_| true);
        }
    }

    #[test]
    fn half_a_character_becomes_the_one_for_what_cannot_be_read() {
        for (json, whole) in [
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (r#""\uDE00x\ud83d\n""#, r#""\ufffdx\ufffd\n""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\u0041""#, r#""\ufffd\u0041""#),
        ] {
            assert_eq!(of_whole_characters(json), whole, "{json}");
            assert!(serde_json::from_str::<String>(whole).is_ok(), "{whole}");
        }
        for same in
            [r#"{"a":"\ud83d\ude00 \\ud83d \\\\ud83d"}"#, r#""\u00e9""#, "", "\\", "\\u", "\\ud8", "\\é", "\\u+d83"]
        {
            assert!(matches!(of_whole_characters(same), Cow::Borrowed(_)), "{same}");
        }
    }
}
