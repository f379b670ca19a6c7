//! Brings the schema of a database up to date, also one that the older program wrote. Migrations are append-only and
//! counted by `PRAGMA user_version`.

mod definition;
mod events;

use std::cmp::Ordering;
use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::{OpenError, Result, StorageError};

type Migration = fn(&Transaction<'_>) -> Result<(), MigrationError>;

/// In order. One that has been released is never changed.
const MIGRATIONS: &[Migration] = &[
    events::create_or_rebuild,
    |transaction| Ok(transaction.execute_batch(include_str!("002-queue.sql"))?),
    |transaction| Ok(transaction.execute_batch(include_str!("003-provenance.sql"))?),
    |transaction| Ok(transaction.execute_batch(include_str!("004-tallies.sql"))?),
];

enum MigrationError {
    Sqlite(rusqlite::Error),
    /// The table of the older program is not as expected.
    Foreign(String),
    /// A later version has migrated the database to this schema.
    TooNew(i64),
}

impl From<rusqlite::Error> for MigrationError {
    fn from(error: rusqlite::Error) -> MigrationError {
        MigrationError::Sqlite(error)
    }
}

/// Applies what is missing, all in one transaction. Refuses a database that a later version has written.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    apply(connection).map_err(|error| match error {
        MigrationError::Sqlite(error) => StorageError::of(path, error).into(),
        MigrationError::Foreign(reason) => OpenError::Foreign { path: path.to_owned(), reason },
        MigrationError::TooNew(found) => too_new(path, found),
    })
}

/// Errs for a database that a later version has written, before anything in it is touched.
pub(super) fn refuse_newer(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let found = version(connection).map_err(StorageError::at(path))?;
    if found > latest() { Err(too_new(path, found)) } else { Ok(()) }
}

/// For a connection that must not migrate: errs unless the schema is the one that this program knows.
pub(super) fn require_current(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let found = version(connection).map_err(StorageError::at(path))?;
    match found.cmp(&latest()) {
        Ordering::Less => Err(OpenError::TooOld(path.to_owned())),
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(too_new(path, found)),
    }
}

fn apply(connection: &mut Connection) -> Result<(), MigrationError> {
    if version(connection)? == latest() {
        return Ok(());
    }
    // A rebuilt table is dropped and renamed: neither may reach into foreign tables, triggers and views that name it.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "legacy_alter_table", true)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    let Some(missing) = usize::try_from(found).ok().and_then(|done| MIGRATIONS.get(done..)) else {
        return Err(MigrationError::TooNew(found));
    };
    for migration in missing {
        migration(&transaction)?;
    }
    transaction.pragma_update(None, "user_version", latest())?;
    Ok(transaction.commit()?)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn latest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn too_new(path: &Path, found: i64) -> OpenError {
    OpenError::TooNew { path: path.to_owned(), found, known: latest() }
}

#[cfg(test)]
mod tests;
