//! Whether the files of a database are still those that were opened.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::{StorageError, WriteError};
use super::path::sibling;

/// The database file, its WAL and the shared index of that, as they were at the start. SQLite goes on writing to files that
/// were deleted or replaced meanwhile (`rm`, a restored backup), and what it commits there is gone with the process. A
/// program that opens the database and does not find our index makes another, and the two overwrite each other's commits.
pub(super) struct FileIdentity {
    paths: [PathBuf; 3],
    opened: FileIds,
}

/// Device and inode.
pub(super) type FileId = (u64, u64);

/// Of the database, of its WAL and of the index.
type FileIds = [FileId; 3];

impl FileIdentity {
    /// Of the files as they are now. A connection must be open and have read: that creates the WAL and the index.
    pub(super) fn of(path: &Path) -> Result<FileIdentity, StorageError> {
        let paths = [path.to_owned(), sibling(path, "-wal"), sibling(path, "-shm")];
        let opened = identify(&paths).map_err(|error| StorageError::Unusable { path: path.to_owned(), error })?;
        Ok(FileIdentity { paths, opened })
    }

    /// Errs if one of the files is no longer what it was.
    pub(super) fn check(&self) -> Result<(), WriteError> {
        match identify(&self.paths) {
            Ok(found) if found == self.opened => Ok(()),
            _ => Err(WriteError::Moved(self.paths[0].clone())),
        }
    }
}

fn identify([database, wal, index]: &[PathBuf; 3]) -> io::Result<FileIds> {
    Ok([file_id(database)?, file_id(wal)?, file_id(index)?])
}

/// Identifies the file that is at `path` now.
pub(super) fn file_id(path: &Path) -> io::Result<FileId> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}
