//! The reasons for which a delivery is rejected: a table of status, texts, counter and kind of log line.

use std::borrow::Cow;

use crate::metrics::RejectReason;
use crate::provider::VerifyError;

/// After a 503: long enough for a full disk to be noticed, short enough for a held lock.
pub(super) const RETRY_AFTER: (&str, &str) = ("Retry-After", "30");

/// The sender does not learn which.
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
    Unverified(VerifyError),
    HandshakeRefused,
    /// The provider has not brought the secret, or the operator has not configured it.
    NoSecretYet,
    /// An unverified source takes nothing that was forwarded.
    NotLocal,
    /// The source takes nothing from this address.
    NotAllowed,
    /// It could not be stored; the provider is to send it again.
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

impl Rejection {
    pub(super) fn row(&self) -> Row<'_> {
        use RejectReason as Reason;
        let row = |status, reason, line, kind, detail: Cow<'static, str>| Row {
            status,
            reason,
            line,
            kind,
            detail,
            header: (status == 503).then_some(RETRY_AFTER),
        };
        let same = |status, reason, line: &'static str| row(status, Some(reason), line, line, line.into());
        match self {
            Rejection::NoSuchSource => same(404, Reason::NoSuchSource, "no such source"),
            Rejection::WrongMethod { allow } => {
                Row { header: Some(("Allow", allow)), ..same(405, Reason::WrongMethod, "wrong method") }
            }
            Rejection::Malformed(what) => same(400, Reason::Malformed, what),
            Rejection::TooLarge => row(
                413,
                Some(Reason::TooLarge),
                "too large",
                "too large",
                "the body is larger than max_body when decompressed".into(),
            ),
            // Our clock cannot check its timestamp: the provider is to send it again.
            Rejection::Unverified(refusal @ VerifyError::ClockNotSet) => {
                row(503, None, "cannot be judged now", refusal.kind(), refusal.to_string().into())
            }
            Rejection::Unverified(refusal) => {
                row(401, Some(reason_of(refusal)), UNVERIFIED, refusal.kind(), refusal.to_string().into())
            }
            Rejection::HandshakeRefused => row(
                403,
                Some(Reason::Handshake),
                "refused",
                "handshake refused",
                "it is not a handshake as it should be: see verify_token and allowed_origins in [sources.NAME]".into(),
            ),
            Rejection::NoSecretYet => row(
                401,
                Some(Reason::NoSecret),
                UNVERIFIED,
                "no secret yet",
                "the source has no secret yet: set it to the token that the provider has sent".into(),
            ),
            Rejection::NotLocal => row(
                403,
                Some(Reason::Forwarded),
                "this source takes no forwarded deliveries",
                "forwarded",
                "it came from elsewhere, and this source verifies nothing: give it a secret".into(),
            ),
            Rejection::NotAllowed => row(
                403,
                Some(Reason::NotAllowed),
                "forbidden",
                "address not allowed",
                "this address is not in the source's allow (behind a proxy, trusted_proxies must name the proxy)"
                    .into(),
            ),
            Rejection::NotStored => {
                let line = "cannot be stored now";
                row(503, None, line, line, line.into())
            }
        }
    }
}

fn reason_of(refusal: &VerifyError) -> RejectReason {
    match refusal {
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

    #[test]
    fn a_clock_that_was_not_set_lets_the_sender_come_again_and_does_not_call_it_a_forger() {
        let rejection = Rejection::Unverified(VerifyError::ClockNotSet);
        assert_eq!(rejection.row().status, 503);
        assert!(rejection.row().header.is_some_and(|(name, _)| name == "Retry-After"));
        assert_eq!(Rejection::Unverified(VerifyError::Mismatch).row().status, 401);
    }
}
