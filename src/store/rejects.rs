//! The latest rejects, which survive a restart (011-rejects.sql).

use std::path::Path;

use rusqlite::{Connection, Result, Row, Transaction};

use super::error;
use super::writer::Writer;
use crate::metrics::{Reject, RejectReason};

/// The connection of the thread that keeps them. Its commits do not wait for the disk: a power cut may undo the latest.
pub struct Rejects {
    pub(super) writer: Writer,
}

/// What is kept: the latest rejects, the oldest first, and their number by the hour, which is counted since 1970.
pub type KeptRejects = (Vec<Reject>, Vec<(i64, u64)>);

impl Rejects {
    pub fn read(&self) -> error::Result<KeptRejects> {
        self.writer.read(|connection| Ok((rejects(connection)?, hours(connection)?)))
    }

    /// Puts these in the place of those that are stored.
    pub fn replace(&self, (rejects, hours): &KeptRejects) -> error::Result<()> {
        self.writer.write(|transaction| {
            transaction.execute_batch("DELETE FROM rejects; DELETE FROM reject_hours")?;
            rejects.iter().try_for_each(|reject| insert(transaction, reject))?;
            let mut hour = transaction.prepare_cached("INSERT INTO reject_hours (hour, count) VALUES (?1, ?2)")?;
            hours.iter().try_for_each(|(number, count)| hour.execute((number, count.cast_signed())).map(drop))
        })
    }

    /// That of the database, with all links resolved.
    pub fn path(&self) -> &Path {
        &self.writer.path
    }
}

fn insert(transaction: &Transaction<'_>, reject: &Reject) -> Result<()> {
    let Reject { source, path, reason, text, peer, first_at, last_at, count, .. } = reject;
    let sql = "INSERT INTO rejects (source, path, reason, text, peer, first_at, last_at, count)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let parameters = (source, path, reason.label(), text, peer, first_at, last_at, count.cast_signed());
    transaction.prepare_cached(sql)?.execute(parameters).map(drop)
}

/// Without those whose reason this program does not know.
fn rejects(connection: &Connection) -> Result<Vec<Reject>> {
    let sql = "SELECT source, path, reason, text, peer, first_at, last_at, count FROM rejects ORDER BY rowid";
    let mut statement = connection.prepare_cached(sql)?;
    let rejects = statement.query_map([], of_row)?.collect::<Result<Vec<_>>>()?;
    Ok(rejects.into_iter().flatten().collect())
}

fn of_row(row: &Row<'_>) -> Result<Option<Reject>> {
    let Some(reason) = RejectReason::parse(&row.get::<_, String>(2)?) else { return Ok(None) };
    Ok(Some(Reject {
        source: row.get(0)?,
        path: row.get(1)?,
        reason,
        kind: "",
        text: row.get(3)?,
        peer: row.get(4)?,
        first_at: row.get(5)?,
        last_at: row.get(6)?,
        count: row.get::<_, i64>(7)?.unsigned_abs(),
    }))
}

fn hours(connection: &Connection) -> Result<Vec<(i64, u64)>> {
    let mut statement = connection.prepare_cached("SELECT hour, count FROM reject_hours ORDER BY hour")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?.collect()
}
