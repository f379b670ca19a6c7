//! Why an action is not for an event: the router's own conditions, asked again for the operator.

use std::fmt;

use serde::Serialize;

use super::Action;
use crate::event::Event;
use crate::template::Scope;

/// An action that has no job for an event, and what excludes it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Exclusion {
    pub action: String,
    pub unmet: Unmet,
    /// The condition, as it is configured.
    pub condition: String,
}

/// The condition that an event does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmet {
    On,
    When,
    /// It meets all of today's configuration: that was another when the event was routed, or it is not routed yet.
    Nothing,
}

/// Those of the actions that have no job for the event, each with the reason; `has_job` says which have one.
pub fn exclusions<'a>(
    actions: impl Iterator<Item = &'a Action>,
    event: &Event,
    has_job: impl Fn(&str) -> bool,
) -> Vec<Exclusion> {
    let scope = Scope::of(event);
    actions.filter(|action| !has_job(&action.name)).map(|action| action.exclusion(event, &scope)).collect()
}

impl Action {
    fn exclusion(&self, event: &Event, scope: &Scope) -> Exclusion {
        let (unmet, condition) = if !self.matches(&event.source, &event.event_type) {
            let patterns: Vec<String> = self.on.iter().map(|pattern| format!("{:?}", pattern.to_string())).collect();
            (Unmet::On, format!("on = [{}]", patterns.join(", ")))
        } else if matches!(self.applies_to(scope), Ok(false)) {
            (Unmet::When, self.when.as_ref().map_or(String::new(), |when| format!("when = {:?}", when.to_string())))
        } else {
            (Unmet::Nothing, String::new())
        };
        Exclusion { action: self.name.clone(), unmet, condition }
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unmet {
            Unmet::On | Unmet::When => write!(f, "not for this event, by {}", self.condition),
            Unmet::Nothing => f.write_str("no job, but it is for this event by today's config"),
        }
    }
}
