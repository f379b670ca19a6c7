//! Whether every secret can be fetched, and only by this user. None is shown.

use std::path::Path;

use super::{Context, Findings, machine};
use crate::action::Action;
use crate::action::ActionKind;
use crate::config::{Origin, Source};
use crate::secret::SecretRef;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    for source in context.config.sources.values() {
        check_source(source, context, findings);
    }
    for action in context.config.actions.values() {
        check_action(action, context, findings);
    }
    check_config_file(context, findings);
}

fn check_source(source: &Source, context: &Context<'_>, findings: &mut Findings) {
    let check = format!("source {}", source.name);
    if let Some(warning) = source.verification.warning() {
        return findings.warn(check, warning);
    }
    let references = source.verification.secrets();
    let mut problems: Vec<String> =
        references.iter().filter_map(|it| source.key(it, context.env).err()).map(|error| error.reason).collect();
    if let Err(failure) = source.fetch_verify_token(context.env) {
        problems.push(failure.to_string());
    }
    let all = references.iter().chain(&source.verify_token);
    add_finding(check, &problems, all, context, findings);
}

fn check_action(action: &Action, context: &Context<'_>, findings: &mut Findings) {
    let references: Vec<&SecretRef> = match &action.kind {
        ActionKind::Slack(slack) => vec![&slack.url],
        ActionKind::Http(http) => {
            let headers = http.headers.iter().map(|(_, value)| value);
            headers.chain([&http.url]).chain(&http.sign).collect()
        }
        ActionKind::Log | ActionKind::Command(_) => return,
    };
    let problems: Vec<String> =
        action.kind.prepare(context.env).err().map(|error| error.to_string()).into_iter().collect();
    add_finding(format!("action {}", action.name), &problems, references, context, findings);
}

/// A secret that the service manager provides is not visible here; but `serve` would not have started without it.
fn add_finding<'a>(
    check: String,
    problems: &[String],
    references: impl IntoIterator<Item = &'a SecretRef>,
    context: &Context<'_>,
    findings: &mut Findings,
) {
    let references: Vec<&SecretRef> = references.into_iter().collect();
    let exposed = references.iter().find_map(|reference| match reference {
        SecretRef::File(path) => machine::exposed(path),
        _ => None,
    });
    match (problems, &context.server) {
        ([], _) => match exposed {
            Some(exposed) => findings.warn(check, exposed),
            None => findings.ok(check, "what it needs is set"),
        },
        (problems, Some(pid)) => findings
            .warn(check, format!("{}. Process {pid} serves, so that it has what is not set here", problems.join("; "))),
        (problems, None) => {
            findings.fail(check, format!("{} (a systemd unit may set what this shell does not)", problems.join("; ")));
        }
    }
}

/// Whether other users can read a secret that is written into the config itself.
fn check_config_file(context: &Context<'_>, findings: &mut Findings) {
    let Origin::File(path) = &context.config.origin else { return };
    let secrets = context.config.sources.values().flat_map(|source| source.verification.secrets());
    let is_written_out = secrets.into_iter().any(|one| matches!(one, SecretRef::Literal(_)));
    if let Some(exposed) = machine::exposed(Path::new(path)).filter(|_| is_written_out) {
        findings.warn("config file", format!("there is a secret in it, and {exposed}"));
    }
}
