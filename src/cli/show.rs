//! `hookbox show`: everything about one event.

mod curl;

use std::io::{self, Write};

use serde_json::Value;
use serde_json::value::RawValue;

use super::args::ShowForm;
use super::table::{self, Colour, Screen};
use super::{Failure, json, no_event, running};
use crate::action::{Exclusion, exclusions};
use crate::clock;
use crate::config::Config;
use crate::event::{Event, EventId, ShownStatus, Status};
use crate::secret::Env;
use crate::store::{AttemptDetail, Detail, JobDetail, Reader, Summary};

/// Lines of the answer or output of an attempt that are shown, and how long they are, unless all of it is asked for.
const FIRST_LINES: usize = 8;
const FIRST_CHARS: usize = 1000;

/// Before the further lines of an answer.
const INDENT: &str = "      ";

pub(super) fn run(
    config: &Config,
    id: EventId,
    form: ShowForm,
    env: &Env<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let reader = Reader::open(&config.database)?;
    let event = || -> Result<_, Failure> { reader.event(id)?.ok_or_else(|| no_event(id)) };
    let detail = || -> Result<_, Failure> {
        // Before: a job that ends meanwhile is then described as it is after that.
        let server = running::jobs(config, env);
        let mut detail = reader.detail(id)?.ok_or_else(|| no_event(id))?;
        detail.describe(&server, clock::now());
        Ok(detail)
    };
    match form {
        ShowForm::Body => out.write_all(event()?.bytes())?,
        ShowForm::Curl => out.write_all(curl::command(config, &event()?).as_bytes())?,
        ShowForm::Json => {
            let detail = detail()?;
            let text = as_json(&detail, &not_for(config, &event()?, &detail))?;
            writeln!(out, "{}", json::one_line(&text))?;
        }
        ShowForm::Text | ShowForm::Full => {
            let (detail, event) = (detail()?, event()?);
            let not_for = not_for(config, &event, &detail);
            let view = View { screen: Screen::of_stdout(), is_full: form == ShowForm::Full, not_for };
            write_text(out, &detail, &view)?;
        }
    }
    Ok(out.flush()?)
}

/// What is shown beside the event itself, and how.
struct View {
    screen: Screen,
    /// Whether long answers are shown whole.
    is_full: bool,
    not_for: Vec<Exclusion>,
}

/// The actions that have no job for the event, and why.
fn not_for(config: &Config, event: &Event, detail: &Detail) -> Vec<Exclusion> {
    let has_job = |action: &str| detail.jobs.iter().any(|job| job.action == action);
    exclusions(config.actions.values(), event, has_job)
}

/// The text of the payload is kept, so that numbers and the order of keys do not change.
fn as_json(event: &Detail, not_for: &[Exclusion]) -> Result<String, Failure> {
    #[derive(serde::Serialize)]
    struct EventJson<'a> {
        #[serde(flatten)]
        summary: &'a Summary,
        headers: Box<RawValue>,
        payload: Box<RawValue>,
        jobs: &'a [JobDetail],
        not_for: &'a [Exclusion],
    }
    let event = EventJson {
        summary: &event.summary,
        headers: raw(&event.headers_json),
        payload: raw(&event.payload_json),
        jobs: &event.jobs,
        not_for,
    };
    serde_json::to_string(&event).map_err(Failure::failed)
}

/// Another program may have stored text that is not JSON: it becomes a string.
fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap_or_else(|_| {
        // A string is always JSON.
        RawValue::from_string(serde_json::json!(text).to_string()).unwrap_or_default()
    })
}

fn write_text(out: &mut dyn Write, event: &Detail, view: &View) -> io::Result<()> {
    let summary = &event.summary;
    let mut rows = vec![
        ["event", &summary.id.to_string()].map(table::one_line),
        ["source", &summary.source].map(table::one_line),
        ["type", &summary.event].map(table::one_line),
        ["delivery", &summary.delivery_id].map(table::one_line),
        ["status", &summary.status].map(table::one_line),
        ["received", &summary.received_at].map(table::one_line),
    ];
    let ended = if summary.status == ShownStatus::Cancelled.as_str() { "cancelled" } else { "processed" };
    rows.extend(summary.processed_at.iter().map(|at| [ended, at].map(table::one_line)));
    let verified = match summary.secret {
        Some(secret) => format!("with secret {secret}"),
        None if summary.taken => "no: taken from the provider's API".to_owned(),
        None => "no".to_owned(),
    };
    rows.push(["verified".to_owned(), verified]);
    if summary.duplicates > 0 {
        rows.push(["duplicates".to_owned(), summary.duplicates.to_string()]);
    }
    table::write(out, Screen::default(), &rows)?;
    write_headers(out, &event.headers_json)?;
    write_jobs(out, event, view)?;
    write_timeline(out, event, view)?;
    writeln!(out, "\npayload\n{}", payload(&event.payload_json, view.screen))
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

fn write_jobs(out: &mut dyn Write, event: &Detail, view: &View) -> io::Result<()> {
    writeln!(out)?;
    event.jobs.iter().try_for_each(|job| writeln!(out, "action {}: {}", name(job), table::one_line(&job.text)))?;
    if event.jobs.is_empty() {
        writeln!(out, "{}", without_jobs(event, view))?;
    }
    let mut excluded = view.not_for.iter();
    excluded.try_for_each(|one| writeln!(out, "action {}: {}", one.action, table::one_line(&one.to_string())))
}

/// Why nothing happens.
fn without_jobs(event: &Detail, view: &View) -> &'static str {
    match Status::parse(&event.summary.status) {
        _ if view.not_for.is_empty() => "no action is configured: events are stored, and nothing is done with them",
        Some(Status::Unprocessed) => "no jobs yet: hookbox serve makes them",
        _ => "no action was for this event",
    }
}

