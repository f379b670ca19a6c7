//! `kind = "slack"`: a message to a Slack incoming webhook.
//! Source: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>

use std::path::PathBuf;

use serde_json::Value;
use serde_json::value::RawValue;
use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue, Method};

use super::{ActionReport, Call, answer, http};
use crate::client;
use crate::event::Event;
use crate::news::{self, Kind};
use crate::provider;
use crate::secret::{Env, SecretRef};
use crate::template::{Expression, Template, TemplateError};

/// Slack cuts longer texts, and a longer message is not readable.
const MAX_TEXT_CHARS: usize = 3000;

/// What mrkdwn writes for the characters that have a meaning in it.
const ENTITIES: [&str; 3] = ["&amp;", "&lt;", "&gt;"];

/// The action as configured.
#[derive(Clone, Debug)]
pub struct Slack {
    /// The whole URL is a secret: with it anyone can post.
    pub url: SecretRef,
    /// `None`: the provider's text for the event type, or a general one.
    pub text: Option<Template>,
    /// JSON: an array of blocks.
    pub blocks: Option<Template>,
    pub success_when: Option<Expression>,
    pub ca_file: Option<PathBuf>,
}

/// The action with its secrets fetched.
pub struct SlackRunner {
    slack: Slack,
    agent: Agent,
    url: Template,
}

impl Slack {
    pub(super) fn prepare(&self, env: &Env<'_>) -> Result<SlackRunner, String> {
        Ok(SlackRunner {
            slack: self.clone(),
            agent: http::agent(self.ca_file.as_deref())?,
            url: http::url(&self.url, env)?,
        })
    }
}

impl SlackRunner {
    pub(super) fn run(&self, call: &Call<'_>) -> ActionReport {
        let (url, message) = match self.render(call) {
            Ok((url, Ok(message))) => (url, message),
            Ok((_, Err(reason))) => return ActionReport::give_up(reason),
            Err(error) => return ActionReport::give_up(error.to_string()),
        };
        let json = (HeaderName::from_static("content-type"), HeaderValue::from_static("application/json"));
        match http::send(&self.agent, &Method::POST, &url, vec![json], message.as_bytes(), call.timeout) {
            Ok(response) => answer::report(response, self.slack.success_when.as_ref(), call),
            Err(failure) => failure,
        }
    }

    pub(super) fn preview(&self, call: &Call<'_>) -> Result<String, TemplateError> {
        let (url, message) = self.render(call)?;
        Ok(match message {
            Ok(message) => format!("POST {}\n\n{message}\n", client::origin(&url)),
            Err(reason) => format!("its job would be dead at once: {reason}\n"),
        })
    }

    /// The URL, and the message or why there is none.
    fn render(&self, call: &Call<'_>) -> Result<(String, Result<String, String>), TemplateError> {
        let mut text = self.text(call)?;
        text.truncate(end_of_text(&text));
        let text = Value::from(text);
        let message = match &self.slack.blocks {
            None => Ok(format!("{{\"text\":{text}}}")),
            // They may contain all of a payload, and are not parsed into memory.
            Some(blocks) => serde_json::from_str::<&RawValue>(&blocks.render(call.scope)?)
                .map(|blocks| format!("{{\"text\":{text},\"blocks\":{blocks}}}"))
                .map_err(|error| format!("blocks is not JSON: {error}")),
        };
        Ok((self.url.render(call.scope)?, message))
    }

    fn text(&self, call: &Call<'_>) -> Result<String, TemplateError> {
        if let Some(template) = &self.slack.text {
            return template.render(call.scope);
        }
        let Event { source, event_type, payload_json, .. } = call.event;
        let news = Some(event_type.as_str()).filter(|_| source == news::SOURCE).and_then(Kind::parse);
        let built_in = news.map_or_else(|| provider::text(event_type, payload_json), Kind::text);
        Template::mrkdwn(built_in)?.render(call.scope)
    }
}

/// Where a text is cut: between characters, and not within an entity, whose beginning would be shown as it is.
fn end_of_text(text: &str) -> usize {
    let end = text.char_indices().nth(MAX_TEXT_CHARS).map_or(text.len(), |(at, _)| at);
    let Some(entity) = text[..end].rfind('&') else { return end };
    let is_cut = |written: &&str| text[entity..].starts_with(*written) && entity + written.len() > end;
    if ENTITIES.iter().any(is_cut) { entity } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_never_cut_within_an_entity() {
        for entity in ENTITIES {
            for before in MAX_TEXT_CHARS - 6..=MAX_TEXT_CHARS + 1 {
                let text = format!("{}{entity} and more", "\u{e9}".repeat(before));
                let cut = &text[..end_of_text(&text)];
                let whole =
                    if before + entity.len() <= MAX_TEXT_CHARS { MAX_TEXT_CHARS } else { before.min(MAX_TEXT_CHARS) };
                let whole = whole.min(text.chars().count());
                assert_eq!(cut.chars().count(), whole, "{before} {entity}");
            }
        }
        let ampersand = format!("{}a & b", "x".repeat(MAX_TEXT_CHARS - 3));
        assert_eq!(end_of_text(&ampersand), MAX_TEXT_CHARS, "a bare one is text");
        assert_eq!(end_of_text("&am"), 3);
    }
}
