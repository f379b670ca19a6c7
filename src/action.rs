//! An action does something with an event: it gets the event and returns a report; it never sees the store.
//!
//! In the configuration an action is an [`ActionKind`] with references to its secrets; [`ActionKind::prepare`] fetches them
//! and makes a [`Runner`].

mod answer;
mod child;
mod command;
mod doubts;
mod exclusion;
mod engine;
mod http;
mod log;
mod nats;
mod orphans;
mod pattern;
mod program;
mod redis;
mod slack;
mod success;
mod variable;

use std::sync::Arc;
use std::time::Duration;

use crate::digest;
use crate::event::{Event, INTERRUPTED, Key, MAX_IDENTIFIER_BYTES, Outcome};
use crate::retry::{self, Policy};
use crate::secret::Env;
use crate::stop::Stop;
use crate::template::{Expression, Scope, Template, TemplateError};
use crate::text::{cut, lines};
use crate::units::duration_text;

pub use command::Command;
pub use exclusion::{Exclusion, exclusions};
pub use http::Http;
pub use nats::{Dedup, Nats, NatsRunner, StreamConfig};
pub use orphans::reap as reap_orphans;
pub use pattern::Pattern;
pub use redis::{Redis, RedisRunner, RedisSettings};
pub use slack::Slack;
pub use variable::Variable;

/// How much of a destination's answer, or of a command's output, is stored with the attempt.
pub const MAX_DETAIL_BYTES: usize = 4 << 10;

/// Events printed between a claim and the record of their outcomes: enough to share two commits, few enough that a new
/// delivery waits a millisecond at most.
const LOG_BATCH: u32 = 32;

/// A configured action: what to do, with which events, and how patiently.
#[derive(Clone, Debug)]
pub struct Action {
    pub name: String,
    pub kind: ActionKind,
    pub on: Vec<Pattern>,
    /// A further condition on the events that a pattern matches.
    pub when: Option<Expression>,
    /// Jobs for which it renders to the same text are done one after the other.
    pub key: Option<Template>,
    /// Of the jobs of a key that wait, only the newest is done.
    pub latest_only: bool,
    /// How long after its event a job is due.
    pub delay: Duration,
    pub policy: Policy,
    /// The longest that an attempt takes.
    pub timeout: Duration,
    /// How many attempts may run at once.
    pub concurrency: u32,
}

/// An action's kind, as configured.
#[derive(Clone, Debug)]
pub enum ActionKind {
    Log,
    Slack(Slack),
    Http(Http),
    Command(Command),
    Nats(Nats),
    Redis(Redis),
}

/// An action that is ready to run.
pub enum Runner {
    Log,
    Slack(slack::SlackRunner),
    Http(http::HttpRunner),
    Command(command::CommandRunner),
    Nats(NatsRunner),
    Redis(RedisRunner),
}

/// One attempt: the event, and the limits of the run.
pub struct Call<'a> {
    pub event: &'a Event,
    pub scope: &'a Scope,
    /// Counted from 1.
    pub attempt: u32,
    /// The same for every attempt of the job, so that the destination recognises a repeat.
    pub idempotency_key: &'a str,
    /// The longest that the run takes, in all.
    pub timeout: Duration,
    /// Set when the process stops; a run then has `grace` left.
    pub stop: &'a Stop,
    pub grace: Duration,
}

/// The result of one attempt.
#[derive(Debug, PartialEq, Eq)]
pub struct ActionReport {
    pub outcome: Outcome,
    /// The destination's answer or the reason, for the operator.
    pub detail: String,
}

impl Action {
    /// Whether one of its patterns matches the event.
    pub fn matches(&self, source: &str, event_type: &str) -> bool {
        self.on.iter().any(|pattern| pattern.matches(source, event_type))
    }

    /// Whether its condition holds; an action without one is for every event that it matches.
    pub fn applies_to(&self, scope: &Scope) -> Result<bool, TemplateError> {
        self.when.as_ref().map_or(Ok(true), |when| when.holds(scope))
    }

    /// Whether its jobs have keys.
    pub fn is_keyed(&self) -> bool {
        self.key.is_some() || self.latest_only
    }

    /// The key of its job for an event. With `latest_only` alone, all of its jobs have the same.
    pub fn key_of(&self, scope: &Scope) -> Result<Option<Key>, TemplateError> {
        if !self.is_keyed() {
            return Ok(None);
        }
        let text = self.key.as_ref().map_or(Ok(String::new()), |key| key.render(scope))?;
        let text = if text.len() > MAX_IDENTIFIER_BYTES {
            format!("sha256:{}", digest::hex(&digest::sha256(&[text.as_bytes()])))
        } else {
            text
        };
        Ok(Some(Key { text, latest_only: self.latest_only }))
    }

