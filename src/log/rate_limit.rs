//! Keeps untrusted clients from filling the log: the first few lines of each kind are written, the others are counted, and
//! one line an interval reports the counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Enough to show the sender and the fault: a mistake in a set-up rarely causes more in one interval.
const MAX_LINES: u64 = 5;

/// Two lines a minute stay readable however long a flood lasts.
const INTERVAL: Duration = Duration::from_secs(30);

/// How many of the most frequent kinds are named: a line with hundreds of names is unreadable.
const MAX_NAMED_KINDS: usize = 10;

/// The lines of each kind in the current interval. There are a few kinds for each configured source.
pub struct RateLimiter {
    /// By source and message.
    kinds: BTreeMap<(String, &'static str), Count>,
    /// The start of the interval; `None` without lines.
    since: Option<Instant>,
}

#[derive(Default)]
struct Count {
    written: u64,
    suppressed: u64,
}

impl RateLimiter {
    pub const fn new() -> RateLimiter {
        RateLimiter { kinds: BTreeMap::new(), since: None }
    }

    /// Counts a line of this kind; true if it is to be written.
    pub fn admit(&mut self, source: &str, what: &'static str, now: Instant) -> bool {
        self.since.get_or_insert(now);
        let count = self.kinds.entry((source.to_owned(), what)).or_default();
        let is_admitted = count.written < MAX_LINES;
        let counter = if is_admitted { &mut count.written } else { &mut count.suppressed };
        *counter += 1;
        is_admitted
    }

    /// The report of suppressed lines, once the interval is over.
    pub fn summary(&mut self, now: Instant) -> Option<String> {
        let is_over = self.since.is_some_and(|since| now.duration_since(since) >= INTERVAL);
        if is_over { self.close(now) } else { None }
    }

    /// The report of suppressed lines until now. Starts an interval in which the kinds that exceeded the limit are not
    /// written at all.
    pub fn close(&mut self, now: Instant) -> Option<String> {
        let since = self.since.take()?;
        self.kinds.retain(|_, count| count.suppressed > 0);
        if self.kinds.is_empty() {
            return None;
        }
        self.since = Some(now);
        let text = self.report(now.duration_since(since));
        self.kinds.values_mut().for_each(|count| *count = Count { written: MAX_LINES, suppressed: 0 });
        Some(text)
    }

    fn report(&self, interval: Duration) -> String {
        let mut kinds: Vec<_> = self.kinds.iter().map(|(kind, count)| (count.suppressed, kind)).collect();
        kinds.sort_by_key(|(suppressed, _)| std::cmp::Reverse(*suppressed));
        let (named, others) = kinds.split_at(kinds.len().min(MAX_NAMED_KINDS));
        let part = |(suppressed, (source, what)): &(u64, &(String, &str))| match source.as_str() {
            "" => format!("{suppressed} x {what}"),
            source => format!("{suppressed} x {source}: {what}"),
        };
        let mut parts: Vec<String> = named.iter().map(part).collect();
        if !others.is_empty() {
            let suppressed: u64 = others.iter().map(|(suppressed, _)| suppressed).sum();
            parts.push(format!("{suppressed} of {} other kinds", others.len()));
        }
        format!("in the last {} s, similar lines suppressed: {}", interval.as_secs(), parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: &str = "signature wrong";
    const NO_SUCH: &str = "no such source";

    fn written(limiter: &mut RateLimiter, times: u64, source: &str, what: &'static str, now: Instant) -> usize {
        (0..times).filter(|_| limiter.admit(source, what, now)).count()
    }

    #[test]
    fn the_first_few_of_each_kind_are_written_and_the_others_reported_once() {
        let (mut limiter, start) = (RateLimiter::new(), Instant::now());
        assert_eq!(written(&mut limiter, 5000, "hub", WRONG, start), 5);
        assert_eq!(written(&mut limiter, 12, "", NO_SUCH, start), 5);
        assert_eq!(written(&mut limiter, 5, "shop", WRONG, start), 5);
        assert_eq!(limiter.summary(start + INTERVAL - Duration::from_millis(1)), None);
        let expected = "in the last 30 s, similar lines suppressed: 4995 x hub: signature wrong, 7 x no such source";
        assert_eq!(limiter.summary(start + INTERVAL).as_deref(), Some(expected));
        assert_eq!(limiter.summary(start + INTERVAL), None);
    }

    #[test]
    fn a_flood_that_goes_on_is_one_line_an_interval() {
        let (mut limiter, start) = (RateLimiter::new(), Instant::now());
        written(&mut limiter, 100, "hub", WRONG, start);
        for interval in 1..10 {
            let now = start + INTERVAL * interval;
            assert!(limiter.summary(now).is_some_and(|line| line.contains(" x hub: ")), "{interval}");
            assert_eq!(written(&mut limiter, 50, "hub", WRONG, now), 0);
        }
    }

    #[test]
    fn after_a_quiet_interval_lines_are_written_again() {
        let (mut limiter, start) = (RateLimiter::new(), Instant::now());
        written(&mut limiter, 100, "hub", WRONG, start);
        assert!(limiter.summary(start + INTERVAL).is_some());
        assert_eq!(limiter.summary(start + 2 * INTERVAL), None);
        assert_eq!(written(&mut limiter, 100, "hub", WRONG, start + 2 * INTERVAL), 5);
    }

    #[test]
    fn occasional_lines_are_always_written_and_leave_nothing_in_memory() {
        let (mut limiter, start) = (RateLimiter::new(), Instant::now());
        for interval in 0..10 {
            let now = start + INTERVAL * interval;
            assert_eq!(limiter.summary(now), None);
            assert_eq!(written(&mut limiter, 5, "hub", WRONG, now), 5);
        }
        assert_eq!(limiter.close(start + 20 * INTERVAL), None);
        assert!(limiter.kinds.is_empty() && limiter.since.is_none());
    }

    #[test]
    fn a_summary_names_the_most_frequent_kinds_only() {
        let (mut limiter, start) = (RateLimiter::new(), Instant::now());
        for source in 0..100 {
            written(&mut limiter, MAX_LINES + 1 + source, &format!("s{source}"), WRONG, start);
        }
        let line = limiter.close(start).unwrap_or_default();
        assert!(line.contains("100 x s99: ") && line.ends_with(", 4095 of 90 other kinds"), "{line}");
    }
}
