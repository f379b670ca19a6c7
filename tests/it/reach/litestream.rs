//! Litestream beside hookbox: the real program where it is installed, and its locks.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use crate::actions::{action, config, shell};
use crate::support::{Home, Hookbox, example, is_installed, patient, wait_for, wait_longer_for};

const MANUAL: &str = "src/manual/backup.md";

const NAME: &str = "webhooks.db";

/// As Litestream makes them.
const TABLES: &str = "CREATE TABLE IF NOT EXISTS _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER);
                      CREATE TABLE IF NOT EXISTS _litestream_lock (id INTEGER);";

/// How it begins its long read transaction.
const READ: &str = "BEGIN; SELECT COUNT(1) FROM _litestream_seq;";

/// How it keeps others from writing while it copies the end of the WAL.
const BARRIER: &str = "BEGIN; INSERT INTO _litestream_lock (id) VALUES (1);";

/// As large as a delivery that makes the WAL long soon.
fn large() -> String {
    body(500_000)
}

fn body(bytes: usize) -> String {
    format!("{{\"text\":\"{}\"}}", "x".repeat(bytes))
}

fn receiver() -> Home {
    Home::with_config(&config(&action("it", "log", "")))
}

/// A connection that does what Litestream's do, with its busy timeout of a second.
fn other(home: &Home) -> Connection {
    let connection = Connection::open_with_flags(home.path(NAME), OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    connection.busy_timeout(Duration::from_secs(1)).unwrap();
    connection.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
    connection.execute_batch(TABLES).unwrap();
    connection
}

/// The real program, with the config in the manual. Killed when it is dropped.
struct Litestream {
    process: Child,
}

impl Drop for Litestream {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Litestream {
    /// `None`, and a word about it, if it is not installed.
    fn start(home: &Home) -> Option<Litestream> {
        if !is_installed("litestream", &["version"]) {
            return None;
        }
        let config = example(MANUAL, "yaml", "# /etc/litestream.yml")
            .replace("/var/lib/hookbox/webhooks.db", home.path(NAME).to_str().unwrap())
            .replace("/mnt/usb/webhooks", home.path("replica").to_str().unwrap());
        home.write("litestream.yml", format!("logging:\n  level: debug\n{config}"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(home.path("litestream.log")).unwrap();
        let before = std::fs::metadata(home.path("litestream.log")).unwrap().len() as usize;
        let process = Command::new("litestream")
            .args(["replicate", "-config", "litestream.yml"])
            .current_dir(home.path(""))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        // From then on it reads.
        let text = || std::fs::read_to_string(home.path("litestream.log")).unwrap();
        wait_for("Litestream", || text()[before..].contains("replica sync").then_some(()));
        Some(Litestream { process })
    }

    /// At the end it copies what is left.
    fn stop(mut self) {
        Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        wait_longer_for("Litestream's end", Duration::from_secs(60), || self.process.try_wait().unwrap());
    }
}

/// The manual's command that restores, into another file.
fn restore(home: &Home, to: &str) -> Connection {
    let config = home.path("litestream.yml");
    let [to, from] = [to, NAME].map(|name| home.path(name));
    let [config, to, from] = [&config, &to, &from].map(|path| path.to_str().unwrap());
    let restored = Command::new("litestream").args(["restore", "-config", config, "-o", to, from]).output().unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    Connection::open(Path::new(to)).unwrap()
}

/// Every row of our tables.
fn rows(db: &Connection) -> Vec<(String, Vec<Vec<Value>>)> {
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let mut names = db.prepare(names).unwrap();
    let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
    let rows = |name: &str| {
        let mut all = db.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = all.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|at| row.get(at)).collect::<rusqlite::Result<_>>();
        all.query_map([], row).unwrap().map(Result::unwrap).collect()
    };
    names.map(|name| (name.clone(), rows(&name))).collect()
}

fn deliver_many(hookbox: &Hookbox, name: &str, count: usize, body: &str) {
    (0..count).for_each(|number| hookbox.deliver("push", &format!("{name}-{number}"), body));
}

#[test]
fn litestream_restores_all_that_was_acknowledged_after_kills_of_both() {
    let mut home = receiver();
    let mut litestream = None;
    for round in 0..4 {
        let hookbox = home.start();
        if litestream.is_none() {
            let Some(started) = Litestream::start(&hookbox) else { return };
            litestream = Some(started);
        }
        deliver_many(&hookbox, &format!("d-{round}"), 60, &body(20_000));
        home = hookbox.kill9();
        if round % 2 == 1 {
            drop(litestream.take());
        }
    }
    let hookbox = home.start();
    let litestream = Litestream::start(&hookbox).unwrap();
    deliver_many(&hookbox, "last", 10, "{}");
    hookbox.wait_until_done();
    let findings = hookbox.run(["doctor"]).to_string();
    assert!(!findings.contains("schema of the database"), "{findings}");
    let (home, output) = hookbox.stop();
    let stderr = output.ok().to_string();
    assert!(stderr.contains("Litestream replicates this database") && !stderr.contains("WARN"), "{stderr}");
    assert!(stderr.contains("the newest events stay in") && stderr.contains("webhooks.db-wal"), "{stderr}");
    litestream.stop();
    let restored = restore(&home, "restored.db");
    assert_eq!(home.stored(), 250);
    assert!(rows(&restored) == rows(&home.db()));
}

/// Litestream would copy the whole database again.
#[test]
fn the_wal_is_not_cut_back_under_litestream() {
    let hookbox = receiver().start();
    let reader = other(&hookbox);
    let hookbox = hookbox.stop().0.start();
    reader.execute_batch(READ).unwrap();
    deliver_many(&hookbox, "long", 40, &large());
    reader.execute_batch("ROLLBACK").unwrap();
    let wal_bytes = || std::fs::metadata(hookbox.path("webhooks.db-wal")).unwrap().len();
    let begins = || std::fs::read(hookbox.path("webhooks.db-wal")).unwrap()[..32].to_vec();
    let (longest, first) = (wal_bytes(), begins());
    assert!(longest > 16 << 20, "{longest}");
    let mut number = 0;
    wait_longer_for("the WAL to begin again", Duration::from_secs(60), || {
        number += 1;
        hookbox.deliver("push", &format!("more-{number}"), "{}");
        (begins() != first).then_some(())
    });
    hookbox.wait_until_done();
    assert!(wal_bytes() >= longest);
}

#[test]
fn a_barrier_below_the_time_out_is_waited_for_without_a_503() {
    let hookbox = receiver().start();
    let litestream = other(&hookbox);
    for number in 0..5 {
        litestream.execute_batch(BARRIER).unwrap();
        let begun = Instant::now();
        std::thread::scope(|threads| {
            threads.spawn(|| hookbox.deliver("push", &format!("d-{number}"), "{}"));
            std::thread::sleep(Duration::from_millis(600));
            litestream.execute_batch("ROLLBACK").unwrap();
        });
        assert!(begun.elapsed() < patient(Duration::from_secs(5)));
    }
    hookbox.wait_until_done();
    assert_eq!(hookbox.stored(), 5);
    let stderr = hookbox.stderr();
    assert!(!stderr.contains("503") && !stderr.contains("WARN"), "{stderr}");
}

#[test]
fn a_wal_that_a_reader_keeps_long_is_told_once_and_shortened_afterwards() {
    let hookbox = receiver().start();
    let reader = other(&hookbox);
    reader.execute_batch(READ).unwrap();
    let body = large();
    let long = "cannot be shortened, because another program has been reading";
    let mut number = 0;
    let mut deliver_until = |is_it: &dyn Fn() -> bool| {
        wait_longer_for("the line", Duration::from_secs(60), || {
            number += 1;
            hookbox.deliver("push", &format!("d-{number}"), if number < 50 { &body } else { "{}" });
            is_it().then_some(())
        });
    };
    deliver_until(&|| hookbox.stderr().contains(long));
    assert!(std::fs::metadata(hookbox.path("webhooks.db-wal")).unwrap().len() > 16 << 20);
    reader.execute_batch("ROLLBACK").unwrap();
    deliver_until(&|| hookbox.stderr().contains("the WAL can be shortened again"));
    assert_eq!(hookbox.stderr().matches(long).count(), 1, "{}", hookbox.stderr());
    hookbox.wait_until_done();
    hookbox.assert_sound();
}

#[test]
fn a_stop_beside_a_reader_is_not_longer_and_says_what_stays_in_the_wal() {
    let hookbox = receiver().start();
    let reader = other(&hookbox);
    reader.execute_batch(READ).unwrap();
    deliver_many(&hookbox, "d", 5, "{}");
    hookbox.wait_until_done();
    let begun = Instant::now();
    let (home, output) = hookbox.stop();
    assert!(begun.elapsed() < patient(Duration::from_secs(5)));
    let stderr = output.ok().to_string();
    assert!(stderr.contains("another program, such as Litestream, reads ") && stderr.contains("stopped"), "{stderr}");
    assert_eq!(home.stored(), 5);
}

#[test]
fn a_stop_during_a_long_barrier_says_what_it_waits_for() {
    let hookbox = Home::with_config(&config(&action("it", "command", &shell("touch begun; sleep 0.5")))).start();
    let litestream = other(&hookbox);
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_for_file("begun");
    litestream.execute_batch(BARRIER).unwrap();
    let stopping = std::thread::spawn(move || hookbox.stop());
    std::thread::sleep(Duration::from_secs(2));
    litestream.execute_batch("ROLLBACK").unwrap();
    let stderr = stopping.join().unwrap().1.ok().to_string();
    assert!(stderr.contains("waiting for another program that has locked the database"), "{stderr}");
}

#[test]
fn its_tables_disturb_no_start_no_mending_and_no_check_of_the_schema() {
    let hookbox = receiver().start();
    other(&hookbox).execute_batch("INSERT INTO _litestream_seq VALUES (1, 7)").unwrap();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    let (home, output) = hookbox.stop();
    output.ok();
    home.db().execute_batch("DROP INDEX jobs_queued").unwrap();
    let hookbox = home.start();
    hookbox.deliver("push", "d-2", "{}");
    hookbox.wait_until_done();
    assert!(hookbox.stderr().contains("Restored: index"), "{}", hookbox.stderr());
    assert_eq!(hookbox.query::<i64>("SELECT seq FROM _litestream_seq"), [7]);
    hookbox.assert_sound();
}
