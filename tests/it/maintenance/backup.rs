//! A backup holds everything that was acknowledged before it, and can be served.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::{OLD, insert_done, rows};
use crate::support::{Disk, Home, SOURCE, Senders, assert_stored, body_of, example, is_installed};

/// The files in the directory with this in their names.
fn files_like(home: &Home, part: &str) -> Vec<String> {
    let names = fs::read_dir(home.path(".")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains(part)).collect();
    names.sort();
    names
}

#[test]
fn a_backup_under_load_has_every_earlier_acknowledged_delivery_and_serves() {
    let (home, _) = Home::new().start().stop();
    insert_done(&home, 2_000, "processed", OLD, 8_000);
    let hookbox = home.start();
    let before: Vec<String> = (0..50).map(|n| format!("before-{n}")).collect();
    for id in &before {
        hookbox.deliver("push", id, body_of(id));
    }
    let senders = Senders::start(8, "during", &hookbox.address());
    let output = hookbox.run(["backup", "copy.db"]).ok();
    let during = senders.acknowledged();
    assert!(output.text().contains("verified"), "{output}");
    assert!(!hookbox.stderr().contains("refused"), "{}", hookbox.stderr());
    assert!(!during.is_empty());
    assert_eq!(files_like(&hookbox, "copy"), ["copy.db"], "nothing beside it is needed, and nothing left");
    let copy = fs::read(hookbox.path("copy.db")).unwrap();
    assert_eq!(copy[18..20], [1, 1], "it can be read where SQLite can make no file beside it");

    let restored = Home::new();
    fs::copy(hookbox.path("copy.db"), restored.path("webhooks.db")).unwrap();
    let restored = restored.start();
    assert_stored(&restored.db(), &before);
    restored.deliver("push", "after", body_of("after"));
    restored.wait_until_done();
    restored.assert_sound();
}

#[test]
fn a_restore_in_place_has_the_rows_of_the_backup_and_not_of_an_old_wal() {
    let hookbox = Home::new().start();
    hookbox.deliver("push", "kept", "{}");
    hookbox.wait_until_done();
    hookbox.run(["backup", "copy.db"]).ok();
    hookbox.deliver("push", "later", "{}");
    hookbox.wait_until_done();
    let home = hookbox.kill9();
    // As the manual says.
    fs::rename(home.path("copy.db"), home.path("webhooks.db")).unwrap();
    for name in ["webhooks.db-wal", "webhooks.db-shm"] {
        fs::remove_file(home.path(name)).unwrap();
    }
    let hookbox = home.start();
    assert_eq!(hookbox.query::<String>("SELECT delivery_id FROM webhook_events"), ["kept"]);
    hookbox.deliver("push", "later", "{}");
    hookbox.assert_sound();
}

#[test]
fn a_backup_overwrites_nothing() {
    let hookbox = Home::new().start();
    hookbox.write("copy.db", "precious");
    hookbox.run(["backup", "copy.db"]).refused(1, &["copy.db", "already"]);
    hookbox.run(["backup", "webhooks.db"]).refused(1, &["webhooks.db", "already"]);
    std::os::unix::fs::symlink("nowhere", hookbox.path("link")).unwrap();
    hookbox.run(["backup", "link"]).refused(1, &["link", "already"]);
    assert_eq!(fs::read(hookbox.path("copy.db")).unwrap(), b"precious");
    assert!(!hookbox.path("nowhere").exists());
    assert_eq!(files_like(&hookbox, "part"), [""; 0]);
    hookbox.assert_alive();
}

