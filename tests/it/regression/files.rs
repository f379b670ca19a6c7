//! Files that were looked for in the wrong place, or reported missing when they were not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::maintenance::doctor::assert_finds;
use crate::support::{Home, bound_by_permissions, wait_for};

#[test]
fn doctor_checked_the_link_and_not_the_database_behind_it() {
    let (home, _) = Home::new().start().stop();
    fs::create_dir(home.path("disk")).unwrap();
    fs::rename(home.path("webhooks.db"), home.path("disk/real.db")).unwrap();
    std::os::unix::fs::symlink("disk/real.db", home.path("webhooks.db")).unwrap();
    let hookbox = home.start();
    hookbox.run(["pause", "log"]).ok();
    hookbox.deliver("push", "d-1", "{}");
    wait_for("its job", || (hookbox.query::<i64>("SELECT count(*) FROM jobs") == [1]).then_some(()));
    // The event is only in the WAL, which is beside the file and not beside the link.
    assert_finds(&hookbox, &[], "unprocessed", "ok", &["1 events, 1 open jobs"]);
    assert!(hookbox.run(["stats", "--json"]).ok().json()["wal_bytes"].as_u64().unwrap() > 0);
}

/// As under systemd's DynamicUser, when another user runs a command on the database.
#[test]
fn a_database_without_read_permission_was_reported_missing() {
    let Some(home) = bound_by_permissions(Home::new()) else { return };
    let (home, _) = home.start().stop();
    let commands = [&["list"][..], &["stats"], &["show", "1"], &["replay", "1"], &["backup", "copy.db"]];
    let (hidden, place) = (home.path("hidden"), home.path("hidden").join("webhooks.db").display().to_string());
    fs::create_dir(&hidden).unwrap();
    fs::rename(home.path("webhooks.db"), &place).unwrap();
    for (closed, mode) in [(&hidden, 0o600), (&PathBuf::from(&place), 0o200)] {
        let open = fs::metadata(closed).unwrap().permissions();
        fs::set_permissions(closed, fs::Permissions::from_mode(mode)).unwrap();
        for command in commands {
            let output = home.run([command, &["--database", &place]].concat());
            output.refused(2, &["webhooks.db", "Permission denied", "sudo"]);
        }
        let doctor = home.run(["doctor", "--database", &place]);
        doctor.refused(1, &["fail"]);
        assert!(doctor.text().contains("sudo") && !doctor.text().contains("not there yet"), "{doctor}");
        fs::set_permissions(closed, open).unwrap();
    }
    home.run(["list", "--database", &place]).ok();
}
