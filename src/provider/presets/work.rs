//! Tools for work.

use crate::provider::algorithm::{Algorithm, Encoding};
use crate::provider::graph;
use crate::provider::handshake::{BodyType, Condition, HANDSHAKE, Handshake, Signing};
use crate::provider::preset::{BASE, JSON, MINUTE_S, Preset, Sample};
use crate::provider::timestamp::TimestampFormat;

const HUBSPOT: Preset = Preset {
    docs: "https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests",
    // An event id is unique within one subscription only. Workflows send an object without one.
    id: &["{json:/0/eventId}:{json:/0/subscriptionId}:{json:/0/occurredAt}", "json:/0/eventId"],
    event: &["json:/0/subscriptionType"],
    setup: "Webhooks, Target URL: the address; the secret is the app's client secret",
    answer: "2xx within 5 s (unconfirmed)",
    retries: "10 within 24 h (unconfirmed)",
    sample: Sample { body: "[{}]", ..JSON },
    ..BASE
};

pub(super) static PRESETS: &[Preset] = &[
    Preset {
        name: "linear",
        title: "Linear",
        docs: "https://linear.app/developers/webhooks",
        sig: "header:Linear-Signature",
        ts: "json:/webhookTimestamp",
        timestamp_format: TimestampFormat::Millis,
        ts_optional: true,
        tolerance_s: 60,
        tolerance_future_s: 60,
        id: &["header:Linear-Delivery"],
        // The same word twice; only the body is signed.
        event: &["json:/type", "header:Linear-Event"],
        setup: "Settings, API, Webhooks: the address; copy the signing secret",
        answer: "200 within 5 s (unconfirmed)",
        retries: "after 1 min, 1 h, 6 h (unconfirmed); set a longer tolerance if retries are refused as too old",
        ..BASE
    },
    Preset {
        name: "trello",
        title: "Trello",
        docs: "https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/",
        alg: Algorithm::HmacSha1,
        sig: "header:X-Trello-Webhook",
        enc: Encoding::Base64,
        signed: "{body}{url}",
        id: &["json:/action/id"],
        event: &["json:/action/type"],
        handshakes: &[Handshake { method: "HEAD", ..HANDSHAKE }],
        setup: "create the webhook by API, with the address as callbackURL; the secret is the app's",
        answer: "200",
        retries: "after 30, 60, 120 s (unconfirmed)",
        ..BASE
    },
    Preset {
        name: "notion",
        title: "Notion",
        docs: "https://developers.notion.com/reference/webhooks",
        sig: "header:X-Notion-Signature",
        prefix: "sha256=",
        id: &["json:/id"],
        event: &["json:/type"],
        handshakes: &[
            Handshake {
                when: &[("json:/verification_token", Condition::Token)],
                signing: Signing::SendsSecret,
                notice: "Notion has sent a verification token: {json:/verification_token}. If you have just created a subscription \
                   for this address, paste it into Notion's dialog, then make it this source's secret; else ignore it",
                ..HANDSHAKE
            },
            // Sent again, with the token that is now the secret.
            Handshake {
                when: &[("json:/verification_token", Condition::Present)],
                signing: Signing::Signed,
                ..HANDSHAKE
            },
        ],
        setup: "Integrations, Webhooks: the address; while the source has no secret, hookbox logs the verification token that Notion then sends: paste it there, and make it the secret",
        retries: "8 within about 24 h (unconfirmed)",
        ..BASE
    },
    Preset {
        name: "dropbox",
        title: "Dropbox",
        docs: "https://www.dropbox.com/developers/reference/webhooks",
        sig: "header:X-Dropbox-Signature",
        handshakes: &[Handshake {
            method: "GET",
            when: &[("query:challenge", Condition::Present)],
            body_type: BodyType::Text,
            reply: "{query:challenge}",
            ..HANDSHAKE
        }],
        setup: "App Console, Webhooks: the address; the secret is the app secret",
        answer: "2xx within 10 s (unconfirmed)",
        retries: "with increasing delays (unconfirmed)",
        ..BASE
    },
    Preset {
        name: "typeform",
        title: "Typeform",
        docs: "https://www.typeform.com/developers/webhooks/secure-your-webhooks/",
        sig: "header:Typeform-Signature",
        prefix: "sha256=",
        enc: Encoding::Base64,
        id: &["json:/event_id"],
        event: &["json:/event_type"],
        setup: "Connect, Webhooks: the address and a secret of your own",
        answer: "2xx within 30 s (unconfirmed)",
        retries: "for hours (unconfirmed)",
        ..BASE
    },
    Preset {
        name: "calendly",
        title: "Calendly",
        docs: "https://developer.calendly.com/api-docs/ZG9jOjM2MzE2MDM4-webhook-signatures",
        sig: "header:Calendly-Webhook-Signature",
        split: ",",
        prefix: "v1=",
        signed: "{ts}.{body}",
        ts: "item:t=",
        tolerance_s: 180,
        event: &["json:/event"],
        setup: "create the subscription by API, with a signing_key of your own",
        retries: "for 24 h (unconfirmed)",
        ..BASE
    },
    Preset {
        name: "hubspot-v3",
        title: "HubSpot, signature v3",
        sig: "header:X-HubSpot-Signature-v3",
        enc: Encoding::Base64,
        signed: "{method}{url_decoded}{body}{ts}",
        ts: "header:X-HubSpot-Request-Timestamp",
        timestamp_format: TimestampFormat::Millis,
        tolerance_s: 300,
        ..HUBSPOT
    },
    Preset {
        name: "hubspot-v2",
        title: "HubSpot, signature v2",
        alg: Algorithm::Sha256,
        sig: "header:X-HubSpot-Signature",
        signed: "{secret}{method}{url}{body}",
        ..HUBSPOT
    },
    Preset {
        name: "hubspot-v1",
        title: "HubSpot, signature v1",
        alg: Algorithm::Sha256,
        sig: "header:X-HubSpot-Signature",
        signed: "{secret}{body}",
        ..HUBSPOT
    },
    Preset {
        name: "zendesk",
        title: "Zendesk",
        docs: "https://developer.zendesk.com/documentation/webhooks/verifying/",
        sig: "header:X-Zendesk-Webhook-Signature",
        enc: Encoding::Base64,
        signed: "{ts}{body}",
        ts: "header:X-Zendesk-Webhook-Signature-Timestamp",
        timestamp_format: TimestampFormat::Rfc3339,
        // Zendesk sets no limit. It retries at most five times, after waits of a minute at most; the rest is for the clocks.
        // <https://developer.zendesk.com/api-reference/webhooks/introduction/#webhook-retries>
        tolerance_s: 15 * MINUTE_S,
        // The body of an event is Zendesk's, and its id names the event. That of a trigger is the operator's own, and its id
        // is most likely the ticket's, which is the same in each delivery.
        id: &["{json:/id}{?json:/zendesk_event_version}", "header:X-Zendesk-Webhook-Invocation-Id"],
        event: &["json:/type"],
        forms: true,
        setup: "Apps and integrations, Webhooks: the address; copy the signing secret",
        answer: "2xx within 12 s (unconfirmed)",
        retries: "a few, after 409, 429, 503 and timeouts (unconfirmed)",
        ..BASE
    },
    Preset {
        name: "okta",
        title: "Okta event hook",
        docs: "https://developer.okta.com/docs/concepts/event-hooks/",
        alg: Algorithm::Token,
        sig: "header:Authorization",
        id: &["json:/eventId"],
        event: &["json:/data/events/0/eventType"],
        handshakes: &[Handshake {
            method: "GET",
            when: &[("header:x-okta-verification-challenge", Condition::Present)],
            body_type: BodyType::Json,
            reply: r#"{{"verification":"{header:x-okta-verification-challenge}"}}"#,
            ..HANDSHAKE
        }],
        setup: "Workflow, Event Hooks: the address, authentication field Authorization, a secret of your own",
        answer: "200 or 204 within 3 s",
        retries: "one, after a 5xx or a timeout",
        ..BASE
    },
    Preset {
        name: "msgraph",
        title: "Microsoft Graph",
        docs: "https://learn.microsoft.com/graph/change-notifications-delivery-webhooks",
        custom: Some(graph::SCHEME),
        event: &["json:/value/0/changeType", "json:/value/0/lifecycleEvent"],
        handshakes: &[Handshake {
            when: &[("query:validationToken", Condition::Present)],
            body_type: BodyType::Text,
            reply: "{query:validationToken}",
            ..HANDSHAKE
        }],
        setup: "create the subscription by API, with the address as notificationUrl and a secret of your own as clientState",
        answer: "2xx within 3 s",
        retries: "for up to 4 h",
        sample: Sample {
            event_type: "created",
            body: r#"{"value":[{"subscriptionId":"0","resource":"me/messages/0"}]}"#,
            ..JSON
        },
        ..BASE
    },
];
