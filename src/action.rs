//! An action does something with an event: it gets the event and returns a report; it never sees the store.
//!
//! In the configuration an action is an [`ActionKind`] with references to its secrets; [`ActionKind::prepare`] fetches them
//! and makes a [`Runner`].

mod answer;
mod child;
mod command;
mod doubts;
mod exclusion;
mod http;
mod log;
mod orphans;
mod pattern;
mod program;
mod slack;

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Event, Outcome};
use crate::retry::Policy;
use crate::secret::Env;
use crate::stop::Stop;
use crate::template::{Expression, Scope, TemplateError};

pub use command::Command;
pub use exclusion::{Exclusion, exclusions};
pub use http::Http;
pub use orphans::reap as reap_orphans;
pub use pattern::Pattern;
pub use slack::Slack;

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
    /// Empty where it only reports dead jobs of other actions.
    pub on: Vec<Pattern>,
    /// A further condition on the events that a pattern matches.
    pub when: Option<Expression>,
    pub policy: Policy,
    /// The longest that an attempt takes.
    pub timeout: Duration,
    /// How many attempts may run at once.
    pub concurrency: u32,
    /// The action that reports a dead job of this one.
    pub on_dead: Option<String>,
}

/// An action's kind, as configured.
#[derive(Clone, Debug)]
pub enum ActionKind {
    Log,
    Slack(Slack),
    Http(Http),
    Command(Command),
}

/// An action that is ready to run.
pub enum Runner {
    Log,
    Slack(slack::SlackRunner),
    Http(http::HttpRunner),
    Command(Command),
}

/// One attempt: the event, and the limits of the run.
pub struct Call<'a> {
    pub event: &'a Event,
    pub scope: &'a Scope,
    /// Counted from 1.
    pub attempt: u32,
    /// The same for every attempt of the job, so that the destination recognises a repeat.
    pub idempotency_key: &'a str,
    /// The dead job of another action that this one reports.
    pub dead_job: Option<&'a DeadJob>,
    /// The longest that the run takes, in all.
    pub timeout: Duration,
    /// Set when the process stops; a run then has `grace` left.
    pub stop: &'a Stop,
    pub grace: Duration,
}

/// The action whose job for the event is dead, and its last error.
#[derive(Clone, Debug)]
pub struct DeadJob {
    pub action: String,
    pub error: String,
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
}

impl ActionKind {
    pub fn as_str(&self) -> &'static str {
        match self {
            ActionKind::Log => "log",
            ActionKind::Slack(_) => "slack",
            ActionKind::Http(_) => "http",
            ActionKind::Command(_) => "command",
        }
    }

    /// A description of it, without an event and without secrets.
    pub fn summary(&self) -> Option<String> {
        match self {
            ActionKind::Log => None,
            ActionKind::Slack(slack) => Some(format!("POST {}", http::displayed_url(&slack.url))),
            ActionKind::Http(http) => Some(format!("{} {}", http.method, http::displayed_url(&http.url))),
            ActionKind::Command(command) => Some(command.summary()),
        }
    }

    /// How many jobs are claimed in one transaction, and recorded in one unless the receiver waits. If the process dies
    /// between the two, all of them run again: it is more than one only where a repeat does no harm.
    pub fn batch(&self) -> u32 {
        match self {
            ActionKind::Log => LOG_BATCH,
            ActionKind::Slack(_) | ActionKind::Http(_) | ActionKind::Command(_) => 1,
        }
    }

    /// How long an attempt may take after its grace to end its child processes.
    pub fn clean_up(&self) -> Duration {
        match self {
            ActionKind::Command(_) => child::CLEAN_UP,
            ActionKind::Log | ActionKind::Slack(_) | ActionKind::Http(_) => Duration::ZERO,
        }
    }

    /// Fetches secrets and certificates. `Err` has the key of the action that is wrong, and why.
    pub fn prepare(&self, env: &Env<'_>) -> Result<Arc<Runner>, String> {
        let runner = match self {
            ActionKind::Log => Runner::Log,
            ActionKind::Slack(slack) => Runner::Slack(slack.prepare(env)?),
            ActionKind::Http(http) => Runner::Http(http.prepare(env)?),
            ActionKind::Command(command) => Runner::Command(command.clone()),
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
        }
    }

    /// The request or command that [`Runner::run`] would send or run, without its secrets.
    pub fn preview(&self, call: &Call<'_>) -> Result<String, TemplateError> {
        match self {
            Runner::Log => Ok("print it\n".to_owned()),
            Runner::Slack(slack) => slack.preview(call),
            Runner::Http(http) => http.preview(call),
            Runner::Command(command) => command.preview(call),
        }
    }
}

impl ActionReport {
    /// A failure that may pass.
    pub fn retry(detail: impl Into<String>) -> ActionReport {
        ActionReport { outcome: Outcome::Retry { after: None }, detail: detail.into() }
    }

    /// A failure that no further attempt can change.
    pub fn give_up(detail: impl Into<String>) -> ActionReport {
        ActionReport { outcome: Outcome::GiveUp, detail: detail.into() }
    }
}

/// The beginning of an answer or of a command's output, as text. It ends between two characters.
fn excerpt(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(MAX_DETAIL_BYTES)];
    let cut_bytes = bytes.utf8_chunks().last().map_or(0, |last| match std::str::from_utf8(last.invalid()) {
        Err(error) if error.error_len().is_none() => last.invalid().len(), // the beginning of a character
        _ => 0,
    });
    String::from_utf8_lossy(&bytes[..bytes.len() - cut_bytes]).trim_end().to_owned()
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
}
