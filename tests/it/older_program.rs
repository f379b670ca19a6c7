//! The older programs (`data/older/`): their database opens, and they work with hookbox on one database.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Home, SOURCE, data, python, wait_for};

/// Imports the older receiver without Flask, which it needs for its web server only.
const WITHOUT_FLASK: &str = "import sys, types
class Flask:
    def __init__(self, name): pass
    def post(self, path): return lambda function: function
sys.modules['flask'] = types.SimpleNamespace(Flask=Flask, request=None)
sys.path.insert(0, sys.argv[1])
from receiver_with_db import *
";

/// Runs a few lines of Python with the functions of the older receiver at hand.
#[track_caller]
fn receiver(mut python: Command, lines: &str) {
    let script = format!("{WITHOUT_FLASK}{lines}");
    let output = python.args(["-B", "-c", &script]).arg(data("older")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The older worker. Killed when it is dropped: it never ends by itself.
struct Worker(Child);

impl Worker {
    fn start(mut python: Command, home: &Home) -> Worker {
        let log = std::fs::File::create(home.path("worker.log")).unwrap();
        let script: &Path = &data("older/worker.py");
        Worker(python.arg(script).stdout(log).stderr(Stdio::inherit()).spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A database as the older receiver makes it: its own statement, so that the test needs no Python.
fn older_database() -> Home {
    let home = Home::new();
    let receiver = std::fs::read_to_string(data("older/receiver_with_db.py")).unwrap();
    let create = receiver.split("\"\"\"").find(|text| text.contains("CREATE TABLE")).unwrap();
    home.db().execute_batch(create).unwrap();
    home
}

pub fn insert(home: &Home, id: i64, status: &str) {
    let sql = "INSERT INTO webhook_events
        (id, source, event_type, delivery_id, payload_json, received_at, processed_at, status)
        VALUES (?1, 'github', 'issues', 'd-' || ?1, '{\"n\": ' || ?1 || '}', '2024-05-06T07:08:09+00:00',
            iif(?2 = 'unprocessed', NULL, '2024-05-06T07:08:14+00:00'), ?2)";
    home.db().execute(sql, (id, status)).unwrap();
}

/// Every row in all its older columns.
fn rows(home: &Home) -> Vec<String> {
    home.query(
        "SELECT json_array(id, source, event_type, delivery_id, payload_json, received_at, processed_at, status)
            FROM webhook_events ORDER BY id",
    )
}

#[test]
fn an_older_database_opens_and_keeps_every_row() {
    let home = older_database();
    for id in 1..=500 {
        insert(&home, id, if id % 7 == 0 { "error" } else { "processed" });
    }
    let before = rows(&home);
    let hookbox = home.start();
    assert_eq!(rows(&hookbox), before);
    assert!(hookbox.query::<i64>("PRAGMA user_version")[0] > 0);
    assert_eq!(hookbox.query::<String>("SELECT DISTINCT headers_json FROM webhook_events"), ["{}"]);
    hookbox.assert_sound();
}

#[test]
fn a_migrated_database_takes_one_id_from_two_sources() {
    let home = older_database();
    insert(&home, 1, "processed");
    let hookbox = home.start();
    hookbox.deliver("issues", "d-2", "{}");
    let other = "INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
        VALUES ('other', 'issues', ?1, '{}', '2024-05-06T07:08:09+00:00', 'processed')";
    assert_eq!(hookbox.db().execute(other, ["d-1"]).unwrap(), 1);
    hookbox.db().execute(other, ["d-1"]).expect_err("but not from one");
}

#[test]
fn an_unprocessed_event_of_the_older_receiver_is_handled() {
    let home = older_database();
    insert(&home, 1, "processed");
    insert(&home, 2, "unprocessed");
    let hookbox = home.start();
    hookbox.wait_for_stdout("[2] Handling event issues (delivery d-2)");
    hookbox.wait_until_done();
    assert!(!hookbox.stdout().contains("[1]"));
}

#[test]
fn the_id_sequence_continues() {
    let home = older_database();
    for id in [1, 2, 50] {
        insert(&home, id, "processed");
    }
    home.db().execute("DELETE FROM webhook_events WHERE id > 1", []).unwrap();
    let hookbox = home.start();
    hookbox.deliver("issues", "new", "{}");
    assert_eq!(hookbox.query::<i64>("SELECT id FROM webhook_events ORDER BY id"), [1, 51]);
}

#[test]
fn the_id_sequence_of_an_emptied_database_continues() {
    let home = older_database();
    insert(&home, 7, "processed");
    home.db().execute("DELETE FROM webhook_events", []).unwrap();
    let hookbox = home.start();
    hookbox.deliver("issues", "new", "{}");
    assert_eq!(hookbox.query::<i64>("SELECT id FROM webhook_events"), [8]);
}

#[test]
fn columns_indexes_views_and_triggers_of_others_stay() {
    let home = older_database();
    let foreign = "
        ALTER TABLE webhook_events ADD COLUMN note TEXT NOT NULL DEFAULT 'none';
        ALTER TABLE webhook_events ADD COLUMN priority INTEGER;
        CREATE INDEX by_type ON webhook_events (event_type, received_at);
        CREATE UNIQUE INDEX by_note ON webhook_events (note) WHERE note <> 'none';
        CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);
        CREATE VIEW open_events AS SELECT id FROM webhook_events WHERE status = 'unprocessed';
        CREATE TRIGGER noted AFTER UPDATE OF note ON webhook_events BEGIN INSERT INTO notes (text) VALUES (new.note); END;
    ";
    home.db().execute_batch(foreign).unwrap();
    insert(&home, 1, "processed");
    insert(&home, 2, "processed");
    home.db().execute("UPDATE webhook_events SET note = 'mine', priority = 5 WHERE id = 1", []).unwrap();

    let hookbox = home.start();
    hookbox.deliver("issues", "new", "{}");
    let notes = hookbox.query::<String>("SELECT note || coalesce(priority, '') FROM webhook_events ORDER BY id");
    assert_eq!(notes, ["mine5", "none", "none"]);
    let names =
        "SELECT name FROM sqlite_schema WHERE name IN ('by_type', 'by_note', 'open_events', 'noted') ORDER BY 1";
    assert_eq!(hookbox.query::<String>(names), ["by_note", "by_type", "noted", "open_events"]);
    hookbox.wait_until_done();
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM open_events"), [0]);
    hookbox.db().execute("UPDATE webhook_events SET note = 'again' WHERE id = 2", []).unwrap();
    assert_eq!(hookbox.query::<String>("SELECT text FROM notes ORDER BY id"), ["mine", "again"]);
}

#[test]
fn a_database_is_migrated_once() {
    let home = older_database();
    insert(&home, 1, "processed");
    let (home, _) = home.start().stop();
    let schema = "SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name";
    let before = home.query::<String>(schema);
    let hookbox = home.start();
    assert_eq!(hookbox.query::<String>(schema), before);
}

#[test]
fn a_new_and_a_migrated_database_are_alike() {
    let columns = "SELECT name || ' ' || type || ' ' || \"notnull\" || ' ' || coalesce(dflt_value, '-')
        FROM pragma_table_info('webhook_events') ORDER BY cid";
    let migrated = older_database().start();
    let new = Home::new().start();
    assert_eq!(migrated.query::<String>(columns), new.query::<String>(columns));
    let tables = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'index') ORDER BY name";
    assert_eq!(migrated.query::<String>(tables), new.query::<String>(tables));
}

#[test]
fn a_database_made_by_the_older_receiver_is_taken_over() {
    let home = Home::new();
    let Some(python) = python(&home) else { return };
    receiver(python, "init_db()\nstore_webhook_event('github', 'issues', 'd-1', {'action': 'opened', 'issue': {}})");
    let hookbox = home.start();
    hookbox.wait_for_stdout("[1] Handling event issues (delivery d-1)\nPayload keys: action, issue\n");
    hookbox.wait_until_done();
}

#[test]
fn the_older_receiver_stores_into_our_database_while_we_serve() {
    let config = format!("poll_interval = \"100ms\"\n{}", SOURCE);
    let hookbox = Home::with_config(&config).start();
    let Some(python) = python(&hookbox) else { return };
    hookbox.deliver("issues", "d-1", "{}");
    let lines = "init_db()
assert store_webhook_event('github', 'push', 'd-2', {'ref': 'main'}) == 2
assert store_webhook_event('github', 'push', 'd-1', {}) is None, 'a duplicate of ours'
";
    receiver(python, lines);
    hookbox.wait_for_stdout("[2] Handling event push (delivery d-2)\nPayload keys: ref\n");
    hookbox.wait_until_done();
    hookbox.deliver("push", "d-2", "{}");
    assert_eq!(hookbox.stored(), 2, "a duplicate of theirs");
}

#[test]
fn events_done_by_the_older_worker_are_not_done_again() {
    let hookbox = Home::new().start();
    hookbox.deliver("issues", "d-1", r#"{"action":"opened","issue":{}}"#);
    hookbox.wait_until_done();
    let (home, _) = hookbox.stop();
    let Some(python) = python(&home) else { return };
    // As if hookbox had been stopped before it was done.
    home.db().execute("UPDATE webhook_events SET status = 'unprocessed', processed_at = NULL", []).unwrap();

    let worker = Worker::start(python, &home);
    let status = || home.query::<String>("SELECT status FROM webhook_events")[0].clone();
    wait_for("the worker to mark our event", || (status() == "processed").then_some(()));
    drop(worker);
    let log = std::fs::read_to_string(home.path("worker.log")).unwrap();
    assert!(log.contains("[1] Handling event issues (delivery d-1)\nPayload keys: ['action', 'issue']"), "{log}");

    let hookbox = home.start();
    hookbox.deliver("issues", "d-2", "{}");
    hookbox.wait_for_stdout("(delivery d-2)");
    assert!(!hookbox.stdout().contains("(delivery d-1)"));
}
