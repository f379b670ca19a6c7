//! Others that use the database: our own workers, our commands, a program that holds the lock.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    Address, Home, Hookbox, Request, SOURCE, Senders, assert_stored, body_of, patient, wait_for, wait_longer_for,
};

/// The receiver gives up after a second; a request may wait for the batch before its own, and the machine may be
/// slow. Less than what a queue of waits would take.
const NOT_LONG: Duration = Duration::from_secs(6);

fn insert_backlog(home: &Home, count: u32) {
    let db = home.db();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let sql = "INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
        VALUES ('github', 'push', ?1, '{}', '2025-01-31T12:00:00+00:00', 'unprocessed')";
    for n in 0..count {
        db.execute(sql, [format!("backlog-{n}")]).unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
}

/// The answer to one delivery, which must come soon.
#[track_caller]
fn status_of(hookbox: &Hookbox, id: &str) -> u16 {
    let begun = Instant::now();
    let status = hookbox.send(&Request::github("push", id, body_of(id))).status;
    assert!(begun.elapsed() < patient(NOT_LONG), "{id} was answered {status} after {:?}", begun.elapsed());
    status
}

#[test]
fn every_delivery_is_stored_while_workers_drain_a_backlog_and_commands_read() {
    let (home, _) = Home::new().start().stop();
    insert_backlog(&home, 10_000);
    let hookbox = home.start();
    let senders = Senders::start(8, "d", &hookbox.address());
    for _ in 0..5 {
        hookbox.run(["list", "--limit", "1000", "--json"]).ok();
        hookbox.run(["stats"]).ok();
    }
    let acknowledged = senders.acknowledged();
    assert_eq!(hookbox.send(&Request::get("/healthz")).status, 200);
    assert!(!hookbox.stderr().contains("refused"), "no delivery waited too long: {}", hookbox.stderr());
    assert_stored(&hookbox.db(), &acknowledged);
    wait_longer_for("the backlog to be done", Duration::from_secs(60), || {
        let open = hookbox.query::<i64>("SELECT count(*) FROM webhook_events WHERE status <> 'processed'");
        (open == [0]).then_some(())
    });
    assert_eq!(hookbox.query::<i64>("SELECT max(attempts) FROM jobs"), [1]);
    hookbox.assert_sound();
}

/// Our workers, our commands and another program at the same time: each sender is answered soon, though it may be with 503.
#[test]
fn every_sender_is_answered_soon_while_workers_commands_and_another_program_write() {
    let (home, _) = Home::new().start().stop();
    insert_backlog(&home, 5_000);
    let long_ago = "UPDATE webhook_events SET status = 'processed', processed_at = received_at WHERE id <= 300";
    home.db().execute_batch(long_ago).unwrap();
    let hookbox = home.start();
    let (address, done) = (hookbox.address(), AtomicBool::new(false));
    let (acknowledged, mut waits): (Vec<_>, Vec<_>) = std::thread::scope(|scope| {
        let deliver = |sender: usize| {
            let (address, done) = (&address, &done);
            scope.spawn(move || deliver_until(done, address, sender))
        };
        let senders: Vec<_> = (0..4).map(deliver).collect();
        let locking = scope.spawn(|| lock_now_and_then(&hookbox, &done));
        // Each must succeed despite the lock and the others.
        let commands = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..4 {
                hookbox.run(["replay", "4001", "4002", "4003"]).ok();
                hookbox.run(["prune", "--older-than", "30d"]).ok();
            }
        }));
        done.store(true, Ordering::Relaxed);
        locking.join().unwrap();
        let senders = senders.into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>();
        commands.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (
            senders.iter().flat_map(|(ids, _)| ids.clone()).collect(),
            senders.into_iter().flat_map(|(_, waits)| waits).collect(),
        )
    });
    waits.sort_unstable();
    let (p99, worst) = (waits[waits.len() * 99 / 100], waits[waits.len() - 1]);
    println!("{} of {} acknowledged, p99 {p99:?}, worst {worst:?}", acknowledged.len(), waits.len());
    assert!(!acknowledged.is_empty() && worst < patient(NOT_LONG), "{worst:?}");
    assert_stored(&hookbox.db(), &acknowledged);
    let open = "SELECT count(*) FROM webhook_events WHERE status <> 'processed'";
    wait_longer_for("all to be done", Duration::from_secs(60), || (hookbox.query::<i64>(open) == [0]).then_some(()));
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM webhook_events WHERE id <= 300"), [0]);
    hookbox.assert_sound();
}

