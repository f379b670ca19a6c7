//! Other programs that write to the database: their triggers, and rows that they change.

use std::time::Duration;

use crate::older_program::insert;
use crate::support::{Home, Hookbox, Output, Request, SOURCE, wait_for};

/// A database of hookbox with objects and rows of another program.
fn with_foreign(sql: &str) -> Home {
    let (home, _) = Home::new().start().stop();
    home.db().execute_batch(sql).unwrap();
    home
}

fn statuses(home: &Home) -> Vec<String> {
    home.query("SELECT id || ' ' || status FROM webhook_events ORDER BY id")
}

/// A server with three events, after it has processed the first and the third. A trigger of another program keeps the second
/// unprocessed.
fn with_an_event_that_stays_unprocessed(config: &str) -> Hookbox {
    let trigger = "CREATE TRIGGER never_done BEFORE UPDATE OF status ON webhook_events
        WHEN new.id = 2 AND new.status <> 'unprocessed' BEGIN SELECT raise(ABORT, 'not this one'); END;";
    let home = with_foreign(trigger);
    home.write("hookbox.toml", config);
    for id in 1..=3 {
        insert(&home, id, "unprocessed");
    }
    let hookbox = home.start();
    hookbox.wait_for_stderr("event 2 keeps its status");
    wait_for("the others", || (statuses(&hookbox) == ["1 processed", "2 unprocessed", "3 processed"]).then_some(()));
    hookbox
}

#[test]
fn an_event_reopened_while_its_action_ran_was_not_done_again() {
    let script = "echo >> ran; until [ -e go ]; do sleep 0.05; done";
    // With a condition, so that the next delivery wakes the router.
    let action = format!(
        "[actions.it]\nkind = \"command\"\non = [\"*\"]\nwhen = \"true\"\nrun = [\"sh\", \"-c\", {script:?}]\n"
    );
    // The long interval keeps polling from noticing the change before the next delivery.
    let hookbox = Home::with_config(&format!("poll_interval = \"1h\"\n{SOURCE}{action}")).start();
    hookbox.deliver("push", "d-1", "{}");
    let runs = || hookbox.line_count("ran");
    wait_for("it to run", || (runs() == 1).then_some(()));
    for status in ["processed", "unprocessed"] {
        hookbox.db().execute("UPDATE webhook_events SET status = ?1", [status]).unwrap();
    }
    hookbox.write("go", "");
    let recorded = || hookbox.query::<i64>("SELECT count(*) FROM attempts")[0];
    wait_for("its attempt to be recorded", || (recorded() == 1).then_some(()));
    hookbox.deliver("push", "d-2", "{}");
    wait_for("both to run", || (runs() == 3).then_some(()));
    hookbox.wait_until_done();
}

#[test]
fn a_job_that_cannot_be_removed_blocked_the_record_of_others() {
    // The job of an event that another program's REPLACE has deleted without our trigger.
    let foreign = "CREATE TRIGGER kept BEFORE DELETE ON jobs BEGIN SELECT raise(ABORT, 'jobs are kept'); END;
        INSERT INTO jobs (event_id, action, state, due_at_ms) SELECT 2, 'log', 'queued', 0;";
    let home = with_foreign(foreign);
    insert(&home, 1, "unprocessed");
    insert(&home, 3, "unprocessed");
    // Queued here, so that all three are claimed together.
    home.db()
        .execute_batch(
            "DELETE FROM unrouted;
             INSERT INTO jobs (event_id, action, state, due_at_ms) VALUES (1, 'log', 'queued', 0), (3, 'log', 'queued', 0)",
        )
        .unwrap();
    let hookbox = home.start();
    hookbox.wait_for_stderr("jobs are kept");
    hookbox.wait_until_done();
    assert_eq!(statuses(&hookbox), ["1 processed", "3 processed"]);
    let states = "SELECT state FROM jobs ORDER BY event_id";
    let are_recorded = || hookbox.query::<String>(states) == ["succeeded", "queued", "succeeded"];
    wait_for("all three to be recorded, the one after the others", || are_recorded().then_some(()));
}

#[test]
fn an_event_whose_status_is_kept_blocked_all_others() {
    let hookbox = with_an_event_that_stays_unprocessed(SOURCE);
    // Its job is done nevertheless, and is not repeated, neither at a later delivery nor after a restart.
    hookbox.deliver("push", "d-4", "{}");
    hookbox.wait_for_stdout("(delivery d-4)");
    let (home, first) = hookbox.stop();
    let hookbox = home.start();
    hookbox.deliver("push", "d-5", "{}");
    hookbox.wait_for_stdout("(delivery d-5)");
    let (home, second) = hookbox.stop();
    let runs = |output: &Output| output.text().matches("(delivery d-2)").count();
    assert_eq!((runs(&first), runs(&second)), (1, 0));
    assert_eq!(home.query::<String>("SELECT state FROM jobs WHERE event_id = 2"), ["succeeded"]);
}

#[test]
fn an_event_without_actions_whose_status_is_kept_blocked_all_others() {
    let hookbox =
        with_an_event_that_stays_unprocessed(&format!("{SOURCE}[actions.it]\nkind = \"log\"\non = [\"*:push\"]\n"));
    hookbox.deliver("push", "d-4", "{}");
    hookbox.wait_for_stdout("(delivery d-4)");
    assert_eq!(hookbox.stderr().matches("event 2 keeps its status").count(), 1, "{}", hookbox.stderr());
}

#[test]
fn a_rule_of_another_program_against_one_delivery_refused_its_whole_batch() {
    let (home, _) = Home::new().start().stop();
    let rule = "CREATE TRIGGER rule BEFORE INSERT ON webhook_events WHEN NEW.delivery_id LIKE 'bad%'
        BEGIN SELECT raise(ABORT, 'not this one'); END";
    home.db().execute_batch(rule).unwrap();
    let hookbox = home.start();
    // While the first one waits for the lock, the others become one batch.
    let other = hookbox.lock_database();
    let ids = ["first", "good-1", "bad-1", "good-2", "bad-2", "good-3"];
    let mut connections = ids.map(|id| {
        let mut connection = hookbox.connect();
        connection.send(&Request::github("push", id, "{}").bytes());
        hookbox.wait_until_it_waits_for_the_lock();
        // One after the other, so that the order of the rows is known.
        std::thread::sleep(Duration::from_millis(30));
        connection
    });
    drop(other);
    let statuses: Vec<u16> = connections.iter_mut().map(|connection| connection.response().status).collect();
    assert_eq!(statuses, [200, 200, 503, 200, 503, 200]);
    let stored = hookbox.query::<String>("SELECT delivery_id FROM webhook_events ORDER BY id");
    assert_eq!(stored, ["first", "good-1", "good-2", "good-3"]);
}
