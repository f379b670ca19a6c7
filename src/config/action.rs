//! The tables under `[actions]`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde_json::json;
use toml::{Table, Value};
use ureq::http::header::CONTENT_LENGTH;
use ureq::http::{HeaderName, Method};

use super::engine;
use super::reader::Reader;
use super::values::{Parsed, boolean, count, duration, parsed, path, text};
use crate::action::{Action, ActionKind, Command, Http, Pattern, Slack, Variable};
use crate::news::{self, Kind};
use crate::retry::Policy;
use crate::secret::SecretRef;
use crate::suggest::hint;
use crate::template::{Answer, Expression, Template};
use crate::units::duration_text;

/// The action of a start without any config.
const BUILT_IN: &str = "log";

const KINDS: [&str; 6] = ["log", "slack", "http", "command", "nats", "redis"];

/// With the longest backoff, a thousand attempts outlive the machine.
pub(super) const ATTEMPTS: RangeInclusive<u32> = 1..=1000;

/// Less is a busy loop against a failing destination; more than a month delays a job beyond any use.
pub(super) const BACKOFF: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(30 * 24 * 60 * 60);

/// As of a backoff.
const DELAY: RangeInclusive<Duration> = BACKOFF;

/// A day is the longest that a deployment or a backup takes.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);

/// Longer than any working service takes to answer.
const DEFAULT_HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// Longer than most commands take; the config sets the timeout of one that takes longer.
const DEFAULT_COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Each is a thread and a connection to the database.
const CONCURRENCY: RangeInclusive<u32> = 1..=16;

/// The exit codes of a failure.
const EXIT_CODES: RangeInclusive<u32> = 1..=255;

const NO_ON: &str = "write which events, such as [\"github:push\"], or [\"*\"] for all";

/// `None` where there is no `[actions]`.
///
/// An empty table is allowed, because another program may process the events.
pub(super) fn read_all(keys: &mut Reader) -> Option<BTreeMap<String, Action>> {
    let all = keys.raw_table("actions").cloned().unwrap_or_default();
    keys.tables("actions", |name, keys| read(name, keys, &all))
}

pub(super) fn built_in() -> BTreeMap<String, Action> {
    let action = Action {
        name: BUILT_IN.to_owned(),
        kind: ActionKind::Log,
        on: vec![Pattern::everything()],
        when: None,
        key: None,
        latest_only: false,
        delay: Duration::ZERO,
        policy: Policy::default(),
        timeout: DEFAULT_COMMAND_TIMEOUT,
        concurrency: 1,
    };
    BTreeMap::from([(BUILT_IN.to_owned(), action)])
}

/// `all` are the tables of all actions, as they are written.
fn read(name: &str, keys: &mut Reader, all: &Table) -> Option<Action> {
    let kind = keys.require("kind", &format!("write one of: {}", KINDS.join(", ")), kind_name);
    let on = if keys.has("on") { keys.get_all("on", parsed) } else { None };
    if !keys.has("on") {
        keys.refuse::<()>("on", format!("missing; {NO_ON}"));
    }
    let when = keys.get("when", parsed);
    let key = keys.get("key", parsed);
    let latest_only = keys.get("latest_only", boolean).unwrap_or_default();
    let delay = keys.get("delay", |v| duration(v, &DELAY)).unwrap_or_default();
    let policy = read_policy(keys);
    keys.get("on_dead", |value| Err::<(), _>(on_dead_is_gone(value, all)));
    // Without a kind all other keys would be unknown.
    let Some(kind) = kind else {
        keys.ignore_unknown_keys();
        return None;
    };
    let (kind, mut timeout) = match kind {
        "slack" => (read_slack(keys).map(ActionKind::Slack), DEFAULT_HTTP_TIMEOUT),
        "http" => (read_http(keys).map(ActionKind::Http), DEFAULT_HTTP_TIMEOUT),
        "nats" => (engine::read_nats(keys).map(ActionKind::Nats), DEFAULT_HTTP_TIMEOUT),
        "redis" => (engine::read_redis(keys).map(ActionKind::Redis), DEFAULT_HTTP_TIMEOUT),
        "command" => (read_command(keys).map(ActionKind::Command), DEFAULT_COMMAND_TIMEOUT),
        _ => (Some(ActionKind::Log), DEFAULT_COMMAND_TIMEOUT),
    };
    let mut concurrency = 1;
    if !matches!(kind, Some(ActionKind::Log)) {
        timeout = keys.get("timeout", |v| duration(v, &TIMEOUT)).unwrap_or(timeout);
        concurrency = keys.get("concurrency", |v| count(v, &CONCURRENCY)).unwrap_or(concurrency);
    }
    Some(Action {
        name: name.to_owned(),
        kind: kind?,
        on: on?,
        when,
        key,
        latest_only,
        delay,
        policy: policy?,
        timeout,
        concurrency,
    })
}

