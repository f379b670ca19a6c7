//! The table of providers, by what they are for. An entry lists what differs from [`BASE`](super::preset::BASE). Times and
//! retries that could not be confirmed are marked.

mod chat;
mod forges;
mod generic;
mod money;
mod ops;
mod standard;
mod work;

use super::preset::Preset;

static TABLES: [&[Preset]; 7] =
    [forges::PRESETS, standard::PRESETS, money::PRESETS, chat::PRESETS, work::PRESETS, ops::PRESETS, generic::PRESETS];

/// All presets, in the order of the tables.
pub fn presets() -> impl Iterator<Item = &'static Preset> {
    TABLES.into_iter().flatten()
}

pub fn preset(name: &str) -> Option<&'static Preset> {
    presets().find(|preset| preset.name == name)
}