#[test]
fn only_its_owner_can_read_a_backup_whoever_can_read_the_database() {
    let hookbox = Home::new().start();
    for mode in [0o600, 0o644] {
        fs::set_permissions(hookbox.path("webhooks.db"), fs::Permissions::from_mode(mode)).unwrap();
        let name = format!("copy-{mode:o}.db");
        hookbox.run(["backup", &name]).ok();
        assert_eq!(fs::metadata(hookbox.path(&name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_backup_that_cannot_be_written_says_why_and_leaves_nothing() {
    let home = Home::new();
    home.run(["backup", "copy.db"]).refused(2, &["no database"]);
    home.run(["backup"]).refused(2, &["FILE"]);
    let (home, _) = home.start().stop();
    home.run(["backup", "missing/copy.db"]).refused(1, &["missing/copy.db", "directory"]);
    insert_done(&home, 100, "processed", OLD, 100_000);
    assert_eq!(rows(&home), [100; 3]);
    let Some(disk) = Disk::tmpfs(4 << 20) else { return };
    let file = disk.path("copy.db");
    home.run(["backup", &file.display().to_string()]).refused(1, &["copy.db", "free"]);
    assert_eq!(fs::read_dir(disk.path(".")).unwrap().count(), 0);
}

#[test]
fn a_backup_leaves_the_reserve_of_the_disk_free() {
    let Some(disk) = Disk::tmpfs(16 << 20) else { return };
    let config = format!("disk_reserve = \"4MiB\"\n{SOURCE}");
    let home = Home::with_config(&config).database(&disk.path("webhooks.db"));
    let (home, _) = home.start().stop();
    insert_done(&home, 80, "processed", OLD, 100_000);
    let (database, file) = (disk.path("webhooks.db").display().to_string(), disk.path("copy.db").display().to_string());
    home.run(["backup", &file, "--database", &database]).refused(1, &["disk_reserve"]);
    assert!(!disk.path("copy.db").exists());
    home.run(["backup", "elsewhere.db", "--database", &database]).ok();
}

#[test]
fn a_copy_of_a_damaged_database_is_no_backup() {
    let (home, _) = Home::new().start().stop();
    insert_done(&home, 100, "processed", OLD, 8_000);
    home.db().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let mut bytes = fs::read(home.path("webhooks.db")).unwrap();
    let middle = bytes.len() / 4096 / 2 * 4096;
    bytes[middle..middle + 4096].fill(0xA5);
    home.write("webhooks.db", &bytes);
    let output = home.run(["backup", "copy.db"]);
    assert_eq!(output.code.map(|code| code > 0), Some(true), "{output}");
    assert_eq!(files_like(&home, "copy"), [""; 0]);
}

/// Runs lines of the manual in this home, where `sudo` changes nothing, and /var/backups is here.
#[track_caller]
fn run_lines(home: &Home, lines: &str) {
    let here = home.path("backups").display().to_string();
    let path = format!("{}:{}", home.path(".").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", &lines.replace("/var/backups/hookbox", &here)]).current_dir(home.path(".")).env("PATH", path);
    // The manual's remote:hookbox is a directory here.
    command.env("RCLONE_CONFIG_REMOTE_TYPE", "alias").env("RCLONE_CONFIG_REMOTE_REMOTE", home.path("remote"));
    command.env("RCLONE_CONFIG", home.path("rclone.conf"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{lines}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The one copy in this directory can be read and has the delivery.
#[track_caller]
fn assert_copied(home: &Home, directory: &str) {
    let names: Vec<_> = fs::read_dir(home.path(directory)).unwrap().map(|file| file.unwrap().path()).collect();
    let [copy] = &names[..] else { panic!("{directory}: {names:?}") };
    let listed = home.run(["list", "--json", "--database", copy.to_str().unwrap()]).ok().json_lines();
    assert_eq!(listed[0]["delivery_id"], "copied-away");
}

#[test]
fn the_manuals_lines_copy_a_backup_away_by_rsync_and_rclone() {
    let are_installed = [("rsync", "--version"), ("rclone", "version")].map(|(name, how)| is_installed(name, &[how]));
    if are_installed.contains(&false) {
        return;
    }
    let home = Home::new().start();
    home.copy_program();
    home.write("sudo", "#!/bin/sh\nexec \"$@\"\n");
    fs::set_permissions(home.path("sudo"), fs::Permissions::from_mode(0o755)).unwrap();
    home.deliver("push", "copied-away", "{}");
    let lines = example("src/manual/backup.md", "sh", "backup=/var/backups");
    let target = "backup@nas.example.com:hookbox/";
    assert!(lines.contains(target), "{lines}");
    run_lines(&home, &lines.replace(target, "nas/"));
    assert_copied(&home, "nas");
    let rclone = "sudo rclone copy /var/backups/hookbox remote:hookbox";
    let chapter = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/manual/backup.md")).unwrap();
    assert!(chapter.contains(rclone), "the manual has no {rclone}");
    run_lines(&home, rclone);
    assert_copied(&home, "remote/hookbox");
}
