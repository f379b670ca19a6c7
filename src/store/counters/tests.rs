use std::path::Path;

use super::*;
use crate::store::migrate;
use crate::store::stats::{StatusCounts, hours, stats};

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate::migrate(&mut connection, Path::new("x")).unwrap_or_else(|error| panic!("{error}"));
    connection
}

fn insert(connection: &Connection, how: &str, id: i64, source: &str, status: &str) {
    connection
        .execute(
            &format!(
                "INSERT {how} INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
                 VALUES (?1, 'push', ?2, '{{}}', '2025-01-31T12:30:00+00:00', ?3)"
            ),
            (source, id, status),
        )
        .unwrap();
}

/// The stored counts must match the rows.
#[track_caller]
fn assert_counts_match(connection: &Connection) {
    let read = |sql: &str| -> Vec<(String, String, i64)> {
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let kept = |about: &str| {
        read(&format!("SELECT name, what, count FROM tallies WHERE about = '{about}' AND count <> 0 ORDER BY 1, 2"))
    };
    assert_eq!(kept("status"), read("SELECT source, status, count(*) FROM webhook_events GROUP BY 1, 2 ORDER BY 1, 2"));
    let jobs = "SELECT action, CASE WHEN state IN ('queued', 'running') THEN 'open' ELSE state END, count(*)
                FROM jobs GROUP BY 1, 2 ORDER BY 1, 2";
    assert_eq!(kept("action"), read(jobs));
}

#[test]
fn counts_match_the_rows_after_every_kind_of_write() {
    let connection = database();
    let run = |sql: &str| connection.execute_batch(sql).unwrap();
    for id in 1..=20 {
        insert(&connection, "", id, if id % 3 == 0 { "b" } else { "a" }, "unprocessed");
    }
    insert(&connection, "OR IGNORE", 1, "a", "unprocessed");
    insert(&connection, "OR IGNORE", 21, "a", "unprocessed");
    insert(&connection, "", 22, "c", "odd");
    assert_counts_match(&connection);
    run("INSERT INTO jobs (event_id, action, state, due_at_ms) SELECT id, 'x', 'queued', 0 FROM webhook_events");
    run("UPDATE jobs SET state = 'running', due_at_ms = NULL, tries = 1, attempts = 1 WHERE event_id < 9");
    assert_counts_match(&connection);
    run("UPDATE jobs SET state = 'dead', due_at_ms = NULL WHERE event_id < 4");
    run("UPDATE jobs SET state = 'succeeded' WHERE event_id IN (5, 6)");
    assert_counts_match(&connection);
    run("UPDATE webhook_events SET status = 'error' WHERE id < 4");
    run("UPDATE OR IGNORE webhook_events SET status = 'processed', processed_at = 'x' WHERE id IN (5, 6, 7)");
    assert_counts_match(&connection);
    run("UPDATE webhook_events SET status = 'unprocessed' WHERE id IN (2, 5)");
    run("UPDATE webhook_events SET source = 'd' WHERE id = 9");
    run("DELETE FROM webhook_events WHERE id IN (1, 8, 10)");
    assert_counts_match(&connection);
    run("INSERT INTO jobs (event_id, action, state, due_at_ms) VALUES (5, 'x', 'queued', 0)
         ON CONFLICT DO UPDATE SET state = 'queued', due_at_ms = 0");
    run("DELETE FROM webhook_events");
    assert_counts_match(&connection);

    let stats = stats(&connection).unwrap();
    assert_eq!((stats.received, stats.events), (22, StatusCounts::default()), "deleted events stay received");
}

#[test]
fn the_migration_counts_the_rows_that_are_there() {
    let connection = database();
    for (id, status) in [(1, "unprocessed"), (2, "processed"), (3, "error"), (4, "error")] {
        insert(&connection, "", id, "a", status);
    }
    connection.execute("UPDATE provenance SET duplicates = 2", []).unwrap();
    connection.execute("INSERT INTO provenance (event_id, duplicates) VALUES (3, 5)", []).unwrap();
    let again = include_str!("../004-tallies.sql");
    let undo = "DROP TABLE tallies; DROP TABLE blocks; DROP TABLE counting; DROP INDEX webhook_events_kind;
                CREATE INDEX webhook_events_status ON webhook_events (status);
                CREATE INDEX provenance_duplicates ON provenance (duplicates) WHERE duplicates > 0;";
    let triggers = ["webhook_event_counted", "webhook_event_moved", "webhook_event_failed", "webhook_event_uncounted"];
    let jobs = ["job_counted", "job_moved", "job_uncounted"];
    for trigger in triggers.into_iter().chain(jobs) {
        connection.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    connection.execute_batch(undo).unwrap();
    connection.execute_batch(again).unwrap();
    assert_counts_match(&connection);
    let stats = stats(&connection).unwrap();
    assert_eq!((stats.received, stats.duplicates), (4, 5));
    assert_eq!(stats.events, StatusCounts { unprocessed: 1, processed: 1, error: 2 });
    assert_eq!(stats.oldest_unprocessed.as_deref(), Some("2025-01-31T12:30:00+00:00"));
    assert_eq!(
        connection.query_row("SELECT latest FROM blocks", [], |row| row.get::<_, String>(0)).unwrap(),
        "2025-01-31T12:30"
    );
}

#[test]
fn the_oldest_pending_job_may_be_a_postponed_one() {
    let connection = database();
    for id in 1..=3 {
        insert(&connection, "", id, "a", "unprocessed");
    }
    connection.execute("UPDATE webhook_events SET received_at = '2025-01-0' || id || 'T00:00:00+00:00'", []).unwrap();
    connection
        .execute_batch(
            "INSERT INTO jobs (event_id, action, state, due_at_ms) VALUES
             (1, 'x', 'queued', 9000), (2, 'x', 'queued', 0), (3, 'x', 'queued', 5000), (3, 'y', 'queued', 0)",
        )
        .unwrap();
    let oldest: Vec<_> =
        stats(&connection).unwrap().actions.into_iter().map(|action| action.oldest_pending.unwrap()).collect();
    assert_eq!(oldest, ["2025-01-01T00:00:00+00:00", "2025-01-03T00:00:00+00:00"]);
}

#[test]
fn only_the_hours_of_a_day_are_kept() {
    let connection = database();
    for number in 0..100 {
        let received_at = Timestamp::from_unix_ms(1_738_324_800_000 + number * 3_600_000).to_string();
        connection
            .execute(
                "INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
                 VALUES ('a', 'push', ?1, '{}', ?2, 'processed')",
                (number, received_at),
            )
            .unwrap();
    }
    let last = Timestamp::from_unix_ms(1_738_324_800_000 + 99 * 3_600_000 + 1000);
    let hours = hours(&connection, last).unwrap();
    assert_eq!(hours.len(), 24);
    assert!(hours.iter().all(|hour| hour.received == 1), "{hours:?}");
    assert_eq!(hours[23].hour, "2025-02-04T15:00:00+00:00");
    assert!(read(&connection, "hour").unwrap().len() <= 25);
}

#[test]
fn an_unreadable_time_is_counted_in_no_hour() {
    let connection = database();
    connection
        .execute(
            "INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
             VALUES ('a', 'push', 'x', '{}', 'yesterday', 'unprocessed')",
            [],
        )
        .unwrap();
    assert_counts_match(&connection);
    assert!(read(&connection, "hour").unwrap().is_empty());
}

#[test]
fn a_batch_is_counted_as_the_trigger_counts_its_rows() {
    let counts = |connection: &Connection| -> Vec<(String, String, String, i64)> {
        let mut statement = connection
            .prepare(
                "SELECT about, name, what, count FROM tallies UNION ALL SELECT 'block', block, latest, 0 FROM blocks",
            )
            .unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, string(row, 1)?, row.get(2)?, row.get(3)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let deliveries = [(1, "a", 0), (2, "b", 0), (1023, "a", 59), (1024, "a", 61), (1025, "b", 3600), (1026, "b", 0)];
    let (by_trigger, mut by_batch) = (database(), database());
    let transaction = by_batch.transaction().unwrap();
    let mut batch = BatchCounts::begin(&transaction).unwrap();
    for (id, source, after_s) in deliveries {
        let received_at = Timestamp::from_unix_ms(1_738_324_800_000 + after_s * 1000);
        for connection in [&by_trigger, &transaction] {
            let columns = "id, source, event_type, delivery_id, payload_json, received_at, status";
            let insert =
                format!("INSERT INTO webhook_events ({columns}) VALUES (?1, ?2, 'e', ?1, '', ?3, 'unprocessed')");
            connection.execute(&insert, (id, source, received_at.to_string())).unwrap();
        }
        batch.add(EventId(id), source, received_at);
    }
    assert_eq!(counts(&transaction), [], "the trigger is suspended");
    batch.end(&transaction).unwrap();
    transaction.commit().unwrap();
    assert_eq!(counts(&by_batch), counts(&by_trigger));
    insert(&by_batch, "", 5000, "a", "unprocessed");
    assert_counts_match(&by_batch);
}

/// Each event of the doorbell has a partition of its own: more than are searched one by one.
#[test]
fn times_are_found_for_a_source_with_very_many_partitions() {
    let connection = database();
    insert(&connection, "", 1, "quiet", "processed");
    let many = "INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
         WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)
         SELECT 'doorbell', 'ring ' || n, n, '{}', printf('2025-02-01T%02d:%02d:00+00:00', n / 60 % 24, n % 60),
             iif(n % 2, 'unprocessed', 'processed') FROM n";
    connection.execute(many, []).unwrap();
    let stats = stats(&connection).unwrap();
    let [doorbell, quiet] = &stats.sources[..] else { panic!("{:?}", stats.sources) };
    assert_eq!(doorbell.oldest_unprocessed.as_deref(), Some("2025-02-01T00:01:00+00:00"));
    assert_eq!(doorbell.last_received.as_deref(), Some("2025-02-01T11:20:00+00:00"));
    assert_eq!(quiet.last_received.as_deref(), Some("2025-01-31T12:30:00+00:00"));
    assert_eq!(stats.oldest_unprocessed, doorbell.oldest_unprocessed);
}
