//! The only reader of wall time. Everything that depends on time takes a [`Timestamp`] as an argument.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 2010-01-01. A clock before this date has not been set since power-on: a Raspberry Pi has no battery for it and
/// starts in 1970, or at the date of its last shutdown.
const PLAUSIBLE_FROM: Timestamp = Timestamp { unix_ms: 1_262_304_000_000 };

/// The end of the year 9999, after which RFC 3339 has no form.
const LAST_WRITABLE_MS: i64 = 253_402_300_799_999;

/// How far wall time and elapsed time must drift apart to count as a step. NTP corrects less than that by slewing.
const STEP: Duration = Duration::from_secs(60);

/// How long the clock is not trusted after a step: time to notice that it was set wrong.
const QUARANTINE: Duration = Duration::from_secs(60 * 60);

/// A moment of wall time, in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    unix_ms: i64,
}

/// The wall time now.
pub fn now() -> Timestamp {
    let unix_ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    };
    Timestamp { unix_ms }
}

impl Timestamp {
    pub const fn from_unix_ms(unix_ms: i64) -> Timestamp {
        Timestamp { unix_ms }
    }

    /// Reads what [`Timestamp`]'s `Display` writes, RFC 3339 with any offset, and the other forms of UTC that SQLite and
    /// Python write: a space for the `T`, nothing for `+00:00`. `None` for anything else.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let (local, ahead_of_utc_ms) = split_offset(text)?;
        let time = humantime::parse_rfc3339_weak(local).ok()?;
        let since = time.duration_since(UNIX_EPOCH).ok()?;
        Some(Timestamp { unix_ms: millis(since) - ahead_of_utc_ms })
    }

    pub fn unix_ms(self) -> i64 {
        self.unix_ms
    }

    /// False while the clock cannot have been set: see [`PLAUSIBLE_FROM`].
    pub fn is_plausible(self) -> bool {
        self >= PLAUSIBLE_FROM
    }

    /// The time between two moments, in either order: a clock that was set back must not make an age negative.
    pub fn distance(self, other: Timestamp) -> Duration {
        Duration::from_millis(self.unix_ms.abs_diff(other.unix_ms))
    }

    pub fn plus(self, duration: Duration) -> Timestamp {
        Timestamp { unix_ms: self.unix_ms.saturating_add(millis(duration)) }
    }

    pub fn minus(self, duration: Duration) -> Timestamp {
        Timestamp { unix_ms: self.unix_ms.saturating_sub(millis(duration)) }
    }
}

/// Detects that the clock is set while the program runs.
#[derive(Debug, Default)]
pub struct ClockStepDetector {
    /// Wall time minus elapsed time.
    offset_ms: Option<i64>,
    trusted_from: Duration,
}

impl ClockStepDetector {
    /// Whether something irreversible may depend on `now`: it is plausible, and no step was detected within the last
    /// [`QUARANTINE`]. `elapsed` is monotonic, from a start that stays the same for each call.
    pub fn is_trusted(&mut self, elapsed: Duration, now: Timestamp) -> bool {
        let offset_ms = now.unix_ms.saturating_sub(millis(elapsed));
        let before_ms = *self.offset_ms.get_or_insert(offset_ms);
        if offset_ms.abs_diff(before_ms) > STEP.as_millis().try_into().unwrap_or(u64::MAX) {
            self.offset_ms = Some(offset_ms);
            self.trusted_from = elapsed.saturating_add(QUARANTINE);
        }
        now.is_plausible() && elapsed >= self.trusted_from
    }
}

/// `2025-01-31T12:00:00+00:00`: the form of every time in the database, in whole seconds of UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = Duration::from_millis(self.unix_ms.clamp(0, LAST_WRITABLE_MS).unsigned_abs());
        let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
        write!(f, "{}+00:00", text.trim_end_matches('Z'))
    }
}

/// The local time, and how far it is ahead of UTC, in milliseconds.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    let Some((local, offset)) = text.split_at_checked(text.len().saturating_sub("+00:00".len())) else {
        return Some((text, 0));
    };
    let sign = match offset.as_bytes() {
        [b'+', _, _, b':', ..] => 1,
        [b'-', _, _, b':', ..] => -1,
        _ => return Some((text, 0)),
    };
    if local.ends_with(['Z', 'z']) {
        return None;
    }
    let (hours, minutes) = (two_digits(&offset[1..3], 23)?, two_digits(&offset[4..], 59)?);
    Some((local, sign * (hours * 60 + minutes) * 60_000))
}

fn two_digits(text: &str, max: i64) -> Option<i64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number <= max)
}

/// Whole milliseconds; `i64::MAX` for those that do not fit.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_as_the_older_program_writes_it() {
        assert_eq!(Timestamp::from_unix_ms(1_738_324_800_999).to_string(), "2025-01-31T12:00:00+00:00");
        assert_eq!(Timestamp::from_unix_ms(-1).to_string(), "1970-01-01T00:00:00+00:00");
        assert_eq!(Timestamp::from_unix_ms(i64::MAX).to_string(), "9999-12-31T23:59:59+00:00");
    }

    #[test]
    fn every_form_of_utc_and_every_offset_is_read() {
        let noon = Some(Timestamp::from_unix_ms(1_738_324_800_000));
        for text in ["2025-01-31T12:00:00+00:00", "2025-01-31T12:00:00Z", "2025-01-31 12:00:00"] {
            assert_eq!(Timestamp::parse(text), noon, "{text}");
        }
        for text in ["2025-01-31T13:00:00+01:00", "2025-01-31T06:30:00.000-05:30", "2025-02-01T02:00:00+14:00"] {
            assert_eq!(Timestamp::parse(text), noon, "{text}");
        }
        for text in
            ["", "yesterday", "2025-01-31T12:00:00+24:00", "2025-01-31T12:00:00+0a:00", "2025-01-31T12:00:00Z+01:00"]
        {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_clock_that_was_set_is_not_trusted_for_an_hour() {
        let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
        let at = |hours_: u64| now().plus(hours(hours_));
        let start = now();
        let mut clock = ClockStepDetector::default();
        assert!(clock.is_trusted(hours(0), start));
        assert!(clock.is_trusted(hours(5), start.plus(hours(5))), "an hour took an hour");
        assert!(!clock.is_trusted(hours(6), at(24 * 365)), "a year ahead");
        assert!(!clock.is_trusted(hours(6), start.plus(hours(6))), "and back");
        assert!(!clock.is_trusted(hours(6) + STEP, start.plus(hours(6) + STEP)));
        assert!(clock.is_trusted(hours(7), start.plus(hours(7))));
        let mut in_1970 = ClockStepDetector::default();
        assert!(!in_1970.is_trusted(hours(0), Timestamp::from_unix_ms(60_000)));
        assert!(!in_1970.is_trusted(hours(1), start.plus(hours(1))), "set from 1970 to now");
        assert!(in_1970.is_trusted(hours(2), start.plus(hours(2))));
    }

    #[test]
    fn a_clock_without_battery_is_not_plausible() {
        assert!(!Timestamp::from_unix_ms(86_400_000).is_plausible());
        assert!(now().is_plausible());
    }
}
