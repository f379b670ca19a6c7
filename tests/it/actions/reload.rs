//! SIGHUP: what a new configuration does to jobs and to what is running.

use super::{
    action, config, deliver_and_wait, done, job, processes_with, shell, show, status, unheard_of, wait_for_state,
};
use crate::support::{Answer, Home, Hookbox, Signal, Stub, wait_for};

fn reload(hookbox: &Hookbox, actions: &str) {
    let before = hookbox.stderr().matches("configuration reloaded").count();
    hookbox.write("hookbox.toml", config(actions));
    hookbox.signal(Signal::HUP);
    wait_for("the reload", || (hookbox.stderr().matches("configuration reloaded").count() > before).then_some(()));
}

#[test]
fn the_open_jobs_of_a_removed_action_are_visible_and_can_be_cancelled() {
    let stub = Stub::http();
    stub.answer(Answer::Status(503));
    let gone = action("gone", "http", &format!("url = \"{}\"\nattempts = 1000", stub.url("/")));
    let stays = action("stays", "log", "");
    let hookbox = Home::with_config(&config(&(gone + &stays))).start();
    hookbox.deliver("push", "d-1", "{}");
    stub.wait_for(1);
    reload(&hookbox, &stays);
    wait_for_state(&hookbox, 1, "gone", "queued");
    let asked = stub.count();
    deliver_and_wait_for_stays(&hookbox);
    assert_eq!(stub.count(), asked, "nobody works for it any more");
    assert_eq!(status(&hookbox, 1), "unprocessed");
    assert!(done(&hookbox, "show 1").contains("action gone: queued"));
    assert!(done(&hookbox, "stats").contains("\ngone (not configured) "));
    assert_eq!(done(&hookbox, "cancel --action gone"), "cancelled the open jobs of 1 event\n");
    assert_eq!(
        (status(&hookbox, 1).as_str(), job(&hookbox, 1, "gone")["state"].as_str()),
        ("processed", Some("cancelled"))
    );
}

fn deliver_and_wait_for_stays(hookbox: &Hookbox) {
    hookbox.deliver("push", "d-2", "{}");
    wait_for_state(hookbox, 2, "stays", "succeeded");
}

#[test]
fn a_new_action_is_for_events_from_then_on() {
    let stays = action("stays", "log", "");
    let hookbox = Home::with_config(&config(&stays)).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    reload(&hookbox, &(stays + &action("new", "log", "")));
    deliver_and_wait(&hookbox, "push", "d-2", "{}");
    assert_eq!(job(&hookbox, 2, "new")["state"], "succeeded");
    assert_eq!(show(&hookbox, 1)["jobs"].as_array().unwrap().len(), 1);
    done(&hookbox, "replay 1");
    hookbox.wait_until_done();
    assert_eq!(show(&hookbox, 1)["jobs"].as_array().unwrap().len(), 1, "a replay repeats what there was");
}

/// Says that it began, and ends when it may.
const SLOW: &str = "echo >> began; while [ ! -e go ]; do sleep 0.02; done; echo >> ended";

fn lines(home: &Home, file: &str) -> usize {
    std::fs::read_to_string(home.path(file)).unwrap_or_default().lines().count()
}

#[test]
fn a_reload_neither_breaks_off_what_is_running_nor_runs_it_twice() {
    let slow = action("slow", "command", &shell(SLOW));
    let hookbox = Home::with_config(&config(&slow)).start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.deliver("push", "d-2", "{}");
    wait_for("the first run", || (lines(&hookbox, "began") == 1).then_some(()));
    reload(&hookbox, &slow);
    reload(&hookbox, &(slow + &action("new", "log", "")));
    // `stop_timeout` is a second: a stop would have broken it off by now. Not a wait for something.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!((lines(&hookbox, "began"), lines(&hookbox, "ended")), (1, 0), "and its successor waits for it");
    hookbox.write("go", "");
    hookbox.wait_until_done();
    assert_eq!((lines(&hookbox, "began"), lines(&hookbox, "ended")), (2, 2));
    assert_eq!(hookbox.query::<i64>("SELECT max(attempts) FROM jobs"), [1]);
}

#[test]
fn what_a_removed_action_was_doing_is_waited_for_at_the_stop() {
    let long = unheard_of(86_395);
    let slow = action("slow", "command", &shell(&format!("touch began; sleep {long}; touch ended")));
    let hookbox = Home::with_config(&config(&slow)).start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for("the run", || hookbox.path("began").exists().then_some(()));
    reload(&hookbox, &action("new", "log", ""));
    let (home, output) = hookbox.stop();
    assert_eq!(output.code, Some(0), "{output}");
    assert_eq!(processes_with(&long), 0);
    let job = job(&home, 1, "slow");
    assert_eq!((&job["state"], job["attempts"].as_array().unwrap().len()), (&"queued".into(), 0), "{job}");
}

#[test]
fn what_has_begun_keeps_the_time_at_the_stop_that_it_was_given() {
    let patient =
        config(&action("it", "command", &shell(SLOW))).replace("stop_timeout = \"1s\"", "stop_timeout = \"60s\"");
    let hookbox = Home::with_config(&patient).start();
    hookbox.deliver("push", "d-1", "{}");
    wait_for("the run", || (lines(&hookbox, "began") == 1).then_some(()));
    reload(&hookbox, &action("it", "log", ""));
    hookbox.signal(Signal::TERM);
    hookbox.wait_for_stderr("stopping");
    // The new `stop_timeout` is a second. Not a wait for something.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    hookbox.write("go", "");
    let (home, output) = hookbox.wait();
    assert!(!output.stderr.contains("did not finish"), "{output}");
    assert_eq!(lines(&home, "ended"), 1);
    assert_eq!(job(&home, 1, "it")["state"], "succeeded");
}

#[test]
fn a_configuration_whose_secrets_are_missing_changes_nothing() {
    let stub = Stub::http();
    let good = action("it", "http", &format!("url = \"{}\"", stub.url("/")));
    let hookbox = Home::with_config(&config(&good)).start();
    hookbox.write("hookbox.toml", config(&action("it", "http", "url = \"env:NOT_THERE\"")));
    hookbox.signal(Signal::HUP);
    hookbox.wait_for_stderr("keeping the old configuration");
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    assert_eq!(stub.count(), 1);
}
