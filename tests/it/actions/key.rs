//! `key`, `latest_only` and `delay`: the order of an action's jobs.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{JOB_DEADLINE, action, config, done, listed, shell, show, status};
use crate::support::{Answer, Home, Hookbox, Stub, wait_for, wait_longer_for};

/// Puts a push live, unless it is `A` and there is no file `go`. Says where two overlap.
const DEPLOY: &str = r#"mkdir busy || echo overlap >> overlaps
    trap 'rmdir busy' EXIT
    push=$(grep -o '"after":"[^"]*"' | cut -d '"' -f 4)
    echo "$push" >> begun
    [ "$push" != A ] || [ -e go ] || exit 1
    echo "$push" >> live"#;

/// As [`DEPLOY`], and it takes until there is a file `go`.
const SLOW: &str = r#"mkdir busy || echo overlap >> overlaps
    push=$(grep -o '"after":"[^"]*"' | cut -d '"' -f 4)
    echo "$push" >> begun
    while [ ! -e go ]; do sleep 0.02; done
    rmdir busy
    echo "$push" >> live"#;

const KEY: &str = "key = \"{{ payload.site }}\"\n";
const LATEST: &str = "key = \"{{ payload.site }}\"\nlatest_only = true\n";

fn deploy(script: &str, keys: &str) -> String {
    config(&action("deploy", "command", &format!("{}\n{keys}", shell(script))))
}

