//! The jobs that workers of this process have claimed. Where the loss of a claim in a crash does no harm, it is in memory
//! alone: such a job is still queued on the disk, and its attempt is made again.
//!
//! A job that was open when a process ended uncleanly may be what has ended it: it is claimed on the disk, so that its
//! attempts count.
//!
//! Those that are claimed on the disk are here too, and the keys of all: where a job is cancelled and queued again while its
//! attempt is under way, neither it nor its key is free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::{EventId, Job};

/// A job of which an attempt is under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunningJob {
    pub event: i64,
    pub action: String,
    pub since: String,
}

/// What is known of the server of a database.
#[derive(Clone, Debug)]
pub struct ServerJobs {
    /// False where there is none: what the database has as running was broken off.
    pub is_served: bool,
    /// Those that it has under way; none where it was not asked.
    pub running: Vec<RunningJob>,
}

/// Changed only under the write lock, so that a transaction sees it as the database: unchanged by others.
pub(super) struct Claims {
    under_way: Mutex<UnderWay>,
    /// The last event that was stored before an unclean end.
    suspect_up_to: Option<EventId>,
}

#[derive(Default)]
struct UnderWay {
    /// Those that are claimed in memory, by action and event; since when.
    in_memory: BTreeMap<(String, EventId), Timestamp>,
    /// Those that are claimed on the disk, which does not show it any more where they were cancelled.
    on_disk: BTreeMap<(String, EventId), Timestamp>,
    /// By action and key.
    keys: BTreeSet<(String, String)>,
}

impl Claims {
    pub(super) fn new(suspect_up_to: Option<EventId>) -> Claims {
        Claims { under_way: Mutex::default(), suspect_up_to }
    }

    /// Whether the event was stored before an unclean end.
    pub(super) fn is_suspect(&self, event: EventId) -> bool {
        self.suspect_up_to.is_some_and(|last| event <= last)
    }

    /// The last event that was stored before an unclean end.
    pub(super) fn suspect_up_to(&self) -> Option<EventId> {
        self.suspect_up_to
    }

    /// Whether an attempt at a job is under way.
    pub(super) fn contains(&self, event: EventId, action: &str) -> bool {
        let under_way = self.under_way();
        let job = (action.to_owned(), event);
        under_way.in_memory.contains_key(&job) || under_way.on_disk.contains_key(&job)
    }

    /// Whether an attempt of an action at a job with this key is under way.
    pub(super) fn has_key(&self, action: &str, key: &str) -> bool {
        self.under_way().keys.contains(&(action.to_owned(), key.to_owned()))
    }

    /// How many jobs of an action may be queued that cannot be claimed now: they are claimed, or their key is.
    pub(super) fn count(&self, action: &str) -> u32 {
        let under_way = self.under_way();
        let jobs = under_way.in_memory.keys().chain(under_way.on_disk.keys()).filter(|(of, _)| of == action).count();
        let keys = under_way.keys.iter().filter(|(of, _)| of == action).count();
        (jobs + keys).try_into().unwrap_or(u32::MAX)
    }

    pub(super) fn insert(&self, job: &Job, now: Timestamp) {
        let mut under_way = self.under_way();
        let jobs = if job.is_claimed_on_disk { &mut under_way.on_disk } else { &mut under_way.in_memory };
        jobs.insert((job.action.clone(), job.event), now);
        under_way.keys.extend(key(job));
    }

    pub(super) fn remove(&self, job: &Job) {
        let mut under_way = self.under_way();
        let claimed = (job.action.clone(), job.event);
        under_way.in_memory.remove(&claimed);
        under_way.on_disk.remove(&claimed);
        if let Some(key) = key(job) {
            under_way.keys.remove(&key);
        }
    }

    /// All that are in memory alone.
    pub(super) fn all(&self) -> Vec<(String, EventId)> {
        self.under_way().in_memory.keys().cloned().collect()
    }

    /// All of which an attempt is under way.
    pub(super) fn running(&self) -> Vec<RunningJob> {
        let under_way = self.under_way();
        let jobs = under_way.in_memory.iter().chain(&under_way.on_disk);
        let running = |((action, event), since): (&(String, EventId), &Timestamp)| RunningJob {
            event: event.0,
            action: action.clone(),
            since: since.to_string(),
        };
        jobs.map(running).collect()
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(job: &Job) -> Option<(String, String)> {
    job.key.as_ref().map(|key| (job.action.clone(), key.text.clone()))
}
