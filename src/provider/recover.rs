//! How missed deliveries are had back from a provider: one entry of a table for each that can list what it has sent.

use std::time::Duration;

use super::preset::HOUR_S;

/// A provider's API for its past deliveries.
#[derive(Debug)]
pub struct Recovery {
    /// The preset's name.
    pub provider: &'static str,
    pub title: &'static str,
    /// Where the API is.
    pub api: &'static str,
    /// How a hook is written, and its path in the API.
    pub hooks: &'static [HookForm],
    pub hook_advice: &'static str,
    /// Fields of each request.
    pub fields: &'static [(&'static str, &'static str)],
    /// Lists deliveries, newest first; behind the path of the hook.
    pub list: &'static str,
    /// Has a delivery sent again. `{item}` is its id in the list.
    pub resend: Option<&'static str>,
    /// How long a delivery is listed.
    pub window: Duration,
    /// Where things are in an item of the list, as JSON pointers (RFC 6901).
    pub item: Item,
    /// What a token must be allowed to do.
    pub permission: &'static str,
}

/// JSON pointers into an item of a list.
#[derive(Debug)]
pub struct Item {
    /// Its id in the list.
    pub item: &'static str,
    /// The id that the preset reads from a delivery.
    pub delivery_id: &'static str,
    pub event_type: &'static str,
    pub delivered_at: &'static str,
    pub status_code: &'static str,
    pub status: &'static str,
    pub is_redelivery: &'static str,
}

/// One way to write a hook: `PREFIX OWNER/.../ID`.
#[derive(Debug)]
pub struct HookForm {
    pub prefix: &'static str,
    /// The number of segments of the owner.
    pub segments: usize,
    /// `{owner}` and `{id}` are replaced.
    pub path: &'static str,
}

/// Sources: <https://docs.github.com/rest/repos/webhooks>, <https://docs.github.com/rest/orgs/webhooks>,
/// <https://docs.github.com/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks>.
static RECOVERIES: [Recovery; 1] = [Recovery {
    provider: "github",
    title: "GitHub",
    api: "https://api.github.com",
    hooks: &[
        HookForm { prefix: "orgs/", segments: 1, path: "/orgs/{owner}/hooks/{id}" },
        HookForm { prefix: "", segments: 2, path: "/repos/{owner}/hooks/{id}" },
    ],
    hook_advice: "write OWNER/REPOSITORY/ID or orgs/NAME/ID; the ID is the last number in the address of the hook's \
                  settings",
    fields: &[("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")],
    list: "/deliveries?per_page=100",
    resend: Some("/deliveries/{item}/attempts"),
    window: Duration::from_secs(3 * 24 * HOUR_S),
    item: Item {
        item: "/id",
        delivery_id: "/guid",
        event_type: "/event",
        delivered_at: "/delivered_at",
        status_code: "/status_code",
        status: "/status",
        is_redelivery: "/redelivery",
    },
    permission: "a fine-grained token for this repository or organisation with the permission Webhooks, read and write",
}];

/// The API of a provider's past deliveries; `None` where it has none, or none that is known here.
pub fn recovery(provider: &str) -> Option<&'static Recovery> {
    RECOVERIES.iter().find(|recovery| recovery.provider == provider)
}

/// The providers with an entry.
pub fn recoverable() -> impl Iterator<Item = &'static str> {
    RECOVERIES.iter().map(|recovery| recovery.provider)
}

impl Recovery {
    /// The path of a hook that is written in one of its forms.
    pub fn hook_path(&self, hook: &str) -> Option<String> {
        let is_segment = |text: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !text.is_empty() && !text.starts_with('.') && text.bytes().all(is_plain)
        };
        let of_form = |form: &HookForm| {
            let (owner, id) = hook.strip_prefix(form.prefix)?.rsplit_once('/')?;
            let is_owner = owner.split('/').count() == form.segments && owner.split('/').all(is_segment);
            let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
            (is_owner && is_id).then(|| form.path.replace("{owner}", owner).replace("{id}", id))
        };
        self.hooks.iter().find_map(of_form)
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
}
