//! The clients for other people's servers, shared by the actions and by `hookbox forward`: which certificates they trust,
//! which header fields of a stored delivery are sent on over HTTP, and the connections of other protocols.

mod certificates;
mod connection;
mod kept;
pub mod nats;
mod probe;
pub mod redis;
mod server;
mod wire;

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::unversioned::resolver::DefaultResolver;

use crate::digest;
use crate::event::{Event, headers};
use crate::http::forwarding::{BROWSER_HEADERS, is_forwarding_field};
use crate::provider::REDACTED;
use certificates::Trust;
pub use certificates::system_bundle;
pub use kept::Kept;
pub use probe::{Unreachable, probe};
pub use server::{Protocol, Server, ServerError};
pub use wire::Certificates;

/// An address that refuses connections or cannot be reached answers at once or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What our requests call themselves.
const USER_AGENT: &str = concat!("hookbox/", env!("CARGO_PKG_VERSION"));

/// Fields that describe the connection of the original request (RFC 9110, section 7.6.1), or that our own request sets.
const NOT_FORWARDED: [&str; 10] = [
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
];

/// A client that trusts the certificates in `ca_file`, or else the system's.
///
/// It follows no redirect, because requests carry secrets. Every status is an answer, not an error.
/// `Err` says why `ca_file` cannot be used.
pub fn agent(ca_file: Option<&Path>) -> Result<Agent, String> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .user_agent(USER_AGENT)
        .timeout_connect(Some(CONNECT_TIMEOUT));
    let connector = connection::connector(Trust::of(ca_file)?);
    Ok(Agent::with_parts(config.build(), connector, DefaultResolver::default()))
}

/// The part of a URL that can be shown: user, password, path and query may be secrets.
pub fn origin(url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else { return "(not a URL)".to_owned() };
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}/...", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default())
}

/// A URL without user and password, and the header field that carries them (RFC 7617). In a URL they are percent-encoded
/// (RFC 3986, section 3.2.1), so that a password can have a `@` or a `/` in it.
pub fn without_credentials(url: &str) -> (Cow<'_, str>, Option<HeaderValue>) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let Some((credentials, _)) = authority.rsplit_once('@') else { return (url.into(), None) };
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let [user, password] = [user, password].map(|part| percent_decode_str(part).collect::<Vec<u8>>());
    let basic = format!("Basic {}", digest::base64(&[user, password].join(&b':')));
    let field = HeaderValue::try_from(basic).ok().map(|mut value| {
        value.set_sensitive(true);
        value
    });
    (format!("{scheme}://{}", &rest[credentials.len() + 1..]).into(), field.filter(|_| !credentials.is_empty()))
}

/// The stored header fields of an event with which another receiver can verify the provider's signature, byte for byte. Left
/// out are redacted fields, and those of proxies and browsers, which make a source for local deliveries refuse a request.
pub fn forwarded_fields(event: &Event) -> Vec<(HeaderName, HeaderValue)> {
    let field = |(name, value): (String, Vec<u8>)| {
        let mut dropped = NOT_FORWARDED.iter().chain(&BROWSER_HEADERS);
        let is_dropped = is_forwarding_field(&name) || dropped.any(|field| field.eq_ignore_ascii_case(&name));
        if is_dropped || value == REDACTED.as_bytes() {
            return None;
        }
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    };
    headers::from_json(&event.headers_json).into_iter().filter_map(field).collect()
}

/// The names of the header fields whose values were not stored because they are secrets.
pub fn redacted_names(event: &Event) -> Vec<String> {
    let fields = headers::from_json(&event.headers_json).into_iter();
    fields.filter(|(_, value)| value == REDACTED.as_bytes()).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_of_a_url_are_decoded_and_taken_out_of_it() {
        let basic = |text: &str| format!("Basic {}", digest::base64(text.as_bytes()));
        for (url, expected, credentials) in [
            ("https://u:p@h/x?a@b", "https://h/x?a@b", Some("u:p")),
            ("http://us%40er:p%3Aa%2Fs%25s%C3%A9@h:8080", "http://h:8080", Some("us@er:p:a/s%s\u{e9}")),
            ("http://u@h/", "http://h/", Some("u:")),
            ("http://:token@h/", "http://h/", Some(":token")),
            ("http://u:100%@[::1]:1/", "http://[::1]:1/", Some("u:100%")),
            ("http://a@b:c@h/", "http://h/", Some("a@b:c")),
            ("http://@h/", "http://h/", None),
            ("http://h/a@b:c", "http://h/a@b:c", None),
            ("http://h?a@b", "http://h?a@b", None),
        ] {
            let (without, field) = without_credentials(url);
            let field = field.map(|value| value.to_str().unwrap_or_default().to_owned());
            assert_eq!((&*without, field), (expected, credentials.map(basic)), "{url}");
        }
    }
}
