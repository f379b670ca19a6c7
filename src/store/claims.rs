//! The jobs that workers of this process have claimed in memory. Their loss in a crash does no harm, so that they are not
//! written to the disk: such a job is still queued there, and its attempt is made again.
//!
//! A job that was open when a process ended uncleanly may be what has ended it: it is claimed on the disk, so that its
//! attempts count.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::event::{EventId, Job};

/// Changed only under the write lock, so that a transaction sees it as the database: unchanged by others.
pub(super) struct Claims {
    jobs: Mutex<BTreeSet<(String, EventId)>>,
    /// The last event that was stored before an unclean end.
    suspect_up_to: Option<EventId>,
}

impl Claims {
    pub(super) fn new(suspect_up_to: Option<EventId>) -> Claims {
        Claims { jobs: Mutex::default(), suspect_up_to }
    }

    /// Whether the event was stored before an unclean end.
    pub(super) fn is_suspect(&self, event: EventId) -> bool {
        self.suspect_up_to.is_some_and(|last| event <= last)
    }

    /// The last event that was stored before an unclean end.
    pub(super) fn suspect_up_to(&self) -> Option<EventId> {
        self.suspect_up_to
    }

    pub(super) fn contains(&self, event: EventId, action: &str) -> bool {
        self.jobs().contains(&(action.to_owned(), event))
    }

    /// How many jobs of an action are claimed.
    pub(super) fn count(&self, action: &str) -> u32 {
        self.jobs().iter().filter(|(of, _)| of == action).count().try_into().unwrap_or(u32::MAX)
    }

    pub(super) fn insert(&self, job: &Job) {
        self.jobs().insert((job.action.clone(), job.event));
    }

    pub(super) fn remove(&self, job: &Job) {
        self.jobs().remove(&(job.action.clone(), job.event));
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(String, EventId)> {
        self.jobs().iter().cloned().collect()
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeSet<(String, EventId)>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
