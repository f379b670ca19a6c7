//! The table of providers. Each entry names the page it was taken from.

use super::{Preset, Selector, Signature, sample};

static PRESETS: &[Preset] = &[
    // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    // https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers
    Preset {
        name: "github",
        signature: Signature { header: "X-Hub-Signature-256", prefix: "sha256=" },
        id: &[Selector::Header("X-GitHub-Delivery")],
        event: &[Selector::Header("X-GitHub-Event")],
        sample: sample::GITHUB,
    },
];

/// The preset of that name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// The names of all presets, in the order of the table.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name)
}
