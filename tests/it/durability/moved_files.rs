//! The database is moved or replaced while the server has it open. SQLite would continue to write to files without a name.

use std::fs;

use crate::support::{Home, Hookbox, Request};

pub fn serving() -> Hookbox {
    let hookbox = Home::new().start();
    hookbox.deliver("push", "before", "{}");
    hookbox.wait_until_done();
    hookbox
}

#[track_caller]
pub fn assert_refused(hookbox: &Hookbox) {
    assert_eq!(hookbox.send(&Request::github("push", "after", "{}")).status, 503);
    assert_eq!(hookbox.send(&Request::get("/healthz")).status, 503);
    hookbox.wait_for_stderr("webhooks.db or its -wal or -shm file was moved, replaced or deleted");
}

#[test]
fn nothing_is_acknowledged_after_the_database_is_deleted() {
    let hookbox = serving();
    for name in ["webhooks.db", "webhooks.db-wal", "webhooks.db-shm"] {
        fs::remove_file(hookbox.path(name)).unwrap();
    }
    assert_refused(&hookbox);
    let hookbox = hookbox.kill9().start();
    hookbox.deliver("push", "after", "{}");
}

#[test]
fn nothing_is_acknowledged_after_the_database_is_replaced() {
    let hookbox = serving();
    fs::copy(hookbox.path("webhooks.db"), hookbox.path("copy")).unwrap();
    fs::rename(hookbox.path("copy"), hookbox.path("webhooks.db")).unwrap();
    assert_refused(&hookbox);
}

#[test]
fn a_database_that_is_put_back_is_used_again() {
    let hookbox = serving();
    fs::rename(hookbox.path("webhooks.db"), hookbox.path("away")).unwrap();
    assert_refused(&hookbox);
    fs::rename(hookbox.path("away"), hookbox.path("webhooks.db")).unwrap();
    hookbox.deliver("push", "after", "{}");
    assert_eq!(hookbox.stored(), 2);
}
