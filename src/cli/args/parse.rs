//! The options and arguments of each command, taken out of the command line and made into values.

use std::path::PathBuf;

use log::LevelFilter;

use super::option::{NameKind, Shell, Value};
use super::raw::Raw;
use super::{CheckArgs, Command, ImportArgs, ListArgs, PruneArgs, RecoverArgs, ReplayArgs, SendArgs, ShowForm};
use crate::cli::Failure;
use crate::clock::{self, Timestamp};
use crate::event::{EventId, ShownStatus};
use crate::store::{Filter, ReplayScope, Selection};
use crate::units::parse_duration;

/// A screenful or two.
const DEFAULT_LIST_LIMIT: u32 = 50;

pub fn check(raw: &mut Raw) -> Result<Command, Failure> {
    let (event, file) = (raw.parsed("event", event_id)?, raw.value("file").map(PathBuf::from));
    let args = match (event, file) {
        (None, None) if raw.switch("no-secrets") => CheckArgs::WithoutSecrets,
        (None, None) => CheckArgs::Config,
        (Some(id), None) => CheckArgs::Event(id),
        (None, Some(file)) => {
            CheckArgs::File { file, source: raw.parsed("source", any_text)?, event_type: raw.parsed("type", any_text)? }
        }
        (Some(_), Some(_)) => return Err(contradiction(raw, "event", "file")),
    };
    Ok(Command::Check(args))
}

pub fn list(raw: &mut Raw) -> Result<Command, Failure> {
    Ok(Command::List(ListArgs {
        filter: Filter { limit: raw.parsed("limit", limit)?.unwrap_or(DEFAULT_LIST_LIMIT), ..filter(raw)? },
        json: raw.switch("json"),
        follow: raw.switch("follow"),
    }))
}

pub fn show(raw: &mut Raw) -> Result<Command, Failure> {
    let id = event_argument(raw, "the ID of an event")?;
    let forms =
        [("full", ShowForm::Full), ("json", ShowForm::Json), ("body", ShowForm::Body), ("curl", ShowForm::Curl)];
    let asked: Vec<_> = forms.into_iter().filter(|(name, _)| raw.switch(name)).collect();
    let form = match asked[..] {
        [] => ShowForm::Text,
        [(_, form)] => form,
        [(one, _), (other, _), ..] => return Err(contradiction(raw, one, other)),
    };
    Ok(Command::Show(id, form))
}

pub fn send(raw: &mut Raw) -> Result<Command, Failure> {
    Ok(Command::Send(SendArgs {
        source: raw.argument("the SOURCE to send to")?,
        event_type: raw.parsed("event", any_text)?,
        file: raw.value("file").map(PathBuf::from),
        delivery_id: raw.parsed("id", any_text)?,
        url: raw.parsed("url", any_text)?,
    }))
}

pub fn recover(raw: &mut Raw) -> Result<Command, Failure> {
    Ok(Command::Recover(RecoverArgs {
        source: raw.argument("the SOURCE that has missed something")?,
        since: raw.parsed("since", parse_duration)?,
        dry_run: raw.switch("dry-run"),
    }))
}

pub fn import(raw: &mut Raw) -> Result<Command, Failure> {
    let secrets = raw.value("secrets").map(PathBuf::from);
    Ok(Command::Import(ImportArgs {
        file: raw.argument("the FILE of hooks, or - for standard input")?.into(),
        secrets,
    }))
}

pub fn replay(raw: &mut Raw) -> Result<Command, Failure> {
    let (action, selection) = (raw.parsed("action", any_text)?, selection(raw)?);
    let (is_failed, is_again) = (raw.switch("failed"), raw.switch("again"));
    let scope = match (is_failed, is_again) {
        (false, false) => ReplayScope::Unsuccessful,
        (true, false) => ReplayScope::Failed,
        (false, true) => ReplayScope::Again,
        (true, true) => return Err(contradiction(raw, "failed", "again")),
    };
    if selection.is_any() && !is_failed {
        return Err(raw.missing("the ID of an event, --failed, or a filter such as --status or --since"));
    }
    Ok(Command::Replay(ReplayArgs { selection, action, scope, dry_run: raw.switch("dry-run") }))
}

/// An action alone selects all its open jobs.
pub fn cancel(raw: &mut Raw) -> Result<Command, Failure> {
    let (action, selection) = (raw.parsed("action", any_text)?, selection(raw)?);
    if selection.is_any() && action.is_none() {
        return Err(raw.missing("the ID of an event, --action, or a filter such as --status or --since"));
    }
    Ok(Command::Cancel(selection, action))
}

fn selection(raw: &mut Raw) -> Result<Selection, Failure> {
    let mut ids = Vec::new();
    while let Some(word) = raw.word() {
        ids.push(event_id(&word).map_err(|reason| raw.wrong_argument(reason))?);
    }
    Ok(Selection { ids, filter: filter(raw)? })
}

