//! Verification by a declarative scheme: where the signature is, what it signs, and how old it may be.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::algorithm::{Algorithm, Encoding};
use super::error::{VerifyError, require};
use super::format::{Format, Inputs, Variable};
use super::key::KeyEncoding;
use super::parts::{Absent, Parts};
use super::selector::Selector;
use super::timestamp::TimestampFormat;
use crate::charset::Charset;
use crate::clock::{Timestamp, millis};
use crate::secret::Secret;

/// How many signatures of one delivery are tried. During a change of secrets, providers send two or three.
const MAX_CANDIDATES: usize = 16;

/// From 2001 to 2286 a number of seconds has ten digits, and one of milliseconds thirteen. Where nothing separates a
/// timestamp from the text that follows it, only a fixed length keeps a forger from moving digits between the two.
const FIXED_LENGTH_MS: RangeInclusive<i64> = 1_000_000_000_000..=9_999_999_999_999;

const AUTHORIZATION: &str = "Authorization";

/// How a source's deliveries are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    pub alg: Algorithm,
    pub sig: Selector,
    /// Separates the items of a signature header that is a list.
    pub split: Option<String>,
    /// Precedes each signature. Items without it are something else.
    pub prefix: String,
    /// What may precede it in place of that.
    pub other_prefixes: Vec<String>,
    /// Whether the prefix is the operator's and not the preset's.
    pub has_own_prefix: bool,
    pub enc: Encoding,
    pub signed: Format,
    pub ts: Option<Selector>,
    pub timestamp_format: TimestampFormat,
    /// Whether a delivery without a timestamp may be of any age.
    pub ts_optional: bool,
    /// The greatest age of a delivery; `None`: any.
    pub tolerance: Option<Duration>,
    /// How far in the future its timestamp may be; `None`: any distance.
    pub tolerance_future: Option<Duration>,
    pub key: KeyEncoding,
    /// The prefix by which the provider marks the key.
    pub key_strip: String,
}

impl Scheme {
    /// The key in a secret as the provider shows it. `Err` tells the operator what it should look like.
    pub fn key(&self, secret: &Secret) -> Result<Secret, String> {
        self.key.decode(secret, self.alg, &self.key_strip)
    }

