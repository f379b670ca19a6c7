//! A client for this program's own listeners: one `GET` a connection, with a time limit. No other code sends requests to
//! them.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use httparse::Status;

use crate::listen::LocalAddress;
use crate::secret::Secret;

/// Far more than any response of ours has. The rest of a longer one is cut off.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// As many as the gate takes.
const MAX_HEADERS: usize = 64;

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Response {
    /// The first line of the body.
    pub fn line(&self) -> String {
        String::from_utf8_lossy(&self.body).lines().next().unwrap_or_default().to_owned()
    }
}

/// Asks the receiver whether it takes deliveries: 200 with `ok`, or 503 with the reason.
pub fn health(address: &LocalAddress, timeout: Duration) -> io::Result<Response> {
    get(address, "/healthz", None, timeout)
}

/// Sends a `GET` and reads the response. `timeout` is for all of it, from connecting to the last byte.
///
/// A peer that sends anything but HTTP is an error of the kind `InvalidData`, one that sends nothing `UnexpectedEof`.
pub fn get(address: &LocalAddress, path: &str, token: Option<&Secret>, timeout: Duration) -> io::Result<Response> {
    let deadline = Instant::now() + timeout;
    let mut connection = address.connect(timeout)?;
    connection.write_all(&request(path, token))?;
    let mut received = Vec::new();
    let mut block = [0; 16 << 10];
    loop {
        let count = match connection.read(&mut block) {
            // A peer that closes before it has read the request resets the connection after its response.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        received.extend_from_slice(&block[..count]);
        let is_all = count == 0 || received.len() >= MAX_RESPONSE_BYTES;
        if let Some(response) = response(&received, is_all)? {
            return Ok(response);
        }
        if Instant::now() >= deadline {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

/// Every listener takes `localhost` as its name.
fn request(path: &str, token: Option<&Secret>) -> Vec<u8> {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n").into_bytes();
    if let Some(token) = token {
        request.extend([b"Authorization: Bearer ", token.as_bytes(), b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    request
}

/// `None` while more is to come: its length says so, or without a length the connection that is still open.
fn response(received: &[u8], is_all: bool) -> io::Result<Option<Response>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let head_bytes = match head.parse(received) {
        Ok(Status::Complete(bytes)) => bytes,
        Ok(Status::Partial) if !is_all => return Ok(None),
        _ if received.is_empty() => return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed without an answer")),
        _ => return Err(io::Error::new(ErrorKind::InvalidData, "it is not HTTP")),
    };
    let body = &received[head_bytes..];
    let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: Option<usize> = length.and_then(|length| std::str::from_utf8(length.value).ok()?.parse().ok());
    if !is_all && length.is_none_or(|length| body.len() < length) {
        return Ok(None);
    }
    Ok(Some(Response { status: head.code.unwrap_or_default(), body: body.to_vec() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::{self, Listener};

    const TIMEOUT: Duration = Duration::from_millis(300);

    /// Answers one request with this, and closes the connection if that is asked for.
    fn ask(answer: &'static str, closes: bool) -> io::Result<Response> {
        let listener: Listener = listen::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_address();
        std::thread::spawn(move || {
            let mut stream = loop {
                match listener.accept() {
                    Ok((stream, _)) => break stream,
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            };
            stream.write_all(answer.as_bytes()).unwrap();
            if !closes {
                std::thread::sleep(2 * TIMEOUT);
            }
        });
        health(&address, TIMEOUT)
    }

    #[test]
    fn a_response_ends_with_its_length_or_with_the_connection() {
        for (answer, closes) in [
            ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nfull\n", false),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\nfull\n", true),
        ] {
            let response = ask(answer, closes).unwrap();
            assert_eq!((response.status, response.line().as_str()), (503, "full"));
        }
        assert_eq!(ask("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false).unwrap().line(), "");
    }

    #[test]
    fn a_peer_that_does_not_answer_or_not_in_http_is_an_error() {
        for (answer, closes, kind) in [
            ("220 smtp ready\r\n", false, ErrorKind::InvalidData),
            ("HTTP/1.1 200 OK\r\n", true, ErrorKind::InvalidData),
            ("", true, ErrorKind::UnexpectedEof),
            ("", false, ErrorKind::WouldBlock),
        ] {
            assert_eq!(ask(answer, closes).unwrap_err().kind(), kind, "{answer:?}");
        }
    }

    #[test]
    fn the_token_is_sent() {
        let token = Secret::new(b"s3cret".to_vec());
        let request = String::from_utf8(request("/api/stats", token.as_ref())).unwrap();
        assert!(request.starts_with("GET /api/stats HTTP/1.1\r\nHost: localhost\r\n"), "{request}");
        assert!(request.ends_with("\r\nAuthorization: Bearer s3cret\r\n\r\n"), "{request}");
    }
}
