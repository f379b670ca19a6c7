//! `kill -9` at every point of a job's life: none lost, none stuck, none that succeeded done again.

use std::collections::HashMap;
use std::time::Duration;

use super::{done, job, shell, wait_for_state, with};
use crate::support::{Answer, Home, Stub, wait_for};

fn to(stub: &Stub) -> Home {
    with("http", &format!("url = \"{}\"\nattempts = 3", stub.url("/")))
}

#[test]
fn before_the_claim_the_job_is_there_afterwards() {
    let stub = Stub::http();
    let hookbox = to(&stub).start();
    done(&hookbox, "pause it");
    hookbox.deliver("push", "d-1", "{}");
    wait_for_state(&hookbox, 1, "it", "queued");
    let hookbox = hookbox.kill9().start();
    done(&hookbox, "resume it");
    wait_for_state(&hookbox, 1, "it", "succeeded");
    assert_eq!(stub.count(), 1);
}

#[test]
fn while_it_runs_the_job_runs_again_afterwards() {
    let stub = Stub::http();
    stub.answer(Answer::Hang);
    let hookbox = to(&stub).start();
    hookbox.deliver("push", "d-1", "{}");
    stub.wait_for(1);
    let home = hookbox.kill9();
    assert_eq!(job(&home, 1, "it")["state"], "running");
    stub.answer(Answer::Status(200));
    let hookbox = home.start();
    wait_for_state(&hookbox, 1, "it", "succeeded");
    let keys: Vec<_> =
        stub.received().iter().map(|request| request.header("Idempotency-Key").map(str::to_owned)).collect();
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]), "the destination can tell");
}

#[test]
fn between_the_success_and_its_record_the_job_runs_again_and_is_not_stuck() {
    let stub = Stub::http();
    let (answer, may_answer) = std::sync::mpsc::channel();
    stub.answer_by(move |_| may_answer.recv().map_or(Answer::Close, |()| Answer::Status(200)));
    let hookbox = to(&stub).start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for_state(&hookbox, 1, "it", "running");
    // Another program holds the lock, so the success cannot be recorded.
    let db = hookbox.db();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    answer.send(()).unwrap();
    hookbox.wait_for_stderr("outcomes cannot be recorded yet");
    let home = hookbox.kill9();
    db.execute_batch("ROLLBACK").unwrap();
    answer.send(()).unwrap();
    let hookbox = home.start();
    wait_for_state(&hookbox, 1, "it", "succeeded");
    assert_eq!(stub.count(), 2);
}

#[test]
fn an_outcome_that_cannot_be_recorded_for_a_while_is_recorded_then() {
    let stub = Stub::http();
    let (answer, may_answer) = std::sync::mpsc::channel();
    stub.answer_by(move |_| may_answer.recv().map_or(Answer::Close, |()| Answer::Status(200)));
    let hookbox = to(&stub).start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for_state(&hookbox, 1, "it", "running");
    let db = hookbox.db();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    answer.send(()).unwrap();
    hookbox.wait_for_stderr("outcomes cannot be recorded yet");
    // A reload in this moment must not leave the job running for ever.
    hookbox.signal(crate::support::Signal::HUP);
    hookbox.wait_for_stderr("configuration reloaded");
    std::thread::sleep(Duration::from_millis(500));
    db.execute_batch("ROLLBACK").unwrap();
    wait_for_state(&hookbox, 1, "it", "succeeded");
    assert_eq!(stub.count(), 1);
}

#[test]
fn of_an_event_that_is_deleted_while_its_action_runs_nothing_is_left() {
    let stub = Stub::http();
    let (answer, may_answer) = std::sync::mpsc::channel();
    stub.answer_by(move |_| may_answer.recv().map_or(Answer::Status(200), |()| Answer::Status(200)));
    let hookbox = to(&stub).start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for_state(&hookbox, 1, "it", "running");
    hookbox.db().execute("DELETE FROM webhook_events", []).unwrap();
    drop(answer);
    hookbox.deliver("push", "d-2", "{}");
    wait_for_state(&hookbox, 2, "it", "succeeded");
    assert_eq!(hookbox.query::<i64>("SELECT event_id FROM attempts"), [2]);
}

#[test]
fn what_succeeded_is_never_done_again() {
    let stub = Stub::http();
    let hookbox = to(&stub).start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for_state(&hookbox, 1, "it", "succeeded");
    let hookbox = hookbox.kill9().start();
    hookbox.deliver("push", "d-2", "{}");
    wait_for_state(&hookbox, 2, "it", "succeeded");
    assert_eq!(stub.count(), 2);
}

#[test]
fn ten_kills_at_any_moment_lose_nothing_and_repeat_at_most_what_was_under_way() {
    const EVENTS: i64 = 200;
    const KILLS: usize = 10;
    let stub = Stub::http();
    // Where progress is fast and this test slow, every kill may hit the same attempt.
    let keys = format!("url = \"{}\"\nattempts = {}", stub.url("/"), KILLS + 1);
    let mut hookbox = with("http", &keys).start();
    for n in 0..EVENTS {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    for round in 1..=KILLS {
        let goal = round * 15;
        wait_for("some progress", || (stub.count() >= goal).then_some(()));
        hookbox = hookbox.kill9().start();
    }
    hookbox.wait_until_done();
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM jobs WHERE state = 'succeeded'"), [EVENTS]);
    let mut times: HashMap<String, usize> = HashMap::new();
    for request in stub.received() {
        *times.entry(request.header("Idempotency-Key").unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(times.len() as i64, EVENTS);
    let repeated: usize = times.values().map(|times| times - 1).sum();
    assert!(repeated <= KILLS, "{repeated} repeats after {KILLS} kills");
    assert_eq!(hookbox.query::<String>("PRAGMA integrity_check"), ["ok"]);
}

#[test]
fn a_command_that_takes_the_process_down_dies_out_after_its_attempts() {
    let script = shell("echo >> ran; kill -9 $PPID; sleep 1");
    let hookbox = with("command", &format!("{script}\nattempts = 3")).start();
    done(&hookbox, "pause it");
    hookbox.deliver("push", "d-1", "{}");
    wait_for_state(&hookbox, 1, "it", "queued");
    let home = hookbox.stop().0;
    done(&home, "resume it");
    for _ in 0..3 {
        let output = home.start_in_vain();
        assert_eq!(output.code, None, "killed: {output}");
    }
    let hookbox = home.start();
    let job = wait_for_state(&hookbox, 1, "it", "dead");
    assert!(job["last_error"].as_str().unwrap().contains("did not come to its end"), "{job}");
    assert_eq!(std::fs::read_to_string(hookbox.path("ran")).unwrap().lines().count(), 3);
    hookbox.assert_alive();
}
