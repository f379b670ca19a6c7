//! Retries, dead jobs, and `on_dead`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::{
    JOB_DEADLINE, action, config, deliver_and_wait, job, shell, show, status, wait_for_attempts, wait_for_state,
};
use super::{done, with};
use crate::support::{Answer, Home, Request, Stub, wait_for, wait_longer_for};

fn http(name: &str, stub: &Stub, keys: &str) -> String {
    action(name, "http", &format!("url = \"{}\"\n{keys}", stub.url("/")))
}

#[test]
fn a_job_is_retried_until_its_attempts_are_used_up_and_is_then_dead() {
    let stub = Stub::http();
    stub.answer(Answer::body(500, "no"));
    let hookbox = Home::with_config(&config(&http("it", &stub, "attempts = 4"))).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    let job = job(&hookbox, 1, "it");
    assert_eq!((job["state"].as_str(), status(&hookbox, 1).as_str()), (Some("dead"), "error"));
    let attempts = job["attempts"].as_array().unwrap();
    let numbers: Vec<_> = attempts.iter().map(|attempt| attempt["number"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    for attempt in attempts {
        assert_eq!(
            (&attempt["outcome"], &attempt["detail"]),
            (&"retry".into(), &"500 Internal Server Error no".into())
        );
        assert!(attempt["started_at"].as_str().unwrap().ends_with("+00:00") && attempt["duration_ms"].is_i64());
    }
    assert_eq!(stub.count(), 4);
    let text = done(&hookbox, "show 1");
    assert!(text.contains("action it: dead") && text.contains("attempt 4") && text.contains("500 Internal"), "{text}");
}

#[test]
fn a_failed_action_is_retried_without_repeating_the_one_that_succeeded() {
    let (good, bad) = (Stub::http(), Stub::http());
    let mut failures = 3;
    bad.answer_by(move |_| {
        failures -= 1;
        Answer::Status(if failures >= 0 { 503 } else { 200 })
    });
    let hookbox = Home::with_config(&config(&(http("good", &good, "") + &http("bad", &bad, "")))).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    assert_eq!((good.count(), bad.count()), (1, 4));
    assert_eq!(status(&hookbox, 1), "processed");
}

#[test]
fn a_thousand_events_are_each_done_once_although_one_destination_is_down_at_first() {
    let (up, down) = (Stub::http(), Stub::http());
    let is_down = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&is_down);
    down.answer_by(move |_| Answer::Status(if asked.load(Ordering::SeqCst) { 503 } else { 200 }));
    let keys = "attempts = 1000\nconcurrency = 2";
    // Retried less often than the others, so that most of the test's attempts succeed.
    let patient = http("down", &down, keys).replace("100ms", "3s");
    let hookbox = Home::with_config(&config(&(http("up", &up, keys) + &patient))).start();
    let mut connection = hookbox.connect();
    for n in 0..1000 {
        connection.send(&Request::github("push", &format!("d-{n}"), format!("{{\"n\":{n}}}")).bytes());
        assert_eq!(connection.response().status, 200);
    }
    let succeeded = |action: &str| {
        hookbox.query::<i64>(&format!("SELECT count(*) FROM jobs WHERE action = '{action}' AND state = 'succeeded'"))[0]
    };
    wait_longer_for("the one that is up", JOB_DEADLINE * 2, || (succeeded("up") == 1000).then_some(()));
    assert_eq!(succeeded("down"), 0);
    is_down.store(false, Ordering::SeqCst);
    wait_longer_for("the other one", JOB_DEADLINE * 3, || (succeeded("down") == 1000).then_some(()));
    hookbox.wait_until_done();
    assert_eq!(up.count(), 1000, "nothing was done twice");
    let once = "SELECT count(*) FROM (SELECT count(*) AS n FROM attempts WHERE outcome = 'success'
                GROUP BY event_id, action) WHERE n = 1";
    assert_eq!(hookbox.query::<i64>(once), [2000]);
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM webhook_events WHERE status = 'processed'"), [1000]);
}

/// The `on_dead` job of an action for the dead job of another.
fn on_dead_job(home: &Home, event: i64, action: &str, dead_action: &str) -> Value {
    let is_it = |job: &&Value| job["action"] == action && job["dead_action"] == dead_action;
    show(home, event)["jobs"].as_array().unwrap().iter().find(is_it).cloned().unwrap_or_default()
}

fn never(action: &str) -> String {
    action.replace("[\"*\"]", "[\"nobody:never\"]")
}

