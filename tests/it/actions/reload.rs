//! SIGHUP: what a new configuration does to queued and running jobs.

use super::{
    action, config, deliver_and_wait, done, job, processes_with, shell, show, status, unique_sleep, wait_for_state,
};
use crate::support::{Answer, Home, Hookbox, Signal, Stub, wait_for};

#[test]
fn the_open_jobs_of_a_removed_action_are_visible_and_can_be_cancelled() {
    let stub = Stub::http();
    stub.answer(Answer::Status(503));
    let gone = action("gone", "http", &format!("url = \"{}\"\nattempts = 1000", stub.url("/")));
    let stays = action("stays", "log", "");
    let hookbox = Home::with_config(&config(&(gone + &stays))).start();
    hookbox.deliver("push", "d-1", "{}");
    stub.wait_for(1);
    hookbox.reload(config(&stays));
    wait_for_state(&hookbox, 1, "gone", "queued");
    let asked = stub.count();
    deliver_and_wait_for_stays(&hookbox);
    assert_eq!(stub.count(), asked, "no worker runs it any more");
    assert_eq!(status(&hookbox, 1), "unprocessed");
    assert!(done(&hookbox, "show 1").contains("action gone: queued"));
    let stats = done(&hookbox, "stats");
    assert!(stats.lines().any(|line| line.starts_with("gone (") && line.contains("not configured) ")), "{stats}");
    assert!(done(&hookbox, "cancel --action gone").contains("cancelled 1 job"));
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
fn a_new_action_gets_only_later_events() {
    let stays = action("stays", "log", "");
    let hookbox = Home::with_config(&config(&stays)).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    hookbox.reload(config(&(stays + &action("new", "log", ""))));
    deliver_and_wait(&hookbox, "push", "d-2", "{}");
    assert_eq!(job(&hookbox, 2, "new")["state"], "succeeded");
    assert_eq!(show(&hookbox, 1)["jobs"].as_array().unwrap().len(), 1);
    done(&hookbox, "replay 1");
    hookbox.wait_until_done();
    assert_eq!(show(&hookbox, 1)["jobs"].as_array().unwrap().len(), 1, "a replay repeats what there was");
}

/// Records that it began, and ends when the file `go` exists.
pub const SLOW: &str = "echo >> began; while [ ! -e go ]; do sleep 0.02; done; echo >> ended";

#[test]
fn a_reload_neither_interrupts_a_running_job_nor_runs_it_twice() {
    let slow = action("slow", "command", &shell(SLOW));
    let hookbox = Home::with_config(&config(&slow)).start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.deliver("push", "d-2", "{}");
    wait_for("the first run", || (hookbox.line_count("began") == 1).then_some(()));
    hookbox.reload(config(&slow));
    hookbox.reload(config(&(slow + &action("new", "log", ""))));
    // `stop_timeout` is a second: longer than that, in which nothing may happen.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!((hookbox.line_count("began"), hookbox.line_count("ended")), (1, 0), "and its successor waits for it");
    hookbox.write("go", "");
    hookbox.wait_until_done();
    assert_eq!((hookbox.line_count("began"), hookbox.line_count("ended")), (2, 2));
    assert_eq!(hookbox.query::<i64>("SELECT max(attempts) FROM jobs"), [1]);
}

#[test]
fn a_stop_waits_for_the_running_job_of_a_removed_action() {
    let long = unique_sleep(86_395);
    let slow = action("slow", "command", &shell(&format!("touch began; sleep {long}; touch ended")));
    let hookbox = Home::with_config(&config(&slow)).start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_for_file("began");
    hookbox.reload(config(&action("new", "log", "")));
    let (home, output) = hookbox.stop();
    assert_eq!(output.code, Some(0), "{output}");
    assert_eq!(processes_with(&long), 0);
    let job = job(&home, 1, "slow");
    assert_eq!((&job["state"], job["attempts"].as_array().unwrap().len()), (&"queued".into(), 1), "{job}");
    assert_eq!(job["attempts"][0]["outcome"], "interrupted");
}

#[test]
fn a_configuration_with_missing_secrets_changes_nothing() {
    let stub = Stub::http();
    let good = action("it", "http", &format!("url = \"{}\"", stub.url("/")));
    let hookbox = Home::with_config(&config(&good)).start();
    hookbox.write("hookbox.toml", config(&action("it", "http", "url = \"env:NOT_THERE\"")));
    hookbox.signal(Signal::HUP);
    hookbox.wait_for_stderr("keeping the old config");
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    assert_eq!(stub.count(), 1);
}
