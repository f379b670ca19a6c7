//! The table of events. The older program's table, where ids were unique over all sources, is rebuilt; so is one of an
//! earlier version, and one that another tool has changed.

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::tokens::{is_blank, squeezed, tokens};
use super::{MigrationError, Result};
use crate::store::events::padding;
use crate::store::ids;
use crate::store::row::texts;

const EVENTS: &str = include_str!("../events.sql");

/// The columns of `webhook_events` that are ours; other programs' columns are kept as they are.
const OUR_COLUMNS: [&str; 15] = [
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
    "padding",
    "secret_position",
    "duplicates",
    "renewed_at",
    "body_digest",
];

/// Those that a table of the older program has, too.
const SHARED_COLUMNS: usize = 8;

/// Of earlier versions, in a table of their own.
const PROVENANCE: [&str; 4] = ["secret_position", "duplicates", "renewed_at", "body_digest"];

/// The end of our own definition, before which foreign columns are inserted.
const OUR_CONSTRAINT: &str = "    UNIQUE (source, delivery_id)";

pub(super) fn create_or_rebuild(transaction: &Transaction<'_>) -> Result<(), MigrationError> {
    match definition(transaction)? {
        None => Ok(transaction.execute_batch(EVENTS)?),
        Some(definition) => rebuild(transaction, &definition),
    }
}

/// Whether the table has our columns, which take what we and the older program store, gives no id twice, and has each
/// delivery once. Beside that another program may have changed it.
pub(super) fn is_fit(connection: &Connection) -> rusqlite::Result<bool> {
    let Some(definition) = definition(connection)? else { return Ok(false) };
    let names = OUR_COLUMNS.map(|name| format!("'{name}'")).join(", ");
    // As SQLite decides whether a column keeps a text as it is (https://sqlite.org/datatype3.html, 3.1).
    let is_text = "(type LIKE '%CHAR%' OR type LIKE '%CLOB%' OR type LIKE '%TEXT%')";
    let columns = format!(
        "SELECT count(*) = {} FROM pragma_table_xinfo('webhook_events') WHERE hidden = 0 AND name IN ({names}) AND CASE name
             WHEN 'id' THEN pk = 1
             WHEN 'body' THEN NOT \"notnull\"
             WHEN 'headers_json' THEN {is_text} AND dflt_value = quote('{{}}')
             WHEN 'processed_at' THEN {is_text} AND NOT \"notnull\"
             WHEN 'padding' THEN {is_text} AND NOT \"notnull\"
             WHEN 'duplicates' THEN dflt_value = '0'
             WHEN 'secret_position' THEN NOT \"notnull\"
             WHEN 'renewed_at' THEN NOT \"notnull\"
             WHEN 'body_digest' THEN NOT \"notnull\"
             ELSE {is_text} END",
        OUR_COLUMNS.len()
    );
    let is_unique = "SELECT EXISTS (SELECT 1 FROM pragma_index_list('webhook_events') AS list
         WHERE \"unique\" AND NOT partial AND 'source,delivery_id' =
             (SELECT group_concat(name) FROM (SELECT name FROM pragma_index_info(list.name) ORDER BY seqno)))";
    Ok(connection.query_row(&columns, [], |row| row.get(0))?
        && squeezed(&definition).contains("autoincrement")
        && connection.query_row(is_unique, [], |row| row.get(0))?)
}

fn definition(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'webhook_events'";
    connection.query_row(sql, [], |row| row.get(0)).optional()
}

/// Replaces a table of the older program by ours, with all rows, the id sequence, and foreign columns, constraints,
/// indexes and triggers.
fn rebuild(transaction: &Transaction<'_>, definition: &str) -> Result<(), MigrationError> {
    // Generated columns cannot be inserted.
    let columns = "SELECT name FROM pragma_table_xinfo('webhook_events') WHERE hidden = 0 ORDER BY cid";
    let columns = texts(transaction, columns)?;
    if let Some(missing) =
        OUR_COLUMNS[..SHARED_COLUMNS].iter().find(|column| !columns.iter().any(|found| found == *column))
    {
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

    let last_id = ids::largest(transaction)?;
    let mut copies: Vec<(String, String)> = columns.iter().map(|column| (quoted(column), copied(column))).collect();
    copies.extend(added(transaction, &columns)?);
    let (list, values): (Vec<String>, Vec<String>) = copies.into_iter().unzip();
    let (list, values) = (list.join(", "), values.join(", "));
    transaction.execute_batch(&format!(
        "INSERT INTO webhook_events_rebuilt ({list}) SELECT {values} FROM webhook_events ORDER BY id NULLS LAST;
         DROP TABLE webhook_events;
         ALTER TABLE webhook_events_rebuilt RENAME TO webhook_events;"
    ))?;
    for statement in attached {
        transaction.execute_batch(&statement)?;
    }
    let last_id = last_id.max(ids::largest(transaction)?);
    transaction.execute("DELETE FROM sqlite_sequence WHERE name = 'webhook_events'", [])?;
    transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('webhook_events', ?1)", [last_id])?;
    Ok(())
}

/// The value of a column for the new table, where the old one may lack a constraint: another program could have stored a
/// delivery twice.
fn copied(column: &str) -> String {
    match column {
        "delivery_id" => "CASE WHEN rowid IN (SELECT number FROM (
                 SELECT rowid AS number, row_number() OVER (PARTITION BY source, delivery_id ORDER BY rowid) AS copy
                 FROM webhook_events)
             WHERE copy > 1) THEN delivery_id || '@' || coalesce(id, rowid) ELSE delivery_id END"
            .to_owned(),
        "headers_json" => "coalesce(headers_json, '{}')".to_owned(),
        "duplicates" => "coalesce(duplicates, 0)".to_owned(),
        other => quoted(other),
    }
}

/// The columns that the old table lacks and that are not empty in the new one, each with its value.
fn added(transaction: &Transaction<'_>, columns: &[String]) -> rusqlite::Result<Vec<(String, String)>> {
    let mut added = Vec::new();
    if !columns.iter().any(|column| column == "padding") {
        added.push(("padding".to_owned(), padding("status", "processed_at")));
    }
    for column in texts(transaction, "SELECT name FROM pragma_table_info('provenance')")? {
        if PROVENANCE.contains(&column.as_str()) && !columns.contains(&column) {
            let value = format!("(SELECT {column} FROM provenance WHERE event_id = webhook_events.id)");
            let value = if column == "duplicates" { format!("coalesce({value}, 0)") } else { value };
            added.push((column, value));
        }
    }
    Ok(added)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The columns of a table that are not ours.
fn foreign_columns(definition: &str) -> Vec<&str> {
    let is_foreign = |part: &&str| !is_constraint(part) && !OUR_COLUMNS.contains(&first_name(part).as_str());
    parts(definition).into_iter().filter(is_foreign).collect()
}

/// Table constraints, without the primary key and the uniqueness of the delivery id, which ours replace.
fn foreign_constraints(definition: &str) -> Vec<&str> {
    let replaced =
        ["primarykey(id)", "primarykey(idautoincrement)", "unique(delivery_id)", "unique(source,delivery_id)"];
    let is_replaced = |part: &str| replaced.iter().any(|ours| squeezed(part).ends_with(ours));
    parts(definition).into_iter().filter(|part| is_constraint(part) && !is_replaced(part)).collect()
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
    let start = tokens(part).find(|(_, token)| !is_blank(token)).map_or(part.len(), |(at, _)| at);
    part[start..].trim_end()
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
