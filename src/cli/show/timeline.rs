//! What happened to an event, in order of time.

use std::io::{self, Write};

use super::name;
use crate::cli::table::{self, Colour, Screen};
use crate::store::{AttemptDetail, Detail, JobDetail};

/// A line of the timeline: when, and what.
struct Moment {
    at: String,
    text: String,
    outcome: Option<&'static str>,
}

pub(super) fn write(out: &mut dyn Write, event: &Detail, screen: Screen) -> io::Result<()> {
    writeln!(out, "\ntimeline")?;
    for moment in moments(event) {
        let outcome = moment.outcome.map_or(String::new(), |word| format!("  {}", screen.paint(word, colour(word))));
        writeln!(out, "{}", format!("  {}{outcome}  {}", moment.at, moment.text).trim_end())?;
    }
    Ok(())
}

/// Sorted as text: all times in the database have the same format. Those of the same second keep their order.
fn moments(event: &Detail) -> Vec<Moment> {
    let summary = &event.summary;
    let plain = |at: &str, text: &str| Moment { at: table::one_line(at), text: text.to_owned(), outcome: None };
    let mut moments = vec![plain(&summary.received_at, "received")];
    for job in &event.jobs {
        moments.extend(job.attempts.iter().map(|attempt| of_attempt(job, attempt)));
    }
    moments[1..].sort_by(|a, b| a.at.cmp(&b.at));
    if let Some(at) = &summary.processed_at {
        moments.push(plain(at, &table::one_line(&summary.status)));
        moments[1..].sort_by(|a, b| a.at.cmp(&b.at));
    }
    moments
}

fn of_attempt(job: &JobDetail, attempt: &AttemptDetail) -> Moment {
    let (name, number, took_ms) = (name(job), attempt.number, attempt.duration_ms);
    let text = format!("{name}, attempt {number}, {took_ms} ms  {}", table::one_line(&attempt.detail));
    let outcomes = ["success", "retry", "give_up"];
    let outcome = outcomes.into_iter().find(|outcome| *outcome == attempt.outcome);
    Moment { at: table::one_line(&attempt.started_at), text, outcome }
}

fn colour(outcome: &str) -> Option<Colour> {
    match outcome {
        "success" => Some(Colour::Good),
        "retry" => Some(Colour::Open),
        _ => Some(Colour::Bad),
    }
}
