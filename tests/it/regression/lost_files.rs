//! Deliveries that were acknowledged although the database's files had been deleted.

use std::fs;
use std::time::{Duration, Instant};

use crate::durability::moved_files::{assert_refused, serving};
use crate::support::{Home, Request, SOURCE, strace_injecting, wait_for};

#[test]
fn deliveries_were_acknowledged_after_the_wal_or_shm_was_deleted() {
    for name in ["webhooks.db-wal", "webhooks.db-shm"] {
        let hookbox = serving();
        fs::remove_file(hookbox.path(name)).unwrap();
        assert_refused(&hookbox);
    }
}

/// The files exist when the commit begins, and not when it ends.
#[test]
fn a_delivery_whose_files_were_deleted_during_its_commit_was_acknowledged() {
    // Without actions, so that no other thread syncs: strace counts the calls of each thread separately.
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
