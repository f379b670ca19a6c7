//! Parsing a request's head, more strictly than RFC 9112 requires where parsers could see different requests, and writing it
//! again for upstream, which then cannot understand it differently.

mod diagnosis;
mod target;

use super::refusal::{Fault, Refusal};
use crate::http::bodies::UnreadBody;
use crate::http::{self, BODY_HEADER, GATE_HEADERS, PEER_HEADER, Peer, VERSION_HEADER, escaped};
pub use diagnosis::Summary;
use httparse::Header;
use target::Target;

/// Real deliveries stay under 4 KiB; proxies add a little.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Twice what a delivery through two proxies carries.
const MAX_HEADERS: usize = 64;

/// Hop-by-hop headers (RFC 9110, section 7.6.1), offers to upgrade, which a server may ignore (section 7.8), and the
/// lengths: the body passes beside the head. So are [`GATE_HEADERS`]. Other headers are forwarded even if `Connection` names
/// them: otherwise a client could, through a careless proxy, remove the header in which the proxy says for whom it forwards.
const DROPPED: [&str; 10] = [
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Upgrade",
    "HTTP2-Settings",
    "Expect",
    "Content-Length",
    "Transfer-Encoding",
];

/// A valid head.
#[derive(Debug)]
pub struct Head {
    /// Request line and headers for upstream, without the lines that [`Head::complete`] adds.
    forward: Vec<u8>,
    pub framing: Framing,
    /// The client waits for an interim response before it sends the body.
    pub expects_continue: bool,
    /// The client wants no keep-alive.
    pub closes: bool,
    /// The method is HEAD, and the response has no body, even if it has a length.
    pub is_head: bool,
    pub is_compressed: bool,
}

/// Where the body ends (RFC 9112, section 6).
#[derive(Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: Target<'a>,
    /// Otherwise HTTP/1.0.
    is_http_1_1: bool,
}

/// True if `input` has the first byte of a request. One empty line before it is ignored (RFC 9112, section 2.2).
pub fn has_begun(input: &[u8]) -> bool {
    !b"\r\n".starts_with(input)
}

/// The length in bytes of the head with its empty line, once it is complete. `checked_bytes` keeps between calls how much
/// of `input` was checked, so that a client that sends single bytes costs no more than another.
///
/// Bytes on which parsers are known to disagree (bare CR, bare LF, NUL, other controls) are refused here.
pub fn find_end(input: &[u8], checked_bytes: &mut usize) -> Result<Option<usize>, Fault> {
    let start = if input.starts_with(b"\r\n") { 2 } else { 0 };
    for at in *checked_bytes..input.len() {
        let after_cr = at > 0 && input[at - 1] == b'\r';
        if after_cr != (input[at] == b'\n') || !is_allowed(input[at]) {
            return Err(diagnosis::bad_byte(input, at));
        }
        if at >= start && input[start..=at].ends_with(b"\r\n\r\n") {
            return Ok(Some(at + 1));
        }
    }
    *checked_bytes = input.len();
    Ok(None)
}

/// Bytes above 127 are allowed in values (RFC 9110, section 5.5), and taken in targets.
fn is_allowed(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~' | 128..)
}

/// The head does not end within the bytes that it may have.
pub fn too_long(input: &[u8]) -> Fault {
    Refusal::HeadTooLarge.by("longer than 16 KiB").in_field(diagnosis::longest_line(input))
}

/// Parses a head of the length that [`find_end`] has returned.
pub fn parse(head: &[u8], max_body_bytes: u64) -> Result<Head, Fault> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let line_end = head.windows(2).position(|pair| pair == b"\r\n").unwrap_or_default();
    let (line, lines) = (parse_request_line(&head[..line_end])?, &head[line_end + 2..]);

    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let headers = match httparse::parse_headers(lines, &mut headers) {
        Ok(httparse::Status::Complete((_, headers))) => headers,
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge.by("more than 64 header fields")),
        _ => return Err(diagnosis::bad_header(lines)),
    };
    // RFC 9112, section 3.2.
    if only(headers, "Host")?.is_none() && line.is_http_1_1 {
        return Err(Refusal::Malformed.by("HTTP/1.1 without Host"));
    }
    let framing = framing(line.is_http_1_1, headers, max_body_bytes)?;
    let expects_continue = expects_continue(headers)? && line.is_http_1_1;
    let closes = !line.is_http_1_1 || has_option(headers, "close");
    let forward = forward(&line, headers);
    let is_compressed = values(headers, "Content-Encoding").any(http::is_compression);
    Ok(Head { forward, framing, expects_continue, closes, is_head: line.method == b"HEAD", is_compressed })
}

