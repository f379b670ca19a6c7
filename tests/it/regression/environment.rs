//! Environments that hookbox inherits and did not cope with.

use crate::actions::{deliver_and_wait, only_attempt, shell, with};
use crate::support::Home;

#[test]
fn the_server_did_not_start_without_a_temporary_directory() {
    let hookbox = Home::new().env("XDG_RUNTIME_DIR", "/nowhere").env("TMPDIR", "/dev/null").with_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    let (home, _) = hookbox.stop();
    let left: Vec<_> = std::fs::read_dir(home.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().starts_with("webhooks.db")), "{left:?}");
}

#[test]
fn an_inherited_ignored_sigchld_hid_exit_codes() {
    let keys = format!("{}\nattempts = 1", shell("echo ran; exit 7"));
    let hookbox = with("command", &keys).wrapped_in(&["env", "--ignore-signal=CHLD"]).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    assert_eq!(only_attempt(&hookbox, 1).1, "exit 7 ran");
}
