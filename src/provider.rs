//! What providers sign, where they put their ids, how they shake hands, and which of their headers carry secrets: a table
//! of presets (`provider/presets.rs`), and one pure function that verifies by them. What no table can say is one small
//! file each. Adding a provider that fits the scheme is one entry of the table.

mod adyen;
mod batch;
mod describe;
mod graph;
pub mod handshake;
mod netlify;
mod presets;
mod redact;
pub mod scheme;
mod selector;
mod sign;
mod format;
mod texts;
mod twilio;
mod unsupported;
mod verification;

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::digest;
use crate::event::MAX_IDENTIFIER_BYTES;
use crate::json::Lookup;
use crate::secret::Secret;
use crate::units::duration_text;

use format::Inputs;
use handshake::{Handshake, PreparedHandshake};
use scheme::{Algorithm, Encoding, KeyEncoding, Scheme, Unit};

pub use describe::{describe, summary, unknown, verified};
pub use format::Format;
pub use presets::{names, preset, presets};
pub use redact::{REDACTED, is_secret_header};
pub use selector::{FORM, Parts, Selector};
pub use sign::{RequestBuilder, SignError, TestDelivery, draft};
pub use texts::text;
pub use unsupported::{UNSUPPORTED, Unsupported, unsupported};
pub use verification::Verification;

/// What is known of one kind of sender: an entry of the table. Texts are in the words of a config.
#[derive(Debug)]
pub struct Preset {
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The page that the entry was taken from.
    pub docs: &'static str,

    pub alg: Algorithm,
    pub sig: &'static str,
    /// Empty: the signature header is no list.
    pub split: &'static str,
    pub prefix: &'static str,
    pub enc: Encoding,
    pub signed: &'static str,
    /// Empty: there is no timestamp.
    pub ts: &'static str,
    pub ts_unit: Unit,
    pub ts_optional: bool,
    /// 0: not checked.
    pub tolerance_s: u64,
    /// 0: not checked.
    pub tolerance_future_s: u64,
    pub key: KeyEncoding,
    pub key_strip: &'static str,
    /// Verifies in place of the scheme.
    pub code: Option<Code>,

    /// The delivery id, stable over the provider's retries: the first of these that yields one.
    pub id: &'static [&'static str],
    pub without_id: WithoutId,
    /// The event type: the first of these that yields one.
    pub event: &'static [&'static str],
    /// Whether it ever sends forms. Where it does not, a `Content-Type` that says so is not believed.
    pub forms: bool,
    /// The answer to what is stored.
    pub status: u16,
    pub handshakes: &'static [Handshake],

    /// What to enter at the provider.
    pub setup: &'static str,
    /// How soon it wants which answer.
    pub answer: &'static str,
    pub retries: &'static str,
    /// The event type and body of a test delivery.
    pub sample: Sample,
}

/// Verification, and the making of a test delivery, that no table can say.
#[derive(Debug)]
pub struct Code {
    /// The position of the secret that matches.
    pub verify: fn(&[Secret], &Inputs<'_>) -> Result<usize, Refusal>,
    pub sign: fn(&Secret, &mut RequestBuilder) -> Result<(), SignError>,
    /// What is verified, in words.
    pub says: &'static str,
    pub needs_url: bool,
}

/// What a delivery without an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutId {
    /// A provider that retries: known by its content for a few minutes.
    Content,
    /// A home-made sender that does not: an event of its own. A doorbell may ring twice.
    Own,
}

/// A delivery to try a set-up with.
#[derive(Debug)]
pub struct Sample {
    pub event_type: &'static str,
    pub content_type: &'static str,
    pub body: &'static str,
}

/// A preset made ready for one source, with what its config overrides.
#[derive(Clone, Debug)]
pub struct Verifier {
    pub preset: &'static Preset,
    pub scheme: Scheme,
    pub id: Vec<Format>,
    pub event: Vec<Format>,
    pub without_id: WithoutId,
    pub forms: bool,
    pub status: u16,
    /// Under which address the provider knows the source.
    pub public_url: Option<String>,
    pub handshakes: Vec<PreparedHandshake>,
}

