//! `hookbox list`: stored events, the newest last.

mod follow;

use std::io::Write;

use super::args::ListArgs;
use super::table::{self, Colour, Layout, Screen};
use super::{Failure, json};
use crate::config::Config;
use crate::event::{EventId, ShownStatus};
use crate::store::{self, Filter, Reader, Summary};

const HEADER: [&str; 6] = ["ID", "RECEIVED (UTC)", "STATUS", "SOURCE", "EVENT", "DELIVERY"];

/// The least widths, so that `--follow` stays aligned.
const LEAST: [usize; 6] = [4, 19, 11, 6, 12, 8];

/// The source and the columns after it become narrower on a narrow terminal.
const SHRINKS_FROM: usize = 3;

/// The column with the status.
const STATUS: usize = 2;

pub(super) fn run(config: &Config, args: &ListArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if args.follow {
        return follow::run(&config.database, &args.filter, args.json, out);
    }
    let (events, searched_to) = oldest_first(&Reader::open(&config.database)?, &args.filter)?;
    Printer::new(args.json, &events).print_all(&events, out)?;
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
    Table { layout: Layout<6>, is_begun: bool },
}

impl Printer {
    /// A printer whose columns are as wide as these events need.
    fn new(json: bool, events: &[Summary]) -> Printer {
        if json {
            return Printer::Json;
        }
        let rows: Vec<_> = std::iter::once(HEADER.map(str::to_owned)).chain(events.iter().map(row)).collect();
        Printer::Table { layout: Layout::of(LEAST, SHRINKS_FROM, &rows, Screen::of_stdout()), is_begun: false }
    }

    fn print_all(&mut self, events: &[Summary], out: &mut dyn Write) -> Result<(), Failure> {
        if let Printer::Table { layout, is_begun: is_begun @ false } = self {
            *is_begun = true;
            writeln!(out, "{}", layout.line(&HEADER.map(str::to_owned), None))?;
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

fn colour(status: ShownStatus) -> Colour {
    match status {
        ShownStatus::Unprocessed | ShownStatus::Cancelled => Colour::Open,
        ShownStatus::Processed => Colour::Good,
        ShownStatus::Error => Colour::Bad,
    }
}

fn row(event: &Summary) -> [String; 6] {
    let (id, received_at) = (event.id.to_string(), table::time(&event.received_at));
    let taken = if event.taken { " (taken from the provider's API)" } else { "" };
    let delivery = format!("{}{taken}", event.delivery_id);
    let texts = [&id, &received_at, &event.status, &event.source, &event.event, &delivery];
    texts.map(|text| table::one_line(text))
}
