//! When a job is tried again: from the attempt just made, its outcome, the policy and a random number.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::Timestamp;
use crate::event::Outcome;

/// More doublings than this are not computed. 2^31 times even a backoff of 100 ms is more than six years, beyond any
/// `backoff_max`, and it still fits the multiplication.
const MAX_DOUBLINGS: u32 = 31;

/// How often, and how patiently, an action is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The longest wait after the first attempt; doubled after each further one.
    pub backoff: Duration,
    /// No wait is longer than this.
    pub backoff_max: Duration,
}

/// Ten attempts over 17 hours on average and at most 33, since the waits are random: long enough for an uplink that is
/// repaired the next morning, short enough that a dead job is noticed within a day or so.
impl Default for Policy {
    fn default() -> Policy {
        Policy { attempts: 10, backoff: Duration::from_secs(5 * 60), backoff_max: Duration::from_secs(12 * 60 * 60) }
    }
}

/// What becomes of a job after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Succeeded,
    RetryIn(Duration),
    Dead,
}

/// Decides what follows the attempt with the number `attempt` (counted from 1). `random` lies between 0 and 1.
pub fn next(policy: &Policy, attempt: u32, outcome: Outcome, random: f64) -> Next {
    match outcome {
        Outcome::Success => Next::Succeeded,
        Outcome::GiveUp => Next::Dead,
        Outcome::Retry { .. } if attempt >= policy.attempts => Next::Dead,
        Outcome::Retry { after } => Next::RetryIn(delay(policy, attempt, after, random)),
    }
}

/// What the status of an answer means (RFC 9110, section 15). `retry_after` is the header field of that name.
///
/// A status that says "you" in place of "me" does not get better by itself, except where it speaks of a moment: 408, 409,
/// 425 and 429. A redirect is not followed, since what is sent carries secrets: the configuration has to name the new place.
pub fn outcome_of_status(status: u16, retry_after: Option<&str>, now: Timestamp) -> Outcome {
    match status {
        200..=299 => Outcome::Success,
        408 | 409 | 425 | 429 | 500.. => Outcome::Retry { after: retry_after.and_then(|text| wait(text, now)) },
        _ => Outcome::GiveUp,
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3). A date that has passed is no wait, and more seconds than can
/// be counted are a long one.
fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let now = Duration::from_millis(u64::try_from(now.unix_ms()).ok()?);
    Some(date.saturating_sub(now))
}

/// Full jitter: anything up to the doubled backoff, so that jobs which failed together do not come back together. What
/// the destination asked for is the least, but no stranger may put a job off for longer than `backoff_max`.
fn delay(policy: &Policy, attempt: u32, after: Option<Duration>, random: f64) -> Duration {
    let jittered = longest_delay(policy, attempt).mul_f64(random.clamp(0.0, 1.0));
    let asked = after.unwrap_or_default();
    jittered.max(asked).min(policy.backoff_max)
}

fn longest_delay(policy: &Policy, attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(MAX_DOUBLINGS);
    policy.backoff.saturating_mul(1 << doublings).min(policy.backoff_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Outcome = Outcome::Retry { after: None };

    fn thirty() -> Policy {
        Policy { backoff: seconds(30), backoff_max: seconds(21_600), ..Policy::default() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn patient() -> Policy {
        Policy { attempts: u32::MAX, ..thirty() }
    }

    #[test]
    fn an_outcome_decides_first() {
        let policy = Policy::default();
        assert_eq!(next(&policy, 1, Outcome::Success, 0.5), Next::Succeeded);
        assert_eq!(next(&policy, policy.attempts, Outcome::Success, 0.5), Next::Succeeded);
        assert_eq!(next(&policy, 1, Outcome::GiveUp, 0.5), Next::Dead);
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        let policy = Policy { attempts: 3, ..thirty() };
        assert_eq!(next(&policy, 2, RETRY, 1.0), Next::RetryIn(seconds(60)));
        assert_eq!(next(&policy, 3, RETRY, 1.0), Next::Dead);
        assert_eq!(next(&policy, 4, RETRY, 1.0), Next::Dead);
    }

    #[test]
    fn the_longest_wait_doubles_up_to_the_maximum() {
        let waits: Vec<u64> = (1..=12).map(|attempt| longest_delay(&patient(), attempt).as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 21600, 21600]);
    }

    #[test]
    fn the_defaults_are_ten_attempts_over_about_a_day() {
        let policy = Policy::default();
        let longest: Duration = (1..policy.attempts).map(|attempt| longest_delay(&policy, attempt)).sum();
        let hours = longest.as_secs_f64() / 3600.0;
        assert_eq!(policy.attempts, 10);
        assert!((16.0..17.0).contains(&(hours / 2.0)) && hours < 34.0, "{hours}");
    }

    #[test]
    fn no_attempt_number_overflows() {
        for attempt in [32, 33, 64, 1000, u32::MAX - 1] {
            assert_eq!(next(&patient(), attempt, RETRY, 1.0), Next::RetryIn(seconds(21_600)));
        }
    }

    #[test]
    fn the_jitter_is_full() {
        assert_eq!(next(&patient(), 1, RETRY, 0.0), Next::RetryIn(Duration::ZERO));
        assert_eq!(next(&patient(), 1, RETRY, 0.5), Next::RetryIn(seconds(15)));
        assert_eq!(next(&patient(), 1, RETRY, 7.0), Next::RetryIn(seconds(30)));
    }

    #[test]
    fn what_the_destination_asks_for_is_the_least_within_the_maximum() {
        let asked = |after, random| next(&patient(), 1, Outcome::Retry { after: Some(seconds(after)) }, random);
        assert_eq!(asked(20, 0.1), Next::RetryIn(seconds(20)));
        assert_eq!(asked(20, 1.0), Next::RetryIn(seconds(30)));
        assert_eq!(asked(1_000_000, 1.0), Next::RetryIn(seconds(21_600)));
    }

    #[test]
    fn a_status_says_whether_trying_again_helps() {
        let outcome = |status| outcome_of_status(status, None, Timestamp::from_unix_ms(0));
        for status in [200, 201, 204, 299] {
            assert_eq!(outcome(status), Outcome::Success, "{status}");
        }
        for status in [408, 409, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(outcome(status), RETRY, "{status}");
        }
        for status in [300, 301, 302, 307, 308, 400, 401, 403, 404, 410, 413, 422, 451] {
            assert_eq!(outcome(status), Outcome::GiveUp, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_unix_ms(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT
        let after = |text| outcome_of_status(503, Some(text), now);
        assert_eq!(after("120"), Outcome::Retry { after: Some(seconds(120)) });
        assert_eq!(after("Sun, 06 Nov 1994 08:50:37 GMT"), Outcome::Retry { after: Some(seconds(60)) });
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Outcome::Retry { after: Some(seconds(0)) });
        assert_eq!(after("99999999999999999999"), Outcome::Retry { after: Some(seconds(u64::MAX)) });
        assert_eq!(after("soon"), RETRY);
        assert_eq!(after(""), RETRY);
        assert_eq!(after("-5"), RETRY);
    }
}
