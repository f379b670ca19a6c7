//! Reads a TOML table key by key. Problems are recorded with the path of the key, and reading continues, so that the
//! operator sees all problems at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::{Table, Value};

use super::values::{Parsed, table};
use crate::suggest::closest;

/// One thing that is wrong, and the key where it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// `sources.github.secret`, `actions.team.on[1]`
    pub key: String,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// One table, and the keys that have been read.
///
/// Methods that read a key return `None` both if it is absent and if its value is wrong; in the second case the problem has
/// been recorded, so that the caller can continue with a default.
pub struct Reader<'a> {
    path: String,
    table: &'a Table,
    known: Vec<&'static str>,
    ignores_unknown: bool,
    problems: &'a mut Vec<Problem>,
}

/// Reads a table with `read`; `path` is empty for the whole file. Keys that `read` does not read are unknown, which is a
/// problem.
pub fn read_table<T>(path: &str, table: &Table, problems: &mut Vec<Problem>, read: impl FnOnce(&mut Reader) -> T) -> T {
    let mut reader = Reader { path: path.to_owned(), table, known: Vec::new(), ignores_unknown: false, problems };
    let result = read(&mut reader);
    reader.refuse_unknown_keys();
    result
}

impl<'a> Reader<'a> {
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub fn is_empty_table(&self, key: &str) -> bool {
        self.table.get(key).and_then(Value::as_table).is_some_and(Table::is_empty)
    }

    /// A table as it is written, for what depends on several of its keys.
    pub fn raw_table(&self, key: &str) -> Option<&'a Table> {
        self.table.get(key).and_then(Value::as_table)
    }

    pub fn has_table(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(Value::is_table)
    }

    /// Reads a table of keys with `read`.
    pub fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Reader) -> T) -> Option<T> {
        let child = self.get(key, table)?;
        Some(read_table(&self.path_of(key), &child, self.problems, read))
    }

    /// The value of an optional key.
    pub fn get<T>(&mut self, key: &'static str, parse: impl FnOnce(&Value) -> Parsed<T>) -> Option<T> {
        let value = self.value(key)?;
        let path = self.path_of(key);
        self.record(path, parse(value))
    }

    /// The value of a required key; `advice` says what to write.
    pub fn require<T>(
        &mut self,
        key: &'static str,
        advice: &str,
        parse: impl FnOnce(&Value) -> Parsed<T>,
    ) -> Option<T> {
        self.check_present(key, advice);
        self.get(key, parse)
    }

    pub fn check_present(&mut self, key: &'static str, advice: &str) {
        if !self.has(key) {
            self.refuse::<()>(key, format!("missing; {advice}"));
        }
    }

    /// The values of a key that takes one value or a list of them.
    pub fn get_all<T>(&mut self, key: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<Vec<T>> {
        let values = match self.value(key)? {
            Value::Array(values) => values,
            single => return self.get(key, |_| parse(single)).map(|value| vec![value]),
        };
        if values.is_empty() {
            return self.refuse(key, "the list is empty; put something into it, or leave the key out".to_owned());
        }
        let path = self.path_of(key);
        let parsed: Vec<Option<T>> =
            values.iter().enumerate().map(|(i, value)| self.record(format!("{path}[{i}]"), parse(value))).collect();
        parsed.into_iter().collect()
    }

    /// The values of an optional table whose keys the operator chooses. Wrong ones are left out.
    pub fn get_table<T>(&mut self, key: &'static str, parse: impl Fn(&str, &Value) -> Parsed<T>) -> Vec<T> {
        let path = self.path_of(key);
        let table = self.get(key, table).unwrap_or_default();
        table.iter().filter_map(|(name, value)| self.record(join(&path, name), parse(name, value))).collect()
    }

    /// The tables in a table, each read with `read`, by their names. Wrong ones are left out.
    pub fn tables<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str, &mut Reader) -> Option<T>,
    ) -> Option<BTreeMap<String, T>> {
        let tables = self.get(key, table)?;
        let mut found = BTreeMap::new();
        for (name, value) in &tables {
            let path = join(&self.path_of(key), name);
            self.record(path.clone(), check_name(name));
            let Some(child) = self.record(path.clone(), table(value)) else { continue };
            if let Some(item) = read_table(&path, &child, self.problems, |keys| read(name, keys)) {
                found.insert(name.clone(), item);
            }
        }
        Some(found)
    }

    /// Records a problem of a key beyond its value. `None`, like the value of a wrong key.
    pub fn refuse<T>(&mut self, key: &str, message: String) -> Option<T> {
        let path = self.path_of(key);
        self.record(path, Err(message))
    }

    /// Records a problem of a key in a table below.
    pub fn refuse_at(&mut self, path: String, message: String) {
        self.problems.push(Problem { key: path, message });
    }

    /// For a table whose possible keys cannot be determined.
    pub fn ignore_unknown_keys(&mut self) {
        self.ignores_unknown = true;
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.table.get(key)
    }

    fn record<T>(&mut self, key: String, parsed: Parsed<T>) -> Option<T> {
        parsed.map_err(|message| self.problems.push(Problem { key, message })).ok()
    }

    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn refuse_unknown_keys(&mut self) {
        if self.ignores_unknown {
            return;
        }
        for key in self.table.keys().filter(|key| !self.known.contains(&key.as_str())) {
            let message = match closest(key, self.known.iter().copied()) {
                Some(known) => format!("unknown key; did you mean {known}?"),
                None => {
                    let known: Vec<&str> = BTreeSet::from_iter(&self.known).into_iter().copied().collect();
                    format!("unknown key; known here: {}", known.join(", "))
                }
            };
            self.problems.push(Problem { key: join(&self.path, key), message });
        }
    }
}