fn push(hookbox: &Hookbox, site: &str, after: &str) {
    let body = format!(r#"{{"site":"{site}","after":"{after}"}}"#);
    hookbox.deliver("push", &format!("{site}-{after}"), body);
}

fn lines(home: &Home, name: &str) -> Vec<String> {
    let text = fs::read_to_string(home.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn wait_for_lines(home: &Home, name: &str, expected: &[&str]) {
    let what = format!("{expected:?} in {name}");
    wait_longer_for(&what, JOB_DEADLINE, || (lines(home, name) == expected).then_some(()));
}

fn only_job(home: &Home, event: i64) -> Value {
    show(home, event)["jobs"][0].clone()
}

fn state(home: &Home, event: i64) -> String {
    only_job(home, event)["state"].as_str().unwrap_or_default().to_owned()
}

fn superseded_by(home: &Home, event: i64) -> Option<i64> {
    let job = only_job(home, event);
    (job["state"] == "superseded").then(|| job["superseded_by"].as_i64()).flatten()
}

#[test]
fn a_push_that_fails_at_first_does_not_go_live_after_a_later_one() {
    let hookbox = Home::with_config(&deploy(DEPLOY, &format!("{KEY}attempts = 1000"))).start();
    push(&hookbox, "a", "A");
    wait_for("the first attempt", || (!lines(&hookbox, "begun").is_empty()).then_some(()));
    push(&hookbox, "a", "B");
    wait_for("its job", || (only_job(&hookbox, 2)["waits_for"] == 1).then_some(()));
    let text = done(&hookbox, "show 2");
    assert!(text.contains("action deploy: queued, waits for event 1 (same key)"), "{text}");
    let (_, line) = listed(&hookbox);
    assert!(line.ends_with("deploy: waits for event 1"), "{line}");
    hookbox.write("go", "");
    hookbox.wait_until_done();
    assert_eq!(lines(&hookbox, "live"), ["A", "B"]);
    assert_eq!(hookbox.line_count("overlaps"), 0);
}

#[test]
fn with_latest_only_a_later_push_takes_the_place_of_one_that_failed() {
    let patient = "backoff = \"1h\"\nbackoff_max = \"1h\"";
    let config = deploy(DEPLOY, LATEST).replace("backoff = \"100ms\"\nbackoff_max = \"100ms\"", patient);
    let hookbox = Home::with_config(&config).start();
    push(&hookbox, "a", "A");
    wait_for("the first attempt", || (only_job(&hookbox, 1)["attempts"][0]["outcome"] == "retry").then_some(()));
    push(&hookbox, "a", "B");
    hookbox.wait_until_done();
    assert_eq!(lines(&hookbox, "live"), ["B"]);
    assert_eq!((superseded_by(&hookbox, 1), status(&hookbox, 1).as_str()), (Some(2), "processed"));
    assert!(done(&hookbox, "show 1").contains("action deploy: superseded by event 2\n"));
}

#[test]
fn a_push_that_fails_after_a_later_one_has_come_does_not_delay_it() {
    let script = "until [ -e second ]; do sleep 0.02; done\n".to_owned() + DEPLOY;
    let patient = "backoff = \"1h\"\nbackoff_max = \"1h\"";
    let config = deploy(&script, LATEST).replace("backoff = \"100ms\"\nbackoff_max = \"100ms\"", patient);
    let hookbox = Home::with_config(&config).start();
    push(&hookbox, "a", "A");
    wait_for("it to run", || (state(&hookbox, 1) == "running").then_some(()));
    push(&hookbox, "a", "B");
    wait_for("its job", || (state(&hookbox, 2) == "queued").then_some(()));
    hookbox.write("second", "");
    hookbox.wait_until_done();
    assert_eq!((lines(&hookbox, "live"), superseded_by(&hookbox, 1)), (vec!["B".to_owned()], Some(2)));
}

#[test]
fn ten_pushes_in_a_burst_are_one_deploy_of_the_last() {
    let hookbox = Home::with_config(&deploy(DEPLOY, &format!("{LATEST}delay = \"2s\""))).start();
    let begun = Instant::now();
    for n in 1..=10 {
        push(&hookbox, "a", &n.to_string());
    }
    hookbox.wait_until_done();
    assert!(begun.elapsed() >= Duration::from_secs(2), "not before the delay");
    assert_eq!(lines(&hookbox, "begun"), ["10"]);
    for event in 1..=9 {
        assert_eq!((superseded_by(&hookbox, event), status(&hookbox, event).as_str()), (Some(10), "processed"));
    }
    let stats = hookbox.run(["stats", "--json"]).ok().json();
    let counts = &stats["actions"][0];
    assert_eq!((&counts["superseded"], &counts["succeeded"], &counts["pending"]), (&9.into(), &1.into(), &0.into()));
    assert!(done(&hookbox, "stats").contains("SUPERSEDED"));
}

#[test]
fn what_runs_is_not_broken_off_and_the_newest_of_those_that_wait_is_next() {
    let hookbox = Home::with_config(&deploy(SLOW, &format!("{LATEST}concurrency = 4"))).start();
    push(&hookbox, "a", "1");
    wait_for_lines(&hookbox, "begun", &["1"]);
    for n in 2..=5 {
        push(&hookbox, "a", &n.to_string());
    }
    wait_for("their jobs", || (only_job(&hookbox, 5)["waits_for"] == 1).then_some(()));
    hookbox.write("go", "");
    hookbox.wait_until_done();
    assert_eq!((lines(&hookbox, "live"), hookbox.line_count("overlaps")), (vec!["1".to_owned(), "5".to_owned()], 0));
    let superseded: Vec<_> = (1..=5).map(|event| superseded_by(&hookbox, event)).collect();
    assert_eq!(superseded, [None, Some(5), Some(5), Some(5), None]);
}

#[test]
fn latest_only_without_a_key_is_about_all_jobs_of_the_action() {
    let hookbox = Home::with_config(&deploy(SLOW, "latest_only = true\nconcurrency = 4")).start();
    push(&hookbox, "a", "1");
    wait_for_lines(&hookbox, "begun", &["1"]);
    push(&hookbox, "b", "2");
    push(&hookbox, "c", "3");
    wait_for("their jobs", || (only_job(&hookbox, 3)["waits_for"] == 1).then_some(()));
    hookbox.write("go", "");
    hookbox.wait_until_done();
    assert_eq!(lines(&hookbox, "live"), ["1", "3"]);
}

#[test]
fn a_failing_job_holds_up_its_key_and_no_other() {
    let stub = Stub::http();
    stub.answer_by(|request| Answer::Status(if request.text().contains("bad") { 503 } else { 200 }));
    let keys = format!("url = \"{}\"\n{KEY}attempts = 1000\nconcurrency = 3", stub.url("/"));
    let hookbox = Home::with_config(&config(&action("it", "http", &keys))).start();
    push(&hookbox, "bad", "1");
    push(&hookbox, "bad", "2");
    push(&hookbox, "good", "3");
    push(&hookbox, "good", "4");
    for event in [3, 4] {
        wait_for("the other key", || (state(&hookbox, event) == "succeeded").then_some(()));
    }
    wait_for("several attempts", || (only_job(&hookbox, 1)["attempts"].as_array()?.len() >= 3).then_some(()));
    assert_eq!(only_job(&hookbox, 2)["attempts"].as_array().unwrap().len(), 0);
    // What is dead, or cancelled, is at its end.
    done(&hookbox, "cancel 1");
    wait_for("its successor", || (!only_job(&hookbox, 2)["attempts"].as_array()?.is_empty()).then_some(()));
}

#[test]
fn a_dead_job_holds_up_nothing() {
    let hookbox = Home::with_config(&deploy(DEPLOY, &format!("{KEY}attempts = 2"))).start();
    push(&hookbox, "a", "A");
    push(&hookbox, "a", "B");
    hookbox.wait_until_done();
    assert_eq!((state(&hookbox, 1).as_str(), lines(&hookbox, "live")), ("dead", vec!["B".to_owned()]));
}

#[test]
fn jobs_of_one_key_never_overlap_and_keep_their_order() {
    let script = r#"body=$(cat); site=$(echo "$body" | cut -d '"' -f 4)
        mkdir "busy-$site" || echo overlap >> overlaps
        echo "$body" | cut -d '"' -f 8 >> "order-$site"
        sleep 0.03; rmdir "busy-$site""#;
    let hookbox = Home::with_config(&deploy(script, &format!("{KEY}concurrency = 6"))).start();
    let numbers: Vec<String> = (10..25).map(|n| n.to_string()).collect();
    for n in &numbers {
        push(&hookbox, "a", n);
        push(&hookbox, "b", n);
        push(&hookbox, "c", n);
    }
    hookbox.wait_until_done();
    assert_eq!(hookbox.line_count("overlaps"), 0);
    for site in ["a", "b", "c"] {
        assert_eq!(lines(&hookbox, &format!("order-{site}")), numbers);
    }
}

#[test]
fn claims_in_memory_keep_the_order_of_a_key_too() {
    let stub = Stub::http();
    stub.answer(Answer::Status(200));
    let keys = format!("url = \"{}\"\n{KEY}concurrency = 6", stub.url("/"));
    let hookbox = Home::with_config(&config(&action("it", "http", &keys))).start();
    for n in 10..60 {
        push(&hookbox, "a", &n.to_string());
    }
    hookbox.wait_until_done();
    let sent: Vec<String> =
        stub.received().iter().map(|request| request.json()["after"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sent, (10..60).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn steady_pushes_starve_nothing() {
    let hookbox = Home::with_config(&deploy(DEPLOY, &format!("{LATEST}delay = \"1s\""))).start();
    let begun = Instant::now();
    let mut count = 0;
    // Each comes before the delay of the one before it is over.
    while lines(&hookbox, "live").len() < 2 {
        assert!(begun.elapsed() < JOB_DEADLINE, "nothing is done while pushes come");
        count += 1;
        push(&hookbox, "a", &count.to_string());
        sleep(Duration::from_millis(100));
    }
    hookbox.wait_until_done();
    assert_eq!(lines(&hookbox, "live").last(), Some(&count.to_string()));
    assert!(hookbox.line_count("live") < count / 2, "{count} pushes");
}

#[test]
fn a_delay_alone_postpones_each_job() {
    let hookbox = Home::with_config(&deploy(DEPLOY, "delay = \"2s\"")).start();
    let begun = Instant::now();
    push(&hookbox, "a", "1");
    push(&hookbox, "a", "2");
    let text = done(&hookbox, "show 1");
    assert!(text.contains("action deploy: queued until 20"), "{text}");
    hookbox.wait_until_done();
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(lines(&hookbox, "live"), ["1", "2"]);
}

#[test]
fn a_kill_in_between_changes_nothing_about_the_order() {
    let keys = format!("{KEY}concurrency = 4\nattempts = 10");
    let hookbox = Home::with_config(&deploy(SLOW, &keys)).start();
    push(&hookbox, "a", "1");
    wait_for_lines(&hookbox, "begun", &["1"]);
    for n in 2..=4 {
        push(&hookbox, "a", &n.to_string());
    }
    wait_for("their jobs", || (only_job(&hookbox, 4)["waits_for"] == 1).then_some(()));
    let home = hookbox.kill9();
    home.write("go", ""); // the command has outlived the program
    wait_for("its end", || (!home.path("busy").exists()).then_some(()));
    let hookbox = home.start();
    push(&hookbox, "a", "5");
    hookbox.wait_until_done();
    assert_eq!(lines(&hookbox, "live"), ["1", "1", "2", "3", "4", "5"]);
    assert_eq!(hookbox.line_count("overlaps"), 0);
}

#[test]
fn a_reload_while_a_job_runs_begins_no_other_of_its_key() {
    let keys = format!("{LATEST}concurrency = 2");
    let hookbox = Home::with_config(&deploy(SLOW, &keys)).start();
    push(&hookbox, "a", "1");
    wait_for_lines(&hookbox, "begun", &["1"]);
    push(&hookbox, "a", "2");
    hookbox.reload(deploy(SLOW, &format!("{LATEST}concurrency = 3")));
    push(&hookbox, "a", "3");
    push(&hookbox, "b", "4");
    wait_for("another key", || (hookbox.line_count("begun") > 1).then_some(()));
    assert_eq!(lines(&hookbox, "begun"), ["1", "4"]);
    hookbox.write("go", "");
    hookbox.wait_until_done();
    let of_a: Vec<String> = lines(&hookbox, "live").into_iter().filter(|push| push != "4").collect();
    assert_eq!((of_a, superseded_by(&hookbox, 2)), (vec!["1".to_owned(), "3".to_owned()], Some(3)));
}

#[test]
fn a_cancelled_job_whose_attempt_is_under_way_has_its_key_until_it_ends() {
    let hookbox = Home::with_config(&deploy(SLOW, &format!("{KEY}concurrency = 2"))).start();
    push(&hookbox, "a", "1");
    wait_for_lines(&hookbox, "begun", &["1"]);
    push(&hookbox, "a", "2");
    push(&hookbox, "b", "3");
    done(&hookbox, "cancel 1");
    wait_for("another key", || (hookbox.line_count("begun") > 1).then_some(()));
    assert_eq!(lines(&hookbox, "begun"), ["1", "3"]);
    hookbox.write("go", "");
    hookbox.wait_until_done();
    assert_eq!(state(&hookbox, 2), "succeeded");
}

#[test]
fn a_replayed_job_supersedes_none_and_is_superseded_by_none() {
    let hookbox = Home::with_config(&deploy(SLOW, LATEST)).start();
    push(&hookbox, "a", "1");
    wait_for_lines(&hookbox, "begun", &["1"]);
    push(&hookbox, "a", "2");
    push(&hookbox, "a", "3");
    wait_for("its job", || (only_job(&hookbox, 3)["waits_for"] == 1).then_some(()));
    hookbox.write("go", "");
    hookbox.wait_until_done();
    assert_eq!(superseded_by(&hookbox, 2), Some(3));
    fs::remove_file(hookbox.path("go")).unwrap();
    push(&hookbox, "a", "4");
    wait_for("4", || (lines(&hookbox, "begun").last()? == "4").then_some(()));
    push(&hookbox, "a", "5");
    push(&hookbox, "a", "6");
    done(&hookbox, "replay 2 --again");
    wait_for("its job", || (state(&hookbox, 6) == "queued" && state(&hookbox, 2) == "queued").then_some(()));
    hookbox.write("go", "");
    hookbox.wait_until_done();
    assert_eq!(lines(&hookbox, "live"), ["1", "3", "4", "2", "6"]);
    assert_eq!((superseded_by(&hookbox, 5), superseded_by(&hookbox, 2)), (Some(6), None));
    assert_eq!(hookbox.line_count("overlaps"), 0);
}

#[test]
fn a_job_that_waits_for_its_retry_can_be_tried_now_and_its_successor_goes_on_after_it() {
    let patient = "backoff = \"1h\"\nbackoff_max = \"1h\"";
    let config = deploy(DEPLOY, KEY).replace("backoff = \"100ms\"\nbackoff_max = \"100ms\"", patient);
    let hookbox = Home::with_config(&config).start();
    push(&hookbox, "a", "A");
    wait_for("the first attempt", || (only_job(&hookbox, 1)["attempts"][0]["outcome"] == "retry").then_some(()));
    push(&hookbox, "a", "B");
    wait_for("its job", || (only_job(&hookbox, 2)["waits_for"] == 1).then_some(()));
    done(&hookbox, "replay 2");
    hookbox.write("go", "");
    done(&hookbox, "replay 1");
    hookbox.wait_until_done();
    assert_eq!(lines(&hookbox, "live"), ["A", "B"]);
}

#[test]
fn a_job_whose_key_cannot_be_evaluated_is_dead() {
    let keys = "key = \"{{ payload.list | map(attribute='a') | sum }}\"";
    let hookbox = Home::with_config(&deploy("echo >> live", keys)).start();
    hookbox.deliver("push", "d-1", r#"{"list":[{"a":"x"},{"a":1}]}"#);
    hookbox.wait_until_done();
    assert_eq!((state(&hookbox, 1).as_str(), hookbox.line_count("live")), ("dead", 0));
}

#[test]
fn a_deleted_event_frees_its_key() {
    let hookbox = Home::with_config(&deploy(DEPLOY, &format!("{KEY}attempts = 1000"))).start();
    push(&hookbox, "a", "A");
    wait_for("the first attempt", || (!lines(&hookbox, "begun").is_empty()).then_some(()));
    push(&hookbox, "a", "B");
    wait_for("its job", || (only_job(&hookbox, 2)["waits_for"] == 1).then_some(()));
    hookbox.db().execute("DELETE FROM webhook_events WHERE id = 1", []).unwrap();
    wait_for_lines(&hookbox, "live", &["B"]);
}

#[test]
fn a_condition_still_decides_and_a_push_that_it_excludes_supersedes_nothing() {
    let keys = format!("{LATEST}delay = \"1s\"\nwhen = \"payload.after != 'other'\"");
    let hookbox = Home::with_config(&deploy(DEPLOY, &keys)).start();
    push(&hookbox, "a", "1");
    push(&hookbox, "a", "other");
    // Too large for a condition that the router evaluates without a key.
    let large = format!(r#"{{"site":"a","after":"other","pad":"{}"}}"#, "x".repeat(2 << 20));
    hookbox.deliver("push", "large", large);
    hookbox.wait_until_done();
    assert_eq!((lines(&hookbox, "live"), superseded_by(&hookbox, 1)), (vec!["1".to_owned()], None));
}

#[test]
fn check_prints_the_order_and_the_key_of_an_event() {
    let hookbox = Home::with_config(&deploy(DEPLOY, &format!("{LATEST}delay = \"10s\""))).start();
    let text = done(&hookbox, "check");
    for part in ["key {{ payload.site }}", "latest_only", "delay 10s"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    push(&hookbox, "blog", "1");
    let text = done(&hookbox, "check --event 1");
    assert!(text.contains("key \"blog\""), "{text}");
}
