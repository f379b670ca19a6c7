//! The reasons for which a delivery is rejected: a table of status, texts, counter and kind of log line.

use std::borrow::Cow;

use log::Level;

use crate::clock::Timestamp;
use crate::http::client::Client;
use crate::log::rate_limited;
use crate::metrics::{Metrics, Reject, RejectReason, SourceCounts};
use crate::provider::VerifyError;

/// After a 503: long enough for a full disk to be noticed, short enough for a held lock.
pub(super) const RETRY_AFTER: (&str, &str) = ("Retry-After", "30");

/// The sender does not learn whether it is missing or wrong.
const UNVERIFIED: &str = "signature missing or wrong";

/// Why a delivery is not acknowledged.
#[derive(Debug)]
pub(super) enum Rejection {
    NoSuchSource,
    WrongMethod {
        allow: String,
    },
    Malformed(&'static str),
    /// Compressed, and larger than any body may be.
    TooLarge,
    /// Compressed by a method that is not known.
    UnknownEncoding,
    Unverified(VerifyError),
    HandshakeRefused,
    /// The provider has not sent the secret, or the operator has not configured it.
    NoSecretYet,
    /// It came from elsewhere, as this shows, and the source takes only local deliveries.
    NotLocal(String),
    /// The source does not accept this address.
    NotAllowed,
    /// It could not be stored; the provider should send it again.
    NotStored,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) status: u16,
    /// The reason under which it is counted. `None` where the sender did nothing wrong.
    pub(super) reason: Option<RejectReason>,
    /// For the sender: one short line that leaks nothing.
    pub(super) line: &'static str,
    /// The kind of log line, for rate limiting.
    pub(super) kind: &'static str,
    /// For the operator.
    pub(super) detail: Cow<'a, str>,
    pub(super) header: Option<(&'static str, &'a str)>,
}

/// A request that was rejected, by the receiver or by the gate.
pub(super) struct Rejected<'a> {
    /// `None` where there is no source at the path.
    pub(super) source: Option<&'a SourceCounts>,
    /// Empty where it is not known.
    pub(super) path: &'a str,
    pub(super) client: Client,
    pub(super) reason: RejectReason,
    pub(super) kind: &'static str,
    pub(super) detail: &'a str,
}

impl Rejected<'_> {
    pub(super) fn note(&self, metrics: &Metrics, now: Timestamp) {
        self.source.map_or(&metrics.unmatched, |source| &source.rejects).of(self.reason).add(1);
        metrics.hours.add(now);
        metrics.rejects.push(Reject {
            source: self.source.map(|source| source.name.clone()),
            path: self.path.to_owned(),
            reason: self.reason,
            kind: self.kind,
            text: self.detail.to_owned(),
            peer: self.client.to_string(),
            first_at: now.to_string(),
            last_at: now.to_string(),
            count: 1,
        });
        let path = if self.path.is_empty() { "a request" } else { self.path };
        let line = format_args!("rejected {path} from {}: {}", self.client, self.detail);
        rate_limited(Level::Warn, self.source.map_or("", |source| &source.name), self.kind, line);
    }
}

impl<'a> Row<'a> {
    /// A row whose texts are all `line`.
    fn new(status: u16, reason: RejectReason, line: &'static str) -> Row<'a> {
        Row { status, reason: Some(reason), line, kind: line, detail: line.into(), header: None }
    }

    /// A row for a failure on our side.
    fn retry_later(line: &'static str) -> Row<'a> {
        Row { status: 503, reason: None, line, kind: line, detail: line.into(), header: Some(RETRY_AFTER) }
    }

    fn logged(self, kind: &'static str, detail: impl Into<Cow<'a, str>>) -> Row<'a> {
        Row { kind, detail: detail.into(), ..self }
    }

    fn with_header(self, name: &'static str, value: &'a str) -> Row<'a> {
        Row { header: Some((name, value)), ..self }
    }
}

