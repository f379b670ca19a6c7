//! Paths of a database and of the files beside it.

use std::path::{Path, PathBuf};

/// The path of the file itself, which need not exist yet: SQLite keeps the WAL beside that, and not beside a link to it.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let beside = || Some(directory_of(path).canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(beside).unwrap_or_else(|| path.to_owned())
}

/// The path with `suffix` after the file name.
pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The directory of a file that may not exist.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
