//! `repeated_body = "ignore"`: a body that is stored already is not processed under another id.

use super::{age, attempts};
use crate::support::{Answer, Home, Hookbox, Request, SECRET, SOURCE, Stub, hex, wait_for};

fn ignoring() -> Home {
    Home::with_config(&format!("{SOURCE}repeated_body = \"ignore\"\n"))
}

fn repeated(hookbox: &Hookbox) -> i64 {
    hookbox.run(["stats", "--json"]).ok().json()["repeated"].as_i64().unwrap()
}

#[test]
fn a_captured_delivery_under_another_id_is_acknowledged_and_not_processed() {
    let hookbox = ignoring().with_admin().start();
    hookbox.deliver("push", "d-1", r#"{"ref":"main"}"#);
    hookbox.deliver("push", "d-2", r#"{"ref":"main"}"#);
    hookbox.deliver("issues", "d-3", r#"{"ref":"main"}"#);
    hookbox.deliver("push", "d-4", r#"{"ref":"other"}"#);
    assert_eq!((attempts(&hookbox), hookbox.stored(), repeated(&hookbox)), (2, 2, 2));
    let stats = hookbox.run(["stats", "--json"]).ok().json();
    assert_eq!((&stats["duplicates"], &stats["sources"][0]["repeated"]), (&0.into(), &2.into()), "{stats}");
    let hours = stats["hours"].as_array().unwrap();
    assert_eq!(hours.iter().map(|hour| hour["repeated"].as_i64().unwrap()).sum::<i64>(), 2);
    let text = hookbox.run(["stats"]).ok().text();
    assert!(text.contains("0 duplicates, 2 repeated"), "{text}");
    assert!(text.contains("github 2"), "{text}");
    let metrics = hookbox.admin_address().send(&Request::get("/metrics").with("Host", "localhost")).text();
    assert!(metrics.contains("hookbox_deliveries_total{source=\"github\",outcome=\"repeated\"} 2\n"), "{metrics}");
    hookbox.wait_for_stderr("the body of event 1 came again under another id, and is ignored");
}

#[test]
fn by_default_an_equal_body_under_another_id_is_another_event_and_no_hash_is_kept() {
    let hookbox = Home::new().start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.deliver("push", "d-2", "{}");
    assert_eq!(attempts(&hookbox), 2);
    assert_eq!(hookbox.query::<i64>("SELECT count(body_digest) FROM webhook_events"), [0]);
}

/// What GitHub's Redeliver button sends has the same body too.
#[test]
fn the_same_id_still_queues_the_dead_jobs_again() {
    let stub = Stub::http();
    stub.answer(Answer::Status(404));
    let action = format!("[actions.it]\nkind = \"http\"\nurl = \"{}\"\non = [\"*\"]\n", stub.url("/"));
    let hookbox = Home::with_config(&format!("{SOURCE}repeated_body = \"ignore\"\n{action}")).start();
    hookbox.deliver("push", "d-1", "{}");
    let failed = "SELECT count(*) FROM webhook_events WHERE status = 'error'";
    wait_for("it to fail", || (hookbox.query::<i64>(failed) == [1]).then_some(()));
    stub.answer(Answer::Status(200));
    hookbox.deliver("push", "d-2", "{}");
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    assert_eq!((stub.count(), repeated(&hookbox)), (2, 1));
}

#[test]
fn the_same_id_is_still_replayed_after_the_dedup_window() {
    let hookbox = Home::with_config(&format!("{SOURCE}repeated_body = \"ignore\"\ndedup_window = \"1h\"\n")).start();
    hookbox.deliver("push", "d-1", "{}");
    age(&hookbox);
    hookbox.deliver("push", "d-2", "{}");
    assert_eq!(attempts(&hookbox), 1);
    hookbox.deliver("push", "d-1", "{}");
    assert_eq!(attempts(&hookbox), 2);
}

#[test]
fn a_body_is_compared_with_those_that_were_stored_since_the_key_was_set_and_are_not_deleted() {
    let hookbox = Home::new().start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.reload(format!("{SOURCE}repeated_body = \"ignore\"\n"));
    hookbox.deliver("push", "d-2", "{}");
    assert_eq!((hookbox.stored(), repeated(&hookbox)), (2, 0));
    hookbox.deliver("push", "d-3", "{}");
    assert_eq!((hookbox.stored(), repeated(&hookbox)), (2, 1));
    hookbox.wait_until_done();
    let hookbox = hookbox.stop().0.start();
    hookbox.deliver("push", "d-4", "{}");
    assert_eq!((hookbox.stored(), repeated(&hookbox)), (2, 2), "also after a restart");
    hookbox.db().execute("DELETE FROM webhook_events", []).unwrap();
    hookbox.deliver("push", "d-5", "{}");
    assert_eq!((hookbox.stored(), repeated(&hookbox)), (1, 2));
}

#[test]
fn two_sources_may_send_the_same_body() {
    let source = |name| {
        format!(
            "[sources.{name}]\nprovider = \"github\"\nsecret = \"env:GITHUB_WEBHOOK_SECRET\"\nrepeated_body = \"ignore\"\n"
        )
    };
    let hookbox = Home::with_config(&(source("one") + &source("two"))).start();
    for target in ["/webhooks/one", "/webhooks/two"] {
        assert_eq!(hookbox.send(&Request::github("push", target, "{}").target(target)).status, 200);
    }
    assert_eq!((hookbox.stored(), repeated(&hookbox)), (2, 0));
}

#[test]
fn equal_bodies_in_one_commit_are_one_event() {
    let hookbox = ignoring().start();
    let other = hookbox.lock_database();
    let mut connections: Vec<_> = (0..4).map(|_| hookbox.connect()).collect();
    for (n, connection) in connections.iter_mut().enumerate() {
        connection.send(&Request::github("push", &format!("d-{n}"), "{}").bytes());
        hookbox.wait_until_it_waits_for_the_lock();
    }
    drop(other);
    assert!(connections.iter_mut().all(|connection| connection.response().status == 200));
    assert_eq!((hookbox.stored(), repeated(&hookbox)), (1, 3));
    assert_eq!(hookbox.run(["stats", "--json"]).ok().json()["received"], 1);
}

/// Where only a field of the form is signed, its escapes can be written in many ways.
#[test]
fn a_signed_field_in_another_encoding_is_the_same_body() {
    let source =
        format!("[sources.forge]\nprovider = \"gitea-form\"\nsecret = \"{SECRET}\"\nrepeated_body = \"ignore\"\n");
    let hookbox = Home::with_config(&source).start();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hex(ring::hmac::sign(&key, b"{\"ref\":1}").as_ref());
    for (id, form) in [("d-1", "payload=%7B%22ref%22%3A1%7D"), ("d-2", "payload=%7b%22ref%22:1%7d")] {
        let request = Request::new("POST", "/webhooks/forge")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("X-Gitea-Delivery", id)
            .header("X-Gitea-Event", "push")
            .header("X-Gitea-Signature", &signature)
            .body(form);
        let response = hookbox.send(&request);
        assert_eq!(response.status, 200, "{}", response.text());
    }
    assert_eq!((hookbox.stored(), repeated(&hookbox)), (1, 1));
}

#[test]
fn a_body_without_an_id_is_ignored_too() {
    let hookbox = ignoring().start();
    for _ in 0..2 {
        let request = Request::github("push", "", "{}").without("X-GitHub-Delivery");
        assert_eq!(hookbox.send(&request).status, 200);
        hookbox.wait_until_done();
    }
    assert_eq!((attempts(&hookbox), repeated(&hookbox)), (1, 1));
}

#[test]
fn check_shows_the_key_and_refuses_an_unknown_value() {
    let text = ignoring().run(["check"]).ok().text();
    assert!(text.contains("ignores a stored body under another id"), "{text}");
    let home = Home::with_config(&format!("{SOURCE}repeated_body = \"drop\"\n"));
    home.run(["check"]).refused(2, &["sources.github.repeated_body", "\"drop\" is unknown", "\"ignore\""]);
}