#[test]
fn on_dead_runs_once_and_names_the_action_and_the_error() {
    let (bad, slack) = (Stub::http(), Stub::http());
    bad.answer(Answer::body(500, "<disk> full"));
    let team = never(&action("team", "slack", &format!("url = \"{}\"", slack.url("/"))));
    let hookbox = Home::with_config(&config(&(http("it", &bad, "attempts = 2\non_dead = \"team\"") + &team))).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    let text = slack.first().json()["text"].as_str().unwrap().to_owned();
    let expected = "Action *it* failed for event 1 (push from github): 500 Internal Server Error &lt;disk&gt; full";
    assert_eq!(text, expected);
    wait_for("the record", || (on_dead_job(&hookbox, 1, "team", "it")["state"] == "succeeded").then_some(()));
    assert_eq!((slack.count(), status(&hookbox, 1).as_str()), (1, "error"));
    assert!(done(&hookbox, "show 1").contains("action team (reports it): succeeded"));
    // When it is dead again, `on_dead` runs again.
    done(&hookbox, "replay 1");
    wait_for_attempts(&hookbox, 1, "it", 4);
    slack.wait_for(2);
}

#[test]
fn an_on_dead_command_gets_the_action_and_the_error() {
    // It has no `on`: it is for nothing else.
    let tells = action("tell", "command", &shell("env > told; cat > body")).replace("on = [\"*\"]\n", "");
    let dies =
        action("it", "command", &format!("{}\nattempts = 1\non_dead = \"tell\"", shell("echo no space; exit 1")));
    let hookbox = Home::with_config(&config(&(tells + &dies))).start();
    hookbox.deliver("push", "d-1", r#"{"a":1}"#);
    wait_for("the on_dead job", || (on_dead_job(&hookbox, 1, "tell", "it")["state"] == "succeeded").then_some(()));
    let told = std::fs::read_to_string(hookbox.path("told")).unwrap();
    assert!(told.contains("HOOKBOX_DEAD_ACTION=it\n") && told.contains("HOOKBOX_ERROR=exit 1 no space\n"), "{told}");
    assert_eq!(std::fs::read_to_string(hookbox.path("body")).unwrap(), r#"{"a":1}"#);
}

#[test]
fn an_on_dead_request_can_contain_the_action_and_the_error() {
    let stub = Stub::http();
    let body = "body = \"{{ dead_action }}: {{ error }} at {{ payload.a }}\"";
    let tells = never(&http("tell", &stub, body));
    let dies = action("it", "command", &format!("{}\nattempts = 1\non_dead = \"tell\"", shell("exit 7")));
    let hookbox = Home::with_config(&config(&(tells + &dies))).start();
    hookbox.deliver("push", "d-1", r#"{"a":1}"#);
    let received = stub.first();
    assert_eq!(received.text(), "it: exit 7 at 1");
    assert_eq!(received.header("Hookbox-Dead-Action"), Some("it"));
}

#[test]
fn every_template_of_an_on_dead_action_sees_the_action_and_the_error() {
    let stub = Stub::http();
    let said = "{{ dead_action }}-{{ error | replace(' ', '_') }}";
    let keys = |path: &str| format!("url = \"{}{path}\"", stub.url("/"));
    let http =
        action("http", "http", &keys(&format!("{said}\"\nheaders = {{ X-Said = \"{said}\" }}\nbody = \"{said}")));
    let slack = action("slack", "slack", &format!("{}\ntext = \"{said}\"\nblocks = '''[\"{said}\"]'''", keys("slack")));
    let command = action("command", "command", &format!("run = [\"sh\", \"-c\", 'echo \"$0\" > said', \"{said}\"]"));
    // None has an `on`: they are for nothing else.
    let tell = [http, slack, command].concat().replace("on = [\"*\"]\n", "");
    let dies = |told: &str| {
        let keys = format!("{}\nattempts = 1\non_dead = \"{told}\"", shell("exit 7"));
        action(&format!("of-{told}"), "command", &keys)
    };
    let config = config(&(tell + &dies("http") + &dies("slack") + &dies("command")));
    let hookbox = Home::with_config(&config).start();
    hookbox.deliver("push", "d-1", "{}");
    for told in ["http", "slack", "command"] {
        let of = format!("of-{told}");
        wait_for(told, || (on_dead_job(&hookbox, 1, told, &of)["state"] == "succeeded").then_some(()));
    }
    assert_eq!(std::fs::read_to_string(hookbox.path("said")).unwrap(), "of-command-exit_7\n");
    stub.wait_for(2);
    let received = stub.received();
    let slack = received.iter().find(|request| request.target == "/slack").unwrap();
    assert_eq!(slack.json(), serde_json::json!({ "text": "of-slack-exit_7", "blocks": ["of-slack-exit_7"] }));
    let http = received.iter().find(|request| request.target == "/of-http-exit_7").unwrap();
    assert_eq!((http.header("X-Said"), http.text()), (Some("of-http-exit_7"), "of-http-exit_7".to_owned()));
}

#[test]
fn an_on_dead_message_is_sent_without_the_blocks_for_events() {
    let (bad, slack) = (Stub::http(), Stub::http());
    bad.answer(Answer::Status(404));
    let blocks = "text = \"{{ payload.title }}\"\nblocks = '[{\"type\": \"divider\"}]'";
    let team = never(&action("team", "slack", &format!("url = \"{}\"\n{blocks}", slack.url("/"))));
    let hookbox = Home::with_config(&config(&(http("it", &bad, "on_dead = \"team\"") + &team))).start();
    hookbox.deliver("push", "d-1", r#"{"title":"all is well"}"#);
    let told = slack.first().json();
    assert_eq!(told["blocks"], serde_json::Value::Null);
    assert!(told["text"].as_str().unwrap().starts_with("Action *it* failed for event 1 "), "{told}");
}

#[test]
fn a_dead_on_dead_job_has_no_on_dead_and_leaves_the_status_alone() {
    let (bad, slack) = (Stub::http(), Stub::http());
    bad.answer(Answer::Status(404));
    slack.answer(Answer::Status(404));
    // Each would run for the other forever.
    let it = http("it", &bad, "on_dead = \"team\"");
    let team = never(&action("team", "slack", &format!("url = \"{}\"\non_dead = \"it\"", slack.url("/"))));
    let good = action("good", "command", &shell("echo >> ran"));
    let hookbox = Home::with_config(&config(&(it + &team + &good))).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    wait_for("the on_dead job to be dead", || {
        (on_dead_job(&hookbox, 1, "team", "it")["state"] == "dead").then_some(())
    });
    assert_eq!((bad.count(), slack.count()), (1, 1));
    assert_eq!(show(&hookbox, 1)["jobs"].as_array().unwrap().len(), 3);
    bad.answer(Answer::Status(200));
    done(&hookbox, "replay --status error");
    wait_for("the event to be processed", || (status(&hookbox, 1) == "processed").then_some(()));
    // The dead `on_dead` job is no error of the event, whose replay would repeat a success.
    assert_eq!(done(&hookbox, "replay --status error"), "queued 0 events\n");
    assert_eq!(std::fs::read_to_string(hookbox.path("ran")).unwrap(), "\n");
}

#[test]
fn an_event_is_in_error_at_once_while_its_on_dead_job_waits() {
    let (bad, slack) = (Stub::http(), Stub::http());
    bad.answer(Answer::Status(404));
    slack.answer(Answer::Status(503));
    let team = never(&action("team", "slack", &format!("url = \"{}\"\nattempts = 1000", slack.url("/"))));
    let hookbox = Home::with_config(&config(&(http("it", &bad, "on_dead = \"team\"") + &team))).start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for("the event to be in error", || (status(&hookbox, 1) == "error").then_some(()));
    slack.wait_for(3);
    slack.answer(Answer::Status(200));
    wait_for("the on_dead job", || (on_dead_job(&hookbox, 1, "team", "it")["state"] == "succeeded").then_some(()));
}

#[test]
fn a_redelivery_of_an_event_in_error_queues_its_dead_jobs_and_nothing_else() {
    let (good, bad) = (Stub::http(), Stub::http());
    bad.answer(Answer::Status(404));
    let hookbox = Home::with_config(&config(&(http("good", &good, "") + &http("bad", &bad, "")))).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    bad.answer(Answer::Status(200));
    hookbox.deliver("push", "d-1", "{}");
    wait_for_state(&hookbox, 1, "bad", "succeeded");
    assert_eq!((good.count(), bad.count(), hookbox.stored()), (1, 2, 1));
    // Now that it is processed, a redelivery is a duplicate and no more.
    hookbox.deliver("push", "d-1", "{}");
    hookbox.deliver("push", "d-2", "{}");
    let second = hookbox.query::<i64>("SELECT max(id) FROM webhook_events")[0];
    wait_for_state(&hookbox, second, "bad", "succeeded");
    assert_eq!((good.count(), bad.count()), (2, 3));
}

#[test]
fn a_replayed_job_gets_all_its_attempts_again_and_their_numbers_continue() {
    let hookbox = with("command", &format!("{}\nattempts = 2", shell("exit 1"))).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    done(&hookbox, "replay 1");
    let attempts = wait_for_attempts(&hookbox, 1, "it", 4);
    wait_for_state(&hookbox, 1, "it", "dead");
    assert_eq!(attempts.iter().map(|attempt| attempt["number"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
}
