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
        /// As in the header `Date` (RFC 9110, section 5.6.7), also without the comma and with UTC for GMT.
        Date = "date",
    }
}

impl TimestampFormat {
    pub fn read(self, text: &str) -> Option<Timestamp> {
        if self == TimestampFormat::Date {
            return read_date(text);
        }
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
            TimestampFormat::Date => write_date(at),
        }
    }

    /// Unix milliseconds of `at`, as precisely as this format can write it: otherwise a timestamp in whole seconds could be
    /// too old because of a fraction.
    pub fn truncated_ms(self, at: Timestamp) -> i64 {
        let is_whole = matches!(self, TimestampFormat::Seconds | TimestampFormat::Date);
        if is_whole { at.unix_ms().div_euclid(1000) * 1000 } else { at.unix_ms() }
    }
}

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// `Fri, 08 Sep 2017 11:24:32 GMT`. The day of the week is not looked at.
fn read_date(text: &str) -> Option<Timestamp> {
    let words: Vec<&str> = text.split(' ').collect();
    let [_, day, month, year, time, "GMT" | "UTC"] = words[..] else { return None };
    let month = MONTHS.iter().position(|known| *known == month)? + 1;
    let has_widths = (day.len(), year.len(), time.len()) == (2, 4, 8);
    Timestamp::parse(&format!("{year}-{month:02}-{day}T{time}+00:00")).filter(|_| has_widths)
}

fn write_date(at: Timestamp) -> String {
    let text = at.to_string();
    let day_of_week = DAYS[at.unix_ms().div_euclid(DAY_MS).rem_euclid(7) as usize];
    let parts = (
        text.get(..4),
        text.get(5..7).and_then(|month| month.parse::<usize>().ok()),
        text.get(8..10),
        text.get(11..19),
    );
    let (Some(year), Some(month), Some(day), Some(time)) = parts else { return text };
    format!("{day_of_week}, {day} {} {year} {time} GMT", MONTHS[(month - 1) % MONTHS.len()])
}

/// Whether the text ends with an offset, as RFC 3339 demands. If it were optional, its characters could be moved to the
/// signed text that follows the timestamp.
fn has_offset(text: &str) -> bool {
    text.ends_with('Z') || matches!(text.as_bytes(), [.., b'+' | b'-', _, _, b':', _, _])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_as_it_is_written() {
        let read = |text: &str| TimestampFormat::Date.read(text).map(Timestamp::unix_ms);
        assert_eq!(read("Fri, 08 Sep 2017 11:24:32 GMT"), Some(1_504_869_872_000));
        assert_eq!(read("Fri 08 Sep 2017 11:24:32 UTC"), Some(1_504_869_872_000));
        for wrong in ["Fri, 8 Sep 2017 11:24:32 GMT", "Fri, 08 Sep 2017 11:24:32", "Fri, 08 Sxp 2017 11:24:32 GMT", "x"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let written = TimestampFormat::Date.write(Timestamp::from_unix_ms(1_504_869_872_500));
        assert_eq!(written, "Fri, 08 Sep 2017 11:24:32 GMT");
    }
}
