//! Where a database cannot be kept, or not for long.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::durable::mount::Disk;
use crate::support::{Home, SOURCE, strace_injecting};

/// Lets the kernel tell of a file system of another kind: the number is the first that `statfs` writes, as it is in memory.
fn on(magic: &str) -> Option<Home> {
    strace_injecting(Home::new(), &format!("statfs,fstatfs:poke_exit=@arg2={magic}"))
}

#[test]
fn a_database_on_a_network_file_system_is_refused_with_the_reason_and_nothing_is_made() {
    for (magic, name) in [("6969000000000000", "NFS"), ("424d53ff00000000", "CIFS"), ("9719020100000000", "9p")] {
        let Some(home) = on(magic) else { return };
        home.start_in_vain().refused(2, &["webhooks.db", "another machine", name, "hookbox backup"]);
        for file in ["webhooks.db", "webhooks.db.lock"] {
            assert!(!home.path(file).exists(), "{file}");
        }
    }
}

/// Bound by permissions, which root is not otherwise. `None` where that cannot be done.
fn bound(home: Home) -> Option<Home> {
    if !rustix::process::geteuid().is_root() {
        return Some(home);
    }
    let words = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"];
    if !Command::new(words[0]).args(&words[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        println!("skipped: setpriv is not there");
        return None;
    }
    Some(home.wrapped_in(&words))
}

/// As it is where systemd has made up a user for the service, and another looks into its database.
#[test]
fn a_database_that_this_user_may_not_look_into_is_not_called_missing() {
    let Some(home) = bound(Home::new()) else { return };
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

#[test]
fn a_database_on_a_disk_of_this_machine_is_taken() {
    // ext4
    let Some(home) = on("53ef000000000000") else { return };
    home.start().assert_alive();
}

#[test]
fn a_disk_that_is_nearly_full_is_told_of_at_the_start() {
    let Some(disk) = Disk::tmpfs(24 << 20) else { return };
    let start = |reserve| {
        let home = Home::with_config(&format!("disk_reserve = \"{reserve}\"\n{SOURCE}"));
        let (_, output) = home.database(&disk.path("webhooks.db")).start().stop();
        output.stderr.matches("nearly full").count()
    };
    assert_eq!(start("4MiB"), 1);
    assert_eq!(start("1MiB"), 0);
}

#[test]
fn a_database_may_have_any_name_and_be_behind_a_link() {
    for name in ["file:x.db?mode=memory", "%41 ?#&'\"; ünï☃.db"] {
        let home = Home::new().arg("--database").arg(name);
        std::os::unix::fs::symlink(".", home.path("link")).unwrap();
        let hookbox = home.start();
        hookbox.deliver("push", "d-1", "{}");
        assert!(hookbox.path(name).exists());
        for path in [name, &format!("link/{name}")] {
            assert!(hookbox.run(["list", "--database", path]).ok().text().contains("d-1"), "{path}");
        }
    }
}
