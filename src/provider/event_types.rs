//! Which event types a provider sends, as far as that is known: a pattern for another one matches nothing.

use crate::suggest::closest;

/// The event types of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventTypes {
    /// There is no list, or the sender chooses them.
    Unknown,
    /// These alone.
    Listed(&'static [&'static str]),
    /// Each has this character in it.
    With(char),
}

/// Source: <https://docs.github.com/en/webhooks/webhook-events-and-payloads>
pub(super) const GITHUB: EventTypes = EventTypes::Listed(&[
    "branch_protection_configuration",
    "branch_protection_rule",
    "check_run",
    "check_suite",
    "code_scanning_alert",
    "commit_comment",
    "content_reference",
    "create",
    "custom_property",
    "custom_property_values",
    "delete",
    "dependabot_alert",
    "deploy_key",
    "deployment",
    "deployment_protection_rule",
    "deployment_review",
    "deployment_status",
    "discussion",
    "discussion_comment",
    "fork",
    "github_app_authorization",
    "gollum",
    "installation",
    "installation_repositories",
    "installation_target",
    "issue_comment",
    "issue_dependencies",
    "issues",
    "label",
    "marketplace_purchase",
    "member",
    "membership",
    "merge_group",
    "meta",
    "milestone",
    "org_block",
    "organization",
    "package",
    "page_build",
    "personal_access_token_request",
    "ping",
    "project",
    "project_card",
    "project_column",
    "projects_v2",
    "projects_v2_item",
    "projects_v2_status_update",
    "public",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "pull_request_review_thread",
    "push",
    "registry_package",
    "release",
    "repository",
    "repository_advisory",
    "repository_dispatch",
    "repository_import",
    "repository_ruleset",
    "repository_vulnerability_alert",
    "secret_scanning_alert",
    "secret_scanning_alert_location",
    "secret_scanning_scan",
    "security_advisory",
    "security_and_analysis",
    "sponsorship",
    "star",
    "status",
    "sub_issues",
    "team",
    "team_add",
    "watch",
    "workflow_dispatch",
    "workflow_job",
    "workflow_run",
]);

/// Source: <https://docs.gitlab.com/user/project/integrations/webhook_events/>
pub(super) const GITLAB: EventTypes = EventTypes::Listed(&[
    "Confidential Issue Hook",
    "Confidential Note Hook",
    "Deployment Hook",
    "Emoji Hook",
    "Feature Flag Hook",
    "Issue Hook",
    "Job Hook",
    "Member Hook",
    "Merge Request Hook",
    "Milestone Hook",
    "Note Hook",
    "Pipeline Hook",
    "Project Hook",
    "Push Hook",
    "Release Hook",
    "Resource Access Token Hook",
    "Resource Deploy Token Hook",
    "Subgroup Hook",
    "System Hook",
    "Tag Push Hook",
    "Vulnerability Hook",
    "Wiki Page Hook",
]);

/// Of Gitea, Forgejo and Gogs. Source: <https://github.com/go-gitea/gitea/blob/main/modules/webhook/type.go>
pub(super) const GITEA: EventTypes = EventTypes::Listed(&[
    "action_run_failure",
    "action_run_recover",
    "action_run_success",
    "create",
    "delete",
    "fork",
    "issue_assign",
    "issue_comment",
    "issue_label",
    "issue_milestone",
    "issues",
    "package",
    "ping",
    "pull_request",
    "pull_request_approved",
    "pull_request_assign",
    "pull_request_comment",
    "pull_request_label",
    "pull_request_milestone",
    "pull_request_rejected",
    "pull_request_review_approved",
    "pull_request_review_comment",
    "pull_request_review_rejected",
    "pull_request_review_request",
    "pull_request_sync",
    "push",
    "release",
    "repository",
    "schedule",
    "status",
    "wiki",
    "workflow_job",
    "workflow_run",
]);

impl EventTypes {
    pub(super) fn has(self, event_type: &str) -> bool {
        match self {
            EventTypes::Unknown => true,
            EventTypes::Listed(types) => types.contains(&event_type),
            EventTypes::With(separator) => event_type.contains(separator),
        }
    }

    /// What is probably meant by a type that is none of these.
    pub(super) fn advice(self, event_type: &str) -> Option<String> {
        if let EventTypes::With(separator) = self {
            return Some(format!("each of its types has a {separator:?} in it"));
        }
        if let Some(known) = self.known().iter().find(|known| is_with_detail(event_type, known)) {
            let detail = &event_type[known.len() + 1..];
            return Some(format!("write {known:?}, and when = \"payload.action == '{detail}'\""));
        }
        similar(self, event_type).map(|near| format!("did you mean {near:?}?"))
    }

    fn known(self) -> &'static [&'static str] {
        if let EventTypes::Listed(types) = self { types } else { &[] }
    }
}

/// `issues.opened`, as some programs write a type and its action.
fn is_with_detail(event_type: &str, known: &str) -> bool {
    event_type.strip_prefix(known).is_some_and(|rest| rest.len() > 1 && rest.starts_with(['.', ':', '/']))
}

/// One that differs in little, or that has all the words: `push` is `Push Hook`, `pull-request` is `pull_request`.
fn similar(types: EventTypes, event_type: &str) -> Option<&'static str> {
    let words = |text: &str| text.to_lowercase().replace(['_', '-', '.', ':'], " ");
    let (known, sought) = (types.known().iter().copied(), words(event_type));
    let same = known.clone().find(|known| words(known) == sought || words(known) == format!("{sought} hook"));
    same.or_else(|| closest(event_type, known.clone()))
        .or_else(|| known.clone().find(|known| words(known).starts_with(&format!("{sought} "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_not_sent_has_the_one_that_is_meant() {
        for (types, event_type, part) in [
            (GITLAB, "push", "did you mean \"Push Hook\"?"),
            (GITLAB, "merge_request", "did you mean \"Merge Request Hook\"?"),
            (GITHUB, "issue", "did you mean \"issues\"?"),
            (GITHUB, "pull-request", "did you mean \"pull_request\"?"),
            (GITHUB, "issues.opened", "write \"issues\", and when = \"payload.action == 'opened'\""),
            (GITEA, "pushes", "did you mean \"push\"?"),
            (EventTypes::With('.'), "invoice_paid", "has a '.' in it"),
        ] {
            let advice = types.advice(event_type).unwrap_or_default();
            assert!(!types.has(event_type) && advice.contains(part), "{event_type}: {advice}");
        }
        assert_eq!(GITHUB.advice("Push Hook"), None);
        for (types, event_type) in
            [(GITLAB, "Push Hook"), (GITHUB, "push"), (EventTypes::With('.'), "a.b"), (EventTypes::Unknown, "x")]
        {
            assert!(types.has(event_type), "{event_type}");
        }
    }
}
