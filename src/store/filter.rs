//! Which events to list.

use super::summary::Summary;
use crate::clock::Timestamp;
use crate::event::{EventId, Status};

/// Conditions that an event has to meet, and how many to list; `None` is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub status: Option<Status>,
    pub source: Option<String>,
    pub event_type: Option<String>,
    /// Received then or later.
    pub since: Option<Timestamp>,
    /// Only smaller ids: the next page after the one that ended with this id.
    pub before: Option<EventId>,
    pub limit: u32,
}

impl Filter {
    pub(super) fn of_status(status: Status) -> Filter {
        Filter { status: Some(status), ..Filter::default() }
    }

    /// Whether an event passes, regardless of its id and its age.
    pub fn passes(&self, event: &Summary) -> bool {
        self.status.is_none_or(|status| event.status == status.as_str())
            && self.source.as_ref().is_none_or(|source| event.source == *source)
            && self.event_type.as_ref().is_none_or(|event_type| event.event == *event_type)
    }

    /// Whether an event received then is young enough. A time in another form than ours is of no known age.
    pub(super) fn is_since(&self, received_at: &str) -> bool {
        self.since.is_none_or(|since| Timestamp::parse(received_at).is_some_and(|at| at >= since))
    }

    /// True if every event passes, regardless of its id and its age.
    pub(super) fn passes_all(&self) -> bool {
        self.status.is_none() && self.source.is_none() && self.event_type.is_none()
    }
}
