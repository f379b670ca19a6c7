//! Somebody else moves the database while the program works with it. SQLite would go on writing to what nobody will find.

use std::fs;

use crate::support::{Home, Hookbox, Request};

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
    hookbox.wait_for_stderr("webhooks.db or its -wal file was moved, replaced or deleted");
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
fn once_the_wal_is_deleted_nothing_is_acknowledged_any_more() {
    let hookbox = serving();
    fs::remove_file(hookbox.path("webhooks.db-wal")).unwrap();
    assert_refused(&hookbox);
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
