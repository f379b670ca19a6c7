//! A database of an earlier version is brought up to date, or left as it was.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::durability::rounds;
use crate::support::{DEADLINE, Disk, Home, Random, SOURCE, data};

/// The migrations of schema 6: the first as it was then, and those that have not changed since.
const SCHEMA_6: [&str; 6] = [
    include_str!("data/earlier/001-events.sql"),
    include_str!("../../src/store/002-queue.sql"),
    include_str!("../../src/store/003-provenance.sql"),
    include_str!("../../src/store/004-tallies.sql"),
    include_str!("../../src/store/005-bodies.sql"),
    include_str!("../../src/store/006-holds.sql"),
];

const ROWS: &str = include_str!("data/earlier/rows.sql");

/// No action is for the events in the database, so that nothing but the upgrade changes them.
const CONFIG: &str = "disk_reserve = \"1MiB\"\n[actions.other]\nkind = \"log\"\non = [\"other:*\"]\n";

/// A database of schema 6, as the earlier version leaves it, with pages of 4096 bytes.
pub fn earlier(home: &Home) {
    let db = home.db();
    db.execute_batch("PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF").unwrap();
    SCHEMA_6.iter().for_each(|migration| db.execute_batch(migration).unwrap());
    db.execute_batch(ROWS).unwrap();
    db.execute_batch("PRAGMA user_version = 6; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

fn home() -> Home {
    let home = Home::with_config(&format!("{CONFIG}{SOURCE}"));
    earlier(&home);
    home
}

/// More rows, so that an upgrade takes a while.
fn fill(home: &Home, mib: i64) {
    let rows = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 * 128)
         INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
         SELECT 'door', 'open', 'more-' || i, '\"' || hex(randomblob(4000)) || '\"', '2026-01-02T03:09:05+00:00', 'processed'
         FROM n";
    home.db().execute(rows, [mib]).unwrap();
    home.db().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

fn number(home: &Home, pragma: &str) -> i64 {
    home.query::<i64>(&format!("PRAGMA {pragma}"))[0]
}

/// A renamed table is quoted.
fn schema(home: &Home) -> Vec<String> {
    home.query("SELECT concat_ws(' ', type, name, replace(sql, '\"', '')) FROM sqlite_schema ORDER BY type, name")
}

/// What `stats`, `list`, and `show` of every event say.
fn told(home: &Home) -> Vec<Value> {
    let mut commands = vec![vec!["stats"], vec!["list"]];
    commands.extend(["1", "2", "3", "4", "5", "9"].map(|id| vec!["show", id]));
    commands.iter().flat_map(|words| home.run(words.iter().chain(&["--json"])).ok().json_lines()).collect()
}

/// Whether everything is said that was said before; later versions may say more.
fn includes(told: &Value, before: &Value) -> bool {
    match (told, before) {
        (Value::Object(told), Value::Object(before)) => {
            before.iter().all(|(key, before)| told.get(key).is_some_and(|told| includes(told, before)))
        }
        (Value::Array(told), Value::Array(before)) => {
            told.len() == before.len() && told.iter().zip(before).all(|(told, before)| includes(told, before))
        }
        _ => told == before,
    }
}

#[test]
fn a_database_of_schema_6_tells_the_same_after_the_upgrade() {
    let home = home().start().stop().0;
    let expected = std::fs::read_to_string(data("earlier/told.jsonl")).unwrap();
    let expected: Vec<Value> = expected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = told(&home);
    assert_eq!(told.len(), expected.len());
    for (told, expected) in told.iter().zip(&expected) {
        assert!(includes(told, expected), "{told} {expected}");
    }
    home.assert_sound();
    let new = Home::with_config(CONFIG).start().stop().0;
    assert_eq!(schema(&home), schema(&new));
    assert_eq!(number(&home, "page_size"), number(&new, "page_size"));
    assert_eq!(home.query::<i64>("SELECT seq FROM sqlite_sequence"), [9]);
    assert_eq!(
        home.query::<String>("SELECT hex(body_digest) FROM webhook_events WHERE body_digest NOT NULL"),
        ["0102"]
    );
    assert_eq!(
        home.query::<String>("SELECT renewed_at FROM webhook_events WHERE id = 1"),
        ["2026-01-02T04:04:05+00:00"]
    );
}

#[test]
fn jobs_that_tell_of_a_death_are_cancelled_with_a_warning() {
    let hookbox = home().start();
    hookbox.wait_for_stderr("1 jobs that would have reported dead jobs by on_dead are cancelled");
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM jobs WHERE action IN ('mail', 'tell')"), [0]);
}

#[test]
fn the_earlier_database_is_kept_beside_it_and_the_log_says_how_to_go_back() {
    let home = home();
    let before = home.query::<String>("SELECT concat_ws(' ', id, status, delivery_id) FROM webhook_events");
    let hookbox = home.start();
    let copy = hookbox.path("webhooks.db.before-7");
    hookbox.wait_for_stderr(&format!("When it is no longer needed: rm {}", copy.display()));
    let db = rusqlite::Connection::open(&copy).unwrap();
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 6);
    let mut statement = db.prepare("SELECT concat_ws(' ', id, status, delivery_id) FROM webhook_events").unwrap();
    let rows: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, before);
    let mode = std::os::unix::fs::MetadataExt::mode(&copy.metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let hookbox = hookbox.stop().0.start();
    assert!(!hookbox.stderr().contains("before-7"), "once");
}

/// A database of a few MiB on a disk with so much room beside it. `None` without root.
fn on_a_disk(total_mib: u64) -> Option<(Disk, Home)> {
    let disk = Disk::tmpfs(total_mib << 20)?;
    let home = Home::with_config(&format!("{CONFIG}{SOURCE}")).database(&disk.path("webhooks.db"));
    earlier(&home);
    fill(&home, 8);
    Some((disk, home))
}

#[test]
fn without_room_for_a_copy_the_upgrade_says_so_and_goes_on() {
    let Some((disk, home)) = on_a_disk(31) else { return };
    let hookbox = home.start();
    hookbox.wait_for_stderr("without a copy of its earlier state");
    assert!(!disk.path("webhooks.db.before-7").exists());
    assert!(number(&hookbox, "user_version") >= 7);
    hookbox.assert_alive();
}

#[test]
fn without_room_for_the_upgrade_the_start_is_refused_and_nothing_changes() {
    let Some((disk, home)) = on_a_disk(20) else { return };
    let before = std::fs::read(disk.path("webhooks.db")).unwrap();
    let output = home.start_in_vain();
    assert_eq!(output.code, Some(2), "{output}");
    for part in ["up to date takes 18 MiB", "11 MiB are free: make room", "prune --older-than 30d --vacuum"] {
        assert!(output.to_string().contains(part), "{output}");
    }
    assert!(std::fs::read(disk.path("webhooks.db")).unwrap() == before);
}

#[test]
fn a_program_that_has_the_database_open_keeps_its_page_size_and_not_its_schema() {
    let home = home();
    let reader = home.db();
    let count = || reader.query_row("SELECT count(*) FROM webhook_events", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count(), 6);
    let hookbox = home.start();
    hookbox.wait_for_stderr("keeps its pages of 4096 bytes");
    hookbox.wait_for_stderr("another program has it open");
    hookbox.deliver("push", "meanwhile", "{}");
    assert_eq!(count(), 7);
    assert!(number(&hookbox, "user_version") >= 7);
    assert_eq!(number(&hookbox, "page_size"), 4096);
    drop(reader);
    let hookbox = hookbox.stop().0.start();
    hookbox.wait_for_stderr("the database has pages of");
    assert_ne!(number(&hookbox, "page_size"), 4096);
    assert_eq!(hookbox.stored(), 7);
    hookbox.assert_sound();
}

/// What both schemas have of each event, and an upgrade does not change.
fn rows(home: &Home) -> Vec<String> {
    home.query(
        "SELECT concat_ws(' ', id, source, delivery_id, received_at, payload_json) FROM webhook_events ORDER BY id",
    )
}

#[test]
fn kill_9_at_any_moment_of_the_upgrade_leaves_the_old_schema_or_the_new_one() {
    let mut random = Random::new();
    let (mut old, mut new) = (0, 0);
    for _ in 0..rounds(12) {
        let home = home();
        fill(&home, 8);
        let expected = rows(&home);
        let mut serve: Child =
            home.command().args(["--listen", "127.0.0.1:0", "--admin", "off"]).stderr(Stdio::null()).spawn().unwrap();
        // The moment is the point: in the copy, in the migration, in the change of the page size.
        std::thread::sleep(Duration::from_millis(random.below(1500) as u64));
        serve.kill().unwrap();
        serve.wait().unwrap();
        assert!(rows(&home) == expected);
        home.assert_sound();
        match number(&home, "user_version") {
            6 => old += 1,
            _ => new += 1,
        }
        let home = home.start().stop().0;
        assert!(rows(&home) == expected);
        assert!(number(&home, "user_version") >= 7);
        assert_ne!(number(&home, "page_size"), 4096);
        for part in ["webhooks.db.before-7.part", "webhooks.db.resized.part"] {
            assert!(!home.path(part).exists(), "{part}");
        }
        home.assert_sound();
    }
    println!("{old} with the old schema, {new} with the new one");
}

#[test]
fn the_service_manager_is_told_that_the_start_takes_longer() {
    let home = home();
    let socket = std::os::unix::net::UnixDatagram::bind(home.path("notify")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let address = home.path("notify").display().to_string();
    let _hookbox = home.env("NOTIFY_SOCKET", &address).start();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"EXTEND_TIMEOUT_USEC="), "{}", String::from_utf8_lossy(&buffer[..length]));
}
