//! Disks that are full, read-only or failing, and damaged databases: 503, or a refused start that names the file and
//! what to do, never a 200 for a delivery that is lost, and no file deleted.

use std::time::Duration;

use crate::support::{
    Disk, Home, Hookbox, Request, SOURCE, Senders, Signal, assert_stored, body_of, make_ext4, needs_no_turn,
    strace_failing, take_turn_nearly_alone, wait_for,
};

const MIB: u64 = 1 << 20;

/// The smallest reserve that there is.
const LITTLE_RESERVE: &str = "disk_reserve = \"1MiB\"\npoll_interval = \"100ms\"\n";

#[track_caller]
fn assert_refused(hookbox: &Hookbox, id: &str) {
    let response = hookbox.send(&Request::github("push", id, body_of(id)));
    assert_eq!((response.status, response.header("Retry-After").is_some()), (503, true), "{}", response.text());
    assert_eq!(hookbox.send(&Request::get("/healthz")).status, 503);
}

#[test]
fn a_delivery_too_large_for_the_disk_is_refused_until_there_is_room() {
    let Some(disk) = Disk::tmpfs(16 * MIB) else { return };
    let home = Home::with_config(&format!("{LITTLE_RESERVE}{SOURCE}")).database(&disk.path("webhooks.db"));
    let hookbox = home.start();
    hookbox.deliver("push", "small", "{}");
    disk.fill("filler", 2 * MIB);
    let big = format!("\"{}\"", "x".repeat(4 << 20));
    assert_eq!(hookbox.send(&Request::github("push", "big", &big)).status, 503);
    hookbox.wait_for_stderr("less than the reserve of 1 MiB");
    hookbox.deliver("push", "small too", "{}");
    disk.free("filler");
    hookbox.deliver("push", "big", &big);
    hookbox.assert_alive();
    hookbox.wait_until_done();
    assert_eq!(hookbox.query::<i64>("SELECT length(payload_json) FROM webhook_events"), [2, 2, 2 + (4 << 20)]);
    hookbox.assert_sound();
}

#[test]
fn a_full_disk_acknowledges_nothing_and_is_reported_once() {
    let Some(disk) = Disk::tmpfs(16 * MIB) else { return };
    let home = Home::with_config(&format!("{LITTLE_RESERVE}{SOURCE}")).database(&disk.path("webhooks.db"));
    let hookbox = home.start();
    hookbox.deliver("push", "d-1", body_of("d-1"));
    for round in 0..2 {
        disk.fill("filler", 0);
        for n in 0..10 {
            assert_refused(&hookbox, &format!("d-{round}-{n}"));
        }
        disk.free("filler");
        for n in 0..10 {
            let id = format!("d-{round}-{n}");
            hookbox.deliver("push", &id, body_of(&id));
        }
    }
    hookbox.wait_until_done();
    assert_eq!(hookbox.stored(), 21);
    // Stopped, so that its whole log is here.
    let (_, output) = hookbox.stop();
    for words in ["would leave less than the reserve of 1 MiB (disk_reserve)", "storing deliveries works again"] {
        assert_eq!(output.stderr.matches(words).count(), 2, "once each time: {output}");
    }
}

#[test]
fn an_outcome_on_a_full_disk_is_recorded_later_and_not_repeated() {
    const DELIVERIES: usize = 24;
    // A worker that is delayed by other tests lets the WAL start again.
    take_turn_nearly_alone();
    let Some(disk) = Disk::tmpfs(16 * MIB) else { return };
    let home = Home::with_config(&format!("{LITTLE_RESERVE}{SOURCE}")).database(&disk.path("webhooks.db"));
    let mut hookbox = home.stdout_unread(true).start();
    // More than a pipe holds: the action waits in the middle. But so little that the WAL does not start again, in which
    // there would be room for the outcomes.
    let keys: Vec<String> = (0..100).map(|n| format!("\"{}{n}\":1", "k".repeat(40))).collect();
    for n in 0..DELIVERIES {
        hookbox.deliver("push", &format!("d-{n:02}"), format!("{{{}}}", keys.join(",")));
    }
    disk.fill("filler", 0);
    hookbox.read_stdout();
    hookbox.wait_for_stderr("outcomes cannot be recorded yet");
    disk.free("filler");
    hookbox.wait_until_done();
    assert_eq!(hookbox.query::<i64>("SELECT max(attempts) FROM jobs"), [1]);
    assert_eq!(hookbox.stop().1.text().matches("(delivery d-").count(), DELIVERIES);
}

