//! Every delivery was answered 503 while `/healthz` said that all was well: another program had stored a row with the
//! largest id, or a rule that refuses every row.

use crate::maintenance::doctor::assert_finds;
use crate::older_program::insert;
use crate::support::{Home, Hookbox, Request, example};

#[track_caller]
fn assert_refused(hookbox: &Hookbox, why: &str) {
    assert_eq!(hookbox.send(&Request::github("push", "refused", "{}")).status, 503);
    let health = hookbox.send(&Request::get("/healthz"));
    assert_eq!((health.status, health.text().contains(why)), (503, true), "{}", health.text());
}

#[track_caller]
fn assert_taken(hookbox: &Hookbox, id: &str) {
    hookbox.deliver("push", id, "{}");
    hookbox.assert_alive();
    hookbox.wait_for_stderr("storing deliveries works again");
}

/// Runs what the manual says.
fn give_a_smaller_id(home: &Home) {
    let script = example("src/manual/database.md", "sh", "sqlite3 webhooks.db");
    let sql = script.trim().strip_prefix("sqlite3 webhooks.db \"").and_then(|rest| rest.strip_suffix('"'));
    home.db().execute_batch(sql.unwrap()).unwrap();
}

#[test]
fn a_row_with_the_largest_id_was_reported_as_a_full_disk() {
    let hookbox = Home::new().start();
    hookbox.deliver("push", "first", "{}");
    // The last but one is ours: it was acknowledged, and must not be lost.
    insert(&hookbox, i64::MAX - 1, "processed");
    hookbox.deliver("push", "last", "{}");
    hookbox.wait_until_done();
    assert_refused(&hookbox, "no id is left");
    hookbox.wait_for_stderr("no id is left for another event in the database");
    assert!(hookbox.stderr().contains("hookbox help database"), "{}", hookbox.stderr());
    assert!(!hookbox.stderr().contains("is full"), "{}", hookbox.stderr());
    assert_finds(
        &hookbox,
        &["--listen", hookbox.url("").trim_start_matches("http://")],
        "ids",
        "fail",
        &["no id is left"],
    );

    let (home, _) = hookbox.stop();
    give_a_smaller_id(&home);
    let hookbox = home.start();
    hookbox.deliver("push", "next", "{}");
    hookbox.assert_alive();
    let ids = hookbox.query::<String>("SELECT id || ' ' || delivery_id FROM webhook_events ORDER BY id");
    assert_eq!(ids, ["1 first", "2 d-9223372036854775806", "3 last", "4 next"]);
    assert!(hookbox.run(["show", "3"]).ok().text().contains("succeeded"), "its job has moved with it");
    hookbox.assert_sound();
}

#[test]
fn health_says_that_no_id_is_left_before_a_delivery_is_refused() {
    let hookbox = Home::new().start();
    insert(&hookbox, i64::MAX, "unprocessed");
    let health = hookbox.send(&Request::get("/healthz"));
    assert_eq!(health.text(), "no id is left for another event\n");
    hookbox.wait_until_done();
    // Deleted, it is still counted on from.
    hookbox.db().execute("DELETE FROM webhook_events", []).unwrap();
    assert_refused(&hookbox, "no id is left");
    hookbox.db().execute("UPDATE sqlite_sequence SET seq = 7 WHERE name = 'webhook_events'", []).unwrap();
    assert_taken(&hookbox, "next");
    assert_eq!(hookbox.query::<i64>("SELECT id FROM webhook_events"), [8]);
}

#[test]
fn health_was_well_while_a_rule_of_another_program_refused_every_delivery() {
    let hookbox = Home::new().start();
    let rules = [
        "CREATE TRIGGER rule BEFORE INSERT ON webhook_events BEGIN SELECT raise(ABORT, 'closed'); END",
        "CREATE TRIGGER rule AFTER INSERT ON webhook_events BEGIN INSERT INTO nowhere VALUES (1); END",
        "CREATE TRIGGER rule BEFORE INSERT ON webhook_events BEGIN SELECT raise(ROLLBACK, 'closed'); END",
    ];
    for (n, rule) in rules.iter().enumerate() {
        hookbox.db().execute_batch(rule).unwrap();
        assert_refused(&hookbox, "the database does not work");
        assert_eq!(hookbox.send(&Request::get("/healthz")).status, 503, "{rule}: it stays so");
        hookbox.db().execute_batch("DROP TRIGGER rule").unwrap();
        assert_eq!(hookbox.send(&Request::get("/healthz")).status, 200, "{rule}");
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    assert_eq!(hookbox.stored(), 3, "what health has tried is not stored");
    hookbox.wait_until_done();
    assert_eq!(hookbox.run(["stats", "--json"]).ok().json()["received"], 3);
}

#[test]
fn health_is_well_while_a_rule_of_another_program_refuses_some_deliveries() {
    let hookbox = Home::new().start();
    let rule = "CREATE TRIGGER rule BEFORE INSERT ON webhook_events WHEN length(new.payload_json) > 9
        BEGIN SELECT raise(ABORT, 'too long'); END";
    hookbox.db().execute_batch(rule).unwrap();
    assert_eq!(hookbox.send(&Request::github("push", "long", "[1,2,3,4,5]")).status, 503);
    hookbox.assert_alive();
}
