//! What a refused head says, for the log: parsed only as far as it can be.

use super::super::refusal::{Fault, Refusal};
use super::super::request::Context;
use super::is_token;
use super::target::split_absolute;
use crate::charset::Charset;
use crate::http::Peer;
use crate::http::client::{Client, FORWARDED_FOR};

/// Longer names are cut: the client chooses them.
const MAX_NAME_BYTES: usize = 64;

/// Enough for every path of ours.
const MAX_PATH_BYTES: usize = 256;

const REQUEST_LINE: &str = "the request line";
const HEADER_LINE: &str = "a header line";

/// The first byte of a TLS connection (RFC 8446, section 5.1: a record of the type handshake).
const TLS_HANDSHAKE: u8 = 0x16;

/// The parts of a head by which an operator recognises a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Without the query, which may have a token in it; empty where the request line cannot be read.
    pub path: String,
    /// The values of `X-Forwarded-For`.
    pub forwarded_for: Vec<String>,
}

impl Summary {
    /// Of a head, or of its beginning.
    pub fn of(head: &[u8]) -> Summary {
        let mut lines = lines(head);
        let path = lines.next().map(path_in).unwrap_or_default();
        let values = lines.filter_map(|line| {
            let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
            name.eq_ignore_ascii_case(FORWARDED_FOR.as_bytes()).then(|| text(value[1..].trim_ascii()))
        });
        Summary { path, forwarded_for: values.collect() }
    }

    /// The client that trusted proxies name, or else the peer.
    pub fn client(&self, peer: Peer, context: &Context) -> Client {
        let forwarded_for: Vec<&str> = self.forwarded_for.iter().map(String::as_str).collect();
        Client::find(Some(peer), &forwarded_for, &context.trusted_proxies)
    }
}

/// The complete lines, and of the request line what has come.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let complete = head.iter().rposition(|byte| *byte == b'\n').map_or(head, |end| &head[..end]);
    complete.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// A target is complete where something follows it.
fn path_in(request_line: &[u8]) -> String {
    let mut words = request_line.split(|byte| *byte == b' ');
    let (Some(target), Some(_)) = (words.nth(1), words.next()) else { return String::new() };
    let origin = split_absolute(target).map_or(target, |(_, origin)| origin);
    let end = origin.iter().position(|byte| b"?#".contains(byte)).unwrap_or(origin.len());
    // Of another kind of address, the part before its path may be a user and a password.
    if origin.starts_with(b"/") { text(&origin[..end.min(MAX_PATH_BYTES)]) } else { String::new() }
}

fn text(bytes: &[u8]) -> String {
    Charset::decode(bytes.to_vec()).0
}