/// A delivery that is genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Which of the secrets has matched, counted from 0.
    pub secret_position: usize,
}

/// Why a delivery is not genuine. For the operator's log; the sender learns only that it was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What was to be there, as a selector.
    Missing(String),
    /// It came more than once: no telling which one an intermediary looked at.
    Repeated(String),
    /// It is more than is ever signed in that way, and not looked at.
    TooLarge(String),
    /// It does not hold a signature of the expected form.
    Unreadable(String),
    /// The signature was made with another secret or for other bytes.
    Mismatch,
    /// It is genuine in form, and says something else than it should.
    Claim(&'static str),
    /// There is no timestamp where it should be, as a selector.
    NoTimestamp(String),
    /// What is there, is none.
    BadTimestamp(String),
    TooOld {
        age_ms: i64,
        tolerance: Duration,
    },
    TooNew {
        ahead_ms: i64,
        tolerance: Duration,
    },
    /// Our clock cannot judge a timestamp. The sender shall come again.
    ClockNotSet,
}

impl Refusal {
    /// What it is in few words, for where many are counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Refusal::Missing(_) => "signature missing",
            Refusal::Repeated(_) => "signature repeated",
            Refusal::TooLarge(_) => "too large to be signed",
            Refusal::Unreadable(_) => "signature unreadable",
            Refusal::Mismatch => "signature wrong",
            Refusal::Claim(_) => "claim wrong",
            Refusal::NoTimestamp(_) => "timestamp missing",
            Refusal::BadTimestamp(_) => "timestamp unreadable",
            Refusal::TooOld { .. } => "timestamp too old",
            Refusal::TooNew { .. } => "timestamp too new",
            Refusal::ClockNotSet => "clock not set",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Missing(what) => write!(f, "{what} is missing: is a secret set at the provider?"),
            Refusal::Repeated(what) => write!(f, "{what} came more than once"),
            Refusal::TooLarge(what) => write!(f, "{what} would be larger than any that is signed in this way"),
            Refusal::Unreadable(what) => write!(f, "{what} does not hold a signature of the expected form"),
            Refusal::Mismatch => f.write_str("the signature does not match: is it the same secret on both sides?"),
            Refusal::Claim(what) => f.write_str(what),
            Refusal::NoTimestamp(place) => write!(f, "there is no timestamp ({place})"),
            Refusal::BadTimestamp(place) => write!(f, "the timestamp ({place}) is none"),
            Refusal::TooOld { age_ms, tolerance } => write!(
                f,
                "the timestamp is {} old, {} more than the tolerance ({}): is the clock right? (tolerance in \
                 [sources.NAME.verify] sets another)",
                seconds(*age_ms),
                seconds(beyond(*age_ms, *tolerance)),
                duration_text(*tolerance)
            ),
            Refusal::TooNew { ahead_ms, tolerance } => write!(
                f,
                "the timestamp is {} in the future, {} more than the tolerance ({}): is the clock right? \
                 (tolerance_future in [sources.NAME.verify] sets another)",
                seconds(*ahead_ms),
                seconds(beyond(*ahead_ms, *tolerance)),
                duration_text(*tolerance)
            ),
            Refusal::ClockNotSet => f.write_str("the clock has not been set, so a timestamp cannot be judged"),
        }
    }
}

fn beyond(ms: i64, tolerance: Duration) -> i64 {
    ms.saturating_sub(i64::try_from(tolerance.as_millis()).unwrap_or(i64::MAX))
}

fn seconds(ms: i64) -> String {
    let (whole, rest) = (ms / 1000, ms % 1000);
    if rest == 0 { format!("{whole} s") } else { format!("{whole}.{rest:03} s") }
}

/// Verifies a delivery over the bytes as received. Any of `keys` may match, so that they can be rotated.
///
/// Pure, and called before anything is parsed that is not itself a part of the proof.
pub fn verify(verifier: &Verifier, keys: &[Secret], parts: &Parts<'_>, now: Timestamp) -> Result<Verified, Refusal> {
    let id = verifier.scheme.signed.needs_id().then(|| verifier.id_as_given(parts)).flatten();
    let scope = Inputs { id: id.as_deref(), ..verifier.scope(*parts) };
    let secret_position = match &verifier.preset.code {
        Some(code) => (code.verify)(keys, &scope),
        None => verifier.scheme.verify(keys, &scope, now),
    }?;
    Ok(Verified { secret_position })
}

