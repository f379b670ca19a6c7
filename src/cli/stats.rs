//! `hookbox stats`: how many of what.

use std::io::Write;

use super::{Failure, table};
use crate::config::Config;
use crate::config::units::size_text;
use crate::store::{Inspector, Stats};

pub(super) fn run(config: &Config, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let stats = Inspector::open(&config.database)?.stats()?;
    if json {
        return Ok(writeln!(out, "{}", serde_json::json!(stats))?);
    }
    Ok(table::write(out, table::terminal_columns(), &rows(config, &stats))?)
}

fn rows(config: &Config, stats: &Stats) -> Vec<[String; 2]> {
    let events = &stats.events;
    let count = |label: &str, count: i64| [label.to_owned(), count.to_string()];
    let mut rows = vec![
        count("events unprocessed", events.unprocessed),
        count("events processed", events.processed),
        count("events in error", events.error),
        count("duplicates", stats.duplicates),
    ];
    if let Some(oldest) = &stats.oldest_unprocessed {
        rows.push(["oldest unprocessed".to_owned(), table::one_line(oldest)]);
    }
    for job in &stats.jobs {
        let note = if config.actions.contains_key(&job.action) { "" } else { " (not configured)" };
        rows.push(count(&table::one_line(&format!("action {}{note}, jobs {}", job.action, job.state)), job.count));
    }
    rows.extend(stats.paused.iter().map(|action| ["paused".to_owned(), table::one_line(action)]));
    rows.push([
        "database".to_owned(),
        format!("{}, {}", config.database.display(), size_text(stats.database_bytes.unsigned_abs())),
    ]);
    rows
}
