//! The API of the admin listener.

use serde_json::{Value, json as value};

use super::{asking, get, json, post, status};
use crate::support::{Answer, Home, Hookbox, Request, SECRET, SOURCE, Stub, closed_port, sign_github, wait_for};

fn started() -> Hookbox {
    Home::new().with_open_admin().start()
}

fn ids(listed: &Value) -> Vec<i64> {
    listed["events"].as_array().unwrap().iter().map(|event| event["id"].as_i64().unwrap()).collect()
}

#[test]
fn events_are_listed_filtered_and_paged() {
    let hookbox = started();
    for n in 1..=5 {
        hookbox.deliver(if n % 2 == 0 { "push" } else { "issues" }, &format!("d-{n}"), "{}");
    }
    hookbox.wait_until_done();
    let admin = hookbox.admin_address();
    let list = |query: &str| json(&admin.send(&get(&format!("/api/events{query}"))));
    assert_eq!((ids(&list("")), list("")["more"].clone()), (vec![5, 4, 3, 2, 1], value!(false)));
    assert_eq!(ids(&list("?event=push")), [4, 2]);
    assert_eq!(ids(&list("?status=processed&source=github&event=issues")), [5, 3, 1]);
    assert_eq!(ids(&list("?status=error")), [0; 0]);
    assert_eq!(ids(&list("?source=&event=&status=")), [5, 4, 3, 2, 1], "as a form sends it");
    let page = list("?limit=2");
    assert_eq!((ids(&page), &page["more"]), (vec![5, 4], &value!(true)));
    let page = list("?limit=2&before=2");
    assert_eq!((ids(&page), &page["more"]), (vec![1], &value!(false)));
    for wrong in ["?status=odd", "?limit=x", "?before=", "?nonsense=1"] {
        let expected = if wrong == "?before=" { 200 } else { 400 };
        assert_eq!(status(&admin, &get(&format!("/api/events{wrong}"))), expected, "{wrong}");
    }
}

#[test]
fn an_unchanged_answer_is_304() {
    let hookbox = started();
    let admin = hookbox.admin_address();
    let first = admin.send(&get("/api/events"));
    let tag = first.header("ETag").unwrap().to_owned();
    let again = admin.send(&get("/api/events").header("If-None-Match", &tag));
    assert_eq!((again.status, again.body.len()), (304, 0));
    hookbox.deliver("push", "d-1", "{}");
    assert_eq!(status(&admin, &get("/api/events").header("If-None-Match", &tag)), 200);
}

#[test]
fn one_connection_serves_one_page() {
    let hookbox = started();
    let mut connection = hookbox.admin_address().connect();
    for target in ["/", "/page.css", "/page.js", "/icon.svg", "/api/stats", "/api/events"] {
        connection.send(&get(target).bytes());
        assert_eq!(connection.response().status, 200, "{target}");
    }
    connection.send(&asking("HEAD", "/").bytes());
    assert_eq!(connection.head_response().status, 200);
}

#[test]
fn an_event_is_shown_with_payload_headers_and_attempts() {
    let hookbox = started();
    let body = r#"{"a": "\u202e<script>", "n": 12345678901234567890}"#;
    hookbox.send(&Request::github("push", "d-1", body).header("Authorization", "Bearer secret"));
    hookbox.wait_until_done();
    let event = json(&hookbox.admin_address().send(&get("/api/events/1")));
    assert_eq!(
        (&event["event"], &event["delivery_id"], &event["status"]),
        (&value!("push"), &value!("d-1"), &value!("processed"))
    );
    assert_eq!(event["payload_json"], body, "to the byte");
    let headers: Value = serde_json::from_str(event["headers_json"].as_str().unwrap()).unwrap();
    assert_eq!(headers["Authorization"], "[redacted]");
    assert_eq!(event["jobs"][0]["attempts"][0]["outcome"], "success");
    assert_eq!(status(&hookbox.admin_address(), &get("/api/events/2")), 404);
}