/// Why the byte at this place is not allowed.
pub fn bad_byte(input: &[u8], at: usize) -> Fault {
    let after_cr = at > 0 && input[at - 1] == b'\r';
    let rule = match input[at] {
        TLS_HANDSHAKE if at == 0 => return Refusal::Malformed.by("TLS, and this port takes only HTTP"),
        b'\n' => "a line end without CR",
        _ if after_cr => "CR without a line end",
        _ => "a control character",
    };
    let start = input[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let is_first = input[..start].trim_ascii().is_empty();
    let name = if is_first { REQUEST_LINE.to_owned() } else { name_in(&input[start..at]) };
    Refusal::Malformed.by(rule).in_field(name)
}

/// Why the lines after the request line are no header fields.
pub fn bad_header(lines: &[u8]) -> Fault {
    let mut above = HEADER_LINE.to_owned();
    for line in lines.split(|byte| *byte == b'\n') {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Refusal::Malformed.by("a line that continues another (folding)").in_field(above);
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if name.len() == line.len() || !is_name(name) {
            return Refusal::Malformed.by("a header line that is not NAME: VALUE").in_field(name_in(line));
        }
        above = name_in(line);
    }
    Refusal::Malformed.by("a header line that is not NAME: VALUE").in_field(above)
}

/// The line that makes a head too long.
pub fn longest_line(head: &[u8]) -> String {
    let lines = head.split(|byte| *byte == b'\n').enumerate();
    match lines.max_by_key(|(_, line)| line.len()) {
        Some((at, line)) if at > 0 => name_in(line),
        _ => REQUEST_LINE.to_owned(),
    }
}

/// The name of the field in a line.
fn name_in(line: &[u8]) -> String {
    let colon = line.iter().position(|byte| *byte == b':').unwrap_or_default();
    let name = line[..colon].trim_ascii_end();
    match is_name(name) {
        true => String::from_utf8_lossy(&name[..name.len().min(MAX_NAME_BYTES)]).into_owned(),
        false => HEADER_LINE.to_owned(),
    }
}

fn is_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_the_path_and_the_client_and_no_secret() {
        let of = |head: &str| Summary::of(head.as_bytes());
        let (path, forwarded_for) = ("/webhooks/é".to_owned(), vec!["192.0.2.1, 192.0.2.2".to_owned(), String::new()]);
        for target in ["/webhooks/é?token=hush", "http://me:hush@h/webhooks/é#hush"] {
            let head = format!(
                "\r\nPOST {target} HTTP/1.1\r\nA\r\nx-forwarded-for: 192.0.2.1, 192.0.2.2\r\nX-Forwarded-For:\r\n"
            );
            assert_eq!(of(&head), Summary { path: path.clone(), forwarded_for: forwarded_for.clone() });
            assert_eq!(of(&(head + "X-Forwarded-For: unfini")).forwarded_for, forwarded_for);
        }
        for (head, path) in [
            ("", ""),
            ("POST", ""),
            ("POST /webh", ""),
            ("POST /webhooks/a ", "/webhooks/a"),
            ("POST /a/ b\n", "/a/"),
            ("POST ftp://me:hush@h/a HTTP/1.1\r\n", ""),
            ("\x16\x03\x01", ""),
        ] {
            assert_eq!(of(head).path, path, "{head}");
        }
        assert_eq!(of(&format!("GET /{} HTTP/1.1", "a".repeat(9999))).path.len(), MAX_PATH_BYTES);
    }

    #[test]
    fn a_bad_byte_is_named_with_its_line() {
        for (head, expected) in [
            (&b"GET / HTTP/1.1\n"[..], "a line end without CR (the request line)"),
            (b"\r\nGET /\x00", "a control character (the request line)"),
            (b"\x16\x03\x01", "TLS, and this port takes only HTTP"),
            (b"GET / HTTP/1.1\r\nX-A: b\x7f", "a control character (X-A)"),
            (b"GET / HTTP/1.1\r\nHost: h\r\nX-A: b\rc", "CR without a line end (X-A)"),
            (b"GET / HTTP/1.1\r\nX A: \x01", "a control character (a header line)"),
        ] {
            let at = head.len() - 1;
            let at = if head[0] == TLS_HANDSHAKE { 0 } else { at };
            assert_eq!(bad_byte(head, at).to_string(), format!("malformed request: {expected}"));
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        for (lines, expected) in [
            ("A: 1\r\nX-A: 2\r\n folded\r\n\r\n", "a line that continues another (folding) (X-A)"),
            ("A: 1\r\nX-A : 2\r\n\r\n", "a header line that is not NAME: VALUE (X-A)"),
            ("A: 1\r\nnonsense\r\n\r\n", "a header line that is not NAME: VALUE (a header line)"),
        ] {
            assert_eq!(bad_header(lines.as_bytes()).to_string(), format!("malformed request: {expected}"));
        }
        let long = format!("GET / HTTP/1.1\r\nA: 1\r\nX-Long: {}", "x".repeat(99));
        assert_eq!(longest_line(long.as_bytes()), "X-Long");
        assert_eq!(longest_line(&[b'x'; 99]), REQUEST_LINE);
    }
}
