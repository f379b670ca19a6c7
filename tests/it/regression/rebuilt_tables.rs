//! Tools that rebuild a table drop its triggers, indexes and constraints: events that came afterwards stayed unprocessed,
//! and nothing said so.

use crate::maintenance::doctor::assert_finds;
use crate::older_program::insert;
use crate::support::{Home, Hookbox, SOURCE, wait_for};

/// As `sqlite-utils transform` does it, in versions that keep only columns, types, NOT NULL and defaults. Those from 4.2 on
/// keep all but the triggers.
const TRANSFORM: &str = r#"
    BEGIN;
    CREATE TABLE "webhook_events_new_5a1f" (
       "id" INTEGER PRIMARY KEY,
       "source" TEXT NOT NULL,
       "event_type" TEXT NOT NULL,
       "delivery_id" TEXT NOT NULL,
       "received_at" TEXT NOT NULL,
       "processed_at" TEXT,
       "status" TEXT NOT NULL,
       "padding" TEXT,
       "secret_position" INTEGER,
       "duplicates" INTEGER NOT NULL DEFAULT 0,
       "renewed_at" TEXT,
       "body_digest" BLOB,
       "headers_json" TEXT NOT NULL DEFAULT '{}',
       "payload_json" TEXT NOT NULL,
       "body" BLOB
    );
    INSERT INTO "webhook_events_new_5a1f" SELECT * FROM webhook_events;
    DROP TABLE webhook_events;
    ALTER TABLE "webhook_events_new_5a1f" RENAME TO "webhook_events";
    COMMIT;
"#;

/// By hand, with even less.
const SELECTED: &str = "
    BEGIN;
    CREATE TABLE new AS SELECT * FROM webhook_events;
    DROP TABLE webhook_events;
    ALTER TABLE new RENAME TO webhook_events;
    COMMIT;
";

/// With constraints as other tools write them, a column more, and in another order.
const REORDERED: &str = "
    BEGIN;
    CREATE TABLE [other] (note TEXT, status VARCHAR NOT NULL, id INTEGER NOT NULL, source TEXT, event_type TEXT,
        delivery_id TEXT, payload_json TEXT, received_at TEXT, processed_at TEXT, headers_json TEXT, body BLOB,
        CONSTRAINT pk PRIMARY KEY (id), CONSTRAINT uq UNIQUE (source, delivery_id));
    INSERT INTO other (id, source, event_type, delivery_id, payload_json, received_at, processed_at, status, headers_json, body)
        SELECT id, source, event_type, delivery_id, payload_json, received_at, processed_at, status, headers_json, body
        FROM webhook_events;
    DROP TABLE webhook_events;
    ALTER TABLE other RENAME TO webhook_events;
    UPDATE webhook_events SET note = 'kept';
    COMMIT;
";

/// Our own tables too.
const OWN_TABLES: &str = "
    PRAGMA legacy_alter_table = ON;
    BEGIN;
    CREATE TABLE new_jobs AS SELECT * FROM jobs;
    DROP TABLE jobs;
    ALTER TABLE new_jobs RENAME TO jobs;
    DROP TABLE unrouted;
    DROP TABLE tallies;
    DROP TABLE blocks;
    DELETE FROM counted;
    COMMIT;
";

const INDEX_AND_TRIGGERS: &str = "
    DROP INDEX webhook_events_kind;
    DROP TRIGGER webhook_event_arrived;
    DROP TRIGGER webhook_event_counted;
    DROP TRIGGER webhook_event_deleted;
    DROP TRIGGER job_moved;
";

const CHANGES: [(&str, &str); 5] = [
    ("transform", TRANSFORM),
    ("selected", SELECTED),
    ("reordered", REORDERED),
    ("own tables", OWN_TABLES),
    ("index and triggers", INDEX_AND_TRIGGERS),
];

/// All that the program has made, as it was at first.
fn schema(home: &Home) -> Vec<String> {
    let sql = "SELECT type || ' ' || name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY 1";
    home.query(sql)
}

/// Two events that are processed, and an id that is not to be used again.
fn processed() -> Hookbox {
    let hookbox = Home::with_config(&format!("poll_interval = \"100ms\"\n{SOURCE}")).start();
    for n in 1..=3 {
        hookbox.deliver("push", &format!("old-{n}"), format!("{{\"n\":{n}}}"));
    }
    hookbox.wait_until_done();
    hookbox.db().execute("DELETE FROM webhook_events WHERE id = 3", []).unwrap();
    hookbox
}

