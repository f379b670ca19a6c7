//! `hookbox list`: stored events, the newest last.

use std::io::Write;

use super::args::ListArgs;
use super::{Failure, table};
use crate::config::Config;
use crate::store::{Filter, Inspector, Summary};

pub(super) fn run(config: &Config, args: &ListArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let filter = Filter {
        status: args.status,
        source: args.source.clone(),
        event_type: args.event_type.clone(),
        limit: args.limit,
    };
    let events = Inspector::open(&config.database)?.list(&filter)?;
    if args.json {
        return events.iter().try_for_each(|event| Ok(writeln!(out, "{}", serde_json::json!(event))?));
    }
    let header = ["ID", "RECEIVED", "STATUS", "SOURCE", "EVENT", "DELIVERY"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header).chain(events.iter().map(row)).collect();
    Ok(table::write(out, table::terminal_columns(), &rows)?)
}

fn row(event: &Summary) -> [String; 6] {
    let texts = [&event.received_at, &event.status, &event.source, &event.event, &event.delivery_id];
    let [received_at, status, source, event_type, delivery_id] = texts.map(|text| table::one_line(text));
    [event.id.to_string(), received_at, status, source, event_type, delivery_id]
}
