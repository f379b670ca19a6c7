//! How long the WAL may get, and who shortens it.
//!
//! SQLite's automatic checkpoint runs within a commit, under the write lock, so that the receiver would wait for two more
//! syncs of the disk. It is off; instead every thread but the receiver calls [`shorten`] after it has written.

use rusqlite::{Connection, Result, Row};

use super::write_lock::{Priority, WriteLock};

/// The WAL is cut back to this size after a checkpoint; otherwise it would stay as long as one burst made it.
pub(super) const JOURNAL_LIMIT_BYTES: i64 = 8 << 20;

/// Bytes in the WAL before they are copied into the database file: half of SQLite's default. More would keep the disk busy
/// for so long at a time that the receiver's syncs wait noticeably; fewer would write the same page to the card more often.
const CHECKPOINT_BYTES: i64 = 2 << 20;

/// From this length on, the WAL is made to restart at its beginning.
const RESTART_BYTES: i64 = JOURNAL_LIMIT_BYTES;

/// From this length on the receiver, too, waits for that: while it writes without a pause, there is no other moment.
const MAX_BYTES: i64 = 2 * RESTART_BYTES;

/// The length of the WAL, and how much of it is not yet in the database file.
struct Wal {
    bytes: i64,
    waiting_bytes: i64,
}

/// Copies the pages in the WAL into the database file, if they are many. Others write meanwhile; only the last pages, which
/// keep the WAL from restarting, are copied under the write lock.
pub(super) fn shorten(connection: &Connection, write_lock: &WriteLock) -> Result<()> {
    if checkpoint(connection, "NOOP")?.waiting_bytes < CHECKPOINT_BYTES {
        return Ok(());
    }
    if checkpoint(connection, "PASSIVE")?.bytes < RESTART_BYTES {
        return Ok(());
    }
    let others = write_lock.lock_out_others();
    checkpoint(connection, "PASSIVE")?;
    let wal = checkpoint(connection, "NOOP")?;
    drop(others);
    if wal.waiting_bytes > 0 && wal.bytes >= MAX_BYTES {
        let _guard = write_lock.acquire(Priority::Other);
        checkpoint(connection, "PASSIVE")?;
    }
    Ok(())
}

/// Copies everything into the database file, and makes the WAL empty. False if another connection was in the way.
pub(super) fn truncate(connection: &Connection) -> Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0)).map(|is_busy| !is_busy)
}

fn checkpoint(connection: &Connection, mode: &str) -> Result<Wal> {
    let page_bytes: i64 = connection.prepare_cached("PRAGMA page_size")?.query_row([], |row| row.get(0))?;
    let wal = |row: &Row<'_>| {
        let (pages, checkpointed): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(Wal { bytes: pages * page_bytes, waiting_bytes: (pages - checkpointed) * page_bytes })
    };
    connection.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?.query_row([], wal)
}