#[track_caller]
fn assert_works(hookbox: &Hookbox, what: &str) {
    for n in [1, 2] {
        hookbox.deliver("push", &format!("old-{n}"), "{}");
    }
    hookbox.deliver("push", "new", "{}");
    hookbox.insert_event("by another program", "{}");
    hookbox.wait_for_stdout("(delivery new)");
    hookbox.wait_for_stdout("(delivery by another program)");
    hookbox.wait_until_done();
    let stats = hookbox.run(["stats", "--json"]).ok().json();
    let events = hookbox.query::<i64>("SELECT count(*) FROM webhook_events");
    assert_eq!(stats["events"]["processed"], events[0], "{what}: {stats}");
    assert_eq!(stats["actions"][0]["pending"], 0, "{what}: {stats}");
    hookbox.assert_sound();
}

#[test]
fn a_rebuilt_table_left_new_events_unprocessed() {
    for (what, change) in CHANGES {
        let (home, _) = processed().stop();
        let whole = schema(&home);
        // Nobody can insert while the tables of our triggers are missing.
        let is_before = change == OWN_TABLES;
        if is_before {
            insert(&home, 10, "unprocessed");
        }
        home.db().execute_batch(change).unwrap_or_else(|error| panic!("{what}: {error}"));
        if !is_before {
            insert(&home, 10, "unprocessed");
        }
        assert_finds(&home, &[], "schema", "fail", &["hookbox serve restores it"]);
        let hookbox = home.start();
        hookbox.wait_for_stderr("Restored: ");
        hookbox.wait_for_stdout("(delivery d-10)");
        assert_works(&hookbox, what);
        assert_eq!(schema(&hookbox), whole, "{what}");
        assert!(hookbox.run(["show", "1"]).ok().text().contains("succeeded"), "{what}: its job is still there");
        // No more than once.
        let hookbox = hookbox.stop().0.start();
        assert!(!hookbox.stderr().contains("Restored"), "{what}: {}", hookbox.stderr());
        let findings = hookbox.run(["doctor", "--json"]).text();
        assert!(!findings.contains("\"schema\""), "{what}: {findings}");
    }
}

#[test]
fn a_table_that_was_rebuilt_while_we_served_left_new_events_unprocessed() {
    for (what, change) in CHANGES {
        let hookbox = processed();
        let whole = schema(&hookbox);
        hookbox.db().execute_batch(change).unwrap_or_else(|error| panic!("{what}: {error}"));
        let insert = "INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
            VALUES ('github', 'issues', 'meanwhile', '{}', '2025-01-31T12:00:00+00:00', 'unprocessed')";
        // Our trigger fails while the table of its list is missing.
        wait_for("the insert", || hookbox.db().execute(insert, []).ok());
        hookbox.wait_for_stdout("(delivery meanwhile)");
        hookbox.wait_for_stderr("Restored: ");
        assert_works(&hookbox, what);
        assert_eq!(schema(&hookbox), whole, "{what}");
        assert_eq!(hookbox.stderr().matches("Restored: ").count(), 1, "{what}: {}", hookbox.stderr());
    }
}

#[test]
fn a_rebuilt_table_used_ids_of_deleted_events_again() {
    let (home, _) = processed().stop();
    home.db().execute_batch("DELETE FROM webhook_events WHERE id = 2").unwrap();
    home.db().execute_batch(TRANSFORM).unwrap();
    let hookbox = home.start();
    hookbox.deliver("push", "new", "{}");
    let db = hookbox.db();
    db.execute("DELETE FROM webhook_events WHERE id > 1", []).unwrap();
    let before: i64 =
        db.query_row("SELECT seq FROM sqlite_sequence WHERE name = 'webhook_events'", [], |row| row.get(0)).unwrap();
    hookbox.deliver("push", "newer", "{}");
    assert_eq!(hookbox.query::<i64>("SELECT max(id) FROM webhook_events"), [before + 1]);
}

/// Without the constraint another program can store a delivery twice.
#[test]
fn a_delivery_that_is_stored_twice_in_a_rebuilt_table_is_kept_twice() {
    let (home, _) = processed().stop();
    home.db().execute_batch(SELECTED).unwrap();
    for id in [21, 22] {
        let insert =
            "INSERT INTO webhook_events (id, source, event_type, delivery_id, payload_json, received_at, status)
            VALUES (?1, 'github', 'issues', 'twice', '{}', '2024-05-06T07:08:09+00:00', 'unprocessed')";
        home.db().execute(insert, [id]).unwrap();
    }
    let hookbox = home.start();
    hookbox.wait_for_stdout("[21] Handling event");
    hookbox.wait_for_stdout("[22] Handling event");
    let ids = "SELECT delivery_id FROM webhook_events WHERE id > 20 ORDER BY id";
    assert_eq!(hookbox.query::<String>(ids), ["twice", "twice@22"]);
}

