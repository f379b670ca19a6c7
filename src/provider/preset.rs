//! An entry of the table of presets.

use super::algorithm::{Algorithm, Encoding};
use super::error::VerifyError;
use super::event_types::EventTypes;
use super::format::Inputs;
use super::handshake::{Handshake, Signing};
use super::key::KeyEncoding;
use super::request::{RequestBuilder, SignError};
use super::timestamp::TimestampFormat;
use crate::secret::Secret;

/// A kind of sender. Most fields are named and written as in a config.
#[derive(Debug)]
pub struct Preset {
    pub name: &'static str,
    pub title: &'static str,
    /// The page that the entry was taken from.
    pub docs: &'static str,

    pub alg: Algorithm,
    pub sig: &'static str,
    /// Empty: the signature header is not a list.
    pub split: &'static str,
    pub prefix: &'static str,
    pub enc: Encoding,
    pub signed: &'static str,
    /// Empty: there is no timestamp.
    pub ts: &'static str,
    pub timestamp_format: TimestampFormat,
    pub ts_optional: bool,
    /// 0: not checked.
    pub tolerance_s: u64,
    /// 0: not checked.
    pub tolerance_future_s: u64,
    pub key: KeyEncoding,
    pub key_strip: &'static str,
    /// Replaces the scheme.
    pub custom: Option<CustomScheme>,

    /// The delivery id, stable over the provider's retries: the first of these that has a value. Those that are signed go
    /// first, so that a captured delivery cannot be sent again under another id.
    pub id: &'static [&'static str],
    pub without_id: WithoutId,
    /// The event type: the first of these that has a value.
    pub event: &'static [&'static str],
    pub event_types: EventTypes,
    /// Whether it ever sends forms. If not, a `Content-Type` that claims one is ignored.
    pub forms: bool,
    /// The status that acknowledges a delivery.
    pub status: u16,
    pub handshakes: &'static [Handshake],

    /// What to enter at the provider.
    pub setup: &'static str,
    /// Which answer it expects, and how soon.
    pub answer: &'static str,
    /// What the provider does when a delivery fails: in words, or `none`, `unknown`, [`THE_SENDERS_OWN`].
    pub retries: &'static str,
    /// A test delivery.
    pub sample: Sample,
    /// Those of other event types.
    pub samples: &'static [Sample],
}

/// Verification and signing in code, for what a [`Scheme`](super::Scheme) cannot express.
#[derive(Debug)]
pub struct CustomScheme {
    /// The position of the secret that matches.
    pub verify: fn(&[Secret], &Inputs<'_>) -> Result<usize, VerifyError>,
    pub sign: fn(&Secret, &mut RequestBuilder) -> Result<(), SignError>,
    /// For the operator.
    pub description: &'static str,
    pub signs: Signs,
    pub needs_url: bool,
}

/// What a custom scheme signs of a delivery.
#[derive(Clone, Copy, Debug)]
pub enum Signs {
    /// All of the body.
    Body,
    /// Of the body the values at some places; these are those that the preset reads.
    Values(&'static [&'static str]),
    /// Nothing: the delivery holds the secret itself.
    Nothing,
}

/// How a delivery without an id is identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutId {
    /// By its content, as long as an equal one waits: the provider may retry, or mean the same thing twice.
    Content,
    /// Not at all: each is an event of its own.
    Own,
}

#[derive(Debug)]
pub struct Sample {
    pub event_type: &'static str,
    pub content_type: &'static str,
    pub body: &'static str,
}

pub(super) const MINUTE_S: u64 = 60;
pub(super) const HOUR_S: u64 = 60 * MINUTE_S;

pub(super) const JSON: Sample = Sample { event_type: "ping", content_type: "application/json", body: "{}" };

/// In place of [`Preset::retries`], where the operator's own program sends, or one of any vendor.
pub const THE_SENDERS_OWN: &str = "the sender's own";

/// The values that most providers share: HMAC-SHA256 of the body, in hexadecimal.
pub(super) const BASE: Preset = Preset {
    name: "",
    title: "",
    docs: "",
    alg: Algorithm::HmacSha256,
    sig: "header:X-Signature",
    split: "",
    prefix: "",
    enc: Encoding::Hex,
    signed: "{body}",
    ts: "",
    timestamp_format: TimestampFormat::Seconds,
    ts_optional: false,
    tolerance_s: 0,
    tolerance_future_s: 0,
    key: KeyEncoding::Utf8,
    key_strip: "",
    custom: None,
    id: &[],
    without_id: WithoutId::Content,
    event: &[],
    event_types: EventTypes::Unknown,
    forms: false,
    status: 200,
    handshakes: &[],
    setup: "",
    answer: "2xx",
    retries: "",
    sample: JSON,
    samples: &[],
};

impl Preset {
    /// Whether it is for senders of the operator's own, who decide what they send and expect.
    pub fn is_own_sender(&self) -> bool {
        self.without_id == WithoutId::Own
    }

    /// The test delivery of that event type; where there is none, the first.
    pub fn sample_of(&self, event_type: Option<&str>) -> &Sample {
        let of_type = |event_type: &str| self.samples.iter().find(|sample| sample.event_type == event_type);
        event_type.and_then(of_type).unwrap_or(&self.sample)
    }

    pub fn sends_its_secret(&self) -> bool {
        self.handshakes.iter().any(|handshake| handshake.signing == Signing::SendsSecret)
    }
}
