//! `include`: further files of a config. All of them together are one table, in which nothing is given twice.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::file::{self, ConfigError};
use super::reader::{Problem, join};

/// The key that names the files.
pub(super) const KEY: &str = "include";

/// The tables whose tables may be in several files; every other key is in one.
const SHARED: [&str; 2] = ["sources", "actions"];

/// Far more than a table a file for every sender and action.
const MAX_FILES: usize = 1000;

/// One pattern of `include`, and what it has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    pub pattern: String,
    pub files: Vec<PathBuf>,
}

/// A whole config, before its keys are read.
pub(super) struct Whole {
    pub table: Table,
    pub includes: Vec<Include>,
    origins: Origins,
}

/// Which file has which key: `listen`, `sources.github`. What is not in here is in the first file.
#[derive(Debug)]
struct Origins {
    main: PathBuf,
    keys: BTreeMap<String, PathBuf>,
}

impl Whole {
    /// Reads this file, and those that it includes.
    pub fn read(main: &Path) -> Result<Whole, ConfigError> {
        let text = file::read(main)?;
        let mut whole = Whole::of(main, file::parse(main, &text)?);
        let mut problems = Vec::new();
        for pattern in patterns(&whole.table) {
            let files = whole.find(&pattern)?;
            for path in &files {
                file::require_own_included(main, path)?;
                whole.add(path, &mut problems)?;
            }
            whole.includes.push(Include { pattern, files });
        }
        if problems.is_empty() { Ok(whole) } else { Err(ConfigError::new(problems.join("\n"))) }
    }

    /// The file alone.
    pub fn of(main: &Path, table: Table) -> Whole {
        let origins = Origins { main: main.to_owned(), keys: BTreeMap::new() };
        Whole { table, includes: Vec::new(), origins }
    }

