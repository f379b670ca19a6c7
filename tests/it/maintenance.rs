//! For a machine that runs for years: old events are pruned, backups can be restored, an idle server uses neither disk nor
//! processor, and `doctor` finds problems.

mod backup;
mod database_location;
mod delete;
pub mod doctor;
mod health;
mod idle;
mod prune;
mod sync;

use crate::support::Home;

/// When old events were done.
const OLD: &str = "2020-01-31T12:00:00+00:00";

/// Inserts finished events with their jobs and attempts.
fn insert_done(home: &Home, count: u32, status: &str, done_at: &str, body_bytes: usize) {
    let db = home.db();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let event = "INSERT INTO webhook_events
        (source, event_type, delivery_id, payload_json, received_at, processed_at, status, duplicates)
        VALUES ('github', 'push', ?1, ?2, ?3, ?3, ?4, 3)";
    let job = "INSERT INTO jobs (event_id, action, state, attempts, tries, started_at, duration_ms, outcome, detail)
        VALUES (?1, 'log', 'succeeded', 2, 2, '', 1, 'success', '')";
    let attempt = "INSERT INTO earlier_attempts (event_id, action, number, started_at, duration_ms, outcome, detail)
        VALUES (?1, 'log', 1, '', 1, 'retry', '')";
    let body = format!("\"{}\"", "x".repeat(body_bytes));
    for n in 0..count {
        db.execute(event, (format!("{status}-{done_at}-{n}"), &body, done_at, status)).unwrap();
        let id = db.last_insert_rowid();
        for sql in [job, attempt] {
            db.execute(sql, [id]).unwrap();
        }
    }
    db.execute_batch("COMMIT").unwrap();
}

/// The number of rows in each table.
fn rows(home: &Home) -> Vec<i64> {
    let count = |table| home.query::<i64>(&format!("SELECT count(*) FROM {table}"))[0];
    ["webhook_events", "jobs", "earlier_attempts"].map(count).to_vec()
}

fn file_bytes(home: &Home, name: &str) -> u64 {
    std::fs::metadata(home.path(name)).unwrap().len()
}
