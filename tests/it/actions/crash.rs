//! `kill -9` at every point of a job's life: no job is lost or stuck, and no success is repeated.

use std::collections::HashMap;
use std::sync::mpsc::Sender;

use super::{JOB_DEADLINE, done, job, shell, wait_for_state, with};
use crate::support::{Answer, Home, Hookbox, Signal, Stub, WriteLock, needs_no_turn, wait_for, wait_longer_for};

fn to(stub: &Stub) -> Home {
    with("http", &format!("url = \"{}\"\nattempts = 3", stub.url("/")))
}

#[test]
fn a_job_killed_before_its_claim_runs_after_the_restart() {
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
fn a_job_killed_while_it_runs_runs_again_after_the_restart() {
    let stub = Stub::http();
    stub.answer(Answer::Hang);
    let hookbox = to(&stub).start();
    hookbox.deliver("push", "d-1", "{}");
    stub.wait_for(1);
    let home = hookbox.kill9();
    assert_eq!(job(&home, 1, "it")["state"], "queued", "such a claim is not on the disk");
    stub.answer(Answer::Status(200));
    let hookbox = home.start();
    wait_for_state(&hookbox, 1, "it", "succeeded");
    let keys: Vec<_> =
        stub.received().iter().map(|request| request.header("Idempotency-Key").map(str::to_owned)).collect();
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]), "the destination can tell");
}

/// The only job has succeeded, and cannot record it until the lock is dropped. The stub answers once more for each `send`.
fn succeeded_but_not_recorded(stub: &Stub) -> (Hookbox, WriteLock, Sender<()>) {
    let answer = stub.answer_when_told(Answer::Status(200), Answer::Close);
    let hookbox = to(stub).start();
    hookbox.deliver("push", "d-1", "{}");
    stub.wait_for(1);
    let lock = hookbox.lock_database();
    answer.send(()).unwrap();
    hookbox.wait_for_stderr("outcomes cannot be recorded yet");
    (hookbox, lock, answer)
}

#[test]
fn a_job_killed_between_its_success_and_the_record_runs_again() {
    let stub = Stub::http();
    let (hookbox, lock, answer) = succeeded_but_not_recorded(&stub);
    let home = hookbox.kill9();
    drop(lock);
    answer.send(()).unwrap();
    let hookbox = home.start();
    wait_for_state(&hookbox, 1, "it", "succeeded");
    assert_eq!(stub.count(), 2);
}

#[test]
fn an_outcome_is_recorded_once_the_database_is_free_again() {
    needs_no_turn();
    let stub = Stub::http();
    let (hookbox, lock, _answer) = succeeded_but_not_recorded(&stub);
    // A reload now must not leave the job running forever: the worker that it replaces tries again to record the outcome.
    hookbox.signal(Signal::HUP);
    hookbox.wait_for_stderr("config reloaded");
    let refusals = || hookbox.stderr().matches("outcomes cannot be recorded yet").count();
    let before = refusals();
    wait_longer_for("another try to record it", JOB_DEADLINE, || (refusals() > before).then_some(()));
    drop(lock);
    wait_for_state(&hookbox, 1, "it", "succeeded");
    assert_eq!(stub.count(), 1);
}

#[test]
fn an_event_deleted_while_its_action_runs_leaves_no_rows() {
    let stub = Stub::http();
    let answer = stub.answer_when_told(Answer::Status(200), Answer::Status(200));
    let hookbox = to(&stub).start();
    hookbox.deliver("push", "d-1", "{}");
    stub.wait_for(1);
    hookbox.db().execute("DELETE FROM webhook_events", []).unwrap();
    drop(answer);
    hookbox.deliver("push", "d-2", "{}");
    wait_for_state(&hookbox, 2, "it", "succeeded");
    assert_eq!(hookbox.query::<i64>("SELECT event_id FROM attempts"), [2]);
}

