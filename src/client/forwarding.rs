//! Which header fields of a stored delivery are sent on with it.

use serde_json::{Map, Value};
use ureq::http::{HeaderName, HeaderValue};

use crate::event::Event;
use crate::http::{BROWSER_HEADERS, FORWARDING_HEADERS};
use crate::provider::REDACTED;

/// Fields that describe the connection of the original request (RFC 9110, section 7.6.1), or that our own request sets.
const NOT_FORWARDED: [&str; 11] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-real-ip",
];

/// The stored header fields of an event with which another receiver can verify the provider's signature. Redacted fields
/// are left out, and those of proxies and browsers, for which a source that takes local deliveries only refuses a request.
pub fn forwarded_fields(event: &Event) -> Vec<(HeaderName, HeaderValue)> {
    let field = |(name, value): (String, Value)| {
        let value = value.as_str().filter(|value| *value != REDACTED)?;
        let mut dropped = NOT_FORWARDED.iter().chain(&FORWARDING_HEADERS).chain(&BROWSER_HEADERS);
        if dropped.any(|field| field.eq_ignore_ascii_case(&name)) {
            return None;
        }
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    };
    stored_fields(event).into_iter().filter_map(field).collect()
}

/// The names of the header fields whose values were not stored because they are secrets.
pub fn redacted_names(event: &Event) -> Vec<String> {
    stored_fields(event).into_iter().filter(|(_, value)| value == REDACTED).map(|(name, _)| name).collect()
}

fn stored_fields(event: &Event) -> Map<String, Value> {
    serde_json::from_str(&event.headers_json).unwrap_or_default()
}
