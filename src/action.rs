//! What is done with an event. An action gets an event and gives a report; it never sees the store.
//!
//! In the configuration an action is a [`Kind`] with references to its secrets; [`Kind::prepare`] makes a [`Runner`] of it,
//! which has them at hand.

mod child;
mod command;
mod http;
mod log;
mod pattern;
mod slack;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Event, Outcome};
use crate::retry::Policy;
use crate::secret::{Env, SecretError};
use crate::stop::Stop;
use crate::template::{Expression, Scope, TemplateError};

pub use command::Command;
pub use http::{Http, agent, header_fields_to_forward, redacted_names};
pub use pattern::Pattern;
pub use slack::Slack;
pub use tls::system_bundle;

/// As much of a destination's answer, or of a command's output, as is kept with the attempt.
pub const MAX_DETAIL_BYTES: usize = 4 << 10;

/// Events printed between a claim and the record of their outcomes: enough to share two commits, few enough that a
/// delivery which comes in meanwhile waits for a millisecond.
const LOG_BATCH: u32 = 32;

/// Something to do with the events that one of the patterns matches.
#[derive(Clone, Debug)]
pub struct Action {
    pub name: String,
    pub kind: Kind,
    /// Empty for one that is only told of deaths.
    pub on: Vec<Pattern>,
    /// Decides on each event that a pattern matches.
    pub when: Option<Expression>,
    pub policy: Policy,
    /// No attempt takes longer.
    pub timeout: Duration,
    /// How many attempts may be under way at once.
    pub concurrency: u32,
    /// The action that is told when a job of this one dies.
    pub on_dead: Option<String>,
}

/// What an action does, as configured.
#[derive(Clone, Debug)]
pub enum Kind {
    Log,
    Slack(Slack),
    Http(Http),
    Command(Command),
}

/// An action that is ready to run.
pub enum Runner {
    Log,
    Slack(slack::Runner),
    Http(http::Runner),
    Command(command::Runner),
}

/// One attempt: what to work on, and under which conditions.
pub struct Call<'a> {
    pub event: &'a Event,
    pub scope: &'a Scope,
    /// Counted from 1.
    pub attempt: u32,
    /// The same for every attempt at the job, so that the destination can tell a repeat.
    pub idempotency_key: &'a str,
    /// What to say of another action that has died, where that is what this is about.
    pub death: Option<&'a DeadJob>,
    /// Nothing takes longer than this, in all.
    pub timeout: Duration,
    /// Set when the process is to end; what is under way then has `grace` left.
    pub stop: &'a Stop,
    pub grace: Duration,
}

/// An action whose job for the event is dead, and the last error.
#[derive(Clone, Debug)]
pub struct DeadJob {
    pub action: String,
    pub error: String,
}

/// How one attempt went.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    pub outcome: Outcome,
    /// The destination's answer or the reason, for the operator.
    pub detail: String,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Done(Report),
    /// The process stops, and the run was broken off: it does not count as an attempt.
    Interrupted,
}

/// Why an action cannot be made ready.
#[derive(Debug)]
pub enum PrepareError {
    Secret { key: &'static str, error: SecretError },
    NotText { key: &'static str },
    NotUrl,
    NotKey,
    Template { key: &'static str, error: TemplateError },
    Certificates(tls::TlsError),
}

impl Kind {
    pub fn as_str(&self) -> &'static str {
        match self {
            Kind::Log => "log",
            Kind::Slack(_) => "slack",
            Kind::Http(_) => "http",
            Kind::Command(_) => "command",
        }
    }

    /// What it would do, as far as that can be told without an event and without telling a secret.
    pub fn summary(&self) -> Option<String> {
        match self {
            Kind::Log => None,
            Kind::Slack(slack) => Some(format!("POST {}", http::place(&slack.url))),
            Kind::Http(http) => Some(format!("{} {}", http.method, http::place(&http.url))),
            Kind::Command(command) => Some(command.summary()),
        }
    }

    /// How many jobs are claimed in one transaction; their outcomes are recorded in one too, unless the receiver waits. If the
    /// process dies between the two all of them are done again, so it is more than one only where a repeat does no harm.
    pub fn batch(&self) -> u32 {
        match self {
            Kind::Log => LOG_BATCH,
            Kind::Slack(_) | Kind::Http(_) | Kind::Command(_) => 1,
        }
    }

    /// How long an attempt may go on after its grace, where leaving it behind would leave something running.
    pub fn clean_up(&self) -> Duration {
        match self {
            Kind::Command(_) => child::CLEAN_UP,
            Kind::Log | Kind::Slack(_) | Kind::Http(_) => Duration::ZERO,
        }
    }

    /// Fetches secrets and certificates.
    pub fn prepare(&self, env: &Env<'_>) -> Result<Arc<Runner>, PrepareError> {
        let runner = match self {
            Kind::Log => Runner::Log,
            Kind::Slack(slack) => Runner::Slack(slack.prepare(env)?),
            Kind::Http(http) => Runner::Http(http.prepare(env)?),
            Kind::Command(command) => Runner::Command(command.prepare()),
        };
        Ok(Arc::new(runner))
    }
}

impl Runner {
    /// Makes one attempt.
    pub fn run(&self, call: &Call<'_>) -> Ended {
        match self {
            Runner::Log => Ended::Done(log::run(call.event)),
            Runner::Slack(slack) => Ended::Done(slack.run(call)),
            Runner::Http(http) => Ended::Done(http.run(call)),
            Runner::Command(command) => command.run(call),
        }
    }

    /// What [`Runner::run`] would send, without the secrets.
    pub fn preview(&self, call: &Call<'_>) -> Result<String, TemplateError> {
        match self {
            Runner::Log => Ok("print it\n".to_owned()),
            Runner::Slack(slack) => slack.preview(call),
            Runner::Http(http) => http.preview(call),
            Runner::Command(command) => command.preview(call),
        }
    }
}

impl Report {
    /// The condition of the action does not hold for the event.
    pub fn not_for_it() -> Report {
        Report { outcome: Outcome::Success, detail: "not for this event".to_owned() }
    }

    /// For what may get better.
    pub fn retry(detail: impl Into<String>) -> Report {
        Report { outcome: Outcome::Retry { after: None }, detail: detail.into() }
    }

    /// For what cannot get better by itself.
    pub fn give_up(detail: impl Into<String>) -> Report {
        Report { outcome: Outcome::GiveUp, detail: detail.into() }
    }
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrepareError::Secret { key, error } => write!(f, "{key}: {error}"),
            PrepareError::NotText { key } => {
                write!(f, "{key}: the secret is not text, which a URL or a header must be")
            }
            PrepareError::NotUrl => write!(f, "url: what was fetched does not begin with http:// or https://"),
            PrepareError::NotKey => {
                write!(f, "sign: what follows whsec_ is not base64, so nobody could verify it; copy the secret again")
            }
            PrepareError::Template { key, error } => write!(f, "{key}: {error}"),
            PrepareError::Certificates(error) => write!(f, "ca_file: {error}"),
        }
    }
}

/// The beginning of what was answered or printed, as text.
fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_DETAIL_BYTES)]).trim_end().to_owned()
}
