//! Deliveries without an id: each is a new event, unless an equal one has yet to begin.

use std::time::Duration;

use ring::digest;

use super::{age, attempts};
use crate::support::{Answer, Home, Hookbox, Request, SOURCE, Stub, closed_port, hex, wait_for};

/// `sha256:<hex of source, NUL, body>`: what the ids of deliveries without one begin with.
fn hash(source: &str, body: &[u8]) -> String {
    format!("sha256:{}", hex(digest::digest(&digest::SHA256, &[source.as_bytes(), b"\0", body].concat()).as_ref()))
}

/// A delivery without an id.
fn beat(body: &str) -> Request {
    Request::github("push", "", body).without("X-GitHub-Delivery")
}

#[track_caller]
fn send(hookbox: &Hookbox, request: &Request) {
    let response = hookbox.send(request);
    assert_eq!(response.status, 200, "{}", response.text());
}

#[track_caller]
fn ids(hookbox: &Hookbox) -> Vec<String> {
    hookbox.query("SELECT delivery_id FROM webhook_events ORDER BY id")
}

#[track_caller]
fn duplicates(hookbox: &Hookbox) -> i64 {
    hookbox.query("SELECT coalesce(sum(duplicates), 0) FROM webhook_events")[0]
}

/// A home whose only action runs when it is resumed.
fn paused() -> Hookbox {
    let hookbox = Home::with_config(&format!("{SOURCE}[actions.it]\nkind = \"log\"\non = [\"*\"]\n")).start();
    hookbox.run(["pause", "it"]).ok();
    hookbox
}

/// Sends it three times, each when the one before was processed, and counts what reached the destination.
#[track_caller]
fn assert_each_arrives(source: &str, request: &Request) {
    let stub = Stub::http();
    let action = format!("[actions.it]\nkind = \"http\"\nurl = \"{}\"\non = [\"*\"]\n", stub.url("/"));
    let hookbox = Home::with_config(&format!("{source}{action}")).start();
    for count in 1..=3 {
        send(&hookbox, request);
        stub.wait_for(count);
        hookbox.wait_until_done();
    }
    assert_eq!((stub.count(), hookbox.stored()), (3, 3));
    let keys: Vec<_> = stub.received().iter().map(|it| it.header("Idempotency-Key").unwrap().to_owned()).collect();
    assert!(keys[0] != keys[1] && keys[1] != keys[2], "{keys:?}");
}

#[test]
fn each_change_that_dropbox_reports_with_the_same_body_is_processed() {
    let body = r#"{"list_folder": {"accounts": ["dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"]}, "delta": {"users": [12345678]}}"#;
    let signature = "820e9ea6d7fedd0c98f76205134135ae5095e6720347a492628f4fc72b020e6a";
    let request = Request::new("POST", "/webhooks/dropbox")
        .header("Content-Type", "application/json")
        .header("X-Dropbox-Signature", signature)
        .body(body);
    assert_each_arrives("[sources.dropbox]\nprovider = \"dropbox\"\nsecret = \"dbx-app-secret-9\"\n", &request);
}

#[test]
fn each_heartbeat_of_alertmanager_arrives() {
    let body = r#"{"receiver": "heartbeat", "status": "firing", "alerts": [{"status": "firing"}], "version": "4"}"#;
    let request = Request::new("POST", "/webhooks/am")
        .header("Content-Type", "application/json")
        .header("Authorization", "Bearer quiet-owl")
        .body(body);
    assert_each_arrives("[sources.am]\nprovider = \"alertmanager\"\nsecret = \"quiet-owl\"\n", &request);
}

#[test]
fn each_change_of_a_drive_that_microsoft_graph_reports_is_processed() {
    let body = r#"{"value": [{"subscriptionId": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07", "clientState": "pewter-gate-41",
        "resource": "me/drive/root", "changeType": "updated"}]}"#;
    let request = Request::new("POST", "/webhooks/drive").header("Content-Type", "application/json").body(body);
    assert_each_arrives("[sources.drive]\nprovider = \"msgraph\"\nsecret = \"pewter-gate-41\"\n", &request);
}

