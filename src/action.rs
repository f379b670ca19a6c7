//! What is done with an event. An action gets an event and gives a report; it never sees the store.

mod log;

use crate::config::{Action, ActionKind};
use crate::event::{Event, Outcome};

/// How one attempt went.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    pub outcome: Outcome,
    /// The destination's answer or the reason, for the operator.
    pub detail: String,
}

/// Runs an action once.
pub fn run(action: &Action, event: &Event) -> Report {
    match action.kind {
        ActionKind::Log => log::run(event),
    }
}

/// How many jobs of an action are claimed, and their outcomes recorded, in one transaction. If the process dies between
/// the two all of them are done again, so it is more than one only where a repeat does no harm.
pub fn batch(kind: &ActionKind) -> u32 {
    match kind {
        ActionKind::Log => 64,
    }
}
