//! `hookbox check --event ID` and `--file FILE`: which actions an event would trigger, and what each would send.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::args::CheckArgs;
use super::{Failure, no_event, table, unknown_source};
use crate::action::{Action, ActionKind, Call};
use crate::clock;
use crate::config::{Config, Source};
use crate::event::{Event, EventId, Job};
use crate::secret::Env;
use crate::stop::Stop;
use crate::store::Reader;
use crate::template::{Scope, TemplateError};
use crate::units::duration_text;
use crate::worker::idempotency_key;

pub(super) fn write(config: &Config, args: &CheckArgs, env: &Env<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let event = match args {
        CheckArgs::Config | CheckArgs::WithoutSecrets => return Ok(()),
        CheckArgs::Event(id) => Reader::open(&config.database)?.event(*id)?.ok_or_else(|| no_event(*id))?,
        CheckArgs::File { file, source, event_type } => {
            of_file(config, file, source.as_deref(), event_type.as_deref())?
        }
    };
    writeln!(out, "\nan event {} from {}", table::one_line(&event.event_type), table::one_line(&event.source))?;
    for action in config.actions.values() {
        // Templates insert text of untrusted senders.
        let outcome = table::lines(&outcome(action, &event, env)?);
        writeln!(out, "\naction {}: {}", action.name, outcome.trim_end())?;
    }
    Ok(())
}

fn outcome(action: &Action, event: &Event, env: &Env<'_>) -> Result<String, Failure> {
    if !action.matches(&event.source, &event.event_type) {
        return Ok("no, by on".to_owned());
    }
    let prepared = action.kind.prepare(env);
    let prepared = prepared.map_err(|error| Failure::usage(format!("actions.{}.{error}", action.name)))?;
    let preview = || -> Result<String, TemplateError> {
        let job = Job {
            event: event.id,
            action: action.name.clone(),
            key: None,
            is_replayed: false,
            attempt: 1,
            attempts_since_queued: 1,
            round: 0,
            waited: Duration::ZERO,
            is_claimed_on_disk: false,
        };
        let idempotency_key = idempotency_key(event, &job);
        let scope = Scope::of(event).with("attempt", 1).with("idempotency_key", idempotency_key.as_str());
        if !action.applies_to(&scope)? {
            return Ok("no, by when".to_owned());
        }
        let (stop, timeout, grace) = (&Stop::default(), action.timeout, Duration::ZERO);
        let call = Call { event, scope: &scope, attempt: 1, idempotency_key: &idempotency_key, timeout, stop, grace };
        let key = action.key_of(&scope)?.map_or(String::new(), |key| format!("key {:?}\n", key.text));
        let limit = match action.kind {
            ActionKind::Log => String::new(),
            _ => format!("timeout {}\n", duration_text(action.timeout)),
        };
        Ok(format!("yes\n{key}{limit}{}", prepared.preview(&call)?))
    };
    Ok(preview().unwrap_or_else(|error| format!("its job would be dead at once: {error}")))
}

fn of_file(config: &Config, file: &Path, source: Option<&str>, event_type: Option<&str>) -> Result<Event, Failure> {
    let payload_json = fs::read_to_string(file)
        .map_err(|error| Failure::failed(format!("cannot read {}: {error}", file.display())))?;
    let source = source_named(config, source)?;
    Ok(Event {
        id: EventId(0),
        source: source.name.clone(),
        event_type: event_type.unwrap_or(source.verifier.preset.sample.event_type).to_owned(),
        delivery_id: "example".to_owned(),
        received_at: clock::now().to_string(),
        headers_json: r#"{"Content-Type":"application/json"}"#.to_owned(),
        payload_json: payload_json.into(),
        body: None,
    })
}

fn source_named<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Source, Failure> {
    let found = match name {
        Some(name) => config.sources.get(name),
        None => config.sources.values().next(),
    };
    found.ok_or_else(|| unknown_source(config, name.unwrap_or_default()))
}
