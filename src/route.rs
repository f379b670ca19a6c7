//! Which actions an event is for, and the thread that makes its jobs.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::time::Duration;

use log::error;

use crate::clock;
use crate::config::Action;
use crate::current::Current;
use crate::event::EventId;
use crate::stop::{Stop, Waker};
use crate::store::{self, Queue};
use crate::template::{Scope, TemplateError};

/// The largest payload on which the router evaluates conditions: as a tree it takes ten times the memory and more.
const MAX_ROUTED_BYTES: usize = 1 << 20;

/// Events read, and their conditions evaluated, at once: enough to share the cost of a transaction, which is cut where the
/// receiver waits for it, and few enough to hold in memory.
const BATCH: u32 = 100;

/// Stands for any source, any event type, or (alone) for everything.
const ANY: &str = "*";

/// One entry of an action's `on`: `source:event`, either of which may be `*`; a lone `*` is everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    source: Side,
    event_type: Side,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Side {
    Any,
    Only(String),
}

impl Pattern {
    /// Matches every event.
    pub fn everything() -> Pattern {
        Pattern { source: Side::Any, event_type: Side::Any }
    }

    pub fn matches(&self, source: &str, event_type: &str) -> bool {
        self.source.matches(source) && self.event_type.matches(event_type)
    }

    /// The one source it is about, where it names one.
    pub fn source(&self) -> Option<&str> {
        match &self.source {
            Side::Any => None,
            Side::Only(name) => Some(name),
        }
    }
}

impl Side {
    fn parse(text: &str, part: &'static str) -> Result<Side, PatternError> {
        if text == ANY {
            return Ok(Side::Any);
        }
        if text.is_empty() {
            return Err(PatternError::Empty(part));
        }
        if text.contains(ANY) {
            return Err(PatternError::PartialWildcard(part));
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(PatternError::Blank(part));
        }
        Ok(Side::Only(text.to_owned()))
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Side::Any => true,
            Side::Only(only) => only == name,
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    /// The first colon divides: no source's name has one, but a provider's event type may.
    fn from_str(text: &str) -> Result<Pattern, PatternError> {
        if text == ANY {
            return Ok(Pattern::everything());
        }
        let Some((source, event_type)) = text.split_once(':') else {
            return Err(PatternError::NoColon(text.to_owned()));
        };
        Ok(Pattern { source: Side::parse(source, "source")?, event_type: Side::parse(event_type, "event type")? })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, &self.event_type) {
            (Side::Any, Side::Any) => f.write_str(ANY),
            (source, event_type) => write!(f, "{source}:{event_type}"),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Side::Any => f.write_str(ANY),
            Side::Only(name) => f.write_str(name),
        }
    }
}

/// Why a text is not a [`Pattern`].
#[derive(Debug, PartialEq, Eq)]
pub enum PatternError {
    NoColon(String),
    Empty(&'static str),
    PartialWildcard(&'static str),
    Blank(&'static str),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::NoColon(text) => {
                write!(f, "{text:?} has no colon; write \"SOURCE:EVENT\", such as \"*:push\", or \"*\" for all")
            }
            PatternError::Empty(part) => write!(f, "the {part} is empty; write * for any"),
            PatternError::PartialWildcard(part) => {
                write!(f, "a * stands for a whole {part} only; write the {part} in full, or * alone")
            }
            PatternError::Blank(part) => write!(f, "the {part} has a space or a control character in it; take it out"),
        }
    }
}

impl std::error::Error for PatternError {}

/// The router thread's all.
pub struct Router {
    pub queue: Queue,
    pub routing: Current<Routing>,
    /// Rung when an event was stored.
    pub waker: Waker,
    pub stop: Stop,
    /// The [`Queue::version`] that was seen last.
    pub version: i64,
}

/// What the router goes by; replaced as a whole when the configuration is read again.
pub struct Routing {
    pub actions: Vec<Action>,
    /// The waker of each action's worker.
    pub workers: Vec<Waker>,
    pub poll_interval: Duration,
}

impl Router {
    /// Routes until the stop flag is set.
    pub fn run(mut self) {
        while !self.stop.is_set() {
            let routing = self.routing.get();
            let routed = self.route(&routing);
            self.queue.checkpoint();
            match routed {
                Ok(0) => {
                    self.waker.wait(routing.poll_interval);
                    self.pass_on_changes(&routing);
                }
                Ok(_) => routing.workers.iter().for_each(Waker::wake),
                Err(error) => {
                    error!("events cannot be routed yet: {error}");
                    self.waker.wait(routing.poll_interval);
                }
            }
        }
    }

    /// Wakes the workers when anybody has written: somebody may have queued a job again, or ended a pause. One thread that
    /// polls for all leaves an idle machine asleep, however many actions there are.
    fn pass_on_changes(&mut self, routing: &Routing) {
        // What is wrong with the database is told by the next attempt to route.
        let Ok(version) = self.queue.version() else { return };
        if version != self.version {
            self.version = version;
            routing.workers.iter().for_each(Waker::wake);
        }
    }

