//! `hookbox replay` and `hookbox cancel`.

use std::sync::mpsc::channel;

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

/// Event 1, whose mail was sent, and whose deploy waits an hour for its second attempt.
pub fn mail_sent_and_deploy_waiting(mail: &Stub, deploy: &Stub) -> Hookbox {
    let slow = http("deploy", deploy).replace("\"100ms\"", "\"1h\"");
    let hookbox = Home::with_config(&config(&(http("mail", mail) + &slow))).start();
    deploy.answer(Answer::Status(503));
    hookbox.deliver("push", "d-1", "{}");
    super::wait_for_attempts(&hookbox, 1, "deploy", 1);
    wait_for_state(&hookbox, 1, "mail", "succeeded");
    hookbox
}

#[test]
fn replaying_an_event_queues_only_its_dead_jobs() {
    let (good, bad) = (Stub::http(), Stub::http());
    let hookbox = two_of_three_dead(&good, &bad);
    let text = "event 1: bad is queued, with all attempts; good succeeded already: --again does it again\n";
    assert_eq!(done(&hookbox, "replay 1"), format!("{text}queued 1 job of 1 event\n"));
    wait_for_state(&hookbox, 1, "bad", "succeeded");
    assert_eq!((good.count(), bad.count()), (3, 4));
    assert_eq!((status(&hookbox, 1).as_str(), status(&hookbox, 2).as_str()), ("processed", "error"));
    let numbers: Vec<_> =
        job(&hookbox, 1, "bad")["attempts"].as_array().unwrap().iter().map(|it| it["number"].clone()).collect();
    assert_eq!(numbers, [1, 2], "the numbers go on");
    assert_eq!(hookbox.query::<i64>("SELECT sum(is_replayed) FROM jobs"), [1]);
}

#[test]
fn only_again_does_what_has_succeeded_and_under_another_key() {
    let (good, bad) = (Stub::http(), Stub::http());
    let hookbox = two_of_three_dead(&good, &bad);
    let text = done(&hookbox, "replay 3");
    assert!(
        text.starts_with("event 3: bad succeeded already; good succeeded already: --again does it again\n"),
        "{text}"
    );
    let would = done(&hookbox, "replay 3 --again --dry-run");
    assert!(would.ends_with("would queue 2 jobs of 1 event; of these, 2 jobs had been done before\n"), "{would}");
    assert_eq!((good.count(), bad.count()), (3, 3));
    done(&hookbox, "replay 3 --again");
    hookbox.wait_until_done();
    assert_eq!((good.count(), bad.count()), (4, 4));
    let key = |at: usize| good.received()[at].header("Idempotency-Key").unwrap().to_owned();
    assert_ne!(key(2), key(3), "a receiver that knows the first would ignore the second");
    done(&hookbox, "replay 3 --again --action good");
    hookbox.wait_until_done();
    assert_eq!((good.count(), bad.count()), (5, 4));
    let text = done(&hookbox, "replay 3 --action nobody");
    assert_eq!(text, "event 3: this action has no job for it\nqueued 0 jobs of 0 events\n");
}

#[test]
fn an_outage_of_a_night_is_drained_by_one_command() {
    let stub = Stub::http();
    let hookbox = Home::with_config(&config(&http("it", &stub).replace("\"100ms\"", "\"10h\""))).start();
    stub.answer(Answer::Status(503));
    for n in 0..50 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    wait_for("all to have failed once", || (stub.count() == 50).then_some(()));
    super::wait_for_attempts(&hookbox, 50, "it", 1);
    stub.answer(Answer::Status(200));
    assert_eq!(done(&hookbox, "replay --failed"), "it: 50 jobs due now\nqueued 50 jobs of 50 events\n");
    hookbox.wait_until_done();
    assert_eq!(stub.count(), 100);
    assert_eq!(done(&hookbox, "replay --failed"), "no job is dead or waits for a retry\nqueued 0 jobs of 0 events\n");
}

/// A job that was open is not behind itself.
#[test]
fn a_job_with_a_key_that_waits_for_a_retry_is_tried_now() {
    let stub = Stub::http();
    let keyed = http("it", &stub).replace("\"100ms\"", "\"1h\"") + "key = \"{{ source }}\"\n";
    let hookbox = Home::with_config(&config(&keyed)).start();
    stub.answer(Answer::Status(503));
    hookbox.deliver("push", "d-1", "{}");
    super::wait_for_attempts(&hookbox, 1, "it", 1);
    hookbox.deliver("push", "d-2", "{}");
    stub.answer(Answer::Status(200));
    done(&hookbox, "replay --failed");
    wait_for_state(&hookbox, 1, "it", "succeeded");
    wait_for_state(&hookbox, 2, "it", "succeeded");
    done(&hookbox, "replay 1 --again");
    hookbox.wait_until_done();
    assert_eq!(stub.count(), 4);
}

