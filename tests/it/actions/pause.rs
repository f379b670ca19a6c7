//! `hookbox pause` and `hookbox resume`.

use super::{action, config, done, job, listed, shell, wait_for_state, with};
use crate::support::{Home, wait_for};

#[test]
fn a_paused_action_keeps_its_jobs_over_restarts_until_it_is_resumed() {
    let both = action("it", "command", &shell("echo >> ran")) + &action("other", "log", "");
    let hookbox = Home::with_config(&config(&both)).start();
    assert_eq!(done(&hookbox, "pause it"), "it is paused\n");
    assert_eq!(done(&hookbox, "pause it"), "it was paused already\n");
    for n in 1..=3 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    wait_for_state(&hookbox, 3, "other", "succeeded");
    let hookbox = hookbox.stop().0.start();
    hookbox.deliver("push", "d-4", "{}");
    wait_for_state(&hookbox, 4, "other", "succeeded");
    let hookbox = hookbox.kill9().start();
    hookbox.deliver("push", "d-5", "{}");
    wait_for_state(&hookbox, 5, "other", "succeeded");
    assert_eq!(job(&hookbox, 1, "it")["state"], "queued");
    assert!(!hookbox.path("ran").exists());
    assert_eq!(done(&hookbox, "resume it"), "it is resumed\n");
    hookbox.wait_until_done();
    assert_eq!(hookbox.line_count("ran"), 5);
    assert_eq!(done(&hookbox, "resume it"), "it was not paused\n");
}

#[test]
fn stats_and_show_name_a_paused_action() {
    let hookbox = with("command", "run = [\"true\"]").start();
    done(&hookbox, "pause it");
    hookbox.deliver("push", "d-1", "{}");
    wait_for("the job", || (job(&hookbox, 1, "it")["state"] == "queued").then_some(()));
    assert_eq!(job(&hookbox, 1, "it")["paused"], true);
    assert!(done(&hookbox, "show 1").contains("action it: queued, paused\n"));
    let (header, line) = listed(&hookbox);
    assert!(header.ends_with("NOTE") && line.ends_with("  it: paused"), "{header}\n{line}");
    let event = hookbox.run(["list", "--json"]).ok().json();
    assert_eq!((&event["status"], &event["note"]), (&"unprocessed".into(), &"it: paused".into()), "{event}");
    let stats = done(&hookbox, "stats");
    let line = stats.lines().find(|line| line.starts_with("it (paused) "));
    assert!(line.is_some_and(|line| line.split_whitespace().nth(2) == Some("1")), "{stats}");
    let stats = hookbox.run(["stats", "--json"]).ok().json();
    assert_eq!((&stats["actions"][0]["paused"], &stats["actions"][0]["pending"]), (&true.into(), &1.into()), "{stats}");
}

#[test]
fn a_running_job_finishes_when_its_action_is_paused() {
    let hookbox = with("command", &shell("touch began; while [ ! -e go ]; do sleep 0.02; done")).start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_for_file("began");
    done(&hookbox, "pause it");
    hookbox.write("go", "");
    wait_for_state(&hookbox, 1, "it", "succeeded");
}

#[test]
fn only_a_configured_action_can_be_paused_but_any_can_be_resumed() {
    let hookbox = with("log", "").start();
    hookbox.run(["pause", "nobody"]).refused(2, &["nobody", "it"]);
    hookbox.run(["pause"]).refused(2, &["ACTION"]);
    Home::with_config("[actions]\n").run(["pause", "nobody"]).refused(2, &["nobody", "there is: none"]);
    done(&hookbox, "pause it");
    hookbox.write("hookbox.toml", config(&action("new", "log", "")));
    assert_eq!(done(&hookbox, "resume it"), "it is resumed\n");
}
