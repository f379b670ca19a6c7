//! Whether every secret is there, and for nobody else. None is shown.

use std::path::Path;

use super::{Context, Report, machine};
use crate::action::Action;
use crate::action::ActionKind;
use crate::config::{Origin, Source};
use crate::secret::SecretRef;

pub(super) fn check(patient: &Context<'_>, report: &mut Report) {
    for source in patient.config.sources.values() {
        check_source(source, patient, report);
    }
    for action in patient.config.actions.values() {
        check_action(action, patient, report);
    }
    check_config_file(patient, report);
}

fn check_source(source: &Source, patient: &Context<'_>, report: &mut Report) {
    let check = format!("source {}", source.name);
    if let Some(warning) = source.verification.warning() {
        return report.warn(check, warning);
    }
    let references = source.verification.secrets();
    let mut problems: Vec<String> =
        references.iter().filter_map(|it| source.key(it, patient.env).err()).map(|error| error.reason).collect();
    if let Err(failure) = source.fetch_verify_token(patient.env) {
        problems.push(failure.to_string());
    }
    let all = references.iter().chain(&source.verify_token);
    tell(check, &problems, all, patient, report);
}

fn check_action(action: &Action, patient: &Context<'_>, report: &mut Report) {
    let references: Vec<&SecretRef> = match &action.kind {
        ActionKind::Slack(slack) => vec![&slack.url],
        ActionKind::Http(http) => {
            let headers = http.headers.iter().map(|(_, value)| value);
            headers.chain([&http.url]).chain(&http.sign).collect()
        }
        ActionKind::Log | ActionKind::Command(_) => return,
    };
    let problems: Vec<String> =
        action.kind.prepare(patient.env).err().map(|error| error.to_string()).into_iter().collect();
    tell(format!("action {}", action.name), &problems, references, patient, report);
}

/// What only the service manager gives cannot be seen here; but `serve` does not start without.
fn tell<'a>(
    check: String,
    problems: &[String],
    references: impl IntoIterator<Item = &'a SecretRef>,
    patient: &Context<'_>,
    report: &mut Report,
) {
    let references: Vec<&SecretRef> = references.into_iter().collect();
    let exposed = references.iter().find_map(|reference| match reference {
        SecretRef::File(path) => machine::exposed(path),
        _ => None,
    });
    match (problems, &patient.server) {
        ([], _) => match exposed {
            Some(exposed) => report.warn(check, exposed),
            None => report.ok(check, "what it needs is set"),
        },
        (problems, Some(pid)) => report
            .warn(check, format!("{}. Process {pid} serves, so that it has what is not set here", problems.join("; "))),
        (problems, None) => {
            report.fail(check, format!("{} (a systemd unit may set what this shell does not)", problems.join("; ")));
        }
    }
}

/// A secret that is written into the config itself.
fn check_config_file(patient: &Context<'_>, report: &mut Report) {
    let Origin::File(path) = &patient.config.origin else { return };
    let secrets = patient.config.sources.values().flat_map(|source| source.verification.secrets());
    let is_written_out = secrets.into_iter().any(|one| matches!(one, SecretRef::Literal(_)));
    if let Some(exposed) = machine::exposed(Path::new(path)).filter(|_| is_written_out) {
        report.warn("config file", format!("there is a secret in it, and {exposed}"));
    }
}
