//! The paths of a database and of the files beside it, and whether they are still those that were opened.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::error::{StorageError, WriteError};

/// The path of the file itself, which need not exist yet: SQLite keeps the WAL beside that, and not beside a link to it.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let to_create = || {
        let file = fs::read_link(path).map_or(path.to_owned(), |target| directory_of(path).join(target));
        Some(directory_of(&file).canonicalize().ok()?.join(file.file_name()?))
    };
    path.canonicalize().ok().or_else(to_create).unwrap_or_else(|| path.to_owned())
}

/// The path with `suffix` after the file name.
pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// For every file that is made: only its owner can read and write it.
const MODE: u32 = 0o600;

/// Opens a file beside the database that is ours. Others may be able to write to the directory: no link is followed, and a
/// FIFO is not waited for.
pub(super) fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.custom_flags(flags.bits().cast_signed()).mode(MODE).open(path)
}

/// The user, neither this one nor root, to whom a file or a directory that exists belongs: they can change it at any time.
pub fn other_owner(path: &Path) -> Option<u32> {
    let owner = fs::metadata(path).ok()?.uid();
    (![geteuid().as_raw(), 0].contains(&owner)).then_some(owner)
}

/// The directory of a file that may not exist.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The database file, its WAL and the shared index of that, as they were at the start. SQLite goes on writing to files that
/// were deleted or replaced meanwhile (`rm`, a restored backup), and what it commits there is gone with the process. A
/// program that opens the database and does not find our index makes another, and the two overwrite each other's commits.
pub(super) struct FileIdentity {
    paths: [PathBuf; 3],
    opened: Vec<FileId>,
}

/// Device and inode.
pub(super) type FileId = (u64, u64);

impl FileIdentity {
    /// Identifies the files as they are now. A connection must be open, and have read, or some of them do not exist.
    pub(super) fn of(path: &Path) -> Result<FileIdentity, StorageError> {
        let paths = [path.to_owned(), sibling(path, "-wal"), sibling(path, "-shm")];
        let opened =
            identify(&paths).map_err(|error| StorageError::Unusable { path: path.display().to_string(), error })?;
        Ok(FileIdentity { paths, opened })
    }

    /// Errs if one of the files is no longer what it was.
    pub(super) fn check(&self) -> Result<(), WriteError> {
        match identify(&self.paths) {
            Ok(found) if found == self.opened => Ok(()),
            _ => Err(WriteError::Moved(self.paths[0].display().to_string())),
        }
    }
}

fn identify(paths: &[PathBuf]) -> io::Result<Vec<FileId>> {
    paths.iter().map(|path| file_id(path)).collect()
}

/// Identifies the file that is at `path` now.
pub(super) fn file_id(path: &Path) -> io::Result<FileId> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}
