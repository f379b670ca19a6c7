//! How missed deliveries are recovered from a provider: one entry of a table for each that can list what it has sent.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::preset::HOUR_S;

/// A provider's API for its past deliveries.
#[derive(Debug)]
pub struct Recovery {
    /// The presets' names.
    pub providers: &'static [&'static str],
    pub title: &'static str,
    /// Where the API is.
    pub api: &'static str,
    /// How a hook is written, and its path in the API. None: the API lists what is sent to all of them.
    pub hooks: &'static [HookForm],
    pub hook_advice: &'static str,
    /// Fields of each request.
    pub fields: &'static [(&'static str, &'static str)],
    /// Lists deliveries, newest first; behind the path of the hook.
    pub list: &'static str,
    /// A parameter of the list: only what is younger than a Unix time.
    pub since: Option<&'static str>,
    /// A parameter of the list: only these event types.
    pub types: Option<Types>,
    pub paging: Paging,
    /// Has a delivery sent again. `None`: the API cannot.
    pub resend: Option<Resend>,
    /// How long a delivery is listed.
    pub window: Duration,
    /// Where things are in an item of the list, as JSON pointers (RFC 6901).
    pub item: Item,
    /// The request that was sent.
    pub request: SentRequest,
    /// What says in the hook that the provider sends nothing to it. None: it cannot be asked.
    pub switched_off: &'static [SwitchedOff],
    /// The token with the least rights, for each mode.
    pub to_redeliver: &'static str,
    pub to_take: &'static str,
}

