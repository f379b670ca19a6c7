#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::{Cell, RefCell};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::*;
use crate::event::{Delivery, DeliveryId, Key, NewJob, Outcome};
use crate::store::write_lock::Priority;
use crate::store::{Database, IMMEDIATELY, Ingest, Upgrade};

const NOW: Timestamp = Timestamp::from_unix_ms(1_738_324_800_000);

const UPGRADE: Upgrade<'static> = Upgrade { reserve_bytes: 0, extend_timeout: &|_| {} };

fn database() -> (tempfile::TempDir, Database) {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("webhooks.db"), &UPGRADE).unwrap();
    (directory, database)
}

fn deliver(ingest: &mut Ingest, id: &str) {
    let delivery = Delivery {
        source: "github".to_owned(),
        event_type: "push".to_owned(),
        id: DeliveryId::Given(id.to_owned()),
        payload_json: "{}".to_owned(),
        body: None,
        headers_json: "{}".to_owned(),
        secret_position: None,
        dedup_window: None,
        body_digest: None,
        jobs: None,
        received_at: NOW,
    };
    assert!(ingest.store(vec![(delivery, ())], 0).iter().all(Result::is_ok));
}

fn claim(action: &str) -> Claim<'_> {
    Claim { action, limit: 4, is_harmful: false, latest_only: false }
}

fn job(action: &str) -> NewJob {
    NewJob { action: action.to_owned(), key: None, due: IMMEDIATELY }
}

fn count(connection: &Connection, table: &str) -> i64 {
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

/// Everything that a record changes.
fn state(writer: &Writer) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', 'event', id, status, processed_at) FROM webhook_events
        UNION ALL SELECT concat_ws(' ', 'job', event_id, action, state, due_at_ms, attempts, tries, last_error) FROM jobs
        UNION ALL SELECT concat_ws(' ', 'attempt', event_id, action, number, outcome, detail) FROM attempts
        UNION ALL SELECT concat_ws(' ', 'tally', about, name, what, count) FROM tallies
        UNION ALL SELECT concat_ws(' ', 'unrouted', event_id) FROM unrouted ORDER BY 1";
    let mut statement = writer.connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

/// Writes three items, of which the second fails if `fails`. While the first is written, the receiver stores a delivery.
/// Returns how many deliveries each item found, and how many items were committed.
fn write_three(fails: bool) -> (Vec<i64>, i64) {
    let (_directory, database) = database();
    let writer = database.writer(Priority::Other, Duration::ZERO).unwrap();
    let (ingest, receiver) = (Cell::new(Some(database.ingest().unwrap())), Cell::new(None));
    let found = RefCell::new(Vec::new());
    let written = writer.write_each(
        &[1, 2, 3],
        |transaction, item| {
            found.borrow_mut().push(count(transaction, "webhook_events"));
            transaction.execute("INSERT INTO paused VALUES (?1, '')", [item])?;
            if let Some(mut ingest) = ingest.take() {
                receiver.set(Some(thread::spawn(move || deliver(&mut ingest, "d-1"))));
                let begun = Instant::now();
                while !writer.shared.write_lock.has_waiting_receiver() {
                    assert!(begun.elapsed() < Duration::from_secs(10), "the receiver does not get ahead of the others");
                    thread::yield_now();
                }
            }
            if *item == 2 && fails { Err(rusqlite::Error::InvalidQuery) } else { Ok(()) }
        },
        |_| {},
    );
    receiver.take().unwrap().join().unwrap();
    assert_eq!(written.is_err(), fails);
    (found.take(), count(&writer.connection, "paused"))
}

#[test]
fn a_transaction_is_cut_short_for_the_receiver_and_goes_on_after_it() {
    assert_eq!(write_three(false), (vec![0, 1, 1], 3));
}

#[test]
fn an_error_after_a_transaction_was_cut_short_leaves_what_was_committed() {
    assert_eq!(write_three(true), (vec![0, 1], 1));
}

#[test]
fn recording_an_attempt_twice_changes_nothing() {
    let (_directory, database) = database();
    let (mut ingest, mut queue) = (database.ingest().unwrap(), database.queue().unwrap());
    for n in 1..=4 {
        deliver(&mut ingest, &format!("d-{n}"));
        queue.route(&[(EventId(n), vec![job("it")])], NOW).unwrap();
    }
    let mut jobs = queue.claim(&claim("it"), NOW).unwrap();
    assert_eq!(queue.claim(&claim("it"), NOW).unwrap(), [], "all of them are claimed");
    assert_eq!(queue.next_due("it").unwrap(), None);
    let unclaimed = [(jobs.pop().unwrap(), IMMEDIATELY)];
    let next = [Next::Succeeded, Next::Queued(NOW), Next::Dead];
    let finished: Vec<_> = jobs.into_iter().map(attempt).zip(next).collect();

    queue.record(&finished, &unclaimed, Wanted::default(), NOW).unwrap();
    let recorded = state(&queue.writer);
    assert_eq!(
        queue.record(&finished, &unclaimed, Wanted::default(), NOW).map(|()| state(&queue.writer)).unwrap(),
        recorded
    );
    assert_eq!(queue.next_due("it").unwrap(), Some(IMMEDIATELY), "the job that was put back");

    // Meanwhile a processed event was reopened.
    queue.writer.write(|transaction| events::reopen(transaction, EventId(1))).unwrap();
    let moved_on = state(&queue.writer);
    assert_eq!(
        queue.record(&finished, &unclaimed, Wanted::default(), NOW).map(|()| state(&queue.writer)).unwrap(),
        moved_on
    );
}

fn attempt(job: Job) -> Attempt {
    let (duration, outcome) = (Duration::from_millis(5), Outcome::Success);
    Attempt { job, started_at: NOW, duration, outcome, detail: "as a test".to_owned(), held_until: None }
}

fn keyed(key: &str, latest_only: bool) -> NewJob {
    NewJob { key: Some(Key { text: key.to_owned(), latest_only }), ..job("it") }
}

/// The database, with one job of the key `other` behind very many of the key `one`, of which the first waits.
fn held_up(count: i64) -> (tempfile::TempDir, Database, Queue) {
    let (directory, database) = database();
    let mut ingest = database.ingest().unwrap();
    deliver(&mut ingest, "d-1");
    let queue = database.queue().unwrap();
    let add = |transaction: &Transaction<'_>| {
        (1..count).try_for_each(|event| jobs::add(transaction, EventId(event), &keyed("one", false)))?;
        jobs::add(transaction, EventId(count), &keyed("other", false))?;
        transaction.execute("UPDATE jobs SET due_at_ms = ?1 WHERE event_id = 1", [NOW.unix_ms() + 1])
    };
    queue.writer.write(add).unwrap();
    (directory, database, queue)
}

