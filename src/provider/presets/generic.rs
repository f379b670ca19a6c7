//! Senders of your own, for anything that is not in the other tables.

use crate::provider::algorithm::Algorithm;
use crate::provider::preset::{BASE, Preset, THE_SENDERS_OWN, WithoutId};

pub(super) static PRESETS: &[Preset] = &[
    Preset {
        name: "hmac",
        title: "a sender of your own that signs",
        docs: "https://www.rfc-editor.org/rfc/rfc2104",
        sig: "header:X-Hub-Signature-256",
        prefix: "sha256=",
        event: &["header:X-Event"],
        without_id: WithoutId::Own,
        forms: true,
        setup: "sign the body with HMAC-SHA256 and send X-Hub-Signature-256: sha256=HEX; [sources.NAME.verify] sets anything else",
        retries: THE_SENDERS_OWN,
        ..BASE
    },
    Preset {
        name: "token",
        title: "a sender of your own that sends a token",
        docs: "https://www.rfc-editor.org/rfc/rfc6750",
        alg: Algorithm::Token,
        sig: "header:Authorization",
        prefix: "Bearer ",
        event: &["header:X-Event"],
        without_id: WithoutId::Own,
        forms: true,
        setup: "send Authorization: Bearer SECRET; [sources.NAME.verify] sets anything else, such as sig = \"query:token\"",
        retries: THE_SENDERS_OWN,
        ..BASE
    },
];
