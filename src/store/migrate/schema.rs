//! Whether the tables, indexes and triggers are those of the migrations, and their restoration.
//!
//! Tools that change a table make another one, copy the rows and drop the first. Its triggers and indexes go with it, often
//! its constraints too, and nothing fails: but events that are inserted from then on would never be routed.

use std::path::Path;

use rusqlite::{Connection, Row, Transaction, TransactionBehavior};

use super::tokens::squeezed;
use super::{MigrationError, allow_rebuilding, apply, events, set_latest};
use crate::store::error::{OpenError, Result};
use crate::store::row::{string, texts};

/// The table that other programs share; it may have more than our columns.
const EVENTS: &str = "webhook_events";

/// What is derived from the events and jobs, computed again.
const MEND: &str = include_str!("mend.sql");

/// A table, an index or a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    kind: String,
    name: String,
    sql: String,
}

/// Restores everything that is missing or changed, and logs it.
pub(in crate::store) fn mend(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    if differences(connection, path)?.is_empty() {
        return Ok(());
    }
    let mended = restore(connection).map_err(|error| error.at(path))?;
    log::warn!(
        "the schema of the database {} was not the one that hookbox needs, as after another tool has rebuilt a table. \
         Restored: {}. Events to be routed now: {}",
        path.display(),
        mended.what.join(", "),
        mended.unrouted
    );
    Ok(())
}

/// What is missing or changed, as `trigger webhook_event_arrived`.
pub(in crate::store) fn differences(connection: &Connection, path: &Path) -> Result<Vec<String>, OpenError> {
    let wrong = wrong(connection).map_err(|error| error.at(path))?;
    Ok(wrong.iter().map(Object::title).collect())
}

struct Mended {
    what: Vec<String>,
    unrouted: i64,
}

fn restore(connection: &mut Connection) -> Result<Mended, MigrationError> {
    allow_rebuilding(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = wrong(&transaction)?;
    for table in found.iter().filter(|object| object.kind == "table") {
        if table.name == EVENTS { events::create_or_rebuild(&transaction)? } else { rebuild(&transaction, table)? }
    }
    // With a table its indexes and triggers are dropped too.
    for object in wrong(&transaction)? {
        transaction.execute_batch(&format!("DROP {} IF EXISTS {};{}", object.kind, object.name, object.sql))?;
    }
    transaction.execute_batch(MEND)?;
    set_latest(&transaction)?;
    let unrouted = transaction.query_row("SELECT count(*) FROM unrouted", [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(Mended { what: found.iter().map(Object::title).collect(), unrouted })
}

/// Makes one of our own tables as it must be, with the rows that are there and fit.
fn rebuild(transaction: &Transaction<'_>, table: &Object) -> rusqlite::Result<()> {
    let name = &table.name;
    let columns = |name: &str| texts(transaction, &format!("SELECT name FROM pragma_table_info('{name}')"));
    let found = columns(name)?;
    if found.is_empty() {
        return transaction.execute_batch(&table.sql);
    }
    transaction.execute_batch(&format!("ALTER TABLE {name} RENAME TO hookbox_replaced;{}", table.sql))?;
    let mut kept = columns(name)?;
    kept.retain(|column| found.contains(column));
    let kept = kept.join(", ");
    transaction.execute_batch(&format!(
        "INSERT OR IGNORE INTO {name} ({kept}) SELECT {kept} FROM hookbox_replaced;
         DROP TABLE hookbox_replaced;"
    ))
}

/// The objects of the migrations that are missing or changed, in the order of their creation.
fn wrong(connection: &Connection) -> Result<Vec<Object>, MigrationError> {
    let ours = new_database()?;
    let (mut wrong, found) = (objects(&ours)?, objects(connection)?);
    let is_fit = events::is_fit(connection)?;
    wrong.retain(|object| match object.name.as_str() {
        EVENTS => !is_fit,
        _ => !found.iter().any(|other| other.is_same(object)),
    });
    Ok(wrong)
}

/// An empty database in memory, as the migrations make it.
fn new_database() -> Result<Connection, MigrationError> {
    let mut connection = Connection::open_in_memory()?;
    apply(&mut connection)?;
    Ok(connection)
}

fn objects(connection: &Connection) -> rusqlite::Result<Vec<Object>> {
    // Without those that SQLite makes for a constraint.
    let sql =
        "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%' ORDER BY rowid";
    let object = |row: &Row<'_>| Ok(Object { kind: string(row, 0)?, name: string(row, 1)?, sql: string(row, 2)? });
    connection.prepare(sql)?.query_map([], object)?.collect()
}

impl Object {
    fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// Tools quote names, and may lay out what they write again.
    fn is_same(&self, other: &Object) -> bool {
        self.kind == other.kind && self.name == other.name && squeezed(&self.sql) == squeezed(&other.sql)
    }
}

#[cfg(test)]
mod tests;
