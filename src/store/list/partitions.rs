//! Which kinds of events there are: (status, source, event type), found by a seek for each and not by reading the events.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params_from_iter};

use super::Filter;
use crate::event::Status;

/// Kinds that are looked at one by one: 2,000 seeks take some 10 ms. There are more where a sender puts a number into each
/// event type.
pub(super) const MAX_KINDS: usize = 2000;

/// The columns of a kind, in the order of the index.
const COLUMNS: [&str; 3] = ["status", "source", "event_type"];

/// What events have in common that lie side by side in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Kind {
    pub(super) status: Word,
    pub(super) source: Word,
    pub(super) event_type: Word,
}

impl Kind {
    /// The smallest and the largest id among its events.
    pub(in crate::store) fn ends(&self, connection: &Connection) -> rusqlite::Result<(i64, i64)> {
        let end = |order: &str| {
            let sql = format!(
                "SELECT id FROM webhook_events WHERE status = ?1 AND source = ?2 AND event_type = ?3
                 ORDER BY id {order} LIMIT 1"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            statement.query_row((&self.status, &self.source, &self.event_type), |row| row.get(0))
        };
        Ok((end("ASC")?, end("DESC")?))
    }
}

/// A value as another program may have stored it: bytes that are no UTF-8, or no text at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Word {
    fn of(row: &Row<'_>, column: usize) -> rusqlite::Result<Word> {
        Ok(match row.get_ref(column)? {
            ValueRef::Text(bytes) => Word::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Word::Blob(bytes.to_vec()),
            // A column of text stores numbers as text, and none of these may be NULL.
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => Word::Text(Vec::new()),
        })
    }
}

impl ToSql for Word {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Word::Text(bytes) => ValueRef::Text(bytes),
            Word::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// The kinds that may pass a filter, whatever ids and times it asks for; `None` if there are more than [`MAX_KINDS`]. What
/// the filter names is not looked for: there may be no event of such a kind.
pub(in crate::store) fn kinds(connection: &Connection, filter: &Filter) -> rusqlite::Result<Option<Vec<Kind>>> {
    let mut kinds = Vec::new();
    let named = |word: Option<&str>| word.map(|word| vec![Word::Text(word.into())]);
    let values = |word: Option<&str>, within: &[&Word]| named(word).map_or_else(|| distinct(connection, within), Ok);
    for status in values(filter.status.map(Status::as_str), &[])? {
        for source in values(filter.source.as_deref(), &[&status])? {
            for event_type in values(filter.event_type.as_deref(), &[&status, &source])? {
                kinds.push(Kind { status: status.clone(), source: source.clone(), event_type });
            }
            if kinds.len() > MAX_KINDS {
                return Ok(None);
            }
        }
    }
    Ok(Some(kinds))
}

/// The values of the column after these, among the events that have these; no more than are needed to see that there are too
/// many.
fn distinct(connection: &Connection, within: &[&Word]) -> rusqlite::Result<Vec<Word>> {
    let before_all = Word::Text(Vec::new());
    let mut values: Vec<Word> = Vec::new();
    while values.len() <= MAX_KINDS {
        let mut statement = connection.prepare_cached(&next(within.len(), values.is_empty()))?;
        let last = values.last().unwrap_or(&before_all);
        let words = within.iter().copied().chain([last]);
        let Some(value) = statement.query_row(params_from_iter(words), |row| Word::of(row, 0)).optional()? else {
            break;
        };
        values.push(value);
    }
    Ok(values)
}

/// The least value of a column behind another, or that one itself where it is the `first`. Not one comparison of three
/// columns: SQLite would seek to the first event of the kind and read all of it.
pub(super) fn next(column: usize, first: bool) -> String {
    let within: String = COLUMNS[..column].iter().map(|column| format!("{column} = ? AND ")).collect();
    let (column, than) = (COLUMNS[column], if first { ">=" } else { ">" });
    format!("SELECT {column} FROM webhook_events WHERE {within}{column} {than} ? ORDER BY {column} LIMIT 1")
}
