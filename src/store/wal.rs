//! How long the WAL may get, and who shortens it.
//!
//! SQLite's automatic checkpoint runs within a commit, under the write lock, so that the receiver would wait for two more
//! syncs of the disk. It is off; instead every thread but the receiver calls [`shorten`] after it has written. They have a
//! lower priority: where they get no turn, the receiver at last calls [`shorten_overdue`].
//!
//! What a program still reads cannot be overwritten, so that Litestream, which always reads, loses nothing to our
//! checkpoints.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// From this length on the receiver shortens the WAL itself.
const OVERDUE_BYTES: i64 = 2 * MAX_BYTES;

/// While another program reads, a checkpoint that copies nothing is tried again after this time, and then less and less
/// often.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause: so long the WAL grows on after the other program has gone.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A pause of this length follows some ten seconds in which nothing could be copied. Litestream lets others go on within a
/// few.
const TOLD_PAUSE: Duration = Duration::from_secs(5);

/// The table by which Litestream is recognised. Source: <https://github.com/benbjohnson/litestream/blob/main/db.go>
const LITESTREAM_TABLE: &str = "_litestream_seq";

/// When the WAL is shortened next. Shared by all writers of a process.
#[derive(Default)]
pub(super) struct Shortening(Mutex<Pause>);

#[derive(Default)]
struct Pause {
    until: Option<Instant>,
    length: Duration,
    is_told: bool,
}

/// The length of the WAL, and how much of it is in the database file.
#[derive(Clone, Copy)]
struct Wal {
    bytes: i64,
    copied_bytes: i64,
}

impl Wal {
    fn waiting_bytes(self) -> i64 {
        self.bytes - self.copied_bytes
    }

    /// While another connection does the same.
    fn is_unknown(self) -> bool {
        self.bytes < 0
    }
}

/// Copies the pages in the WAL into the database file, if they are many. Others write meanwhile; only the last pages, which
/// keep the WAL from restarting, are copied under the write lock.
pub(super) fn shorten(connection: &Connection, write_lock: &WriteLock, shortening: &Shortening) -> Result<()> {
    if shortening.is_paused() {
        return Ok(());
    }
    let before = checkpoint(connection, "NOOP")?;
    if before.waiting_bytes() < CHECKPOINT_BYTES {
        return Ok(());
    }
    if copy(connection, before, shortening)?.is_none_or(|after| after.bytes < RESTART_BYTES) {
        return Ok(());
    }
    let others = write_lock.lock_out_others();
    checkpoint(connection, "PASSIVE")?;
    let wal = checkpoint(connection, "NOOP")?;
    drop(others);
    if wal.waiting_bytes() > 0 && wal.bytes >= MAX_BYTES {
        let _guard = write_lock.acquire(Priority::Other);
        checkpoint(connection, "PASSIVE")?;
    }
    Ok(())
}

/// The same for the receiver, which only does what the others have had no time for. While it does, nothing is written.
pub(super) fn shorten_overdue(connection: &Connection, write_lock: &WriteLock, shortening: &Shortening) -> Result<()> {
    if shortening.is_paused() {
        return Ok(());
    }
    let before = checkpoint(connection, "NOOP")?;
    if before.bytes < OVERDUE_BYTES {
        return Ok(());
    }
    let _guard = write_lock.acquire(Priority::Receiver);
    copy(connection, before, shortening).map(drop)
}

/// Copies what is in the WAL. `None` where another connection does the same, or another program's reading prevents it.
fn copy(connection: &Connection, before: Wal, shortening: &Shortening) -> Result<Option<Wal>> {
    let after = checkpoint(connection, "PASSIVE")?;
    if after.is_unknown() {
        return Ok(None);
    }
    if after.bytes >= before.bytes && after.copied_bytes <= before.copied_bytes {
        shortening.pause(connection, after);
        return Ok(None);
    }
    shortening.resume();
    Ok(Some(after))
}

/// Copies everything into the database file, and makes the WAL empty. False if another connection was in the way.
pub(super) fn truncate(connection: &Connection) -> Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0)).map(|is_busy| !is_busy)
}

