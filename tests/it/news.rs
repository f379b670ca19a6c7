//! hookbox's own news: events of the source `hookbox`, stored where an action names them.

mod observed;
mod on_dead;

use serde_json::{Value, json};

use crate::actions::{action, config, done, shell, show, status, wait_for_state};
use crate::support::{Answer, Home, Hookbox, Request, Stub, wait_for, wait_longer_for};

/// The observer looks every ten seconds.
const OBSERVER_DEADLINE: std::time::Duration = std::time::Duration::from_secs(100);

/// An `http` action for these events.
fn http(name: &str, stub: &Stub, on: &str, keys: &str) -> String {
    action(name, "http", &format!("url = \"{}\"\n{keys}", stub.url("/"))).replace("[\"*\"]", on)
}

/// The stored news of this kind: the payloads, in the order of their ids.
fn news(home: &Home, kind: &str) -> Vec<Value> {
    let sql = format!(
        "SELECT payload_json FROM webhook_events WHERE source = 'hookbox' AND event_type = '{kind}' ORDER BY id"
    );
    home.query::<String>(&sql).iter().map(|payload| serde_json::from_str(payload).unwrap()).collect()
}

#[track_caller]
fn wait_for_news(home: &Home, kind: &str, count: usize) -> Vec<Value> {
    wait_longer_for(&format!("{count} events {kind}"), OBSERVER_DEADLINE, || {
        Some(news(home, kind)).filter(|news| news.len() >= count)
    })
}

fn action_stats(home: &Home, name: &str) -> Value {
    let stats = home.run(["stats", "--json"]).ok().json();
    stats["actions"].as_array().unwrap().iter().find(|action| action["action"] == name).cloned().unwrap_or_default()
}

/// A stub that answers 500 until it is set to another answer, and one that takes the news.
fn failing() -> (Stub, Stub) {
    let (bad, team) = (Stub::http(), Stub::http());
    bad.answer(Answer::body(500, "<disk> full"));
    (bad, team)
}

#[test]
fn a_dead_job_is_an_event_with_the_action_the_error_and_the_event() {
    let (bad, team) = failing();
    let it = http("it", &bad, "[\"*\"]", "attempts = 2");
    let tell = http("tell", &team, "[\"hookbox:job.dead\"]", "when = \"payload.action == 'it'\"");
    let hookbox = Home::with_config(&config(&(it + &tell))).start();
    hookbox.deliver("push", "d-1", "{}");
    let told = team.first().json();
    let event = json!({ "id": 1, "source": "github", "type": "push", "delivery_id": "d-1" });
    assert_eq!(
        told,
        json!({ "action": "it", "error": "500 Internal Server Error <disk> full", "attempts": 2, "count": 1,
                "first_id": 1, "last_id": 1, "event": event })
    );
    hookbox.wait_until_done();
    assert_eq!((status(&hookbox, 1).as_str(), status(&hookbox, 2).as_str()), ("error", "processed"));
    // It is listed as all others, and was not received.
    assert!(done(&hookbox, "list --source hookbox").contains("job.dead"));
    assert!(!done(&hookbox, "stats").contains("not configured"));
    assert_eq!(hookbox.run(["stats", "--json"]).ok().json()["received"], 1);
    // When it is dead again, that is news again.
    done(&hookbox, "replay 1");
    team.wait_for(2);
}

