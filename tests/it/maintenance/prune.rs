//! Old events are pruned, and nothing else.

use std::time::Duration;

use super::{OLD, file_bytes, insert_done, rows};
use crate::support::{
    Home, Hookbox, Request, SOURCE, Senders, Signal, set_clock, wait_for, wait_longer_for, with_clock,
};

/// The housekeeper runs every second if an age is this short, and deletes little at a time.
const PATIENCE: Duration = Duration::from_secs(60);

fn made_before(config: &str) -> Home {
    Home::with_config(&format!("{SOURCE}{config}")).start().stop().0
}

#[track_caller]
fn wait_for_stored(hookbox: &Hookbox, status: &str, count: i64) {
    let sql = format!("SELECT count(*) FROM webhook_events WHERE status = '{status}'");
    wait_longer_for(&format!("{count} events {status}"), PATIENCE, || {
        (hookbox.query::<i64>(&sql) == [count]).then_some(())
    });
}

#[test]
fn serve_prunes_old_events_with_their_jobs_and_attempts() {
    let home = made_before("[retention]\nprocessed = \"10s\"\n");
    insert_done(&home, 100, "processed", OLD, 100);
    insert_done(&home, 5, "error", OLD, 100);
    let hookbox = home.start();
    hookbox.deliver("push", "new", "{}");
    wait_for_stored(&hookbox, "error", 5);
    wait_longer_for("the old ones to go", PATIENCE, || (rows(&hookbox) == [6, 6, 5]).then_some(()));
    hookbox.wait_for_stderr("pruned 100 events");
    assert!(!hookbox.stderr().contains("kept forever"), "{}", hookbox.stderr());
    hookbox.assert_sound();
}

#[test]
fn each_status_has_its_own_retention_and_a_reload_changes_it() {
    let home = made_before("[retention]\nerror = \"1s\"\n");
    insert_done(&home, 3, "processed", OLD, 100);
    insert_done(&home, 3, "error", OLD, 100);
    let hookbox = home.start();
    wait_for_stored(&hookbox, "error", 0);
    assert_eq!(rows(&hookbox), [3, 3, 3]);
    hookbox.write("hookbox.toml", format!("{SOURCE}[retention]\nduplicates = \"1s\"\n"));
    hookbox.signal(Signal::HUP);
    let counted = "SELECT sum(duplicates) FROM webhook_events";
    wait_longer_for("the counts to go", PATIENCE, || (hookbox.query::<i64>(counted) == [0]).then_some(()));
    assert_eq!(rows(&hookbox), [3, 3, 3], "only the counts");
}

#[test]
fn without_retention_everything_is_kept_and_the_log_says_so_once() {
    let hookbox = Home::new().start();
    hookbox.wait_for_stderr("listening");
    assert_eq!(hookbox.stderr().matches("events are kept forever").count(), 1, "{}", hookbox.stderr());
}

#[test]
fn unprocessed_events_and_those_with_an_open_job_are_never_pruned() {
    let home = made_before("[retention]\nprocessed = \"1s\"\nerror = \"1s\"\n[actions]\n");
    insert_done(&home, 1, "unprocessed", OLD, 100);
    insert_done(&home, 2, "error", OLD, 100);
    // Another program has marked it in error while a job was open, and queued that again.
    let open = "INSERT INTO jobs (event_id, action, state, due_at_ms)
        SELECT min(id), 'team', 'queued', 0 FROM webhook_events WHERE status = 'error'";
    home.db().execute_batch(open).unwrap();
    insert_done(&home, 1, "processed", OLD, 100);
    let hookbox = home.start();
    for status in ["error", "unprocessed"] {
        wait_for_stored(&hookbox, "processed", 0);
        wait_for_stored(&hookbox, status, 1);
    }
    let kept = || hookbox.run(["prune", "--older-than", "1s", "--status", "error"]).ok().text();
    assert!(kept().contains("pruned 0 events"), "{}", kept());
    assert_eq!(hookbox.query::<String>("SELECT status FROM webhook_events ORDER BY id"), ["unprocessed", "error"]);
}