#[test]
fn an_equal_delivery_joins_one_that_has_not_begun() {
    let hookbox = paused();
    for _ in 0..3 {
        send(&hookbox, &beat("{}"));
    }
    send(&hookbox, &beat("[]"));
    assert_eq!((hookbox.stored(), duplicates(&hookbox)), (2, 2));
    hookbox.run(["resume", "it"]).ok();
    assert_eq!(attempts(&hookbox), 2);
    hookbox.run(["pause", "it"]).ok();
    send(&hookbox, &beat("{}"));
    send(&hookbox, &beat("{}"));
    assert_eq!((hookbox.stored(), duplicates(&hookbox)), (3, 3), "the first one was processed before");
    assert!(hookbox.stderr().contains("came again"), "{}", hookbox.stderr());
}

#[test]
fn equal_deliveries_in_one_commit_are_one_event() {
    let hookbox = paused();
    let other = hookbox.lock_database();
    let mut connections: Vec<_> = (0..4).map(|_| hookbox.connect()).collect();
    for connection in &mut connections {
        connection.send(&beat("{}").bytes());
        hookbox.wait_until_it_waits_for_the_lock();
    }
    drop(other);
    assert!(connections.iter_mut().all(|connection| connection.response().status == 200));
    assert_eq!((hookbox.stored(), duplicates(&hookbox)), (1, 3));
    let stats = hookbox.run(["stats", "--json"]).ok().json();
    assert_eq!((&stats["received"], &stats["duplicates"]), (&1.into(), &3.into()));
}

#[test]
fn an_equal_delivery_does_not_join_one_whose_attempt_is_under_way() {
    let script = "echo >> began; until [ -e go ]; do sleep 0.05; done";
    let action = format!("[actions.it]\nkind = \"command\"\non = [\"*\"]\nrun = [\"sh\", \"-c\", {script:?}]\n");
    let hookbox = Home::with_config(&format!("{SOURCE}{action}")).start();
    send(&hookbox, &beat("{}"));
    hookbox.wait_for_file("began");
    send(&hookbox, &beat("{}"));
    send(&hookbox, &beat("{}"));
    assert_eq!(hookbox.stored(), 2, "the third joins the second, which waits behind the first");
    hookbox.write("go", "");
    hookbox.wait_until_done();
    assert_eq!(hookbox.line_count("began"), 2);
}

/// Such a claim is not on the disk.
#[test]
fn an_equal_delivery_does_not_join_one_whose_request_waits_for_its_answer() {
    let stub = Stub::http();
    let answer = stub.answer_when_told(Answer::Status(200), Answer::Status(200));
    let action = format!("[actions.it]\nkind = \"http\"\nurl = \"{}\"\non = [\"*\"]\n", stub.url("/"));
    let hookbox = Home::with_config(&format!("{SOURCE}{action}")).start();
    send(&hookbox, &beat("{}"));
    stub.wait_for(1);
    assert_eq!(hookbox.query::<String>("SELECT state FROM jobs"), ["queued"]);
    send(&hookbox, &beat("{}"));
    send(&hookbox, &beat("{}"));
    assert_eq!(hookbox.stored(), 2, "the third joins the second, which waits behind the first");
    drop(answer);
    hookbox.wait_until_done();
    assert_eq!(stub.count(), 2);
}

#[test]
fn an_equal_delivery_does_not_join_one_that_waits_for_a_retry() {
    let url = format!("http://127.0.0.1:{}/", closed_port());
    let action = format!("[actions.it]\nkind = \"http\"\nurl = \"{url}\"\non = [\"*\"]\nbackoff = \"1h\"\n");
    let hookbox = Home::with_config(&format!("{SOURCE}{action}")).start();
    send(&hookbox, &beat("{}"));
    let tried = "SELECT count(*) FROM jobs WHERE state = 'queued' AND attempts = 1";
    wait_for("the first attempt", || (hookbox.query::<i64>(tried) == [1]).then_some(()));
    send(&hookbox, &beat("{}"));
    assert_eq!(hookbox.stored(), 2);
}