/// A path as TOML writes it: a key that is not bare is quoted, which also escapes control characters.
pub fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The longest name of a source or action. It is in a URL, in every row and in most lines of output.
const MAX_NAME_BYTES: usize = 64;

/// Whether this can be the name of a source or action. That of a source is a segment of a URL: only characters that need no
/// escaping there, nor in a shell.
pub fn is_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let continues_well = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
    starts_well && continues_well && name.len() <= MAX_NAME_BYTES
}

fn check_name(name: &str) -> Parsed<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(format!(
        "a name is 1 to {MAX_NAME_BYTES} of the characters a-z, 0-9, _ and -, and begins with a letter or a digit; rename it"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::values::expected;
    use super::*;

    fn problems<T>(toml: &str, read: impl FnOnce(&mut Reader) -> T) -> Vec<String> {
        let table: Table = toml.parse().expect("TOML");
        let mut problems = Vec::new();
        read_table("", &table, &mut problems, read);
        problems.iter().map(Problem::to_string).collect()
    }

    fn number(value: &Value) -> Parsed<i64> {
        value.as_integer().ok_or_else(|| expected("an integer", value))
    }

    #[test]
    fn reads_keys() {
        let found = problems("one = 1\nmany = [1, 2]", |keys| {
            assert_eq!(keys.get("one", number), Some(1));
            assert_eq!(keys.get("absent", number), None);
            assert_eq!(keys.require("one", "write it", number), Some(1));
            assert_eq!(keys.get_all("one", number), Some(vec![1]));
            assert_eq!(keys.get_all("many", number), Some(vec![1, 2]));
        });
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn every_problem_has_the_path_of_its_key() {
        let found =
            problems("many = [1, true, 'x']\nnone = []\n[tables.a]\nkey = 1.5\n[tables.'B c']\nkey = 1", |keys| {
                keys.get_all("many", number);
                keys.get_all("none", number);
                keys.require("needed", "write a number", number);
                keys.tables("tables", |_, keys| keys.get("key", number));
            });
        assert_eq!(found.len(), 6, "{found:#?}");
        assert_eq!(found[0], "many[1]: expected an integer, found a boolean");
        assert_eq!(found[1], "many[2]: expected an integer, found a string");
        assert!(found[2].starts_with("none: the list is empty"));
        assert_eq!(found[3], "needed: missing; write a number");
        assert!(found[4].starts_with("tables.\"B c\": a name is"), "{}", found[4]);
        assert_eq!(found[5], "tables.a.key: expected an integer, found a float");
    }

    #[test]
    fn a_key_that_is_not_read_is_unknown() {
        let found = problems("listn = 1\nzzz = 2\nlisten = 3", |keys| {
            keys.get("listen", number);
            keys.get("database", number);
        });
        assert_eq!(
            found,
            ["listn: unknown key; did you mean listen?", "zzz: unknown key; known here: database, listen"]
        );
    }

    #[test]
    fn a_table_must_hold_tables() {
        let found = problems("a = 1\nb = [1]\n[c]\nd = 1", |keys| {
            for key in ["a", "b", "c"] {
                keys.tables(key, |_, _| Some(()));
            }
        });
        assert_eq!(
            found,
            [
                "a: expected a table, found an integer",
                "b: expected a table, found an array",
                "c.d: expected a table, found an integer"
            ]
        );
    }

    #[test]
    fn names_are_fit_for_a_url() {
        for good in ["a", "0", "github", "team-2_x", &"a".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good:?}");
        }
        for bad in ["", "-a", "_a", "A", "a b", "a/b", "a.b", "é", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
