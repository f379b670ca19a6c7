//! Whether every secret can be fetched, and only by this user. None is shown.

use std::path::Path;

use super::{Context, Findings, machine};
use crate::action::{Action, ActionKind};
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
    let secrets = source.verification.secrets();
    let problems = secrets.iter().filter_map(|secret| source.key(secret, context.env).err()).map(|error| error.reason);
    let token_problem = source.fetch_verify_token(context.env).err().map(|error| error.to_string());
    let problems = problems.chain(token_problem).collect();
    add_finding(check, problems, secrets.iter().chain(&source.verify_token), context, findings);
}

fn check_action(action: &Action, context: &Context<'_>, findings: &mut Findings) {
    let secrets: Vec<&SecretRef> = match &action.kind {
        ActionKind::Slack(slack) => vec![&slack.url],
        ActionKind::Http(http) => {
            let headers = http.headers.iter().map(|(_, value)| value);
            headers.chain([&http.url]).chain(&http.sign).collect()
        }
        ActionKind::Log | ActionKind::Command(_) => return,
    };
    let problems = action.kind.prepare(context.env).err().map(|error| error.to_string());
    add_finding(format!("action {}", action.name), problems.into_iter().collect(), secrets, context, findings);
}

/// A secret that the service manager provides is not visible here; but `serve` would not have started without it.
fn add_finding<'a>(
    check: String,
    problems: Vec<String>,
    secrets: impl IntoIterator<Item = &'a SecretRef>,
    context: &Context<'_>,
    findings: &mut Findings,
) {
    let exposed = secrets.into_iter().find_map(|secret| match secret {
        SecretRef::File(path) => machine::exposed(path),
        _ => None,
    });
    let what = problems.join("; ");
    match (&context.server, exposed) {
        (_, Some(exposed)) if problems.is_empty() => findings.warn(check, exposed),
        (_, None) if problems.is_empty() => findings.ok(check, "what it needs is set"),
        (Some(pid), _) => {
            findings.warn(check, format!("{what}. Process {pid} serves, so that it has what is not set here"));
        }
        (None, _) => findings.fail(check, format!("{what} (a systemd unit may set what this shell does not)")),
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
