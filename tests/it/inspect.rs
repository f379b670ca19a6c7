//! The reading commands: what was received, what was done, what waits.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Home, Hookbox, Request, SOURCE, closed_port, in_a_terminal, is_installed, wait_for};

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// `hookbox list --follow` as a process, line by line.
struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn start(home: &Home, args: &[&str]) -> Follower {
        let mut command = home.command();
        command.args(["list", "--follow", "--json"]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        Follower { child, lines }
    }

    #[track_caller]
    fn next(&self) -> (i64, String) {
        let line = self.lines.recv_timeout(DEADLINE).expect("a line");
        let event: Value = serde_json::from_str(&line).unwrap();
        (event["id"].as_i64().unwrap(), event["status"].as_str().unwrap().to_owned())
    }

    /// Reads up to an event that has this status.
    #[track_caller]
    fn wait_for(&self, id: i64, status: &str) {
        while self.next() != (id, status.to_owned()) {}
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn set_status(home: &Home, id: i64, status: &str) {
    home.db().execute("UPDATE webhook_events SET status = ?2 WHERE id = ?1", (id, status)).unwrap();
}

/// Delivers an event and waits until it is processed.
fn deliver(hookbox: &Hookbox, id: &str) {
    hookbox.deliver("push", id, r#"{"ref":"main"}"#);
    hookbox.wait_until_done();
}

#[test]
fn follow_prints_what_is_new_and_what_changes() {
    let hookbox = Home::with_config(&format!("poll_interval = \"100ms\"\n{SOURCE}")).start();
    deliver(&hookbox, "d-1");
    let follower = Follower::start(&hookbox, &[]);
    assert_eq!(follower.next(), (1, "processed".to_owned()));
    deliver(&hookbox, "d-2");
    follower.wait_for(2, "processed");
    set_status(&hookbox, 1, "error");
    assert_eq!(follower.next(), (1, "error".to_owned()));
    hookbox.run(["replay", "1", "--again"]).ok();
    follower.wait_for(1, "processed");
}

#[test]
fn follow_continues_over_a_restart_of_the_server() {
    let hookbox = Home::new().start();
    deliver(&hookbox, "d-1");
    let follower = Follower::start(&hookbox, &[]);
    assert_eq!(follower.next().0, 1);
    let (home, _) = hookbox.stop();
    let hookbox = home.start();
    deliver(&hookbox, "d-2");
    follower.wait_for(2, "processed");
    let hookbox = hookbox.kill9().start();
    deliver(&hookbox, "d-3");
    follower.wait_for(3, "processed");
}

#[test]
fn follow_waits_for_the_database_to_exist() {
    let home = Home::new();
    let mut follower = Follower::start(&home, &[]);
    let mut first = [0; 40];
    follower.child.stderr.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert!(!home.path("webhooks.db").exists());
    let hookbox = home.start();
    deliver(&hookbox, "d-1");
    follower.wait_for(1, "processed");
}

#[test]
fn follow_prints_only_what_passes_the_filter() {
    let hookbox = Home::new().start();
    let follower = Follower::start(&hookbox, &["--status", "error"]);
    deliver(&hookbox, "d-1");
    deliver(&hookbox, "d-2");
    set_status(&hookbox, 2, "error");
    assert_eq!(follower.next(), (2, "error".to_owned()));
}

#[test]
fn follow_sees_changes_among_very_many_kinds_of_events() {
    let hookbox = Home::with_config(&format!("{SOURCE}[actions]\n")).start();
    let many = "INSERT INTO webhook_events (source, event_type, delivery_id, payload_json, received_at, status)
         WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)
         SELECT 'doorbell', 'ring ' || n, n, '{}', '2025-02-01T00:00:00+00:00', 'unprocessed' FROM n";
    hookbox.db().execute(many, []).unwrap();
    let follower = Follower::start(&hookbox, &["--limit", "1"]);
    follower.wait_for(5000, "unprocessed");
    set_status(&hookbox, 7, "processed");
    follower.wait_for(7, "processed");
}

/// Otherwise each closed reader of a quiet list would leave a process.
#[test]
fn follow_ends_when_its_pipe_is_closed() {
    let hookbox = Home::new().start();
    let mut command = hookbox.command();
    let mut child = command.args(["list", "--follow"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let status = wait_for("its end", || child.try_wait().unwrap());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

/// A reader that stays in a transaction keeps every later commit in the WAL.
#[test]
fn follow_does_not_keep_the_wal_from_being_emptied() {
    let hookbox = Home::new().start();
    deliver(&hookbox, "d-1");
    let follower = Follower::start(&hookbox, &[]);
    assert_eq!(follower.next().0, 1);
    deliver(&hookbox, "d-2");
    follower.wait_for(2, "processed");
    let (busy, left): (i64, i64) =
        hookbox.db().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!((busy, left), (0, 0));
}

#[test]
fn list_since_prints_only_recent_events() {
    let hookbox = Home::new().start();
    deliver(&hookbox, "d-1");
    deliver(&hookbox, "d-2");
    let db = hookbox.db();
    db.execute("UPDATE webhook_events SET received_at = '2020-01-01T00:00:00+00:00' WHERE id = 1", []).unwrap();
    let ids = |args: &[&str]| -> Vec<i64> {
        let lines = hookbox.run([&["list", "--json"], args].concat()).ok().json_lines();
        lines.iter().map(|line| line["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(&["--since", "2h"]), [2]);
    assert_eq!(ids(&["--since", "100000d"]), [1, 2]);
    assert_eq!(ids(&["--since", "2h", "--status", "error"]), [0; 0]);
}

#[test]
fn list_finds_a_text() {
    let hookbox = Home::new().start();
    hookbox.deliver("push", "d-1", r#"{"ref":"refs\/heads\/main"}"#);
    hookbox.deliver("issues", "d-2", r#"{"title":"Main"}"#);
    hookbox.deliver("issues", "main-3", "{}");
    hookbox.wait_until_done();
    let ids = |args: &[&str]| -> Vec<i64> {
        let lines = hookbox.run([&["list", "--json"], args].concat()).ok().json_lines();
        lines.iter().map(|line| line["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(&["--grep", "main"]), [1, 2, 3]);
    assert_eq!(ids(&["--grep", "refs/heads/MAIN"]), [1]);
    assert_eq!(ids(&["--grep", "main", "--event", "issues", "--before", "3"]), [2]);
    let follower = Follower::start(&hookbox, &["--grep", "needle"]);
    hookbox.deliver("push", "d-4", "{}");
    hookbox.deliver("push", "d-5", r#"["a needle"]"#);
    assert_eq!(follower.next().0, 5);
}

#[test]
fn control_characters_of_senders_do_not_reach_the_terminal() {
    let home = Home::new();
    let hookbox = home.start();
    deliver(&hookbox, "d-1");
    hookbox
        .db()
        .execute(
            "UPDATE webhook_events SET event_type = 'a' || char(27) || '[2J', delivery_id = 'x' || char(8238) || 'y',
             source = 's' || char(10) || 't' || char(155, 50, 74), headers_json = '{\"a\\nb\":\"c\\u001b[31m\"}'",
            [],
        )
        .unwrap();
    for line in
        ["list", "show 1", "stats", "show 1 --curl", "list --json", "stats --json", "show 1 --json", "check --event 1"]
    {
        let text = hookbox.run(line.split(' ')).ok().text();
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{line}: {text:?}");
    }
    let event = hookbox.run(["list", "--json"]).ok().json();
    assert_eq!((&event["source"], &event["delivery_id"]), (&json!("s\nt\u{9b}2J"), &json!("x\u{202e}y")));
    let update = "UPDATE webhook_events SET payload_json = '{\"' || char(155, 8238) || '\":1}'";
    hookbox.db().execute(update, []).unwrap();
    let shown = hookbox.run(["show", "1", "--json"]).ok();
    assert!(shown.text().contains(r#"{"\u009b\u202e":1}"#), "{shown}");
    assert_eq!(hookbox.run(["list"]).ok().text().lines().count(), 2);
}

#[test]
fn a_terminal_gets_colours_unless_they_are_switched_off() {
    let hookbox = Home::new().start();
    deliver(&hookbox, "d-1");
    let list = |env: &[(&str, &str)]| in_a_terminal(&hookbox, 100, &["list"], env);
    let Some(text) = list(&[]) else { return };
    assert!(text.contains("\u{1b}[32mprocessed\u{1b}[0m"), "{text:?}");
    for env in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let text = list(&[env]).unwrap();
        assert!(!text.contains('\u{1b}') && text.contains("processed"), "{env:?}: {text:?}");
    }
    let narrow = list(&[("COLUMNS", "40"), ("NO_COLOR", "1")]).unwrap();
    assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
    assert!(!hookbox.run(["list"]).ok().text().contains('\u{1b}'));
}

#[test]
fn a_payload_is_indented_on_a_terminal_and_keeps_its_numbers() {
    let hookbox = Home::new().start();
    let payload = "{\"n\":12345678901234567890.10,\"text\":\"a\u{202e}b\"}";
    hookbox.deliver("push", "d-1", payload);
    hookbox.wait_until_done();
    let Some(text) = in_a_terminal(&hookbox, 100, &["show", "1"], &[]) else { return };
    assert!(text.contains("{\n  \"n\": 12345678901234567890.10,\n  \"text\": \"a\\u202eb\"\n}"), "{text}");
    assert!(hookbox.run(["show", "1"]).ok().text().contains(payload));
}

#[test]
fn show_prints_a_timeline_in_order() {
    let hookbox = Home::new().start();
    deliver(&hookbox, "d-1");
    hookbox
        .db()
        .execute_batch(
            "INSERT INTO earlier_attempts VALUES (1, 'log', 1, '2025-01-01T00:00:02+00:00', 7, 'retry', '503 busy');
             INSERT INTO jobs (event_id, action, state, attempts, started_at, duration_ms, outcome, detail)
                 VALUES (1, 'team', 'succeeded', 1, '2025-01-01T00:00:03+00:00', 8, 'success', '');
             UPDATE jobs SET attempts = 2, started_at = '2025-01-01T00:00:04+00:00', duration_ms = 9, outcome = 'success',
                 detail = '' WHERE action = 'log';
             UPDATE webhook_events SET received_at = '2025-01-01T00:00:01+00:00',
                                       processed_at = '2025-01-01T00:00:05+00:00';",
        )
        .unwrap();
    let text = hookbox.run(["show", "1"]).ok().text();
    let timeline: Vec<&str> = text.lines().skip_while(|line| *line != "timeline").skip(1).take(5).collect();
    let expected = [
        "  2025-01-01T00:00:01+00:00  received",
        "  2025-01-01T00:00:02+00:00  retry  log, attempt 1, 7 ms  503 busy",
        "  2025-01-01T00:00:03+00:00  success  team, attempt 1, 8 ms",
        "  2025-01-01T00:00:04+00:00  success  log, attempt 2, 9 ms",
        "  2025-01-01T00:00:05+00:00  processed",
    ];
    assert_eq!(timeline, expected, "{text}");
}

/// Runs the printed command in a shell against the same server, where it is a duplicate.
#[track_caller]
fn sends_again(hookbox: &Hookbox, id: &str) {
    if !is_installed("curl", &["--version"]) {
        return;
    }
    let address = hookbox.url("");
    let listen = address.trim_start_matches("http://").trim_end_matches('/');
    let command = hookbox.run(["show", id, "--curl", "--listen", listen]).ok().text();
    let fail = "set -e; curl() { command curl --silent --show-error --fail \"$@\"; }\n";
    hookbox.write("again.sh", format!("{fail}{command}"));
    let output = Command::new("sh").arg(hookbox.path("again.sh")).output().unwrap();
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_printed_curl_command_sends_the_exact_body_again() {
    let hookbox = Home::new().start();
    let bodies = [r#"{"a":"it's $HOME `id` \"x\"", "b":1}"#.to_owned(), "{\"a\":\r\n\"\u{202e}\"}".to_owned()];
    for (number, body) in bodies.iter().chain([&format!("{{\"a\":\"{}\"}}", "x".repeat(300_000))]).enumerate() {
        hookbox.deliver("push", &format!("d-{number}"), body);
        // The signature fits only the same bytes.
        let id: i64 = hookbox.query("SELECT max(id) FROM webhook_events")[0];
        sends_again(&hookbox, &id.to_string());
    }
    assert_eq!(hookbox.stored(), 3);
}

#[test]
fn the_printed_curl_command_sends_binary_bytes_again() {
    let config = "[sources.bytes]\nprovider = \"github\"\nverify = \"none\"\n";
    let hookbox = Home::with_config(config).start();
    let body = b"\x00\xff'\r\n\x1b";
    let request = Request::github("push", "d-1", body).target("/webhooks/bytes");
    let request = request.with("Content-Type", "application/octet-stream");
    assert_eq!(hookbox.send(&request).status, 200);
    let command = hookbox.run(["show", "1", "--curl"]).ok().text();
    assert!(command.contains("base64 -d"), "{command}");
    sends_again(&hookbox, "1");
}

#[test]
fn the_printed_curl_command_names_redacted_headers() {
    let hookbox = Home::new().start();
    deliver(&hookbox, "d-1");
    hookbox.db().execute("UPDATE webhook_events SET headers_json = '{\"X-Token\":\"[redacted]\"}'", []).unwrap();
    let command = hookbox.run(["show", "1", "--curl"]).ok().text();
    assert!(command.starts_with("# missing: 'X-Token'"), "{command}");
    assert!(!command.contains("[redacted]") && command.contains("--header 'content-type:'"), "{command}");
}

#[test]
fn stats_count_by_source_and_action() {
    let hookbox = Home::new().start();
    for id in ["d-1", "d-2", "d-1", "d-1"] {
        hookbox.deliver("push", id, r#"{"ref":"main"}"#);
    }
    hookbox.wait_until_done();
    set_status(&hookbox, 1, "error");
    hookbox.send(&Request::github("push", "d-3", "{}").signed_with("guessed"));
    let stats = hookbox.run(["stats", "--json"]).ok().json();
    let source = &stats["sources"][0];
    let counts = ["received", "duplicates", "unprocessed", "processed", "error"].map(|key| &source[key]);
    assert_eq!(json!(counts), json!([2, 2, 0, 1, 1]), "{stats}");
    assert_eq!(source["source"], "github");
    assert!(source["last_received"].as_str().unwrap().ends_with("+00:00"), "{stats}");
    let action = &stats["actions"][0];
    assert_eq!((&action["action"], &action["succeeded"], &action["pending"]), (&json!("log"), &json!(2), &json!(0)));
    assert_eq!(stats["hours"].as_array().unwrap().len(), 24);
    assert!(stats["database_bytes"].as_u64().unwrap() > 0 && stats["disk_free_bytes"].is_u64(), "{stats}");
    let text = hookbox.run(["stats"]).ok().text();
    for part in ["github", "log", "last 24 hours", "rejected"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
}

/// Reading must not delay the receiver.
#[test]
fn reading_commands_wait_for_no_lock() {
    let hookbox = Home::new().start();
    deliver(&hookbox, "d-1");
    let db = hookbox.lock_database();
    for args in [&["list"][..], &["list", "--since", "1d"], &["show", "1"], &["stats"]] {
        hookbox.run(args).ok();
    }
    drop(db);
}

#[test]
fn stats_show_why_a_running_server_rejected_deliveries() {
    let port = closed_port();
    let config = format!("{SOURCE}[admin]\nlisten = \"127.0.0.1:{port}\"\n");
    let hookbox = Home::with_config(&config).admin(None).start();
    deliver(&hookbox, "d-1");
    assert_eq!(hookbox.send(&Request::github("push", "d-2", "{}").signed_with("guessed")).status, 401);
    let stats = hookbox.run(["stats", "--json"]).ok().json();
    assert_eq!(stats["rejected"], json!({"github": 1}), "{stats}");
    let text = hookbox.run(["stats"]).ok().text();
    assert!(text.contains("rejected since the server started: github 1\n  github: "), "{text}");
    let (home, _) = hookbox.stop();
    let text = home.run(["stats"]).ok().text();
    assert!(text.contains("rejected: unknown, no answer from the page's listener at 127.0.0.1:"), "{text}");
    assert_eq!(home.run(["stats", "--json"]).ok().json()["rejected"], Value::Null);
}

#[test]
fn stats_say_that_there_is_no_admin_listener() {
    let home = Home::with_config(&format!("{SOURCE}[admin]\nlisten = \"off\"\n"));
    let hookbox = home.start();
    assert!(hookbox.run(["stats"]).ok().text().contains("rejected: unknown, the page's listener is off"));
}

#[test]
fn show_says_why_each_action_was_not_for_an_event() {
    let actions = "[actions.deploy]\nkind = \"log\"\non = [\"github:push\", \"github:release\"]\n\
                   [actions.team]\nkind = \"log\"\non = [\"*\"]\nwhen = \"payload.action == 'opened'\"\n";
    let hookbox = Home::with_config(&format!("{SOURCE}{actions}")).start();
    hookbox.deliver("issues", "d-1", r#"{"action":"closed"}"#);
    hookbox.deliver("issues", "d-2", r#"{"action":"opened"}"#);
    hookbox.wait_until_done();
    let text = hookbox.run(["show", "1"]).ok().text();
    let (by_on, by_when) = (
        "action deploy: not for this event, by on = [\"github:push\", \"github:release\"]\n",
        "action team: not for this event, by when = \"payload.action == 'opened'\"\n",
    );
    assert!(text.contains(&format!("no action was for this event\n{by_on}{by_when}")), "{text}");
    let text = hookbox.run(["show", "2"]).ok().text();
    assert!(text.contains(&format!("action team: succeeded\n{by_on}")), "{text}");
    let not_for = hookbox.run(["show", "1", "--json"]).ok().json()["not_for"].clone();
    assert_eq!(
        not_for[1],
        json!({"action": "team", "unmet": "when", "condition": "when = \"payload.action == 'opened'\""})
    );
}

#[test]
fn show_keeps_the_lines_of_a_commands_output_and_cuts_a_long_one() {
    let action = "[actions.it]\nkind = \"command\"\non = [\"*\"]\nrun = [\"seq\", \"100\"]\n";
    let hookbox = Home::with_config(&format!("{SOURCE}{action}")).start();
    deliver(&hookbox, "d-1");
    let text = hookbox.run(["show", "1"]).ok().text();
    assert!(text.contains("ms  exit 0 1\n      2\n      3\n"), "{text}");
    assert!(text.contains("\n      8\n      ... all of it: hookbox show 1 --full\n"), "{text}");
    let text = hookbox.run(["show", "1", "--full"]).ok().text();
    assert!(
        text.contains("\n      8\n      9\n") && text.contains("\n      100\n") && !text.contains("--full"),
        "{text}"
    );
}
