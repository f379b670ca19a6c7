//! A copy of the database, taken while others write.
//!
//! All pages are read in one read transaction, so that no writer makes the copy start again, and everything acknowledged
//! before is in it. SQLite's backup is used rather than `VACUUM INTO`: it reads at the speed of the disk, so that the WAL
//! is held for the shortest time, and the rows of the same snapshot can be counted.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::connection::{connect, open_read_only};
use super::error::{BackupError, Result, StorageError};
use super::files::{directory_of, open_own, sibling};
use super::filesystem::Disk;
use super::stats::Sizes;

/// Pages between two reports of progress: about a megabyte.
const STEP_PAGES: i32 = 256;

/// Tables of which the copy must have as many rows as the original, where that has them: `attempts` is of earlier versions.
const TABLES: [&str; 4] = ["webhook_events", "jobs", "attempts", "earlier_attempts"];

/// A copy that is written, checked and on disk.
#[derive(Debug)]
pub struct Copied {
    pub events: i64,
    pub bytes: u64,
}

/// The copy before it has its name. Deleted when this is dropped.
pub(super) struct PartFile(PathBuf);

/// Copies the database at `path` into the file `to`, which must not exist. Where both are on the same disk,
/// `reserve_bytes` of it must stay free. `progress` gets how many of how many pages are copied.
pub fn backup(
    path: &Path,
    to: &Path,
    reserve_bytes: u64,
    progress: impl FnMut(i32, i32),
) -> Result<Copied, BackupError> {
    if to.symlink_metadata().is_ok() {
        return Err(unwritable(to, io::ErrorKind::AlreadyExists.into()));
    }
    let source = open_read_only(path)?;
    check_room(&source, path, to, reserve_bytes)?;
    let part = PartFile::create(&sibling(to, &format!(".{}.part", std::process::id())), to)?;
    complete(&source, &part, to, progress)
}

/// Fills the copy, checks it, and gives it its name.
pub(super) fn complete(
    source: &Connection,
    part: &PartFile,
    to: &Path,
    progress: impl FnMut(i32, i32),
) -> Result<Copied, BackupError> {
    let counts = copy(source, &part.0, progress).map_err(StorageError::at(to))?;
    verify(&part.0, to, &counts)?;
    let bytes = publish(&part.0, to).map_err(|error| unwritable(to, error))?;
    Ok(Copied { events: counts[0], bytes })
}

impl PartFile {
    /// Creates it beside the file `to` that it becomes. Only its owner can read it, also where more users can read the
    /// database.
    pub(super) fn create(part: &Path, to: &Path) -> Result<PartFile, BackupError> {
        let created = open_own(part, OpenOptions::new().write(true).create_new(true));
        created.map_err(|error| unwritable(to, error))?;
        Ok(PartFile(part.to_owned()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            // After the rename nothing is left to delete.
            let _ = fs::remove_file(sibling(&self.0, suffix));
        }
    }
}

/// Returns how many rows of each table the copy must have.
fn copy(source: &Connection, to: &Path, progress: impl FnMut(i32, i32)) -> rusqlite::Result<Vec<i64>> {
    let mut copy = connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // An incomplete copy is deleted, and a complete one is synced before it has its name.
    copy.pragma_update(None, "synchronous", "OFF")?;
    let snapshot = source.unchecked_transaction()?;
    let counts = counts(&snapshot)?;
    copy_pages(&snapshot, &mut copy, progress)?;
    Ok(counts)
}

/// Replaces everything in one database by what is in another.
pub(super) fn copy_pages(
    from: &Connection,
    to: &mut Connection,
    mut progress: impl FnMut(i32, i32),
) -> rusqlite::Result<()> {
    let backup = Backup::new(from, to)?;
    while backup.step(STEP_PAGES)? != StepResult::Done {
        let done = backup.progress();
        progress(done.pagecount - done.remaining, done.pagecount);
    }
    Ok(())
}

fn counts(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let exists = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
    let count = |table: &&str| match connection.query_row(exists, [table], |row| row.get(0))? {
        true => connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)),
        false => Ok(0),
    };
    TABLES.iter().map(count).collect()
}

/// Reads every page of the copy, and turns it into a database without a WAL beside it.
fn verify(part: &Path, to: &Path, expected: &[i64]) -> Result<(), BackupError> {
    let check = || {
        let copy = connect(part, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        copy.pragma_update(None, "journal_mode", "DELETE")?;
        let found: String = copy.pragma_query_value(None, "integrity_check", |row| row.get(0))?;
        Ok((found, counts(&copy)?))
    };
    let reason = match check().map_err(StorageError::at(to))? {
        (found, counts) if found == "ok" && counts == expected => return Ok(()),
        (found, counts) if found == "ok" => format!("{counts:?} rows and not {expected:?}"),
        (found, _) => found,
    };
    Err(BackupError::Failed(format!(
        "the copy for the backup {} is not sound ({reason}), and was deleted: check the database with hookbox doctor, and \
         the disk",
        to.display()
    )))
}

/// Gives the file its name when it is on disk. Returns its size.
fn publish(part: &Path, to: &Path) -> io::Result<u64> {
    let file = File::open(part)?;
    file.sync_all()?;
    match renameat_with(CWD, part, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system (FAT, shares) has a rename that overwrites nothing.
        Err(rustix::io::Errno::INVAL) if to.symlink_metadata().is_err() => fs::rename(part, to)?,
        renamed => renamed?,
    }
    File::open(directory_of(to))?.sync_all()?;
    Ok(file.metadata()?.len())
}

/// A full disk would stop deliveries, and a copy that does not fit is useless.
fn check_room(source: &Connection, path: &Path, to: &Path, reserve_bytes: u64) -> Result<(), BackupError> {
    let needed_bytes = Sizes::of_file(source).map_err(StorageError::at(path))?.database_bytes;
    let device = |path: &Path| fs::metadata(path).map(|file| file.dev()).ok();
    let reserve_bytes = if device(path) == device(directory_of(to)) { reserve_bytes } else { 0 };
    let too_small = Disk::of(to).filter(|disk| disk.free_bytes < needed_bytes.saturating_add(reserve_bytes));
    let Some(Disk { free_bytes, .. }) = too_small else { return Ok(()) };
    Err(BackupError::Failed(format!(
        "the backup {} takes {} MiB, and its disk has only {} MiB free (beside disk_reserve, where the database is on it too): \
         name a file on another disk",
        to.display(),
        needed_bytes >> 20,
        free_bytes >> 20
    )))
}

fn unwritable(to: &Path, error: io::Error) -> BackupError {
    let to = to.display();
    BackupError::Failed(match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{to} exists already, and a backup overwrites nothing: name another file")
        }
        _ => format!("cannot write the backup {to}: {error}. Its directory must exist, and be writable"),
    })
}
