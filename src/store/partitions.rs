//! The partitions of the index of events: one for each (status, source, event type) that there is, with its events in the
//! order of their ids. Each is found by a seek, and not by reading the events.

use rusqlite::{Connection, OptionalExtension, Result, params_from_iter};

use super::row::RawText;
use super::summary::Filter;
use crate::event::Status;

/// Partitions that are searched one by one: 2,000 seeks take some 10 ms. There are more where a sender puts a number into
/// each event type.
pub(super) const MAX_PARTITIONS: usize = 2000;

/// The columns that make a partition, in the order of the index.
const COLUMNS: [&str; 3] = ["status", "source", "event_type"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) status: RawText,
    pub(super) source: RawText,
    pub(super) event_type: RawText,
}

/// The partitions that may pass a filter, regardless of its ids and times; `None` if there are more than
/// [`MAX_PARTITIONS`]. Values that the filter names are not searched for: such a partition may be empty.
pub(super) fn partitions(connection: &Connection, filter: &Filter) -> Result<Option<Vec<Partition>>> {
    let mut partitions = Vec::new();
    let named = |value: Option<&str>| value.map(|value| vec![RawText::Text(value.into())]);
    let values =
        |value: Option<&str>, within: &[&RawText]| named(value).map_or_else(|| distinct(connection, within), Ok);
    let unfinished = [Status::Unprocessed, Status::Error].map(|status| RawText::Text(status.as_str().into()));
    let statuses = match filter.stored_status() {
        None if filter.is_unfinished => unfinished.to_vec(),
        status => values(status, &[])?,
    };
    for status in statuses {
        for source in values(filter.source.as_deref(), &[&status])? {
            for event_type in values(filter.event_type.as_deref(), &[&status, &source])? {
                partitions.push(Partition { status: status.clone(), source: source.clone(), event_type });
            }
            if partitions.len() > MAX_PARTITIONS {
                return Ok(None);
            }
        }
    }
    Ok(Some(partitions))
}

/// The values of the column after those of `within`, among the events that have these; no more than are needed to see that
/// there are too many.
fn distinct(connection: &Connection, within: &[&RawText]) -> Result<Vec<RawText>> {
    let before_all = RawText::Text(Vec::new());
    let mut values: Vec<RawText> = Vec::new();
    while values.len() <= MAX_PARTITIONS {
        let mut statement = connection.prepare_cached(&next_value(within.len(), values.is_empty()))?;
        let last = values.last().unwrap_or(&before_all);
        let parameters = params_from_iter(within.iter().copied().chain([last]));
        let Some(value) = statement.query_row(parameters, |row| RawText::of(row, 0)).optional()? else {
            break;
        };
        values.push(value);
    }
    Ok(values)
}

/// A statement for the next greater value of a column, or with `first` for one that may be equal. It does not compare all
/// three columns at once: SQLite would seek to the first event of the partition and read all of it.
pub(super) fn next_value(column: usize, first: bool) -> String {
    let within: String = COLUMNS[..column].iter().map(|column| format!("{column} = ? AND ")).collect();
    let (column, than) = (COLUMNS[column], if first { ">=" } else { ">" });
    format!("SELECT {column} FROM webhook_events WHERE {within}{column} {than} ? ORDER BY {column} LIMIT 1")
}