#[test]
fn a_file_system_that_turns_read_only_acknowledges_nothing_and_keeps_everything() {
    let files = tempfile::tempdir().unwrap();
    let image = files.path().join("image");
    if make_ext4(&image, 24 * MIB).is_none() {
        return;
    }
    let Some(disk) = Disk::ext4(&image) else { return };
    let home = Home::with_config(&format!("{LITTLE_RESERVE}{SOURCE}")).database(&disk.path("webhooks.db"));
    let hookbox = home.start();
    hookbox.deliver("push", "d-1", body_of("d-1"));
    hookbox.wait_until_done();
    if !disk.fail() {
        return println!("skipped: this kernel has no switch that makes ext4 fail");
    }
    assert_refused(&hookbox, "d-2");
    hookbox.wait_for_stderr("deliveries are refused");
    assert!(hookbox.stderr().contains("dmesg") || hookbox.stderr().contains("writable"), "{}", hookbox.stderr());
    drop(hookbox.kill9());
    drop(disk);
    let Some(disk) = Disk::ext4(&image) else { panic!("the repaired disk cannot be mounted") };
    let hookbox = Home::new().database(&disk.path("webhooks.db")).start();
    assert_eq!(hookbox.query::<String>("SELECT payload_json FROM webhook_events"), [body_of("d-1")]);
}

/// A disk that fails now and then, in a write, a sync, or when the file grows, loses no acknowledged delivery.
#[test]
fn a_200_means_stored_whichever_write_or_sync_fails() {
    let calls =
        ["pwrite64:error=EIO:when=30+37", "pwrite64:error=ENOSPC:when=25+53", "fsync,fdatasync:error=EIO:when=9+5"];
    for fault in calls {
        // The new database is made on a disk that works.
        let Some(home) = strace_failing(Home::new().start().stop().0, fault) else { return };
        let hookbox = home.start();
        let senders = Senders::start(4, "d", &hookbox.address());
        let recoveries = || hookbox.stderr().matches("storing deliveries works again").count();
        wait_for("some failures", || (recoveries() >= 5).then_some(()));
        assert!(hookbox.stderr().contains("webhooks.db"), "{}", hookbox.stderr());
        let acknowledged = senders.acknowledged();
        let hookbox = hookbox.kill9().wrapped_in(&[]).start();
        println!("{fault}: {} acknowledged", acknowledged.len());
        assert_stored(&hookbox.db(), &acknowledged);
        hookbox.wait_until_done();
        hookbox.assert_sound();
    }
}

fn with_twenty_events() -> Hookbox {
    let hookbox = Home::new().start();
    for n in 0..20 {
        let id = format!("d-{n}");
        hookbox.deliver("push", &id, body_of(&id));
    }
    hookbox.wait_until_done();
    hookbox
}

/// A database with some rows after a clean stop.
fn made_before() -> Home {
    with_twenty_events().stop().0
}

/// The same after a kill: some rows are only in the WAL.
fn killed_before() -> Home {
    with_twenty_events().kill9()
}

