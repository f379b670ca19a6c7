//! Finds the config file and reads it as a TOML table.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use toml::Table;

use crate::secret::Env;

/// The variable that names the file. Empty is the same as unset, like systemd's `Environment=NAME=`.
const CONFIG_VARIABLE: &str = "HOOKBOX_CONFIG";

/// The file of a service, found from any directory.
pub const SYSTEM_CONFIG: &str = "/etc/hookbox/hookbox.toml";

/// The file of a first try, in the working directory.
const LOCAL_CONFIG: &str = "hookbox.toml";

/// Where the file is searched if none is named; the first that exists is read.
const SEARCH_PATH: [&str; 2] = [LOCAL_CONFIG, SYSTEM_CONFIG];

/// Permissions by which other users can change a file, or replace those in a directory.
const OTHERS_WRITE: u32 = 0o022;

/// In a directory with this bit, such as `/tmp`, a user can replace only files of their own.
const STICKY: u32 = 0o1000;

/// Far larger than any config: a larger file is the wrong one, and `/dev/zero` has no end.
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// Where a [`Config`](super::Config) came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    /// There is no file; everything is the default.
    BuiltIn,
}

/// Why there is no config: what is wrong, where, and how to fix it; a line for each problem.
#[derive(Debug)]
pub struct ConfigError(String);

impl ConfigError {
    pub fn new(lines: String) -> ConfigError {
        ConfigError(lines)
    }

    pub fn unreadable_directory(path: &Path, error: &io::Error) -> ConfigError {
        let path = path.display();
        ConfigError(format!("cannot read the directory {path}: {error}; make it readable, or take it out of include"))
    }

    /// A file that was named does not exist, or one that exists cannot be read.
    fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
        let path = path.display();
        let advice = "make it readable, or name another (--config, include)";
        ConfigError(format!("cannot read the config file {path}: {error}; {advice}"))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The file to read: the one named on the command line, else by the environment, else the first on the search path.
pub fn find(named: Option<&Path>, env: &Env) -> Result<Origin, ConfigError> {
    if let Some(path) = named {
        return Ok(Origin::File(path.to_owned()));
    }
    if let Some(path) = env(CONFIG_VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(Origin::File(PathBuf::from(path)));
    }
    let found = first_existing(&SEARCH_PATH.map(Path::new))?;
    if found == Origin::File(PathBuf::from(LOCAL_CONFIG)) {
        require_own(Path::new("."), Path::new(LOCAL_CONFIG))?;
    }
    Ok(found)
}

/// Errs if another user could have written the file in this directory, where it was only found: a config names commands
/// that are run, and addresses to which secrets are sent.
fn require_own(directory: &Path, path: &Path) -> Result<(), ConfigError> {
    let Some(why) = foreign(directory, path, &[geteuid().as_raw(), 0])? else { return Ok(()) };
    let path = path.display();
    Err(ConfigError(format!("./{path} is not read, because {why}. If it is the right one, name it: --config {path}")))
}

/// The same for a file that a config includes, which may also belong to the owner of that config.
pub fn require_own_included(config: &Path, path: &Path) -> Result<(), ConfigError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let owner = config.metadata().map_err(|error| ConfigError::unreadable(config, &error))?.uid();
    let Some(why) = foreign(directory, path, &[geteuid().as_raw(), 0, owner])? else { return Ok(()) };
    let (config, path) = (config.display(), path.display());
    Err(ConfigError(format!("{config}: include: {path} is not read, because {why}; change that, or do not include it")))
}

/// Why another user could have written the file in this directory, if one could.
fn foreign(directory: &Path, path: &Path, owners: &[u32]) -> Result<Option<String>, ConfigError> {
    let mut places = vec![directory.to_owned(), path.to_owned()];
    // A link that leads nowhere is reported when it is read.
    if let Ok(target) = path.canonicalize()
        && path.is_symlink()
    {
        places.extend([target.parent().unwrap_or(Path::new("/")).to_owned(), target.clone()]);
    }
    for place in places {
        let why = foreign_place(&place, owners).map_err(|error| ConfigError::unreadable(path, &error))?;
        if why.is_some() {
            return Ok(why);
        }
    }
    Ok(None)
}

fn foreign_place(place: &Path, owners: &[u32]) -> io::Result<Option<String>> {
    let found = place.symlink_metadata()?;
    let shown = place.display();
    let is_protected = found.is_symlink() || found.is_dir() && found.mode() & STICKY != 0;
    Ok(if !owners.contains(&found.uid()) {
        Some(format!("{shown} belongs to another user (uid {})", found.uid()))
    } else if found.mode() & OTHERS_WRITE != 0 && !is_protected {
        Some(format!("other users can write to {shown} (chmod go-w {shown})"))
    } else {
        None
    })
}