/// A member of the hook, as a JSON pointer, with a value that means that it is off, and what to do.
#[derive(Debug)]
pub struct SwitchedOff {
    pub member: &'static str,
    pub value: OffValue,
    pub advice: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub enum OffValue {
    False,
    Text(&'static str),
}

impl OffValue {
    pub fn is(self, value: &Value) -> bool {
        match self {
            OffValue::False => *value == false,
            OffValue::Text(text) => *value == text,
        }
    }
}

/// A parameter that is repeated for each event type, up to a number.
#[derive(Debug)]
pub struct Types {
    pub parameter: &'static str,
    pub max: usize,
}

/// How the next page of a list is asked for.
#[derive(Debug)]
pub enum Paging {
    /// By the query of the `next` in the field `Link` (RFC 8288).
    Link,
    /// By the id of the last item, while `more` is true. `items` is where the list is.
    Last { parameter: &'static str, items: &'static str, more: &'static str },
}

/// How a delivery is sent again.
#[derive(Debug)]
pub struct Resend {
    /// Behind the path of the hook. `{item}` is its id in the list.
    pub path: &'static str,
    /// The most in a minute.
    pub max_per_minute: Option<usize>,
}

/// JSON pointers into an item of a list. `None`: the preset reads it from the request that was sent.
#[derive(Debug)]
pub struct Item {
    /// Its id in the list.
    pub item: &'static str,
    /// The id that the preset reads from a delivery.
    pub delivery_id: Option<&'static str>,
    pub event_type: Option<&'static str>,
    /// A time as text, or in Unix seconds.
    pub at: &'static str,
    pub status_code: &'static str,
    pub status: &'static str,
    pub is_redelivery: &'static str,
}

/// The request that was sent, as the API returns it.
#[derive(Debug)]
pub struct SentRequest {
    /// Where it is returned, behind the path of the hook; `{item}` is the item's id. `None`: it is in the item.
    pub path: Option<&'static str>,
    /// JSON pointers to its header fields, if they are returned, and to its body.
    pub fields: Option<&'static str>,
    pub body: &'static str,
    /// A member of the body that is there only where the provider has not kept it.
    pub not_kept: Option<&'static str>,
}

/// One way to write a hook: `PREFIX OWNER/.../ID`.
#[derive(Debug)]
pub struct HookForm {
    pub prefix: &'static str,
    /// The number of segments of the owner.
    pub segments: RangeInclusive<usize>,
    /// `{owner}` and `{id}` are replaced; `{encoded}` is the owner as one segment.
    pub path: &'static str,
}

/// What listed items have nowhere.
const NOWHERE: &str = "/-";

static RECOVERIES: [Recovery; 3] = [
    // Sources: <https://docs.github.com/rest/repos/webhooks>, <https://docs.github.com/rest/orgs/webhooks>,
    // <https://docs.github.com/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks>.
    Recovery {
        providers: &["github"],
        title: "GitHub",
        api: "https://api.github.com",
        hooks: &[
            HookForm { prefix: "orgs/", segments: 1..=1, path: "/orgs/{owner}/hooks/{id}" },
            HookForm { prefix: "", segments: 2..=2, path: "/repos/{owner}/hooks/{id}" },
        ],
        hook_advice: "write OWNER/REPOSITORY/ID or orgs/NAME/ID; the ID is the last number in the address of the hook's \
                      settings",
        fields: &[("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")],
        list: "/deliveries?per_page=100",
        since: None,
        types: None,
        paging: Paging::Link,
        resend: Some(Resend { path: "/deliveries/{item}/attempts", max_per_minute: None }),
        window: Duration::from_secs(3 * 24 * HOUR_S),
        item: Item {
            item: "/id",
            delivery_id: Some("/guid"),
            event_type: Some("/event"),
            at: "/delivered_at",
            status_code: "/status_code",
            status: "/status",
            is_redelivery: "/redelivery",
        },
        request: SentRequest {
            path: Some("/deliveries/{item}"),
            fields: Some("/request/headers"),
            body: "/request/payload",
            not_kept: None,
        },
        switched_off: &[SwitchedOff {
            member: "/active",
            value: OffValue::False,
            advice: "tick Active in the hook's settings",
        }],
        to_redeliver: "a fine-grained token for this repository or organisation with the permission Webhooks, read and write",
        to_take: "a fine-grained token for this repository or organisation with the permission Webhooks, read-only",
    },
    // Sources: <https://docs.gitlab.com/api/project_webhooks/>, <https://docs.gitlab.com/api/group_webhooks/>, and GitLab's
    // `app/services/web_hook_service.rb` and `app/services/web_hooks/events/resend_service.rb`: what is sent again has
    // the Idempotency-Key of the first time, and another X-Gitlab-Event-UUID.
    Recovery {
        providers: &["gitlab", "gitlab-signing"],
        title: "GitLab",
        api: "https://gitlab.com/api/v4",
        hooks: &[
            HookForm { prefix: "groups/", segments: 1..=MAX_GITLAB_SEGMENTS, path: "/groups/{encoded}/hooks/{id}" },
            HookForm { prefix: "", segments: 1..=MAX_GITLAB_SEGMENTS, path: "/projects/{encoded}/hooks/{id}" },
        ],
        hook_advice: "write GROUP/PROJECT/ID, the project's number and /ID, or groups/GROUP/ID; the ID is the number in the \
                      address at which the hook is edited",
        fields: &[("accept", "application/json")],
        list: "/events?per_page=20",
        since: None,
        types: None,
        paging: Paging::Link,
        resend: Some(Resend { path: "/events/{item}/resend", max_per_minute: Some(5) }),
        window: Duration::from_secs(7 * 24 * HOUR_S),
        item: Item {
            item: "/id",
            delivery_id: None,
            event_type: None,
            at: "/created_at",
            status_code: "/response_status",
            status: "/response_status",
            is_redelivery: NOWHERE,
        },
        request: SentRequest {
            path: None,
            fields: Some("/request_headers"),
            body: "/request_data",
            not_kept: Some("/oversize"),
        },
        // Source: <https://docs.gitlab.com/user/project/integrations/webhooks/#auto-disabled-webhooks>.
        switched_off: &[
            SwitchedOff {
                member: "/alert_status",
                value: OffValue::Text("disabled"),
                advice: "GitLab disabled it after too many failures; a test in the hook's settings that is answered 200 enables it",
            },
            SwitchedOff {
                member: "/alert_status",
                value: OffValue::Text("temporarily_disabled"),
                advice: "GitLab paused it after failures, for up to a day; a test in the hook's settings that is answered 200 ends that",
            },
        ],
        to_redeliver: "an access token of the project or group with the role Maintainer (of a group: Owner) and the scope api",
        to_take: "an access token of the project or group with the role Maintainer (of a group: Owner) and the scope read_api",
    },
    // Source: <https://docs.stripe.com/api/events/list>.
    Recovery {
        providers: &["stripe"],
        title: "Stripe",
        api: "https://api.stripe.com",
        hooks: &[],
        hook_advice: "",
        fields: &[("accept", "application/json")],
        list: "/v1/events?limit=100",
        since: Some("created%5Bgte%5D"),
        types: Some(Types { parameter: "types%5B%5D", max: 20 }),
        paging: Paging::Last { parameter: "starting_after", items: "/data", more: "/has_more" },
        resend: None,
        window: Duration::from_secs(30 * 24 * HOUR_S),
        item: Item {
            item: "/id",
            delivery_id: None,
            event_type: None,
            at: "/created",
            status_code: NOWHERE,
            status: NOWHERE,
            is_redelivery: NOWHERE,
        },
        request: SentRequest { path: None, fields: None, body: "", not_kept: None },
        switched_off: &[],
        to_redeliver: "",
        to_take: "a restricted key with the permission Events, read, and no other",
    },
];

/// Groups within groups, up to 20 (<https://docs.gitlab.com/user/group/subgroups/>), and the project.
const MAX_GITLAB_SEGMENTS: usize = 21;

/// The API of a provider's past deliveries; `None` where it has none, or none that is known here.
pub fn recovery(provider: &str) -> Option<&'static Recovery> {
    RECOVERIES.iter().find(|recovery| recovery.providers.contains(&provider))
}

/// The providers with an entry.
pub fn recoverable() -> impl Iterator<Item = &'static str> {
    RECOVERIES.iter().flat_map(|recovery| recovery.providers).copied()
}

impl Recovery {
    /// Whether the request that was sent is in the list.
    pub fn lists_requests(&self) -> bool {
        self.request.path.is_none()
    }

