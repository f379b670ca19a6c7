//! Rejects: the latest, which show why nothing arrives, and how many there were. In memory only, because untrusted clients
//! cause them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::clock::Timestamp;

/// Enough to see the trouble; a flood must not fill the memory.
const MAX_OF_SOURCES: usize = 100;

/// Requests that match no source come mostly from scanners, and must not push out those that do.
const MAX_UNMATCHED: usize = 20;

/// Enough for a mistyped path; clients can make paths long.
const MAX_TEXT_CHARS: usize = 200;

const HOUR_MS: i64 = 60 * 60 * 1000;

/// Hours that are kept: a day.
const HOURS: usize = 24;

/// Why a delivery was rejected. The words are part of the contract of metrics and API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    NoSuchSource,
    WrongMethod,
    Malformed,
    TooLarge,
    SignatureMissing,
    SignatureWrong,
    Timestamp,
    Handshake,
    NoSecret,
    Forwarded,
    NotAllowed,
    ContentEncoding,
    HeadTooLarge,
    UnknownExpectation,
    UnsupportedVersion,
    NotInTime,
    TooBusy,
    NoAnswer,
}

impl RejectReason {
    /// All of them, with their labels in metrics.
    pub const ALL: [(RejectReason, &str); 18] = [
        (RejectReason::NoSuchSource, "no_such_source"),
        (RejectReason::WrongMethod, "wrong_method"),
        (RejectReason::Malformed, "malformed"),
        (RejectReason::TooLarge, "too_large"),
        (RejectReason::SignatureMissing, "signature_missing"),
        (RejectReason::SignatureWrong, "signature_wrong"),
        (RejectReason::Timestamp, "timestamp"),
        (RejectReason::Handshake, "handshake"),
        (RejectReason::NoSecret, "no_secret"),
        (RejectReason::Forwarded, "forwarded"),
        (RejectReason::NotAllowed, "not_allowed"),
        (RejectReason::ContentEncoding, "content_encoding"),
        (RejectReason::HeadTooLarge, "head_too_large"),
        (RejectReason::UnknownExpectation, "unknown_expectation"),
        (RejectReason::UnsupportedVersion, "unsupported_version"),
        (RejectReason::NotInTime, "not_in_time"),
        (RejectReason::TooBusy, "too_busy"),
        (RejectReason::NoAnswer, "no_answer"),
    ];
}

/// A reject, and the number of similar ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reject {
    /// `None` where the path matches no source.
    pub source: Option<String>,
    /// Empty where it is not known.
    pub path: String,
    pub reason: RejectReason,
    /// A word of this program's, more precise than the reason.
    #[serde(skip)]
    pub kind: &'static str,
    /// The reason of the latest, for the operator.
    pub text: String,
    /// The sender's address.
    pub peer: String,
    /// When the first of those similar ones came.
    pub first_at: String,
    pub last_at: String,
    pub count: u64,
}

impl Reject {
    /// With texts of bounded length.
    fn cut(self) -> Reject {
        let cut = |text: &str| text.chars().take(MAX_TEXT_CHARS).collect();
        Reject { path: cut(&self.path), text: cut(&self.text), ..self }
    }

    /// Whether both are shown as one, with their number.
    fn is_similar(&self, other: &Reject) -> bool {
        self.source == other.source
            && self.reason == other.reason
            && self.kind == other.kind
            && self.peer == other.peer
            && (self.source.is_some() || self.path == other.path)
    }
}

/// The latest rejects, bounded.
#[derive(Debug, Default)]
pub struct Rejects(Mutex<Latest>);

#[derive(Debug, Default)]
struct Latest {
    of_sources: VecDeque<Reject>,
    unmatched: VecDeque<Reject>,
}

impl Rejects {
    pub fn push(&self, reject: Reject) {
        let reject = reject.cut();
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (list, most) = match reject.source {
            Some(_) => (&mut latest.of_sources, MAX_OF_SOURCES),
            None => (&mut latest.unmatched, MAX_UNMATCHED),
        };
        let before = list.iter().position(|other| other.is_similar(&reject)).and_then(|at| list.remove(at));
        list.push_back(match before {
            Some(before) => Reject { count: before.count + 1, first_at: before.first_at, ..reject },
            None => reject,
        });
        if list.len() > most {
            list.pop_front();
        }
    }

