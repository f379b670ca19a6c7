//! Whether the database is still where it was opened.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Error, Result, sibling};

/// The database file, its WAL and the shared index of that as they were when serving began. SQLite goes on writing to files
/// that were deleted or replaced meanwhile (`rm`, a restored backup), and what it commits there is gone with the process.
/// Whoever opens the database without finding our index makes another, and the two overwrite each other's commits.
pub(super) struct FileIdentity {
    files: [PathBuf; 3],
    held: FileIds,
}

/// Device and inode.
pub(super) type FileId = (u64, u64);

/// Of the database, of its WAL and of the index.
type FileIds = [FileId; 3];

impl FileIdentity {
    /// Remembers the files of a database of which a connection is open, and has read: so long they stay.
    pub(super) fn at(path: &Path) -> Result<FileIdentity> {
        let files = [path.to_owned(), sibling(path, "-wal"), sibling(path, "-shm")];
        let held = identify(&files).map_err(|error| Error::Unusable { path: path.to_owned(), error })?;
        Ok(FileIdentity { files, held })
    }

    /// Errs if one of the files is no longer what it was.
    pub(super) fn check(&self) -> Result<()> {
        match identify(&self.files) {
            Ok(found) if found == self.held => Ok(()),
            _ => Err(Error::Moved(self.files[0].clone())),
        }
    }
}

fn identify([database, wal, index]: &[PathBuf; 3]) -> io::Result<FileIds> {
    Ok([file_id(database)?, file_id(wal)?, file_id(index)?])
}

/// Which file is there now.
pub(super) fn file_id(path: &Path) -> io::Result<FileId> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}
