//! `hookbox replay` and `hookbox cancel`.

use super::{action, config, deliver_and_wait, done, job, status, wait_for_state, with};
use crate::support::{Answer, Home, Hookbox, Stub, wait_for};

fn http(name: &str, stub: &Stub) -> String {
    action(name, "http", &format!("url = \"{}\"", stub.url("/")))
}

/// Two actions, of which `bad` gave up on events 1 and 2, and was done with 3.
pub fn two_of_three_dead(good: &Stub, bad: &Stub) -> Hookbox {
    let hookbox = Home::with_config(&config(&(http("good", good) + &http("bad", bad)))).start();
    bad.answer(Answer::Status(404));
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    deliver_and_wait(&hookbox, "push", "d-2", "{}");
    bad.answer(Answer::Status(200));
    deliver_and_wait(&hookbox, "push", "d-3", "{}");
    hookbox
}

#[test]
fn replaying_an_event_queues_only_its_dead_jobs() {
    let (good, bad) = (Stub::http(), Stub::http());
    let hookbox = two_of_three_dead(&good, &bad);
    assert_eq!(done(&hookbox, "replay 1"), "queued 1 event\n");
    wait_for_state(&hookbox, 1, "bad", "succeeded");
    assert_eq!((good.count(), bad.count()), (3, 4));
    assert_eq!((status(&hookbox, 1).as_str(), status(&hookbox, 2).as_str()), ("processed", "error"));
}

#[test]
fn replaying_an_event_without_dead_jobs_queues_all_or_those_of_one_action() {
    let (good, bad) = (Stub::http(), Stub::http());
    let hookbox = two_of_three_dead(&good, &bad);
    done(&hookbox, "replay 3");
    hookbox.wait_until_done();
    assert_eq!((good.count(), bad.count()), (4, 4));
    done(&hookbox, "replay 3 --action good");
    hookbox.wait_until_done();
    assert_eq!((good.count(), bad.count()), (5, 4));
    assert_eq!(done(&hookbox, "replay 3 --action nobody"), "queued 0 events\n");
}

#[test]
fn replaying_by_status_queues_all_in_error_or_those_of_an_action_or_a_time() {
    let (good, bad) = (Stub::http(), Stub::http());
    let hookbox = two_of_three_dead(&good, &bad);
    let old = "UPDATE webhook_events SET received_at = '2020-01-31T12:00:00+00:00' WHERE id = 1";
    hookbox.db().execute(old, []).unwrap();
    assert_eq!(done(&hookbox, "replay --status error --since 1d --dry-run"), "would replay event 2\n");
    let both = "would replay event 1\nwould replay event 2\n";
    assert_eq!(done(&hookbox, "replay --status error --dry-run"), both);
    assert_eq!(done(&hookbox, "replay --status error --action bad --dry-run"), both);
    assert_eq!(done(&hookbox, "replay --status error --action nobody --dry-run"), "", "it says what it would do");
    assert_eq!((good.count(), bad.count(), status(&hookbox, 1).as_str()), (3, 3, "error"), "nothing was done");
    assert_eq!(done(&hookbox, "replay --status error --since 1d"), "queued 1 event\n");
    wait_for_state(&hookbox, 2, "bad", "succeeded");
    assert_eq!(status(&hookbox, 1), "error");
    assert_eq!(done(&hookbox, "replay --status error --action bad"), "queued 1 event\n");
    wait_for_state(&hookbox, 1, "bad", "succeeded");
    assert_eq!(good.count(), 3);
}

#[test]
fn replay_needs_an_id_or_a_status_and_the_event_must_exist() {
    let hookbox = with("log", "").start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    hookbox.run(["replay"]).refused(2, &["ID"]);
    hookbox.run(["replay", "--action", "it"]).refused(2, &["ID"]);
    hookbox.run(["replay", "1", "9"]).refused(1, &["no event 9"]);
    hookbox.run(["replay", "one"]).refused(2, &["one"]);
    hookbox.run(["replay", "--status", "broken"]).refused(2, &["broken"]);
    assert_eq!(hookbox.stdout().matches("Handling event").count(), 1);
}

#[test]
fn replaying_an_event_without_jobs_routes_it_again() {
    let hookbox = Home::with_config(&config(&action("it", "log", "").replace("[\"*\"]", "[\"github:push\"]"))).start();
    deliver_and_wait(&hookbox, "issues", "d-1", "{}");
    let home = hookbox.stop().0;
    home.write("hookbox.toml", config(&action("it", "log", "")));
    let hookbox = home.start();
    assert_eq!(done(&hookbox, "replay 1"), "queued 1 event\n");
    wait_for_state(&hookbox, 1, "it", "succeeded");
}

#[test]
fn replay_works_without_a_running_server() {
    let (good, bad) = (Stub::http(), Stub::http());
    let home = two_of_three_dead(&good, &bad).stop().0;
    assert_eq!(done(&home, "replay --status error"), "queued 2 events\n");
    assert_eq!(done(&home, "replay --status error"), "queued 0 events\n");
    let hookbox = home.start();
    hookbox.wait_until_done();
    assert_eq!((good.count(), bad.count()), (3, 5));
}

#[test]
fn open_jobs_can_be_cancelled_and_queued_again() {
    let stub = Stub::http();
    let hookbox = Home::with_config(&config(&(http("it", &stub) + &action("other", "log", "")))).start();
    done(&hookbox, "pause it");
    hookbox.deliver("push", "d-1", "{}");
    hookbox.deliver("push", "d-2", "{}");
    wait_for_state(&hookbox, 2, "it", "queued");
    assert_eq!(done(&hookbox, "cancel 1"), "cancelled the open jobs of 1 event\n");
    wait_for_state(&hookbox, 1, "it", "cancelled");
    wait_for("the event to be processed", || (status(&hookbox, 1) == "processed").then_some(()));
    assert_eq!(done(&hookbox, "cancel --action it"), "cancelled the open jobs of 1 event\n");
    done(&hookbox, "resume it");
    hookbox.wait_until_done();
    assert_eq!(stub.count(), 0);
    done(&hookbox, "replay 1 --action it");
    wait_for_state(&hookbox, 1, "it", "succeeded");
    assert_eq!(job(&hookbox, 2, "it")["state"], "cancelled");
    hookbox.run(["cancel"]).refused(2, &["ID"]);
}

#[test]
fn a_job_cancelled_while_it_runs_is_not_retried() {
    let stub = Stub::http();
    let answer = stub.answer_when_told(Answer::Status(503), Answer::Status(503));
    let hookbox = Home::with_config(&config(&http("it", &stub))).start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for_state(&hookbox, 1, "it", "running");
    done(&hookbox, "cancel 1");
    drop(answer);
    super::wait_for_attempts(&hookbox, 1, "it", 1);
    assert_eq!(job(&hookbox, 1, "it")["state"], "cancelled");
    assert_eq!((stub.count(), status(&hookbox, 1).as_str()), (1, "processed"));
}
