//! Builds, deployments, alerts.

use crate::provider::algorithm::{Algorithm, Encoding};
use crate::provider::handshake::{Condition, HANDSHAKE, Handshake};
use crate::provider::netlify;
use crate::provider::preset::{BASE, JSON, Preset, Sample, THE_SENDERS_OWN};

const GRAFANA: Preset = Preset {
    docs: "https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/",
    sig: "header:X-Grafana-Alerting-Signature",
    event: &["json:/status"],
    retries: "by its notification policy",
    ..BASE
};

const BUILDKITE: Preset = Preset {
    docs: "https://buildkite.com/docs/apis/webhooks/pipelines",
    // The same word twice; only the body is signed.
    event: &["json:/event", "header:X-Buildkite-Event"],
    retries: "unknown",
    ..BASE
};

pub(super) static PRESETS: &[Preset] = &[
    Preset {
        name: "pagerduty",
        title: "PagerDuty",
        docs: "https://developer.pagerduty.com/docs/verifying-webhook-signatures",
        sig: "header:X-PagerDuty-Signature",
        split: ",",
        prefix: "v1=",
        id: &["json:/event/id"],
        event: &["json:/event/event_type"],
        setup: "Integrations, Generic Webhooks (v3): the address; copy the secret",
        answer: "2xx within 5 s (unconfirmed)",
        retries: "for 48 h after 5xx, 429 and timeouts (unconfirmed)",
        ..BASE
    },
    Preset {
        name: "circleci",
        title: "CircleCI",
        docs: "https://circleci.com/docs/guides/integration/outbound-webhooks/",
        sig: "header:circleci-signature",
        split: ",",
        prefix: "v1=",
        id: &["json:/id"],
        // The same word twice; only the body is signed.
        event: &["json:/type", "header:circleci-event-type"],
        setup: "Project Settings, Webhooks: the address and a secret of your own",
        answer: "2xx within 10 s",
        retries: "later, possibly twice",
        ..BASE
    },
    Preset {
        name: "sentry",
        title: "Sentry",
        docs: "https://docs.sentry.io/organization/integrations/integration-platform/webhooks/",
        sig: "header:Sentry-Hook-Signature",
        id: &["header:Request-ID"],
        event: &["header:Sentry-Hook-Resource"],
        setup: "Settings, Custom Integrations: the address; the secret is the client secret",
        answer: "2xx within 1 s",
        retries: "none (unconfirmed); 1000 timeouts within 24 h end it",
        ..BASE
    },
    Preset {
        name: "grafana",
        title: "Grafana alerting",
        setup: "Contact points, Webhook: the address, HMAC signature with a secret of your own",
        ..GRAFANA
    },
    Preset {
        name: "grafana-ts",
        title: "Grafana alerting, with a timestamp header",
        signed: "{ts}:{body}",
        ts: "header:X-Grafana-Alerting-Signature-Timestamp",
        tolerance_s: 300,
        tolerance_future_s: 300,
        setup: "as grafana, and X-Grafana-Alerting-Signature-Timestamp as the timestamp header",
        ..GRAFANA
    },
    Preset {
        name: "alertmanager",
        title: "Prometheus Alertmanager",
        docs: "https://prometheus.io/docs/alerting/latest/configuration/#webhook_config",
        alg: Algorithm::Token,
        sig: "header:Authorization",
        prefix: "Bearer ",
        event: &["json:/status"],
        setup: "webhook_configs: the address as url, a secret of your own as http_config.authorization.credentials. For basic_auth: prefix = \"Basic \" in [sources.NAME.verify], and the secret is USER:PASSWORD in base64",
        retries: "after 5xx. An alert that goes on firing is sent again every repeat_interval, often with the same body, and is an event of its own each time, unless the one before still waits for its first attempt. To make one event of what comes within a time, set dedup_window in [sources.NAME]",
        ..BASE
    },
    Preset {
        name: "docker-registry",
        title: "Docker registry (CNCF Distribution)",
        docs: "https://distribution.github.io/distribution/about/notifications/",
        alg: Algorithm::Token,
        sig: "header:Authorization",
        prefix: "Bearer ",
        // An envelope may hold several events, which are sent again together.
        id: &["json:/events/0/id"],
        event: &["json:/events/0/action"],
        setup: "notifications.endpoints in the registry's config: the address as url, and Authorization: [Bearer SECRET] under headers, with a secret of your own",
        answer: "2xx or 3xx within its timeout",
        retries: "until it succeeds: threshold times at once, then every backoff; a restart of the registry forgets what waits",
        sample: Sample {
            event_type: "push",
            content_type: "application/vnd.docker.distribution.events.v1+json",
            body: r#"{"events":[{"target":{"repository":"hookbox/send","tag":"latest"}}]}"#,
        },
        ..BASE
    },
    Preset {
        name: "mlflow",
        title: "MLflow",
        docs: "https://mlflow.org/docs/latest/ml/webhooks/",
        sig: "header:X-MLflow-Signature",
        prefix: "v1,",
        enc: Encoding::Base64,
        signed: "{header:X-MLflow-Delivery-Id}.{ts}.{body}",
        ts: "header:X-MLflow-Timestamp",
        // The example on its page checks five minutes. Retries keep id, timestamp and signature, and are over in less:
        // <https://github.com/mlflow/mlflow/blob/master/mlflow/webhooks/delivery.py>
        tolerance_s: 300,
        tolerance_future_s: 300,
        id: &["header:X-MLflow-Delivery-Id"],
        event: &["{json:/entity}.{json:/action}"],
        setup: "MlflowClient().create_webhook with the address as url and a secret of your own",
        answer: "2xx within 30 s",
        retries: "3 after 429, 500, 502, 503 and 504, within seconds, or after Retry-After",
        sample: Sample {
            event_type: "registered_model",
            body: r#"{"action":"created","data":{"name":"hookbox"}}"#,
            ..JSON
        },
        ..BASE
    },
    Preset {
        name: "vercel",
        title: "Vercel",
        docs: "https://vercel.com/docs/webhooks",
        alg: Algorithm::HmacSha1,
        sig: "header:x-vercel-signature",
        id: &["json:/id"],
        event: &["json:/type"],
        setup: "Settings, Webhooks: the address; copy the secret",
        retries: "for up to 24 h (unconfirmed)",
        ..BASE
    },
    Preset {
        name: "netlify",
        title: "Netlify",
        docs: "https://docs.netlify.com/site-deploys/notifications/#payload-signature",
        custom: Some(netlify::SCHEME),
        // A delivery is sent each time a deployment is built, published, locked and unlocked.
        id: &[
            "{json:/id}:{json:/state}:{header:X-Netlify-Event}:{json:/updated_at}",
            "{json:/id}:{json:/state}",
            "json:/id",
        ],
        event: &["header:X-Netlify-Event"],
        setup: "Site configuration, Notifications, HTTP POST request: the address and a JWS secret token of your own",
        retries: "unknown",
        sample: Sample { event_type: "deploy_created", body: r#"{"id":"0","state":"ready"}"#, ..JSON },
        ..BASE
    },
    Preset {
        name: "heroku",
        title: "Heroku",
        docs: "https://devcenter.heroku.com/articles/app-webhooks",
        sig: "header:Heroku-Webhook-Hmac-SHA256",
        enc: Encoding::Base64,
        id: &["json:/id"],
        event: &["json:/resource"],
        setup: "heroku webhooks:add with the address; copy the secret that it prints",
        retries: "for 72 h",
        ..BASE
    },
    Preset {
        name: "buildkite",
        title: "Buildkite, signature",
        sig: "header:X-Buildkite-Signature",
        split: ",",
        prefix: "signature=",
        signed: "{ts}.{body}",
        ts: "item:timestamp=",
        tolerance_s: 300,
        tolerance_future_s: 300,
        setup: "Notification Services, Webhook: the address; choose the signature and copy the token",
        ..BUILDKITE
    },
    Preset {
        name: "buildkite-token",
        title: "Buildkite, token",
        alg: Algorithm::Token,
        sig: "header:X-Buildkite-Token",
        setup: "Notification Services, Webhook: the address; copy the token. Prefer buildkite, which signs",
        ..BUILDKITE
    },
    Preset {
        name: "cloudevents",
        title: "CloudEvents",
        docs: "https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md",
        alg: Algorithm::Token,
        sig: "header:Authorization|query:access_token",
        prefix: "Bearer ",
        id: &["{header:ce-id} {header:ce-source}", "{json:/id} {json:/source}"],
        // A batch is one event, whose items `payload` lists.
        // <https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/http-protocol-binding.md>, 3.3
        event: &["header:ce-type", "json:/type", "batch{?json:/0/specversion}"],
        status: 204,
        handshakes: &[Handshake {
            method: "OPTIONS",
            when: &[("header:WebHook-Request-Origin", Condition::AllowedOrigin)],
            headers: &[
                ("Allow", "POST"),
                ("WebHook-Allowed-Origin", "{header:WebHook-Request-Origin}"),
                ("WebHook-Allowed-Rate", "{header:WebHook-Request-Rate}"),
                ("WebHook-Allowed-Rate", "*"),
            ],
            else_wrong_method: true,
            ..HANDSHAKE
        }],
        setup: "the address, and Authorization: Bearer (or ?access_token=) with a secret of your own; the sender's origin, or *, in allowed_origins of [sources.NAME]",
        answer: "202 or 204",
        retries: THE_SENDERS_OWN,
        sample: Sample {
            content_type: "application/cloudevents+json",
            body: r#"{"specversion":"1.0","source":"/hookbox/send","data":{}}"#,
            ..JSON
        },
        ..BASE
    },
];
