//! The nouns: delivery, event, job and attempt. Nothing here does I/O.

pub mod headers;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;

/// The longest accepted delivery id and event type, in bytes. Every provider's are far shorter; the limit keeps an index
/// entry on one page and a row of output on one line.
pub const MAX_IDENTIFIER_BYTES: usize = 256;

/// The number of an event: its row in `webhook_events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub i64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a delivery is recognised when it arrives again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryId {
    /// The provider's own id: stable over its retries, so that it identifies forever.
    Given(String),
    /// `sha256:<hex of source, NUL, body>`, for a delivery without an id: several events may have the same content, each
    /// with a number after this hash.
    OfContent {
        hash: String,
        /// The actions that an event with this content is for: it is joined only if there are any.
        actions: Vec<MatchingAction>,
    },
}

impl DeliveryId {
    pub fn as_str(&self) -> &str {
        let (DeliveryId::Given(id) | DeliveryId::OfContent { hash: id, .. }) = self;
        id
    }
}

/// A configured action that is for an event's source and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchingAction {
    pub name: String,
    /// It has a condition, which may exclude the event.
    pub has_condition: bool,
    /// Its jobs have keys.
    pub is_keyed: bool,
    /// How long after the event its job is due.
    pub delay: Duration,
}

/// A job to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    pub action: String,
    pub key: Option<Key>,
    pub due: Timestamp,
}

/// Jobs of one action with equal keys are done one after the other, in the order of their events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub text: String,
    /// Of those that wait, only the newest is done.
    pub latest_only: bool,
}

/// One genuine request from a provider, ready to be stored.
#[derive(Debug)]
pub struct Delivery {
    pub source: String,
    pub event_type: String,
    pub id: DeliveryId,
    /// The JSON exactly as received, or JSON that represents other content.
    pub payload_json: String,
    /// The exact bytes, where `payload_json` is not them.
    pub body: Option<Vec<u8>>,
    /// The header fields as a JSON object ([`headers`]); the values of secret ones are redacted.
    pub headers_json: String,
    /// The position of the secret that matched, from 0; `None` where the source needs none.
    pub secret_position: Option<usize>,
    /// When the same delivery arrives later than this, it is processed again. `None`: never, if it has an id.
    pub dedup_window: Option<Duration>,
    /// The hash of what is signed, for a source that ignores the same body under another id.
    pub body_digest: Option<Vec<u8>>,
    /// The jobs of the event, where they can be decided without the payload; `None`: the router decides.
    pub jobs: Option<Vec<NewJob>>,
    pub received_at: Timestamp,
}

impl Delivery {
    /// One that no request has brought: without headers and proof. The router makes its jobs.
    pub fn of_own(source: &str, event_type: &str, id: String, payload_json: String, now: Timestamp) -> Delivery {
        Delivery {
            source: source.to_owned(),
            event_type: event_type.to_owned(),
            id: DeliveryId::Given(id),
            payload_json,
            body: None,
            headers_json: "{}".to_owned(),
            secret_position: None,
            dedup_window: None,
            body_digest: None,
            jobs: None,
            received_at: now,
        }
    }

    /// The bytes to store, which are in memory until then.
    pub fn content_bytes(&self) -> usize {
        self.payload_json.len() + self.headers_json.len() + self.body.as_ref().map_or(0, Vec::len)
    }
}

/// A stored delivery, as actions see it.
#[derive(Clone, Debug)]
pub struct Event {
    pub id: EventId,
    pub source: String,
    pub event_type: String,
    pub delivery_id: String,
    pub received_at: String,
    pub headers_json: String,
    /// Shared with the templates, which read it when they need it: it may be large.
    pub payload_json: Arc<str>,
    /// The exact bytes of the delivery, where `payload_json` is not them.
    pub body: Option<Arc<[u8]>>,
}

