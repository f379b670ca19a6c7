//! `hookbox list`: stored events, the newest last.

mod follow;

use std::io::Write;
use std::ops::Range;

use super::args::ListArgs;
use super::table::{self, Colour, Layout, Screen};
use super::{Failure, json, running};
use crate::clock;
use crate::config::Config;
use crate::event::{EventId, ShownStatus, Status};
use crate::secret::Env;
use crate::store::{self, Filter, Reader, Summary};

const HEADER: [&str; COLUMNS] = ["ID", "RECEIVED (UTC)", "STATUS", "SOURCE", "EVENT", "DELIVERY", "NOTE"];

const COLUMNS: usize = 7;

/// The least widths, so that `--follow` stays aligned.
const LEAST: [usize; COLUMNS] = [4, 19, 11, 6, 12, 8, 0];

/// Source, event and delivery become narrower on a narrow terminal.
const SHRINKING: Range<usize> = 3..6;

/// The column with the status, and that with the note.
const STATUS: usize = 2;
const NOTE: usize = 6;

/// Of notes on a narrow terminal; on others they take what is left of the line.
const NOTE_WIDTH: usize = 14;

pub(super) fn run(config: &Config, args: &ListArgs, env: &Env<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    if args.follow {
        return follow::run(&config.database, &args.filter, args.json, out);
    }
    let reader = Reader::open(&config.database)?;
    let (mut events, searched_to) = oldest_first(&reader, &args.filter)?;
    if events.iter().any(|event| event.status == Status::Unprocessed.as_str()) {
        reader.add_notes(&mut events, &running::jobs(config, env), clock::now())?;
    }
    let has_notes = events.iter().any(|event| event.note.is_some());
    Printer::new(args.json, &events, if has_notes { NOTE_WIDTH } else { 0 }).print_all(&events, out)?;
    if let Some(id) = searched_to {
        log::warn!("{}", searched(id));
    }
    Ok(())
}

/// What a search that has ended early has not seen.
fn searched(to: EventId) -> String {
    format!("searched only back to event {to}: to search older ones, add --before {to}")
}

/// The events, and where a search has ended early.
fn oldest_first(reader: &Reader, filter: &Filter) -> store::Result<(Vec<Summary>, Option<EventId>)> {
    let mut listed = reader.list(filter)?;
    listed.events.reverse();
    Ok((listed.events, listed.searched_to))
}

/// Prints events as lines of a table, or as one object a line.
enum Printer {
    Json,
    Table { layout: Layout<COLUMNS>, has_notes: bool, is_begun: bool },
}

impl Printer {
    /// A printer whose columns are as wide as these events need; without a `note_width` it has no column of notes.
    fn new(json: bool, events: &[Summary], note_width: usize) -> Printer {
        if json {
            return Printer::Json;
        }
        let (mut least, has_notes) = (LEAST, note_width > 0);
        least[NOTE] = note_width;
        let without_note = |event: &Summary| {
            let [id, received_at, status, source, event, delivery, _] = row(event);
            [id, received_at, status, source, event, delivery, String::new()]
        };
        let rows: Vec<_> = std::iter::once(header(has_notes)).chain(events.iter().map(without_note)).collect();
        Printer::Table { layout: Layout::of(least, SHRINKING, &rows, Screen::of_stdout()), has_notes, is_begun: false }
    }

    fn print_all(&mut self, events: &[Summary], out: &mut dyn Write) -> Result<(), Failure> {
        if let Printer::Table { layout, has_notes, is_begun: is_begun @ false } = self {
            *is_begun = true;
            writeln!(out, "{}", layout.line(&header(*has_notes), None))?;
        }
        for event in events {
            let line = match self {
                Printer::Json => json::one_line(&serde_json::json!(event).to_string()),
                Printer::Table { layout, .. } => {
                    let colour = ShownStatus::parse(&event.status).map(|status| (STATUS, colour(status)));
                    layout.line(&row(event), colour)
                }
            };
            writeln!(out, "{line}")?;
        }
        Ok(out.flush()?)
    }
}

fn header(has_notes: bool) -> [String; COLUMNS] {
    let mut header = HEADER.map(str::to_owned);
    if !has_notes {
        header[NOTE].clear();
    }
    header
}

fn colour(status: ShownStatus) -> Colour {
    match status {
        ShownStatus::Unprocessed | ShownStatus::Cancelled => Colour::Open,
        ShownStatus::Processed => Colour::Good,
        ShownStatus::Error => Colour::Bad,
    }
}

fn row(event: &Summary) -> [String; COLUMNS] {
    let (id, received_at) = (event.id.to_string(), table::time(&event.received_at));
    let taken = if event.taken { " (taken from the provider's API)" } else { "" };
    let delivery = format!("{}{taken}", event.delivery_id);
    let note = event.note.clone().unwrap_or_default();
    let texts = [&id, &received_at, &event.status, &event.source, &event.event, &delivery, &note];
    texts.map(|text| table::one_line(text))
}
