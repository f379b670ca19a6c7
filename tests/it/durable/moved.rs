//! Somebody else moves the database while the program works with it. SQLite would go on writing to what nobody will find.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Home, Hookbox, Request, SOURCE, strace_injecting, wait_for};

fn serving() -> Hookbox {
    let hookbox = Home::new().start();
    hookbox.deliver("push", "before", "{}");
    hookbox.wait_until_done();
    hookbox
}

#[track_caller]
fn assert_refused(hookbox: &Hookbox) {
    assert_eq!(hookbox.send(&Request::github("push", "after", "{}")).status, 503);
    assert_eq!(hookbox.send(&Request::get("/healthz")).status, 503);
    hookbox.wait_for_stderr("webhooks.db or its -wal or -shm file was moved, replaced or deleted");
}

#[test]
fn once_the_database_is_deleted_nothing_is_acknowledged_any_more() {
    let hookbox = serving();
    for name in ["webhooks.db", "webhooks.db-wal", "webhooks.db-shm"] {
        fs::remove_file(hookbox.path(name)).unwrap();
    }
    assert_refused(&hookbox);
    let hookbox = hookbox.kill9().start();
    hookbox.deliver("push", "after", "{}");
}

#[test]
fn once_the_wal_or_its_index_is_deleted_nothing_is_acknowledged_any_more() {
    for name in ["webhooks.db-wal", "webhooks.db-shm"] {
        let hookbox = serving();
        fs::remove_file(hookbox.path(name)).unwrap();
        assert_refused(&hookbox);
    }
}

/// The files are there when it begins to store, and are not when it is done.
#[test]
fn what_is_deleted_while_it_is_being_stored_is_not_acknowledged() {
    // Without actions, so that nobody else syncs: each thread's calls are counted by themselves.
    let home = Home::with_config(&format!("[actions]\n{SOURCE}"));
    let Some(home) = strace_injecting(home, "fsync,fdatasync:delay_enter=3000000:when=12+") else { return };
    let hookbox = home.start();
    wait_for("a commit that is slow", || {
        let begun = Instant::now();
        hookbox.deliver("push", &format!("{begun:?}"), "{}");
        (begun.elapsed() > Duration::from_secs(2)).then_some(())
    });
    let mut connection = hookbox.connect();
    connection.send(&Request::github("push", "late", "{}").bytes());
    let is_written = || fs::read(hookbox.path("webhooks.db-wal")).unwrap().windows(4).any(|bytes| bytes == b"late");
    wait_for("it to wait for the disk", || is_written().then_some(()));
    for name in ["webhooks.db", "webhooks.db-wal", "webhooks.db-shm"] {
        fs::remove_file(hookbox.path(name)).unwrap();
    }
    assert_eq!(connection.response().status, 503);
}

#[test]
fn once_another_file_is_in_its_place_nothing_is_acknowledged_any_more() {
    let hookbox = serving();
    fs::copy(hookbox.path("webhooks.db"), hookbox.path("copy")).unwrap();
    fs::rename(hookbox.path("copy"), hookbox.path("webhooks.db")).unwrap();
    assert_refused(&hookbox);
}

#[test]
fn a_database_that_is_put_back_is_worked_with_as_before() {
    let hookbox = serving();
    fs::rename(hookbox.path("webhooks.db"), hookbox.path("away")).unwrap();
    assert_refused(&hookbox);
    fs::rename(hookbox.path("away"), hookbox.path("webhooks.db")).unwrap();
    hookbox.deliver("push", "after", "{}");
    assert_eq!(hookbox.stored(), 2);
}
