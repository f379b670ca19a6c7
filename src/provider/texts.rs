//! Built-in texts for the events that people most often want to hear of, as templates for Slack's mrkdwn.

/// By event type; the variables are those of every template.
const TEXTS: &[(&str, &str)] = &[
    ("push", include_str!("texts/push.txt")),
    ("issues", include_str!("texts/issues.txt")),
    ("pull_request", include_str!("texts/pull_request.txt")),
    ("release", include_str!("texts/release.txt")),
    ("workflow_run", include_str!("texts/workflow_run.txt")),
];

const GENERAL: &str = "*{{ event }}* from {{ source }}{% if payload.action %}: {{ payload.action }}{% endif %}\
                       {% if payload.repository.full_name %} in {{ payload.repository.full_name }}{% endif %}\
                       {% if payload.sender.login %} by {{ payload.sender.login }}{% endif %} (event {{ id }})";

/// A text for an event type of which nothing was configured. Types are the provider's words, and other providers use the
/// same ones for other things: a text that takes a repository is used only where the payload names one.
pub fn text(event_type: &str, payload_json: &str) -> &'static str {
    let known = TEXTS.iter().find(|(known, _)| *known == event_type);
    match known {
        Some((_, text)) if payload_json.contains("\"full_name\"") => text.trim_end(),
        _ => GENERAL,
    }
}