    /// All of them, the latest first.
    pub fn latest(&self) -> Vec<Reject> {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Reject> =
            latest.of_sources.iter().rev().chain(latest.unmatched.iter().rev()).cloned().collect();
        // Those of the same second stay in their order.
        all.sort_by(|a, b| b.last_at.cmp(&a.last_at));
        all
    }
}

/// Rejects in each of the last 24 hours: a ring buffer, indexed by the number of the hour modulo its length.
#[derive(Debug, Default)]
pub struct Hours(Mutex<[Hour; HOURS]>);

#[derive(Clone, Copy, Debug, Default)]
struct Hour {
    /// Since 1970.
    number: i64,
    count: u64,
}

impl Hours {
    pub fn add(&self, at: Timestamp) {
        let number = number_of(at);
        let mut hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = &mut hours[index(number)];
        if hour.number != number {
            *hour = Hour { number, count: 0 };
        }
        hour.count += 1;
    }

    /// The count of the hour of `at`, which is within the last day.
    pub fn get(&self, at: Timestamp) -> u64 {
        let number = number_of(at);
        let hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(hours[index(number)]).filter(|hour| hour.number == number).map_or(0, |hour| hour.count)
    }
}

fn number_of(at: Timestamp) -> i64 {
    at.unix_ms().div_euclid(HOUR_MS)
}

fn index(number: i64) -> usize {
    usize::try_from(number.rem_euclid(HOURS as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(source: Option<&str>, path: &str, at_s: i64) -> Reject {
        Reject {
            source: source.map(str::to_owned),
            path: path.to_owned(),
            reason: RejectReason::SignatureWrong,
            kind: "signature wrong",
            text: "why".to_owned(),
            peer: "203.0.113.9".to_owned(),
            first_at: Timestamp::from_unix_ms(at_s * 1000).to_string(),
            last_at: Timestamp::from_unix_ms(at_s * 1000).to_string(),
            count: 1,
        }
    }

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        for (at, (reason, word)) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            assert_eq!(serde_json::json!(reason), word);
        }
    }

    #[test]
    fn similar_rejects_are_counted_and_the_latest_is_first() {
        let rejects = Rejects::default();
        rejects.push(reject(Some("a"), "/webhooks/a", 1));
        rejects.push(reject(Some("b"), "/webhooks/b", 2));
        rejects.push(reject(Some("a"), "/webhooks/a", 3));
        let latest = rejects.latest();
        let found: Vec<_> = latest.iter().map(|it| (it.source.as_deref(), it.count, it.peer.as_str())).collect();
        assert_eq!(found, [(Some("a"), 2, "203.0.113.9"), (Some("b"), 1, "203.0.113.9")]);
        let times = [&latest[0].first_at, &latest[0].last_at].map(|at| Timestamp::parse(at).map(Timestamp::unix_ms));
        assert_eq!(times, [Some(1000), Some(3000)]);
    }

    #[test]
    fn a_flood_is_bounded_and_pushes_out_no_reject_of_a_source() {
        let rejects = Rejects::default();
        rejects.push(reject(Some("a"), "/webhooks/a", 1));
        for at in 0..10_000 {
            rejects.push(reject(None, &format!("/{at}{}", "x".repeat(10_000)), 2));
        }
        let latest = rejects.latest();
        assert_eq!(latest.len(), 1 + MAX_UNMATCHED);
        assert!(latest.iter().all(|it| it.path.len() <= MAX_TEXT_CHARS));
        assert!(latest.iter().any(|it| it.source.is_some()));
        for at in 0..10_000 {
            rejects.push(reject(Some(&format!("s{at}")), "/", 2));
        }
        assert_eq!(rejects.latest().len(), MAX_OF_SOURCES + MAX_UNMATCHED);
    }

    #[test]
    fn an_hour_overwrites_the_one_of_a_day_before() {
        let hours = Hours::default();
        let at = |hour: i64| Timestamp::from_unix_ms(hour * HOUR_MS + 1);
        for hour in [100, 100, 123, 124] {
            hours.add(at(hour));
        }
        assert_eq!([100, 101, 123, 124].map(|hour| hours.get(at(hour))), [0, 0, 1, 1]);
    }
}
