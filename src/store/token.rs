//! The token of the page: made at the first start, and kept beside the database in a file that no other user can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::files::{open_own, resolved, sibling};
use crate::digest;
use crate::secret::Secret;

/// 256 bits cannot be guessed.
const TOKEN_BYTES: usize = 32;

/// Far more than the file has.
const MAX_FILE_BYTES: u64 = 1024;

/// What other users may not have of the file.
const OTHERS: u32 = 0o077;

/// The file beside the database at `path`.
pub fn page_token_path(path: &Path) -> PathBuf {
    sibling(&resolved(path), ".token")
}

/// The token of a database that a `serve` has made. `None` where there is none.
pub fn page_token(path: &Path) -> io::Result<Option<Secret>> {
    match open_own(&page_token_path(path), OpenOptions::new().read(true)) {
        Ok(file) => read(file),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same for `serve`, which makes one where there is none, and where another user may know it.
pub fn make_page_token(path: &Path) -> io::Result<Secret> {
    match open_own(&page_token_path(path), OpenOptions::new().read(true)) {
        Ok(file) if is_private(&file, path)? => match read(file)? {
            Some(token) => Ok(token),
            None => make(path),
        },
        _ => make(path),
    }
}

/// In a directory that others can write to, one of them may have made the file first.
fn is_private(file: &File, database: &Path) -> io::Result<bool> {
    let (file, database) = (file.metadata()?, fs::metadata(database)?);
    let is_ours = [geteuid().as_raw(), database.uid()].contains(&file.uid());
    Ok(file.is_file() && is_ours && file.mode() & OTHERS == 0)
}

fn read(file: File) -> io::Result<Option<Secret>> {
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(Secret::new(text.trim().into()))
}

/// Written under another name, so that the file is never half written, and what another user has put there is replaced.
fn make(path: &Path) -> io::Result<Secret> {
    let token = digest::base64url(&digest::random::<TOKEN_BYTES>());
    let to = page_token_path(path);
    let part = sibling(&to, ".part");
    // Left by a process that was killed.
    let _ = fs::remove_file(&part);
    let mut file = open_own(&part, OpenOptions::new().write(true).create_new(true))?;
    writeln!(file, "{token}")?;
    fs::rename(&part, &to)?;
    Secret::new(token.into()).ok_or_else(|| ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn text(token: &Secret) -> String {
        String::from_utf8(token.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_token_is_made_once_and_only_its_owner_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("webhooks.db");
        fs::write(&database, "").unwrap();
        assert!(page_token(&database).unwrap().is_none());
        let token = text(&make_page_token(&database).unwrap());
        assert_eq!(token.len(), 43);
        assert_eq!(text(&make_page_token(&database).unwrap()), token);
        assert_eq!(page_token(&database).unwrap().map(|token| text(&token)), Some(token));
        assert_eq!(fs::metadata(page_token_path(&database)).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_token_that_others_may_know_is_replaced_and_a_link_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("webhooks.db");
        fs::write(&database, "").unwrap();
        let (path, target) = (page_token_path(&database), directory.path().join("target"));
        fs::write(&path, "known\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_ne!(text(&make_page_token(&database).unwrap()), "known");
        fs::remove_file(&path).unwrap();
        fs::write(&target, "theirs\n").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&target, &path).unwrap();
        assert!(page_token(&database).is_err());
        assert_ne!(text(&make_page_token(&database).unwrap()), "theirs");
        assert_eq!(fs::read_to_string(&target).unwrap(), "theirs\n");
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }
}
