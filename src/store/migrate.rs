//! Brings a database up to date, whatever wrote it. Migrations are append-only and counted by `PRAGMA user_version`.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::{Error, Result};

type Migration = fn(&Transaction<'_>) -> std::result::Result<(), Problem>;

/// In order. One that has been released is never changed.
const MIGRATIONS: &[Migration] = &[events, queue, provenance, tallies];

const EVENTS: &str = include_str!("001-events.sql");
const QUEUE: &str = include_str!("002-queue.sql");
const PROVENANCE: &str = include_str!("003-provenance.sql");
const TALLIES: &str = include_str!("004-tallies.sql");

/// The columns of `webhook_events` that are ours; any other column belongs to somebody else and is kept as it is.
const OUR_COLUMNS: [&str; 10] = [
    "id",
    "source",
    "event_type",
    "delivery_id",
    "payload_json",
    "received_at",
    "processed_at",
    "status",
    "headers_json",
    "body",
];

/// The end of our own definition, before which the foreign columns are put.
const OUR_CONSTRAINT: &str = "    UNIQUE (source, delivery_id)";

enum Problem {
    Sql(rusqlite::Error),
    Foreign(String),
    TooNew(i64),
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Problem {
        Problem::Sql(error)
    }
}

/// Applies what is missing, all in one transaction. Refuses a database that a later version has written.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    apply(connection).map_err(|problem| match problem {
        Problem::Sql(error) => Error::of(path, error),
        Problem::Foreign(reason) => Error::Foreign { path: path.to_owned(), reason },
        Problem::TooNew(found) => too_new(path, found),
    })
}

/// Errs for a database that a later version has written, before anything in it is touched.
pub(super) fn refuse_newer(connection: &Connection, path: &Path) -> Result<()> {
    let found = version(connection).map_err(|error| Error::of(path, error))?;
    if found > latest() { Err(too_new(path, found)) } else { Ok(()) }
}

/// For a connection that must not write: errs unless the schema is the one that this program knows.
pub(super) fn require_current(connection: &Connection, path: &Path) -> Result<()> {
    let found = version(connection).map_err(|error| Error::of(path, error))?;
    match found.cmp(&latest()) {
        std::cmp::Ordering::Less => Err(Error::TooOld(path.to_owned())),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(too_new(path, found)),
    }
}

fn apply(connection: &mut Connection) -> std::result::Result<(), Problem> {
    if version(connection)? == latest() {
        return Ok(());
    }
    // A rebuilt table is dropped and renamed: neither may reach into foreign tables, triggers and views that name it.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "legacy_alter_table", true)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    let Some(missing) = usize::try_from(found).ok().and_then(|done| MIGRATIONS.get(done..)) else {
        return Err(Problem::TooNew(found));
    };
    for migration in missing {
        migration(&transaction)?;
    }
    transaction.pragma_update(None, "user_version", latest())?;
    Ok(transaction.commit()?)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn latest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn too_new(path: &Path, found: i64) -> Error {
    Error::TooNew { path: path.to_owned(), found, known: latest() }
}

/// 1: the table of events; the older program's table, where ids were unique over all sources, is rebuilt.
fn events(transaction: &Transaction<'_>) -> std::result::Result<(), Problem> {
    let older: Option<String> = transaction
        .query_row("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'webhook_events'", [], |row| {
            row.get(0)
        })
        .optional()?;
    match older {
        None => Ok(transaction.execute_batch(EVENTS)?),
        Some(definition) => rebuild(transaction, &definition),
    }
}

/// 2: the queue.
fn queue(transaction: &Transaction<'_>) -> std::result::Result<(), Problem> {
    Ok(transaction.execute_batch(QUEUE)?)
}

/// 3: how events came in.
fn provenance(transaction: &Transaction<'_>) -> std::result::Result<(), Problem> {
    Ok(transaction.execute_batch(PROVENANCE)?)
}

/// 4: what looking at a large database stands on.
fn tallies(transaction: &Transaction<'_>) -> std::result::Result<(), Problem> {
    Ok(transaction.execute_batch(TALLIES)?)
}

