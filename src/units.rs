//! Sizes and durations as people write them.

use std::time::Duration;

/// The units of size, largest first: [`size_text`] uses the first that divides.
const SIZE_UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
    ("", 1),
];

/// The largest unit of a duration: months and years have no fixed length.
const DAY_S: u64 = 24 * 60 * 60;

/// Reads `25MiB`, `64 KiB`, `1MB`, `512B` or `512`, in bytes. Case does not matter. `Err` says what to write.
pub fn parse_size(text: &str) -> Result<u64, String> {
    size_bytes(text.trim()).ok_or_else(|| {
        format!("{text:?} is not a size; write a whole number with KiB, MiB, GiB, KB, MB, GB or B, such as \"25MiB\"")
    })
}

fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A size rounded for people: two or three digits, in KiB, MiB or GiB.
pub fn round_size_text(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) if bytes < 10 * size => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        Some((unit, size)) => format!("{} {unit}", bytes / size),
        None => format!("{bytes} B"),
    }
}

/// A size in the largest unit that divides it; [`parse_size`] reads it back.
pub fn size_text(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// Reads `90d`, `10m`, `1h 30m` or `500ms`. `Err` says what to write.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        format!("{text:?} is not a duration; write numbers with units, such as \"500ms\", \"30s\", \"10m\" or \"90d\"")
    })
}

/// A duration that [`parse_duration`] reads back.
pub fn duration_text(duration: Duration) -> String {
    let (days, rest) = (duration.as_secs() / DAY_S, duration.as_secs() % DAY_S);
    if days > 0 && rest == 0 && duration.subsec_nanos() == 0 {
        return format!("{days}d");
    }
    humantime::format_duration(duration).to_string()
}

/// How long something has lasted, rounded down for people: `12 s`, `5 min`, `3 h`, `2 days`.
pub fn age_text(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / DAY_S),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        let cases = [
            ("25MiB", 26_214_400),
            ("64 KiB", 65_536),
            ("1MB", 1_000_000),
            ("512B", 512),
            ("512", 512),
            ("2gib", 2 << 30),
            (" 1 kb ", 1_000),
            ("0", 0),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text:?}");
        }
    }

    #[test]
    fn refuses_invalid_sizes() {
        for text in ["", "MiB", "25 M", "25MiBs", "-1", "1.5MiB", "1 2MiB", "99999999999999999999", "99999999999GiB"] {
            assert!(
                parse_size(text).is_err_and(|error| error.starts_with(&format!("{text:?} is not a size; "))),
                "{text:?}"
            );
        }
    }

    #[test]
    fn writes_sizes_that_read_the_same() {
        for (bytes, text) in [(26_214_400, "25MiB"), (1_000_000, "1MB"), (1_536, "1536B"), (2 << 30, "2GiB"), (0, "0B")]
        {
            assert_eq!(size_text(bytes), text);
            assert_eq!(parse_size(text), Ok(bytes));
        }
    }

    #[test]
    fn reads_and_writes_durations() {
        let day = Duration::from_secs(86_400);
        assert_eq!(parse_duration("90d"), Ok(90 * day));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration_text(Duration::from_secs(5_400)), "1h 30m");
    }

    #[test]
    fn an_age_is_rounded_down() {
        for (seconds, text) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_199, "119 min"), (172_800, "2 days")] {
            assert_eq!(age_text(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_duration_needs_its_unit() {
        for text in ["", "5", "5 parsecs", "-5s"] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.starts_with(&format!("{text:?} is not a duration; ")), "{error}");
        }
    }
}
