//! What others do to a job while its attempt is under way, of which only the process knows: on the disk the job is queued.

use std::sync::mpsc::Sender;

use serde_json::Value;

use super::{done, job, listed, status, wait_for_attempts, wait_for_state, with};
use crate::support::{Answer, Home, Hookbox, Request, Stub, closed_port, wait_for};

/// An attempt that ends with `answer` when the sender sends. All later requests succeed.
fn under_way(stub: &Stub, answer: Answer) -> (Hookbox, Sender<()>) {
    let told = stub.answer_when_told(answer, Answer::Status(200));
    let hookbox = with("http", &format!("url = \"{}\"\nattempts = 3", stub.url("/"))).with_open_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    stub.wait_for(1);
    assert_eq!(hookbox.query::<String>("SELECT state FROM jobs"), ["queued"]);
    (hookbox, told)
}

fn by_the_page(hookbox: &Hookbox) {
    let request = Request::new("POST", "/api/events/1/cancel").with("Host", "localhost").header("X-Hookbox", "1");
    let answer = hookbox.admin_address().send(&request);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn by_the_command(hookbox: &Hookbox) {
    done(hookbox, "cancel 1");
}

fn by_another_program(hookbox: &Hookbox) {
    set_status(hookbox, "processed");
}

fn set_status(home: &Home, status: &str) {
    home.db().execute("UPDATE webhook_events SET status = ?1 WHERE id = 1", [status]).unwrap();
}

#[test]
fn what_is_under_way_in_memory_is_shown_as_running() {
    let (stub, port) = (Stub::http(), closed_port());
    let told = stub.answer_when_told(Answer::Status(200), Answer::Status(200));
    let home = with("http", &format!("url = \"{}\"\n[admin]\nlisten = \"127.0.0.1:{port}\"", stub.url("/")));
    let hookbox = home.admin(None).start();
    hookbox.deliver("push", "d-1", "{}");
    stub.wait_for(1);
    hookbox.deliver("push", "d-2", "{}");
    let lock = hookbox.lock_database();
    let text = done(&hookbox, "show 1");
    let line = text.lines().find(|line| line.starts_with("action it: "));
    assert!(line.is_some_and(|line| line.starts_with("action it: running for ") && line.ends_with(" s")), "{text}");
    assert!(done(&hookbox, "show 2").contains("action it: queued\n"));
    let is_running = |text: &Value| text.as_str().is_some_and(|text| text.contains("running for "));
    let shown = job(&hookbox, 1, "it");
    assert!(shown["state"] == "running" && is_running(&shown["text"]), "{shown}");
    let list = done(&hookbox, "list");
    let notes: Vec<bool> = list.lines().skip(1).map(|line| line.contains("  it: running for ")).collect();
    assert_eq!(notes, [true, false], "{list}");
    drop(lock);
    let token = std::fs::read_to_string(hookbox.path("webhooks.db.token")).unwrap();
    let api = |path: &str| -> Value {
        let request = Request::get(path).with("Host", "localhost");
        let request = request.header("Authorization", &format!("Bearer {}", token.trim()));
        let answer = hookbox.admin_address().send(&request);
        serde_json::from_str(&answer.text()).unwrap()
    };
    let event = api("/api/events/1");
    assert!(event["jobs"][0]["state"] == "running" && is_running(&event["jobs"][0]["text"]), "{event}");
    let events = api("/api/events");
    assert!(events["events"][0]["note"].is_null() && is_running(&events["events"][1]["note"]), "{events}");
    let home = hookbox.kill9();
    drop(told);
    assert!(done(&home, "show 1").contains("action it: queued\n"));
    assert!(!listed(&home).1.contains("running"));
}

#[test]
fn what_a_crash_has_broken_off_is_not_shown_as_running() {
    let hookbox = with("command", "run = [\"sleep\", \"60\"]").start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for_state(&hookbox, 1, "it", "running");
    assert!(done(&hookbox, "show 1").contains("action it: running for "));
    let home = hookbox.kill9();
    let text = done(&home, "show 1");
    assert!(text.contains("action it: broken off when hookbox ended: hookbox serve tries it again\n"), "{text}");
    assert!(listed(&home).1.ends_with("  it: broken off"));
}

#[test]
fn a_job_that_is_cancelled_during_its_attempt_stays_cancelled_and_the_attempt_is_on_record() {
    for cancel in [by_the_page, by_the_command, by_another_program] {
        for (answer, outcome) in [(200, "success"), (503, "retry"), (400, "give_up")] {
            let stub = Stub::http();
            let (hookbox, told) = under_way(&stub, Answer::Status(answer));
            cancel(&hookbox);
            told.send(()).unwrap();
            let attempts = wait_for_attempts(&hookbox, 1, "it", 1);
            assert_eq!((&attempts[0]["number"], &attempts[0]["outcome"]), (&1.into(), &outcome.into()));
            assert_eq!(job(&hookbox, 1, "it")["state"], "cancelled", "{outcome}");
            let statuses = hookbox.query::<String>("SELECT status FROM webhook_events");
            assert_eq!(statuses, ["processed"], "{outcome}");
            drop(told);
            hookbox.deliver("push", "d-2", "{}");
            wait_for_state(&hookbox, 2, "it", "succeeded");
            assert_eq!(stub.count(), 2, "{outcome}: it is not tried again");
        }
    }
}

#[test]
fn a_replay_during_an_attempt_does_not_repeat_it() {
    let stub = Stub::http();
    let (hookbox, told) = under_way(&stub, Answer::Status(200));
    hookbox.run(["replay", "1"]).ok();
    drop(told);
    wait_for_state(&hookbox, 1, "it", "succeeded");
    hookbox.deliver("push", "d-2", "{}");
    wait_for_state(&hookbox, 2, "it", "succeeded");
    assert_eq!(stub.count(), 2);
    assert_eq!(hookbox.query::<i64>("SELECT attempts FROM jobs WHERE event_id = 1"), [1]);
}

#[test]
fn a_replay_of_a_job_that_was_cancelled_during_its_attempt_is_done_by_that_attempt() {
    let stub = Stub::http();
    let (hookbox, told) = under_way(&stub, Answer::Status(503));
    by_the_command(&hookbox);
    hookbox.run(["replay", "1"]).ok();
    drop(told);
    wait_for_state(&hookbox, 1, "it", "succeeded");
    assert_eq!(status(&hookbox, 1), "processed");
    assert_eq!(stub.count(), 1);
}

#[test]
fn an_event_that_another_program_sets_back_during_an_attempt_is_done_again() {
    let stub = Stub::http();
    let (hookbox, told) = under_way(&stub, Answer::Status(200));
    set_status(&hookbox, "processed");
    set_status(&hookbox, "unprocessed");
    // The router may see that before or after the attempt ends.
    let queued = "SELECT count(*) FROM jobs WHERE state = 'queued'";
    wait_for("the router", || (hookbox.query::<i64>(queued) == [1]).then_some(()));
    drop(told);
    wait_for("another request", || (stub.count() == 2).then_some(()));
    hookbox.wait_until_done();
    assert_eq!(hookbox.query::<i64>("SELECT number FROM attempts ORDER BY number"), [1, 2]);
    let requests = stub.received();
    let keys = requests.iter().map(|request| request.header("Idempotency-Key").unwrap());
    assert_eq!(keys.collect::<std::collections::HashSet<_>>().len(), 2, "the destination sees that it is meant");
}

#[test]
fn an_event_that_is_deleted_during_an_attempt_leaves_no_claim() {
    let stub = Stub::http();
    let (hookbox, told) = under_way(&stub, Answer::Status(200));
    hookbox.db().execute("DELETE FROM webhook_events", []).unwrap();
    drop(told);
    hookbox.deliver("push", "d-2", "{}");
    wait_for_state(&hookbox, 2, "it", "succeeded");
    assert_eq!(hookbox.query::<i64>("SELECT event_id FROM attempts"), [2]);
}

#[test]
fn a_command_that_is_cancelled_and_replayed_during_its_attempt_does_not_run_twice_at_once() {
    let script = "echo begun >> begun-$0; mkdir busy-$0 || echo twice > twice
        until [ -e go ]; do sleep 0.05; done; rmdir busy-$0";
    let run = format!("run = [\"sh\", \"-c\", '''{script}''', \"{{{{ payload.n }}}}\"]\nconcurrency = 3");
    let hookbox = with("command", &run).start();
    let begun = |n: u32| std::fs::read_to_string(hookbox.path(&format!("begun-{n}"))).unwrap_or_default();
    let wait_until_begun = |n, what| wait_for(what, || (!begun(n).is_empty()).then_some(()));
    hookbox.deliver("push", "d-1", r#"{"n":1}"#);
    wait_until_begun(1, "the first attempt");
    by_the_command(&hookbox);
    hookbox.run(["replay", "1"]).ok();
    // Its job is due later than that of the replay.
    hookbox.deliver("push", "d-2", r#"{"n":2}"#);
    wait_until_begun(2, "the command of the other event");
    std::fs::write(hookbox.path("go"), "").unwrap();
    wait_for_state(&hookbox, 1, "it", "succeeded");
    wait_for_state(&hookbox, 2, "it", "succeeded");
    assert!(!hookbox.path("twice").exists(), "it ran twice at once");
    assert_eq!(begun(1).lines().count(), 2, "it is done again after the attempt that was cancelled");
}