/// Replaces a table of the older program by ours, with all rows, the id sequence, and foreign columns, constraints,
/// indexes and triggers.
fn rebuild(transaction: &Transaction<'_>, definition: &str) -> std::result::Result<(), Problem> {
    let columns = stored_columns(transaction)?;
    if let Some(missing) = OUR_COLUMNS[..8].iter().find(|column| !columns.iter().any(|found| found == *column)) {
        return Err(Problem::Foreign(format!("it has no column {missing}")));
    }
    let attached = attached_definitions(transaction)?;
    let sequence = last_id(transaction)?;

    let ours = EVENTS.replace("TABLE webhook_events", "TABLE webhook_events_rebuilt");
    // Each comma has a line of its own: a definition may end in a comment.
    let foreign: String = foreign_columns(definition).iter().map(|column| format!("    {column}\n,")).collect();
    let constraints: String = foreign_constraints(definition).iter().map(|rule| format!(",\n    {rule}\n")).collect();
    transaction.execute_batch(&ours.replace(OUR_CONSTRAINT, &format!("{foreign}{OUR_CONSTRAINT}{constraints}")))?;

    let list = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
    transaction.execute_batch(&format!(
        "INSERT INTO webhook_events_rebuilt ({list}) SELECT {list} FROM webhook_events ORDER BY id;
         DROP TABLE webhook_events;
         ALTER TABLE webhook_events_rebuilt RENAME TO webhook_events;"
    ))?;
    for statement in attached {
        transaction.execute_batch(&statement)?;
    }
    transaction.execute("DELETE FROM sqlite_sequence WHERE name = 'webhook_events'", [])?;
    transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('webhook_events', ?1)", [sequence])?;
    Ok(())
}

/// The names of all columns that hold values: generated ones cannot be inserted.
fn stored_columns(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        transaction.prepare("SELECT name FROM pragma_table_xinfo('webhook_events') WHERE hidden = 0 ORDER BY cid")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Indexes and triggers that go with the table when it is dropped.
fn attached_definitions(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut statement = transaction.prepare(
        "SELECT sql FROM sqlite_schema WHERE tbl_name = 'webhook_events' AND type IN ('index', 'trigger')
         AND sql IS NOT NULL ORDER BY rowid",
    )?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// The highest id ever given: ids of deleted rows are not used again.
fn last_id(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
    let exists = "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_sequence'";
    let counted: i64 = transaction.query_row(exists, [], |row| row.get(0))?;
    let given: Option<i64> = if counted == 0 {
        None
    } else {
        let by_name = "SELECT seq FROM sqlite_sequence WHERE name = 'webhook_events'";
        transaction.query_row(by_name, [], |row| row.get(0)).optional()?
    };
    let highest: i64 =
        transaction.query_row("SELECT coalesce(max(id), 0) FROM webhook_events", [], |row| row.get(0))?;
    Ok(given.unwrap_or(0).max(highest))
}

fn foreign_columns(definition: &str) -> Vec<&str> {
    let is_foreign = |part: &&str| !is_constraint(part) && !OUR_COLUMNS.contains(&first_name(part).as_str());
    parts(definition).into_iter().filter(is_foreign).collect()
}

/// Table constraints, without the uniqueness of the delivery id, which ours replaces.
fn foreign_constraints(definition: &str) -> Vec<&str> {
    let replaced = ["unique(delivery_id)", "unique(source,delivery_id)"];
    let squeezed = |part: &str| part.to_ascii_lowercase().replace([' ', '\t', '\n', '\r', '"', '`', '[', ']'], "");
    let is_foreign = |part: &&str| is_constraint(part) && !replaced.contains(&squeezed(part).as_str());
    parts(definition).into_iter().filter(is_foreign).collect()
}

fn is_constraint(part: &str) -> bool {
    let word = part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"].iter().any(|keyword| keyword.eq_ignore_ascii_case(word))
}

/// The column name at the start of a definition, without quotes, in lower case.
fn first_name(part: &str) -> String {
    let (end, quote) = match part.chars().next() {
        Some('[') => (']', true),
        Some(mark @ ('"' | '`' | '\'')) => (mark, true),
        _ => (' ', false),
    };
    let name =
        if quote { part[1..].split(end).next() } else { part.split(|c: char| c.is_whitespace() || c == '(').next() };
    name.unwrap_or_default().to_ascii_lowercase()
}

/// The definitions between the outermost parentheses of a `CREATE TABLE`, without comments before them.
fn parts(definition: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut cuts = Vec::new();
    for (at, token) in tokens(definition) {
        let (before, after) = match token {
            "(" => (depth, depth + 1),
            ")" => (depth, depth - 1),
            _ => (depth, depth),
        };
        let is_outermost = before.min(after) == 0 && before != after;
        if is_outermost || depth == 1 && token == "," {
            cuts.push(at);
        }
        depth = after;
    }
    cuts.windows(2).map(|cut| without_comment_before(&definition[cut[0] + 1..cut[1]])).collect()
}

fn without_comment_before(part: &str) -> &str {
    let is_blank =
        |token: &str| token.starts_with(char::is_whitespace) || token.starts_with("--") || token.starts_with("/*");
    let start = tokens(part).find(|(_, token)| !is_blank(token)).map_or(part.len(), |(at, _)| at);
    part[start..].trim_end()
}

/// Comments, quoted names and strings as a whole, everything else character by character; each with its place.
fn tokens(sql: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        at += token_bytes(&sql[start..])?;
        Some((start, &sql[start..at]))
    })
}

