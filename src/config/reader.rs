//! Walks a TOML table key by key. A problem does not end the walk: it is noted with the key's whole path, and the walk
//! goes on, so that the operator sees all problems at once.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use toml::{Table, Value};

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

/// A value that was understood, or what is wrong with it in the operator's words.
pub type Parsed<T> = Result<T, String>;

/// One table and what has been asked of it so far.
///
/// Everything that reads a key gives `None` both where the key is absent and where it is wrong; in the second case the
/// problem is noted already, so that the caller may go on with a default.
pub struct Reader<'a> {
    path: String,
    table: &'a Table,
    asked: Vec<&'static str>,
    /// Whether a key that was not asked for is a problem.
    is_judged: bool,
    problems: &'a mut Vec<Problem>,
}

/// Reads the whole file's table with `read`. What `read` has not asked for is unknown.
pub fn read_root<T>(table: &Table, problems: &mut Vec<Problem>, read: impl FnOnce(&mut Reader) -> T) -> T {
    read_table(String::new(), table, problems, read)
}

fn read_table<T>(path: String, table: &Table, problems: &mut Vec<Problem>, read: impl FnOnce(&mut Reader) -> T) -> T {
    let mut reader = Reader { path, table, asked: Vec::new(), is_judged: true, problems };
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

    pub fn has_table(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(Value::is_table)
    }

    /// Reads a table of keys with `read`.
    pub fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Reader) -> T) -> Option<T> {
        let child = self.get(key, table)?;
        Some(read_table(self.path_of(key), &child, self.problems, read))
    }

    /// The value of an optional key.
    pub fn get<T>(&mut self, key: &'static str, parse: impl FnOnce(&Value) -> Parsed<T>) -> Option<T> {
        let value = self.value(key)?;
        let path = self.path_of(key);
        self.note(path, parse(value))
    }

    /// The value of a key that must be there; `missing` says what to write.
    pub fn require<T>(
        &mut self,
        key: &'static str,
        missing: &str,
        parse: impl FnOnce(&Value) -> Parsed<T>,
    ) -> Option<T> {
        match self.has(key) {
            true => self.get(key, parse),
            false => self.refuse_missing(key, missing),
        }
    }

    /// The values of a key that takes one value or a list of them, and must be there.
    pub fn require_all<T>(
        &mut self,
        key: &'static str,
        missing: &str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<Vec<T>> {
        match self.has(key) {
            true => self.get_all(key, parse),
            false => self.refuse_missing(key, missing),
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
            values.iter().enumerate().map(|(i, value)| self.note(format!("{path}[{i}]"), parse(value))).collect();
        parsed.into_iter().collect()
    }

    /// The values of an optional table whose keys are the operator's own. Those that cannot be read are left out.
    pub fn get_table<T>(&mut self, key: &'static str, parse: impl Fn(&str, &Value) -> Parsed<T>) -> Vec<T> {
        let path = self.path_of(key);
        let table = self.get(key, table).unwrap_or_default();
        table.iter().filter_map(|(name, value)| self.note(join(&path, name), parse(name, value))).collect()
    }

    /// The tables in a table, each read with `read`, by their names. Those that cannot be read are left out.
    pub fn tables<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str, &mut Reader) -> Option<T>,
    ) -> Option<BTreeMap<String, T>> {
        let tables = self.get(key, table)?;
        let mut found = BTreeMap::new();
        for (name, value) in &tables {
            let path = join(&self.path_of(key), name);
            self.note(path.clone(), check_name(name));
            let Some(child) = self.note(path.clone(), table(value)) else { continue };
            if let Some(item) = read_table(path, &child, self.problems, |keys| read(name, keys)) {
                found.insert(name.clone(), item);
            }
        }
        Some(found)
    }

    /// Notes a problem that only several keys together show. It is `None`, as a value that could not be read.
    pub fn refuse<T>(&mut self, key: &str, message: String) -> Option<T> {
        let path = self.path_of(key);
        self.note(path, Err(message))
    }

    /// Notes a problem of a key further down.
    pub fn refuse_at(&mut self, path: String, message: String) {
        self.problems.push(Problem { key: path, message });
    }

    /// For a table of which too little is known to say which keys it may have.
    pub fn give_up<T>(&mut self) -> Option<T> {
        self.is_judged = false;
        None
    }

    fn refuse_missing<T>(&mut self, key: &'static str, missing: &str) -> Option<T> {
        self.asked.push(key);
        self.refuse(key, format!("missing; {missing}"))
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.push(key);
        self.table.get(key)
    }

    fn note<T>(&mut self, key: String, parsed: Parsed<T>) -> Option<T> {
        parsed.map_err(|message| self.problems.push(Problem { key, message })).ok()
    }

    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn refuse_unknown_keys(&mut self) {
        if !self.is_judged {
            return;
        }
        for key in self.table.keys().filter(|key| !self.asked.contains(&key.as_str())) {
            let message = match closest(key, self.asked.iter().copied()) {
                Some(known) => format!("unknown key; did you mean {known}?"),
                None => format!("unknown key; known here: {}", known(&self.asked)),
            };
            self.problems.push(Problem { key: join(&self.path, key), message });
        }
    }
}

fn known(asked: &[&str]) -> String {
    let mut asked = asked.to_vec();
    asked.sort_unstable();
    asked.dedup();
    asked.join(", ")
}

/// Spells a path as TOML does: a key that is no bare one is quoted, which also keeps control characters off the screen.
fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The longest name of a source or action. It stands in a URL, in every row and in most lines of output.
const MAX_NAME_BYTES: usize = 64;

/// A source's name is a segment of a URL, and an action's will be: only what needs no escaping there, nor in a shell.
fn check_name(name: &str) -> Parsed<()> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let goes_on_well = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
    if starts_well && goes_on_well && name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(format!(
        "a name is 1 to {MAX_NAME_BYTES} of the characters a-z, 0-9, _ and -, and begins with a letter or a digit; rename it"
    ))
}

/// A string.
pub fn text(value: &Value) -> Parsed<&str> {
    value.as_str().ok_or_else(|| expected("a string", value))
}

/// A string in the form that `T` reads.
pub fn parsed<T: FromStr<Err: fmt::Display>>(value: &Value) -> Parsed<T> {
    text(value)?.parse().map_err(|error: T::Err| error.to_string())
}

fn table(value: &Value) -> Parsed<Table> {
    value.as_table().cloned().ok_or_else(|| expected("a table", value))
}

/// Says what was wanted in place of `found`, whose value may be a secret and is not shown.
pub fn expected(wanted: &str, found: &Value) -> String {
    format!("expected {wanted}, found {}", with_article(found.type_str()))
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems<T>(toml: &str, read: impl FnOnce(&mut Reader) -> T) -> Vec<String> {
        let table: Table = toml.parse().expect("TOML");
        let mut problems = Vec::new();
        read_root(&table, &mut problems, read);
        problems.iter().map(Problem::to_string).collect()
    }

    fn number(value: &Value) -> Parsed<i64> {
        value.as_integer().ok_or_else(|| expected("an integer", value))
    }

    #[test]
    fn reads_what_is_there() {
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
    fn every_problem_has_its_path() {
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
    fn what_was_not_asked_for_is_unknown() {
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