fn name(job: &JobDetail) -> String {
    table::one_line(&job.action)
}

/// Indented on a terminal, as it was received elsewhere.
fn payload(text: &str, screen: Screen) -> String {
    if !screen.is_terminal {
        return text.to_owned();
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => json::pretty(text),
        Err(_) => table::lines(text),
    }
}

/// Sorted as text: all times in the database have the same format. Those of the same second keep their order.
fn write_timeline(out: &mut dyn Write, event: &Detail, view: &View) -> io::Result<()> {
    let summary = &event.summary;
    let attempts = event.jobs.iter().flat_map(|job| job.attempts.iter().map(move |attempt| (job, attempt)));
    let mut moments: Vec<(&str, String)> = attempts
        .map(|(job, attempt)| (attempt.started_at.as_str(), attempt_text(job, attempt, summary.id, view)))
        .collect();
    moments.extend(summary.processed_at.iter().map(|at| (at.as_str(), table::one_line(&summary.status))));
    moments.sort_by_key(|(at, _)| *at);
    let arrival = if summary.taken { "taken from the provider's API" } else { "received" };
    moments.insert(0, (&summary.received_at, arrival.to_owned()));
    writeln!(out, "\ntimeline")?;
    moments.iter().try_for_each(|(at, text)| writeln!(out, "  {}  {}", table::one_line(at), text.trim_end()))
}

fn attempt_text(job: &JobDetail, attempt: &AttemptDetail, event: i64, view: &View) -> String {
    let colour = match attempt.outcome.as_str() {
        "success" => Some(Colour::Good),
        "retry" => Some(Colour::Open),
        "interrupted" => Some(Colour::Open),
        "give_up" => Some(Colour::Bad),
        _ => None,
    };
    let outcome = colour.map_or(String::new(), |_| view.screen.paint(&attempt.outcome, colour) + "  ");
    let (name, number) = (name(job), attempt.number);
    let took = attempt.duration_ms.map_or(String::new(), |ms| format!(", {ms} ms"));
    let answer = if view.is_full { lines_of(&attempt.detail) } else { first_lines(&attempt.detail, event) };
    format!("{outcome}{name}, attempt {number}{took}  {}", answer.join(&format!("\n{INDENT}")))
}

/// Each without what a terminal would obey.
fn lines_of(text: &str) -> Vec<String> {
    text.lines().map(|line| table::lines(line.trim_end())).collect()
}

/// The beginning of an answer, and how to see the rest.
fn first_lines(text: &str, event: i64) -> Vec<String> {
    let all = lines_of(text);
    let mut left = FIRST_CHARS;
    let mut shown = Vec::new();
    for line in all.iter().take(FIRST_LINES) {
        let cut: String = line.chars().take(left).collect();
        left -= cut.chars().count();
        shown.push(cut);
        if left == 0 {
            break;
        }
    }
    if shown != all {
        shown.push(format!("... all of it: hookbox show {event} --full"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_keeps_its_lines_and_a_long_one_is_cut() {
        assert_eq!(first_lines("exit 1 a\r\n\tb \u{1b}[2J\n\nc\n", 7), ["exit 1 a", "\tb ?[2J", "", "c"]);
        assert_eq!(first_lines("", 7), [""; 0]);
        let long = "line\n".repeat(FIRST_LINES + 1);
        let shown = first_lines(&long, 7);
        assert_eq!(
            (shown.len(), shown[FIRST_LINES].as_str()),
            (FIRST_LINES + 1, "... all of it: hookbox show 7 --full")
        );
        let wide = first_lines(&"x".repeat(FIRST_CHARS + 1), 7);
        assert_eq!((wide.len(), wide[0].len()), (2, FIRST_CHARS));
        assert_eq!(lines_of(&long).len(), FIRST_LINES + 1);
    }
}
