//! When a job is tried again, decided by the number and the outcome of its last attempt, the policy and a random number.

use std::time::Duration;

use crate::event::Outcome;

/// The most doublings that are computed: 2^31 times a backoff of 100 ms is more than six years, beyond any `backoff_max`,
/// and does not overflow.
const MAX_DOUBLINGS: u32 = 31;

/// The shortest wait for a destination that asks for one, in part of what it has asked for before: it may ask for none, or
/// for the same again and again, and is not sent thousands of requests.
const LEAST_PART: u32 = 10;

/// The same for the first time.
const LEAST_WAIT: Duration = Duration::from_millis(100);

/// How often an action is tried, and how far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The longest wait after the first attempt; doubled after each further one.
    pub backoff: Duration,
    /// The longest wait of all.
    pub backoff_max: Duration,
}

/// Ten attempts over 17 hours on average and 33 at most, since the waits are random: enough for an uplink that is repaired
/// the next morning, while a dead job is noticed within about a day.
impl Default for Policy {
    fn default() -> Policy {
        Policy { attempts: 10, backoff: Duration::from_secs(5 * 60), backoff_max: Duration::from_secs(12 * 60 * 60) }
    }
}

/// How long to wait after the attempt with the number `attempt` (counted from 1); `None`: there is no further one. `random`
/// lies between 0 and 1.
///
/// Full jitter: a random part of the doubled backoff, so that jobs that failed together do not retry together. The wait
/// that the destination asks for is the minimum, up to `backoff_max`.
pub fn delay(policy: &Policy, attempt: u32, outcome: Outcome, random: f64) -> Option<Duration> {
    let after = match outcome {
        Outcome::Retry { after } => after,
        Outcome::Busy { wait } => Some(wait),
        Outcome::Success | Outcome::GiveUp | Outcome::Interrupted => return None,
    };
    if attempt >= policy.attempts {
        return None;
    }
    let jittered = longest_delay(policy, attempt).mul_f64(random.clamp(0.0, 1.0));
    Some(jittered.max(after.unwrap_or_default()).min(policy.backoff_max))
}

/// How long an action waits whose destination asks for `wait`, if that uses up no attempt: `None` once this job has `waited`
/// for `backoff_max` in all.
pub fn hold(policy: &Policy, waited: Duration, wait: Duration) -> Option<Duration> {
    let least = LEAST_WAIT.max(waited / LEAST_PART);
    (waited < policy.backoff_max).then(|| wait.max(least).min(policy.backoff_max))
}

/// The longest time that all waits of a job take together, where its destination asks for none.
pub fn longest(policy: &Policy) -> Duration {
    (1..policy.attempts).map(|attempt| longest_delay(policy, attempt)).sum()
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
    fn success_and_give_up_are_final_at_any_attempt() {
        let policy = Policy::default();
        assert_eq!(delay(&policy, 1, Outcome::Success, 0.5), None);
        assert_eq!(delay(&policy, policy.attempts, Outcome::Success, 0.5), None);
        assert_eq!(delay(&policy, 1, Outcome::GiveUp, 0.5), None);
    }

    #[test]
    fn a_failure_of_the_last_attempt_is_dead() {
        let policy = Policy { attempts: 3, ..thirty() };
        assert_eq!(delay(&policy, 2, RETRY, 1.0), Some(seconds(60)));
        assert_eq!(delay(&policy, 3, RETRY, 1.0), None);
        assert_eq!(delay(&policy, 4, RETRY, 1.0), None);
    }

    #[test]
    fn the_longest_wait_doubles_up_to_the_maximum() {
        let waits: Vec<u64> = (1..=12).map(|attempt| longest_delay(&patient(), attempt).as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 21600, 21600]);
    }

    #[test]
    fn the_defaults_are_ten_attempts_over_about_a_day() {
        let policy = Policy::default();
        let hours = longest(&policy).as_secs_f64() / 3600.0;
        assert_eq!(policy.attempts, 10);
        assert!((16.0..17.0).contains(&(hours / 2.0)) && hours < 34.0, "{hours}");
    }

    #[test]
    fn no_attempt_number_overflows() {
        for attempt in [32, 33, 64, 1000, u32::MAX - 1] {
            assert_eq!(delay(&patient(), attempt, RETRY, 1.0), Some(seconds(21_600)));
        }
    }

    #[test]
    fn the_jitter_is_full() {
        assert_eq!(delay(&patient(), 1, RETRY, 0.0), Some(Duration::ZERO));
        assert_eq!(delay(&patient(), 1, RETRY, 0.5), Some(seconds(15)));
        assert_eq!(delay(&patient(), 1, RETRY, 7.0), Some(seconds(30)));
    }

    #[test]
    fn a_wait_that_the_destination_asks_for_is_free_up_to_backoff_max_in_all() {
        let policy = Policy { backoff_max: seconds(100), ..thirty() };
        assert_eq!(hold(&policy, seconds(0), seconds(7)), Some(seconds(7)));
        assert_eq!(hold(&policy, seconds(99), seconds(50)), Some(seconds(50)));
        assert_eq!(hold(&policy, seconds(0), Duration::MAX), Some(seconds(100)));
        assert_eq!(hold(&policy, seconds(100), seconds(1)), None);
        assert_eq!(delay(&policy, 1, Outcome::Busy { wait: seconds(60) }, 0.0), Some(seconds(60)));
        assert_eq!(delay(&policy, policy.attempts, Outcome::Busy { wait: seconds(60) }, 0.0), None);
    }

    #[test]
    fn a_destination_that_asks_for_no_wait_is_not_asked_thousands_of_times() {
        let (policy, mut waited, mut answers) = (Policy::default(), Duration::ZERO, 0);
        while let Some(wait) = hold(&policy, waited, Duration::ZERO) {
            (waited, answers) = (waited + wait, answers + 1);
        }
        assert!((50..200).contains(&answers), "{answers}");
    }

    #[test]
    fn the_destinations_wait_is_the_minimum_up_to_backoff_max() {
        let asked = |after, random| delay(&patient(), 1, Outcome::Retry { after: Some(seconds(after)) }, random);
        assert_eq!(asked(20, 0.1), Some(seconds(20)));
        assert_eq!(asked(20, 1.0), Some(seconds(30)));
        assert_eq!(asked(1_000_000, 1.0), Some(seconds(21_600)));
    }
}
