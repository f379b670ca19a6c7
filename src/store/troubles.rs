//! What does not work, from its beginning until it works again (008-troubles.sql).

use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction};

use crate::clock::Timestamp;

/// What does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// An action's attempts fail.
    Action,
    /// A source's deliveries have wrong signatures.
    Rejecting,
    /// A source has received nothing for longer than expected.
    Silent,
    /// The disk is nearly full.
    Disk,
    /// What a source has missed cannot be recovered.
    Recovery,
    /// A source has missed deliveries that are not there yet.
    Missing,
    /// hookbox was off line for longer than the provider of a source lists its deliveries.
    Offline,
}

impl TroubleKind {
    fn as_str(self) -> &'static str {
        match self {
            TroubleKind::Action => "action",
            TroubleKind::Rejecting => "rejecting",
            TroubleKind::Silent => "silent",
            TroubleKind::Disk => "disk",
            TroubleKind::Recovery => "recovery",
            TroubleKind::Missing => "missing",
            TroubleKind::Offline => "offline",
        }
    }
}

/// A trouble that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The action or the source; empty for the disk.
    pub name: String,
    pub since: Timestamp,
    /// When it became news, whether or not an action was for that.
    pub told: Option<Timestamp>,
    /// Of an action, in a row, counted until it became news.
    pub failures: u32,
    /// The first.
    pub error: Option<String>,
}

const COLUMNS: &str = "SELECT name, since_ms, told_ms, failures, error FROM troubles WHERE about = ?1";

impl Trouble {
    fn of(row: &Row<'_>) -> Result<Trouble> {
        Ok(Trouble {
            name: row.get(0)?,
            since: Timestamp::from_unix_ms(row.get(1)?),
            told: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_unix_ms),
            failures: row.get(3)?,
            error: row.get(4)?,
        })
    }
}

pub(super) fn read(connection: &Connection, kind: TroubleKind, name: &str) -> Result<Option<Trouble>> {
    let sql = format!("{COLUMNS} AND name = ?2");
    connection.prepare_cached(&sql)?.query_row((kind.as_str(), name), Trouble::of).optional()
}

/// In the order of their names.
pub(super) fn all(connection: &Connection, kind: TroubleKind) -> Result<Vec<Trouble>> {
    let sql = format!("{COLUMNS} ORDER BY name");
    connection.prepare_cached(&sql)?.query_map([kind.as_str()], Trouble::of)?.collect()
}

/// Begins it, or changes what is known of it.
pub(super) fn write(transaction: &Transaction<'_>, kind: TroubleKind, trouble: &Trouble) -> Result<()> {
    let Trouble { name, since, told, failures, error } = trouble;
    let sql = "INSERT INTO troubles (about, name, since_ms, told_ms, failures, error) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (about, name) DO UPDATE SET since_ms = excluded.since_ms, told_ms = excluded.told_ms,
             failures = excluded.failures, error = excluded.error";
    let parameters = (kind.as_str(), name, since.unix_ms(), told.map(Timestamp::unix_ms), failures, error);
    transaction.prepare_cached(sql)?.execute(parameters).map(drop)
}

/// False if there was none.
pub(super) fn end(transaction: &Transaction<'_>, kind: TroubleKind, name: &str) -> Result<bool> {
    let sql = "DELETE FROM troubles WHERE about = ?1 AND name = ?2";
    Ok(transaction.prepare_cached(sql)?.execute((kind.as_str(), name))? > 0)
}
