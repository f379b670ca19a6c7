//! Keeps strangers from filling the log: of each kind of line the first few are written, the others counted, and the
//! counts told in one line an interval.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// So many show who it is and what is wrong; a mistake in a set-up is seldom made more often in one interval.
const LINES_IN_FULL: u64 = 5;

/// Two lines a minute are readable for as long as a flood lasts.
const INTERVAL: Duration = Duration::from_secs(30);

/// The most frequent kinds, by name. A line that names hundreds of sources is not read.
const MAX_NAMED_KINDS: usize = 10;

/// Lines of each kind in the interval that runs. It holds a few kinds for each configured source.
pub struct Flood {
    kinds: BTreeMap<Kind, Count>,
    /// When the interval began; `None` while nothing comes.
    since: Option<Instant>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    source: String,
    what: &'static str,
}

#[derive(Default)]
struct Count {
    in_full: u64,
    untold: u64,
}

impl Flood {
    pub const fn new() -> Flood {
        Flood { kinds: BTreeMap::new(), since: None }
    }

    /// Whether a line of this kind is to be written. If not, it is counted.
    pub fn admits(&mut self, source: &str, what: &'static str, now: Instant) -> bool {
        self.since.get_or_insert(now);
        let count = self.kinds.entry(Kind { source: source.to_owned(), what }).or_default();
        let is_admitted = count.in_full < LINES_IN_FULL;
        let counter = if is_admitted { &mut count.in_full } else { &mut count.untold };
        *counter += 1;
        is_admitted
    }

    /// What was counted, once the interval is over.
    pub fn summary(&mut self, now: Instant) -> Option<String> {
        let is_over = self.since.is_some_and(|since| now.duration_since(since) >= INTERVAL);
        if is_over { self.close(now) } else { None }
    }

    /// What was counted until now. Another interval begins, in which kinds that were too many are not written at all.
    pub fn close(&mut self, now: Instant) -> Option<String> {
        let since = self.since.take()?;
        self.kinds.retain(|_, count| count.untold > 0);
        if self.kinds.is_empty() {
            return None;
        }
        self.since = Some(now);
        let text = self.tell(now.duration_since(since));
        self.kinds.values_mut().for_each(|count| *count = Count { in_full: LINES_IN_FULL, untold: 0 });
        Some(text)
    }

    fn tell(&self, interval: Duration) -> String {
        let mut kinds: Vec<(&Kind, u64)> = self.kinds.iter().map(|(kind, count)| (kind, count.untold)).collect();
        kinds.sort_by_key(|(_, untold)| std::cmp::Reverse(*untold));
        let (named, others) = kinds.split_at(kinds.len().min(MAX_NAMED_KINDS));
        let mut parts: Vec<String> = named.iter().map(|(kind, untold)| format!("{untold} x {}", kind.name())).collect();
        if !others.is_empty() {
            let untold: u64 = others.iter().map(|(_, untold)| untold).sum();
            parts.push(format!("{untold} of {} other kinds", others.len()));
        }
        format!("in the last {} s also, not written one by one: {}", interval.as_secs(), parts.join(", "))
    }
}

impl Kind {
    fn name(&self) -> String {
        if self.source.is_empty() { self.what.to_owned() } else { format!("{}: {}", self.source, self.what) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: &str = "signature wrong";
    const NO_SUCH: &str = "no such source";

    fn written(flood: &mut Flood, times: u64, source: &str, what: &'static str, now: Instant) -> usize {
        (0..times).filter(|_| flood.admits(source, what, now)).count()
    }

    #[test]
    fn the_first_few_of_each_kind_are_written_and_the_others_told_once() {
        let (mut flood, start) = (Flood::new(), Instant::now());
        assert_eq!(written(&mut flood, 5000, "hub", WRONG, start), 5);
        assert_eq!(written(&mut flood, 12, "", NO_SUCH, start), 5);
        assert_eq!(written(&mut flood, 5, "shop", WRONG, start), 5);
        assert_eq!(flood.summary(start + INTERVAL - Duration::from_millis(1)), None);
        let expected = "in the last 30 s also, not written one by one: 4995 x hub: signature wrong, 7 x no such source";
        assert_eq!(flood.summary(start + INTERVAL).as_deref(), Some(expected));
        assert_eq!(flood.summary(start + INTERVAL), None);
    }

    #[test]
    fn a_flood_that_goes_on_is_one_line_an_interval() {
        let (mut flood, start) = (Flood::new(), Instant::now());
        written(&mut flood, 100, "hub", WRONG, start);
        for interval in 1..10 {
            let now = start + INTERVAL * interval;
            assert!(flood.summary(now).is_some_and(|line| line.contains(" x hub: ")), "{interval}");
            assert_eq!(written(&mut flood, 50, "hub", WRONG, now), 0);
        }
    }

    #[test]
    fn after_a_quiet_interval_lines_are_written_again() {
        let (mut flood, start) = (Flood::new(), Instant::now());
        written(&mut flood, 100, "hub", WRONG, start);
        assert!(flood.summary(start + INTERVAL).is_some());
        assert_eq!(flood.summary(start + 2 * INTERVAL), None);
        assert_eq!(written(&mut flood, 100, "hub", WRONG, start + 2 * INTERVAL), 5);
    }

    #[test]
    fn what_comes_now_and_then_is_always_written_and_nothing_is_kept_of_it() {
        let (mut flood, start) = (Flood::new(), Instant::now());
        for interval in 0..10 {
            let now = start + INTERVAL * interval;
            assert_eq!(flood.summary(now), None);
            assert_eq!(written(&mut flood, 5, "hub", WRONG, now), 5);
        }
        assert_eq!(flood.close(start + 20 * INTERVAL), None);
        assert!(flood.kinds.is_empty() && flood.since.is_none());
    }

    #[test]
    fn a_summary_names_the_most_frequent_kinds_only() {
        let (mut flood, start) = (Flood::new(), Instant::now());
        for source in 0..100 {
            written(&mut flood, LINES_IN_FULL + 1 + source, &format!("s{source}"), WRONG, start);
        }
        let line = flood.close(start).unwrap_or_default();
        assert!(line.contains("100 x s99: ") && line.ends_with(", 4095 of 90 other kinds"), "{line}");
    }
}
