//! Messages of all kinds.

use crate::provider::algorithm::{Algorithm, Encoding};
use crate::provider::handshake::{BodyType, Condition, HANDSHAKE, Handshake, Signing};
use crate::provider::key::KeyEncoding;
use crate::provider::preset::{BASE, HOUR_S, JSON, MINUTE_S, Preset, Sample};
use crate::provider::selector::FORM;
use crate::provider::twilio;

pub(super) static PRESETS: &[Preset] = &[
    Preset {
        name: "slack",
        title: "Slack",
        docs: "https://docs.slack.dev/authentication/verifying-requests-from-slack",
        sig: "header:X-Slack-Signature",
        prefix: "v0=",
        signed: "v0:{ts}:{body}",
        ts: "header:X-Slack-Request-Timestamp",
        tolerance_s: 300,
        tolerance_future_s: 300,
        id: &["json:/event_id", "form:trigger_id", "json:/trigger_id"],
        event: &["json:/event/type", "json:/type", "form:command"],
        forms: true,
        handshakes: &[
            Handshake {
                when: &[("json:/type", Condition::Equals("url_verification"))],
                signing: Signing::Signed,
                body_type: BodyType::Text,
                reply: "{json:/challenge}",
                ..HANDSHAKE
            },
            Handshake { method: "GET", when: &[("query:ssl_check", Condition::Equals("1"))], ..HANDSHAKE },
            // Sent to the address of a slash command, to check its certificate.
            Handshake { when: &[("form:ssl_check", Condition::Equals("1"))], ..HANDSHAKE },
        ],
        setup: "Event Subscriptions, Slash Commands, Interactivity: the address; copy the app's signing secret",
        answer: "2xx within 3 s; a body would be shown to the user",
        retries: "at once, after 1 min, after 5 min",
        ..BASE
    },
    Preset {
        name: "zoom",
        title: "Zoom",
        docs: "https://developers.zoom.us/docs/api/webhooks/",
        sig: "header:x-zm-signature",
        prefix: "v0=",
        signed: "v0:{ts}:{body}",
        ts: "header:x-zm-request-timestamp",
        // Zoom's sample does not check it. The last retry comes 5 + 20 + 60 minutes after the first attempt, perhaps with
        // its timestamp: <https://developers.zoom.us/blog/webhook-delays.md>
        tolerance_s: 90 * MINUTE_S,
        event: &["json:/event"],
        handshakes: &[Handshake {
            when: &[("json:/event", Condition::Equals("endpoint.url_validation"))],
            signing: Signing::Signed,
            body_type: BodyType::Json,
            reply: r#"{{"plainToken":"{json:/payload/plainToken}","encryptedToken":"{hmac_hex:json:/payload/plainToken}"}}"#,
            ..HANDSHAKE
        }],
        setup: "Feature, Event Subscriptions: the address; copy the secret token",
        answer: "200 or 204 within 3 s",
        retries: "after 5 min, 20 min more and 60 min more",
        ..BASE
    },
    Preset {
        name: "discord",
        title: "Discord",
        docs: "https://discord.com/developers/docs/events/webhook-events",
        alg: Algorithm::Ed25519,
        sig: "header:X-Signature-Ed25519",
        signed: "{ts}{body}",
        ts: "header:X-Signature-Timestamp",
        // Discord's libraries do not check it. Events are retried for up to 10 minutes, perhaps with the first timestamp;
        // five more are for the clocks.
        tolerance_s: 15 * MINUTE_S,
        key: KeyEncoding::Hex,
        id: &["json:/id"],
        event: &["json:/event/type", "json:/type"],
        handshakes: &[
            Handshake {
                // An event has this type too, and has the member `event`.
                when: &[("json:/type", Condition::Equals("1")), ("json:/event/type", Condition::Absent)],
                signing: Signing::Signed,
                body_type: BodyType::Json,
                reply: "{{\"type\":1}}",
                ..HANDSHAKE
            },
            Handshake {
                when: &[("json:/type", Condition::Equals("0"))],
                signing: Signing::Signed,
                status: 204,
                // Required although there is no content.
                headers: &[("Content-Type", "application/json")],
                ..HANDSHAKE
            },
        ],
        setup: "Webhooks (or Interactions Endpoint URL): the address; copy the application's public key",
        answer: "2xx within 3 s; interactions need a JSON answer, which hookbox does not give",
        retries: "of events several, for up to 10 min",
        ..BASE
    },
    Preset {
        name: "telegram",
        title: "Telegram bot",
        docs: "https://core.telegram.org/bots/api#setwebhook",
        alg: Algorithm::Token,
        sig: "header:X-Telegram-Bot-Api-Secret-Token",
        id: &["json:/update_id"],
        // The other member of an update is named after its kind.
        event: &["beside:update_id"],
        setup: "call setWebhook with the address as url and a secret of your own as secret_token",
        retries: "with increasing delays, for 24 h (unconfirmed)",
        sample: Sample { event_type: "message", ..JSON },
        ..BASE
    },
    Preset {
        name: "teams-outgoing",
        title: "Microsoft Teams, outgoing webhook",
        docs: "https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-outgoing-webhook",
        sig: "header:Authorization",
        prefix: "HMAC ",
        enc: Encoding::Base64,
        key: KeyEncoding::Base64,
        id: &["json:/id"],
        event: &["json:/type"],
        setup: "Manage team, Apps, Create an outgoing webhook: the address; copy the security token",
        answer: "within 5 s (unconfirmed) a JSON message to show, which hookbox does not give",
        retries: "none",
        ..BASE
    },
    Preset {
        name: "meta",
        title: "Meta: Facebook, Instagram, WhatsApp",
        docs: "https://developers.facebook.com/docs/graph-api/webhooks/getting-started",
        sig: "header:X-Hub-Signature-256",
        prefix: "sha256=",
        event: &["json:/entry/0/changes/0/field", "json:/object"],
        handshakes: &[Handshake {
            method: "GET",
            when: &[
                ("query:hub.mode", Condition::Equals("subscribe")),
                ("query:hub.verify_token", Condition::VerifyToken),
                ("query:hub.challenge", Condition::Present),
            ],
            body_type: BodyType::Text,
            reply: "{query:hub.challenge}",
            ..HANDSHAKE
        }],
        setup: "Webhooks: the address and a verify token of your own (verify_token in [sources.NAME]); the secret is the app secret",
        answer: "200",
        retries: "for 36 h, of WhatsApp for 7 days (unconfirmed)",
        ..BASE
    },
    Preset {
        name: "intercom",
        title: "Intercom",
        docs: "https://developers.intercom.com/docs/webhooks",
        alg: Algorithm::HmacSha1,
        sig: "header:X-Hub-Signature",
        prefix: "sha1=",
        id: &["json:/id"],
        event: &["json:/topic"],
        handshakes: &[Handshake { method: "HEAD", ..HANDSHAKE }],
        setup: "Developer Hub, Webhooks: the address; the secret is the app's client secret",
        answer: "2xx within 5 s (unconfirmed)",
        retries: "one, after a minute (unconfirmed)",
        ..BASE
    },
    Preset {
        name: "twilio",
        title: "Twilio",
        docs: "https://github.com/twilio/twilio-python/blob/main/twilio/request_validator.py",
        custom: Some(twilio::SCHEME),
        // The form is signed and the header is not. A message or a call has several callbacks, one a status; an incoming
        // message has one delivery, named by the message alone. A call without a sequence number asks for instructions,
        // which it may do often in one status.
        id: &[
            "{form:MessageSid}:{form:MessageStatus}",
            "{form:MessageSid}:{form:SmsStatus}",
            "{form:CallSid}:{form:CallStatus}:{form:SequenceNumber}",
            "form:MessageSid",
            "header:I-Twilio-Idempotency-Token",
        ],
        forms: true,
        setup: "the number's or service's webhook: the address; the secret is the account's auth token",
        answer: "2xx within 15 s (unconfirmed)",
        // Source: <https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides>
        retries: "none later; one at once if the connection fails, or as many as the address says (#rc=5), within 15 s",
        sample: Sample { content_type: FORM, body: "MessageSid=SM00000000000000000000000000000000&Body=Hello", ..JSON },
        ..BASE
    },
    Preset {
        name: "sendgrid",
        title: "SendGrid event webhook",
        docs: "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features",
        alg: Algorithm::EcdsaP256Sha256,
        sig: "header:X-Twilio-Email-Event-Webhook-Signature",
        enc: Encoding::Base64,
        signed: "{ts}{body}",
        ts: "header:X-Twilio-Email-Event-Webhook-Timestamp",
        // SendGrid's libraries do not check it. It retries for up to 24 hours, perhaps with the first timestamp; one more is
        // for its queues: <https://docs.sendgrid.com/for-developers/tracking-events/troubleshooting>
        tolerance_s: 25 * HOUR_S,
        key: KeyEncoding::Base64,
        event: &["json:/0/event"],
        setup: "Settings, Mail Settings, Event Webhooks: the address; copy the verification key",
        retries: "for up to 24 h, at increasing intervals",
        sample: Sample { body: "[{}]", ..JSON },
        ..BASE
    },
    Preset {
        name: "mailgun",
        title: "Mailgun",
        docs: "https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks",
        sig: "json:/signature/signature",
        signed: "{ts}{json:/signature/token}",
        ts: "json:/signature/timestamp",
        id: &["json:/signature/token"],
        event: &["json:/event-data/event"],
        setup: "Send, Webhooks: the address; copy the HTTP webhook signing key. The event itself is not signed",
        answer: "200",
        // Source: <https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-retries>
        retries: "after 5, 10, 15 min, 1, 2, 4 h, but not of delivered; never after a 406",
        ..BASE
    },
    Preset {
        name: "mailgun-routes",
        title: "Mailgun, messages forwarded by a route",
        docs: "https://documentation.mailgun.com/docs/mailgun/user-manual/receive-forward-store/receive-http",
        sig: "form:signature",
        signed: "{ts}{form:token}",
        ts: "form:timestamp",
        id: &["form:token"],
        forms: true,
        setup: "Receiving, a route with forward() to the address; copy the HTTP webhook signing key. The message itself is not signed",
        answer: "200",
        retries: "after 10, 15, 30 min, 1, 2, 4 h; never after a 406",
        sample: Sample { content_type: FORM, body: "subject=Hello", ..JSON },
        ..BASE
    },
];