impl Rejection {
    pub(super) fn row(&self) -> Row<'_> {
        use RejectReason as Reason;
        match self {
            Rejection::NoSuchSource => Row::new(404, Reason::NoSuchSource, "no such source"),
            Rejection::WrongMethod { allow } => {
                let row = Row::new(405, Reason::WrongMethod, "wrong method");
                row.logged("wrong method", format!("the method is not one of {allow}")).with_header("Allow", allow)
            }
            Rejection::Malformed(what) => Row::new(400, Reason::Malformed, what),
            Rejection::TooLarge => Row::new(413, Reason::TooLarge, "too large")
                .logged("too large", "the body is larger than max_body when decompressed"),
            // RFC 9110, section 15.5.16.
            Rejection::UnknownEncoding => {
                let row = Row::new(415, Reason::ContentEncoding, "the content encoding is not supported");
                let detail = "only gzip is known: let the sender send that, or none (Content-Encoding)";
                row.logged("content encoding", detail).with_header("Accept-Encoding", "gzip")
            }
            Rejection::Unverified(error @ VerifyError::ClockNotSet) => {
                Row::retry_later("cannot be judged now").logged(error.kind(), error.to_string())
            }
            Rejection::Unverified(error @ VerifyError::TooLarge(_)) => {
                Row::new(413, Reason::TooLarge, "too large to be verified").logged(error.kind(), error.to_string())
            }
            Rejection::Unverified(error) => {
                Row::new(401, reason_of(error), UNVERIFIED).logged(error.kind(), error.to_string())
            }
            Rejection::HandshakeRefused => Row::new(403, Reason::Handshake, "refused").logged(
                "handshake refused",
                "it is not a handshake as it should be: see verify_token and allowed_origins in [sources.NAME]",
            ),
            Rejection::NoSecretYet => Row::new(401, Reason::NoSecret, UNVERIFIED).logged(
                "no secret yet",
                "the source has no secret yet: set it to the token that the provider has sent",
            ),
            Rejection::NotLocal(sign) => {
                Row::new(403, Reason::Forwarded, "this source takes deliveries of its own machine only").logged(
                    "forwarded",
                    format!("it came from elsewhere ({sign}), and this source verifies nothing: give it a secret"),
                )
            }
            Rejection::NotAllowed => Row::new(403, Reason::NotAllowed, "forbidden").logged(
                "address not allowed",
                "this address is not in the source's allow (behind a proxy, trusted_proxies must name the proxy)",
            ),
            Rejection::NotStored => Row::retry_later("cannot be stored now"),
        }
    }
}

fn reason_of(error: &VerifyError) -> RejectReason {
    match error {
        VerifyError::Missing(_) => RejectReason::SignatureMissing,
        VerifyError::NoTimestamp(_)
        | VerifyError::BadTimestamp(_)
        | VerifyError::TooOld { .. }
        | VerifyError::TooNew { .. } => RejectReason::Timestamp,
        _ => RejectReason::SignatureWrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the manual says of it.
    fn cause(rejection: &Rejection) -> &'static str {
        match rejection {
            Rejection::NoSuchSource => "no such source",
            Rejection::WrongMethod { .. } => "wrong method",
            Rejection::Malformed(_) => "malformed JSON, form or gzip",
            Rejection::TooLarge => "larger than `max_body`, also when decompressed",
            Rejection::UnknownEncoding => "a `Content-Encoding` other than gzip",
            Rejection::Unverified(VerifyError::ClockNotSet) => "the clock is not set",
            Rejection::Unverified(VerifyError::TooLarge(_)) => "what can be signed in sorted order",
            Rejection::Unverified(_) => "the signature is missing or wrong",
            Rejection::HandshakeRefused => "an invalid handshake",
            Rejection::NoSecretYet => "the source has no secret yet",
            Rejection::NotLocal(_) => "[from elsewhere]",
            Rejection::NotAllowed => "not in the source's `allow`",
            Rejection::NotStored => "cannot be stored now",
        }
    }

    #[test]
    fn the_manual_has_each_rejection_with_its_cause() {
        let manual = include_str!("../manual/limits.md").replace("\n  ", " ");
        let rejections = [
            Rejection::NoSuchSource,
            Rejection::WrongMethod { allow: "POST".into() },
            Rejection::Malformed("the body is not gzip"),
            Rejection::TooLarge,
            Rejection::UnknownEncoding,
            Rejection::Unverified(VerifyError::ClockNotSet),
            Rejection::Unverified(VerifyError::TooLarge(String::new())),
            Rejection::Unverified(VerifyError::Mismatch),
            Rejection::HandshakeRefused,
            Rejection::NoSecretYet,
            Rejection::NotLocal(String::new()),
            Rejection::NotAllowed,
            Rejection::NotStored,
        ];
        for rejection in rejections {
            let row = rejection.row();
            let status = format!("- **{}**", row.status);
            let is_in = |line: &str| line.starts_with(&status) && line.contains(cause(&rejection));
            assert!(manual.lines().any(is_in), "limits.md: {status}: {}", cause(&rejection));
            let header = row.header.map_or(String::new(), |(name, _)| format!("`{name}"));
            let reason = row.reason.map_or(String::new(), |reason| format!("`{}`", reason.label()));
            let has_both = |line: &str| line.contains(&header) && line.contains(&reason);
            assert!(manual.lines().any(|line| is_in(line) && has_both(line)), "limits.md: {status} {header} {reason}");
        }
    }

    #[test]
    fn while_the_clock_is_not_set_the_sender_is_told_to_retry_and_not_called_a_forger() {
        let rejection = Rejection::Unverified(VerifyError::ClockNotSet);
        assert_eq!(rejection.row().status, 503);
        assert!(rejection.row().header.is_some_and(|(name, _)| name == "Retry-After"));
        assert_eq!(Rejection::Unverified(VerifyError::Mismatch).row().status, 401);
    }
}
