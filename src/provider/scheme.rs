//! Verification by a declarative scheme: where the signature is, what it is made of, and how old it may be.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Refusal;
use super::format::{Format, Inputs};
use super::selector::{Absent, Parts, Selector};
use crate::clock::Timestamp;
use crate::digest::{self, Hash};
use crate::secret::Secret;

/// How many signatures of one delivery are tried. While a secret is changed, providers send two or three.
const MAX_CANDIDATES: usize = 16;

/// As above, where each is tried on the whole message anew.
const MAX_PUBLIC_KEY_CANDIDATES: usize = 4;

/// Milliseconds until the year 33658. More digits are no time.
const MAX_TIMESTAMP_DIGITS: usize = 15;

/// From 2001 to 2286 a number of seconds has ten digits, and one of milliseconds thirteen. Where nothing stands between a
/// timestamp and what follows it, a timestamp of these years leaves nobody a digit to shift from one to the other.
const TEN_DIGITS: RangeInclusive<i64> = 1_000_000_000_000..=9_999_999_999_999;

/// What stands before the point in a P-256 public key (SubjectPublicKeyInfo, RFC 5480).
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// An uncompressed point of P-256 and its tag.
const P256_POINT_BYTES: usize = 65;

const ED25519_KEY_BYTES: usize = 32;

const AUTHORIZATION: &str = "Authorization";

/// One way to verify, ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    pub alg: Algorithm,
    pub sig: Selector,
    /// What separates the items of a signature header that is a list.
    pub split: Option<String>,
    /// What a signature stands behind. Items without it are something else.
    pub prefix: String,
    pub enc: Encoding,
    pub signed: Format,
    pub ts: Option<Selector>,
    pub ts_unit: Unit,
    /// Whether a delivery without one may be of any age; only where the timestamp is in what is signed anyway.
    pub ts_optional: bool,
    /// How old a delivery may be; `None`: of any age.
    pub tolerance: Option<Duration>,
    /// How far in the future it may be; `None`: as far as it likes.
    pub tolerance_future: Option<Duration>,
    pub key: KeyEncoding,
    /// What the provider puts before the key to show what it is.
    pub key_strip: String,
}

/// A closed set of words, as they are written in a config.
pub trait Keyword: Copy + PartialEq + 'static {
    const ALL: &'static [(Self, &'static str)];

    fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(word, _)| *word == self).map_or("", |(_, text)| text)
    }

    /// `Err` names what there is.
    fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, known)| *known == text).map(|(word, _)| *word);
        let known = || Self::ALL.iter().map(|(_, text)| *text).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| format!("{text:?} is unknown; write one of: {}", known()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    HmacSha1,
    HmacSha256,
    HmacSha512,
    /// A plain hash, of a text in which the secret is.
    Sha256,
    /// The secret itself.
    Token,
    Ed25519,
    EcdsaP256Sha256,
}

impl Keyword for Algorithm {
    const ALL: &'static [(Algorithm, &'static str)] = &[
        (Algorithm::HmacSha1, "hmac-sha1"),
        (Algorithm::HmacSha256, "hmac-sha256"),
        (Algorithm::HmacSha512, "hmac-sha512"),
        (Algorithm::Sha256, "sha256"),
        (Algorithm::Token, "token"),
        (Algorithm::Ed25519, "ed25519"),
        (Algorithm::EcdsaP256Sha256, "ecdsa-p256-sha256"),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// In any case.
    Hex,
    /// Strict, with padding.
    Base64,
}

impl Keyword for Encoding {
    const ALL: &'static [(Encoding, &'static str)] = &[(Encoding::Hex, "hex"), (Encoding::Base64, "base64")];
}

/// The unit of a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Millis,
    Rfc3339,
}

impl Keyword for Unit {
    const ALL: &'static [(Unit, &'static str)] =
        &[(Unit::Seconds, "s"), (Unit::Millis, "ms"), (Unit::Rfc3339, "rfc3339")];
}

/// How the provider shows the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEncoding {
    /// Its text is the key.
    Utf8,
    Base64,
    Hex,
}

impl Keyword for KeyEncoding {
    const ALL: &'static [(KeyEncoding, &'static str)] =
        &[(KeyEncoding::Utf8, "utf8"), (KeyEncoding::Base64, "base64"), (KeyEncoding::Hex, "hex")];
}

impl Encoding {
    fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Encoding::Hex => digest::unhex(text),
            Encoding::Base64 => digest::unbase64(text),
        }
    }

    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            Encoding::Hex => digest::hex(bytes),
            Encoding::Base64 => digest::base64(bytes),
        }
    }
}

