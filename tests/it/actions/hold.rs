//! A destination that asks to wait (429 or 503 with `Retry-After`): its action waits, in order, and uses up no attempt.

use std::time::{Duration, Instant};

use super::{config, done, job, listed, show, wait_for_attempts, wait_for_state};
use crate::support::{Answer, Home, Hookbox, Received, Stub, wait_for};

/// One action, `it`, that waits for as long as its destination asks.
fn patient(stub: &Stub, keys: &str) -> Home {
    let keys = format!(
        "backoff = \"100ms\"\nbackoff_max = \"1h\"\nurl = \"{}\"\nbody = \"{{{{ payload }}}}\"\n{keys}",
        stub.url("/")
    );
    Home::with_config(&config(&format!("[actions.it]\nkind = \"http\"\non = [\"*\"]\n{keys}\n")))
}

fn bodies(requests: &[Received]) -> Vec<String> {
    requests.iter().map(Received::text).collect()
}

#[test]
fn a_destination_with_a_limit_gets_everything_in_order_after_one_refusal_for_each_wait() {
    const EVENTS: i64 = 24;
    let stub = Stub::http();
    let (mut free_at, mut accepted) = (Instant::now(), Vec::new());
    let (tell, told) = std::sync::mpsc::channel();
    stub.answer_by(move |request| {
        let wait = free_at.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            // One says it in a header, one in its answer.
            let header = Answer::header(429, "Retry-After", &format!("{:.3}", wait.as_secs_f64() + 0.001));
            let body = format!(r#"{{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":{}}}"#, wait.as_millis() + 1);
            return if accepted.len() % 2 == 0 { header } else { Answer::body(429, &body) };
        }
        free_at = Instant::now() + Duration::from_millis(250);
        accepted.push(request.text());
        tell.send(request.text()).unwrap();
        Answer::Status(200)
    });
    let hookbox = patient(&stub, "attempts = 2").start();
    for n in 1..=EVENTS {
        hookbox.deliver("push", &format!("d-{n}"), n.to_string());
    }
    hookbox.wait_until_done();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), (1..=EVENTS).map(|n| n.to_string()).collect::<Vec<_>>());
    let refused = stub.count() as i64 - EVENTS;
    assert!(refused <= 2 * EVENTS, "{refused} refusals of {EVENTS} requests");
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM attempts WHERE number <> 1 OR outcome <> 'success'"), [0]);
}

/// Two events, of which the first was refused and has to wait for a long time.
fn held(stub: &Stub) -> Hookbox {
    stub.answer(Answer::header(503, "Retry-After", "1000"));
    let hookbox = patient(stub, "").start();
    hookbox.deliver("push", "d-1", "1");
    wait_for("the hold", || job(&hookbox, 1, "it")["held_until_ms"].as_i64());
    hookbox.deliver("push", "d-2", "2");
    wait_for_state(&hookbox, 2, "it", "queued");
    hookbox
}

#[test]
fn a_hold_lasts_over_a_restart_and_can_be_ended_by_hand() {
    let stub = Stub::http();
    let hookbox = held(&stub).stop().0.start();
    hookbox.deliver("push", "d-3", "3");
    wait_for_state(&hookbox, 3, "it", "queued");
    let hookbox = hookbox.kill9().start();
    let held = job(&hookbox, 1, "it");
    assert_eq!((&held["state"], held["attempts"].as_array().map(Vec::len)), (&"queued".into(), Some(0)), "{held}");
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let left_ms = held["held_until_ms"].as_i64().unwrap() - now_ms;
    assert!((600_000..1_000_001).contains(&left_ms), "{left_ms} ms");
    stub.answer(Answer::Status(200));
    assert_eq!(done(&hookbox, "resume it"), "it is resumed\n");
    hookbox.wait_until_done();
    assert_eq!(bodies(&stub.received()), ["1", "1", "2", "3"]);
    assert_eq!(done(&hookbox, "resume it"), "it was not paused\n");
}

#[test]
fn every_command_says_that_an_action_waits_for_its_destination() {
    let stub = Stub::http();
    let hookbox = held(&stub);
    let shown = done(&hookbox, "show 1");
    let says = "action it: queued, its destination asks to wait until ";
    assert!(shown.contains(says) && shown.contains("503 Service Unavailable"), "{shown}");
    assert!(done(&hookbox, "show 2").contains(says), "{shown}");
    let (_, line) = listed(&hookbox);
    assert!(line.contains("it: asked to wait until ") && line.ends_with(" UTC"), "{line}");
    let stats = done(&hookbox, "stats");
    assert!(stats.contains("it (its destination asks to wait until "), "{stats}");
    for command in ["replay 1", "pause it"] {
        let told = done(&hookbox, command);
        let says = |line: &str| line.starts_with("it waits until ") && line.ends_with("(sooner: hookbox resume it)");
        assert!(told.lines().any(says), "{told}");
    }
    hookbox.wait_for_stderr("the destination asks to wait: the action goes on at ");
    assert_eq!(stub.count(), 1);
}

#[test]
fn waits_use_up_no_attempt_until_they_add_up_to_backoff_max() {
    let stub = Stub::http();
    stub.answer(Answer::header(429, "Retry-After", " 0.2 "));
    let hookbox = patient(&stub, "attempts = 2").start();
    let (config, home) = (std::fs::read_to_string(hookbox.path("hookbox.toml")).unwrap(), hookbox.stop().0);
    home.write("hookbox.toml", config.replace("\"1h\"", "\"400ms\""));
    let hookbox = home.start();
    hookbox.deliver("push", "d-1", "1");
    let job = wait_for_state(&hookbox, 1, "it", "dead");
    let numbers: Vec<_> = job["attempts"].as_array().unwrap().iter().map(|attempt| attempt["number"].clone()).collect();
    assert_eq!((numbers, stub.count()), (vec![1.into(), 2.into()], 4), "{job}");
}

#[test]
fn a_destination_that_does_not_say_how_long_uses_up_attempts() {
    let stub = Stub::http();
    stub.answer(Answer::body(429, "busy"));
    let hookbox = patient(&stub, "attempts = 2").start();
    hookbox.deliver("push", "d-1", "1");
    wait_for_state(&hookbox, 1, "it", "dead");
    assert_eq!(wait_for_attempts(&hookbox, 1, "it", 2).len(), 2);
    assert_eq!(show(&hookbox, 1)["status"], "error");
}

#[test]
fn only_the_action_of_a_destination_that_asks_to_wait_waits() {
    let (busy, other) = (Stub::http(), Stub::http());
    busy.answer(Answer::header(429, "Retry-After", "1000"));
    let both = super::action("other", "http", &format!("url = \"{}\"", other.url("/")));
    let home = patient(&busy, "");
    let config = std::fs::read_to_string(home.path("hookbox.toml")).unwrap();
    home.write("hookbox.toml", config + &both);
    let hookbox = home.start();
    for n in 1..=3 {
        hookbox.deliver("push", &format!("d-{n}"), n.to_string());
    }
    wait_for_state(&hookbox, 3, "other", "succeeded");
    assert_eq!((busy.count(), other.count()), (1, 3));
}
