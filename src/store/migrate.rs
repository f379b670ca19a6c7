//! Brings the schema of a database up to date, also one that the older program wrote, and restores what another tool has
//! dropped from it. Migrations are append-only and counted by `PRAGMA user_version`.

mod schema;
mod events;
mod tokens;

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::{OpenError, Result, StorageError};

pub(super) use schema::{differences, mend};

type Migration = fn(&Transaction<'_>) -> Result<(), MigrationError>;

/// In order. One that has been released is never changed.
const MIGRATIONS: &[Migration] = &[
    events::create_or_rebuild,
    |transaction| Ok(transaction.execute_batch(include_str!("002-queue.sql"))?),
    |transaction| Ok(transaction.execute_batch(include_str!("003-provenance.sql"))?),
    |transaction| Ok(transaction.execute_batch(include_str!("004-tallies.sql"))?),
    |transaction| Ok(transaction.execute_batch(include_str!("005-bodies.sql"))?),
    |transaction| Ok(transaction.execute_batch(include_str!("006-holds.sql"))?),
    reduce_pages,
    |transaction| Ok(transaction.execute_batch(include_str!("008-troubles.sql"))?),
    |transaction| Ok(transaction.execute_batch(include_str!("009-recover.sql"))?),
    |transaction| Ok(transaction.execute_batch(include_str!("010-taken.sql"))?),
    |transaction| Ok(transaction.execute_batch(include_str!("011-rejects.sql"))?),
    |transaction| Ok(transaction.execute_batch(include_str!("012-recovery-told.sql"))?),
];

const LATEST: u32 = MIGRATIONS.len() as u32;

/// The latest migration that writes every event again.
const LATEST_REWRITE: u32 = 7;

enum MigrationError {
    Sqlite(rusqlite::Error),
    /// The table of the older program is not as expected.
    Foreign(String),
}

/// Columns that each migration but the first has added, for a database that has lost its version: `.dump` leaves it out.
const ADDED: [&str; LATEST as usize - 1] = [
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('jobs') WHERE name = 'dead_action')",
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('provenance') WHERE name = 'secret_position')",
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('tallies') WHERE name = 'about')",
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('provenance') WHERE name = 'body_digest')",
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('jobs') WHERE name = 'waited_ms')",
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('jobs') WHERE name = 'round')",
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('troubles') WHERE name = 'told_ms')",
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('recovery_marks') WHERE name = 'compared_ms')",
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('taken') WHERE name = 'event_id')",
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('rejects') WHERE name = 'peer')",
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('recovery_marks') WHERE name = 'ran_ms')",
];

/// Migration 7.
fn reduce_pages(transaction: &Transaction<'_>) -> Result<(), MigrationError> {
    let is_new = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('webhook_events') WHERE name = 'padding')";
    if !transaction.query_row(is_new, [], |row| row.get(0))? {
        events::create_or_rebuild(transaction)?;
    }
    let reports = "SELECT count(*) FROM jobs WHERE dead_action <> '' AND state IN ('queued', 'running')";
    let reports: i64 = transaction.query_row(reports, [], |row| row.get(0))?;
    if reports > 0 {
        log::warn!("{reports} jobs that would have reported dead jobs by on_dead are cancelled: it is gone");
    }
    Ok(transaction.execute_batch(include_str!("007-fewer-pages.sql"))?)
}

impl MigrationError {
    fn at(self, path: &Path) -> OpenError {
        match self {
            MigrationError::Sqlite(error) => StorageError::of(path, error).into(),
            MigrationError::Foreign(reason) => OpenError::Foreign { path: path.display().to_string(), reason },
        }
    }
}

impl From<rusqlite::Error> for MigrationError {
    fn from(error: rusqlite::Error) -> MigrationError {
        MigrationError::Sqlite(error)
    }
}

/// Applies the missing migrations, all in one transaction. Refuses a database that a later version has written.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    supported_version(connection, path)?;
    if recorded_version(connection).map_err(StorageError::at(path))? == LATEST {
        return Ok(());
    }
    apply(connection).map_err(|error| error.at(path))
}

/// Whether the migrations that are missing write every event again.
pub(super) fn rewrites_events(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
    if supported_version(connection, path)? >= LATEST_REWRITE {
        return Ok(false);
    }
    let has_events = || {
        let is_table = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('webhook_events'))";
        let has_rows = "SELECT EXISTS (SELECT 1 FROM webhook_events)";
        let get = |sql| connection.query_row(sql, [], |row| row.get::<_, bool>(0));
        Ok(get(is_table)? && get(has_rows)?)
    };
    Ok(has_events().map_err(StorageError::at(path))?)
}

/// The version of the schema. Errs for one that a later version has written, before anything in it is touched.
pub(super) fn supported_version(connection: &Connection, path: &Path) -> Result<u32, OpenError> {
    let found = version(connection).map_err(StorageError::at(path))?;
    if found > LATEST {
        return Err(OpenError::TooNew { path: path.display().to_string(), found, known: LATEST });
    }
    Ok(found)
}

/// For a connection that must not migrate: errs unless the schema is the one that this program knows.
pub(super) fn require_current(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    if supported_version(connection, path)? < LATEST {
        Err(OpenError::TooOld(path.display().to_string()))
    } else {
        Ok(())
    }
}

fn apply(connection: &mut Connection) -> Result<(), MigrationError> {
    allow_rebuilding(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in MIGRATIONS.iter().skip(version(&transaction)? as usize) {
        migration(&transaction)?;
    }
    set_latest(&transaction)?;
    Ok(transaction.commit()?)
}

/// A rebuilt table is dropped and renamed: neither may reach into foreign tables, triggers and views that name it.
fn allow_rebuilding(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "legacy_alter_table", true)
}

fn set_latest(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.pragma_update(None, "user_version", LATEST)
}

/// The recorded version, or the one that the tables show: a copy may have lost the record, and another tool may use it for
/// a count of its own.
fn version(connection: &Connection) -> rusqlite::Result<u32> {
    let mut version = recorded_version(connection)?;
    for (added, exists) in (2..).zip(ADDED) {
        if connection.query_row(exists, [], |row| row.get(0))? {
            version = version.max(added);
        }
    }
    Ok(version)
}

fn recorded_version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests;