impl Algorithm {
    /// The tag that whoever has the key would make; `None` where only the provider's private key can, or where the secret
    /// itself is the proof.
    pub fn tag(self, key: &[u8], message: &[Cow<'_, [u8]>]) -> Option<Vec<u8>> {
        match self {
            Algorithm::HmacSha1 => Some(digest::hmac(Hash::Sha1, key, message)),
            Algorithm::HmacSha256 => Some(digest::hmac(Hash::Sha256, key, message)),
            Algorithm::HmacSha512 => Some(digest::hmac(Hash::Sha512, key, message)),
            Algorithm::Sha256 => Some(digest::sha256(message)),
            Algorithm::Token => Some(key.to_vec()),
            Algorithm::Ed25519 | Algorithm::EcdsaP256Sha256 => None,
        }
    }

    /// Whether any of the candidates proves that the owner of the key has made the message.
    fn accepts(self, key: &[u8], message: &[Cow<'_, [u8]>], candidates: &[Vec<u8>]) -> bool {
        if let Some(tag) = self.tag(key, message) {
            return candidates.iter().any(|candidate| digest::equal(&tag, candidate));
        }
        let message = message.concat();
        candidates.iter().take(MAX_PUBLIC_KEY_CANDIDATES).any(|candidate| match self {
            Algorithm::Ed25519 => digest::ed25519_verifies(key, &message, candidate),
            _ => digest::p256_verifies(key, &message, candidate),
        })
    }
}

impl Scheme {
    /// The key in a secret as the provider shows it. `Err` tells the operator what it should look like.
    pub fn key(&self, secret: &Secret) -> Result<Secret, String> {
        let bytes = secret.as_bytes();
        // White space around a key that is written in letters is nobody's intention.
        let bytes = if self.key == KeyEncoding::Utf8 { bytes } else { bytes.trim_ascii() };
        let bytes = bytes.strip_prefix(self.key_strip.as_bytes()).unwrap_or(bytes);
        let text = || std::str::from_utf8(bytes).ok();
        let key = match self.key {
            KeyEncoding::Utf8 => Some(bytes.to_vec()),
            KeyEncoding::Base64 => text().and_then(digest::unbase64_key),
            KeyEncoding::Hex => text().and_then(digest::unhex),
        };
        let key = match self.alg {
            Algorithm::Ed25519 => key.filter(|key| key.len() == ED25519_KEY_BYTES),
            Algorithm::EcdsaP256Sha256 => key.as_deref().and_then(p256_point),
            _ => key,
        };
        key.and_then(Secret::new)
            .ok_or_else(|| format!("it is not {}; copy it as the provider shows it", self.wanted()))
    }

    fn wanted(&self) -> String {
        let written = match self.key {
            KeyEncoding::Utf8 => "text",
            KeyEncoding::Base64 => "base64",
            KeyEncoding::Hex => "hexadecimal",
        };
        let behind = if self.key_strip.is_empty() { String::new() } else { format!(" behind {}", self.key_strip) };
        match self.alg {
            Algorithm::Ed25519 => format!("an Ed25519 public key (32 bytes in {written}{behind})"),
            Algorithm::EcdsaP256Sha256 => format!("a P-256 public key ({written}{behind})"),
            _ => format!("{written}{behind}"),
        }
    }

    /// Whether the keys fit each other. `Err` has the key and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if matches!(self.sig, Selector::Item(_)) {
            return Err(("sig", "the signature is no item of itself; write where it is".to_owned()));
        }
        if self.signed.needs_ts() && self.ts.is_none() {
            return Err(("ts", "missing; the signed text has {ts}: write where the timestamp is".to_owned()));
        }
        if matches!(self.ts, Some(Selector::Item(_))) && self.split.is_none() {
            return Err((
                "split",
                "missing; ts is an item of the signature header: write what separates them".to_owned(),
            ));
        }
        if self.alg != Algorithm::Token && self.signed.is_constant() {
            return Err((
                "signed",
                "it is the same for every delivery; write what is signed, such as {body}".to_owned(),
            ));
        }
        for (key, tolerance) in [("tolerance", self.tolerance), ("tolerance_future", self.tolerance_future)] {
            if tolerance.is_some() && self.ts.is_none() {
                return Err((key, format!("there is no timestamp; write ts, or take {key} out")));
            }
        }
        if self.alg == Algorithm::Sha256 && !self.signed.needs_secret() {
            return Err(("signed", "a plain hash proves nothing without {secret} in it".to_owned()));
        }
        Ok(())
    }

