//! Payments and shops.

use crate::provider::adyen;
use crate::provider::algorithm::Encoding;
use crate::provider::event_types::EventTypes;
use crate::provider::key::KeyEncoding;
use crate::provider::preset::{BASE, JSON, Preset, Sample};

pub(super) static PRESETS: &[Preset] = &[
    Preset {
        name: "stripe",
        title: "Stripe",
        docs: "https://docs.stripe.com/webhooks#verify-manually",
        sig: "header:Stripe-Signature",
        split: ",",
        prefix: "v1=",
        signed: "{ts}.{body}",
        ts: "item:t=",
        tolerance_s: 300,
        id: &["json:/id"],
        event: &["json:/type"],
        event_types: EventTypes::With('.'),
        setup: "Developers, Webhooks: the address; copy the signing secret, all of whsec_...",
        answer: "2xx promptly",
        retries: "for 3 days in live mode, 3 times within hours in test mode",
        ..BASE
    },
    Preset {
        name: "paddle",
        title: "Paddle",
        docs: "https://developer.paddle.com/webhooks/signature-verification",
        sig: "header:Paddle-Signature",
        split: ";",
        prefix: "h1=",
        signed: "{ts}:{body}",
        ts: "item:ts=",
        tolerance_s: 5,
        id: &["json:/event_id"],
        event: &["json:/event_type"],
        setup: "Developer tools, Notifications: the address; copy its secret key",
        answer: "200 within 5 s",
        retries: "60 within 3 days in live mode, 3 within 15 minutes in the sandbox",
        ..BASE
    },
    Preset {
        name: "square",
        title: "Square",
        docs: "https://developer.squareup.com/docs/webhooks/step3validate",
        sig: "header:x-square-hmacsha256-signature",
        enc: Encoding::Base64,
        signed: "{url}{body}",
        id: &["json:/event_id"],
        event: &["json:/type"],
        setup: "Webhooks, Subscriptions: the address; copy the signature key",
        answer: "2xx at once",
        retries: "for 24 h",
        ..BASE
    },
    Preset {
        name: "shopify",
        title: "Shopify",
        docs: "https://shopify.dev/docs/apps/build/webhooks/subscribe/https",
        sig: "header:X-Shopify-Hmac-SHA256|header:Shopify-Hmac-SHA256",
        enc: Encoding::Base64,
        id: &["header:X-Shopify-Webhook-Id|header:Shopify-Webhook-Id"],
        event: &["header:X-Shopify-Topic|header:Shopify-Topic"],
        event_types: EventTypes::With('/'),
        setup: "Settings, Notifications, Webhooks: the address; copy the secret below the list (of an app: its client secret)",
        answer: "2xx within 5 s, the connection within 1 s",
        retries: "8 within 4 h, then a subscription made by API is deleted",
        ..BASE
    },
    Preset {
        name: "adyen-banking",
        title: "Adyen platform",
        docs: "https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures/",
        sig: "header:HmacSignature",
        enc: Encoding::Base64,
        key: KeyEncoding::Hex,
        event: &["json:/type"],
        setup: "Developers, Webhooks: the address; generate an HMAC key and copy it",
        answer: "2xx within 10 s (unconfirmed)",
        retries: "for up to 30 days (unconfirmed)",
        ..BASE
    },
    Preset {
        name: "adyen-standard",
        title: "Adyen payments",
        docs: "https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures/",
        key: KeyEncoding::Hex,
        custom: Some(adyen::SCHEME),
        id: &[
            "{json:/notificationItems/0/NotificationRequestItem/pspReference}:{json:/notificationItems/0/NotificationRequestItem/eventCode}:{json:/notificationItems/0/NotificationRequestItem/success}",
        ],
        event: &["json:/notificationItems/0/NotificationRequestItem/eventCode"],
        setup: "Developers, Webhooks, Standard webhook: the address; generate an HMAC key and copy it",
        answer: "2xx (very old set-ups need the body [accepted])",
        retries: "for up to 30 days",
        sample: Sample { event_type: "AUTHORISATION", body: include_str!("../samples/adyen.json"), ..JSON },
        ..BASE
    },
];