#[test]
fn a_job_of_another_key_is_found_in_a_few_steps_however_many_are_held_up() {
    let (_directory, _database, mut queue) = held_up(3000);
    let mut statement = queue.writer.connection.prepare(NEXT_DUE).unwrap();
    let found: i64 = statement.query_row(("it", 1), |row| row.get(0)).unwrap();
    let steps = statement.get_status(rusqlite::StatementStatus::VmStep);
    assert!(found == 3000 && steps < 100, "{steps} steps to event {found}");
    drop(statement);
    let events = |jobs: Vec<Job>| jobs.iter().map(|job| job.event.0).collect::<Vec<_>>();
    assert_eq!(events(queue.claim(&claim("it"), NOW).unwrap()), [3000]);
    assert_eq!(queue.next_due("it").unwrap(), Some(Timestamp::from_unix_ms(NOW.unix_ms() + 1)), "not now");
    let cancelled = queue.writer.write(|transaction| jobs::cancel(transaction, EventId(1), None)).unwrap();
    assert_eq!((cancelled, queue.next_due("it").unwrap()), (1, Some(IMMEDIATELY)));
    assert_eq!(events(queue.claim(&claim("it"), NOW).unwrap()), [2], "the next of its key, and that alone");
}

#[test]
fn very_many_jobs_are_superseded_in_transactions_that_the_receiver_can_wait_for() {
    let (_directory, database) = database();
    let mut queue = database.queue().unwrap();
    let add = |transaction: &Transaction<'_>| {
        (1..=250).try_for_each(|event| jobs::add(transaction, EventId(event), &keyed("one", true)))
    };
    queue.writer.write(add).unwrap();
    let what = Claim { latest_only: true, ..claim("it") };
    let superseded = |queue: &Queue| count(&queue.writer.connection, "jobs WHERE superseded_by = 250");
    assert_eq!((queue.claim(&what, NOW).unwrap(), superseded(&queue)), (vec![], 100));
    assert_eq!((queue.claim(&what, NOW).unwrap(), superseded(&queue)), (vec![], 200));
    let claimed = queue.claim(&what, NOW).unwrap();
    assert_eq!((claimed.len(), claimed[0].event, superseded(&queue)), (1, EventId(250), 249));
}
