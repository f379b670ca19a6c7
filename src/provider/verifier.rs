//! A preset made ready for one source, and what it reads from a request.

use std::time::Duration;

use super::error::VerifyError;
use super::format::{Format, Inputs, Variable};
use super::handshake::{Condition, Handshake, PreparedHandshake};
use super::parts::{Parts, Reading, Values};
use super::preset::Preset;
use super::scheme::Scheme;
use super::selector::Selector;
use crate::clock::Timestamp;
use crate::digest;
use crate::event::MAX_IDENTIFIER_BYTES;
use crate::secret::Secret;

/// A preset with what a source's config overrides.
#[derive(Clone, Debug)]
pub struct Verifier {
    pub preset: &'static Preset,
    pub scheme: Scheme,
    pub id: Vec<Format>,
    pub event: Vec<Format>,
    pub forms: bool,
    pub status: u16,
    /// The address of the source as it was entered at the provider.
    pub public_url: Option<String>,
    pub handshakes: Vec<PreparedHandshake>,
}

/// Verifies a delivery over the bytes as received. Any of `keys` may match, so that they can be rotated; `Ok` has the
/// position of the one that does.
///
/// Pure, and called before anything is parsed that is not needed for verification.
pub fn verify(verifier: &Verifier, keys: &[Secret], parts: &Parts<'_>, now: Timestamp) -> Result<usize, VerifyError> {
    parts.check_alone().map_err(VerifyError::Unsigned)?;
    let id = verifier.scheme.signed.has(Variable::Id).then(|| verifier.raw_id(parts)).flatten();
    let inputs = Inputs { id: id.as_deref(), ..verifier.inputs(*parts) };
    let verified = match &verifier.preset.custom {
        Some(custom) => (custom.verify)(keys, &inputs),
        None => verifier.scheme.verify(keys, &inputs, now),
    };
    verified.map_err(|error| match error {
        VerifyError::Mismatch if verifier.needs_url() => VerifyError::MismatchWithUrl,
        error => error,
    })
}

impl Preset {
    /// The preset without overrides. `Err` names a text of the table that cannot be parsed; a test proves that there is
    /// none.
    pub fn verifier(&'static self) -> Result<Verifier, String> {
        let optional = |text: &'static str| Some(text).filter(|text| !text.is_empty());
        let seconds = |seconds| Some(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs);
        Ok(Verifier {
            preset: self,
            scheme: Scheme {
                alg: self.alg,
                sig: self.sig.parse()?,
                split: optional(self.split).map(str::to_owned),
                prefix: self.prefix.to_owned(),
                other_prefixes: Vec::new(),
                has_own_prefix: false,
                enc: self.enc,
                signed: self.signed.parse()?,
                ts: optional(self.ts).map(str::parse).transpose()?,
                timestamp_format: self.timestamp_format,
                ts_optional: self.ts_optional,
                tolerance: seconds(self.tolerance_s),
                tolerance_future: seconds(self.tolerance_future_s),
                key: self.key,
                key_strip: self.key_strip.to_owned(),
            },
            id: self.id.iter().map(|text| Format::parse_value(text)).collect::<Result<_, _>>()?,
            event: self.event.iter().map(|text| Format::parse_value(text)).collect::<Result<_, _>>()?,
            forms: self.forms,
            status: self.status,
            public_url: None,
            handshakes: self.handshakes.iter().map(Handshake::prepare).collect::<Result<_, _>>()?,
        })
    }
}

impl Verifier {
    pub fn needs_url(&self) -> bool {
        match &self.preset.custom {
            Some(custom) => custom.needs_url,
            None => self.scheme.signed.has_url(),
        }
    }

    /// Whether a handshake needs a value that meets this condition.
    pub fn requires(&self, condition: Condition) -> bool {
        self.handshakes.iter().any(|handshake| handshake.has(condition))
    }

    /// Whether any value that it reads is a field of a form.
    pub fn reads_forms(&self) -> bool {
        let formats = self.id.iter().chain(&self.event).chain([&self.scheme.signed]);
        let mut selectors = formats.flat_map(Format::selectors).chain([&self.scheme.sig]).chain(&self.scheme.ts);
        selectors.any(|selector| selector.places().iter().any(|place| matches!(place, Selector::Form(_))))
    }

    /// The one pass over a body that finds all values that are needed of it: for a handshake, the signature, the id and the
    /// event type. `known` is what it has found before.
    pub fn reading(&self, known: Option<Values>) -> Reading<'_> {
        let formats = self.id.iter().chain(&self.event).chain([&self.scheme.signed]);
        let handshakes = self.handshakes.iter().flat_map(PreparedHandshake::selectors);
        let selectors = formats.flat_map(Format::selectors).chain([&self.scheme.sig]).chain(&self.scheme.ts);
        Reading::new(selectors.chain(handshakes), known)
    }

    /// The provider's id of a delivery, if it has one.
    ///
    /// An id composed of several values may be too long for an identifier though none of them is; its hash is used then.
    pub fn delivery_id(&self, parts: &Parts<'_>) -> Option<String> {
        let (format, id) = self.id.iter().find_map(|format| Some((format, self.read(format, parts)?)))?;
        let is_composed = format.selector().is_none();
        let is_long = id.len() > MAX_IDENTIFIER_BYTES && !id.contains(char::is_control);
        Some(if is_composed && is_long { digest::hex(&digest::sha256(&[&id])) } else { id })
    }

    pub fn event_type(&self, parts: &Parts<'_>) -> Option<String> {
        self.event.iter().find_map(|format| self.read(format, parts))
    }

    /// Why no delivery has this event type, with the one that is probably meant. `None` where one may.
    pub fn event_type_doubt(&self, event_type: &str) -> Option<String> {
        let Preset { title, docs, event_types, sample, .. } = self.preset;
        let is_usual = self.preset.verifier().is_ok_and(|usual| usual.event == self.event);
        if !is_usual || event_types.has(event_type) || event_type == sample.event_type {
            return None;
        }
        let advice = event_types.advice(event_type).unwrap_or_else(|| format!("see {docs}"));
        Some(format!("{title} sends no event type {event_type:?}, as far as is known: {advice}"))
    }

    /// The bytes of the id, as they may be signed: never hashed.
    pub(super) fn raw_id(&self, parts: &Parts<'_>) -> Option<Vec<u8>> {
        self.id.iter().find_map(|format| {
            let charset = format.selector().map(|selector| parts.charset(selector)).unwrap_or_default();
            Some(charset.bytes(self.read(format, parts)?).into_owned())
        })
    }

    fn read(&self, format: &Format, parts: &Parts<'_>) -> Option<String> {
        match format.selector() {
            Some(selector) => parts.first(selector).map(String::from),
            None => format.text(&self.inputs(*parts), |text| Some(text.to_owned())),
        }
    }

    fn inputs<'a>(&'a self, parts: Parts<'a>) -> Inputs<'a> {
        Inputs { url: self.public_url.as_deref(), ..Inputs::of(parts) }
    }
}
