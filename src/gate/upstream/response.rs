//! The receiver's response, read from tiny_http and written for the client.

use crate::http::MAX_RESPONSE_BYTES;
use httparse::Header;

/// The receiver's responses have five headers, those of the private listener a dozen.
const MAX_HEADERS: usize = 32;

/// The connection is managed by the gate, and which server answers is not disclosed.
const DROPPED: [&str; 2] = ["Server", "Connection"];

/// One complete response.
#[derive(Debug, PartialEq)]
pub struct Response {
    /// Status line and headers, without the empty line that ends them.
    head: Vec<u8>,
    body: Vec<u8>,
}

/// The input is not one response with a known length. The upstream connection it came on cannot be used again.
#[derive(Debug, PartialEq)]
pub struct InvalidResponse;

impl Response {
    /// Reads a response; `None` while it is incomplete. A response to HEAD, a 204 and a 304 have no body regardless of
    /// their declared length (RFC 9112, section 6.3). Chunks are refused: [`crate::http::Responder`] sends none.
    pub fn parse(input: &[u8], is_to_head: bool) -> Result<Option<Response>, InvalidResponse> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let head_bytes = match response.parse(input) {
            Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
            Ok(httparse::Status::Partial) if input.len() < MAX_RESPONSE_BYTES => return Ok(None),
            _ => return Err(InvalidResponse),
        };
        let status = response.code.filter(|status| *status >= 200).ok_or(InvalidResponse)?;
        let has_no_body = is_to_head || matches!(status, 204 | 304);
        let body_bytes = if has_no_body { 0 } else { content_length(response.headers)? };
        let body = &input[head_bytes..];
        if body.len() > body_bytes || body_bytes.saturating_add(head_bytes) > MAX_RESPONSE_BYTES {
            return Err(InvalidResponse);
        }
        if body.len() < body_bytes {
            return Ok(None);
        }
        let head = write_head(status, response.reason.unwrap_or_default(), response.headers);
        Ok(Some(Response { head, body: body.to_vec() }))
    }

    /// True for the response to a probe that proves an upstream connection.
    pub fn proves_connection(&self) -> bool {
        self.head.starts_with(b"HTTP/1.1 200 ") || self.head.starts_with(b"HTTP/1.1 204 ")
    }

    pub fn is_success(&self) -> bool {
        self.head.starts_with(b"HTTP/1.1 2")
    }

    /// The response as it is sent to the client.
    pub fn to_bytes(&self, closes: bool) -> Vec<u8> {
        let end: &[u8] = if closes { b"Connection: close\r\n\r\n" } else { b"\r\n" };
        [&self.head, end, &self.body].concat()
    }
}

fn content_length(headers: &[Header<'_>]) -> Result<usize, InvalidResponse> {
    let is = |header: &&Header<'_>, name: &str| header.name.eq_ignore_ascii_case(name);
    if headers.iter().any(|header| is(&header, "Transfer-Encoding")) {
        return Err(InvalidResponse);
    }
    let length = headers.iter().find(|header| is(header, "Content-Length")).ok_or(InvalidResponse)?;
    std::str::from_utf8(length.value).ok().and_then(|digits| digits.parse().ok()).ok_or(InvalidResponse)
}

fn write_head(status: u16, reason: &str, headers: &[Header<'_>]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
    let is_dropped = |name: &str| DROPPED.iter().any(|dropped| dropped.eq_ignore_ascii_case(name));
    for header in headers.iter().filter(|header| !is_dropped(header.name)) {
        head.extend_from_slice(header.name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(header.value);
        head.extend_from_slice(b"\r\n");
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &[u8] =
        b"HTTP/1.1 404 Not Found\r\nServer: x\r\nDate: now\r\nConnection: y\r\nContent-Length: 3\r\n\r\nno\n";

    #[test]
    fn a_response_is_forwarded_without_hop_by_hop_headers() {
        let kept = "HTTP/1.1 404 Not Found\r\nDate: now\r\nContent-Length: 3\r\n";
        for (closes, expected) in
            [(false, format!("{kept}\r\nno\n")), (true, format!("{kept}Connection: close\r\n\r\nno\n"))]
        {
            let response =
                Response::parse(RESPONSE, false).map(|response| response.map(|response| response.to_bytes(closes)));
            assert_eq!(response, Ok(Some(expected.into_bytes())));
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
            assert_eq!(Response::parse(text.as_bytes(), false), Err(InvalidResponse), "{text}");
        }
    }
}