#[test]
fn a_payload_too_large_to_show_is_given_by_its_size() {
    let hookbox = started();
    let body = format!("{{\"a\": \"{}\"}}", "x".repeat(3_000_000));
    hookbox.deliver("push", "large", &body);
    // The longest that is shown, with the most to escape.
    let quotes = format!("[{}\"\"]", "\"\\\"\",".repeat(40_000));
    hookbox.deliver("push", "quotes", &quotes);
    let large = json(&hookbox.admin_address().send(&get("/api/events/1")));
    assert_eq!((&large["payload_json"], &large["payload_bytes"]), (&Value::Null, &value!(body.len())));
    let shown = json(&hookbox.admin_address().send(&get("/api/events/2")));
    assert_eq!(shown["payload_json"], quotes);
}

#[test]
fn a_failed_event_is_replayed_and_a_waiting_job_is_cancelled() {
    let stub = Stub::http();
    let (closed, open) = (format!("http://127.0.0.1:{}", closed_port()), stub.url("/"));
    let action = |url: &str| {
        format!(
            "[actions.team]\nkind = 'http'\nurl = '{url}'\non = ['*']\nattempts = 1\n[actions.slow]\nkind = 'http'\nurl = '{closed}'\non = ['*:push']\n"
        )
    };
    let text = |url: &str| format!("poll_interval = '1h'\n{}{}[admin]\ntoken = 'none'\n", SOURCE, action(url));
    let hookbox = Home::with_config(&text(&closed)).with_admin().start();
    let admin = hookbox.admin_address();
    hookbox.deliver("issues", "d-1", "{}");
    hookbox.deliver("push", "d-2", "{}");
    let state = |id: i64| json(&admin.send(&get(&format!("/api/events/{id}"))))["status"].clone();
    wait_for("the first to fail", || (state(1) == "error").then_some(()));

    hookbox.reload(text(&open));
    // The poll interval is an hour: the worker is woken.
    let answer = json(&admin.send(&post("/api/events/1/replay")));
    assert_eq!((&answer["changed"], &answer["text"]), (&value!(true), &value!("team is queued, with all attempts")));
    wait_for("the first to succeed", || (state(1) == "processed").then_some(()));
    assert_eq!(status(&admin, &post("/api/events/1/cancel")), 409, "nothing is open");
    assert_eq!(status(&admin, &post("/api/events/1/replay?action=nobody")), 409);
    assert_eq!(status(&admin, &post("/api/events/99/replay")), 404);

    assert_eq!(state(2), "unprocessed");
    assert_eq!(json(&admin.send(&post("/api/events/2/cancel?action=slow")))["changed"], true);
    wait_for("the second to be given up", || (state(2) != "unprocessed").then_some(()));
}

#[test]
fn what_is_open_is_cancelled_by_a_filter() {
    let stub = Stub::http();
    let action = |name: &str| {
        format!("[actions.{name}]\nkind = 'http'\nurl = '{}'\non = ['*']\nbackoff = '1h'\n", stub.url("/"))
    };
    let config = format!("poll_interval = '1h'\n{SOURCE}{}{}", action("one"), action("two"));
    let hookbox = Home::with_config(&config).with_open_admin().start();
    let admin = hookbox.admin_address();
    stub.answer(Answer::Status(503));
    for n in 1..=4 {
        hookbox.deliver(if n % 2 == 0 { "push" } else { "issues" }, &format!("d-{n}"), "{}");
    }
    let waiting = "SELECT count(*) FROM jobs WHERE state = 'queued' AND outcome = 'retry'";
    wait_for("all to have failed", || (hookbox.query::<i64>(waiting) == [8]).then_some(()));
    let cancel = |query: &str| json(&admin.send(&post(&format!("/api/events/cancel?{query}"))));
    assert_eq!(cancel("event=push&action=one&before=4"), value!({ "cancelled": 1, "events": 1, "before": null }));
    assert_eq!(cancel("event=push"), value!({ "cancelled": 3, "events": 2, "before": null }));
    assert_eq!(cancel("event=push&action="), value!({ "cancelled": 0, "events": 0, "before": null }));
    assert_eq!(ids(&json(&admin.send(&get("/api/events?status=cancelled")))), [4, 2]);
    assert_eq!(hookbox.query::<i64>(waiting), [4]);
    for wrong in ["", "event=", "action=one", "event=push&nonsense=1"] {
        assert_eq!(status(&admin, &post(&format!("/api/events/cancel?{wrong}"))), 400, "{wrong}");
    }
    assert_eq!(status(&admin, &asking("POST", "/api/events/cancel?event=issues")), 403, "another page cannot");
    assert_eq!(hookbox.query::<i64>(waiting), [4]);
}

