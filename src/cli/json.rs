//! JSON as a person reads it on a terminal. Nothing here recurses.

use super::table::is_invisible;

/// Formats JSON that is known to be well-formed, one value a line. Numbers, strings and the order of keys are kept as they
/// are; an invisible character of a string is written as an escape, which means the same.
pub(super) fn pretty(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match c {
            '"' => {
                taken = string_bytes(rest);
                push_escaped(&mut text, &rest[..taken]);
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

/// JSON on one line, with an escape for each invisible character, which means the same to a program. All line breaks in
/// `json` must be outside of strings.
pub(super) fn one_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    push_escaped(&mut line, &json.replace(['\n', '\r', '\t'], " "));
    line
}

/// The length of the string, with its quotes, at the start of `json`.
fn string_bytes(json: &str) -> usize {
    let mut bytes = json.as_bytes()[1..].iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
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

fn push_escaped(text: &mut String, string: &str) {
    for c in string.chars() {
        if !is_invisible(c) {
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
    fn json_on_one_line_means_the_same() {
        let odd = "a\u{1b}\u{9b}31m\u{202e}\u{e0041}\r\n\t日本";
        let line = one_line(&serde_json::json!([odd]).to_string());
        assert_eq!(line, r#"["a\u001b\u009b31m\u202e\udb40\udc41\r\n\t日本"]"#);
        assert_eq!(serde_json::from_str::<[String; 1]>(&line).unwrap(), [odd]);
        assert_eq!(one_line("{\r\n\t\"a\": 1}"), "{   \"a\": 1}");
    }

    #[test]
    fn pretty_json_is_one_value_a_line_and_nothing_else_is_changed() {
        let json = r#"{"b" : 12345678901234567890.10,"a":["x, {y}: \"z\"",[ ],{}, null ]}"#;
        let text = "{\n  \"b\": 12345678901234567890.10,\n  \"a\": [\n    \"x, {y}: \\\"z\\\"\",\n    [],\n    {},\n    null\n  ]\n}";
        assert_eq!(pretty(json), text);
    }

    #[test]
    fn an_invisible_character_is_written_as_an_escape_that_means_the_same() {
        let json = "[\"a\u{202e}b\u{e0041}\"]";
        let text = pretty(json);
        assert_eq!(text, "[\n  \"a\\u202eb\\udb40\\udc41\"\n]");
        let read = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(read(&text), read(json));
    }

    #[test]
    fn text_that_is_not_json_is_no_crash() {
        for text in ["", "\"", "\"a\\", "]]}", "[", "{\"a\":", "ä"] {
            pretty(text);
        }
    }
}