#[test]
fn slack_has_a_text_for_a_dead_job_and_for_other_news() {
    let (bad, team) = failing();
    let it = http("it", &bad, "[\"*\"]", "attempts = 1000");
    let dies = action("dies", "command", &format!("{}\nattempts = 1", shell("echo '<no> space'; exit 1")));
    let slack = action("slack", "slack", &format!("url = \"{}\"", team.url("/"))).replace("[\"*\"]", "[\"hookbox:*\"]");
    let hookbox = Home::with_config(&config(&(it + &dies + &slack))).start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for_news(&hookbox, "action.failing", 1);
    bad.answer(Answer::Status(200));
    wait_for_news(&hookbox, "action.recovered", 1);
    let texts = || team.received().iter().map(|it| it.json()["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let texts = wait_for("three messages", || Some(texts()).filter(|texts| texts.len() == 3));
    let has = |begin: &str, end: &str| texts.iter().any(|text| text.starts_with(begin) && text.contains(end));
    let dead = "Action *dies* failed for event 1 (push from github): exit 1 &lt;no&gt; space";
    assert!(has(dead, ""), "{texts:?}");
    let failing = ": 500 Internal Server Error &lt;disk&gt; full";
    assert!(has("Action *it* has failed since 20", failing), "{texts:?}");
    assert!(has("Action *it* works again: it failed since 20", ""), "{texts:?}");
}

#[test]
fn a_star_does_not_match_news_and_what_no_action_names_is_not_stored() {
    let (bad, team) = failing();
    let it = http("it", &bad, "[\"*\"]", "attempts = 1");
    let all = http("all", &team, "[\"*\", \"*:job.dead\", \"hookbox:disk.low\"]", "");
    let hookbox = Home::with_config(&config(&(it + &all))).start();
    for n in 0..4 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    hookbox.wait_until_done();
    assert_eq!((hookbox.stored(), team.count()), (4, 4));
    let request = Request::github("push", "d-9", "{}").target("/webhooks/hookbox");
    assert_eq!(hookbox.send(&request).status, 404);
    Home::with_config("[sources.hookbox]\nverify = \"none\"")
        .run(["check"])
        .refused(2, &["sources.hookbox", "choose another"]);
}

#[test]
fn a_job_of_news_makes_no_further_news() {
    let (bad, team) = failing();
    team.answer(Answer::Status(500));
    let it = http("it", &bad, "[\"*\"]", "attempts = 1");
    let tell = http("tell", &team, "[\"hookbox:*\"]", "attempts = 4");
    let hookbox = Home::with_config(&config(&(it + &tell))).start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for_news(&hookbox, "job.dead", 1);
    wait_for_state(&hookbox, 2, "tell", "dead");
    hookbox.wait_until_done();
    assert_eq!((hookbox.stored(), team.count()), (2, 4));
    assert_eq!(status(&hookbox, 2), "error");
}

#[test]
fn a_flood_of_dead_jobs_is_ten_events_and_one_with_their_number() {
    let (bad, team) = failing();
    let it = http("it", &bad, "[\"*\"]", "attempts = 1");
    let tell = http("tell", &team, "[\"hookbox:job.dead\"]", "");
    let hookbox = Home::with_config(&config(&(it + &tell))).start();
    for n in 0..25 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    hookbox.wait_until_done();
    assert_eq!(news(&hookbox, "job.dead").len(), 10);
    // As if the minute were over.
    hookbox.db().execute_batch("UPDATE deaths SET since_ms = since_ms - 60000").unwrap();
    let news = wait_for_news(&hookbox, "job.dead", 11);
    let last = &news[10];
    let ids = hookbox.query::<i64>("SELECT id FROM webhook_events WHERE source = 'github' ORDER BY id");
    assert_eq!((&last["action"], &last["count"], &last["attempts"]), (&json!("it"), &json!(15), &json!(1)));
    assert_eq!((&last["first_id"], &last["last_id"]), (&json!(ids[10]), &json!(ids[24])));
    assert_eq!((&last["event"]["id"], &last["event"]["delivery_id"]), (&json!(ids[24]), &json!("d-24")));
    hookbox.wait_until_done();
    assert_eq!(team.count(), 11);
}

/// An action whose destination is down, and one that takes the news.
fn down(keys: &str) -> (Stub, Stub, Hookbox) {
    let (bad, team) = failing();
    let it = http("it", &bad, "[\"*\"]", keys);
    let tell = http("tell", &team, "[\"hookbox:action.failing\", \"hookbox:action.recovered\"]", "");
    let hookbox = Home::with_config(&config(&(it + &tell))).with_open_admin().start();
    (bad, team, hookbox)
}

#[test]
fn an_action_that_fails_is_seen_at_once_and_everywhere() {
    // The retry is far away.
    let (bad, _team, hookbox) = down("attempts = 1000");
    let far = std::fs::read_to_string(hookbox.path("hookbox.toml")).unwrap().replacen(
        "100ms\"\nbackoff_max = \"100ms",
        "1h\"\nbackoff_max = \"1h",
        1,
    );
    hookbox.reload(far);
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_for_stderr("WARN  action it has begun to fail: 500 Internal Server Error <disk> full");
    hookbox.deliver("push", "d-2", "{}");
    bad.wait_for(2);
    let failing = wait_for("the state", || {
        Some(action_stats(&hookbox, "it")).filter(|it| it["failing"]["next_attempt_at"].is_string())
    });
    assert_eq!(failing["failing"]["error"], "500 Internal Server Error <disk> full");
    assert!(failing["failing"]["since"].as_str().unwrap().starts_with("20"), "{failing}");
    assert!(
        failing["pending"] == 2 && failing["failing"]["next_attempt_at"].as_str().unwrap().starts_with("20"),
        "{failing}"
    );
    let text = done(&hookbox, "stats");
    assert!(text.contains("it (has failed since 20") && text.contains("tried again"), "{text}");
    let doctor = hookbox.run(["doctor"]).text();
    let line = doctor.lines().find(|line| line.contains("jobs of it")).unwrap_or_else(|| panic!("{doctor}"));
    for part in ["warn", "has failed since", "500 Internal Server Error <disk> full", "tried again", "2 jobs wait"] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    let metrics = metrics(&hookbox);
    assert!(!metrics.contains("hookbox_action_failing_seconds{action=\"it\"} 0\n"), "{metrics}");
    assert!(metrics.contains("hookbox_action_failing_seconds{action=\"tell\"} 0\n"), "{metrics}");
    assert!(metrics.contains("hookbox_action_next_attempt_seconds{action=\"it\"} "), "{metrics}");
    // What waits is tried by a person.
    bad.answer(Answer::Status(200));
    hookbox.db().execute_batch("UPDATE jobs SET due_at_ms = 0 WHERE state = 'queued'").unwrap();
    hookbox.wait_for_stderr("INFO  action it works again: it failed since 20");
    hookbox.wait_until_done();
    assert_eq!(action_stats(&hookbox, "it")["failing"], Value::Null);
    let stderr = hookbox.stderr();
    assert_eq!((stderr.matches("begun to fail").count(), stderr.matches("works again").count()), (1, 1), "{stderr}");
}

fn metrics(hookbox: &Hookbox) -> String {
    hookbox.admin_address().send(&Request::get("/metrics").with("Host", "localhost")).text()
}

#[test]
fn three_failures_in_a_row_are_news_and_so_is_the_end_each_once() {
    let (bad, team, hookbox) = down("attempts = 1000");
    hookbox.deliver("push", "d-1", "{}");
    bad.wait_for(10);
    let told = team.first().json();
    assert_eq!((&told["action"], &told["failures"], &told["waiting"]), (&json!("it"), &json!(3), &json!(1)));
    assert_eq!(told["error"], "500 Internal Server Error <disk> full");
    assert!(told["next_attempt_at"].as_str().unwrap().starts_with("20"), "{told}");
    // A restart begins nothing again.
    let (home, _) = hookbox.stop();
    let hookbox = home.start();
    bad.wait_for(20);
    assert!(!hookbox.stderr().contains("begun to fail"), "{}", hookbox.stderr());
    bad.answer(Answer::Status(200));
    hookbox.wait_until_done();
    assert_eq!(news(&hookbox, "action.failing").len(), 1);
    let recovered = news(&hookbox, "action.recovered");
    assert_eq!((recovered.len(), &recovered[0]["action"]), (1, &json!("it")));
    assert_eq!(recovered[0]["since"], told["since"]);
    // The next time is another one.
    bad.answer(Answer::Status(500));
    hookbox.deliver("push", "d-2", "{}");
    wait_for_news(&hookbox, "action.failing", 2);
}

#[test]
fn failures_with_a_success_between_them_are_no_news() {
    let (bad, team) = failing();
    bad.answer_by(|request| Answer::Status(if request.text().contains("poison") { 500 } else { 200 }));
    let it = http("it", &bad, "[\"*\"]", "attempts = 6");
    let tell = http("tell", &team, "[\"hookbox:action.failing\", \"hookbox:action.recovered\"]", "");
    let hookbox = Home::with_config(
        &config(&(it + &tell))
            .replace("backoff = \"100ms\"", "backoff = \"2s\"")
            .replace("backoff_max = \"100ms\"", "backoff_max = \"2s\""),
    )
    .start();
    hookbox.deliver("push", "d-0", "{\"poison\":1}");
    for n in 1..40 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    wait_for_state(&hookbox, 1, "it", "dead");
    hookbox.wait_until_done();
    let stderr = hookbox.stderr();
    assert_eq!((stderr.matches("begun to fail").count(), news(&hookbox, "action.failing").len()), (1, 0), "{stderr}");
}

#[test]
fn an_action_that_has_failed_for_five_minutes_is_news_although_it_was_tried_once() {
    let (bad, team, hookbox) = down("attempts = 1000");
    let far = std::fs::read_to_string(hookbox.path("hookbox.toml")).unwrap().replacen(
        "100ms\"\nbackoff_max = \"100ms",
        "1h\"\nbackoff_max = \"1h",
        1,
    );
    hookbox.reload(far);
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_for_stderr("begun to fail");
    assert_eq!(bad.count(), 1);
    hookbox.db().execute_batch("UPDATE troubles SET since_ms = since_ms - 300000").unwrap();
    wait_for_news(&hookbox, "action.failing", 1);
    let told = team.first().json();
    assert_eq!((&told["failures"], &told["waiting"]), (&json!(1), &json!(1)));
    assert_eq!(show(&hookbox, 1)["status"], "unprocessed");
}

#[test]
fn a_destination_that_asks_for_a_moment_does_not_fail() {
    let (bad, _team) = failing();
    let it = http("it", &bad, "[\"*\"]", "attempts = 1").replace("backoff_max = \"100ms\"", "backoff_max = \"1h\"");
    let hookbox = Home::with_config(&config(&it)).start();
    let mut busy = 3;
    bad.answer_by(move |_| {
        busy -= 1;
        if busy >= 0 { Answer::header(429, "Retry-After", "0") } else { Answer::Status(200) }
    });
    hookbox.deliver("push", "d-1", "{}");
    wait_for_state(&hookbox, 1, "it", "succeeded");
    assert!(!hookbox.stderr().contains("begun to fail"), "{}", hookbox.stderr());
}
