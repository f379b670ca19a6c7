//! The keys of a source that are for senders of your own: its path, the methods that it takes, and a fixed answer.

use std::ops::RangeInclusive;
use std::sync::Arc;

use toml::Value;
use ureq::http::{HeaderName, HeaderValue};

use super::reader::{Reader, is_name};
use super::values::{Parsed, count, owned_text, text};
use crate::http::{HEALTH_PATH, normal_path};
use crate::provider::{Algorithm, Preset, Verification, Verifier};

/// The path under which each source has its own.
pub const PATH_PREFIX: &str = "/webhooks/";

/// The methods that can bring a delivery. Every source answers HEAD itself.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Its query is the payload.
pub const GET: &str = "GET";

/// The statuses that acknowledge a delivery.
pub(super) const STATUS: RangeInclusive<u32> = 200..=299;

/// An answer that has no body (RFC 9110, section 15.3).
const WITHOUT_BODY: [u16; 2] = [204, 205];

/// Far more than any sender reads, and small beside what the gate holds of an answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// The longest request line that the gate takes is not much longer.
const MAX_PATH_BYTES: usize = 1024;

/// Fields that belong to the connection, or that the server sets itself.
pub const OWN_FIELDS: [&str; 8] =
    ["connection", "content-length", "date", "keep-alive", "server", "trailer", "transfer-encoding", "upgrade"];

/// What a stored delivery is answered, in place of an empty body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// The path in its normal spelling.
pub(super) fn path(value: &Value) -> Parsed<String> {
    let path = text(value)?;
    if !path.starts_with('/') {
        return Err("a path begins with /, such as \"/hooks/deploy\"".to_owned());
    }
    if path.contains(['?', '#']) || path.contains(|c: char| c.is_control() || c == ' ') || path.len() > MAX_PATH_BYTES {
        return Err("not a path; write it as it stands in the address, between the host and the ?".to_owned());
    }
    if path.split('/').any(|segment| [".", ".."].contains(&segment)) {
        return Err("clients take . and .. out of a path before they send it; write the path without them".to_owned());
    }
    let path = normal_path(path).into_owned();
    if path == HEALTH_PATH || path.strip_prefix(PATH_PREFIX).is_some_and(is_name) {
        return Err(format!("{path} is taken; every source has {PATH_PREFIX}NAME, so rename the source to get that"));
    }
    Ok(path)
}

/// The methods that it takes; none where only the provider's.
pub(super) fn methods(
    keys: &mut Reader,
    verifier: Option<&Verifier>,
    verification: Option<&Verification<impl Sized>>,
) -> Option<Vec<&'static str>> {
    let methods = keys.get_all("methods", method)?;
    let verifier = verifier?;
    if !verifier.preset.is_own_sender() {
        return keys.refuse("methods", for_own_senders(verifier.preset, "its provider sends POST"));
    }
    // A GET has no body: what would be signed is the same for every query.
    let signs_body = matches!(verification, Some(Verification::Secrets(_))) && verifier.scheme.alg != Algorithm::Token;
    if signs_body && methods.contains(&GET) {
        let why = "the payload of a GET is its query, and this source's signature does not cover that: remove \"GET\", \
                   or use provider = \"token\" with sig = \"query:NAME\" or a header in [sources.NAME.verify]";
        return keys.refuse("methods", why.to_owned());
    }
    let needs_body = verifier.scheme.sig.places().iter().all(|place| place.is_in_body());
    if needs_body && methods.contains(&GET) && matches!(verification, Some(Verification::Secrets(_))) {
        let why = "a GET has no body, and the secret is expected in it: remove \"GET\", or set sig = \"query:NAME\" or \
                   a header in [sources.NAME.verify]";
        return keys.refuse("methods", why.to_owned());
    }
    Some(methods)
}

fn method(value: &Value) -> Parsed<&'static str> {
    let name = text(value)?;
    if name.eq_ignore_ascii_case("HEAD") {
        return Err("every source answers HEAD, and stores nothing for it; remove it".to_owned());
    }
    let known = METHODS.into_iter().find(|method| method.eq_ignore_ascii_case(name));
    known.ok_or_else(|| format!("{name:?} is not a method of deliveries; write some of {}", METHODS.join(", ")))
}

/// `status` is that of the key beside it.
pub(super) fn answer(keys: &mut Reader, preset: Option<&Preset>) -> Option<Arc<Answer>> {
    if !keys.has("answer") {
        return None;
    }
    let answer = keys.table("answer", read_answer).flatten()?;
    if keys.has("status") {
        return keys.refuse("status", "answer has the status, too; write it there, and remove this one".to_owned());
    }
    match preset {
        Some(preset) if !preset.is_own_sender() => {
            keys.refuse("answer", for_own_senders(preset, "its provider expects the answer that hookbox gives"))
        }
        _ => Some(Arc::new(answer)),
    }
}

fn read_answer(keys: &mut Reader) -> Option<Answer> {
    let status = keys.get("status", |v| count(v, &STATUS)).and_then(|status| u16::try_from(status).ok());
    let status = status.unwrap_or(*STATUS.start() as u16);
    let body = keys.get("body", answer_body).unwrap_or_default();
    let headers = keys.get_table("headers", field);
    if !body.is_empty() && WITHOUT_BODY.contains(&status) {
        return keys.refuse("body", format!("an answer with status {status} has no body; remove it, or write 200"));
    }
    Some(Answer { status, headers, body })
}

fn answer_body(value: &Value) -> Parsed<String> {
    let body = owned_text(value)?;
    if body.len() > MAX_ANSWER_BYTES {
        return Err(format!("longer than {} KiB; shorten it", MAX_ANSWER_BYTES >> 10));
    }
    Ok(body)
}

fn field(name: &str, value: &Value) -> Parsed<(String, String)> {
    let value = owned_text(value)?;
    if HeaderName::try_from(name).is_err() {
        return Err("this cannot be the name of a header".to_owned());
    }
    if OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err("hookbox sends this header itself; leave it out".to_owned());
    }
    if HeaderValue::try_from(value.as_str()).is_err() || !value.is_ascii() {
        return Err("this cannot be the value of a header: it is one line of ASCII".to_owned());
    }
    Ok((name.to_owned(), value))
}

fn for_own_senders(preset: &Preset, why: &str) -> String {
    let name = preset.name;
    format!(
        "only for senders of your own (provider = \"hmac\" or \"token\"), and this is {name}: {why}; remove the key"
    )
}
