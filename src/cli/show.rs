//! `hookbox show`: everything about one event.

mod curl;
mod timeline;

use std::io::{self, Write};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Failure;
use super::args::{ShowArgs, ShowForm};
use super::json::pretty;
use super::table::{self, Screen};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::store::{Detail, JobDetail, Reader, Summary};

pub(super) fn run(config: &Config, args: &ShowArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(event) = Reader::open(&config.database)?.detail(args.id)? else {
        return Err(Failure::failed(format!("there is no event {}: `hookbox list` shows which there are", args.id)));
    };
    match args.form {
        ShowForm::Body => out.write_all(event.body.as_deref().unwrap_or(event.payload_json.as_bytes()))?,
        ShowForm::Json => writeln!(out, "{}", table::json_line(&as_json(&event)?))?,
        ShowForm::Text => write_text(out, &event, Screen::of_stdout())?,
        ShowForm::Curl => write!(out, "{}", curl::command(config, &event))?,
    }
    Ok(out.flush()?)
}

/// The text of the payload is kept, so that numbers and the order of keys do not change.
fn as_json(event: &Detail) -> Result<String, Failure> {
    #[derive(serde::Serialize)]
    struct EventJson<'a> {
        #[serde(flatten)]
        summary: &'a Summary,
        headers: Box<RawValue>,
        payload: Box<RawValue>,
        jobs: &'a [JobDetail],
    }
    let event = EventJson {
        summary: &event.summary,
        headers: raw(&event.headers_json),
        payload: raw(&event.payload_json),
        jobs: &event.jobs,
    };
    serde_json::to_string(&event).map_err(|error| Failure::failed(error.to_string()))
}

/// Another program may have stored text that is not JSON: it becomes a string.
fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap_or_else(|_| {
        // A string is always JSON.
        RawValue::from_string(json!(json).to_string()).unwrap_or_default()
    })
}

fn write_text(out: &mut dyn Write, event: &Detail, screen: Screen) -> io::Result<()> {
    let summary = &event.summary;
    let mut rows = vec![
        ["event", &summary.id.to_string()].map(table::one_line),
        ["source", &summary.source].map(table::one_line),
        ["type", &summary.event].map(table::one_line),
        ["delivery", &summary.delivery_id].map(table::one_line),
        ["status", &summary.status].map(table::one_line),
        ["received", &summary.received_at].map(table::one_line),
    ];
    rows.extend(summary.processed_at.iter().map(|at| ["processed", at].map(table::one_line)));
    let verified = summary.secret.map_or("no".to_owned(), |secret| format!("with secret {secret}"));
    rows.push(["verified".to_owned(), verified]);
    if summary.duplicates > 0 {
        rows.push(["duplicates".to_owned(), summary.duplicates.to_string()]);
    }
    table::write(out, Screen::default(), &rows)?;
    write_headers(out, &event.headers_json)?;
    write_jobs(out, event)?;
    timeline::write(out, event, screen)?;
    writeln!(out, "\npayload\n{}", payload(&event.payload_json, screen))
}

fn write_headers(out: &mut dyn Write, headers_json: &str) -> io::Result<()> {
    let Ok(Value::Object(headers)) = serde_json::from_str(headers_json) else { return Ok(()) };
    if headers.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nheaders")?;
    for (name, value) in headers {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        writeln!(out, "  {}: {}", table::one_line(&name), table::one_line(&value))?;
    }
    Ok(())
}

fn write_jobs(out: &mut dyn Write, event: &Detail) -> io::Result<()> {
    if !event.jobs.is_empty() {
        writeln!(out)?;
    }
    event.jobs.iter().try_for_each(|job| writeln!(out, "action {}: {}", name(job), state(job)))
}

/// The action, and for a job that reports a dead job, the action of that.
fn name(job: &JobDetail) -> String {
    let action = table::one_line(&job.action);
    if job.dead_action.is_empty() {
        action
    } else {
        format!("{action} (reports {})", table::one_line(&job.dead_action))
    }
}

/// A job's state, and until when it waits.
fn state(job: &JobDetail) -> String {
    let due = job.due_at_ms.map(Timestamp::from_unix_ms).filter(|due| *due > clock::now());
    match (due, job.state.as_str()) {
        (_, "queued") if job.paused => "queued, paused".to_owned(),
        (Some(due), "queued") => format!("queued until {due}"),
        (_, state) => state.to_owned(),
    }
}

/// Indented on a terminal, as it was received elsewhere.
fn payload(json: &str, screen: Screen) -> String {
    if !screen.is_terminal {
        return json.to_owned();
    }
    match serde_json::from_str::<&RawValue>(json) {
        Ok(_) => pretty(json, table::is_invisible),
        Err(_) => table::lines(json),
    }
}
