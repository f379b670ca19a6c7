//! How providers write the time at which a delivery was signed.

use super::keyword::keywords;
use crate::clock::Timestamp;

/// Milliseconds until the year 33658; a longer number is not a time.
const MAX_DIGITS: usize = 15;

keywords! {
    pub enum TimestampFormat {
        Seconds = "s",
        Millis = "ms",
        Rfc3339 = "rfc3339",
    }
}

impl TimestampFormat {
    pub fn read(self, text: &str) -> Option<Timestamp> {
        if self == TimestampFormat::Rfc3339 {
            return Timestamp::parse(text).filter(|_| has_offset(text));
        }
        let is_number = text.len() <= MAX_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: i64 = text.parse().ok().filter(|_| is_number)?;
        let unit_ms = if self == TimestampFormat::Seconds { 1000 } else { 1 };
        number.checked_mul(unit_ms).map(Timestamp::from_unix_ms)
    }

    pub fn write(self, at: Timestamp) -> String {
        match self {
            TimestampFormat::Seconds => at.unix_ms().div_euclid(1000).to_string(),
            TimestampFormat::Millis => at.unix_ms().to_string(),
            TimestampFormat::Rfc3339 => at.to_string().replace("+00:00", "Z"),
        }
    }

    /// Unix milliseconds of `at`, as precisely as this format can write it: otherwise a timestamp in whole seconds could be
    /// too old because of a fraction.
    pub fn truncated_ms(self, at: Timestamp) -> i64 {
        if self == TimestampFormat::Seconds { at.unix_ms().div_euclid(1000) * 1000 } else { at.unix_ms() }
    }
}

/// Whether the text ends with an offset, as RFC 3339 demands. If it were optional, its characters could be moved to the
/// signed text that follows the timestamp.
fn has_offset(text: &str) -> bool {
    text.ends_with('Z') || matches!(text.as_bytes(), [.., b'+' | b'-', _, _, b':', _, _])
}
