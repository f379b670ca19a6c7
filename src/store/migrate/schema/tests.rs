#![allow(clippy::unwrap_used, clippy::panic)]

use super::super::migrate;
use super::*;

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection, Path::new("x")).unwrap_or_else(|error| panic!("{error}"));
    connection
}

fn found(connection: &Connection) -> Vec<String> {
    differences(connection, Path::new("x")).unwrap()
}

#[test]
fn a_new_database_has_no_differences() {
    assert_eq!(found(&database()), [] as [&str; 0]);
}

#[test]
fn what_only_looks_different_is_none() {
    let connection = database();
    connection
        .execute_batch(
            "DROP INDEX jobs_running;
             create index \"jobs_running\" on [jobs](`event_id`) /* of ours */ where state = 'running';
             ALTER TABLE webhook_events ADD COLUMN note TEXT;
             CREATE INDEX by_note ON webhook_events (note);",
        )
        .unwrap();
    assert_eq!(found(&connection), [] as [&str; 0]);
}

#[test]
fn each_object_is_restored() {
    let titles: Vec<String> = objects(&database()).unwrap().iter().map(Object::title).collect();
    assert!(titles.len() > 20, "{titles:?}");
    for title in titles {
        let mut connection = database();
        connection.execute_batch(&format!("DROP {title}")).unwrap();
        assert!(found(&connection).contains(&title), "{title}");
        mend(&mut connection, Path::new("x")).unwrap_or_else(|error| panic!("{title}: {error}"));
        assert_eq!(found(&connection), [] as [&str; 0], "{title}");
    }
}

#[test]
fn a_changed_trigger_and_a_changed_literal_are_different() {
    let connection = database();
    connection
        .execute_batch(
            "DROP INDEX jobs_queued;
             CREATE INDEX jobs_queued ON jobs (action, due_at_ms, event_id) WHERE state = 'QUEUED';
             DROP TRIGGER webhook_event_arrived;
             CREATE TRIGGER webhook_event_arrived AFTER INSERT ON webhook_events BEGIN SELECT 1; END;",
        )
        .unwrap();
    assert_eq!(found(&connection), ["index jobs_queued", "trigger webhook_event_arrived"]);
}