#[test]
fn replay_failed_leaves_what_was_cancelled() {
    let (good, bad) = (Stub::http(), Stub::http());
    let hookbox = two_of_three_dead(&good, &bad);
    hookbox.db().execute("UPDATE jobs SET state = 'cancelled' WHERE event_id = 1 AND action = 'bad'", []).unwrap();
    let text = done(&hookbox, "replay --failed");
    assert_eq!(text, "event 2: bad is queued, with all attempts\nqueued 1 job of 1 event\n");
    hookbox.wait_until_done();
    assert_eq!(job(&hookbox, 1, "bad")["state"], "cancelled");
    done(&hookbox, "replay 1");
    wait_for_state(&hookbox, 1, "bad", "succeeded");
}

#[test]
fn a_superseded_job_is_named_and_done_only_again() {
    let (good, bad) = (Stub::http(), Stub::http());
    let hookbox = two_of_three_dead(&good, &bad);
    let superseded = "UPDATE jobs SET state = 'superseded', superseded_by = 3 WHERE event_id = 1 AND action = 'bad'";
    hookbox
        .db()
        .execute_batch(&format!("{superseded}; UPDATE webhook_events SET status = 'processed' WHERE id = 1"))
        .unwrap();
    let text = done(&hookbox, "replay 1 --action bad");
    assert!(text.starts_with("event 1: bad was superseded by event 3: --again does it again\n"), "{text}");
    done(&hookbox, "replay 1 --action bad --again");
    wait_for_state(&hookbox, 1, "bad", "succeeded");
}

#[test]
fn replay_says_what_keeps_its_jobs_from_being_done() {
    let (good, bad) = (Stub::http(), Stub::http());
    let home = two_of_three_dead(&good, &bad).stop().0;
    done(&home, "pause bad");
    let text = done(&home, "replay 1");
    assert!(text.ends_with("bad is paused: its jobs wait (hookbox resume bad)\n"), "{text}");
    home.write("hookbox.toml", config(&http("good", &good)));
    let text = done(&home, "replay 2");
    assert!(text.ends_with("bad is not in the config: its jobs wait until it is\n"), "{text}");
    let text = done(&home, "replay 1");
    assert!(text.starts_with("event 1: bad is due already, or under way; good succeeded already"), "{text}");
}

#[test]
fn replaying_takes_the_filters_of_list() {
    let (good, bad) = (Stub::http(), Stub::http());
    let hookbox = two_of_three_dead(&good, &bad);
    let old = "UPDATE webhook_events SET received_at = '2020-01-31T12:00:00+00:00' WHERE id = 1";
    hookbox.db().execute(old, []).unwrap();
    let would = |filter: &str| -> Vec<String> {
        let text = done(&hookbox, &format!("replay --dry-run {filter}"));
        text.lines().filter(|line| line.contains("would be")).map(|line| line[..7].to_owned()).collect()
    };
    for (filter, expected) in [
        ("--status error --since 1d", &["event 2"][..]),
        ("--status error", &["event 1", "event 2"]),
        ("--status error --action bad", &["event 1", "event 2"]),
        ("--failed --before 2", &["event 1"]),
        ("--failed --source github --event push", &["event 1", "event 2"]),
        ("--failed --source gitlab", &[]),
        ("--grep D-2", &["event 2"]),
        ("1 2 3 --since 1d", &["event 2"]),
    ] {
        assert_eq!(would(filter), expected, "{filter}");
    }
    assert!(done(&hookbox, "replay 1 --since 1d").starts_with("event 1: does not pass the filter\n"));
    assert!(done(&hookbox, "replay --source gitlab").starts_with("no event passes the filter\n"));
    assert_eq!((good.count(), bad.count(), status(&hookbox, 1).as_str()), (3, 3, "error"), "nothing was done");
    done(&hookbox, "replay --status error --since 1d");
    wait_for_state(&hookbox, 2, "bad", "succeeded");
    assert_eq!(status(&hookbox, 1), "error");
    done(&hookbox, "replay --status error --action bad");
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
    let text = "event 1: it has no job: it is routed again\nqueued 0 jobs of 0 events; routed again: 1 event\n";
    assert_eq!(done(&hookbox, "replay 1"), text);
    wait_for_state(&hookbox, 1, "it", "succeeded");
}

