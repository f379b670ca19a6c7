//! Whether every secret can be fetched, and only by this user. None is shown.

use std::path::Path;

use super::{Context, Finding, Findings, fail, machine, ok, warn};
use crate::action::{Action, ActionKind};
use crate::cli::page;
use crate::config::{AdminToken, Origin, Source};
use crate::secret::SecretRef;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    for source in context.config.sources.values() {
        findings.add(format!("source {}", source.name), of_source(source, context));
    }
    for action in context.config.actions.values() {
        if let Some(finding) = of_action(action, context) {
            findings.add(format!("action {}", action.name), finding);
        }
    }
    if let Some(finding) = of_page(context) {
        findings.add("page", finding);
    }
    check_config_file(context, findings);
}

/// What guards the page; `None` where there is none.
fn of_page(context: &Context<'_>) -> Option<Finding> {
    let admin = &context.config.admin;
    let place = page::address(&admin.listen.place()?, admin);
    Some(match &admin.token {
        AdminToken::None => warn(format!(
            "at {place}: without a token, every user of this machine can read deliveries and run actions by replaying them: \
             remove token = \"none\" from [admin]"
        )),
        AdminToken::Configured(token) => {
            let problem = admin.fetch_token(context.env).err().map_or(String::new(), |error| error.to_string());
            let finding = of_secrets(&problem, [token], context);
            Finding { text: format!("at {place}: {}", finding.text), ..finding }
        }
        AdminToken::Made => match page::token(context.config, context.env) {
            Ok(Some(_)) => ok(format!("at {place}: hookbox page prints its address with the token")),
            Ok(None) => ok(format!("at {place}: its token is made when hookbox serve starts")),
            Err(why) => warn(why),
        },
    })
}

fn of_source(source: &Source, context: &Context<'_>) -> Finding {
    if let Some(warning) = source.verification.warning() {
        return warn(warning);
    }
    let secrets = source.verification.secrets();
    let problems = secrets.iter().filter_map(|secret| source.key(secret, context.env).err()).map(|error| error.reason);
    let token_problem = source.fetch_verify_token(context.env).err().map(|error| error.to_string());
    let problems: Vec<String> = problems.chain(token_problem).collect();
    of_secrets(&problems.join("; "), secrets.iter().chain(&source.verify_token), context)
}

/// `None` for an action that needs none.
fn of_action(action: &Action, context: &Context<'_>) -> Option<Finding> {
    let secrets: Vec<&SecretRef> = match &action.kind {
        ActionKind::Slack(slack) => vec![&slack.url],
        ActionKind::Http(http) => {
            let headers = http.headers.iter().map(|(_, value)| value);
            headers.chain([&http.url]).chain(&http.sign).collect()
        }
        ActionKind::Nats(nats) => nats.secrets().collect(),
        ActionKind::Redis(redis) => redis.secrets().collect(),
        ActionKind::Log | ActionKind::Command(_) => return None,
    };
    let problem = action.kind.prepare(context.env).err().map_or(String::new(), |error| error.to_string());
    Some(of_secrets(&problem, secrets, context))
}

/// A secret that the service manager provides is not visible here; but `serve` would not have started without it.
fn of_secrets<'a>(problem: &str, secrets: impl IntoIterator<Item = &'a SecretRef>, context: &Context<'_>) -> Finding {
    let exposed = secrets.into_iter().find_map(|secret| match secret {
        SecretRef::File(path) => machine::exposed(path),
        _ => None,
    });
    match (&context.server, exposed) {
        (_, Some(exposed)) if problem.is_empty() => warn(exposed),
        (_, None) if problem.is_empty() => ok("what it needs is set"),
        (Some(pid), _) => warn(format!("{problem}. Process {pid} serves, so that it has what is not set here")),
        (None, _) => fail(format!("{problem} (a systemd unit may set what this shell does not)")),
    }
}

/// Whether other users can read a secret that is written into the config itself.
fn check_config_file(context: &Context<'_>, findings: &mut Findings) {
    let Origin::File(path) = &context.config.origin else { return };
    let secrets = context.config.sources.values().flat_map(|source| source.verification.secrets());
    let is_written_out = secrets.into_iter().any(|one| matches!(one, SecretRef::Literal(_)));
    if let Some(exposed) = machine::exposed(Path::new(path)).filter(|_| is_written_out) {
        findings.add("config file", warn(format!("there is a secret in it, and {exposed}")));
    }
}
