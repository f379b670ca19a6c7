//! Migration 1: the table of events. The older program's table, where ids were unique over all sources, is rebuilt.

use rusqlite::{OptionalExtension, Transaction};

use super::definition::{OUR_COLUMNS, foreign_columns, foreign_constraints};
use super::{MigrationError, Result};

const EVENTS: &str = include_str!("../001-events.sql");

/// The end of our own definition, before which foreign columns are inserted.
const OUR_CONSTRAINT: &str = "    UNIQUE (source, delivery_id)";

pub(super) fn create_or_rebuild(transaction: &Transaction<'_>) -> Result<(), MigrationError> {
    let definition = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'webhook_events'";
    let older: Option<String> = transaction.query_row(definition, [], |row| row.get(0)).optional()?;
    match older {
        None => Ok(transaction.execute_batch(EVENTS)?),
        Some(definition) => rebuild(transaction, &definition),
    }
}

/// Replaces a table of the older program by ours, with all rows, the id sequence, and foreign columns, constraints,
/// indexes and triggers.
fn rebuild(transaction: &Transaction<'_>, definition: &str) -> Result<(), MigrationError> {
    let columns = stored_columns(transaction)?;
    if let Some(missing) = OUR_COLUMNS[..8].iter().find(|column| !columns.iter().any(|found| found == *column)) {
        return Err(MigrationError::Foreign(format!("it has no column {missing}")));
    }
    let attached = attached_definitions(transaction)?;

    let ours = EVENTS.replace("TABLE webhook_events", "TABLE webhook_events_rebuilt");
    // Each comma has a line of its own: a definition may end in a comment.
    let foreign: String = foreign_columns(definition).iter().map(|column| format!("    {column}\n,")).collect();
    let constraints: String = foreign_constraints(definition).iter().map(|rule| format!(",\n    {rule}\n")).collect();
    transaction.execute_batch(&ours.replace(OUR_CONSTRAINT, &format!("{foreign}{OUR_CONSTRAINT}{constraints}")))?;

    // The highest id that was ever used: ids of deleted rows are not used again.
    let last_id = "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'webhook_events'), 0),
         coalesce((SELECT max(id) FROM webhook_events), 0))";
    let last_id: i64 = transaction.query_row(last_id, [], |row| row.get(0))?;
    let list = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
    transaction.execute_batch(&format!(
        "INSERT INTO webhook_events_rebuilt ({list}) SELECT {list} FROM webhook_events ORDER BY id;
         DROP TABLE webhook_events;
         ALTER TABLE webhook_events_rebuilt RENAME TO webhook_events;"
    ))?;
    for statement in attached {
        transaction.execute_batch(&statement)?;
    }
    transaction.execute("DELETE FROM sqlite_sequence WHERE name = 'webhook_events'", [])?;
    transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('webhook_events', ?1)", [last_id])?;
    Ok(())
}

/// The names of all columns that hold values: generated ones cannot be inserted.
fn stored_columns(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        transaction.prepare("SELECT name FROM pragma_table_xinfo('webhook_events') WHERE hidden = 0 ORDER BY cid")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Indexes and triggers that go with the table when it is dropped.
fn attached_definitions(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut statement = transaction.prepare(
        "SELECT sql FROM sqlite_schema WHERE tbl_name = 'webhook_events' AND type IN ('index', 'trigger')
         AND sql IS NOT NULL ORDER BY rowid",
    )?;
    statement.query_map([], |row| row.get(0))?.collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