    /// The position of the key that matches.
    pub fn verify(&self, keys: &[Secret], scope: &Inputs<'_>, now: Timestamp) -> Result<usize, Refusal> {
        let sig = self.sig.chosen(&scope.parts);
        let value = only(&scope.parts, sig)?;
        let items = self.items(&value);
        // What is signed decides when the timestamp is looked for: before the signature is checked only the header is read.
        let early = if self.signed.needs_ts() { self.find_ts(&scope.parts, &items)? } else { None };
        if let Some(ts) = &early {
            self.check_form(ts)?;
        }
        let candidates = self.candidates(sig, &items)?;
        // A plain hash can be continued by whoever has seen one, but only behind padding, which is never UTF-8.
        if self.alg == Algorithm::Sha256 && std::str::from_utf8(scope.parts.body).is_err() {
            return Err(Refusal::Mismatch);
        }
        let scope = Inputs { ts: early.as_deref(), ..*scope };
        let position = self.matching(keys, &scope, &candidates)?;
        if self.tolerance.is_some() || self.tolerance_future.is_some() {
            let ts = match early {
                Some(ts) => Some(ts),
                None => self.find_late_ts(&scope.parts, &items)?,
            };
            self.check_age(ts.as_deref(), now)?;
        }
        Ok(position)
    }

