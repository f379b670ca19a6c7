//! What a destination's answer means: whether the job is done, and when to try again.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use ureq::http::{HeaderMap, HeaderName, Response};

use super::success::{self, MAX_ANSWER_BYTES};
use super::{ActionReport, Call, MAX_DETAIL_BYTES, excerpt};
use crate::clock::{self, Timestamp};
use crate::event::Outcome;
use crate::template::{Answer, Expression};

/// Where a JSON answer may say how long to wait, as many chat services do: its place, and the unit in seconds. Matrix, then
/// others.
const WAITS_IN_BODY: [(&str, f64); 3] =
    [("/retry_after_ms", 0.001), ("/retry_after", 1.0), ("/parameters/retry_after", 1.0)];

/// Reads an answer and says what it means.
pub(super) fn report(response: Response<ureq::Body>, condition: Option<&Expression>, call: &Call<'_>) -> ActionReport {
    let status = response.status();
    let headers = response.headers().clone();
    let limit = if condition.is_some() { MAX_ANSWER_BYTES + 1 } else { MAX_DETAIL_BYTES };
    let mut body = Vec::new();
    let read = response.into_body().into_reader().take(limit as u64).read_to_end(&mut body);
    let start = &body[..body.len().min(MAX_DETAIL_BYTES)];
    let wait = wait_in_header(&headers, clock::now()).or_else(|| wait_in_body(start));
    let outcome = outcome_of_status(status.as_u16(), wait);
    let report = ActionReport { outcome, detail: format!("{status} {}", excerpt(start)).trim_end().to_owned() };
    // Otherwise the status decides: a body that breaks off or never ends changes nothing.
    let Some(condition) = condition else { return report };
    let missing = match read {
        Err(error) => Some(format!("the body broke off: {error}")),
        Ok(_) if body.len() > MAX_ANSWER_BYTES => Some(success::too_long("body")),
        Ok(_) => None,
    };
    let headers = headers_by_name(&headers);
    let answer = Answer::Http { status: status.as_u16(), headers, body: success::text(&body, missing) };
    success::Result { answer, report, wait }.judge(condition, call.scope)
}

/// Fields of the same name are one list (RFC 9110, section 5.3).
fn headers_by_name(headers: &HeaderMap) -> BTreeMap<String, String> {
    let values = |name: &HeaderName| {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        values.collect::<Vec<_>>().join(", ")
    };
    headers.keys().map(|name| (name.as_str().to_owned(), values(name))).collect()
}

/// The outcome for a status (RFC 9110, section 15), and how long the destination asks to wait.
///
/// An error of the client (4xx) is final, except those that pass with time: 408, 409, 425 and 429. A redirect is not
/// followed, because requests carry secrets: the config has to name the new address.
fn outcome_of_status(status: u16, wait: Option<Duration>) -> Outcome {
    match (status, wait) {
        (200..=299, _) => Outcome::Success,
        (429 | 503, Some(wait)) => Outcome::Busy { wait },
        (408 | 409 | 425 | 429 | 500.., after) => Outcome::Retry { after },
        _ => Outcome::GiveUp,
    }
}

/// A date is by the destination's clock, which its answer tells.
fn wait_in_header(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    parse_retry_after(text("retry-after")?, text("date").and_then(parse_date).unwrap_or(now))
}

fn parse_date(text: &str) -> Option<Timestamp> {
    let since_1970 = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_unix_ms(i64::try_from(since_1970.as_millis()).ok()?))
}

fn wait_in_body(body: &[u8]) -> Option<Duration> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    WAITS_IN_BODY.into_iter().find_map(|(place, unit_s)| {
        let wait = answer.pointer(place)?;
        let number = wait.as_f64().or_else(|| wait.as_str()?.trim().parse().ok())?;
        duration_of(number * unit_s)
    })
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3). Some servers write parts of a second. A date in the past
/// means no wait.
fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '+') {
        return duration_of(text.parse().ok()?);
    }
    let wait_ms = parse_date(text)?.unix_ms().saturating_sub(now.unix_ms());
    Some(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)))
}