    /// From the begin of the first attempt to the end of the last one, at most.
    pub fn retries_last(&self) -> Duration {
        retry::longest(&self.policy) + self.timeout * self.policy.attempts
    }

    /// The same in whole hours, as a setting of that kind is written.
    pub fn retries_last_text(&self) -> String {
        format!("{}h", self.retries_last().as_secs().div_ceil(60 * 60))
    }

    /// What is wrong where an engine forgets a delivery before the last retry.
    pub fn dedup_warning(&self) -> Option<String> {
        let needed = self.retries_last_text();
        match &self.kind {
            ActionKind::Redis(redis) if redis.dedup < self.retries_last() => Some(format!(
                "dedup: retries last up to {needed}, and a repeat is recognised for {} only: write \"{needed}\"",
                duration_text(redis.dedup)
            )),
            ActionKind::Nats(nats) if nats.dedup == Dedup::Window => Some(format!(
                "dedup: retries last up to {needed}: the stream must recognise repeats as long (--dupe-window {needed}; \
                 without it 2m), or write \"subject\". hookbox doctor asks the server"
            )),
            _ => None,
        }
    }
}

impl ActionKind {
    pub fn as_str(&self) -> &'static str {
        match self {
            ActionKind::Log => "log",
            ActionKind::Slack(_) => "slack",
            ActionKind::Http(_) => "http",
            ActionKind::Command(_) => "command",
            ActionKind::Nats(_) => "nats",
            ActionKind::Redis(_) => "redis",
        }
    }

    /// Whether it hands events to an engine that recognises repeats, so that several receivers may do the same.
    pub fn feeds_an_engine(&self) -> bool {
        matches!(self, ActionKind::Nats(_) | ActionKind::Redis(_))
    }

    /// Whether several receivers would do it several times. A signed request has an id that its receiver knows.
    pub fn repeats_on_every_receiver(&self) -> bool {
        match self {
            ActionKind::Slack(_) | ActionKind::Command(_) => true,
            ActionKind::Http(http) => http.sign.is_none(),
            ActionKind::Log | ActionKind::Nats(_) | ActionKind::Redis(_) => false,
        }
    }

    /// A description of it, without an event and without secrets.
    pub fn summary(&self) -> Option<String> {
        match self {
            ActionKind::Log => None,
            ActionKind::Slack(slack) => Some(format!("POST {}", http::displayed_url(&slack.url))),
            ActionKind::Http(http) => Some(format!("{} {}", http.method, http::displayed_url(&http.url))),
            ActionKind::Command(command) => Some(command.summary()),
            ActionKind::Nats(nats) => Some(nats.summary()),
            ActionKind::Redis(redis) => Some(redis.summary()),
        }
    }

    /// What decides whether an attempt has succeeded, beside its status or exit code.
    pub fn success_when(&self) -> Option<&Expression> {
        match self {
            ActionKind::Log | ActionKind::Nats(_) | ActionKind::Redis(_) => None,
            ActionKind::Slack(slack) => slack.success_when.as_ref(),
            ActionKind::Http(http) => http.success_when.as_ref(),
            ActionKind::Command(command) => command.success_when.as_ref(),
        }
    }

    /// The environment variables that it gives a command, without their secrets.
    pub fn variables(&self) -> Vec<String> {
        match self {
            ActionKind::Command(command) => command.env.iter().map(Variable::summary).collect(),
            _ => Vec::new(),
        }
    }

    /// How many jobs are claimed in one transaction, and recorded in one unless the receiver waits. If the process dies
    /// between the two, all of them run again: it is more than one only where a repeat does no harm.
    pub fn batch(&self) -> u32 {
        match self {
            ActionKind::Log => LOG_BATCH,
            _ => 1,
        }
    }

    /// Whether an attempt may take the process or the machine down, beyond what any payload may do.
    pub fn is_harmful(&self) -> bool {
        matches!(self, ActionKind::Command(_))
    }

    /// Whether a power cut may undo an outcome, because to repeat the attempt does no harm.
    pub fn is_repeatable(&self) -> bool {
        matches!(self, ActionKind::Log)
    }

    /// How long an attempt may take after its grace to end its child processes.
    pub fn clean_up(&self) -> Duration {
        match self {
            ActionKind::Command(_) => child::CLEAN_UP,
            _ => Duration::ZERO,
        }
    }

    /// Fetches secrets and certificates. `Err` has the key of the action that is wrong, and why.
    pub fn prepare(&self, env: &Env<'_>) -> Result<Arc<Runner>, String> {
        let runner = match self {
            ActionKind::Log => Runner::Log,
            ActionKind::Slack(slack) => Runner::Slack(slack.prepare(env)?),
            ActionKind::Http(http) => Runner::Http(http.prepare(env)?),
            ActionKind::Command(command) => Runner::Command(command.prepare(env)?),
            ActionKind::Nats(nats) => Runner::Nats(nats.prepare(env)?),
            ActionKind::Redis(redis) => Runner::Redis(redis.prepare(env)?),
        };
        Ok(Arc::new(runner))
    }
}