/// One action has the first already, and would not have the second.
#[test]
fn an_equal_delivery_does_not_join_one_that_one_of_two_actions_has_done() {
    let actions = "[actions.a]\nkind = \"log\"\non = [\"*\"]\n[actions.b]\nkind = \"log\"\non = [\"*\"]\n";
    let hookbox = Home::with_config(&format!("{SOURCE}{actions}")).start();
    hookbox.run(["pause", "b"]).ok();
    for count in 1..=2 {
        send(&hookbox, &beat("{}"));
        let done = "SELECT count(*) FROM jobs WHERE action = 'a' AND state = 'succeeded'";
        wait_for("it to be printed", || (hookbox.query::<i64>(done) == [count]).then_some(()));
    }
    assert_eq!(hookbox.stored(), 2);
}

#[test]
fn an_equal_delivery_does_not_join_a_replayed_one() {
    let hookbox = paused();
    hookbox.run(["resume", "it"]).ok();
    send(&hookbox, &beat("{}"));
    hookbox.wait_until_done();
    hookbox.run(["pause", "it"]).ok();
    hookbox.run(["replay", "1"]).ok();
    send(&hookbox, &beat("{}"));
    assert_eq!(hookbox.stored(), 2);
}

/// Another program processes them, and it is unknown which it has begun.
#[test]
fn equal_deliveries_that_no_action_is_for_are_events_of_their_own() {
    for actions in ["[actions]\n", "[actions.it]\nkind = \"log\"\non = [\"*:other\"]\n"] {
        let hookbox = Home::with_config(&format!("{actions}{SOURCE}")).start();
        send(&hookbox, &beat("{}"));
        send(&hookbox, &beat("{}"));
        assert_eq!(hookbox.stored(), 2, "{actions}");
    }
}

/// Its job waits for an action that is no longer there, perhaps forever.
#[test]
fn an_equal_delivery_does_not_join_one_whose_action_was_removed_from_the_config() {
    let hookbox = paused();
    send(&hookbox, &beat("{}"));
    let queued = "SELECT count(*) FROM jobs WHERE state = 'queued'";
    wait_for("its job", || (hookbox.query::<i64>(queued) == [1]).then_some(()));
    hookbox.reload(format!("{SOURCE}[actions.other]\nkind = \"log\"\non = [\"*\"]\n"));
    send(&hookbox, &beat("{}"));
    hookbox.wait_for_stdout("[2] Handling event");
    // And what is joined must have a job of every action that is for it.
    hookbox.reload(format!("{SOURCE}[actions.it]\nkind = \"log\"\non = [\"*\"]\n"));
    send(&hookbox, &beat("[]"));
    wait_for("its job", || (hookbox.query::<i64>(queued) == [2]).then_some(()));
    let both = "[actions.it]\nkind = \"log\"\non = [\"*\"]\n[actions.other]\nkind = \"log\"\non = [\"*\"]\n";
    hookbox.reload(format!("{SOURCE}{both}"));
    send(&hookbox, &beat("[]"));
    assert_eq!(hookbox.stored(), 4);
}

#[test]
fn an_equal_body_of_another_type_is_another_event() {
    let hookbox = paused();
    send(&hookbox, &beat("{}"));
    send(&hookbox, &beat("{}").with("X-GitHub-Event", "issues"));
    assert_eq!(hookbox.query::<String>("SELECT event_type FROM webhook_events ORDER BY id"), ["push", "issues"]);
}

#[test]
fn within_the_dedup_window_an_equal_body_is_the_same_delivery() {
    let hookbox = Home::with_config(&format!("{SOURCE}dedup_window = \"5m\"\n")).start();
    send(&hookbox, &beat("{}"));
    hookbox.wait_until_done();
    send(&hookbox, &beat("{}"));
    assert_eq!((attempts(&hookbox), hookbox.stored(), duplicates(&hookbox)), (1, 1, 1));
    age(&hookbox);
    send(&hookbox, &beat("{}"));
    send(&hookbox, &beat("{}"));
    assert_eq!((attempts(&hookbox), hookbox.stored(), duplicates(&hookbox)), (2, 2, 2), "after it, it is meant again");
}