    /// The path of a hook that is written in one of its forms.
    pub fn hook_path(&self, hook: &str) -> Option<String> {
        let is_segment = |text: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !text.is_empty() && !text.starts_with('.') && text.bytes().all(is_plain)
        };
        let of_form = |(form, rest): (&HookForm, &str)| {
            let (owner, id) = rest.rsplit_once('/')?;
            let is_owner = form.segments.contains(&owner.split('/').count()) && owner.split('/').all(is_segment);
            let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
            let path = || form.path.replace("{owner}", owner).replace("{encoded}", &owner.replace('/', "%2F"));
            (is_owner && is_id).then(|| path().replace("{id}", id))
        };
        // No owner is called like a prefix.
        self.hooks.iter().find_map(|form| Some((form, hook.strip_prefix(form.prefix)?))).and_then(of_form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_of_a_repository_or_of_an_organisation() {
        let path = |hook: &str| recovery("github").and_then(|recovery| recovery.hook_path(hook));
        assert_eq!(path("octocat/hello-world/12").as_deref(), Some("/repos/octocat/hello-world/hooks/12"));
        assert_eq!(path("orgs/octo-org/7").as_deref(), Some("/orgs/octo-org/hooks/7"));
        for wrong in ["", "12", "octocat/12", "octocat/hello/x", "a/../12", "a/b?c/12", "a/b/c/12", "a//12", "a/b/"] {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }
    #[test]
    fn a_hook_of_gitlab_is_of_a_project_by_its_path_or_number_or_of_a_group() {
        let path = |hook: &str| recovery("gitlab-signing").and_then(|recovery| recovery.hook_path(hook));
        for (hook, expected) in [
            ("flightjs/flight/12", "/projects/flightjs%2Fflight/hooks/12"),
            ("a/b/c/12", "/projects/a%2Fb%2Fc/hooks/12"),
            ("7/12", "/projects/7/hooks/12"),
            ("groups/a/b/12", "/groups/a%2Fb/hooks/12"),
        ] {
            assert_eq!(path(hook).as_deref(), Some(expected));
        }
        for wrong in ["12", "a/b/", "a//b/12", "a/b?/12", "a/../12", "groups/12"] {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }
}