    fn items<'v>(&self, value: &'v str) -> Vec<&'v str> {
        match &self.split {
            Some(separator) => value.split(separator.as_str()).map(str::trim).collect(),
            None => vec![value],
        }
    }

    fn candidates(&self, sig: &Selector, items: &[&str]) -> Result<Vec<Vec<u8>>, Refusal> {
        let texts = items.iter().filter_map(|item| self.without_prefix(sig, item));
        let texts = texts.filter(|text| !text.is_empty());
        let decode = |text: &str| match self.alg {
            Algorithm::Token => Some(text.as_bytes().to_vec()),
            _ => self.enc.decode(text),
        };
        let candidates: Vec<Vec<u8>> = texts.filter_map(decode).take(MAX_CANDIDATES).collect();
        if candidates.is_empty() { Err(Refusal::Unreadable(sig.to_string())) } else { Ok(candidates) }
    }

    fn without_prefix<'v>(&self, sig: &Selector, item: &'v str) -> Option<&'v str> {
        let prefix = self.prefix.as_str();
        match sig {
            // How credentials are meant is a word in any case (RFC 9110, section 11.1).
            Selector::Header(name) if self.alg == Algorithm::Token && name.eq_ignore_ascii_case(AUTHORIZATION) => {
                let (word, rest) = item.split_at_checked(prefix.len())?;
                word.eq_ignore_ascii_case(prefix).then_some(rest)
            }
            // In an address a token stands alone.
            Selector::Query(_) => Some(item.strip_prefix(prefix).unwrap_or(item)),
            _ => item.strip_prefix(prefix),
        }
    }

    fn matching(&self, keys: &[Secret], scope: &Inputs<'_>, candidates: &[Vec<u8>]) -> Result<usize, Refusal> {
        // HubSpot's documentation and its libraries differ in whether an address is decoded.
        let as_it_is = self.signed.with_url_as_it_is();
        for signed in std::iter::once(&self.signed).chain(&as_it_is) {
            if let Some(position) = self.position(signed, keys, scope, candidates)? {
                return Ok(position);
            }
        }
        Err(Refusal::Mismatch)
    }

    fn position(
        &self,
        signed: &Format,
        keys: &[Secret],
        scope: &Inputs<'_>,
        candidates: &[Vec<u8>],
    ) -> Result<Option<usize>, Refusal> {
        if !signed.varies_by_secret() {
            let message = message(signed, scope)?;
            let accepts = |key: &Secret| self.alg.accepts(key.as_bytes(), &message, candidates);
            return Ok(keys.iter().position(accepts));
        }
        for (position, key) in keys.iter().enumerate() {
            let message = message(signed, &Inputs { secret: Some(key.as_bytes()), ..*scope })?;
            if self.alg.accepts(key.as_bytes(), &message, candidates) {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    fn find_ts(&self, parts: &Parts<'_>, items: &[&str]) -> Result<Option<String>, Refusal> {
        match &self.ts {
            None => Ok(None),
            Some(Selector::Item(prefix)) => {
                let mut found = items.iter().filter_map(|item| item.strip_prefix(prefix.as_str()));
                let ts = found.next().filter(|ts| !ts.is_empty());
                let ts = ts.ok_or_else(|| Refusal::NoTimestamp(format!("{prefix} in {}", self.sig)))?;
                if found.next().is_some() { Err(Refusal::Repeated(prefix.clone())) } else { Ok(Some(ts.to_owned())) }
            }
            Some(selector) => match parts.only(selector) {
                Ok(ts) => Ok(Some(ts.into_owned())),
                Err(Absent::Missing) => Err(Refusal::NoTimestamp(selector.to_string())),
                Err(absent) => Err(refusal(selector.to_string(), absent)),
            },
        }
    }

    /// The timestamp of a delivery whose signature is right.
    fn find_late_ts(&self, parts: &Parts<'_>, items: &[&str]) -> Result<Option<String>, Refusal> {
        match self.find_ts(parts, items) {
            Err(Refusal::NoTimestamp(_)) if self.ts_optional => Ok(None),
            found => found,
        }
    }

    /// A timestamp that is signed must be one, and of known length where only its length tells where it ends.
    fn check_form(&self, ts: &str) -> Result<(), Refusal> {
        let signed_at = self.ts_unit.read(ts).ok_or_else(|| self.bad_timestamp())?;
        let is_whole = self.signed.sets_ts_apart() || TEN_DIGITS.contains(&signed_at.unix_ms());
        if is_whole { Ok(()) } else { Err(self.bad_timestamp()) }
    }

    fn bad_timestamp(&self) -> Refusal {
        Refusal::BadTimestamp(self.ts.as_ref().map(Selector::to_string).unwrap_or_default())
    }

    /// The edges are within: a delivery of exactly that age is taken.
    fn check_age(&self, ts: Option<&str>, now: Timestamp) -> Result<(), Refusal> {
        let Some(ts) = ts else { return Ok(()) };
        let signed_at = self.ts_unit.read(ts).ok_or_else(|| self.bad_timestamp())?;
        if !now.is_plausible() {
            return Err(Refusal::ClockNotSet);
        }
        let age_ms = self.ts_unit.round(now) - signed_at.unix_ms();
        match (self.tolerance, self.tolerance_future) {
            (Some(tolerance), _) if age_ms > millis(tolerance) => Err(Refusal::TooOld { age_ms, tolerance }),
            (_, Some(tolerance)) if -age_ms > millis(tolerance) => {
                Err(Refusal::TooNew { ahead_ms: -age_ms, tolerance })
            }
            _ => Ok(()),
        }
    }
}

impl Unit {
    fn read(self, text: &str) -> Option<Timestamp> {
        if self == Unit::Rfc3339 {
            return Timestamp::parse(text).filter(|_| names_offset(text));
        }
        let is_number = text.len() <= MAX_TIMESTAMP_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: i64 = text.parse().ok().filter(|_| is_number)?;
        Some(Timestamp::from_unix_ms(if self == Unit::Seconds { number.checked_mul(1000)? } else { number }))
    }

    /// Now, as exactly as the provider would tell it: a whole second is not too old for the part of one that has passed.
    fn round(self, now: Timestamp) -> i64 {
        if self == Unit::Seconds { now.unix_ms().div_euclid(1000) * 1000 } else { now.unix_ms() }
    }

    pub fn write(self, at: Timestamp) -> String {
        match self {
            Unit::Seconds => at.unix_ms().div_euclid(1000).to_string(),
            Unit::Millis => at.unix_ms().to_string(),
            Unit::Rfc3339 => at.to_string().replace("+00:00", "Z"),
        }
    }
}

/// Whether the text ends as RFC 3339 demands. What may be left out would let somebody move it over to what is signed behind.
fn names_offset(text: &str) -> bool {
    text.ends_with('Z') || matches!(text.as_bytes(), [.., b'+' | b'-', _, _, b':', _, _])
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The point in a public key that comes as SubjectPublicKeyInfo, as providers show it.
fn p256_point(key: &[u8]) -> Option<Vec<u8>> {
    key.strip_prefix(&P256_SPKI_PREFIX).filter(|point| point.len() == P256_POINT_BYTES).map(<[u8]>::to_vec)
}

fn message<'a>(signed: &'a Format, scope: &Inputs<'a>) -> Result<Vec<Cow<'a, [u8]>>, Refusal> {
    signed.bytes(scope).map_err(|(name, absent)| refusal(name, absent))
}

pub(super) fn only<'a>(parts: &Parts<'a>, selector: &Selector) -> Result<Cow<'a, str>, Refusal> {
    parts.only(selector).map_err(|absent| refusal(selector.to_string(), absent))
}

pub(super) fn refusal(name: String, absent: Absent) -> Refusal {
    match absent {
        Absent::Missing => Refusal::Missing(name),
        Absent::Repeated => Refusal::Repeated(name),
        Absent::TooLarge => Refusal::TooLarge(name),
    }
}
