//! `[retention]`: how long what is stored is kept.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::duration;
use super::reader::Reader;
use crate::clock::Timestamp;
use crate::event::Status;
use crate::store::{Expired, Rule};

/// Less than a second is for nobody: what was just done is to be seen in `hookbox list`. A century is for ever.
const AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How long events are kept after they have got their final status. `None`: for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    pub processed: Option<Duration>,
    pub error: Option<Duration>,
    /// How long it is told how often an event came again, from when it came first.
    pub duplicates: Option<Duration>,
}

impl Retention {
    pub fn is_for_ever(&self) -> bool {
        *self == Retention::default()
    }

    /// The shortest of the ages.
    pub fn shortest(&self) -> Option<Duration> {
        [self.processed, self.error, self.duplicates].into_iter().flatten().min()
    }

    /// What is to be deleted at this moment.
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
