//! Retries and dead jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{JOB_DEADLINE, action, config, deliver_and_wait, job, shell, status, wait_for_attempts, wait_for_state};
use super::{done, with};
use crate::support::{Answer, Home, Request, Stub, wait_longer_for};

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