/// Where another program has marked an event as done, its jobs were done nevertheless.
#[test]
fn what_was_marked_as_done_or_deleted_while_the_triggers_were_missing_is_not_done() {
    let hookbox = Home::new().start();
    hookbox.run(["pause", "log"]).ok();
    for n in 1..=3 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    let queued = "SELECT count(*) FROM jobs WHERE state = 'queued'";
    wait_for("their jobs", || (hookbox.query::<i64>(queued) == [3]).then_some(()));
    let (home, _) = hookbox.stop();
    home.db().execute_batch(TRANSFORM).unwrap();
    home.db()
        .execute_batch(
            "UPDATE webhook_events SET status = 'processed' WHERE id = 1; DELETE FROM webhook_events WHERE id = 2",
        )
        .unwrap();
    let hookbox = home.start();
    let jobs = "SELECT event_id || ' ' || state FROM jobs ORDER BY event_id";
    assert_eq!(hookbox.query::<String>(jobs), ["1 cancelled", "3 queued"]);
    hookbox.run(["resume", "log"]).ok();
    hookbox.wait_until_done();
    assert!(!hookbox.stdout().contains("(delivery d-1)"), "{}", hookbox.stdout());
}

/// `.dump` writes everything but the version of the schema, and other tools count their own changes by it.
#[test]
fn a_copy_by_way_of_dump_was_refused() {
    for version in [0, 1, 3] {
        let (home, _) = processed().stop();
        let whole = schema(&home);
        home.db().execute_batch(&format!("PRAGMA user_version = {version}; PRAGMA journal_mode = DELETE")).unwrap();
        assert!(home.run(["list"]).ok().text().contains("old-1"));
        insert(&home, 10, "unprocessed");
        let hookbox = home.start();
        hookbox.wait_for_stdout("(delivery d-10)");
        assert_works(&hookbox, "dump");
        assert_eq!(schema(&hookbox), whole);
        assert!(hookbox.query::<i64>("PRAGMA user_version")[0] > 3);
    }
}

/// The indexes and triggers stay with the table that was renamed, under their names.
#[test]
fn a_table_that_was_put_aside_kept_the_triggers() {
    let (home, _) = processed().stop();
    let whole = schema(&home);
    let aside = "ALTER TABLE webhook_events RENAME TO aside;
        CREATE TABLE webhook_events (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, event_type TEXT NOT NULL,
            delivery_id TEXT NOT NULL UNIQUE, payload_json TEXT NOT NULL, received_at TEXT NOT NULL, processed_at TEXT,
            status TEXT NOT NULL);
        INSERT INTO webhook_events SELECT id, source, event_type, delivery_id, payload_json, received_at, processed_at, status
            FROM aside;";
    home.db().execute_batch(aside).unwrap();
    insert(&home, 10, "unprocessed");
    let hookbox = home.start();
    hookbox.wait_for_stdout("(delivery d-10)");
    assert_works(&hookbox, "aside");
    hookbox.db().execute_batch("DROP TABLE aside").unwrap();
    assert_eq!(schema(&hookbox), whole);
}

/// As a tool is asked to.
#[test]
fn a_table_that_another_tool_has_changed_without_harm_stays_as_it_is() {
    let (home, _) = processed().stop();
    let change = TRANSFORM
        .replace("PRIMARY KEY", "PRIMARY KEY AUTOINCREMENT")
        .replace("\"status\" TEXT NOT NULL", "\"status\" TEXT NOT NULL DEFAULT 'unprocessed'")
        .replace("\"body\" BLOB", "\"body\" BLOB, UNIQUE (\"source\", \"delivery_id\")");
    home.db().execute_batch(&change).unwrap();
    let hookbox = home.start();
    assert_works(&hookbox, "a default");
    let default = "SELECT dflt_value FROM pragma_table_info('webhook_events') WHERE name = 'status'";
    assert_eq!(hookbox.query::<String>(default), ["'unprocessed'"]);
}

/// Rows, columns, indexes and triggers of other programs survive.
#[test]
fn what_other_programs_have_added_survives_the_restoration() {
    let (home, _) = processed().stop();
    home.db().execute_batch(REORDERED).unwrap();
    let foreign = "CREATE INDEX by_note ON webhook_events (note);
        CREATE TABLE noted (id INTEGER);
        CREATE TRIGGER noting AFTER INSERT ON webhook_events BEGIN INSERT INTO noted VALUES (new.id); END;
        CREATE VIEW notes AS SELECT note FROM webhook_events;";
    home.db().execute_batch(foreign).unwrap();
    let hookbox = home.start();
    hookbox.wait_for_stderr("Restored: ");
    assert_eq!(hookbox.query::<String>("SELECT note FROM notes"), ["kept", "kept"]);
    hookbox.deliver("push", "new", "{}");
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM noted"), [1]);
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM sqlite_schema WHERE name = 'by_note'"), [1]);
}