impl Event {
    /// The exact bytes of the delivery.
    pub fn bytes(&self) -> &[u8] {
        self.body.as_deref().unwrap_or(self.payload_json.as_bytes())
    }
}

/// The state of an event. The words are the database's, shared with other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Stored; its jobs are open, or not made yet. The router and the workers move it on.
    Unprocessed,
    /// Every job has succeeded, or none was needed. Final until it is replayed.
    Processed,
    /// A job is dead. Final until it is replayed, or delivered again.
    Error,
}

impl Status {
    pub const ALL: [Status; 3] = [Status::Unprocessed, Status::Processed, Status::Error];

    pub fn as_str(self) -> &'static str {
        match self {
            Status::Unprocessed => "unprocessed",
            Status::Processed => "processed",
            Status::Error => "error",
        }
    }

    pub fn parse(text: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// The status of an event as people see it. An event of which nothing was done because it was cancelled is `processed` in
/// the database, whose words other programs share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownStatus {
    Unprocessed,
    Processed,
    /// A job of it was cancelled, and none has succeeded.
    Cancelled,
    Error,
}

impl ShownStatus {
    pub const ALL: [ShownStatus; 4] =
        [ShownStatus::Unprocessed, ShownStatus::Processed, ShownStatus::Cancelled, ShownStatus::Error];

    pub fn as_str(self) -> &'static str {
        match self {
            ShownStatus::Cancelled => "cancelled",
            other => other.stored().as_str(),
        }
    }

    pub fn parse(text: &str) -> Option<ShownStatus> {
        ShownStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The word in the database.
    pub fn stored(self) -> Status {
        match self {
            ShownStatus::Unprocessed => Status::Unprocessed,
            ShownStatus::Processed | ShownStatus::Cancelled => Status::Processed,
            ShownStatus::Error => Status::Error,
        }
    }
}

impl From<Status> for ShownStatus {
    fn from(status: Status) -> ShownStatus {
        match status {
            Status::Unprocessed => ShownStatus::Unprocessed,
            Status::Processed => ShownStatus::Processed,
            Status::Error => ShownStatus::Error,
        }
    }
}

/// One claimed (event, action) pair, and which attempt at it this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub event: EventId,
    pub action: String,
    pub key: Option<Key>,
    /// A person has queued it again: it supersedes none, and none supersedes it.
    pub is_replayed: bool,
    /// Counted from 1, over the whole life of the job.
    pub attempt: u32,
    /// Counted from 1 again after a replay; what the retry policy counts.
    pub attempts_since_queued: u32,
    /// How often all of it was asked for again: another round is meant, and has another idempotency key.
    pub round: u32,
    /// How long its destination has asked it to wait, since it was queued.
    pub waited: Duration,
    /// The claim is on the disk, and not only in memory.
    pub is_claimed_on_disk: bool,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// It may succeed later; not before `after`, where the destination said so.
    Retry {
        after: Option<Duration>,
    },
    /// The destination asks to wait, because it has too much to do or is away for a while.
    Busy {
        wait: Duration,
    },
    /// It cannot succeed, however often it is tried.
    GiveUp,
    /// A stop of the process has cut it short.
    Interrupted,
}

impl Outcome {
    /// The word for it in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Retry { .. } | Outcome::Busy { .. } => "retry",
            Outcome::GiveUp => "give_up",
            Outcome::Interrupted => "interrupted",
        }
    }
}

/// The detail of an attempt that a stop of the process has cut short.
pub const INTERRUPTED: &str = "hookbox was stopped before the attempt ended";

/// One finished attempt, as it is recorded.
#[derive(Debug)]
pub struct Attempt {
    pub job: Job,
    pub started_at: Timestamp,
    pub duration: Duration,
    pub outcome: Outcome,
    /// The destination's answer or the reason, for the operator.
    pub detail: String,
    /// Until when the whole action waits, because its destination asks for that.
    pub held_until: Option<Timestamp>,
}
