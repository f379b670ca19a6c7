//! `hookbox doctor` measures a sync of the database's own disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::doctor::assert_finds;
use crate::support::{Home, bound_by_permissions, strace_injecting};

/// A file beside the database that the measurement left there.
fn left_behind(home: &Home) -> Vec<String> {
    let names = fs::read_dir(home.path(".")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".sync-")).collect()
}

#[test]
fn doctor_measures_one_sync_of_a_private_file_and_removes_it() {
    let (home, _) = Home::new().start().stop();
    let Some(home) = strace_injecting(home, "fdatasync:delay_exit=40000") else { return };
    assert_finds(
        &home,
        &[],
        "sync",
        "ok",
        &["a sync takes ", " ms: a lone sender gets about ", "64 senders get about "],
    );
    let trace = fs::read_to_string(home.path("trace")).unwrap();
    assert_eq!(trace.matches("fdatasync(").count(), 1, "{trace}");

    let Some(home) = strace_injecting(home, "openat:delay_enter=1") else { return };
    assert_finds(&home, &[], "sync", "ok", &["a sync takes "]);
    let trace = fs::read_to_string(home.path("trace")).unwrap();
    let opened = trace.lines().find(|line| line.contains("webhooks.db.sync-")).unwrap();
    for flag in ["O_CREAT|O_EXCL", "O_NOFOLLOW", "0600"] {
        assert!(opened.contains(flag), "no {flag} in {opened}");
    }
    assert!(left_behind(&home).is_empty(), "{:?}", left_behind(&home));
}

#[test]
fn doctor_removes_its_file_if_the_disk_fails() {
    for fault in ["fdatasync:error=EIO", "write:error=ENOSPC:when=1"] {
        let Some(home) = strace_injecting(Home::new(), fault) else { return };
        assert_finds(&home, &[], "sync", "warn", &["webhooks.db", "cannot be written and synced"]);
        assert!(left_behind(&home).is_empty(), "{fault}: {:?}", left_behind(&home));
    }
}

#[test]
fn doctor_notes_that_it_cannot_write_beside_the_database() {
    let Some(home) = bound_by_permissions(Home::new()) else { return };
    let (home, _) = home.start().stop();
    fs::set_permissions(home.path("."), fs::Permissions::from_mode(0o500)).unwrap();
    assert_finds(&home, &[], "sync", "ok", &["not measured", "cannot be written", "Permission denied"]);
    fs::set_permissions(home.path("."), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn doctor_measures_while_deliveries_are_stored() {
    let hookbox = Home::new().start();
    hookbox.deliver("push", "d-1", "{}");
    assert_finds(&hookbox, &[], "sync", "ok", &["a sync takes "]);
    hookbox.deliver("push", "d-2", "{}");
    hookbox.wait_until_done();
    assert!(left_behind(&hookbox).is_empty(), "{:?}", left_behind(&hookbox));
    hookbox.assert_sound();
}