impl Preset {
    /// The preset as it stands, without anybody's overrides. `Err` names a text of the table that cannot be read; a test
    /// proves that there is none.
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
                enc: self.enc,
                signed: self.signed.parse()?,
                ts: optional(self.ts).map(str::parse).transpose()?,
                ts_unit: self.ts_unit,
                ts_optional: self.ts_optional,
                tolerance: seconds(self.tolerance_s),
                tolerance_future: seconds(self.tolerance_future_s),
                key: self.key,
                key_strip: self.key_strip.to_owned(),
            },
            id: self.id.iter().map(|text| value(text)).collect::<Result<_, _>>()?,
            event: self.event.iter().map(|text| value(text)).collect::<Result<_, _>>()?,
            without_id: self.without_id,
            forms: self.forms,
            status: self.status,
            public_url: None,
            handshakes: self.handshakes.iter().map(Handshake::prepare).collect::<Result<_, _>>()?,
        })
    }

    /// Whether the provider itself brings the secret, in a handshake: until then there is none.
    pub fn brings_its_secret(&self) -> bool {
        self.handshakes.iter().any(|handshake| !handshake.tell.is_empty())
    }
}

/// Where an id or a type is: a selector, or several in a template.
pub fn value(text: &str) -> Result<Format, String> {
    if text.contains('{') { text.parse() } else { text.parse().map(Format::value) }
}

impl Verifier {
    pub fn needs_url(&self) -> bool {
        match &self.preset.code {
            Some(code) => code.needs_url,
            None => self.scheme.signed.needs_url(),
        }
    }

    /// Whether any value of it is in a field of a form.
    pub fn reads_forms(&self) -> bool {
        let templates = self.id.iter().chain(&self.event).chain([&self.scheme.signed]);
        let mut selectors = templates.flat_map(Format::selectors).chain([&self.scheme.sig]).chain(&self.scheme.ts);
        selectors.any(|selector| selector.places().iter().any(|place| matches!(place, Selector::Form(_))))
    }

    /// The values that id and event type may need of the JSON.
    pub fn lookups(&self) -> impl Iterator<Item = Lookup<'_>> {
        self.id.iter().chain(&self.event).flat_map(Format::selectors).flat_map(Selector::lookups)
    }

    /// True if the value of a header of that name must not be stored or shown.
    pub fn is_secret_header(&self, name: &str) -> bool {
        let is_token = self.scheme.alg == Algorithm::Token;
        is_secret_header(name) || is_token && redact::is_in_header(&self.scheme.sig, name)
    }

    /// The provider's id of a delivery, if it came with one.
    ///
    /// One put together from several values may be longer than any identifier, though none of them is: its hash is as good.
    pub fn delivery_id(&self, parts: &Parts<'_>) -> Option<String> {
        let (template, id) = self.id.iter().find_map(|value| Some((value, self.read(value, parts)?)))?;
        let is_made = template.selector().is_none();
        let is_long = id.len() > MAX_IDENTIFIER_BYTES && !id.contains(char::is_control);
        Some(if is_made && is_long { digest::hex(&digest::sha256(&[&id])) } else { id })
    }

    fn id_as_given(&self, parts: &Parts<'_>) -> Option<String> {
        self.id.iter().find_map(|value| self.read(value, parts))
    }

    pub fn event_type(&self, parts: &Parts<'_>) -> Option<String> {
        self.event.iter().find_map(|value| self.read(value, parts))
    }

    fn read(&self, value: &Format, parts: &Parts<'_>) -> Option<String> {
        match value.selector() {
            Some(selector) => parts.first(selector).map(String::from),
            None => value.text(&self.scope(*parts), |text| Some(text.to_owned())),
        }
    }

    fn scope<'a>(&'a self, parts: Parts<'a>) -> Inputs<'a> {
        Inputs { url: self.public_url.as_deref(), ..Inputs::of(parts) }
    }
}

#[cfg(test)]
mod tests;
