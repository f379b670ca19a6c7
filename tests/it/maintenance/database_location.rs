//! Where a database can be kept.

use crate::support::{Disk, Home, SOURCE, strace_injecting};

/// The kernel reports a file system of another kind: the number is the first that `statfs` writes, as it is in memory.
fn on(magic: &str) -> Option<Home> {
    strace_injecting(Home::new(), &format!("statfs,fstatfs:poke_exit=@arg2={magic}"))
}

#[test]
fn a_database_on_a_network_file_system_is_refused_with_the_reason_and_no_file_is_made() {
    for (magic, name) in [("6969000000000000", "NFS"), ("424d53ff00000000", "CIFS"), ("9719020100000000", "9p")] {
        let Some(home) = on(magic) else { return };
        home.start_in_vain().refused(2, &["webhooks.db", "another machine", name, "hookbox backup"]);
        for file in ["webhooks.db", "webhooks.db.lock"] {
            assert!(!home.path(file).exists(), "{file}");
        }
    }
}

#[test]
fn a_database_on_a_local_disk_is_accepted() {
    // ext4
    let Some(home) = on("53ef000000000000") else { return };
    home.start().assert_alive();
}

#[test]
fn a_nearly_full_disk_is_reported_at_the_start() {
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
