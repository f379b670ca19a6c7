//! Code forges and their trackers.

use super::standard::STANDARD;
use crate::provider::algorithm::Algorithm;
use crate::provider::event_types::{EventTypes, GITEA as GITEA_TYPES, GITHUB, GITLAB};
use crate::provider::handshake::{Condition, HANDSHAKE, Handshake};
use crate::provider::preset::{BASE, JSON, Preset, Sample};
use crate::provider::selector::FORM;

/// Source: <https://docs.gitea.com/administration/config-cheat-sheet#webhook-webhook>; Forgejo has the same setting. Gitea
/// has moved it to `[security]`, and reads the old one too (<https://github.com/go-gitea/gitea/pull/38406>).
const GITEA_SETUP: &str = "Settings, Webhooks: the address and a secret of your own; either content type. It refuses to call an \
    address of its own network (LAN) unless [webhook] of its app.ini (newer versions of Gitea: [security]) has \
    ALLOWED_HOST_LIST = external,private (loopback for this machine, or the name or address of hookbox)";

/// Gitea, and the forges that share its code.
const GITEA: Preset = Preset {
    event_types: GITEA_TYPES,
    signed: "{payload}",
    forms: true,
    setup: GITEA_SETUP,
    answer: "2xx within 5 s (unconfirmed)",
    retries: "none",
    ..BASE
};

/// As GitHub sends them, without the addresses of its API. Source: `@octokit/webhooks-examples` 7.6.1 (MIT), whose schemas
/// they follow as far as they go.
const GITHUB_SAMPLES: &[Sample] = &[
    Sample { event_type: "push", body: include_str!("../samples/github/push.json"), ..JSON },
    Sample { event_type: "issues", body: include_str!("../samples/github/issues.json"), ..JSON },
    Sample { event_type: "pull_request", body: include_str!("../samples/github/pull_request.json"), ..JSON },
    Sample { event_type: "release", body: include_str!("../samples/github/release.json"), ..JSON },
    Sample { event_type: "workflow_run", body: include_str!("../samples/github/workflow_run.json"), ..JSON },
];

pub(super) static PRESETS: &[Preset] = &[
    Preset {
        name: "github",
        title: "GitHub",
        docs: "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
        sig: "header:X-Hub-Signature-256",
        prefix: "sha256=",
        id: &["header:X-GitHub-Delivery"],
        event: &["header:X-GitHub-Event"],
        event_types: GITHUB,
        forms: true,
        setup: "Settings, Webhooks: the address, content type application/json, a secret of your own",
        answer: "2xx within 10 s",
        retries: "none; press Redeliver, which keeps the id",
        sample: Sample { event_type: "ping", body: include_str!("../samples/github/ping.json"), ..JSON },
        samples: GITHUB_SAMPLES,
        ..BASE
    },
    Preset {
        name: "gitlab",
        title: "GitLab, secret token",
        docs: "https://docs.gitlab.com/user/project/integrations/webhooks/",
        alg: Algorithm::Token,
        sig: "header:X-Gitlab-Token",
        id: &["header:Idempotency-Key", "header:webhook-id"],
        event: &["header:X-Gitlab-Event", "json:/object_kind"],
        event_types: GITLAB,
        setup: "Settings, Webhooks: the address and a secret token of your own; prefer gitlab-signing where there is a signing token",
        answer: "2xx within 10 s (unconfirmed)",
        retries: "none; after 4 failures in a row it is off for a minute, doubling to a day; after 40 for good",
        ..BASE
    },
    Preset {
        name: "gitlab-signing",
        title: "GitLab, signing token",
        docs: "https://docs.gitlab.com/user/project/integrations/webhooks/",
        event: &["header:X-Gitlab-Event", "json:/object_kind"],
        event_types: GITLAB,
        setup: "Settings, Webhooks: the address; copy the signing token (whsec_...) that it shows",
        answer: "2xx within 10 s (unconfirmed)",
        retries: "none; after 4 failures in a row it is off for a minute, doubling to a day; after 40 for good",
        ..STANDARD
    },
    Preset {
        name: "gitea",
        title: "Gitea",
        docs: "https://github.com/go-gitea/gitea/blob/main/services/webhook/deliver.go",
        sig: "header:X-Gitea-Signature",
        id: &["header:X-Gitea-Delivery"],
        event: &["header:X-Gitea-Event"],
        retries: "none; press Test Delivery or Replay",
        ..GITEA
    },
    Preset {
        name: "gitea-form",
        title: "Gitea, content type form only",
        docs: "https://github.com/go-gitea/gitea/blob/main/services/webhook/deliver.go",
        sig: "header:X-Gitea-Signature",
        signed: "{form:payload}",
        id: &["header:X-Gitea-Delivery"],
        event: &["header:X-Gitea-Event"],
        setup: "Settings, Webhooks: the address, content type application/x-www-form-urlencoded, a secret of your own. See gitea \
            for ALLOWED_HOST_LIST",
        sample: Sample { content_type: FORM, body: "payload=%7B%7D", ..JSON },
        ..GITEA
    },
    Preset {
        name: "forgejo",
        title: "Forgejo",
        docs: "https://forgejo.org/docs/latest/user/webhooks/",
        sig: "header:X-Forgejo-Signature",
        id: &["header:X-Forgejo-Delivery"],
        event: &["header:X-Forgejo-Event"],
        ..GITEA
    },
    Preset {
        name: "gogs",
        title: "Gogs",
        docs: "https://github.com/gogs/gogs/blob/main/internal/database/webhook.go",
        sig: "header:X-Gogs-Signature",
        id: &["header:X-Gogs-Delivery"],
        event: &["header:X-Gogs-Event"],
        setup: "Settings, Webhooks: the address and a secret of your own; either content type. It refuses to call an address of \
            its own network unless [security] of its app.ini has LOCAL_NETWORK_ALLOWLIST with the name of hookbox",
        answer: "2xx, no redirect",
        ..GITEA
    },
    Preset {
        name: "bitbucket",
        title: "Bitbucket",
        docs: "https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/",
        sig: "header:X-Hub-Signature",
        prefix: "sha256=",
        id: &["header:X-Request-UUID", "header:X-Request-Id"],
        // Bitbucket Data Center has it in the body too, which is signed.
        event: &["json:/eventKey", "header:X-Event-Key"],
        event_types: EventTypes::With(':'),
        // "Test connection" of Bitbucket Server is not signed.
        handshakes: &[Handshake {
            when: &[("header:X-Event-Key", Condition::Equals("diagnostics:ping"))],
            ..HANDSHAKE
        }],
        setup: "Repository settings, Webhooks: the address and a secret of your own",
        answer: "2xx within 10 s (unconfirmed)",
        retries: "twice more (unconfirmed); payloads over 256 KB are dropped by it silently",
        ..BASE
    },
    Preset {
        name: "jira",
        title: "Jira, administrator's webhook",
        docs: "https://developer.atlassian.com/cloud/jira/platform/webhooks/",
        sig: "header:X-Hub-Signature",
        prefix: "sha256=",
        id: &["header:X-Atlassian-Webhook-Identifier"],
        event: &["json:/webhookEvent"],
        setup: "System, WebHooks: the address and a secret of your own",
        retries: "up to 5, 5 to 15 minutes apart (unconfirmed)",
        ..BASE
    },
];