/// The length of the token at the start of `sql`.
fn token_bytes(sql: &str) -> Option<usize> {
    let first = sql.chars().next()?;
    let up_to = |end: &str, from: usize| sql[from..].find(end).map_or(sql.len(), |at| from + at + end.len());
    Some(match first {
        '-' if sql.starts_with("--") => up_to("\n", 2),
        '/' if sql.starts_with("/*") => up_to("*/", 2),
        '[' => up_to("]", 1),
        '"' => up_to("\"", 1),
        '`' => up_to("`", 1),
        '\'' => up_to("'", 1),
        _ => first.len_utf8(),
    })
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLDER: &str = "CREATE TABLE webhook_events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        source TEXT NOT NULL, -- who, exactly (by name)
        event_type TEXT NOT NULL,
        delivery_id TEXT NOT NULL UNIQUE,
        payload_json TEXT NOT NULL,
        received_at TEXT NOT NULL,
        processed_at TEXT,
        status TEXT NOT NULL, \"note, of mine\" TEXT DEFAULT 'a, (b' CHECK (length(\"note, of mine\") < 99),
        size INTEGER GENERATED ALWAYS AS (length(payload_json)) VIRTUAL /* , */,
        UNIQUE ( delivery_id ),
        CONSTRAINT sane CHECK (status IN ('unprocessed', 'processed', 'error'))
    )";

    fn older() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(OLDER).unwrap();
        connection
            .execute_batch(
                "CREATE INDEX by_time ON webhook_events (received_at);
                 CREATE TABLE mine (event INTEGER REFERENCES webhook_events (id) ON DELETE CASCADE);
                 CREATE VIEW open_events AS SELECT id FROM webhook_events WHERE status = 'unprocessed';
                 INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
                 VALUES ('github', 'push', 'a', '{}', '2020-01-01T00:00:00+00:00', 'processed'),
                        ('github', 'push', 'b', '{}', '2020-01-01T00:00:00+00:00', 'unprocessed'),
                        ('github', 'push', 'c', '{}', '2020-01-01T00:00:00+00:00', 'error');
                 INSERT INTO mine VALUES (1), (2);
                 DELETE FROM webhook_events WHERE delivery_id = 'c';",
            )
            .unwrap();
        connection
    }

    fn count(connection: &Connection, sql: &str) -> i64 {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn definitions_are_taken_apart_at_the_right_commas() {
        assert_eq!(parts(OLDER).len(), 12);
        assert_eq!(
            foreign_columns(OLDER).iter().map(|part| first_name(part)).collect::<Vec<_>>(),
            ["note, of mine", "size"]
        );
        assert_eq!(foreign_constraints(OLDER).len(), 1);
    }

    #[test]
    fn a_table_of_the_older_program_keeps_everything() {
        let mut connection = older();
        migrate(&mut connection, Path::new("x")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            count(&connection, "SELECT count(*) FROM webhook_events WHERE \"note, of mine\" = 'a, (b' AND size = 2"),
            2
        );
        assert_eq!(count(&connection, "SELECT count(*) FROM mine"), 2, "foreign rows must not be cascaded away");
        assert_eq!(count(&connection, "SELECT count(*) FROM open_events"), 1);
        assert_eq!(count(&connection, "SELECT count(*) FROM sqlite_schema WHERE name = 'by_time'"), 1);
        assert_eq!(count(&connection, "SELECT event_id FROM unrouted"), 2);
        connection
            .execute_batch(
                "INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
                 VALUES ('other', 'push', 'a', '{}', '2020-01-01T00:00:00+00:00', 'unprocessed')",
            )
            .unwrap();
        assert_eq!(connection.last_insert_rowid(), 4, "the id of a deleted row is not used again");
        assert!(
            connection.execute("UPDATE webhook_events SET status = 'odd'", []).is_err(),
            "the foreign check is kept"
        );
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = older();
        for _ in 0..2 {
            migrate(&mut connection, Path::new("x")).unwrap();
        }
        assert_eq!(count(&connection, "SELECT count(*) FROM webhook_events"), 2);
    }

    #[test]
    fn a_newer_database_is_refused_untouched() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(migrate(&mut connection, Path::new("x")), Err(Error::TooNew { found: 99, .. })));
        assert_eq!(count(&connection, "SELECT count(*) FROM sqlite_schema"), 0);
    }

    #[test]
    fn a_table_of_that_name_that_is_not_ours_is_refused_untouched() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE webhook_events (id INTEGER PRIMARY KEY, text TEXT)").unwrap();
        assert!(matches!(migrate(&mut connection, Path::new("x")), Err(Error::Foreign { .. })));
        assert_eq!(count(&connection, "SELECT count(*) FROM sqlite_schema"), 1);
    }
}
