//! SIGTERM while an action runs. `stop_timeout` is a second.

use std::time::{Duration, Instant};

use super::{job, processes_with, shell, show, unique_sleep, wait_for_state, with};
use crate::support::{Answer, Home, Request, Signal, Stub, patient};

#[track_caller]
fn assert_queued_and_not_counted(home: &Home) {
    let job = job(home, 1, "it");
    assert_eq!(job["state"], "queued", "{job}");
    let lines = "SELECT number || ' ' || outcome || ': ' || detail FROM attempts";
    assert_eq!(home.query::<String>(lines), ["1 interrupted: hookbox was stopped before the attempt ended"]);
    assert_eq!(home.query::<i64>("SELECT tries FROM jobs"), [0], "the retry policy does not count it");
    assert_eq!(show(home, 1)["status"], "unprocessed");
}

#[test]
fn a_hanging_request_is_queued_again_after_stop_timeout_and_not_counted() {
    let stub = Stub::http();
    stub.answer(Answer::Hang);
    let hookbox = with("http", &format!("url = \"{}\"\nattempts = 1", stub.url("/"))).start();
    hookbox.deliver("push", "d-1", "{}");
    stub.wait_for(1);
    let started = Instant::now();
    let (home, output) = hookbox.stop();
    assert_eq!(output.code, Some(0), "{output}");
    assert!(started.elapsed() < patient(Duration::from_secs(5)), "{:?}", started.elapsed());
    assert_queued_and_not_counted(&home);
    stub.answer(Answer::Status(200));
    let hookbox = home.start();
    let job = wait_for_state(&hookbox, 1, "it", "succeeded");
    let numbers: Vec<_> =
        job["attempts"].as_array().unwrap().iter().map(|attempt| attempt["number"].as_u64()).collect();
    assert_eq!(numbers, [Some(1), Some(2)], "{job}");
}

#[test]
fn a_request_answered_within_stop_timeout_succeeds() {
    let stub = Stub::http();
    let answer = stub.answer_when_told(Answer::Status(200), Answer::Close);
    let hookbox = with("http", &format!("url = \"{}\"", stub.url("/"))).start();
    hookbox.deliver("push", "d-1", "{}");
    stub.wait_for(1);
    hookbox.signal(Signal::TERM);
    hookbox.wait_for_stderr("stopping");
    answer.send(()).unwrap();
    let (home, output) = hookbox.wait();
    assert_eq!(output.code, Some(0), "{output}");
    assert_eq!(job(&home, 1, "it")["state"], "succeeded");
}

#[test]
fn a_command_that_ends_within_stop_timeout_succeeds() {
    let hookbox = with("command", &shell("touch began; while [ ! -e go ]; do sleep 0.02; done")).start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_for_file("began");
    hookbox.signal(Signal::TERM);
    hookbox.wait_for_stderr("stopping");
    hookbox.write("go", "");
    let (home, output) = hookbox.wait();
    assert_eq!(output.code, Some(0), "{output}");
    assert_eq!(job(&home, 1, "it")["state"], "succeeded");
}

#[test]
fn a_command_past_stop_timeout_gets_sigterm_then_sigkill_and_is_not_counted() {
    let long = unique_sleep(86_396);
    let polite = format!("touch began; trap 'touch told; exit 0' TERM; sleep {long} & wait");
    let deaf = format!("touch began; trap '' TERM; (trap '' TERM; sleep {long}) & sleep {long}; sleep {long}");
    for (script, told) in [(polite, true), (deaf, false)] {
        let hookbox = with("command", &format!("{}\nattempts = 1", shell(&script))).start();
        hookbox.deliver("push", "d-1", "{}");
        hookbox.wait_for_file("began");
        let (home, output) = hookbox.stop();
        assert_eq!(output.code, Some(0), "{output}");
        assert_eq!(home.path("told").exists(), told);
        assert_eq!(processes_with(&long), 0);
        assert_queued_and_not_counted(&home);
    }
}

#[test]
fn deliveries_are_received_and_the_page_answers_while_a_command_is_awaited() {
    let hookbox = with("command", &shell("touch began; while [ ! -e go ]; do sleep 0.02; done"));
    let hookbox = hookbox.admin(Some("127.0.0.1:0")).start();
    let config = std::fs::read_to_string(hookbox.path("hookbox.toml")).unwrap();
    hookbox.reload(config.replace("stop_timeout = \"1s\"", "stop_timeout = \"1m\""));
    let page = hookbox.admin_address();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_for_file("began");
    hookbox.signal(Signal::TERM);
    hookbox.wait_for_stderr("stopping: waiting for it");
    for n in 2..10 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    assert_eq!(page.send(&Request::get("/healthz").with("Host", "localhost")).status, 200);
    hookbox.write("go", "");
    let (home, output) = hookbox.wait();
    assert_eq!((home.stored(), output.code), (9, Some(0)), "{output}");
    assert_eq!(job(&home, 1, "it")["state"], "succeeded");
    assert_eq!(home.query::<i64>("SELECT count(*) FROM attempts"), [1], "no other job has begun");
}

#[test]
fn queued_jobs_do_not_begin_during_a_stop() {
    let hookbox = with("command", &shell("echo >> began; sleep 0.5")).start();
    for n in 0..10 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    hookbox.wait_for_file("began");
    let home = hookbox.stop().0;
    let runs = home.line_count("began");
    assert!(runs <= 2, "{runs}");
    assert_eq!(home.query::<i64>("SELECT count(*) FROM jobs WHERE state = 'running'"), [0]);
    assert_eq!(home.query::<i64>("SELECT count(*) FROM jobs WHERE state = 'succeeded'"), [runs as i64]);
}
