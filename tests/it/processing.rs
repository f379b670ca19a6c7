//! A stored event is routed, its actions run, and it is processed.

use crate::support::{Home, Hookbox, Request, SOURCE, wait_for};

#[track_caller]
fn status(home: &Home, id: &str) -> String {
    home.query::<String>(&format!("SELECT status FROM webhook_events WHERE delivery_id = '{id}'"))[0].clone()
}

#[track_caller]
fn wait_until_handled(hookbox: &Hookbox, id: &str) {
    hookbox.wait_for_stdout(&format!("(delivery {id})"));
    wait_for("the event to be processed", || (status(hookbox, id) == "processed").then_some(()));
}

/// 64 events whose lines on stdout are more than a pipe holds: unless it is read, the last one cannot finish.
fn deliver_more_than_a_pipe_holds(hookbox: &Hookbox) {
    let keys: Vec<String> = (0..100).map(|n| format!("\"{}{n}\":1", "k".repeat(40))).collect();
    let body = format!("{{{}}}", keys.join(","));
    for n in 0..64 {
        hookbox.deliver("issues", &format!("d-{n:02}"), &body);
    }
}

#[test]
fn the_log_action_prints_the_event_and_the_keys_of_its_payload_in_order() {
    let hookbox = Home::new().start();
    hookbox.deliver("issues", "a1b2c3d4-0000", r#"{"sender":{"login":"zoe"},"action":"opened","issue":{"id":1}}"#);
    hookbox.wait_for_stdout("Payload keys");
    let expected = "[1] Handling event issues (delivery a1b2c3d4-0000)\nPayload keys: sender, action, issue\n";
    assert_eq!(hookbox.stdout(), expected);
}

#[test]
fn a_handled_event_is_processed_with_its_time() {
    let hookbox = Home::new().start();
    hookbox.deliver("issues", "d-1", "{}");
    wait_until_handled(&hookbox, "d-1");
    assert_eq!(hookbox.query::<i64>("SELECT processed_at IS NOT NULL FROM webhook_events"), [1]);
}

#[test]
fn events_are_handled_in_the_order_of_their_ids() {
    let hookbox = Home::new().start();
    for n in 0..20 {
        hookbox.deliver("issues", &format!("d-{n}"), "{}");
    }
    wait_until_handled(&hookbox, "d-19");
    let stdout = hookbox.stdout();
    let ids = stdout.lines().filter_map(|line| line.strip_prefix('[')?.split(']').next()?.parse::<i64>().ok());
    assert_eq!(ids.collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_redelivery_is_not_handled_again() {
    let hookbox = Home::new().start();
    hookbox.deliver("issues", "d-1", "{}");
    wait_until_handled(&hookbox, "d-1");
    hookbox.deliver("issues", "d-1", "{}");
    hookbox.deliver("issues", "d-2", "{}");
    wait_until_handled(&hookbox, "d-2");
    assert_eq!(hookbox.stdout().matches("(delivery d-1)").count(), 1);
}

#[test]
fn a_stored_event_wakes_the_router() {
    let hookbox = Home::with_config(&format!("poll_interval = \"1h\"\n{SOURCE}")).start();
    hookbox.deliver("issues", "d-1", "{}");
    wait_until_handled(&hookbox, "d-1");
    hookbox.deliver("issues", "d-2", "{}");
    wait_until_handled(&hookbox, "d-2");
}

#[test]
fn an_event_inserted_by_another_program_is_found_by_polling() {
    let hookbox = Home::with_config(&format!("poll_interval = \"100ms\"\n{SOURCE}")).start();
    hookbox.insert_event("d-1", "{}");
    wait_until_handled(&hookbox, "d-1");
}

#[test]
fn an_event_set_back_to_unprocessed_by_another_program_is_handled_again() {
    let hookbox = Home::with_config(&format!("poll_interval = \"100ms\"\n{SOURCE}")).start();
    hookbox.deliver("issues", "d-1", "{}");
    wait_until_handled(&hookbox, "d-1");
    let again = "UPDATE webhook_events SET status = 'unprocessed', processed_at = NULL";
    hookbox.db().execute(again, []).unwrap();
    let twice = || hookbox.stdout().matches("(delivery d-1)").count() == 2;
    wait_for("the second time", || twice().then_some(()));
    wait_until_handled(&hookbox, "d-1");
}

#[test]
fn an_event_that_is_not_json_delays_no_other() {
    let (home, _) = Home::new().start().stop();
    home.insert_event("bad", "{not json");
    home.insert_event("list", "[1]");
    home.insert_event("good", "{}");
    let hookbox = home.start();
    wait_until_handled(&hookbox, "good");
    hookbox.wait_until_done();
    hookbox.assert_alive();
}

#[test]
fn an_event_without_a_matching_action_is_processed() {
    let config = format!("{SOURCE}[actions.say]\nkind = \"log\"\non = [\"github:push\", \"elsewhere:*\"]\n");
    let hookbox = Home::with_config(&config).start();
    hookbox.deliver("issues", "d-1", "{}");
    hookbox.deliver("push", "d-2", "{}");
    wait_until_handled(&hookbox, "d-2");
    hookbox.wait_until_done();
    assert_eq!(status(&hookbox, "d-1"), "processed");
    assert!(!hookbox.stdout().contains("d-1"));
}

#[test]
fn two_actions_both_get_the_event() {
    let config = format!(
        "{SOURCE}[actions.a]\nkind = \"log\"\non = [\"*:*\"]\n[actions.b]\nkind = \"log\"\non = [\"github:*\"]\n"
    );
    let hookbox = Home::with_config(&config).start();
    hookbox.deliver("issues", "d-1", "{}");
    hookbox.wait_until_done();
    wait_for("both lines", || (hookbox.stdout().matches("(delivery d-1)").count() == 2).then_some(()));
}

#[test]
fn an_event_stored_while_the_server_was_down_is_handled_at_the_next_start() {
    let (home, _) = Home::with_config(&format!("poll_interval = \"1h\"\n{SOURCE}")).start().stop();
    home.insert_event("d-1", "{}");
    wait_until_handled(&home.start(), "d-1");
}

#[test]
fn deliveries_acknowledged_before_a_kill_are_handled_at_the_next_start() {
    let mut home = Home::new();
    let mut printed = String::new();
    for round in 0..5 {
        let hookbox = home.start();
        for n in 0..5 {
            hookbox.deliver("issues", &format!("d-{round}-{n}"), "{}");
        }
        let so_far = hookbox.stdout();
        home = hookbox.kill9();
        printed.push_str(&so_far);
    }
    let hookbox = home.start();
    hookbox.wait_until_done();
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM webhook_events WHERE status = 'processed'"), [25]);
    hookbox.assert_sound();
}

#[test]
fn an_event_interrupted_by_a_kill_is_handled_again() {
    let hookbox = Home::new().stdout_unread(true).start();
    deliver_more_than_a_pipe_holds(&hookbox);
    let home = hookbox.kill9();
    assert_eq!(status(&home, "d-63"), "unprocessed");
    let hookbox = home.stdout_unread(false).start();
    wait_until_handled(&hookbox, "d-63");
    hookbox.wait_until_done();
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM webhook_events WHERE status = 'processed'"), [64]);
}

#[test]
fn an_action_that_hangs_delays_no_acknowledgement() {
    let hookbox = Home::new().stdout_unread(true).start();
    deliver_more_than_a_pipe_holds(&hookbox);
    assert_eq!(status(&hookbox, "d-63"), "unprocessed");
    assert_eq!(hookbox.send(&Request::github("issues", "d-64", "{}")).status, 200);
    hookbox.assert_alive();
}

#[test]
fn an_event_finished_by_another_program_is_not_handled_again() {
    let hookbox = Home::new().stdout_unread(true).start();
    deliver_more_than_a_pipe_holds(&hookbox);
    let home = hookbox.kill9();
    // Its jobs are open, and one may have been interrupted.
    let finish = "UPDATE webhook_events SET status = 'processed', processed_at = '2025-01-31T12:00:00+00:00'";
    home.db().execute(finish, []).unwrap();
    let hookbox = home.stdout_unread(false).start();
    hookbox.deliver("issues", "d-last", "{}");
    wait_until_handled(&hookbox, "d-last");
    assert_eq!(hookbox.stdout().matches("Handling event").count(), 1, "only the last one");
    assert_eq!(status(&hookbox, "d-63"), "processed");
}

#[test]
fn a_line_break_in_a_key_prints_no_extra_line() {
    let hookbox = Home::new().start();
    hookbox.deliver("issues", "d-1", r#"{"a\n[9] Handling event issues (delivery forged)":1,"\u001b[31m":2}"#);
    wait_until_handled(&hookbox, "d-1");
    hookbox.wait_for_stdout("Payload keys");
    assert_eq!(hookbox.stdout().lines().count(), 2, "{}", hookbox.stdout());
    assert!(!hookbox.stdout().contains('\u{1b}'));
}

#[test]
fn an_idle_server_writes_nothing_to_the_disk() {
    let hookbox = Home::with_config(&format!("poll_interval = \"100ms\"\n{SOURCE}")).start();
    hookbox.deliver("issues", "d-1", "{}");
    wait_until_handled(&hookbox, "d-1");
    let written = || {
        let time = |name| hookbox.path(name).metadata().and_then(|file| file.modified()).ok();
        (time("webhooks.db"), time("webhooks.db-wal"))
    };
    // Not a wait for something: ten polls in which nothing may happen. The first may still record the outcome.
    let pause = || std::thread::sleep(std::time::Duration::from_millis(500));
    pause();
    let before = written();
    pause();
    pause();
    assert_eq!(written(), before);
}

/// Python's `request.get_data()` is bytes, which its `sqlite3` stores as a BLOB.
#[test]
fn a_row_with_blobs_for_text_is_handled_and_delays_no_other() {
    let (home, _) = Home::new().start().stop();
    let sql = "INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
        VALUES (x'676974687562', x'70757368', 'blobs', x'7b2261223a317d', '2025-01-31T12:00:00+00:00', 'unprocessed'),
               ('github', x'ff', 'no-utf-8', x'ff00', '2025-01-31T12:00:00+00:00', 'unprocessed')";
    home.db().execute(sql, []).unwrap();
    home.insert_event("text", "{}");
    let hookbox = home.start();
    wait_until_handled(&hookbox, "text");
    wait_until_handled(&hookbox, "blobs");
    hookbox.wait_until_done();
    assert_eq!(status(&hookbox, "no-utf-8"), "error");
    assert!(hookbox.stdout().contains("Handling event push (delivery blobs)\nPayload keys: a\n"));
}
