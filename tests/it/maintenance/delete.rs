//! One event is deleted for a secret that has leaked into it.

use crate::support::{Home, SOURCE};

const SECRET: &str = "hunter2-hunter2-hunter2";

/// Whether a file of the database has the secret.
fn has_secret(home: &Home, name: &str) -> bool {
    let bytes = std::fs::read(home.path(name)).unwrap_or_default();
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

#[test]
fn a_deleted_event_is_in_no_file_of_the_database_any_more() {
    let hookbox = Home::with_config(&format!("{SOURCE}[actions.it]\nkind = \"log\"\non = [\"*\"]\n")).start();
    hookbox.run(["pause", "it"]).ok();
    let body = format!("{{\"token\":\"{SECRET}\",\"padding\":\"{}\"}}", "x".repeat(20_000));
    hookbox.deliver("push", "leaked", &body);
    hookbox.deliver("push", "kept", "{}");
    assert!(has_secret(&hookbox, "webhooks.db") || has_secret(&hookbox, "webhooks.db-wal"));
    let told = hookbox.run(["delete", "1"]).ok().text();
    assert!(told.starts_with("deleted event 1 (push from github), and overwrote it in the database\n"), "{told}");
    assert!(told.contains("It had open jobs") && told.contains("backups"), "{told}");
    assert!(!told.contains("still has it"), "{told}");
    for file in ["webhooks.db", "webhooks.db-wal"] {
        assert!(!has_secret(&hookbox, file), "{file}");
    }
    assert_eq!(hookbox.query::<i64>("SELECT id FROM webhook_events"), [2]);
    assert_eq!(hookbox.query::<i64>("SELECT event_id FROM jobs"), [2]);
    hookbox.run(["delete", "1"]).refused(1, &["no event 1"]);
    hookbox.run(["resume", "it"]).ok();
    hookbox.wait_until_done();
    hookbox.assert_sound();
}
