//! Standard Webhooks, and the providers that send through Svix.

use crate::provider::algorithm::{Algorithm, Encoding};
use crate::provider::key::KeyEncoding;
use crate::provider::preset::{BASE, Preset};

pub(super) const STANDARD: Preset = Preset {
    docs: "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    sig: "header:webhook-signature",
    split: " ",
    prefix: "v1,",
    enc: Encoding::Base64,
    signed: "{header:webhook-id}.{ts}.{body}",
    ts: "header:webhook-timestamp",
    tolerance_s: 300,
    tolerance_future_s: 300,
    key: KeyEncoding::Base64,
    key_strip: "whsec_",
    id: &["header:webhook-id"],
    event: &["json:/type"],
    answer: "2xx within 15 s",
    retries: "recommended: 10 over 3 days",
    ..BASE
};

/// The same with other header names; senders can choose the standard's.
const SVIX: Preset = Preset {
    sig: "header:svix-signature|header:webhook-signature",
    signed: "{header:svix-id|header:webhook-id}.{ts}.{body}",
    ts: "header:svix-timestamp|header:webhook-timestamp",
    id: &["header:svix-id|header:webhook-id"],
    retries: "as Svix (unconfirmed)",
    ..STANDARD
};

pub(super) static PRESETS: &[Preset] = &[
    Preset {
        name: "standard-webhooks",
        title: "Standard Webhooks",
        setup: "the address; copy the secret (whsec_...) that it shows",
        ..STANDARD
    },
    Preset {
        name: "standard-webhooks-ed25519",
        title: "Standard Webhooks, Ed25519",
        alg: Algorithm::Ed25519,
        prefix: "v1a,",
        key_strip: "whpk_",
        setup: "the address; copy the public key (whpk_...) that it shows",
        ..STANDARD
    },
    Preset {
        name: "svix",
        title: "Svix",
        docs: "https://docs.svix.com/receiving/verifying-payloads/how-manual",
        setup: "an endpoint with the address; copy its signing secret (whsec_...)",
        retries: "after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h",
        ..SVIX
    },
    Preset {
        name: "clerk",
        title: "Clerk",
        docs: "https://clerk.com/docs/webhooks/overview",
        setup: "Webhooks, Add Endpoint: the address; copy its signing secret (whsec_...)",
        ..SVIX
    },
    Preset {
        name: "resend",
        title: "Resend",
        docs: "https://resend.com/docs/dashboard/webhooks/verify-webhooks-requests",
        setup: "Webhooks, Add Webhook: the address; copy its signing secret (whsec_...)",
        ..SVIX
    },
];
