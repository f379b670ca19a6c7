//! The receiver's response, read from tiny_http and written for the client.

use super::super::head::{is_one_of, values, write_header};
use crate::http::MAX_RESPONSE_BYTES;
use httparse::Header;
use std::time::Duration;

/// The receiver's responses have five headers, those of the private listener a dozen.
const MAX_HEADERS: usize = 32;

/// Headers that are not forwarded: the gate manages the connection, and does not disclose its server.
const DROPPED: [&str; 2] = ["Server", "Connection"];

/// One complete response.
#[derive(Debug, PartialEq)]
pub struct Response {
    pub status: u16,
    /// Status line and headers, without the empty line that ends them.
    head: Vec<u8>,
    body: Vec<u8>,
}

/// The connection is lost, or its input is not one response of a known length: it cannot be used again.
#[derive(Debug, PartialEq)]
pub struct Broken;

impl Response {
    /// Reads a response; `None` while it is incomplete. A response to HEAD, a 204 and a 304 have no body regardless of
    /// their declared length (RFC 9112, section 6.3). Chunks are refused: [`crate::http::Responder`] sends none.
    pub fn parse(input: &[u8], is_to_head: bool) -> Result<Option<Response>, Broken> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let head_bytes = match response.parse(input) {
            Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
            Ok(httparse::Status::Partial) if input.len() < MAX_RESPONSE_BYTES => return Ok(None),
            _ => return Err(Broken),
        };
        let status = response.code.filter(|status| *status >= 200).ok_or(Broken)?;
        let has_no_body = is_to_head || matches!(status, 204 | 304);
        let body_bytes = if has_no_body { 0 } else { content_length(response.headers)? };
        let body = &input[head_bytes..];
        if body.len() > body_bytes || body_bytes.saturating_add(head_bytes) > MAX_RESPONSE_BYTES {
            return Err(Broken);
        }
        if body.len() < body_bytes {
            return Ok(None);
        }
        let mut head = format!("HTTP/1.1 {status} {}\r\n", response.reason.unwrap_or_default()).into_bytes();
        for header in response.headers.iter().filter(|header| !is_one_of(header.name, &DROPPED)) {
            write_header(&mut head, header.name, header.value);
        }
        Ok(Some(Response { status, head, body: body.to_vec() }))
    }

    /// The response as it is sent to the client. `keep_alive` is how long the connection stays open for another request;
    /// `None` closes it.
    pub fn to_bytes(&self, keep_alive: Option<Duration>) -> Vec<u8> {
        let end = match keep_alive {
            Some(timeout) => format!("Connection: keep-alive\r\nKeep-Alive: timeout={}\r\n\r\n", timeout.as_secs()),
            None => "Connection: close\r\n\r\n".to_owned(),
        };
        [&self.head, end.as_bytes(), &self.body].concat()
    }
}

fn content_length(headers: &[Header<'_>]) -> Result<usize, Broken> {
    if values(headers, "Transfer-Encoding").next().is_some() {
        return Err(Broken);
    }
    let length = values(headers, "Content-Length").next().ok_or(Broken)?;
    std::str::from_utf8(length).ok().and_then(|digits| digits.parse().ok()).ok_or(Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &[u8] =
        b"HTTP/1.1 404 Not Found\r\nServer: x\r\nDate: now\r\nConnection: y\r\nContent-Length: 3\r\n\r\nno\n";

    #[test]
    fn a_response_is_forwarded_without_hop_by_hop_headers() {
        let kept = "HTTP/1.1 404 Not Found\r\nDate: now\r\nContent-Length: 3\r\n";
        for (keep_alive, connection) in [
            (Some(Duration::from_secs(14)), "Connection: keep-alive\r\nKeep-Alive: timeout=14"),
            (None, "Connection: close"),
        ] {
            let response = Response::parse(RESPONSE, false).map(|it| it.map(|response| response.to_bytes(keep_alive)));
            assert_eq!(response, Ok(Some(format!("{kept}{connection}\r\n\r\nno\n").into_bytes())));
        }
    }

    #[test]
    fn a_response_is_incomplete_until_its_last_byte() {
        for length in 0..RESPONSE.len() {
            assert_eq!(Response::parse(&RESPONSE[..length], false), Ok(None), "{length}");
        }
    }

    #[test]
    fn responses_without_body_end_with_their_head() {
        let complete =
            |text: &str, is_to_head| Response::parse(text.as_bytes(), is_to_head).is_ok_and(|it| it.is_some());
        assert!(complete("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true));
        assert!(complete("HTTP/1.1 204 No Content\r\n\r\n", false));
        assert!(!complete("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false));
    }

    #[test]
    fn anything_but_one_response_of_known_length_is_refused() {
        let texts = [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
        ];
        for text in texts {
            assert_eq!(Response::parse(text.as_bytes(), false), Err(Broken), "{text}");
        }
    }
}
