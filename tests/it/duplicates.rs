//! A repeated delivery is a duplicate, a new event, or a replay of the old one.

mod repeated_body;
mod without_id;

use crate::support::{Home, Hookbox, Request, SOURCE};

fn ring(hookbox: &Hookbox, body: &str) {
    let request = Request::new("POST", "/webhooks/bell").header("Authorization", "Bearer s").body(body);
    assert_eq!(hookbox.send(&request).status, 200);
}

#[test]
fn two_equal_deliveries_of_a_token_source_are_two_events() {
    let hookbox = Home::with_config("[sources.bell]\nprovider = \"token\"\nsecret = \"s\"\n").start();
    ring(&hookbox, "ding");
    ring(&hookbox, "ding");
    assert_eq!(hookbox.stored(), 2);
}

#[test]
fn two_deliveries_of_a_token_source_with_the_same_id_are_one_event() {
    let config = "[sources.bell]\nprovider = \"token\"\nsecret = \"s\"\nid = [\"json:/n\"]\nevent = \"json:/kind\"\n";
    let hookbox = Home::with_config(config).start();
    ring(&hookbox, r#"{"n":7,"kind":"ding"}"#);
    ring(&hookbox, r#"{"n":7,"kind":"dong"}"#);
    assert_eq!(hookbox.query::<String>("SELECT delivery_id || event_type FROM webhook_events"), ["7ding"]);
}

#[test]
fn duplicates_are_counted_and_shown() {
    let hookbox = Home::new().start();
    for _ in 0..3 {
        hookbox.deliver("push", "d-1", "{}");
    }
    hookbox.deliver("push", "d-2", "{}");
    let listed = hookbox.run(["list", "--json"]).ok().json_lines();
    assert_eq!((&listed[0]["duplicates"], &listed[1]["duplicates"]), (&2.into(), &0.into()));
    assert_eq!(hookbox.run(["stats", "--json"]).ok().json()["duplicates"], 2);
    assert!(hookbox.run(["show", "1"]).ok().text().contains("duplicates  2"));
    assert!(hookbox.run(["stats"]).ok().text().contains("DUPLICATES"));
}

/// Sets the time at which the only event was received to long ago.
fn age(hookbox: &Hookbox) {
    hookbox.wait_until_done();
    hookbox.db().execute("UPDATE webhook_events SET received_at = '2020-01-01T00:00:00+00:00'", []).unwrap();
}

fn attempts(hookbox: &Hookbox) -> i64 {
    hookbox.wait_until_done();
    hookbox.query("SELECT count(*) FROM attempts")[0]
}

#[test]
fn a_redelivery_after_the_dedup_window_replays_the_event_once() {
    let hookbox = Home::with_config(&format!("{SOURCE}dedup_window = \"1h\"\n")).start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.deliver("push", "d-1", "{}");
    assert_eq!(attempts(&hookbox), 1, "within the window it is a duplicate");
    age(&hookbox);
    hookbox.deliver("push", "d-1", "{}");
    assert_eq!(attempts(&hookbox), 2, "after it, it is meant again");
    hookbox.deliver("push", "d-1", "{}");
    assert_eq!(attempts(&hookbox), 2, "the provider's retry of the redelivery is a duplicate");
    assert_eq!(hookbox.stored(), 1);
    assert_eq!(hookbox.query::<i64>("SELECT duplicates FROM webhook_events"), [3]);
    assert_eq!(hookbox.query::<i64>("SELECT round FROM jobs"), [1], "and so has another idempotency key");
}

/// The receiver makes the jobs of a new event, but those of a replayed one are the router's.
#[test]
fn a_redelivery_after_the_dedup_window_does_not_wait_for_the_next_poll() {
    let source = format!("poll_interval = \"1h\"\n{SOURCE}dedup_window = \"1h\"\n");
    let hookbox = Home::with_config(&source).start();
    hookbox.deliver("push", "d-1", "{}");
    age(&hookbox);
    hookbox.deliver("push", "d-1", "{}");
    assert_eq!(attempts(&hookbox), 2);
}

#[test]
fn a_late_redelivery_is_a_duplicate_without_a_dedup_window() {
    let hookbox = Home::new().start();
    hookbox.deliver("push", "d-1", "{}");
    age(&hookbox);
    hookbox.deliver("push", "d-1", "{}");
    assert_eq!(attempts(&hookbox), 1);
}

#[test]
fn duplicates_of_an_event_from_another_program_are_counted() {
    let hookbox = Home::new().start();
    let insert = "INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
                  VALUES ('github', 'push', 'd-1', '{}', '2020-01-01T00:00:00+00:00', 'processed')";
    hookbox.db().execute(insert, []).unwrap();
    hookbox.deliver("push", "d-1", "{}");
    let listed = hookbox.run(["list", "--json"]).ok().json_lines();
    assert_eq!((&listed[0]["duplicates"], &listed[0]["secret"]), (&1.into(), &serde_json::Value::Null));
}