/// The options that select events; the limit is not among them.
fn filter(raw: &mut Raw) -> Result<Filter, Failure> {
    Ok(Filter {
        status: raw.parsed("status", status)?,
        source: raw.parsed("source", any_text)?,
        event_type: raw.parsed("event", any_text)?,
        since: since(raw)?,
        before: raw.parsed("before", event_id)?,
        text: raw.parsed("grep", any_text)?,
        ..Filter::default()
    })
}

/// The time that many hours or days ago.
fn since(raw: &mut Raw) -> Result<Option<Timestamp>, Failure> {
    Ok(raw.parsed("since", parse_duration)?.map(|ago| clock::now().minus(ago)))
}

pub fn forward(raw: &mut Raw) -> Result<Command, Failure> {
    let id = event_argument(raw, "the ID of an event and a URL")?;
    Ok(Command::Forward(id, raw.argument("a URL after the ID")?))
}

pub fn prune(raw: &mut Raw) -> Result<Command, Failure> {
    let older_than = raw.parsed("older-than", parse_duration)?;
    let selection = selection(raw)?;
    if selection.filter.status == Some(ShownStatus::Unprocessed) {
        return Err(
            raw.wrong_value("status", "what is unprocessed is never pruned; write processed, cancelled or error")
        );
    }
    Ok(Command::Prune(PruneArgs {
        older_than,
        selection,
        dry_run: raw.switch("dry-run"),
        vacuum: raw.switch("vacuum"),
    }))
}

pub fn delete(raw: &mut Raw) -> Result<Command, Failure> {
    Ok(Command::Delete(event_argument(raw, "the ID of an event")?))
}

pub fn backup(raw: &mut Raw) -> Result<Command, Failure> {
    let file = raw.os_word().filter(|file| !file.is_empty()).ok_or_else(|| raw.missing("the FILE to write"))?;
    Ok(Command::Backup(PathBuf::from(file)))
}

pub fn completions(raw: &mut Raw) -> Result<Command, Failure> {
    let word = raw.argument("the SHELL: bash, zsh or fish")?;
    if let Some(kind) = NameKind::ALL.into_iter().find(|kind| kind.as_str() == word) {
        return Ok(Command::Names(kind));
    }
    let shell = Shell::ALL.into_iter().find(|shell| shell.as_str() == word);
    let unknown = || raw.wrong_argument(none_of("shell", &word, Value::Shell));
    Ok(Command::Completions(shell.ok_or_else(unknown)?))
}

pub fn man(raw: &mut Raw) -> Result<Command, Failure> {
    let pages = Value::ManPage.choices();
    let Some(word) = raw.word() else { return Ok(Command::Man(pages[0])) };
    let unknown = || raw.wrong_argument(none_of("page", &word, Value::ManPage));
    Ok(Command::Man(pages.iter().find(|page| **page == word).ok_or_else(unknown)?))
}

/// With `--grep` all words are looked for, quoted or not.
pub fn help(raw: &mut Raw) -> Result<Command, Failure> {
    let Some(first) = raw.parsed("grep", any_text)? else { return Ok(Command::Help(raw.word())) };
    Ok(Command::SearchHelp(std::iter::once(first).chain(std::iter::from_fn(|| raw.word())).collect()))
}

fn contradiction(raw: &Raw, one: &str, other: &str) -> Failure {
    raw.wrong_option(format!("--{one} and --{other} cannot be given together"))
}

fn event_argument(raw: &mut Raw, what: &str) -> Result<EventId, Failure> {
    event_id(&raw.argument(what)?).map_err(|reason| raw.wrong_argument(reason))
}

fn any_text(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("the value is empty") } else { Ok(text.to_owned()) }
}

fn status(text: &str) -> Result<ShownStatus, String> {
    ShownStatus::parse(text).ok_or_else(|| none_of("status", text, Value::Status))
}

fn limit(text: &str) -> Result<u32, String> {
    let limit = text.parse().ok().filter(|limit| *limit > 0);
    limit.ok_or_else(|| format!("{text:?} is not a number of events; write 1 or more"))
}

fn event_id(text: &str) -> Result<EventId, String> {
    let id = text.parse().ok().filter(|id| *id > 0);
    id.map(EventId).ok_or_else(|| format!("{text:?} is not an event's ID; write a number as hookbox list prints it"))
}

pub(super) fn log_level(text: &str) -> Result<LevelFilter, String> {
    let level = text.parse().ok().filter(|_| Value::LogLevel.choices().contains(&text));
    level.ok_or_else(|| none_of("level", text, Value::LogLevel))
}

fn none_of(what: &str, text: &str, value: Value) -> String {
    format!("no {what} {text:?}; write one of: {}", value.choices().join(", "))
}
