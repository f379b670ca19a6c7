//! Built-in texts for the most common event types, as templates in Slack's mrkdwn.

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

/// The text for an event type when none is configured. Other providers use the same event types for other things: a text
/// about a repository is used only if the payload names one.
pub fn text(event_type: &str, payload_json: &str) -> &'static str {
    let known = TEXTS.iter().find(|(known, _)| *known == event_type);
    match known {
        Some((_, text)) if payload_json.contains("\"full_name\"") => text.trim_end(),
        _ => GENERAL,
    }
}
