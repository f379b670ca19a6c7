//! What actions share that hand an event to an engine (NATS, Redis): what goes out beside the body, and one attempt with its
//! deadline.

use std::thread;
use std::time::{Duration, Instant};

use super::{ActionReport, Call};
use crate::client::{Protocol, Server};
use crate::event::{Outcome, headers};
use crate::secret::{Env, Secret, SecretRef};

/// Between two tries within one attempt, such as while a cluster elects a leader.
const PAUSE: Duration = Duration::from_millis(250);

/// One thing that is known about the event.
pub(super) struct Detail {
    /// Its name as a field of an entry.
    pub field: &'static str,
    /// Its name as a header: that of CloudEvents where there is one.
    /// Source: <https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/nats-protocol-binding.md>
    pub header: &'static str,
    /// On one line.
    pub value: String,
}

/// What goes out beside the exact body.
pub(super) fn details(call: &Call<'_>) -> Vec<Detail> {
    let event = call.event;
    let received = headers::from_json(&event.headers_json);
    let header = |wanted: &str| {
        let (_, value) = received.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let details = [
        ("event_id", "Hookbox-Event-Id", Some(event.id.to_string())),
        ("source", "ce-source", Some(event.source.clone())),
        ("type", "ce-type", Some(event.event_type.clone())),
        ("delivery_id", "ce-id", Some(event.delivery_id.clone())),
        ("received", "ce-time", Some(event.received_at.clone())),
        ("content_type", "content-type", header("content-type")),
        ("traceparent", "traceparent", header("traceparent")),
    ];
    let one_line = |text: String| text.replace(char::is_control, " ").trim().to_owned();
    let detail =
        |(field, header, value): (_, _, Option<String>)| Some(Detail { field, header, value: one_line(value?) });
    details.into_iter().filter_map(detail).collect()
}

/// Why a message is not stored yet.
pub(super) enum Failure {
    /// The connection broke: the next one, or the next server, may do.
    Lost(String),
    /// It passes by itself within seconds.
    Passing(String),
    /// The attempt is over.
    Over(ActionReport),
}

impl Failure {
    pub(super) fn retry(detail: impl Into<String>) -> Failure {
        Failure::Over(ActionReport::retry(detail))
    }
}

/// Makes one attempt of several tries, which ends when the message is stored, when no further try helps, after `max_losses`
/// lost connections, or at the deadline. `None` if the process stops meanwhile.
pub(super) fn attempt(
    call: &Call<'_>,
    max_losses: usize,
    mut publish: impl FnMut(Instant) -> Result<String, Failure>,
) -> Option<ActionReport> {
    let deadline = Instant::now() + call.timeout;
    let mut losses = 0;
    loop {
        let reason = match publish(deadline) {
            Ok(detail) => return Some(ActionReport { outcome: Outcome::Success, detail }),
            Err(Failure::Over(report)) => return Some(report),
            Err(Failure::Passing(reason)) => reason,
            Err(Failure::Lost(reason)) => {
                losses += 1;
                reason
            }
        };
        if call.stop.is_set() {
            return None;
        }
        if losses > max_losses || deadline.saturating_duration_since(Instant::now()) < PAUSE {
            return Some(ActionReport::retry(reason));
        }
        thread::sleep(PAUSE);
    }
}

/// A fetched secret, if one is configured.
pub(super) fn secret(key: &str, value: Option<&SecretRef>, env: &Env<'_>) -> Result<Option<Secret>, String> {
    value.map(|secret| secret.resolve(env).map_err(|error| format!("{key}: {error}"))).transpose()
}

/// The same as text.
pub(super) fn text(key: &str, value: Option<&SecretRef>, env: &Env<'_>) -> Result<Option<String>, String> {
    let Some(secret) = secret(key, value, env)? else { return Ok(None) };
    let text = std::str::from_utf8(secret.as_bytes()).map_err(|_| format!("{key}: the secret is not text"))?;
    Ok(Some(text.trim().to_owned()))
}

/// Configured addresses without their secrets, or where they are kept.
pub(super) fn displayed<'a>(urls: impl IntoIterator<Item = &'a SecretRef>, protocol: &Protocol) -> String {
    let shown = urls.into_iter().map(|url| {
        let SecretRef::Literal(text) = url else { return url.to_string() };
        let text = String::from_utf8_lossy(text.as_bytes());
        let servers = text.split(',').map(|url| Server::parse(url, protocol).map(|server| server.to_string()));
        servers.map(Result::unwrap_or_default).collect::<Vec<_>>().join(", ")
    });
    shown.collect::<Vec<_>>().join(", ")
}
