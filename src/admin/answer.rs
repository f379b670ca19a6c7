//! Responses of the private listener, each with the headers that keep a browser from more than showing them.

use serde::Serialize;

use super::access::Denial;
use crate::digest;
use crate::http::{MAX_RESPONSE_BYTES, Responder};
use crate::store::StorageError;

/// The gate's limit on a response, less room for the headers.
const MAX_BODY_BYTES: usize = MAX_RESPONSE_BYTES - 16 * 1024;

/// Bytes of a hash: enough that two answers never have the same tag.
const TAG_BYTES: usize = 12;

/// Nothing from other origins, nothing inline, no framing; and a script that takes text for HTML fails.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(&str, &str); 7] = [
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
];

/// A response, but for the headers that all have.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
    header: Option<(&'static str, String)>,
}

impl Answer {
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        let body = body.into();
        if body.len() > MAX_BODY_BYTES {
            return Answer::line(500, "too large to show here: see hookbox show");
        }
        Answer { status, content_type, body, header: None }
    }

    /// One line of text.
    pub fn line(status: u16, line: &str) -> Answer {
        Answer::new(status, "text/plain; charset=utf-8", format!("{line}\n"))
    }

    pub fn json(value: &impl Serialize) -> Answer {
        match serde_json::to_vec(value) {
            Ok(body) => Answer::new(200, "application/json", body),
            Err(error) => Answer::line(500, &error.to_string()),
        }
    }

    pub fn not_found() -> Answer {
        Answer::line(404, "there is nothing here")
    }

    /// Adds a tag of the body, and leaves the body out where the client knows it already.
    pub fn tagged(self, known_tag: Option<&str>) -> Answer {
        let tag = format!("\"{}\"", digest::base64url(&digest::sha256(&[&self.body])[..TAG_BYTES]));
        let is_known = self.status == 200 && known_tag == Some(&tag);
        let answer = if is_known { Answer { status: 304, body: Vec::new(), ..self } } else { self };
        answer.with("ETag", &tag)
    }

    /// With one more header, the only one.
    pub fn with(self, name: &'static str, value: &str) -> Answer {
        Answer { header: Some((name, value.to_owned())), ..self }
    }

    pub fn send(self, responder: Responder) {
        let own = self.header.as_ref().map(|(name, value)| (*name, value.as_str()));
        let headers = [("Content-Type", self.content_type)].into_iter().chain(HEADERS).chain(own);
        responder.respond(self.status, headers, self.body);
    }
}

impl From<Denial> for Answer {
    fn from(denial: Denial) -> Answer {
        let (status, line) = denial.response();
        let answer = Answer::line(status, line);
        match status {
            401 => answer.with("WWW-Authenticate", "Bearer"),
            429 => answer.with("Retry-After", "60"),
            _ => answer,
        }
    }
}

impl From<StorageError> for Answer {
    fn from(error: StorageError) -> Answer {
        Answer::line(503, &error.to_string())
    }
}
