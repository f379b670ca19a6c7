//! `[retention]`: how long events are kept.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::Reader;
use super::values::duration;
use crate::clock::Timestamp;
use crate::event::Status;
use crate::store::{Expired, Rule};

/// At least a second, so that `hookbox list` shows what was just processed. A century is forever.
const AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How long events are kept after they reach their final status. `None`: forever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    pub processed: Option<Duration>,
    pub error: Option<Duration>,
    /// How long the count of an event's duplicates is kept, from its first delivery.
    pub duplicates: Option<Duration>,
}

impl Retention {
    pub fn is_forever(&self) -> bool {
        *self == Retention::default()
    }

    /// The shortest of the ages.
    pub fn shortest(&self) -> Option<Duration> {
        [self.processed, self.error, self.duplicates].into_iter().flatten().min()
    }

    /// The shortest age of an event.
    pub fn shortest_of_events(&self) -> Option<Duration> {
        [self.processed, self.error].into_iter().flatten().min()
    }

    /// The rules for deleting at this moment.
    pub fn rules(&self, now: Timestamp) -> Vec<Rule> {
        let ages = [
            (Expired::Events(Status::Processed), self.processed),
            (Expired::Events(Status::Error), self.error),
            (Expired::Duplicates, self.duplicates),
        ];
        let rule = |(what, age): (Expired, Option<Duration>)| Some(Rule { what, before: now.minus(age?), now });
        ages.into_iter().filter_map(rule).collect()
    }
}

pub(super) fn read(keys: &mut Reader) -> Retention {
    Retention {
        processed: keys.get("processed", |v| duration(v, &AGE)),
        error: keys.get("error", |v| duration(v, &AGE)),
        duplicates: keys.get("duplicates", |v| duration(v, &AGE)),
    }
}