#[test]
fn replay_works_without_a_running_server() {
    let (good, bad) = (Stub::http(), Stub::http());
    let home = two_of_three_dead(&good, &bad).stop().0;
    assert!(done(&home, "replay --status error").ends_with("queued 2 jobs of 2 events\n"));
    assert_eq!(done(&home, "replay --status error"), "no event passes the filter\nqueued 0 jobs of 0 events\n");
    let hookbox = home.start();
    hookbox.wait_until_done();
    assert_eq!((good.count(), bad.count()), (3, 5));
}

#[test]
fn open_jobs_can_be_cancelled_and_queued_again() {
    let stub = Stub::http();
    let hookbox = Home::with_config(&config(&http("it", &stub))).start();
    done(&hookbox, "pause it");
    for n in 1..=3 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    wait_for_state(&hookbox, 3, "it", "queued");
    assert_eq!(done(&hookbox, "cancel 1"), "cancelled 1 job of 1 event\n");
    assert_eq!(done(&hookbox, "cancel 1"), "event 1: no job is open\ncancelled 0 jobs of 0 events\n");
    wait_for("the event to be cancelled", || (status(&hookbox, 1) == "cancelled").then_some(()));
    assert_eq!(done(&hookbox, "cancel --source github --grep d-2"), "cancelled 1 job of 1 event\n");
    assert_eq!(done(&hookbox, "cancel --action it"), "cancelled 1 job of 1 event\n");
    done(&hookbox, "resume it");
    hookbox.wait_until_done();
    assert_eq!(stub.count(), 0);
    done(&hookbox, "replay 1 --action it");
    wait_for_state(&hookbox, 1, "it", "succeeded");
    assert_eq!(job(&hookbox, 2, "it")["state"], "cancelled");
    hookbox.run(["cancel"]).refused(2, &["ID"]);
}

/// What is stored of a cancelled event is the word that other programs know.
#[test]
fn an_event_of_which_nothing_was_done_is_not_shown_as_processed() {
    let (good, bad) = (Stub::http(), Stub::http());
    let hookbox = Home::with_config(&config(&(http("good", &good) + &http("bad", &bad)))).start();
    done(&hookbox, "pause bad");
    hookbox.deliver("push", "d-1", "{}");
    wait_for_state(&hookbox, 1, "good", "succeeded");
    done(&hookbox, "pause good");
    hookbox.deliver("push", "d-2", "{}");
    wait_for_state(&hookbox, 2, "good", "queued");
    done(&hookbox, "cancel 1 2");
    assert_eq!((status(&hookbox, 1).as_str(), status(&hookbox, 2).as_str()), ("processed", "cancelled"));
    assert_eq!(hookbox.query::<String>("SELECT status FROM webhook_events"), ["processed", "processed"]);
    let listed = |status: &str| -> Vec<i64> {
        let lines = hookbox.run(["list", "--json", "--status", status]).ok().json_lines();
        lines.iter().map(|line| line["id"].as_i64().unwrap()).collect()
    };
    assert_eq!((listed("cancelled"), listed("processed")), (vec![2], vec![1]));
    let text = done(&hookbox, "show 2");
    assert!(text.contains("status     cancelled") && text.contains("  cancelled\n"), "{text}");
    assert!(done(&hookbox, "list").contains("cancelled"));
}

#[test]
fn a_job_cancelled_while_it_runs_is_not_retried() {
    let stub = Stub::http();
    let (begin, has_begun) = channel();
    let (answer, may_answer) = channel::<()>();
    stub.answer_by(move |_| {
        let _ = (begin.send(()), may_answer.recv());
        Answer::Status(503)
    });
    let hookbox = Home::with_config(&config(&http("it", &stub))).start();
    hookbox.deliver("push", "d-1", "{}");
    has_begun.recv_timeout(super::JOB_DEADLINE).unwrap();
    done(&hookbox, "cancel 1");
    drop(answer);
    super::wait_for_attempts(&hookbox, 1, "it", 1);
    assert_eq!(job(&hookbox, 1, "it")["state"], "cancelled");
    assert_eq!((stub.count(), status(&hookbox, 1).as_str()), (1, "cancelled"));
}
