use std::path::Path;

use super::*;
use crate::clock::Timestamp;
use crate::store::blocks::BLOCKS_SINCE;
use crate::store::migrate;
use crate::store::partitions::{MAX_PARTITIONS, next_value};

const STATUSES: [&str; 4] = ["unprocessed", "processed", "error", "of another program"];
const SOURCES: [&str; 3] = ["a", "b", "c"];
const TYPES: [&str; 4] = ["push", "issues", "star", ""];

/// 2025-01-31T12:00:00
const START_MS: i64 = 1_738_324_800_000;

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate::migrate(&mut connection, Path::new("x")).unwrap_or_else(|error| panic!("{error}"));
    connection
}

/// One event a minute, in every partition.
fn insert(connection: &Connection, numbers: std::ops::Range<i64>) {
    for number in numbers.step_by(4) {
        let received_at = Timestamp::from_unix_ms(START_MS + number * 60_000).to_string();
        insert_at(connection, number, &received_at);
    }
}

fn insert_at(connection: &Connection, number: i64, received_at: &str) {
    // A step that has no factor in common with the numbers of words visits all combinations.
    let word = |words: &[&str], step: i64| words[(number / 4 * step / 7) as usize % words.len()].to_owned();
    connection
        .execute(
            "INSERT INTO webhook_events (id, source, event_type, delivery_id, payload_json, received_at, status)
             VALUES (?1, ?2, ?3, ?1, '{}', ?4, ?5)",
            (number, word(&SOURCES, 5), word(&TYPES, 11), received_at, word(&STATUSES, 13)),
        )
        .unwrap();
}

/// Every fifth has a cancelled job.
fn cancel(connection: &Connection) {
    let jobs = "INSERT OR IGNORE INTO jobs (event_id, action, state)
         SELECT id, 'log', 'cancelled' FROM webhook_events WHERE id % 5 = 0";
    connection.execute(jobs, []).unwrap();
}

fn ids(connection: &Connection, filter: &Filter) -> Vec<i64> {
    newest(connection, filter).unwrap().events.iter().map(|event| event.id).collect()
}

