//! `on` and `when`: which events an action is for, and expressions that cannot be evaluated.

use super::{config, deliver_and_wait, done, job, only_attempt, shell, status, wait_for_state, with};
use crate::support::{Home, Stub};

#[test]
fn when_chooses_events_and_an_undefined_value_is_false() {
    let keys = "when = \"payload.pull_request.merged and payload.pull_request.base.ref == 'main'\"\nrun = [\"true\"]";
    let hookbox = with("command", keys).start();
    for (n, payload) in [
        "{}",
        "[1]",
        r#"{"pull_request":null}"#,
        r#"{"pull_request":{"merged":false}}"#,
        r#"{"pull_request":{"merged":true,"base":{"ref":"dev"}}}"#,
        r#"{"pull_request":{"merged":true,"base":{"ref":"main"}}}"#,
    ]
    .iter()
    .enumerate()
    {
        hookbox.deliver("push", &format!("d-{n}"), payload);
    }
    hookbox.wait_until_done();
    assert_eq!(hookbox.query::<i64>("SELECT event_id FROM jobs"), [6], "no job is made for the others");
    assert_eq!(hookbox.query::<String>("SELECT DISTINCT status FROM webhook_events"), ["processed"]);
}

#[test]
fn when_sees_the_headers_and_the_facts_of_the_event() {
    let when = "event == 'push' and source == 'github' and delivery_id == 'd-2' and id > 1 \
                and headers['x-github-event'] == 'push' and received_at > '2020'";
    let hookbox = with("command", &format!("when = \"{when}\"\nrun = [\"true\"]")).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    deliver_and_wait(&hookbox, "push", "d-2", "{}");
    assert_eq!(hookbox.query::<i64>("SELECT event_id FROM jobs"), [2]);
}

#[test]
fn an_error_in_when_makes_a_dead_job_with_the_reason() {
    let hookbox = with("command", "when = \"payload.n + 1 == 2\"\nrun = [\"touch\", \"ran\"]").start();
    deliver_and_wait(&hookbox, "push", "d-1", r#"{"n":1}"#);
    deliver_and_wait(&hookbox, "push", "d-2", r#"{"n":"one"}"#);
    assert_eq!((status(&hookbox, 1).as_str(), status(&hookbox, 2).as_str()), ("processed", "error"));
    let (outcome, detail) = only_attempt(&hookbox, 2);
    assert_eq!(outcome, "give_up");
    assert!(detail.contains("operation"), "{detail}");
    assert_eq!(job(&hookbox, 2, "it")["last_error"], detail);
    assert!(done(&hookbox, "list --status error").contains("d-2"));
    assert!(done(&hookbox, "show 2").contains(&detail));
    hookbox.wait_for_stderr("hookbox replay 2");
}

#[test]
fn a_replay_evaluates_when_again() {
    let with =
        |when: &str| config(&super::action("it", "command", &format!("when = \"{when}\"\n{}", shell("echo >> ran"))));
    let hookbox = Home::with_config(&with("payload.n + 1 == 2")).start();
    deliver_and_wait(&hookbox, "push", "d-1", r#"{"n":"one"}"#);
    assert_eq!(status(&hookbox, 1), "error");
    done(&hookbox, "replay 1");
    wait_for_state(&hookbox, 1, "it", "dead");
    let home = hookbox.stop().0;
    home.write("hookbox.toml", with("payload.n == 'two'"));
    done(&home, "replay 1");
    let hookbox = home.start();
    wait_for_state(&hookbox, 1, "it", "succeeded");
    assert!(!hookbox.path("ran").exists(), "it is not for this event");
    let home = hookbox.stop().0;
    home.write("hookbox.toml", with("payload.n == 'one'"));
    done(&home, "replay 1 --again");
    let hookbox = home.start();
    hookbox.wait_for_file("ran");
}

#[test]
fn the_deepest_accepted_payload_can_be_read() {
    let hookbox =
        with("command", "when = \"payload[0][0]\"\nrun = [\"echo\", \"{{ payload | tojson | length }}\"]").start();
    let deepest = "[".repeat(128) + &"]".repeat(128);
    deliver_and_wait(&hookbox, "push", "d-1", &deepest);
    assert_eq!(only_attempt(&hookbox, 1), ("success".to_owned(), "exit 0 256".to_owned()));
}

#[test]
fn a_payload_that_is_not_json_fails_only_the_actions_that_read_it() {
    let stub = Stub::http();
    let passes = super::action("passes", "http", &format!("url = \"{}\"", stub.url("/")));
    let reads = super::action("reads", "command", "run = [\"echo\", \"{{ payload.a }}\"]");
    let asks = super::action("asks", "command", "run = [\"echo\"]\nwhen = \"payload.a\"");
    let hookbox = Home::with_config(&config(&(passes + &reads + &asks))).start();
    for (n, payload) in ["{not json", ""].iter().enumerate() {
        hookbox.insert_event(&format!("d-{n}"), payload);
        let event = n as i64 + 1;
        wait_for_state(&hookbox, event, "passes", "succeeded");
        for action in ["reads", "asks"] {
            let dead = wait_for_state(&hookbox, event, action, "dead");
            assert!(dead["last_error"].as_str().unwrap().contains("payload"), "{dead}");
        }
        assert_eq!(stub.received()[n].text(), *payload);
    }
}

#[test]
fn a_payload_nested_100_000_deep_is_an_error_of_its_job() {
    let hookbox = with("command", "run = [\"echo\", \"{{ payload.a }}\"]").start();
    hookbox.insert_event("deep", "[".repeat(100_000) + &"]".repeat(100_000));
    hookbox.wait_until_done();
    let error = hookbox.query::<String>("SELECT last_error FROM jobs WHERE state = 'dead'");
    assert!(error.iter().any(|error| error.contains("nested deeper")), "{error:?}");
    hookbox.assert_alive();
}

#[test]
fn an_event_with_a_blob_for_its_text_delays_no_later_event() {
    let hookbox = with("command", "when = \"payload is defined\"\nrun = [\"true\"]").start();
    hookbox.insert_event("bytes", b"{\"a\":\"\xff\"}".to_vec());
    hookbox.insert_event("number", 7);
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    wait_for_state(&hookbox, 3, "it", "succeeded");
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM jobs WHERE state = 'succeeded'"), [3]);
}