/// Whether Litestream replicates the database, or has done so. It reads on in the WAL where it was, and copies the whole
/// database again when the file has become shorter meanwhile.
pub(super) fn is_replicated(connection: &Connection) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
    connection.query_row(sql, [LITESTREAM_TABLE], |row| row.get(0))
}

impl Shortening {
    fn is_paused(&self) -> bool {
        self.state().until.is_some_and(|until| Instant::now() < until)
    }

    /// After a checkpoint that copied nothing, because another program reads the database as it was before.
    fn pause(&self, connection: &Connection, wal: Wal) {
        let mut state = self.state();
        state.length = (state.length * 2).clamp(FIRST_PAUSE, MAX_PAUSE);
        state.until = Some(Instant::now() + state.length);
        if state.is_told || state.length < TOLD_PAUSE || wal.bytes < MAX_BYTES {
            return;
        }
        state.is_told = true;
        log::warn!(
            "{}-wal has {} MiB and cannot be shortened, because another program has been reading the database for long: a \
             shell or a script with an open transaction, or Litestream if it hangs. Nothing is lost; the file grows until that \
             program ends its transaction",
            connection.path().unwrap_or_default(),
            wal.bytes >> 20
        );
    }

    fn resume(&self) {
        let before = std::mem::take(&mut *self.state());
        if before.is_told {
            log::info!("the WAL can be shortened again");
        }
    }

    fn state(&self) -> MutexGuard<'_, Pause> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn checkpoint(connection: &Connection, mode: &str) -> Result<Wal> {
    let page_bytes: i64 = connection.prepare_cached("PRAGMA page_size")?.query_row([], |row| row.get(0))?;
    let wal = |row: &Row<'_>| {
        let (pages, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(Wal { bytes: pages * page_bytes, copied_bytes: copied * page_bytes })
    };
    connection.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?.query_row([], wal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connection::{open_for_writing, open_or_create};

    #[test]
    fn while_a_program_reads_few_checkpoints_are_tried() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("webhooks.db");
        drop(open_or_create(&path).unwrap());
        let [writer, reader] = [(); 2].map(|()| open_for_writing(&path, Duration::ZERO).unwrap());
        writer.execute_batch("CREATE TABLE t (x)").unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        let (write_lock, shortening) = (WriteLock::default(), Shortening::default());
        let shorten = || shorten(&writer, &write_lock, &shortening).unwrap();
        let pause = || shortening.state().length;
        // The first copies what the reader does not need, the second nothing.
        for _ in 0..2 {
            writer.execute("INSERT INTO t VALUES (zeroblob(?1))", [CHECKPOINT_BYTES]).unwrap();
            shorten();
        }
        assert_eq!(pause(), FIRST_PAUSE);
        let until = shortening.state().until.unwrap();
        while Instant::now() < until {
            shorten();
            assert!(pause() == FIRST_PAUSE || Instant::now() >= until);
        }
        shorten();
        assert_eq!(pause(), 2 * FIRST_PAUSE);
        reader.execute_batch("COMMIT").unwrap();
        shortening.state().until = None;
        shorten();
        assert_eq!(pause(), Duration::ZERO);
        assert_eq!(checkpoint(&writer, "NOOP").unwrap().waiting_bytes(), 0);
    }
    #[test]
    fn the_receiver_shortens_a_wal_that_the_others_have_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("webhooks.db");
        drop(open_or_create(&path).unwrap());
        let writer = open_for_writing(&path, Duration::ZERO).unwrap();
        writer.execute_batch("CREATE TABLE t (x)").unwrap();
        let (write_lock, shortening) = (WriteLock::default(), Shortening::default());
        let mut longest = 0;
        for _ in 0..40 {
            writer.execute("INSERT INTO t VALUES (zeroblob(?1))", [CHECKPOINT_BYTES]).unwrap();
            shorten_overdue(&writer, &write_lock, &shortening).unwrap();
            longest = longest.max(checkpoint(&writer, "NOOP").unwrap().bytes);
        }
        assert!((OVERDUE_BYTES..OVERDUE_BYTES + 2 * CHECKPOINT_BYTES).contains(&longest), "{longest}");
    }
}
