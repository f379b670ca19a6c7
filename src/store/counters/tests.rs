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
    let kept = |about: About| {
        let counts = super::read(connection, about).unwrap().into_iter();
        counts.filter(|(_, _, count)| *count != 0).collect::<Vec<_>>()
    };
    assert_eq!(
        kept(About::Status),
        read("SELECT source, status, count(*) FROM webhook_events GROUP BY 1, 2 ORDER BY 1, 2")
    );
    let jobs = "SELECT action, CASE WHEN state IN ('queued', 'running') THEN 'open' ELSE state END, count(*)
                FROM jobs GROUP BY 1, 2 ORDER BY 1, 2";
    assert_eq!(kept(About::Action), read(jobs));
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
fn the_latest_events_are_counted_without_reading_the_others() {
    let connection = database();
    for about in [About::Source, About::Status, About::Action, About::Hour] {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", about.uncounted())).unwrap();
        let steps = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
        let scans = |step: &String| step.starts_with("SCAN") && step != "SCAN counted";
        assert_eq!(steps.map(Result::unwrap).find(scans), None, "{about:?}");
    }
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
    assert!(read(&connection, About::Hour).unwrap().len() <= 100);
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
    assert!(read(&connection, About::Hour).unwrap().is_empty());
}

/// The latest events are counted when that is asked for, and all others are in the table: both ways give the same.
#[test]
fn what_is_counted_later_is_counted_the_same() {
    let connection = database();
    let run = |sql: &str| connection.execute_batch(sql).unwrap();
    let in_tables = || -> i64 {
        let sql = "SELECT coalesce(sum(count), 0) FROM tallies WHERE about = 'status'";
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    for id in 1..=1280 {
        insert(&connection, "", id, if id % 3 == 0 { "b" } else { "hookbox" }, "unprocessed");
    }
    run("INSERT INTO jobs (event_id, action, state, due_at_ms) SELECT id, 'x', 'queued', 0 FROM webhook_events");
    run("DELETE FROM webhook_events WHERE id IN (5, 6)");
    assert_eq!(in_tables(), 0);
    let before = stats(&connection).unwrap();
    assert_eq!((before.received, before.events.unprocessed), (426, 1278), "news is not received");
    insert(&connection, "", 1281, "b", "unprocessed");
    assert_eq!(in_tables(), 1281 - 256 - 2);
    assert_counts_match(&connection);
    assert_eq!(stats(&connection).unwrap().received, 427);
    run("UPDATE webhook_events SET status = 'processed' WHERE id IN (9, 1279)");
    run("UPDATE jobs SET state = 'dead', due_at_ms = NULL WHERE event_id IN (12, 1278)");
    run("DELETE FROM webhook_events WHERE id IN (15, 1277)");
    assert_counts_match(&connection);
    insert(&connection, "", 6, "b", "processed");
    insert(&connection, "", 5, "b", "processed");
    assert_counts_match(&connection);
    assert_eq!(stats(&connection).unwrap().received, 429);
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