fn forward(line: &RequestLine<'_>, headers: &[Header<'_>]) -> Vec<u8> {
    let mut output = [line.method, b" ", &escaped(&line.target.origin), b" HTTP/1.1\r\n"].concat();
    if let Some(authority) = line.target.authority {
        write_header(&mut output, "Host", authority);
    }
    let is_replaced = |name: &str| line.target.authority.is_some() && name.eq_ignore_ascii_case("Host");
    let is_dropped = |name: &str| is_one_of(name, &DROPPED) || is_one_of(name, &GATE_HEADERS) || is_replaced(name);
    for header in headers.iter().filter(|header| !is_dropped(header.name)) {
        write_header(&mut output, header.name, &escaped(header.value));
    }
    if !line.is_http_1_1 {
        write_header(&mut output, VERSION_HEADER, b"1.0");
    }
    output
}

fn parse_request_line(line: &[u8]) -> Result<RequestLine<'_>, Fault> {
    let malformed = || Refusal::Malformed.by("the request line is not METHOD TARGET VERSION");
    let mut parts = line.split(|&byte| byte == b' ');
    let (method, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let version = parts.next();
    if parts.next().is_some() || method.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
        return Err(malformed());
    }
    let is_http_1_1 = match version {
        Some(b"HTTP/1.1") => true,
        Some(b"HTTP/1.0") => false,
        Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']) => {
            return Err(Refusal::UnsupportedVersion.into());
        }
        None if target.starts_with(b"/") => return Err(Refusal::UnsupportedVersion.into()), // HTTP/0.9
        _ => return Err(malformed()),
    };
    Ok(RequestLine { method, target: target::parse(method, target)?, is_http_1_1 })
}

/// A character of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Two lengths, even equal ones, are refused: they are the means of request smuggling (RFC 9112, section 11.2).
fn framing(is_http_1_1: bool, headers: &[Header<'_>], max_body_bytes: u64) -> Result<Framing, Fault> {
    match (only(headers, "Content-Length")?, only(headers, "Transfer-Encoding")?) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(length), None) => content_length(length, max_body_bytes),
        (Some(_), Some(_)) => Err(Refusal::Malformed.by("two lengths").in_field("Content-Length, Transfer-Encoding")),
        (None, Some(coding)) if is_http_1_1 && coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (None, Some(_)) => {
            Err(Refusal::Malformed.by("a transfer coding other than chunked in HTTP/1.1").in_field("Transfer-Encoding"))
        }
    }
}

fn content_length(value: &[u8], max_body_bytes: u64) -> Result<Framing, Fault> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Malformed.by("a length that is not a number").in_field("Content-Length"));
    }
    // A number of digits alone fails to parse only if it exceeds u64.
    let length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
    match length {
        Some(length) if length <= max_body_bytes => Ok(Framing::Length(length)),
        _ => Err(Refusal::BodyTooLarge.by("larger than max_body").in_field("Content-Length")),
    }
}

/// RFC 9110, section 10.1.1; HTTP/1.0 has no expectations.
fn expects_continue(headers: &[Header<'_>]) -> Result<bool, Fault> {
    match only(headers, "Expect")? {
        Some(expectation) if !expectation.eq_ignore_ascii_case(b"100-continue") => {
            Err(Fault::from(Refusal::UnknownExpectation).in_field("Expect"))
        }
        expectation => Ok(expectation.is_some()),
    }
}

/// The values of the headers of that name.
pub fn values<'a>(headers: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.trim_ascii())
}

fn only<'a>(headers: &'a [Header<'_>], name: &'a str) -> Result<Option<&'a [u8]>, Fault> {
    let mut values = values(headers, name);
    let first = values.next();
    match values.next() {
        Some(_) => Err(Refusal::Malformed.by("a field sent more than once").in_field(name)),
        None => Ok(first),
    }
}

/// Whether `Connection` has this option.
fn has_option(headers: &[Header<'_>], name: &str) -> bool {
    let mut options = values(headers, "Connection").flat_map(|value| value.split(|&byte| byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

pub fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

pub fn write_header(output: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value.trim_ascii(), b"\r\n"] {
        output.extend_from_slice(part);
    }
}

impl Head {
    /// The head for upstream. `body` is `None` where there is no body.
    pub fn complete(mut self, body: Option<&UnreadBody>, peer: Peer) -> Vec<u8> {
        if let Some(body) = body {
            write_header(&mut self.forward, BODY_HEADER, body.number().to_string().as_bytes());
        }
        write_header(&mut self.forward, PEER_HEADER, peer.to_string().as_bytes());
        self.forward.extend_from_slice(b"\r\n");
        self.forward
    }
}

#[cfg(test)]
mod tests;
