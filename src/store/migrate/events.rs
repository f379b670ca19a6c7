//! Migration 1: the table of events. The older program's table, where ids were unique over all sources, is rebuilt.

use rusqlite::{OptionalExtension, Transaction};

use super::{MigrationError, Result};
use crate::store::row::texts;

const EVENTS: &str = include_str!("../001-events.sql");

/// The columns of `webhook_events` that are ours; other programs' columns are kept as they are.
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

/// The end of our own definition, before which foreign columns are inserted.
const OUR_CONSTRAINT: &str = "    UNIQUE (source, delivery_id)";

pub(super) fn create_or_rebuild(transaction: &Transaction<'_>) -> Result<(), MigrationError> {
    let definition = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'webhook_events'";
    let older: Option<String> = transaction.query_row(definition, [], |row| row.get(0)).optional()?;
    match older {
        None => Ok(transaction.execute_batch(EVENTS)?),
        Some(definition) => rebuild(transaction, &definition),
    }
}

/// Replaces a table of the older program by ours, with all rows, the id sequence, and foreign columns, constraints,
/// indexes and triggers.
fn rebuild(transaction: &Transaction<'_>, definition: &str) -> Result<(), MigrationError> {
    // Generated columns cannot be inserted.
    let columns = "SELECT name FROM pragma_table_xinfo('webhook_events') WHERE hidden = 0 ORDER BY cid";
    let columns = texts(transaction, columns)?;
    if let Some(missing) = OUR_COLUMNS[..8].iter().find(|column| !columns.iter().any(|found| found == *column)) {
        return Err(MigrationError::Foreign(format!("it has no column {missing}")));
    }
    // Indexes and triggers go with the table when it is dropped.
    let attached = "SELECT sql FROM sqlite_schema WHERE tbl_name = 'webhook_events' AND type IN ('index', 'trigger')
         AND sql IS NOT NULL ORDER BY rowid";
    let attached = texts(transaction, attached)?;

    let ours = EVENTS.replace("TABLE webhook_events", "TABLE webhook_events_rebuilt");
    // Each comma has a line of its own: a definition may end in a comment.
    let foreign: String = foreign_columns(definition).iter().map(|column| format!("    {column}\n,")).collect();
    let constraints: String = foreign_constraints(definition).iter().map(|rule| format!(",\n    {rule}\n")).collect();
    transaction.execute_batch(&ours.replace(OUR_CONSTRAINT, &format!("{foreign}{OUR_CONSTRAINT}{constraints}")))?;

    // The highest id that was ever used: ids of deleted rows are not used again.
    let last_id = "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'webhook_events'), 0),
         coalesce((SELECT max(id) FROM webhook_events), 0))";
    let last_id: i64 = transaction.query_row(last_id, [], |row| row.get(0))?;
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
    transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('webhook_events', ?1)", [last_id])?;
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The columns of a table that are not ours.
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
    let first_word = part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"]
        .iter()
        .any(|keyword| keyword.eq_ignore_ascii_case(first_word))
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

/// Comments, quoted names and strings as a whole, everything else character by character; each with its offset.
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

#[cfg(test)]
mod tests {
    use super::super::tests::OLDER;
    use super::*;

    #[test]
    fn definitions_are_split_at_the_right_commas() {
        assert_eq!(parts(OLDER).len(), 12);
        assert_eq!(
            foreign_columns(OLDER).iter().map(|part| first_name(part)).collect::<Vec<_>>(),
            ["note, of mine", "size"]
        );
        assert_eq!(foreign_constraints(OLDER).len(), 1);
    }
}