/// The meaning of a filter, as the simplest statement.
fn expected(connection: &Connection, filter: &Filter) -> Vec<i64> {
    let mut statement = connection
        .prepare(
            "SELECT id FROM webhook_events WHERE
             (?1 IS NULL OR ?1 = CASE WHEN id IN (SELECT event_id FROM jobs) AND status = 'processed' THEN 'cancelled' ELSE status END) AND (?2 IS NULL OR source = ?2)
             AND (?3 IS NULL OR event_type = ?3) AND (?4 IS NULL OR received_at >= ?4) AND (?5 IS NULL OR id < ?5)
             ORDER BY id DESC LIMIT ?6",
        )
        .unwrap();
    let values = (
        filter.status.map(ShownStatus::as_str),
        &filter.source,
        &filter.event_type,
        filter.since.map(|since| since.to_string()),
        filter.before.map(|id| id.0),
        filter.limit,
    );
    statement.query_map(values, |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[track_caller]
fn assert_filter(connection: &Connection, filter: &Filter) {
    assert_eq!(ids(connection, filter), expected(connection, filter), "{filter:?}");
    let mut all = all(connection, filter).unwrap();
    all.reverse();
    assert_eq!(all, expected(connection, &Filter { limit: u32::MAX, ..filter.clone() }), "{filter:?}");
}

fn assert_every_filter(connection: &Connection) {
    let statuses = ShownStatus::ALL.map(Some).into_iter().chain([None]);
    let sources = || SOURCES[..2].iter().chain(&["none of these"]).map(|word| Some((*word).to_owned())).chain([None]);
    let types = || TYPES[..1].iter().chain(&["none of these"]).map(|word| Some((*word).to_owned())).chain([None]);
    let sinces =
        || [None, Some(0), Some(60_000 * 1100), Some(i64::from(u32::MAX))].map(|ms| ms.map(|ms| START_MS + ms));
    for status in statuses {
        for (source, event_type) in sources().flat_map(|source| types().map(move |word| (source.clone(), word))) {
            for (since, before) in sinces().into_iter().flat_map(|since| [(since, None), (since, Some(1500))]) {
                for limit in [3, 5000] {
                    let filter = Filter {
                        status,
                        source: source.clone(),
                        event_type: event_type.clone(),
                        since: since.map(Timestamp::from_unix_ms),
                        before: before.map(EventId),
                        limit,
                        ..Filter::default()
                    };
                    assert_filter(connection, &filter);
                }
            }
        }
    }
}

#[test]
fn every_combination_of_filters_finds_what_passes() {
    let connection = database();
    insert(&connection, 1..1800);
    cancel(&connection);
    assert_every_filter(&connection);
}

#[test]
fn a_clock_that_jumps_hides_nothing() {
    let connection = database();
    insert(&connection, 1..1200);
    insert_at(&connection, 1200, "1970-01-01T00:00:07+00:00");
    insert_at(&connection, 1201, "2099-01-01T00:00:00+00:00");
    insert(&connection, 1202..1300);
    // An import of events that were received long ago.
    (1300..1400).for_each(|number| insert_at(&connection, number, "2020-02-02T02:02:02+00:00"));
    insert(&connection, 1400..1600);
    assert_every_filter(&connection);
}

#[test]
fn events_in_more_partitions_than_are_searched_one_by_one_are_found() {
    let connection = database();
    insert(&connection, 1..1300);
    connection.execute("UPDATE webhook_events SET event_type = event_type || id WHERE id % 3 = 0", []).unwrap();
    insert(&connection, 1300..1310);
    let many = format!(
        "INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
         WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n <= {MAX_PARTITIONS})
         SELECT 'many', 'type ' || n, n, '{{}}', '2025-01-31T12:00:00+00:00', 'processed' FROM n"
    );
    connection.execute(&many, []).unwrap();
    let count = |filter| partitions(&connection, &filter).unwrap().map(|partitions| partitions.len());
    assert_eq!(count(Filter::default()), None);
    // A filter excludes the many.
    assert_eq!(count(Filter { source: Some("none of these".to_owned()), ..Filter::default() }), Some(0));
    assert!(count(Filter { source: Some("a".to_owned()), ..Filter::default() }).is_some());
    assert!(count(Filter { event_type: Some("type 7".to_owned()), ..Filter::default() }).unwrap() < 20);
    let all = Filter { limit: 7, ..Filter::default() };
    let since = Some(Timestamp::from_unix_ms(START_MS + 60_000 * 1100));
    for source in ["a", "many", "none of these"].map(|word| Some(word.to_owned())) {
        assert_filter(&connection, &Filter { source: source.clone(), ..all.clone() });
        assert_filter(&connection, &Filter { source, since, status: Some(ShownStatus::Processed), ..all.clone() });
    }
    assert_filter(&connection, &Filter { event_type: Some("push".to_owned()), since, ..all });
}

#[test]
fn what_has_failed_is_found_among_those_that_are_not_done() {
    let connection = database();
    insert(&connection, 1..1800);
    let unfinished = Filter { is_unfinished: true, limit: 5000, ..Filter::default() };
    let of = |status| expected(&connection, &Filter { status: Some(status), limit: 5000, ..Filter::default() });
    let mut both = [of(ShownStatus::Unprocessed), of(ShownStatus::Error)].concat();
    both.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(ids(&connection, &unfinished), both);
}

#[test]
fn a_text_is_found_in_the_id_the_type_and_the_payload() {
    let connection = database();
    insert(&connection, 1..400);
    connection.execute("UPDATE webhook_events SET payload_json = '[\"Needle\"]' WHERE id = 9", []).unwrap();
    connection.execute("UPDATE webhook_events SET event_type = 'needles' WHERE id = 13", []).unwrap();
    connection.execute("UPDATE webhook_events SET delivery_id = 'a-needle' WHERE id = 17", []).unwrap();
    let filter = Filter { text: Some("needle".to_owned()), limit: 50, ..Filter::default() };
    assert_eq!(ids(&connection, &filter), [17, 13, 9]);
    assert_eq!(newest(&connection, &filter).unwrap().searched_to, None);
    assert_eq!(ids(&connection, &Filter { before: Some(EventId(17)), ..filter.clone() }), [13, 9]);
    assert_eq!(all(&connection, &filter).unwrap(), [9, 13, 17]);
    let (a, b) = (EventId(9), EventId(21));
    assert_eq!(only(&connection, &[b, a], &filter).unwrap(), [a]);
}

#[test]
fn a_text_is_found_across_blocks_gaps_and_spans() {
    let connection = database();
    insert(&connection, 1..9_000);
    connection.execute("DELETE FROM webhook_events WHERE id BETWEEN 1500 AND 4500", []).unwrap();
    let text = "UPDATE webhook_events SET payload_json = '[\"needle\"]' WHERE id % 3 = 0 AND (id < 2000 OR id > 8000)";
    connection.execute(text, []).unwrap();
    let filter = Filter { text: Some("needle".to_owned()), limit: 10_000, ..Filter::default() };
    let mut statement =
        connection.prepare("SELECT id FROM webhook_events WHERE payload_json <> '{}' ORDER BY id").unwrap();
    let having: Vec<i64> = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_>>().unwrap();
    assert!(having.len() > 200);
    let newest_first: Vec<i64> = having.iter().rev().copied().collect();
    assert_eq!(all(&connection, &filter).unwrap(), having);
    assert_eq!(ids(&connection, &filter), newest_first);
    assert_eq!(ids(&connection, &Filter { limit: 7, ..filter.clone() }), newest_first[..7]);
    let since = Filter { since: Some(Timestamp::from_unix_ms(START_MS)), ..filter };
    assert_eq!(ids(&connection, &since), newest_first);
}

#[test]
fn a_search_that_ends_early_says_where_to_go_on() {
    let connection = database();
    insert(&connection, 1..40);
    connection.execute("UPDATE webhook_events SET payload_json = '[\"needle\"]' WHERE id IN (5, 33)", []).unwrap();
    let mut filter = Filter { text: Some("needle".to_owned()), limit: 50, ..Filter::default() };
    let (mut found, mut searches) = (Vec::new(), 0);
    loop {
        let listed = newest_within(&connection, &filter, Duration::ZERO).unwrap();
        found.extend(listed.events.iter().map(|event| event.id));
        searches += 1;
        let Some(id) = listed.searched_to else { break };
        filter.before = Some(id);
    }
    assert_eq!((found, searches), (vec![33, 5], 11));
}

/// Another program may store bytes that are not text: they are listed, and stop nothing.
#[test]
fn values_that_are_not_text_stop_nothing() {
    let connection = database();
    insert(&connection, 1..100);
    connection.execute("UPDATE webhook_events SET event_type = x'ff00' WHERE id = 49", []).unwrap();
    connection.execute("UPDATE webhook_events SET source = CAST(x'ff' AS TEXT) WHERE id = 53", []).unwrap();
    connection.execute("UPDATE webhook_events SET status = x'fe' WHERE id = 57", []).unwrap();
    connection.execute("UPDATE webhook_events SET received_at = 'yesterday' WHERE id = 61", []).unwrap();
    let all = Filter { limit: 1000, ..Filter::default() };
    assert_eq!(ids(&connection, &all).len(), 25);
    let some = Filter { source: Some("a".to_owned()), ..all };
    assert_eq!(ids(&connection, &some), expected(&connection, &some));
}

/// Each statement seeks: none reads the whole table, none sorts.
#[test]
fn no_plan_scans_or_sorts() {
    let connection = database();
    for sql in [
        NEWEST,
        NEWEST_OF_PARTITION,
        OLDEST_OF_PARTITION,
        OLDEST_OF_STATUS,
        BLOCKS_SINCE,
        NEWEST_FILTERED,
        NEWEST_CANCELLED,
    ]
    .map(str::to_owned)
    .into_iter()
    .chain((0..3).flat_map(|column| [next_value(column, true), next_value(column, false)]))
    {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut steps = statement.raw_query();
        while let Some(step) = steps.next().unwrap() {
            let step: String = step.get(3).unwrap();
            assert!(!step.contains("SCAN webhook_events") && !step.contains("TEMP B-TREE"), "{sql}: {step}");
        }
    }
}

/// A plan that seeks may still read a million rows: the steps are counted.
#[test]
fn a_partition_is_skipped_in_a_few_steps_however_large_it_is() {
    let connection = database();
    insert(&connection, 1..2000);
    connection.execute_batch("UPDATE webhook_events SET status = 'processed', source = 'a', event_type = 'b'").unwrap();
    let only = partitions(&connection, &Filter::default()).unwrap().unwrap();
    assert_eq!(only.len(), 1);
    for column in 0..3 {
        let sql = next_value(column, false);
        let mut statement = connection.prepare(&sql).unwrap();
        let values = ["processed", "a", "b"];
        let found = statement.query_row(rusqlite::params_from_iter(&values[..=column]), |_| Ok(()));
        let found = found.optional().unwrap();
        assert_eq!(found, None, "{sql}");
        let steps = statement.get_status(rusqlite::StatementStatus::VmStep);
        assert!(steps < 100, "{steps} steps: {sql}");
    }
}