#[test]
fn a_read_only_directory_is_refused_with_its_name() {
    let home = made_before();
    let point = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::read_only(&home.path("."), point.path()) else { return };
    let path = disk.path("webhooks.db");
    let before = std::fs::read(&path).unwrap();
    Home::new().database(&path).start_in_vain().refused(2, &[&path.display().to_string(), "writable"]);
    let new = disk.path("new.db");
    Home::new().database(&new).start_in_vain().refused(2, &[&new.display().to_string(), "writable"]);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_read_only_database_is_refused_with_its_name() {
    let home = made_before();
    let path = home.path("webhooks.db");
    let before = std::fs::read(&path).unwrap();
    let Some(_guard) = Disk::read_only(&path, &path) else { return };
    home.start_in_vain().refused(2, &["webhooks.db", "writable"]);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_database_locked_at_the_start_is_exit_1_and_can_be_tried_again() {
    let home = made_before();
    let other = home.db();
    other.execute_batch("BEGIN EXCLUSIVE; UPDATE webhook_events SET status = status").unwrap();
    home.start_in_vain().refused(1, &["webhooks.db", "another program", "fuser"]);
    drop(other);
    home.start().assert_alive();
}

#[test]
fn nothing_is_lost_without_the_wal_of_a_clean_stop() {
    let home = made_before();
    for name in ["webhooks.db-wal", "webhooks.db-shm"] {
        let _ = std::fs::remove_file(home.path(name));
    }
    assert_eq!(home.start().stored(), 20);
}

#[test]
fn without_the_wal_of_a_crash_the_server_starts_and_keeps_new_deliveries() {
    let home = killed_before();
    for name in ["webhooks.db-wal", "webhooks.db-shm"] {
        std::fs::remove_file(home.path(name)).unwrap();
    }
    let hookbox = home.start();
    hookbox.deliver("push", "new", body_of("new"));
    let hookbox = hookbox.kill9().start();
    let sql = "SELECT payload_json FROM webhook_events WHERE delivery_id = 'new'";
    assert_eq!(hookbox.query::<String>(sql), [body_of("new")]);
    hookbox.assert_sound();
}

#[test]
fn an_empty_database_beside_a_wal_is_refused_and_the_wal_kept() {
    let home = killed_before();
    std::fs::write(home.path("webhooks.db"), "").unwrap();
    let wal = std::fs::read(home.path("webhooks.db-wal")).unwrap();
    assert!(!wal.is_empty());
    home.start_in_vain().refused(2, &["webhooks.db", "-wal", "set it aside"]);
    assert_eq!(std::fs::read(home.path("webhooks.db-wal")).unwrap(), wal);
    std::fs::remove_file(home.path("webhooks.db")).unwrap();
    home.start_in_vain().refused(2, &["webhooks.db", "-wal", "set it aside"]);
    assert_eq!(std::fs::read(home.path("webhooks.db-wal")).unwrap(), wal);
}

#[test]
fn a_truncated_database_is_refused_and_left_unchanged() {
    let home = made_before();
    let path = home.path("webhooks.db");
    let whole = std::fs::read(&path).unwrap();
    for length in [99, 4096, whole.len() / 2, whole.len() - 4096] {
        std::fs::write(&path, &whole[..length]).unwrap();
        home.start_in_vain().refused(2, &["webhooks.db", "damaged", "mv "]);
        assert_eq!(std::fs::read(&path).unwrap(), whole[..length], "{length} bytes of {}", whole.len());
    }
}

#[test]
fn a_database_in_memory_is_refused() {
    let home = Home::new().arg("--database").arg(":memory:");
    home.start_in_vain().refused(2, &["--database", "in memory"]);
}

/// The content of the overwritten page is lost, and that need not be noticed at once. But a delivery acknowledged later is
/// stored, and otherwise refused with instructions.
#[test]
fn a_200_means_stored_whichever_page_is_garbage() {
    let home = made_before();
    let path = home.path("webhooks.db");
    let whole = std::fs::read(&path).unwrap();
    let page_bytes = usize::from(u16::from_be_bytes([whole[16], whole[17]]));
    let (mut home, mut refused_starts, mut refused, mut taken) = (home, 0, 0, 0);
    for page in 0..whole.len() / page_bytes {
        let mut garbage = whole.clone();
        garbage[page * page_bytes..(page + 1) * page_bytes].fill(0xA5);
        for name in ["webhooks.db-wal", "webhooks.db-shm"] {
            let _ = std::fs::remove_file(home.path(name));
        }
        std::fs::write(&path, &garbage).unwrap();
        let hookbox = match home.try_start() {
            Ok(hookbox) => hookbox,
            Err(ended) => {
                let (back, output) = *ended;
                output.refused(2, &["webhooks.db", "damaged", "mv "]);
                assert_eq!(std::fs::read(&path).unwrap(), garbage, "page {page}");
                refused_starts += 1;
                home = back;
                continue;
            }
        };
        let status = hookbox.send(&Request::github("push", "new", body_of("new"))).status;
        if status == 200 {
            let newest = "SELECT payload_json FROM webhook_events ORDER BY id DESC LIMIT 1";
            assert_eq!(hookbox.query::<String>(newest), [body_of("new")], "page {page}");
            taken += 1;
        } else {
            assert_eq!(status, 503, "page {page}");
            hookbox.wait_for_stderr("webhooks.db is damaged");
            refused += 1;
        }
        home = hookbox.kill9();
        assert_eq!(
            std::fs::read(&path).unwrap(),
            garbage,
            "page {page}: what is new is in the WAL, the rest as it was"
        );
    }
    println!("{refused_starts} starts refused, {refused} deliveries refused, {taken} taken");
    assert!(refused_starts > 0 && refused > 0 && taken > 0);
}

/// An SD card that reorganises itself blocks writers, as a frozen file system does. A restart would not help.
#[test]
fn a_disk_paused_beyond_the_watchdogs_timeout_does_not_end_the_server() {
    needs_no_turn();
    let files = tempfile::tempdir().unwrap();
    let image = files.path().join("img");
    let Some(disk) = make_ext4(&image, 48 * MIB).and_then(|()| Disk::ext4(&image)) else { return };
    let home = Home::with_config(&format!("{LITTLE_RESERVE}{SOURCE}")).database(&disk.path("webhooks.db"));
    // The watchdog sends five requests a second, and gives up after 10 s.
    let hookbox = home.env("WATCHDOG_USEC", "400000").start();
    let Some(frozen) = disk.freeze() else { return };
    hookbox.connect().send(&Request::github("push", "paused", "{}").bytes());
    std::thread::sleep(Duration::from_secs(14));
    drop(frozen);
    hookbox.deliver("push", "after", "{}");
    assert_eq!(hookbox.query::<String>("SELECT delivery_id FROM webhook_events ORDER BY id"), ["paused", "after"]);
}

#[test]
fn an_unreadable_event_delays_no_other_and_does_not_spin() {
    let hookbox = Home::new().stdout_unread(true).start();
    let keys: Vec<String> = (0..200).map(|n| format!("\"{}{n}\":1", "k".repeat(40))).collect();
    for n in 0..40 {
        hookbox.deliver("push", &format!("d-{n:02}"), format!("{{\"marker-{n:02}\":0,{}}}", keys.join(",")));
    }
    hookbox.deliver("push", "bad", format!("{{\"a\":\"{0}marker-bad{0}\"}}", "x".repeat(10_000)));
    // Until its job is made: the router reads the event too.
    wait_for("its job", || (hookbox.query::<i64>("SELECT count(*) FROM jobs") == [41]).then_some(()));
    hookbox.signal(Signal::KILL);
    let (home, _) = hookbox.wait();
    home.db().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let mut bytes = std::fs::read(home.path("webhooks.db")).unwrap();
    let at = bytes.windows(10).position(|window| window == b"marker-bad").unwrap() / 4096 * 4096;
    bytes[at..at + 4096].fill(0xA5);
    home.write("webhooks.db", &bytes);

    let hookbox = home.stdout_unread(false).start();
    hookbox.wait_for_stdout("(delivery d-39)");
    hookbox.wait_for_stderr("webhooks.db is damaged");
    let sql = "SELECT count(*) FROM jobs WHERE state = 'succeeded'";
    wait_for("the others", || (hookbox.query::<i64>(sql) == [40]).then_some(()));
    // Half a second in which nothing may happen.
    std::thread::sleep(Duration::from_millis(500));
    let told = hookbox.stderr().matches("is damaged").count();
    assert!(told <= 2, "said {told} times");
}