    /// Whether the fields are consistent. `Err` has the config key that is wrong, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |key, why: &str| Err((key, why.to_owned()));
        if matches!(self.sig, Selector::Item(_)) {
            return wrong("sig", "the signature cannot be an item of itself; write where it is");
        }
        if self.signed.has(Variable::Ts) && self.ts.is_none() {
            return wrong("ts", "missing; the signed text has {ts}: write where the timestamp is");
        }
        if matches!(self.ts, Some(Selector::Item(_))) && self.split.is_none() {
            return wrong("split", "missing; ts is an item of the signature header: write what separates them");
        }
        if self.alg != Algorithm::Token && self.signed.is_constant() {
            return wrong("signed", "it is the same for every delivery; write what is signed, such as {body}");
        }
        for (key, tolerance) in [("tolerance", self.tolerance), ("tolerance_future", self.tolerance_future)] {
            if tolerance.is_some() && self.ts.is_none() {
                return wrong(key, &format!("there is no timestamp; write ts, or remove {key}"));
            }
        }
        if self.alg == Algorithm::Sha256 && !self.signed.has(Variable::Secret) {
            return wrong("signed", "a plain hash proves nothing without {secret} in it");
        }
        Ok(())
    }

    /// The position of the key that matches.
    pub fn verify(&self, keys: &[Secret], inputs: &Inputs<'_>, now: Timestamp) -> Result<usize, VerifyError> {
        let sig = inputs.parts.chosen(&self.sig);
        let header = require(&inputs.parts, sig)?;
        let items = self.items(&header);
        // Unless the timestamp is signed, it is read only after the signature has been verified: it may be in the body.
        let signed_ts = if self.signed.has(Variable::Ts) { self.signed_ts(&inputs.parts, &items)? } else { None };
        let candidates = self.candidates(sig, &items, inputs.parts.charset(sig))?;
        // A known hash can be extended without the secret, but only with padding, which is never UTF-8.
        if self.alg == Algorithm::Sha256 && std::str::from_utf8(inputs.parts.body).is_err() {
            return Err(VerifyError::Mismatch);
        }
        let inputs = Inputs { ts: signed_ts.as_deref(), ..*inputs };
        let position = self.matching_key(keys, &inputs, &candidates)?;
        if self.tolerance.is_some() || self.tolerance_future.is_some() {
            let ts = match signed_ts {
                None => self.unsigned_ts(&inputs.parts, &items)?,
                signed => signed,
            };
            ts.map_or(Ok(()), |ts| self.check_age(&ts, now))?;
        }
        Ok(position)
    }

    /// Whether every delivery has a timestamp that is signed, and is refused when it is too old.
    pub fn bounds_age(&self) -> bool {
        self.tolerance.is_some() && !self.ts_optional && self.signed.has(Variable::Ts)
    }

    fn items<'v>(&self, header: &'v str) -> Vec<&'v str> {
        match &self.split {
            Some(separator) => header.split(separator.as_str()).map(str::trim).collect(),
            None => vec![header],
        }
    }

    fn candidates(&self, sig: &Selector, items: &[&str], charset: Charset) -> Result<Vec<Vec<u8>>, VerifyError> {
        let texts = items.iter().filter_map(|item| self.without_prefix(sig, item)).filter(|text| !text.is_empty());
        let decode = |text: &str| match self.alg {
            Algorithm::Token => Some(charset.bytes(text).into_owned()),
            _ => self.enc.decode(text),
        };
        let candidates: Vec<Vec<u8>> = texts.filter_map(decode).take(MAX_CANDIDATES).collect();
        if candidates.is_empty() { Err(VerifyError::Unreadable(sig.to_string())) } else { Ok(candidates) }
    }

    /// What precedes a signature at this place. A preset's prefix of a token is an authentication scheme, which only the
    /// header `Authorization` has.
    pub fn prefix_at(&self, place: &Selector) -> &str {
        let is_elsewhere = self.alg == Algorithm::Token && !is_authorization(place);
        if is_elsewhere && !self.has_own_prefix { "" } else { &self.prefix }
    }

    fn without_prefix<'v>(&self, sig: &Selector, item: &'v str) -> Option<&'v str> {
        let prefix = self.prefix_at(sig);
        match sig {
            // The authentication scheme is case-insensitive (RFC 9110, section 11.1).
            place if self.alg == Algorithm::Token && is_authorization(place) => {
                let (word, rest) = item.split_at_checked(prefix.len())?;
                word.eq_ignore_ascii_case(prefix).then_some(rest)
            }
            // In a URL a token has no prefix.
            Selector::Query(_) => Some(item.strip_prefix(prefix).unwrap_or(item)),
            _ => {
                let mut prefixes = std::iter::once(prefix).chain(self.other_prefixes.iter().map(String::as_str));
                prefixes.find_map(|prefix| item.strip_prefix(prefix))
            }
        }
    }

    fn matching_key(&self, keys: &[Secret], inputs: &Inputs<'_>, candidates: &[Vec<u8>]) -> Result<usize, VerifyError> {
        // HubSpot's documentation decodes the URL, and its libraries do not.
        let with_raw_url = self.signed.with_raw_url();
        for signed in std::iter::once(&self.signed).chain(&with_raw_url) {
            // With the secret in it, the message is another one for each key.
            let shared = if signed.has_secret() { None } else { Some(message(signed, inputs)?) };
            for (position, key) in keys.iter().enumerate() {
                let own;
                let message = match &shared {
                    Some(shared) => shared,
                    None => {
                        own = message(signed, &Inputs { secret: Some(key.as_bytes()), ..*inputs })?;
                        &own
                    }
                };
                if self.alg.accepts(key.as_bytes(), message, candidates) {
                    return Ok(position);
                }
            }
        }
        Err(VerifyError::Mismatch)
    }

    /// A signed timestamp must be valid, and of fixed length where only its length tells where it ends.
    fn signed_ts(&self, parts: &Parts<'_>, items: &[&str]) -> Result<Option<String>, VerifyError> {
        let Some(ts) = self.find_ts(parts, items)? else { return Ok(None) };
        let signed_at = self.read_ts(&ts)?;
        let is_whole = self.signed.is_ts_delimited() || FIXED_LENGTH_MS.contains(&signed_at.unix_ms());
        if is_whole { Ok(Some(ts)) } else { Err(self.bad_timestamp()) }
    }

    /// The timestamp of a delivery whose signature is right.
    fn unsigned_ts(&self, parts: &Parts<'_>, items: &[&str]) -> Result<Option<String>, VerifyError> {
        match self.find_ts(parts, items) {
            Err(VerifyError::NoTimestamp(_)) if self.ts_optional => Ok(None),
            found => found,
        }
    }

    fn find_ts(&self, parts: &Parts<'_>, items: &[&str]) -> Result<Option<String>, VerifyError> {
        match &self.ts {
            None => Ok(None),
            Some(Selector::Item(prefix)) => {
                let mut found = items.iter().filter_map(|item| item.strip_prefix(prefix.as_str()));
                let ts = found.next().filter(|ts| !ts.is_empty());
                let ts = ts.ok_or_else(|| VerifyError::NoTimestamp(format!("{prefix} in {}", self.sig)))?;
                if found.next().is_some() {
                    Err(VerifyError::Repeated(prefix.clone()))
                } else {
                    Ok(Some(ts.to_owned()))
                }
            }
            Some(selector) => match parts.only(selector) {
                Ok(ts) => Ok(Some(ts.into_owned())),
                Err(Absent::Missing) => Err(VerifyError::NoTimestamp(selector.to_string())),
                Err(absent) => Err(VerifyError::absent(selector, absent)),
            },
        }
    }

    fn read_ts(&self, ts: &str) -> Result<Timestamp, VerifyError> {
        self.timestamp_format.read(ts).ok_or_else(|| self.bad_timestamp())
    }

    fn bad_timestamp(&self) -> VerifyError {
        VerifyError::BadTimestamp(self.ts.as_ref().map(Selector::to_string).unwrap_or_default())
    }

    /// A delivery of exactly the tolerated age is accepted.
    fn check_age(&self, ts: &str, now: Timestamp) -> Result<(), VerifyError> {
        let signed_at = self.read_ts(ts)?;
        if !now.is_plausible() {
            return Err(VerifyError::ClockNotSet);
        }
        let age_ms = self.timestamp_format.truncated_ms(now) - signed_at.unix_ms();
        match (self.tolerance, self.tolerance_future) {
            (Some(tolerance), _) if age_ms > millis(tolerance) => Err(VerifyError::TooOld { age_ms, tolerance }),
            (_, Some(tolerance)) if -age_ms > millis(tolerance) => {
                Err(VerifyError::TooNew { ahead_ms: -age_ms, tolerance })
            }
            _ => Ok(()),
        }
    }
}

fn message<'a>(signed: &'a Format, inputs: &Inputs<'a>) -> Result<Vec<Cow<'a, [u8]>>, VerifyError> {
    signed.bytes(inputs).map_err(|(name, absent)| VerifyError::absent(name, absent))
}

fn is_authorization(place: &Selector) -> bool {
    matches!(place, Selector::Header(name) if name.eq_ignore_ascii_case(AUTHORIZATION))
}
