//! The gate's own responses, to requests that are not forwarded or not answered, and the reasons for them.

use crate::metrics::RejectReason;
use std::fmt;

/// A budget that is used up is free again once a few requests are stored.
const RETRY_AFTER: &str = "Retry-After: 10\r\n";

/// The interim response to `Expect: 100-continue` (RFC 9110, section 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why the gate responds itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Malformed,
    NotInTime,
    BodyTooLarge,
    UnknownExpectation,
    HeadTooLarge,
    /// The upstream connection was lost after the request may have reached the receiver.
    UpstreamLost,
    Overloaded,
    UpstreamTooSlow,
    UnsupportedVersion,
}

/// A refusal with the rule that the request breaks. The rule is a text of this program; the field is named as the client
/// wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub refusal: Refusal,
    pub rule: &'static str,
    /// The header field, or another part of the request.
    pub field: Option<String>,
}

impl Refusal {
    /// Each with its status, its text for the client and the log, and the reason by which it is counted; in the order of
    /// their declaration.
    pub const TABLE: [(Refusal, &str, &str, RejectReason); 9] = [
        (Refusal::Malformed, "400 Bad Request", "malformed request", RejectReason::Malformed),
        (Refusal::NotInTime, "408 Request Timeout", "request not complete in time", RejectReason::NotInTime),
        (Refusal::BodyTooLarge, "413 Content Too Large", "body too large", RejectReason::TooLarge),
        (
            Refusal::UnknownExpectation,
            "417 Expectation Failed",
            "unknown expectation",
            RejectReason::UnknownExpectation,
        ),
        (
            Refusal::HeadTooLarge,
            "431 Request Header Fields Too Large",
            "request head too large",
            RejectReason::HeadTooLarge,
        ),
        (Refusal::UpstreamLost, "502 Bad Gateway", "no answer", RejectReason::NoAnswer),
        (Refusal::Overloaded, "503 Service Unavailable", "too busy, try again", RejectReason::TooBusy),
        (Refusal::UpstreamTooSlow, "504 Gateway Timeout", "no answer in time", RejectReason::NoAnswer),
        (
            Refusal::UnsupportedVersion,
            "505 HTTP Version Not Supported",
            "HTTP/1.0 and HTTP/1.1 only",
            RejectReason::UnsupportedVersion,
        ),
    ];

    fn status(self) -> &'static str {
        Refusal::TABLE[self as usize].1
    }

    /// The status as a number: `413`.
    pub fn code(self) -> &'static str {
        self.status().split(' ').next().unwrap_or_default()
    }

    pub fn text(self) -> &'static str {
        Refusal::TABLE[self as usize].2
    }

    pub fn reason(self) -> RejectReason {
        Refusal::TABLE[self as usize].3
    }

    /// Whether the client may be an honest one that is still sending a body, and reads the response only afterwards.
    pub fn is_for_a_sender(self) -> bool {
        matches!(self, Refusal::BodyTooLarge | Refusal::Overloaded)
    }

    /// This refusal because of that rule.
    pub fn by(self, rule: &'static str) -> Fault {
        Fault { refusal: self, rule, field: None }
    }

    /// The whole response. It always closes the connection: after a refused request it is unknown where the next one
    /// begins.
    fn to_bytes(self, text: &str) -> Vec<u8> {
        let status = self.status();
        let length = text.len() + 1;
        let retry = if self == Refusal::Overloaded { RETRY_AFTER } else { "" };
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
             {retry}Connection: close\r\n\r\n{text}\n"
        )
        .into_bytes()
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        refusal.by(refusal.text())
    }
}

impl Fault {
    /// The same in this field.
    pub fn in_field(self, name: impl Into<String>) -> Fault {
        Fault { field: Some(name.into()), ..self }
    }

    /// The whole response. It names the rule, because a provider shows its text to the user who set up the webhook, and
    /// nothing that the client has written.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.refusal.to_bytes(&self.rule_text())
    }

    fn rule_text(&self) -> String {
        let text = self.refusal.text();
        if self.rule == text { text.to_owned() } else { format!("{text}: {}", self.rule) }
    }
}

/// For the operator.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rule_text())?;
        self.field.as_ref().map_or(Ok(()), |field| write!(f, " ({field})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_each_refusal_with_its_cause() {
        let manual = include_str!("../manual/limits.md").replace("\n  ", " ");
        let cause = |refusal| match refusal {
            Refusal::Malformed => "malformed HTTP",
            Refusal::NotInTime => "not complete within 10 seconds",
            Refusal::BodyTooLarge => "larger than `max_body`",
            Refusal::UnknownExpectation => "an `Expect` other than `100-continue`",
            Refusal::HeadTooLarge => "larger than 16 KiB, or has more than 64 header fields",
            Refusal::UpstreamLost => "the answer was lost",
            Refusal::Overloaded => "too many connections or bodies",
            Refusal::UpstreamTooSlow => "no answer in time",
            Refusal::UnsupportedVersion => "neither HTTP/1.0 nor HTTP/1.1, such as the beginning of an HTTP/2",
        };
        for (refusal, _, _, reason) in Refusal::TABLE {
            let (code, reason) = (format!("- **{}**", refusal.code()), format!("`{}`", reason.label()));
            let has_all =
                |line: &str| line.starts_with(&code) && line.contains(&reason) && line.contains(cause(refusal));
            assert!(manual.lines().any(has_all), "limits.md: {code} {reason}: {}", cause(refusal));
        }
    }

    #[test]
    fn a_refusal_is_a_complete_response_of_one_line() {
        let expected = "HTTP/1.1 413 Content Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n\
                        Content-Length: 15\r\nConnection: close\r\n\r\nbody too large\n";
        assert_eq!(String::from_utf8_lossy(&Fault::from(Refusal::BodyTooLarge).to_bytes()), expected);
    }

    #[test]
    fn the_operator_learns_the_field_and_the_client_only_the_rule() {
        let fault = Refusal::Malformed.by("sent more than once").in_field("X-A");
        assert_eq!(fault.to_string(), "malformed request: sent more than once (X-A)");
        assert!(fault.to_bytes().ends_with(b"\r\n\r\nmalformed request: sent more than once\n"));
    }

    #[test]
    fn every_refusal_has_a_counter_and_a_status() {
        for (at, (refusal, ..)) in Refusal::TABLE.into_iter().enumerate() {
            assert_eq!((refusal as usize, refusal.code().len()), (at, 3));
        }
    }

    #[test]
    fn only_overload_has_retry_after() {
        let has_retry_after =
            |refusal: Refusal| String::from_utf8_lossy(&Fault::from(refusal).to_bytes()).contains("Retry-After: ");
        assert!(has_retry_after(Refusal::Overloaded));
        assert!(!has_retry_after(Refusal::UpstreamTooSlow));
    }
}
