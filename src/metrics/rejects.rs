//! Rejects: the latest, which show why nothing arrives, and how many there were. Untrusted clients cause them: their number
//! is bounded, and what is kept over a restart has nothing of what was sent.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::clock::Timestamp;

/// Enough to see the trouble; a flood must not fill the memory.
const MAX_OF_SOURCES: usize = 100;

/// Requests that match no source come mostly from scanners, and must not push out those that do.
const MAX_UNMATCHED: usize = 20;

/// Enough for a mistyped path; clients can make paths long.
const MAX_TEXT_CHARS: usize = 200;

/// What is kept of a sender's address, in bits: enough to tell a provider from a scanner.
const KEPT_BITS_V4: u32 = 24;
const KEPT_BITS_V6: u32 = 48;

/// In place of a text with something of the sender's.
const FORWARDED: &str = "it came from elsewhere, and this source verifies nothing: give it a secret";

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

    pub fn label(self) -> &'static str {
        RejectReason::ALL[self as usize].1
    }

    pub fn parse(label: &str) -> Option<RejectReason> {
        RejectReason::ALL.into_iter().find(|(_, known)| *known == label).map(|(reason, _)| reason)
    }
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

    /// What of it may be stored: no address, and a path only where that is all that is known.
    fn to_keep(&self) -> Reject {
        let path = if self.source.is_some() { String::new() } else { self.path.clone() };
        let is_forwarded = self.reason == RejectReason::Forwarded;
        let text = if is_forwarded { FORWARDED.to_owned() } else { self.text.clone() };
        Reject { path, text, kind: "", peer: network_of(&self.peer), ..self.clone() }
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
    /// How many there were since the start.
    count: u64,
}

impl Latest {
    /// Adds the latest one, to those that are similar.
    fn push(&mut self, reject: Reject) {
        let (list, most) = match reject.source {
            Some(_) => (&mut self.of_sources, MAX_OF_SOURCES),
            None => (&mut self.unmatched, MAX_UNMATCHED),
        };
        let before = list.iter().position(|other| other.is_similar(&reject)).and_then(|at| list.remove(at));
        list.push_back(match before {
            Some(before) => Reject { count: before.count + reject.count, first_at: before.first_at, ..reject },
            None => reject,
        });
        if list.len() > most {
            list.pop_front();
        }
    }

    /// The latest first.
    fn all(&self) -> Vec<Reject> {
        let mut all: Vec<Reject> = self.of_sources.iter().rev().chain(self.unmatched.iter().rev()).cloned().collect();
        // Those of the same second stay in their order.
        all.sort_by(|a, b| b.last_at.cmp(&a.last_at));
        all
    }
}

impl Rejects {
    pub fn push(&self, reject: Reject) {
        let mut latest = self.lock();
        latest.count += 1;
        latest.push(reject.cut());
    }

    /// All of them, the latest first.
    pub fn latest(&self) -> Vec<Reject> {
        self.lock().all()
    }

    /// How many there were since the start.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// What of them is kept over a restart, the oldest first.
    pub fn to_keep(&self) -> Vec<Reject> {
        let mut kept = Latest::default();
        self.latest().iter().rev().for_each(|reject| kept.push(reject.to_keep()));
        kept.all().into_iter().rev().collect()
    }

    /// Adds those that were kept, the oldest first, before those that have come since.
    pub fn restore(&self, kept: Vec<Reject>) {
        let mut latest = self.lock();
        let since = latest.all();
        *latest = Latest { count: latest.count, ..Latest::default() };
        kept.into_iter().chain(since.into_iter().rev()).for_each(|reject| latest.push(reject));
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The network of an address; another text as it is.
fn network_of(peer: &str) -> String {
    match peer.parse() {
        Ok(IpAddr::V4(ip)) => {
            format!("{}/{KEPT_BITS_V4}", Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << (u32::BITS - KEPT_BITS_V4))))
        }
        Ok(IpAddr::V6(ip)) => {
            format!("{}/{KEPT_BITS_V6}", Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (u128::BITS - KEPT_BITS_V6))))
        }
        Err(_) => peer.to_owned(),
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

    /// Those that have a count, by their numbers.
    pub fn all(&self) -> Vec<(i64, u64)> {
        let hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hours.iter().filter(|hour| hour.count > 0).map(|hour| (hour.number, hour.count)).collect()
    }

    /// Adds the counts of before, which are older than those that have come since.
    pub fn restore(&self, kept: &[(i64, u64)]) {
        let mut hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, count) in kept {
            let hour = &mut hours[index(*number)];
            if hour.number == *number {
                hour.count += count;
            } else if hour.number < *number {
                *hour = Hour { number: *number, count: *count };
            }
        }
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
    fn the_manual_has_every_reason() {
        let answers = include_str!("../manual/limits.md");
        for (_, word) in RejectReason::ALL {
            assert!(answers.contains(&format!("`{word}`")), "limits.md: {word}");
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
    fn what_is_kept_has_no_address_and_no_path_of_a_source_and_comes_back() {
        let before = Rejects::default();
        before.push(Reject { peer: "2001:db8:1:2::3".to_owned(), ..reject(None, "/webhooks/gitub", 1) });
        before.push(reject(Some("a"), "/webhooks/a", 2));
        before.push(Reject { peer: "203.0.113.77".to_owned(), ..reject(Some("a"), "/webhooks/a", 3) });
        let kept = before.to_keep();
        let found: Vec<_> = kept.iter().map(|it| (it.path.as_str(), it.peer.as_str(), it.count)).collect();
        assert_eq!(found, [("/webhooks/gitub", "2001:db8:1::/48", 1), ("", "203.0.113.0/24", 2)]);

        let after = Rejects::default();
        after.push(reject(Some("a"), "/webhooks/a", 4));
        after.restore(kept.clone());
        let found: Vec<_> = after.latest().iter().map(|it| (it.peer.clone(), it.count)).collect();
        let expected = [("203.0.113.9", 1), ("203.0.113.0/24", 2), ("2001:db8:1::/48", 1)];
        assert_eq!(found, expected.map(|(peer, count)| (peer.to_owned(), count)));
        assert_eq!(after.count(), 1, "those of before were stored already");
        let again: Vec<u64> = after.to_keep().iter().map(|it| it.count).collect();
        assert_eq!(again, [1, 3], "restarts do not make more of them");
    }

    #[test]
    fn the_counts_of_hours_come_back_unless_a_day_has_passed() {
        let hours = Hours::default();
        let at = |hour: i64| Timestamp::from_unix_ms(hour * HOUR_MS + 1);
        hours.add(at(124));
        hours.restore(&[(100, 7), (123, 2), (124, 3)]);
        assert_eq!([100, 123, 124].map(|hour| hours.get(at(hour))), [0, 2, 4]);
        assert_eq!(hours.all().iter().map(|(_, count)| count).sum::<u64>(), 6);
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