/// A path that cannot be inspected counts as existing, and so does a dangling link: without the operator's file, hookbox
/// would receive unverified deliveries.
fn first_existing(paths: &[&Path]) -> Result<Origin, ConfigError> {
    for path in paths {
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(ConfigError::unreadable(path, &error)),
            Ok(_) => return Ok(Origin::File(path.to_path_buf())),
        }
    }
    Ok(Origin::BuiltIn)
}

/// Reads a file of the config as text.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| ConfigError::unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        let (path, limit) = (path.display(), MAX_CONFIG_BYTES / 1024);
        return Err(ConfigError(format!(
            "{path}: larger than {limit} KiB, which cannot be a config file; name another"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = place(path, error.as_bytes(), error.utf8_error().valid_up_to());
        ConfigError(format!("{place}: not UTF-8; save the file as UTF-8"))
    })
}

/// Reads the text of this file as TOML, with any keys.
pub fn parse(path: &Path, text: &str) -> Result<Table, ConfigError> {
    // The message does not show the line, which may contain the secret.
    text.parse::<Table>().map_err(|error| {
        let place = place(path, text.as_bytes(), error.span().map_or(0, |span| span.start));
        ConfigError(format!("{place}: {}", error.message()))
    })
}

/// `FILE:LINE:COLUMN` of a byte of the file.
pub fn place(path: &Path, bytes: &[u8], offset: usize) -> String {
    let (line, column) = position(&bytes[..offset.min(bytes.len())]);
    format!("{}:{line}:{column}", path.display())
}

/// The line and column, both counted from 1, of the byte after `before`.
fn position(before: &[u8]) -> (usize, usize) {
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn nothing_set(_: &str) -> Option<OsString> {
        None
    }

    fn syntax_error(text: &str) -> String {
        parse(Path::new("hookbox.toml"), text).expect_err("no TOML").to_string()
    }

    #[test]
    fn the_command_line_takes_precedence() {
        let env = |name: &str| (name == CONFIG_VARIABLE).then(|| OsString::from("/by/env"));
        let by_flag = find(Some(Path::new("/by/flag")), &env).expect("found");
        assert_eq!(by_flag, Origin::File(PathBuf::from("/by/flag")));
        assert_eq!(find(None, &env).expect("found"), Origin::File(PathBuf::from("/by/env")));
    }

    #[test]
    fn an_empty_variable_names_no_file() {
        let env = |_: &str| Some(OsString::new());
        assert_eq!(find(None, &env).expect("found"), find(None, &nothing_set).expect("found"));
    }

    #[test]
    fn the_first_file_that_exists_is_taken_even_if_it_cannot_be_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let [absent, dangling, whole] = ["absent", "dangling", "whole"].map(|name| directory.path().join(name));
        symlink("nowhere", &dangling).expect("linked");
        fs::write(&whole, "").expect("written");
        let first = |paths: &[&Path]| first_existing(paths).expect("found");
        assert_eq!(first(&[&absent]), Origin::BuiltIn);
        assert_eq!(first(&[&absent, &whole]), Origin::File(whole.clone()));
        assert_eq!(first(&[&dangling, &whole]), Origin::File(dangling));
        assert!(first_existing(&[&whole.join("below a file"), &whole]).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let message = |path: &Path| read(path).expect_err("unreadable").to_string();
        assert!(message(&directory.path().join("absent")).contains("--config"));
        assert!(message(directory.path()).contains("cannot read"));
        assert!(message(Path::new("/dev/zero")).contains("larger than 1024 KiB"));
    }

    #[test]
    fn a_syntax_error_has_its_position_and_does_not_show_the_line() {
        let shown = syntax_error("listen = '127.0.0.1:5000'\nsecret = 'hunter2");
        assert!(shown.starts_with("hookbox.toml:2:18: "), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(syntax_error("a = 1\na = 2").starts_with("hookbox.toml:2:1: duplicate key"));
    }

    #[test]
    fn a_file_that_is_not_utf_8_has_the_position_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hookbox.toml");
        fs::write(&path, b"a = 1\n\xC3\xA9 = \xFF").expect("written");
        let shown = read(&path).expect_err("not UTF-8").to_string();
        assert!(shown.contains("hookbox.toml:2:5: not UTF-8"), "{shown}");
    }
}
