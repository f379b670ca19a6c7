#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

pub(super) const OLDER: &str = "CREATE TABLE webhook_events (
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
    assert!(connection.execute("UPDATE webhook_events SET status = 'odd'", []).is_err(), "the foreign check is kept");
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
    assert!(matches!(migrate(&mut connection, Path::new("x")), Err(OpenError::TooNew { found: 99, .. })));
    assert_eq!(count(&connection, "SELECT count(*) FROM sqlite_schema"), 0);
}

#[test]
fn a_table_of_that_name_that_is_not_ours_is_refused_untouched() {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE webhook_events (id INTEGER PRIMARY KEY, text TEXT)").unwrap();
    assert!(matches!(migrate(&mut connection, Path::new("x")), Err(OpenError::Foreign { .. })));
    assert_eq!(count(&connection, "SELECT count(*) FROM sqlite_schema"), 1);
}

#[test]
fn each_version_is_told_by_its_tables_where_the_record_is_lost() {
    for version in 2..=LATEST {
        let mut connection = Connection::open_in_memory().unwrap();
        let transaction = connection.transaction().unwrap();
        for migration in &MIGRATIONS[..version as usize] {
            assert!(migration(&transaction).is_ok());
        }
        assert_eq!(super::version(&transaction).unwrap(), version);
    }
}
