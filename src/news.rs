//! News: events about hookbox itself, of a source of its own. They are stored only where an action's `on` names them, and
//! routed like all others. Nothing here does I/O.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::Delivery;

/// The source of news. No delivery comes from it.
pub const SOURCE: &str = "hookbox";

/// What news is about: the event types of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    JobDead,
    ActionFailing,
    ActionRecovered,
    SourceRejecting,
    SourceSilent,
    DiskLow,
    RecoverMissing,
    RecoverFailed,
}

impl Kind {
    /// All of them, in the order of their declaration.
    pub const ALL: [Kind; 8] = [
        Kind::JobDead,
        Kind::ActionFailing,
        Kind::ActionRecovered,
        Kind::SourceRejecting,
        Kind::SourceSilent,
        Kind::DiskLow,
        Kind::RecoverMissing,
        Kind::RecoverFailed,
    ];

    /// Its event type.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::JobDead => "job.dead",
            Kind::ActionFailing => "action.failing",
            Kind::ActionRecovered => "action.recovered",
            Kind::SourceRejecting => "source.rejecting",
            Kind::SourceSilent => "source.silent",
            Kind::DiskLow => "disk.low",
            Kind::RecoverMissing => "recover.missing",
            Kind::RecoverFailed => "recover.failed",
        }
    }

    pub fn parse(event_type: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == event_type)
    }

    /// A text for people: a template in mrkdwn.
    pub fn text(self) -> &'static str {
        match self {
            Kind::JobDead => {
                "{% if payload.count > 1 %}{{ payload.count }} more jobs of action *{{ payload.action }}* failed, for events \
                 {{ payload.first_id }} to {{ payload.last_id }}{% else %}Action *{{ payload.action }}* failed for event \
                 {{ payload.event.id }} ({{ payload.event.type }} from {{ payload.event.source }}){% endif %}: \
                 {{ payload.error }}"
            }
            Kind::ActionFailing => {
                "Action *{{ payload.action }}* has failed since {{ payload.since }}, {{ payload.waiting }} jobs wait: \
                 {{ payload.error }}"
            }
            Kind::ActionRecovered => {
                "Action *{{ payload.action }}* works again: it failed since {{ payload.since }}. {{ payload.waiting }} jobs wait"
            }
            Kind::SourceRejecting => {
                "Source *{{ payload.source }}* rejects deliveries: {{ payload.error }} (from {{ payload.from }})"
            }
            Kind::SourceSilent => {
                "Source *{{ payload.source }}* has received nothing since {{ payload.since }}, and should every \
                 {{ payload.expect_every }}"
            }
            Kind::DiskLow => {
                "The disk of {{ payload.path }} is nearly full: {{ payload.free_bytes // 1048576 }} MiB are free, and below \
                 {{ payload.reserve_bytes // 1048576 }} MiB deliveries are refused"
            }
            Kind::RecoverMissing => {
                "Source *{{ payload.source }}* has missed {{ payload.count }} deliveries since {{ payload.oldest }}: hookbox \
                 gets them back"
            }
            Kind::RecoverFailed => {
                "What source *{{ payload.source }}* has missed cannot be recovered: {{ payload.error }}"
            }
        }
    }
}

/// What has happened, once.
#[derive(Debug)]
pub struct News {
    pub kind: Kind,
    /// Another one for each time that it happens.
    pub key: String,
    /// An object.
    pub payload: Value,
}

impl News {
    pub fn into_delivery(self, now: Timestamp) -> Delivery {
        let event_type = self.kind.as_str();
        let id = format!("{event_type}/{}", self.key);
        Delivery::of_own(SOURCE, event_type, id, self.payload.to_string(), now)
    }
}

/// The kinds of news that an action is for. No other is stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted([bool; Kind::ALL.len()]);

impl Wanted {
    /// `is_for` says whether an action is for events of this source and type.
    pub fn new(is_for: impl Fn(&str, &str) -> bool) -> Wanted {
        Wanted(Kind::ALL.map(|kind| is_for(SOURCE, kind.as_str())))
    }

    pub fn has(self, kind: Kind) -> bool {
        self.0[kind as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_event_type() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, Kind::parse(kind.as_str())), (at, Some(kind)));
        }
        assert_eq!(Kind::parse("job.deda"), None);
    }

    #[test]
    fn only_what_an_action_is_for_is_wanted() {
        let wanted = Wanted::new(|source, event_type| source == SOURCE && event_type == "disk.low");
        assert!(wanted.has(Kind::DiskLow) && !wanted.has(Kind::JobDead));
    }
}