/// The ids that were acknowledged, and how long each answer took, which must be 200 or 503.
fn deliver_until(done: &AtomicBool, address: &Address, sender: usize) -> (Vec<String>, Vec<Duration>) {
    let (mut acknowledged, mut waits) = (Vec::new(), Vec::new());
    while !done.load(Ordering::Relaxed) {
        let id = format!("d-{sender}-{}", waits.len());
        let begun = Instant::now();
        let status = address.send(&Request::github("push", &id, body_of(&id))).status;
        waits.push(begun.elapsed());
        match status {
            200 => acknowledged.push(id),
            _ => assert_eq!(status, 503),
        }
    }
    (acknowledged, waits)
}

/// Often for a moment, and once for longer than the receiver waits.
fn lock_now_and_then(home: &Home, done: &AtomicBool) {
    for held_ms in [2_000].into_iter().chain([5, 50, 200].into_iter().cycle()) {
        let lock = home.lock_database();
        std::thread::sleep(Duration::from_millis(held_ms));
        drop(lock);
        if done.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn deliveries_are_answered_503_while_another_program_holds_the_lock_for_three_seconds() {
    let hookbox = Home::with_config(&format!("poll_interval = \"100ms\"\n{SOURCE}")).start();
    let other = hookbox.lock_database();
    let begun = Instant::now();
    let mut refused = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        assert_eq!(status_of(&hookbox, &format!("d-{refused}")), 503);
        refused += 1;
    }
    drop(other);
    assert_eq!(status_of(&hookbox, "d-after"), 200);
    hookbox.wait_until_done();
    assert_eq!(hookbox.stored(), 1);
    assert_eq!(hookbox.stderr().matches("deliveries are refused").count(), 1, "{}", hookbox.stderr());
}

/// Each worker waits for the same lock: their waits must not add up for the receiver.
#[test]
fn sixty_actions_wait_for_the_lock_together_and_not_in_turn() {
    let mut config = format!("poll_interval = \"100ms\"\n{SOURCE}");
    for n in 0..60 {
        let _ = write!(config, "[actions.a{n}]\nkind = \"log\"\non = [\"*\"]\n");
    }
    let (home, _) = Home::with_config(&config).start().stop();
    // A job for each of them, due when the other program already has the lock.
    let due_in_ms = patient(Duration::from_secs(2)).as_millis();
    insert_backlog(&home, 1);
    let jobs = format!(
        "INSERT INTO jobs (event_id, action, state, due_at_ms)
        WITH RECURSIVE n (n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM n WHERE n < 59)
        SELECT 1, 'a' || n, 'queued', unixepoch() * 1000 + {due_in_ms} FROM n"
    );
    home.db().execute_batch(&format!("DELETE FROM unrouted; {jobs}")).unwrap();
    let hookbox = home.start();
    let other = hookbox.lock_database();
    let due = || hookbox.query::<i64>("SELECT unixepoch() * 1000 > max(due_at_ms) + 1000 FROM jobs") == [1];
    wait_for("the jobs to be due", || due().then_some(()));
    for n in 0..2 {
        assert_eq!(status_of(&hookbox, &format!("d-{n}")), 503);
    }
    drop(other);
    assert_eq!(status_of(&hookbox, "d-after"), 200);
    hookbox.wait_until_done();
}

#[test]
fn health_checks_wait_for_the_lock_together_and_not_in_turn() {
    let hookbox = Home::new().start();
    let other = hookbox.lock_database();
    let mut asking: Vec<_> = (0..24).map(|_| hookbox.connect()).collect();
    for connection in &mut asking {
        connection.send(&Request::get("/healthz").bytes());
    }
    assert_eq!(status_of(&hookbox, "d-1"), 503);
    for connection in &mut asking {
        assert_eq!(connection.response().status, 503);
    }
    drop(other);
    assert_eq!(status_of(&hookbox, "d-1"), 200);
}

#[test]
fn a_short_lock_by_another_program_is_no_error_of_a_worker() {
    let hookbox = Home::with_config(&format!("poll_interval = \"1h\"\n{SOURCE}")).start();
    for n in 0..5 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
        let lock = hookbox.lock_database();
        std::thread::sleep(Duration::from_millis(400));
        drop(lock);
    }
    hookbox.wait_until_done();
    assert!(!hookbox.stderr().contains("ERROR"), "{}", hookbox.stderr());
}