#[test]
fn within_the_dedup_window_an_equal_body_queues_the_dead_jobs_again() {
    let stub = Stub::http();
    stub.answer(Answer::Status(404));
    let action = format!("[actions.it]\nkind = \"http\"\nurl = \"{}\"\non = [\"*\"]\n", stub.url("/"));
    let hookbox = Home::with_config(&format!("{SOURCE}dedup_window = \"5m\"\n{action}")).start();
    send(&hookbox, &beat("{}"));
    let failed = "SELECT count(*) FROM webhook_events WHERE status = 'error'";
    wait_for("it to fail", || (hookbox.query::<i64>(failed) == [1]).then_some(()));
    stub.answer(Answer::Status(200));
    send(&hookbox, &beat("{}"));
    hookbox.wait_until_done();
    assert_eq!((stub.count(), hookbox.stored()), (2, 1));
}

#[test]
fn the_ids_begin_with_the_hash_and_sort_in_the_order_of_arrival() {
    let hookbox = Home::with_config(&format!("[actions]\n{SOURCE}")).start();
    // As earlier versions made them.
    for suffix in ["", "@2025-01-31T12:00:00+00:00"] {
        hookbox.insert_event(&format!("{}{suffix}", hash("github", b"{}")), "{}");
    }
    for _ in 0..11 {
        send(&hookbox, &beat("{}"));
    }
    let ids = ids(&hookbox);
    assert!(ids.iter().all(|id| id.starts_with(&hash("github", b"{}"))), "{ids:?}");
    assert_eq!(ids.len(), 13);
    assert!(ids.is_sorted(), "{ids:?}");
}

/// An earlier version has stored it, and it has not begun.
#[test]
fn an_equal_delivery_joins_one_with_an_id_of_an_earlier_version() {
    for suffix in ["", "@2025-01-31T12:00:00+00:00"] {
        let hookbox = paused();
        let insert = "INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
                      VALUES ('github', 'push', ?1, '{}', '2025-01-31T12:00:00+00:00', 'unprocessed')";
        hookbox.db().execute(insert, [hash("github", b"{}") + suffix]).unwrap();
        send(&hookbox, &beat("{}"));
        assert_eq!((hookbox.stored(), duplicates(&hookbox)), (1, 1), "{suffix}");
    }
}

#[test]
fn an_id_is_not_used_again_when_its_event_was_deleted() {
    let hookbox = Home::new().start();
    send(&hookbox, &beat("{}"));
    hookbox.wait_until_done();
    let before = ids(&hookbox);
    hookbox.db().execute("DELETE FROM webhook_events", []).unwrap();
    send(&hookbox, &beat("{}"));
    assert_ne!(ids(&hookbox), before, "its Idempotency-Key is another too");
}

/// Nothing is lost between the router and the receiver: for each that arrived, an attempt began afterwards.
#[test]
fn the_last_of_many_equal_deliveries_is_always_seen() {
    let script = "cp version seen.new; mv seen.new seen; echo >> runs";
    let action = format!("[actions.it]\nkind = \"command\"\non = [\"*\"]\nrun = [\"sh\", \"-c\", {script:?}]\n");
    let hookbox = Home::with_config(&format!("{SOURCE}{action}")).start();
    for version in 0..60 {
        hookbox.write("version.new", version.to_string());
        std::fs::rename(hookbox.path("version.new"), hookbox.path("version")).unwrap();
        send(&hookbox, &beat("{}"));
        // Now before the router, now during an attempt, now after it.
        std::thread::sleep(Duration::from_millis(version % 7 * 2));
    }
    hookbox.wait_until_done();
    assert_eq!(std::fs::read_to_string(hookbox.path("seen")).unwrap(), "59");
    assert_eq!(hookbox.stored() + duplicates(&hookbox), 60);
}