    /// Makes the jobs of one batch of events; returns how many there were.
    ///
    /// Where no action is configured at all, events stay unprocessed: another program is to process them.
    fn route(&mut self, routing: &Routing) -> store::Result<usize> {
        if routing.actions.is_empty() {
            return Ok(0);
        }
        let unrouted = self.queue.unrouted(BATCH)?;
        if unrouted.is_empty() {
            return Ok(0);
        }
        let mut routes = Vec::with_capacity(unrouted.len());
        for (id, source, event_type) in &unrouted {
            routes.push((*id, self.actions_for(routing, *id, source, event_type)));
        }
        self.queue.route(&routes, clock::now())?;
        Ok(routes.len())
    }

    fn actions_for<'a>(&self, routing: &'a Routing, id: EventId, source: &str, event_type: &str) -> Vec<&'a str> {
        let candidates: Vec<&Action> = candidates(&routing.actions, source, event_type).collect();
        if candidates.iter().all(|action| action.when.is_none()) {
            return candidates.into_iter().map(|action| action.name.as_str()).collect();
        }
        // What cannot be read, and what is so large that a condition could take the machine's memory, is left to the worker:
        // there it is an attempt, which counts.
        let event = self.queue.event(id).ok().flatten().filter(|event| event.payload_json.len() <= MAX_ROUTED_BYTES);
        let scope = event.as_ref().map(Scope::of);
        let is_for = |action: &&Action| match (&action.when, &scope) {
            (Some(when), Some(scope)) => may_hold(|| when.holds(scope)),
            _ => true,
        };
        candidates.into_iter().filter(is_for).map(|action| action.name.as_str()).collect()
    }
}

/// The actions that a pattern is for; their conditions have not been asked.
pub fn candidates<'a>(actions: &'a [Action], source: &str, event_type: &str) -> impl Iterator<Item = &'a Action> {
    actions.iter().filter(move |action| action.on.iter().any(|pattern| pattern.matches(source, event_type)))
}

/// An expression that cannot be evaluated decides nothing here: its job is made, and the worker, which asks again, lets it
/// die with the reason for everybody to see. A panic would end the process, and meet the same event after the restart.
fn may_hold(evaluate: impl FnOnce() -> Result<bool, TemplateError>) -> bool {
    !matches!(catch_unwind(AssertUnwindSafe(evaluate)), Ok(Ok(false)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Expression;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    #[test]
    fn matches_what_it_names() {
        let push = pattern("github:push");
        assert!(push.matches("github", "push"));
        assert!(!push.matches("github", "pushed"));
        assert!(!push.matches("gitlab", "push"));
    }

    #[test]
    fn only_a_clear_no_keeps_an_action_from_an_event() {
        assert!(may_hold(|| Ok(true)));
        assert!(!may_hold(|| Ok(false)));
        assert!(may_hold(|| panic!("a defect")));
        let broken = "payload + 1".parse::<Expression>().expect("an expression");
        assert!(may_hold(|| broken.holds(&Scope::empty())));
    }

    #[test]
    fn a_star_is_any_on_its_side() {
        assert!(pattern("github:*").matches("github", "issues"));
        assert!(!pattern("github:*").matches("stripe", "issues"));
        assert!(pattern("*:push").matches("gitlab", "push"));
        assert!(!pattern("*:push").matches("gitlab", "issues"));
    }

    #[test]
    fn a_lone_star_is_everything() {
        assert_eq!(pattern("*"), Pattern::everything());
        assert_eq!(pattern("*:*"), Pattern::everything());
        assert!(pattern("*").matches("anything", "at:all"));
    }

    #[test]
    fn an_event_type_may_have_colons() {
        assert!(pattern("gitea:issue:opened").matches("gitea", "issue:opened"));
    }

    #[test]
    fn displays_as_it_is_written() {
        for text in ["*", "github:push", "*:push", "github:*"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    #[test]
    fn names_its_source() {
        assert_eq!(pattern("github:*").source(), Some("github"));
        assert_eq!(pattern("*:push").source(), None);
    }

    #[test]
    fn refuses_what_cannot_be_meant() {
        let refused = |text: &str| text.parse::<Pattern>().expect_err("no pattern");
        assert_eq!(refused("issues"), PatternError::NoColon("issues".to_owned()));
        assert_eq!(refused(""), PatternError::NoColon(String::new()));
        assert_eq!(refused(":push"), PatternError::Empty("source"));
        assert_eq!(refused("github:"), PatternError::Empty("event type"));
        assert_eq!(refused("github:issue*"), PatternError::PartialWildcard("event type"));
        assert_eq!(refused("git*:push"), PatternError::PartialWildcard("source"));
        assert_eq!(refused("github: push"), PatternError::Blank("event type"));
    }
}
