//! Other users of the same machine: what hookbox creates, what it finds in a shared directory, which config it reads.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{Home, SOURCE, wait_for};

/// A user without rights, by its number.
const NOBODY: u32 = 65_534;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Gives a file to another user; false, and the test is skipped, where that is not allowed.
fn give_away(path: &Path) -> bool {
    let given = std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).is_ok();
    if !given {
        println!("skipped: only root can give files away");
    }
    given
}

/// The program gets this umask, as an operator has set it.
fn with_umask(home: Home, umask: &str) -> Home {
    home.wrapped_in(&["sh", "-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
}

#[test]
fn only_its_owner_can_read_what_hookbox_creates() {
    let hookbox = with_umask(Home::new(), "0").with_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.run(["backup", "copy.db"]).ok();
    for file in
        ["webhooks.db", "webhooks.db-wal", "webhooks.db-shm", "webhooks.db.lock", "webhooks.db.token", "copy.db"]
    {
        wait_for(file, || hookbox.path(file).exists().then_some(()));
        assert_eq!(mode(&hookbox.path(file)), 0o600, "{file}");
    }
}

#[test]
fn a_database_at_the_end_of_a_link_is_created_for_its_owner_alone() {
    let home = with_umask(Home::new(), "0");
    symlink("there.db", home.path("webhooks.db")).unwrap();
    let hookbox = home.start();
    hookbox.deliver("push", "d-1", "{}");
    assert_eq!(mode(&hookbox.path("there.db")), 0o600);
    assert!(hookbox.path("webhooks.db").is_symlink());
}

#[test]
fn a_database_that_exists_keeps_its_mode_and_its_wal_has_the_same() {
    let (home, _) = Home::new().start().stop();
    set_mode(&home.path("webhooks.db"), 0o640);
    let hookbox = home.start();
    hookbox.deliver("push", "d-1", "{}");
    for file in ["webhooks.db", "webhooks.db-wal", "webhooks.db-shm"] {
        assert_eq!(mode(&hookbox.path(file)), 0o640, "{file}");
    }
}

#[test]
fn a_command_has_the_umask_of_the_operator() {
    let config = format!("{SOURCE}[actions.make]\nkind = 'command'\nrun = ['sh', '-c', 'umask > mask']\non = ['*']\n");
    let hookbox = with_umask(Home::with_config(&config), "027").start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    assert_eq!(fs::read_to_string(hookbox.path("mask")).unwrap(), "0027\n");
}

#[test]
fn a_lock_file_that_leads_elsewhere_is_refused_and_what_is_there_stays() {
    let home = Home::new();
    let (lock, precious) = (home.path("webhooks.db.lock"), home.path("precious"));
    for make in [|from: &Path, to: &Path| symlink(from, to), |from: &Path, to: &Path| fs::hard_link(from, to)] {
        fs::write(&precious, "1234 precious").unwrap();
        make(&precious, &lock).unwrap();
        home.start_in_vain().refused(2, &["webhooks.db.lock", "remove it"]);
        assert_eq!(fs::read_to_string(&precious).unwrap(), "1234 precious");
        assert!(!home.path("webhooks.db").exists());
        fs::remove_file(&lock).unwrap();
    }
    // Opening a FIFO waits for the other end.
    assert!(Command::new("mkfifo").arg(&lock).status().unwrap().success());
    home.start_in_vain().refused(2, &["webhooks.db.lock"]);
}

#[test]
fn what_stands_in_a_lock_file_is_shown_only_if_it_is_a_process_id() {
    let hookbox = Home::new().start();
    let pid = hookbox.pid().as_raw_nonzero().to_string();
    hookbox.start_in_vain().refused(2, &["already works", &format!("(process {pid})")]);
    hookbox.write("webhooks.db.lock", "root:$6$hash\n");
    let output = hookbox.start_in_vain();
    output.refused(2, &["already works"]);
    assert!(!output.stderr.contains("hash"), "{output}");
}

#[test]
fn a_config_that_was_only_found_must_be_ours_and_no_other_user_may_write_it() {
    let home = Home::with_config(SOURCE);
    let (file, directory) = (home.path("hookbox.toml"), home.path(""));
    let refused = |words: &[&str]| {
        home.run(["check"]).refused(2, &[words, &["--config hookbox.toml"]].concat());
        home.start_in_vain().refused(2, words);
        home.run(["check", "--config", "hookbox.toml"]).ok();
    };
    home.run(["check"]).ok();
    for mode in [0o646, 0o664] {
        set_mode(&file, mode);
        refused(&["other users can write to hookbox.toml", "chmod go-w hookbox.toml"]);
    }
    set_mode(&file, 0o644);
    for mode in [0o707, 0o770] {
        set_mode(&directory, mode);
        refused(&["other users can write to .", "chmod go-w ."]);
    }
    // As in /tmp, where other users cannot replace it.
    set_mode(&directory, 0o1777);
    home.run(["check"]).ok();
    if give_away(&file) {
        refused(&["hookbox.toml belongs to another user (uid 65534)"]);
    }
}

#[test]
fn a_config_at_the_end_of_a_link_must_be_ours_too() {
    let home = Home::new();
    fs::create_dir(home.path("there")).unwrap();
    home.write("there/real.toml", SOURCE);
    let link = home.path("hookbox.toml");
    symlink("there/real.toml", &link).unwrap();
    home.run(["check"]).ok();
    set_mode(&home.path("there"), 0o777);
    home.run(["check"]).refused(2, &["hookbox.toml", "other users can write to", "there"]);
    set_mode(&home.path("there"), 0o755);
    set_mode(&home.path("there/real.toml"), 0o666);
    home.run(["check"]).refused(2, &["hookbox.toml", "real.toml"]);
    set_mode(&home.path("there/real.toml"), 0o600);
    if give_away(&link) {
        home.run(["check"]).refused(2, &["hookbox.toml belongs to another user"]);
    }
}

#[test]
fn a_config_in_a_directory_of_another_user_is_not_read() {
    let home = Home::with_config(SOURCE);
    if give_away(&home.path("")) {
        home.run(["check"]).refused(2, &[". belongs to another user", "--config hookbox.toml"]);
    }
}

#[test]
fn a_database_of_another_user_is_reported() {
    let (home, _) = Home::new().start().stop();
    for (place, shown) in [(".", "."), ("webhooks.db", "webhooks.db")] {
        if !give_away(&home.path(place)) {
            return;
        }
        let output = home.run(["doctor"]).to_string();
        let line = output.lines().find(|line| line.contains("permissions")).unwrap();
        let why = format!("{shown} belongs to another user (uid {NOBODY})");
        assert!(line.contains("FAIL") && line.contains(&why) && line.contains("chown"), "{output}");
        std::os::unix::fs::chown(home.path(place), Some(0), Some(0)).unwrap();
    }
    give_away(&home.path("."));
    give_away(&home.path("webhooks.db"));
    let output = home.run(["doctor"]).to_string();
    assert!(!output.contains("another user"), "root asks about a service with a user of its own: {output}");
    let hookbox = home.start();
    hookbox.wait_for_stderr("webhooks.db belongs to another user");
    assert!(hookbox.stderr().lines().any(|line| line.contains("WARN") && line.contains("another user")));
}
