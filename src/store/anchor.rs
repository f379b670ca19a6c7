//! Whether the database is still where it was opened.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Error, Result, sibling};

/// The database file and its WAL as they were when serving began. SQLite goes on writing to files that were deleted or
/// replaced meanwhile (`rm`, a restored backup), and what it commits there is gone with the process.
pub(super) struct Anchor {
    path: PathBuf,
    wal: PathBuf,
    held: Identity,
}

/// Device and inode.
pub(super) type FileId = (u64, u64);

/// Of the database and of its WAL.
type Identity = [FileId; 2];

impl Anchor {
    /// Remembers the files of a database of which a connection is open, and has read: so long the WAL stays.
    pub(super) fn at(path: &Path) -> Result<Anchor> {
        let wal = sibling(path, "-wal");
        let held = identify(path, &wal).map_err(|error| Error::Unusable { path: path.to_owned(), error })?;
        Ok(Anchor { path: path.to_owned(), wal, held })
    }

    /// Errs if one of the files is no longer what it was.
    pub(super) fn check(&self) -> Result<()> {
        match identify(&self.path, &self.wal) {
            Ok(found) if found == self.held => Ok(()),
            _ => Err(Error::Moved(self.path.clone())),
        }
    }
}

fn identify(path: &Path, wal: &Path) -> io::Result<Identity> {
    Ok([file_id(path)?, file_id(wal)?])
}

/// Which file is there now.
pub(super) fn file_id(path: &Path) -> io::Result<FileId> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}