#[test]
fn a_replayed_event_is_as_old_as_its_replay_and_hides_no_older_ones() {
    let home = made_before("");
    insert_done(&home, 30, "processed", OLD, 100);
    home.db()
        .execute_batch("UPDATE webhook_events SET processed_at = strftime('%Y-%m-%dT%H:%M:%S+00:00') WHERE id <= 10")
        .unwrap();
    home.run(["prune", "--older-than", "1d"]).ok();
    assert_eq!(home.query::<i64>("SELECT id FROM webhook_events"), (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_clock_set_ahead_a_year_prunes_nothing() {
    let home = Home::with_config(&format!("{SOURCE}[retention]\nprocessed = \"10s\"\n"));
    let Some(home) = with_clock(home, "+0") else { return };
    let (home, _) = home.start().stop();
    let hookbox = home.start();
    set_clock(&hookbox, "+1y");
    // Done after the jump, before the next one.
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    set_clock(&hookbox, "+2y");
    hookbox.wait_for_stderr("nothing is pruned until");
    assert_eq!(hookbox.stored(), 1);
    let (home, _) = hookbox.stop();
    assert!(
        home.run(["prune", "--older-than", "10s", "--dry-run"]).ok().text().contains("1 events"),
        "a command prunes it"
    );
}

#[test]
fn nothing_is_pruned_before_the_clock_is_set_and_prune_says_so() {
    let home = Home::with_config(&format!("{SOURCE}[retention]\nprocessed = \"1s\"\n"));
    let Some(home) = with_clock(home, "@2009-12-01 00:01:00") else { return };
    let hookbox = home.start();
    insert_done(&hookbox, 3, "processed", OLD, 100);
    insert_done(&hookbox, 3, "processed", "2009-01-31T12:00:00+00:00", 100);
    hookbox.wait_for_stderr("nothing is pruned until");
    hookbox.run(["prune"]).refused(1, &["clock"]);
    hookbox.run(["prune", "--older-than", "1s"]).refused(1, &["clock"]);
    assert_eq!(hookbox.stored(), 6);
}

#[test]
fn prune_uses_the_config_or_its_options_and_a_dry_run_changes_nothing() {
    let home = made_before("[retention]\nprocessed = \"90d\"\n");
    insert_done(&home, 50, "processed", OLD, 1000);
    insert_done(&home, 7, "error", OLD, 1000);
    let text = |args: &[&str]| home.run([&["prune"], args].concat()).ok().text();
    assert!(text(&["--dry-run"]).starts_with("would prune 50 events, 48 KiB"), "{}", text(&["--dry-run"]));
    assert_eq!(text(&["--dry-run", "--older-than", "100y"]), "would prune 0 events, 0 KiB\n");
    assert_eq!(rows(&home), [57; 3]);
    home.run(["prune", "--status", "error"]).refused(2, &["--older-than", "[retention]"]);
    home.run(["prune", "--status", "unprocessed"]).refused(2, &["never pruned"]);
    assert!(text(&["--status", "error", "--older-than", "1y"]).starts_with("pruned 7 events"));
    assert_eq!(rows(&home), [50; 3]);
    assert!(text(&[]).starts_with("pruned 50 events"));
    assert_eq!(rows(&home), [0; 3]);
}

#[test]
fn prune_takes_the_filters_of_list_and_says_what_it_keeps() {
    let home = made_before("");
    insert_done(&home, 5, "processed", OLD, 100);
    insert_done(&home, 1, "unprocessed", OLD, 100);
    home.db().execute_batch("UPDATE webhook_events SET source = 'other' WHERE id = 2").unwrap();
    let text = |args: &str| home.run(format!("prune {args}").split(' ')).ok().text();
    assert!(text("--older-than 1d --source other --dry-run").starts_with("would prune 1 events"));
    assert!(text("--older-than 1d --source other").starts_with("pruned 1 events"));
    assert!(text("--older-than 1d --before 2 --grep processed-").starts_with("pruned 1 events"));
    home.run(["prune", "--source", "github"]).refused(2, &["[retention]"]);
    let named = text("4 6");
    assert!(named.starts_with("event 6: not pruned: ") && named.contains("pruned 1 events"), "{named}");
    assert_eq!(home.query::<i64>("SELECT id FROM webhook_events"), [3, 5, 6]);
}

#[test]
fn prune_without_any_age_says_where_to_write_one() {
    made_before("").run(["prune"]).refused(2, &["[retention]", "--older-than"]);
    let home = Home::new();
    home.run(["prune", "--older-than", "1d"]).refused(2, &["no database"]);
    assert!(!home.path("webhooks.db").exists());
}

#[test]
fn freed_pages_are_used_again_and_vacuum_gives_them_back() {
    let home = made_before("");
    insert_done(&home, 300, "processed", OLD, 20_000);
    insert_done(&home, 10, "error", OLD, 20_000);
    let size = || {
        home.db().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        file_bytes(&home, "webhooks.db")
    };
    let full = size();
    home.run(["prune", "--older-than", "1d"]).ok();
    insert_done(&home, 290, "processed", OLD, 20_000);
    assert!(size() <= full, "{} > {full}", size());
    home.run(["prune", "--older-than", "1d", "--vacuum"]).ok();
    assert!(size() < full / 10, "{} of {full}", size());
    assert_eq!(rows(&home), [10; 3]);
    home.assert_sound();
}

#[test]
fn vacuum_beside_a_server_does_what_takes_a_moment_and_refuses_the_rest() {
    let home = made_before("[actions]\n");
    insert_done(&home, 600, "processed", OLD, 20_000);
    insert_done(&home, 500, "error", OLD, 20_000);
    let hookbox = home.start();
    let refused = hookbox.run(["prune", "--older-than", "1d", "--vacuum"]);
    refused.refused(1, &["stop hookbox serve"]);
    assert!(refused.text().starts_with("pruned 600 events"), "{refused}");
    let full = file_bytes(&hookbox, "webhooks.db");
    let done = hookbox.run(["prune", "--older-than", "1d", "--status", "error", "--vacuum"]).ok();
    assert!(done.text().contains("back to the file system"), "{done}");
    assert!(file_bytes(&hookbox, "webhooks.db") < full / 10);
    hookbox.deliver("push", "after", "{}");
    assert_eq!(hookbox.send(&Request::get("/healthz")).status, 200);
}

#[test]
fn every_delivery_is_stored_while_prune_deletes_thousands() {
    let home = made_before("[retention]\nprocessed = \"1s\"\n");
    insert_done(&home, 8_000, "processed", OLD, 3_000);
    insert_done(&home, 500, "error", OLD, 3_000);
    let hookbox = home.start();
    let senders = Senders::start(2, "d", &hookbox.address());
    // The housekeeper deletes events of one status, and the command of the other.
    hookbox.run(["prune", "--older-than", "1d", "--status", "error"]).ok();
    let left = "SELECT count(*) FROM webhook_events WHERE delivery_id LIKE 'processed-%'";
    wait_for("the housekeeper to have begun", || (hookbox.query::<i64>(left)[0] < 8_000).then_some(()));
    let acknowledged = senders.acknowledged();
    assert!(!hookbox.stderr().contains("refused"), "no delivery waited too long: {}", hookbox.stderr());
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM webhook_events WHERE status = 'error'"), [0]);
    println!("{} acknowledged", acknowledged.len());
    hookbox.assert_sound();
}
