//! `kill -9` at every moment.

use std::collections::HashMap;
use std::time::Duration;

use super::rounds;
use crate::support::{Home, Output, Random, SOURCE, Senders, Signal, assert_stored, wait_for, wait_longer_for};

const SENDERS: usize = 32;

/// How many jobs one claim of the `log` action takes, and so how many one kill can repeat.
const BATCH: i64 = 64;

/// The database refuses the outcome. Nothing else is
/// as certain to hit the moment between an action and its record.
const NO_RECORD: &str = "CREATE TRIGGER no_record BEFORE UPDATE OF outcome ON jobs WHEN NEW.outcome = 'success'
    BEGIN SELECT raise(ABORT, 'not now'); END";

/// How often each event was handled, by the line that tells its delivery id.
fn count_lines(stdout: &str, lines: &mut HashMap<String, i64>) {
    for line in stdout.lines().filter(|line| line.contains("Handling event") && line.ends_with(')')) {
        let (_, id) = line.trim_end_matches(')').split_once("(delivery ").unwrap();
        *lines.entry(id.to_owned()).or_default() += 1;
    }
}

#[test]
fn acknowledged_deliveries_are_stored_once_and_processed_after_kill_9_at_any_moment() {
    let (mut random, rounds) = (Random::new(), rounds(5));
    let mut home = Home::new();
    let (mut all, mut last, mut lines) = (Vec::new(), Vec::new(), HashMap::new());
    for round in 0..rounds {
        let hookbox = home.start();
        assert_stored(&hookbox.db(), &last);
        all.append(&mut last);
        let senders = Senders::start(SENDERS, &format!("d-{round}"), &hookbox.address());
        // The moment is the point: in the start, in the first commits, in a checkpoint.
        std::thread::sleep(Duration::from_millis(random.below(400) as u64));
        hookbox.signal(Signal::KILL);
        let output;
        (home, output) = hookbox.wait();
        count_lines(&output.text(), &mut lines);
        last = senders.acknowledged();
    }
    let hookbox = home.start();
    wait_longer_for("every event to be processed", Duration::from_secs(60), || {
        let open = hookbox.query::<i64>("SELECT count(*) FROM webhook_events WHERE status = 'unprocessed'");
        (open == [0]).then_some(())
    });
    all.append(&mut last);
    println!("{rounds} kills, {} acknowledged, {} stored", all.len(), hookbox.stored());
    assert!(!all.is_empty());
    assert_stored(&hookbox.db(), &all);
    let (home, Output { stdout, .. }) = hookbox.stop();
    count_lines(&String::from_utf8_lossy(&stdout), &mut lines);
    home.assert_sound();
    assert_eq!(home.query::<i64>("SELECT count(*) FROM webhook_events WHERE status <> 'processed'"), [0]);
    assert_done_once(&home, &lines, rounds);
}

/// A recorded success is the last attempt, and only interrupted jobs have more than one.
#[track_caller]
fn assert_done_once(home: &Home, lines: &HashMap<String, i64>, kills: u64) {
    let db = home.db();
    let sql = "SELECT delivery_id, jobs.attempts, sum(attempts.outcome = 'success'), max(number) FROM webhook_events
        JOIN jobs ON jobs.event_id = webhook_events.id LEFT JOIN attempts ON attempts.event_id = webhook_events.id
        GROUP BY webhook_events.id";
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    let mut repeats = 0;
    for row in rows {
        let (id, attempts, successes, latest): (String, i64, i64, i64) = row.unwrap();
        let printed = lines.get(&id).copied().unwrap_or_default();
        // The first that a kill has ended is not on record.
        assert!((1..=attempts + 1).contains(&printed), "{id} was handled {printed} times in {attempts} attempts");
        assert_eq!((successes, latest), (1, attempts), "{id}: one success, the last attempt");
        repeats += printed - 1;
    }
    assert!(repeats <= BATCH * i64::try_from(kills).unwrap(), "{repeats} repeats by {kills} kills");
}

#[test]
fn an_unrecorded_action_is_repeated_only_after_a_crash() {
    let config = format!("poll_interval = \"100ms\"\n{SOURCE}");
    let (home, _) = Home::with_config(&config).start().stop();
    home.db().execute_batch(NO_RECORD).unwrap();
    let hookbox = home.start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_for_stdout("(delivery d-1)");
    let refusals = || hookbox.stderr().matches("cannot be recorded yet").count();
    wait_for("some tries to record it", || (refusals() > 3).then_some(()));
    assert_eq!(hookbox.stdout().matches("(delivery d-1)").count(), 1, "it is recorded again, not done again");
    let home = hookbox.kill9();
    home.db().execute_batch("DROP TRIGGER no_record").unwrap();

    let hookbox = home.start();
    hookbox.wait_for_stdout("(delivery d-1)");
    hookbox.wait_until_done();
    let job = "SELECT state || attempts || tries FROM jobs";
    assert_eq!(hookbox.query::<String>(job), ["succeeded11"], "nobody knows of the first");
    let home = hookbox.kill9();

    let hookbox = home.start();
    hookbox.deliver("push", "d-2", "{}");
    hookbox.wait_until_done();
    assert!(!hookbox.stdout().contains("(delivery d-1)"), "what is on record is not done again");
}

#[test]
fn a_stop_waits_until_outcomes_are_recorded() {
    let config = format!("poll_interval = \"100ms\"\n{SOURCE}");
    let (home, _) = Home::with_config(&config).start().stop();
    home.db().execute_batch(NO_RECORD).unwrap();
    let hookbox = home.start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_for_stderr("cannot be recorded yet");
    hookbox.signal(Signal::TERM);
    hookbox.wait_for_stderr("stopping");
    let refusals = || hookbox.stderr().matches("cannot be recorded yet").count();
    let before = refusals();
    wait_for("another try to record it", || (refusals() > before + 3).then_some(()));
    hookbox.db().execute_batch("DROP TRIGGER no_record").unwrap();
    let (home, output) = hookbox.wait();
    assert_eq!(output.code, Some(0), "{output}");
    assert_eq!(home.query::<String>("SELECT status FROM webhook_events"), ["processed"]);
    assert_eq!(home.query::<i64>("SELECT attempts FROM jobs"), [1]);
}

#[test]
fn a_job_running_at_each_crash_is_dead_after_one_crash_more_than_its_attempts() {
    let config =
        format!("poll_interval = \"100ms\"\n{SOURCE}[actions.print]\nkind = \"log\"\non = [\"*\"]\nattempts = 2\n");
    let (mut home, _) = Home::with_config(&config).start().stop();
    home.db().execute_batch(NO_RECORD).unwrap();
    for crash in 0..3 {
        let hookbox = home.start();
        if crash == 0 {
            hookbox.deliver("push", "d-1", "{}");
        }
        hookbox.wait_for_stdout("(delivery d-1)");
        home = hookbox.kill9();
    }
    home.db().execute_batch("DROP TRIGGER no_record").unwrap();
    let hookbox = home.start();
    hookbox.wait_until_done();
    assert_eq!(hookbox.query::<String>("SELECT status FROM webhook_events"), ["error"]);
    assert!(!hookbox.stdout().contains("(delivery d-1)"), "another time may take the machine down again");
}
