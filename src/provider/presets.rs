//! The table of providers, by what they are for. Each entry names the page it was taken from; what it does not say is as
//! in [`BASE`]. Times and retries that nobody could confirm say so.

mod chat;
mod forges;
mod generic;
mod money;
mod ops;
mod standard;
mod work;

use super::scheme::{Algorithm, Encoding, KeyEncoding, Unit};
use super::{FORM, Preset, Sample, WithoutId};

const JSON: Sample = Sample { event_type: "ping", content_type: "application/json", body: "{}" };

/// What most providers do: HMAC-SHA256 of the body, in hexadecimal.
const BASE: Preset = Preset {
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
    ts_unit: Unit::Seconds,
    ts_optional: false,
    tolerance_s: 0,
    tolerance_future_s: 0,
    key: KeyEncoding::Utf8,
    key_strip: "",
    code: None,
    id: &[],
    without_id: WithoutId::Content,
    forms: false,
    event: &[],
    status: 200,
    handshakes: &[],
    setup: "",
    answer: "",
    retries: "",
    sample: JSON,
};

static TABLES: [&[Preset]; 7] =
    [forges::PRESETS, standard::PRESETS, money::PRESETS, chat::PRESETS, work::PRESETS, ops::PRESETS, generic::PRESETS];

/// All presets, in the order of the tables.
pub fn presets() -> impl Iterator<Item = &'static Preset> {
    TABLES.into_iter().flatten()
}

/// The preset of that name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    presets().find(|preset| preset.name == name)
}

/// The names of all presets.
pub fn names() -> impl Iterator<Item = &'static str> {
    presets().map(|preset| preset.name)
}