/// The lines that replace `on_dead`, for the action that it names: for the dead jobs of all actions that name it, and for
/// the events that it is for already. JSON writes a text, and a list of them, as TOML does.
fn on_dead_is_gone(value: &Value, all: &Table) -> String {
    let reporter = value.as_str().unwrap_or("NAME");
    let reported = |action: &Value| action.get("on_dead").is_some_and(|on_dead| on_dead == value);
    let names: Vec<String> =
        all.iter().filter(|(_, action)| reported(action)).map(|(name, _)| format!("'{name}'")).collect();
    let is_reported = match names.as_slice() {
        [name] => format!("payload.action == {name}"),
        names => format!("payload.action in [{}]", names.join(", ")),
    };
    let has = |key: &str| all.get(reporter)?.get(key);
    let mut on = match has("on") {
        Some(Value::Array(patterns)) => patterns.clone(),
        single => single.cloned().into_iter().collect(),
    };
    let when = match has("when").and_then(Value::as_str) {
        _ if on.is_empty() => is_reported,
        None => format!("source != '{}' or {is_reported}", news::SOURCE),
        Some(when) => format!("({when}) if source != '{}' else {is_reported}", news::SOURCE),
    };
    on.push(format!("{}:{}", news::SOURCE, Kind::JobDead.as_str()).into());
    format!(
        "a dead job is an event now. Delete this line, and write these into [actions.{reporter}], in place of its on and \
         when:\n    on = {}\n    when = {}\n    In its templates, dead_action is payload.action, and error is payload.error",
        json!(on),
        json!(when)
    )
}

fn read_slack(keys: &mut Reader) -> Option<Slack> {
    let url = keys.require("url", "write \"env:NAME\" or \"file:/path\" of the incoming webhook's URL", url);
    Some(Slack {
        text: keys.get("text", |v| Template::mrkdwn(text(v)?).map_err(|error| error.to_string())),
        blocks: keys.get("blocks", parsed),
        success_when: keys.get("success_when", |v| success_when(v, &Answer::OF_HTTP)),
        ca_file: keys.get("ca_file", path),
        url: url?,
    })
}

fn read_http(keys: &mut Reader) -> Option<Http> {
    let url = keys.require("url", "write the URL, or \"env:NAME\" or \"file:/path\" where it has a secret in it", url);
    let headers = keys.get_table("headers", header);
    Some(Http {
        method: keys.get("method", method).unwrap_or(Method::POST),
        headers,
        body: keys.get("body", parsed),
        sign: keys.get("sign", parsed),
        success_when: keys.get("success_when", |v| success_when(v, &Answer::OF_HTTP)),
        ca_file: keys.get("ca_file", path),
        url: url?,
    })
}

fn read_command(keys: &mut Reader) -> Option<Command> {
    keys.check_present("run", "write the program and its arguments, such as [\"/usr/local/bin/deploy\"]");
    let run = keys.get_all("run", parsed);
    Some(Command {
        stdin: keys.get("stdin", parsed),
        env: keys.get_table("env", |name, value| Variable::parse(name, text(value)?)),
        success_when: keys.get("success_when", |v| success_when(v, &Answer::OF_COMMAND)),
        directory: keys.get("directory", path),
        give_up: keys.get_all("give_up", exit_code).unwrap_or_default().into_iter().collect(),
        run: run?,
    })
}

fn read_policy(keys: &mut Reader) -> Option<Policy> {
    let default = Policy::default();
    let policy = Policy {
        attempts: keys.get("attempts", |v| count(v, &ATTEMPTS)).unwrap_or(default.attempts),
        backoff: keys.get("backoff", |v| duration(v, &BACKOFF)).unwrap_or(default.backoff),
        backoff_max: keys.get("backoff_max", |v| duration(v, &BACKOFF)).unwrap_or(default.backoff_max),
    };
    if policy.backoff > policy.backoff_max {
        let (backoff, backoff_max) = (duration_text(policy.backoff), duration_text(policy.backoff_max));
        return keys.refuse("backoff_max", format!("{backoff_max} is less than backoff, {backoff}; raise it"));
    }
    Some(policy)
}

fn kind_name(value: &Value) -> Parsed<&'static str> {
    let name = text(value)?;
    let kind = KINDS.into_iter().find(|kind| *kind == name);
    kind.ok_or_else(|| format!("no kind {name:?}; {}", hint(name, &KINDS)))
}

/// A literal URL is a template, whose syntax is checked here; a URL from elsewhere is checked when it is fetched.
fn url(value: &Value) -> Parsed<SecretRef> {
    let reference: SecretRef = parsed(value)?;
    if let SecretRef::Literal(_) = &reference {
        let text = text(value)?;
        let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        if rest.is_none_or(str::is_empty) {
            return Err("a URL begins with http:// or https:// and has a host".to_owned());
        }
        parsed::<Template>(value)?;
    }
    Ok(reference)
}

fn header(name: &str, value: &Value) -> Parsed<(HeaderName, SecretRef)> {
    let name = HeaderName::from_str(name).map_err(|_| "this cannot be the name of a header".to_owned())?;
    if name == CONTENT_LENGTH {
        return Err(
            "the length of the body is sent anyway, and any other would break the request; leave it out".to_owned()
        );
    }
    let reference: SecretRef = parsed(value)?;
    if let SecretRef::Literal(_) = &reference {
        parsed::<Template>(value)?;
    }
    Ok((name, reference))
}

fn method(value: &Value) -> Parsed<Method> {
    let name = text(value)?;
    // Methods are case-sensitive: "put" would be unknown to every server.
    Method::from_str(&name.to_ascii_uppercase()).map_err(|_| format!("{name:?} is not a method; write POST, PUT, ..."))
}

fn success_when(value: &Value, members: &[&str]) -> Parsed<Expression> {
    Expression::on_answer(text(value)?, members).map_err(|error| error.to_string())
}

fn exit_code(value: &Value) -> Parsed<i32> {
    count(value, &EXIT_CODES).map(u32::cast_signed)
}