#[test]
fn what_failed_is_replayed_by_a_filter_and_what_was_not_done_is_said() {
    let stub = Stub::http();
    let action = format!("[actions.it]\nkind = 'http'\nurl = '{}'\non = ['*']\nbackoff = '1h'\n", stub.url("/"));
    let hookbox = Home::with_config(&format!("poll_interval = '1h'\n{SOURCE}{action}")).with_open_admin().start();
    let admin = hookbox.admin_address();
    stub.answer(Answer::Status(503));
    for n in 1..=3 {
        hookbox.deliver(if n == 2 { "push" } else { "issues" }, &format!("d-{n}"), r#"{"ref":"main"}"#);
    }
    let waiting = "SELECT count(*) FROM jobs WHERE state = 'queued' AND outcome = 'retry'";
    wait_for("all to have failed", || (hookbox.query::<i64>(waiting) == [3]).then_some(()));
    stub.answer(Answer::Status(200));
    let replay = |query: &str| json(&admin.send(&post(&format!("/api/events/replay?{query}"))));
    let done = replay("scope=failed&event=push");
    assert_eq!((&done["queued"], &done["before"]), (&value!(1), &Value::Null));
    assert_eq!(done["lines"], value!(["it: 1 job due now"]));
    wait_for("the second", || (stub.count() == 4).then_some(()));
    assert_eq!(replay("scope=failed&grep=MAIN&before=3")["queued"], 1);
    assert_eq!(replay("scope=failed")["queued"], 1);
    hookbox.wait_until_done();
    assert_eq!(replay("scope=failed")["text"], "queued 0 jobs of 0 events");
    let nothing = admin.send(&post("/api/events/1/replay"));
    assert_eq!((nothing.status, nothing.text()), (409, "it succeeded already\n".to_owned()));
    assert_eq!(json(&admin.send(&post("/api/events/1/replay?scope=again")))["text"], "it is done again");
    for wrong in ["scope=odd", "nonsense=1"] {
        assert_eq!(status(&admin, &post(&format!("/api/events/replay?{wrong}"))), 400, "{wrong}");
    }
    assert_eq!(status(&admin, &asking("POST", "/api/events/replay")), 403, "another page cannot");
    let found = json(&admin.send(&get("/api/events?grep=ref%22:%22MAIN")));
    assert_eq!((ids(&found), &found["searched_to"]), (vec![3, 2, 1], &Value::Null));
}

#[test]
fn an_action_is_paused_and_resumed() {
    let hookbox = Home::with_config(&format!("poll_interval = '1h'\n{}", SOURCE)).with_open_admin().start();
    let admin = hookbox.admin_address();
    assert_eq!(json(&admin.send(&post("/api/actions/log/pause")))["changed"], true);
    assert_eq!(json(&admin.send(&post("/api/actions/log/pause")))["changed"], false);
    assert_eq!(status(&admin, &post("/api/actions/nobody/pause")), 404);
    hookbox.deliver("push", "d-1", "{}");
    let stats = || json(&admin.send(&get("/api/stats")));
    let waiting = || stats()["stats"]["actions"][0].clone();
    wait_for("a job that waits", || (waiting()["pending"] == 1).then_some(()));
    assert_eq!(waiting()["paused"], true);
    assert_eq!(json(&admin.send(&post("/api/actions/log/resume")))["changed"], true);
    hookbox.wait_until_done();
}

#[test]
fn rejections_are_listed_with_their_reason_and_bounded() {
    let hookbox = started();
    let admin = hookbox.admin_address();
    let rejects = || json(&admin.send(&get("/api/stats")))["rejects"].as_array().unwrap().clone();
    hookbox.send(&Request::github("push", "d-1", "{}").signed_with("wrong"));
    hookbox.send(&Request::github("push", "d-2", "{}").signed_with("wrong"));
    hookbox.send(&Request::github("push", "d-3", "{}").target("/webhooks/gitub"));
    let told = rejects();
    let of_source = told.iter().find(|it| it["source"] == "github").unwrap();
    assert_eq!((&of_source["reason"], &of_source["count"]), (&value!("signature_wrong"), &value!(2)));
    assert_eq!(of_source["peer"], "127.0.0.1");
    assert!(of_source["text"].as_str().unwrap().contains("same secret on both sides"));
    let stray = told.iter().find(|it| it["source"].is_null()).unwrap();
    assert_eq!((&stray["path"], &stray["reason"]), (&value!("/webhooks/gitub"), &value!("no_such_source")));
    for n in 0..300 {
        hookbox.send(&Request::get(&format!("/scan-{n}")));
    }
    let told = rejects();
    assert!(told.len() <= 120, "{}", told.len());
    assert!(told.iter().any(|it| it["source"] == "github"), "a scanner drives out no reject of a source");
    assert_eq!(hookbox.stored(), 0);
    let hours = json(&admin.send(&get("/api/stats")))["hours"].as_array().unwrap().clone();
    let rejected: i64 = hours.iter().map(|hour| hour["rejected"].as_i64().unwrap()).sum();
    assert_eq!((hours.len(), rejected), (24, 303));
}

#[test]
fn stats_count_by_source_action_and_hour() {
    let hookbox = started();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    let stats = json(&hookbox.admin_address().send(&get("/api/stats")));
    assert_eq!(stats["health"], value!({"is_well": true, "line": "ok"}));
    let source = &stats["sources"][0];
    assert_eq!([&source["name"], &source["provider"], &source["verification"]], ["github", "GitHub", "signature"]);
    assert_eq!(stats["stats"]["sources"][0]["received"], 1);
    assert_eq!(stats["stats"]["sources"][0]["duplicates"], 1);
    assert_eq!(stats["stats"]["actions"][0]["succeeded"], 1);
    let last = stats["hours"].as_array().unwrap().last().unwrap().clone();
    assert!(last["received"] == 1 || stats["hours"][22]["received"] == 1, "an hour may have ended meanwhile: {last}");
}

#[test]
fn both_listeners_report_a_locked_database() {
    let hookbox = started();
    let admin = hookbox.admin_address();
    assert_eq!(admin.send(&get("/healthz")).text(), "ok\n");
    let holder = hookbox.lock_database();
    wait_for("what is wrong", || {
        let answer = admin.send(&get("/healthz"));
        (answer.status == 503 && answer.text() == "the database is locked by another program\n").then_some(())
    });
    let public = hookbox.send(&Request::get("/healthz"));
    assert_eq!((public.status, public.text()), (503, "the database is locked by another program\n".to_owned()));
    drop(holder);
    wait_for("all to be well", || (status(&admin, &get("/healthz")) == 200).then_some(()));
}

/// A delivery with values that would be dangerous as HTML, and a database row of another program with worse.
#[test]
fn hostile_values_are_returned_unchanged() {
    let hookbox = started();
    let body = "{\"<img src=x onerror=alert(1)>\": \"</script>\"}";
    hookbox.send(
        &Request::github("<script>", "\"><b>", body)
            .header("X-Evil", "<img>")
            .with("X-Hub-Signature-256", &sign_github(SECRET, body.as_bytes())),
    );
    hookbox.db().execute_batch(
        "INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status, headers_json)
         VALUES (x'ff00', x'fe', x'fd', 'no json', 'yesterday', 'processed', 'no json')",
    ).unwrap();
    let admin = hookbox.admin_address();
    for id in [1, 2] {
        let answer = admin.send(&get(&format!("/api/events/{id}")));
        assert_eq!(answer.header("Content-Type"), Some("application/json"), "{id}");
        json(&answer);
    }
    assert_eq!(ids(&json(&admin.send(&get("/api/events")))), [2, 1]);
    json(&admin.send(&get("/api/stats")));
}
