//! An event as a shell command that sends it again.

use crate::cli::send::url_of;
use crate::cli::table;
use crate::client::{forwarded_fields, redacted_names};
use crate::config::{Config, PATH_PREFIX};
use crate::digest;
use crate::event::{Event, headers};
use crate::listen::Listen;
use crate::shell;

/// The longest body that is written as an argument: Linux allows 128 KiB, and each quote takes four bytes.
const MAX_ARGUMENT_BYTES: usize = 32 << 10;

/// The length of a line that `base64` writes.
const BASE64_COLUMNS: usize = 76;

/// A command that sends the event to the address of this config, with the exact body and the stored header fields.
pub(super) fn command(config: &Config, event: &Event) -> String {
    let mut notes = String::new();
    for name in redacted_names(event) {
        // In a comment only a line break would be read by the shell.
        notes.push_str(&format!("# missing: '{}' carried a secret and was not stored\n", table::one_line(&name)));
    }
    let beside = |name| headers::beside(&event.headers_json, name);
    let method = beside(headers::METHOD);
    let mut words = destination(&config.listen, &event.source, beside(headers::QUERY));
    words.extend(method.iter().map(|method| format!("--request {}", quoted(method))));
    let mut has_type = false;
    for (name, value) in forwarded_fields(event) {
        has_type |= name == "content-type";
        // curl writes an empty field with a semicolon.
        let separator = if value.is_empty() { ";" } else { ": " };
        let field = [name.as_str().as_bytes(), separator.as_bytes(), value.as_bytes()].concat();
        words.push(format!("--header {}", word(&field)));
    }
    if !has_type {
        // Without this, curl adds its own.
        words.push("--header 'content-type:'".to_owned());
    }
    let words = words.join(" \\\n  ");
    match as_argument(event.bytes()) {
        Some("") if method.is_some() => format!("{notes}curl {words}\n"),
        Some(text) => format!("{notes}curl {words} \\\n  --data-raw {}\n", quoted(text)),
        None => {
            let lines = base64_lines(event.bytes());
            format!("{notes}base64 -d <<'END' | curl {words} \\\n  --data-binary @-\n{lines}END\n")
        }
    }
}

/// The address at which the source of that name accepts deliveries.
fn destination(listen: &Listen, source: &str, query: Option<String>) -> Vec<String> {
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    let path = format!("{PATH_PREFIX}{source}{query}");
    match listen {
        Listen::Tcp(address) => vec![quoted(&url_of(address, &path))],
        Listen::Unix(socket) => vec![
            quoted(&url_of("localhost", &path)),
            format!("--unix-socket {}", quoted(&socket.display().to_string())),
        ],
    }
}

/// Short text that a terminal shows as it is; other bytes would not survive copying from a terminal.
fn as_argument(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= MAX_ARGUMENT_BYTES)?;
    (table::lines(text) == text).then_some(text)
}

/// A word of a shell without invisible characters.
fn quoted(text: &str) -> String {
    shell::word(&table::lines(text))
}

/// A word of a shell. Bytes that a terminal would change are written by `printf` (POSIX).
fn word(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if table::lines(text) == text => shell::word(text),
        _ => format!("\"$(printf '{}')\"", bytes.iter().map(printf_escaped).collect::<String>()),
    }
}

fn printf_escaped(byte: &u8) -> String {
    match byte {
        b' ' | b':' | b'-' | b'.' | b'/' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(*byte).to_string(),
        byte => format!("\\{byte:03o}"),
    }
}

fn base64_lines(bytes: &[u8]) -> String {
    let encoded = digest::base64(bytes);
    let lines = encoded.as_bytes().chunks(BASE64_COLUMNS);
    lines.map(|line| String::from_utf8_lossy(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_no_invisible_characters() {
        assert_eq!(quoted("a\r\u{1b}[2J"), "'a??[2J'");
    }

    #[test]
    fn a_word_of_any_bytes_is_readable() {
        assert_eq!(word("cf-region: Île".as_bytes()), "'cf-region: Île'");
        assert_eq!(word(b"cf-ipcity: M\xfc 100%"), r#""$(printf 'cf-ipcity: M\374 100\045')""#);
        assert_eq!(word("a: \u{202e}'".as_bytes()), r#""$(printf 'a: \342\200\256\047')""#);
    }

    #[test]
    fn a_body_that_a_terminal_would_change_is_no_argument() {
        assert_eq!(as_argument(b"{\"a\":\n\t1}"), Some("{\"a\":\n\t1}"));
        for body in [&b"\xff"[..], b"a\r\n", b"\0", "\u{202e}".as_bytes(), &[b'x'; MAX_ARGUMENT_BYTES + 1]] {
            assert_eq!(as_argument(body), None, "{:?}", &body[..body.len().min(9)]);
        }
    }

    #[test]
    fn base64_has_short_lines() {
        assert_eq!(base64_lines(b""), "");
        let lines = base64_lines(&[7; 58]);
        assert_eq!(lines.lines().map(str::len).collect::<Vec<_>>(), [76, 4]);
        assert!(lines.ends_with('\n'));
    }
}