    /// All problems of keys, each with the file that has the key.
    pub fn error(&self, problems: &[Problem]) -> ConfigError {
        let line = |problem: &Problem| format!("{}: {problem}", self.origins.of(&problem.key).display());
        ConfigError::new(problems.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    /// The files of a pattern, in the order of their names; none twice.
    fn find(&self, pattern: &str) -> Result<Vec<PathBuf>, ConfigError> {
        let main = &self.origins.main;
        let wrong = |why: &str| ConfigError::new(format!("{}: {KEY}: {pattern:?}: {why}", main.display()));
        let path = main.parent().unwrap_or(Path::new("")).join(pattern);
        let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(wrong("no name of a file; write one, or a pattern such as \"conf.d/*.toml\""));
        };
        if directory.to_string_lossy().contains(WILDCARDS) {
            return Err(wrong(
                "* and ? stand for a part of the name of a file, not of a directory; name the directory",
            ));
        }
        let found = if name.contains(WILDCARDS) { matching(directory, name)? } else { vec![path.clone()] };
        let is_new = |path: &PathBuf| !self.has(path);
        let found: Vec<PathBuf> = found.into_iter().filter(is_new).collect();
        let count = found.len() + self.includes.iter().map(|include| include.files.len()).sum::<usize>();
        if count > MAX_FILES {
            return Err(wrong(&format!("more than {MAX_FILES} files; put several tables into one")));
        }
        Ok(found)
    }

    fn has(&self, path: &Path) -> bool {
        let is_same = |known: &Path| match (known.canonicalize(), path.canonicalize()) {
            (Ok(known), Ok(path)) => known == path,
            _ => known == path,
        };
        is_same(&self.origins.main) || self.includes.iter().flat_map(|include| &include.files).any(|file| is_same(file))
    }

    fn add(&mut self, path: &Path, problems: &mut Vec<String>) -> Result<(), ConfigError> {
        let text = file::read(path)?;
        for (key, value) in file::parse(path, &text)? {
            if key == KEY {
                let advice = format!("only {} can include files; write it there", self.origins.main.display());
                problems.push(format!("{}: {KEY}: {advice}", path.display()));
                continue;
            }
            match (self.table.get_mut(&key), value) {
                (Some(Value::Table(known)), Value::Table(tables)) if SHARED.contains(&key.as_str()) => {
                    for (name, table) in tables {
                        match known.contains_key(&name) {
                            true => problems.push(self.origins.twice(path, &[&key, &name])?),
                            false => {
                                self.origins.keys.insert(join(&key, &name), path.to_owned());
                                known.insert(name, table);
                            }
                        }
                    }
                }
                (Some(_), _) => problems.push(self.origins.twice(path, &[&key])?),
                (None, value) => {
                    self.origins.keys.insert(key.clone(), path.to_owned());
                    self.table.insert(key, value);
                }
            }
        }
        Ok(())
    }
}

impl Origins {
    /// The file that has the key, or the table that the key is in.
    fn of(&self, key: &str) -> &Path {
        let is_in = |(known, _): &(&String, &PathBuf)| {
            key.strip_prefix(known.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let known = self.keys.iter().filter(is_in).max_by_key(|(known, _)| known.len());
        known.map_or(&self.main, |(_, path)| path)
    }

    fn twice(&self, path: &Path, keys: &[&str]) -> Result<String, ConfigError> {
        let name = keys.iter().fold(String::new(), |path, key| join(&path, key));
        let first = place(self.of(&name), keys)?;
        let second = place(path, keys)?;
        Ok(format!("{second}: {name} is in {first} too; remove one of the two"))
    }
}

/// The file, the line and the column of a key that is in it.
fn place(path: &Path, keys: &[&str]) -> Result<String, ConfigError> {
    let text = file::read(path)?;
    let start = DeTable::parse(&text).ok().and_then(|table| start_of(table.get_ref(), keys)).unwrap_or_default();
    Ok(file::place(path, text.as_bytes(), start))
}

fn start_of(table: &DeTable<'_>, keys: &[&str]) -> Option<usize> {
    let (first, rest) = keys.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    match value.get_ref() {
        DeValue::Table(table) if !rest.is_empty() => start_of(table, rest),
        _ => Some(key.span().start),
    }
}

/// A value of the wrong type is reported with the other keys.
fn patterns(table: &Table) -> Vec<String> {
    match table.get(KEY) {
        Some(Value::String(pattern)) => vec![pattern.clone()],
        Some(Value::Array(patterns)) => patterns.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

const WILDCARDS: [char; 2] = ['*', '?'];

/// The files of the directory whose names match. Where there is no directory, there is no file.
fn matching(directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, ConfigError> {
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let unreadable = |error: &io::Error| ConfigError::unreadable_directory(listed, error);
    let entries = match fs::read_dir(listed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| unreadable(&error))?,
    };
    let names: io::Result<Vec<OsString>> = entries.map(|entry| entry.map(|entry| entry.file_name())).collect();
    let mut names = names.map_err(|error| unreadable(&error))?;
    names.retain(|name| name.to_str().is_some_and(|name| is_match(pattern, name)));
    names.sort();
    Ok(names.iter().map(|name| directory.join(name)).filter(|path| !path.is_dir()).collect())
}

/// As in a shell: a name that begins with a full stop is matched only by a pattern that does.
fn is_match(pattern: &str, name: &str) -> bool {
    let is_hidden = name.starts_with('.') && !pattern.starts_with('.');
    !is_hidden && matches(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
}

fn matches(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=name.len()).any(|taken| matches(rest, &name[taken..])),
        (['?', rest @ ..], [_, others @ ..]) => matches(rest, others),
        ([wanted, rest @ ..], [found, others @ ..]) => wanted == found && matches(rest, others),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".a.toml", false),
            (".*.toml", ".a.toml", true),
            ("*.toml", "a.toml~", false),
            ("?0-*.toml", "10-a.toml", true),
            ("?0-*.toml", "100-a.toml", false),
            ("*", "", true),
            ("**a*", "bab", true),
        ] {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
    }
}