/// A number that does not fit is the longest wait; a negative one asks for nothing.
fn duration_of(seconds: f64) -> Option<Duration> {
    (seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::HeaderValue;

    const RETRY: Outcome = Outcome::Retry { after: None };

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const NOW: Timestamp = Timestamp::from_unix_ms(784_111_777_000);

    #[test]
    fn a_status_says_whether_trying_again_helps() {
        for status in [200, 201, 204, 299] {
            assert_eq!(outcome_of_status(status, None), Outcome::Success, "{status}");
        }
        for status in [408, 409, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(outcome_of_status(status, None), RETRY, "{status}");
        }
        for status in [300, 301, 302, 307, 308, 400, 401, 403, 404, 410, 413, 422, 451] {
            assert_eq!(outcome_of_status(status, Some(Duration::ZERO)), Outcome::GiveUp, "{status}");
        }
    }

    #[test]
    fn only_a_destination_that_is_busy_and_says_how_long_is_waited_for() {
        let wait = Duration::from_secs(7);
        for status in [429, 503] {
            assert_eq!(outcome_of_status(status, Some(wait)), Outcome::Busy { wait }, "{status}");
        }
        for status in [408, 409, 425, 500, 502, 504] {
            assert_eq!(outcome_of_status(status, Some(wait)), Outcome::Retry { after: Some(wait) }, "{status}");
        }
    }

    #[test]
    fn retry_after_is_any_number_of_seconds_or_a_date() {
        for (text, wait_ms) in [
            ("120", 120_000),
            (" 120 ", 120_000),
            ("120.5", 120_500),
            ("0.25", 250),
            (".5", 500),
            ("+3", 3000),
            ("1e2", 100_000),
            ("007", 7000),
            ("0", 0),
            ("Sun, 06 Nov 1994 08:50:37 GMT", 60_000),
            ("Sunday, 06-Nov-94 08:50:37 GMT", 60_000),
            ("Sun Nov  6 08:50:37 1994", 60_000),
            ("Sun, 06 Nov 1994 08:00:00 GMT", 0),
        ] {
            assert_eq!(parse_retry_after(text, NOW), Some(Duration::from_millis(wait_ms)), "{text:?}");
        }
        for huge in ["99999999999999999999", "9".repeat(400).as_str(), "1e999"] {
            assert_eq!(parse_retry_after(huge, NOW), Some(Duration::MAX), "{huge:?}");
        }
        for text in ["soon", "", "-5", "NaN", "inf", "12 minutes", "1,5"] {
            assert_eq!(parse_retry_after(text, NOW), None, "{text:?}");
        }
    }

    #[test]
    fn a_date_is_by_the_clock_of_the_destination() {
        let fields = [("date", "Mon, 07 Nov 1994 08:00:00 GMT"), ("retry-after", "Mon, 07 Nov 1994 08:00:09 GMT")];
        let headers = fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        assert_eq!(wait_in_header(&HeaderMap::from_iter(headers), NOW), Some(Duration::from_secs(9)));
    }

    #[test]
    fn a_json_answer_may_say_how_long_to_wait() {
        for (body, wait_ms) in [
            (r#"{"errcode":"M_LIMIT_EXCEEDED","error":"Too Many Requests","retry_after_ms":2345}"#, Some(2345)),
            (r#"{"message":"You are being rate limited.","retry_after":0.5,"global":false}"#, Some(500)),
            (r#"{"ok":false,"error_code":429,"parameters":{"retry_after":5}}"#, Some(5000)),
            (r#"{"retry_after":"3"}"#, Some(3000)),
            (r#"{"retry_after":-1}"#, None),
            (r#"{"retry_after":null}"#, None),
            (r#"["retry_after"]"#, None),
            ("busy", None),
        ] {
            assert_eq!(wait_in_body(body.as_bytes()), wait_ms.map(Duration::from_millis), "{body}");
        }
    }
}