#[test]
fn a_recorded_success_is_not_repeated_after_a_kill() {
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
fn ten_kills_lose_no_job_and_repeat_only_the_running_ones() {
    const EVENTS: i64 = 200;
    const KILLS: usize = 10;
    let stub = Stub::http();
    // If progress is fast and this test slow, every kill may hit the same attempt.
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
    hookbox.assert_sound();
}

#[test]
fn a_job_that_was_running_when_hookbox_was_killed_waits_its_backoff() {
    let script = shell("echo >> ran; kill -9 $PPID; sleep 1");
    let home = with("command", &format!("{script}\nattempts = 3"));
    let config = std::fs::read_to_string(home.path("hookbox.toml")).unwrap();
    home.write("hookbox.toml", config.replace("backoff = \"100ms\"\nbackoff_max = \"100ms\"", "backoff = \"12h\""));
    let hookbox = home.start();
    hookbox.deliver("push", "d-1", "{}");
    let (home, killed) = hookbox.wait();
    assert_eq!(killed.code, None, "{killed}");
    let hookbox = home.start();
    let job = wait_for_state(&hookbox, 1, "it", "queued");
    assert!(job["due_at_ms"].as_i64().unwrap() > 0, "{job}");
    assert_eq!(job["last_error"], "hookbox ended before the attempt did");
    // Others do not wait with it.
    hookbox.reload(super::config(&super::action("other", "command", &shell("true"))));
    hookbox.deliver("push", "d-2", "{}");
    wait_for_state(&hookbox, 2, "other", "succeeded");
    assert_eq!(hookbox.line_count("ran"), 1);
}

/// Kills the program at each attempt of the job of event 1, until it is dead. Returns how often that was.
#[track_caller]
fn kill_at_each_attempt(home: Home, attempts: impl Fn(&Home) -> usize) -> (Hookbox, usize) {
    let mut hookbox = home.start();
    for body in ["\"poison\"", "2", "3"] {
        hookbox.deliver("push", body, body);
    }
    for kills in 0.. {
        let is_dead = |home: &Home| home.query::<i64>("SELECT count(*) FROM jobs WHERE state = 'dead'") == [1];
        let killed =
            wait_longer_for("another attempt, or the death", JOB_DEADLINE, || match attempts(&hookbox) > kills {
                true => Some(true),
                false => is_dead(&hookbox).then_some(false),
            });
        if !killed {
            return (hookbox, kills);
        }
        assert!(kills < 10, "without end");
        hookbox = hookbox.kill9().start();
    }
    unreachable!()
}

#[track_caller]
fn assert_dead_and_the_others_done((hookbox, kills): (Hookbox, usize), attempts: usize) {
    assert!((attempts..=attempts + 1).contains(&kills), "{kills} kills");
    let job = wait_for_state(&hookbox, 1, "it", "dead");
    assert!(job["last_error"].as_str().unwrap().contains("the last one did not finish"), "{job}");
    hookbox.wait_until_done();
    for event in [2, 3] {
        assert_eq!(job_of(&hookbox, event)["state"], "succeeded");
    }
}

fn job_of(home: &Home, event: i64) -> serde_json::Value {
    job(home, event, "it")
}

#[test]
fn a_request_at_which_hookbox_is_killed_each_time_is_dead_after_one_kill_more_than_its_attempts() {
    let stub = Stub::http();
    stub.answer_by(|request| if request.text().contains("poison") { Answer::Hang } else { Answer::Status(200) });
    let poisonous = || stub.received().iter().filter(|request| request.text().contains("poison")).count();
    assert_dead_and_the_others_done(kill_at_each_attempt(to(&stub), |_| poisonous()), 3);
}

#[test]
fn a_command_at_which_hookbox_is_killed_each_time_is_dead_after_its_attempts() {
    let script = shell("read body; case $body in *poison*) echo >> ran; sleep 5;; esac");
    let home = with("command", &format!("{script}\nattempts = 3"));
    assert_dead_and_the_others_done(kill_at_each_attempt(home, |home| home.line_count("ran")), 3);
}

/// Between two kills somebody restarts the program, who sees that something is wrong.
#[test]
fn a_clean_stop_between_two_kills_does_not_forget_that_an_attempt_may_be_harmful() {
    let stub = Stub::http();
    stub.answer(Answer::Hang);
    let mut home = to(&stub).start().stop().0;
    for kill in 1..=3 {
        let hookbox = home.start();
        if kill == 1 {
            hookbox.deliver("push", "d-1", "{}");
        }
        stub.wait_for(kill);
        home = hookbox.kill9();
        // Not while the next attempt is under way, which would be one that a stop has ended.
        done(&home, "pause it");
        home = home.start().stop().0;
        done(&home, "resume it");
    }
    assert_eq!(home.query::<i64>("SELECT tries FROM jobs"), [2], "all but the first count");
}

#[test]
fn a_command_that_kills_hookbox_is_dead_after_its_attempts() {
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
    assert!(job["last_error"].as_str().unwrap().contains("the last one did not finish"), "{job}");
    assert_eq!(hookbox.line_count("ran"), 3);
    hookbox.assert_alive();
}