impl Runner {
    /// Makes one attempt. `None`: the process stops and the run was cut short, which does not count as an attempt.
    pub fn run(&self, call: &Call<'_>) -> Option<ActionReport> {
        match self {
            Runner::Log => Some(log::run(call.event)),
            Runner::Slack(slack) => Some(slack.run(call)),
            Runner::Http(http) => Some(http.run(call)),
            Runner::Command(command) => command.run(call),
            Runner::Nats(nats) => nats.run(call),
            Runner::Redis(redis) => redis.run(call),
        }
    }

    /// The request or command that [`Runner::run`] would send or run, without its secrets.
    pub fn preview(&self, call: &Call<'_>) -> Result<String, TemplateError> {
        match self {
            Runner::Log => Ok("print it\n".to_owned()),
            Runner::Slack(slack) => slack.preview(call),
            Runner::Http(http) => http.preview(call),
            Runner::Command(command) => command.preview(call),
            Runner::Nats(nats) => nats.preview(call),
            Runner::Redis(redis) => redis.preview(call),
        }
    }
}

impl ActionReport {
    /// A failure that may pass.
    pub fn retry(detail: impl Into<String>) -> ActionReport {
        ActionReport { outcome: Outcome::Retry { after: None }, detail: reason(&detail.into()) }
    }

    /// A failure that no further attempt can change.
    pub fn give_up(detail: impl Into<String>) -> ActionReport {
        ActionReport { outcome: Outcome::GiveUp, detail: reason(&detail.into()) }
    }

    /// For one that a stop of the process has cut short.
    pub fn interrupted() -> ActionReport {
        ActionReport { outcome: Outcome::Interrupted, detail: INTERRUPTED.to_owned() }
    }
}

/// A reason may have a part of a payload in it.
fn reason(text: &str) -> String {
    lines(&cut(text, MAX_DETAIL_BYTES))
}

/// The beginning of an answer or of a command's output, as lines that can be shown. It ends between two characters.
fn excerpt(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(MAX_DETAIL_BYTES)];
    let cut_bytes = bytes.utf8_chunks().last().map_or(0, |last| match std::str::from_utf8(last.invalid()) {
        Err(error) if error.error_len().is_none() => last.invalid().len(), // the beginning of a character
        _ => 0,
    });
    let text = String::from_utf8_lossy(&bytes[..bytes.len() - cut_bytes]);
    // A carriage return alone is what a progress bar writes.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    lines(text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_ends_between_two_characters() {
        let long = "x".repeat(MAX_DETAIL_BYTES - 1);
        assert_eq!(excerpt(format!("{long}\u{e9}").as_bytes()), long);
        assert_eq!(excerpt(format!("{}\u{1f600}", &long[2..]).as_bytes()), long[2..]);
        assert_eq!(excerpt(format!("{}\u{e9}!", &long[1..]).as_bytes()), format!("{}\u{e9}", &long[1..]));
        assert_eq!(excerpt(b"a\xffb \xe2\x82"), "a\u{fffd}b");
        assert_eq!(excerpt(b"a\xe2\x82b\xff"), "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn an_excerpt_keeps_its_lines_and_nothing_that_moves_a_cursor() {
        assert_eq!(excerpt(b"one\r\ntwo\n\tthree\r\n\n"), "one\ntwo\n\tthree");
        assert_eq!(excerpt(b"10%\r100%\ndone"), "10%\n100%\ndone");
        assert_eq!(excerpt(b"a\x1b[2Jb\0c\x07\xc2\x9b31m"), "a?[2Jb?c??31m");
        assert_eq!(excerpt("pay\u{202e}diap".as_bytes()), "pay?diap");
    }

    #[test]
    fn a_reason_is_bounded() {
        let report = ActionReport::give_up("x\x1b".repeat(MAX_DETAIL_BYTES));
        assert!(report.detail.starts_with("x?x?") && report.detail.len() <= MAX_DETAIL_BYTES + 3);
    }
}
