//! Why a delivery is rejected as not genuine.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::parts::{Absent, Parts};
use super::selector::Selector;
use crate::clock::millis;
use crate::units::duration_text;

/// Why a delivery is not genuine, for the operator's log; the sender learns only that it was refused. Texts are selectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyError {
    Missing(String),
    /// An intermediary may have checked another occurrence than we would.
    Repeated(String),
    /// Larger than anything that is signed in this way, so it is not processed.
    TooLarge(String),
    /// Not a signature of the expected form.
    Unreadable(String),
    /// The signature was made with another secret or for other bytes.
    Mismatch,
    /// As above, where the provider signs its own address too: the configured one may differ from the one that it calls.
    MismatchWithUrl,
    /// The signature is right, but the signed content is not acceptable.
    WrongClaim(&'static str),
    /// There is content that the signature does not cover.
    Unsigned(&'static str),
    NoTimestamp(String),
    BadTimestamp(String),
    TooOld {
        age_ms: i64,
        tolerance: Duration,
    },
    TooNew {
        ahead_ms: i64,
        tolerance: Duration,
    },
    /// Our clock cannot tell the age of a timestamp. The sender should retry.
    ClockNotSet,
}

impl VerifyError {
    pub(super) fn absent(selector: impl fmt::Display, absent: Absent) -> VerifyError {
        let selector = selector.to_string();
        match absent {
            Absent::Missing => VerifyError::Missing(selector),
            Absent::Repeated => VerifyError::Repeated(selector),
            Absent::TooLarge => VerifyError::TooLarge(selector),
        }
    }

    /// A few words, by which errors are counted.
    pub fn kind(&self) -> &'static str {
        match self {
            VerifyError::Missing(_) => "signature missing",
            VerifyError::Repeated(_) => "signature repeated",
            VerifyError::TooLarge(_) => "too large to be signed",
            VerifyError::Unreadable(_) => "signature unreadable",
            VerifyError::Mismatch | VerifyError::MismatchWithUrl => "signature wrong",
            VerifyError::WrongClaim(_) => "claim wrong",
            VerifyError::Unsigned(_) => "content not signed",
            VerifyError::NoTimestamp(_) => "timestamp missing",
            VerifyError::BadTimestamp(_) => "timestamp unreadable",
            VerifyError::TooOld { .. } => "timestamp too old",
            VerifyError::TooNew { .. } => "timestamp too new",
            VerifyError::ClockNotSet => "clock not set",
        }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifyError::Missing(what) => write!(f, "{what} is missing: is a secret set at the provider?"),
            VerifyError::Repeated(what) => write!(f, "{what} came more than once"),
            VerifyError::TooLarge(what) => write!(f, "{what} is larger than anything that is signed this way"),
            VerifyError::Unreadable(what) => write!(f, "{what} is not a signature of the expected form"),
            VerifyError::Mismatch => f.write_str("the signature does not match: is it the same secret on both sides?"),
            VerifyError::MismatchWithUrl => f.write_str(
                "the signature does not match; this provider signs the address that it calls: is public_url in \
                 [sources.NAME] that address, character by character, and is it the same secret on both sides?",
            ),
            VerifyError::WrongClaim(what) | VerifyError::Unsigned(what) => f.write_str(what),
            VerifyError::NoTimestamp(selector) => write!(f, "there is no timestamp ({selector})"),
            VerifyError::BadTimestamp(selector) => write!(f, "the timestamp ({selector}) is not valid"),
            VerifyError::TooOld { age_ms, tolerance } => write_age(f, *age_ms, "old", *tolerance, "tolerance"),
            VerifyError::TooNew { ahead_ms, tolerance } => {
                write_age(f, *ahead_ms, "in the future", *tolerance, "tolerance_future")
            }
            VerifyError::ClockNotSet => f.write_str("the clock has not been set, so timestamps cannot be checked"),
        }
    }
}

fn write_age(f: &mut fmt::Formatter<'_>, ms: i64, side: &str, tolerance: Duration, key: &str) -> fmt::Result {
    let excess_ms = ms.saturating_sub(millis(tolerance));
    write!(
        f,
        "the timestamp is {} {side}, {} more than the tolerance ({}): is the clock right? ({key} in \
         [sources.NAME.verify] sets another)",
        seconds_text(ms),
        seconds_text(excess_ms),
        duration_text(tolerance)
    )
}

fn seconds_text(ms: i64) -> String {
    let (whole, rest) = (ms / 1000, ms % 1000);
    if rest == 0 { format!("{whole} s") } else { format!("{whole}.{rest:03} s") }
}

/// The only value that the selector finds.
pub(super) fn require<'a>(parts: &Parts<'a>, selector: &Selector) -> Result<Cow<'a, str>, VerifyError> {
    parts.only(selector).map_err(|absent| VerifyError::absent(selector, absent))
}
