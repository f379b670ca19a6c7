//! The command line as people and scripts use it.

use std::process::Stdio;

use serde_json::json;

use crate::support::{Home, Hookbox, Request, SECRET, SOURCE, closed_port, data, in_a_terminal};

const COMMANDS: [&str; 11] =
    ["serve", "check", "list", "show", "stats", "send", "replay", "cancel", "pause", "resume", "forward"];

fn three_events() -> Hookbox {
    let hookbox = Home::new().start();
    for (event, id) in [("issues", "d-1"), ("push", "d-2"), ("issues", "d-3")] {
        hookbox.deliver(event, id, r#"{"action":"opened"}"#);
    }
    hookbox.wait_until_done();
    hookbox
}

#[test]
fn version_is_printed() {
    let version = format!("hookbox {}\n", env!("CARGO_PKG_VERSION"));
    for flag in ["--version", "-V"] {
        assert_eq!(Home::new().run([flag]).ok().text(), version);
    }
}

#[test]
fn help_names_every_command_and_fits_80_columns() {
    for flag in ["--help", "-h"] {
        let text = Home::new().run([flag]).ok().text();
        for word in COMMANDS.into_iter().chain(["--config", "--listen", "--database"]) {
            assert!(text.contains(word), "no {word} in:\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}

#[test]
fn help_of_a_command_is_printed_and_nothing_else_happens() {
    let home = Home::new();
    for command in COMMANDS {
        let text = home.run([command, "--help"]).ok().text();
        assert!(text.contains(&format!("hookbox {command}")), "{text}");
    }
    assert!(!home.path("webhooks.db").exists());
}

#[test]
fn wrong_usage_is_exit_2_and_names_the_wrong_word() {
    let home = Home::new();
    for (args, word) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["lsit"], "did you mean list?"),
        (&["--frobnicate"], "--frobnicate"),
        (&["list", "--frobnicate"], "--frobnicate"),
        (&["list", "extra"], "extra"),
        (&["--listen"], "--listen"),
        (&["--listen", "nonsense"], "nonsense"),
        (&["show"], "ID"),
        (&["show", "seven"], "seven"),
        (&["send"], "SOURCE"),
    ] {
        let output = home.run(args);
        output.refused(2, &[word]);
        assert!(output.stdout.is_empty(), "{output}");
    }
    assert!(!home.path("webhooks.db").exists());
}

#[test]
fn serve_is_optional_and_options_stand_before_or_after_it() {
    let home = Home::new().arg("serve").arg("--database").arg("other.db");
    let hookbox = home.start();
    hookbox.assert_alive();
    assert!(hookbox.path("other.db").exists());
    assert!(!hookbox.path("webhooks.db").exists());
}

#[test]
fn list_json_prints_one_object_a_line_with_the_documented_keys() {
    let hookbox = three_events();
    let mut lines = hookbox.run(["list", "--json"]).ok().json_lines();
    lines.sort_by_key(|line| line["id"].as_i64());
    assert_eq!(lines.iter().map(|line| &line["delivery_id"]).collect::<Vec<_>>(), ["d-1", "d-2", "d-3"]);
    let mut keys: Vec<&String> = lines[0].as_object().unwrap().keys().collect();
    keys.sort();
    let contract = ["delivery_id", "event", "id", "processed_at", "received_at", "source", "status"];
    assert_eq!(keys.iter().filter(|key| contract.contains(&key.as_str())).count(), contract.len(), "{keys:?}");
    assert_eq!(lines[0]["source"], "github");
    assert_eq!(lines[0]["event"], "issues");
    assert_eq!(lines[0]["status"], "processed");
}

#[test]
fn list_prints_a_table() {
    let text = three_events().run(["list"]).ok().text();
    for (id, event) in [("d-1", "issues"), ("d-2", "push"), ("d-3", "issues")] {
        assert!(text.lines().any(|line| line.contains(id) && line.contains(event)), "{text}");
    }
}

#[test]
fn a_table_fits_the_terminal() {
    let hookbox = Home::new().start();
    hookbox.deliver(&"long_event_name_".repeat(10), &"0123456789abcdef".repeat(16), "{}");
    let Some(text) = in_a_terminal(&hookbox, 60, &["list"], &[("NO_COLOR", "1")]) else { return };
    assert!(text.contains("github"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
}

#[test]
fn show_prints_the_event_as_one_object() {
    let hookbox = three_events();
    let event = hookbox.run(["show", "2", "--json"]).ok().json();
    assert_eq!(event["id"], 2);
    assert_eq!(event["delivery_id"], "d-2");
    assert_eq!(event["payload"], json!({"action": "opened"}));
    assert!(event["headers"].is_object());
    let jobs = event["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 1, "{event}");
    assert_eq!(jobs[0]["action"], "log");
    assert_eq!(jobs[0]["state"], "succeeded");
}

#[test]
fn show_prints_the_event_for_people() {
    let text = three_events().run(["show", "2"]).ok().text();
    for word in ["d-2", "push", "github", "processed", "opened"] {
        assert!(text.contains(word), "no {word} in:\n{text}");
    }
}

#[test]
fn show_of_a_missing_event_is_exit_1() {
    let hookbox = three_events();
    for args in [&["show", "4"][..], &["show", "4", "--json"], &["show", "4", "--body"]] {
        let output = hookbox.run(args);
        output.refused(1, &["4"]);
        assert!(output.stdout.is_empty(), "{output}");
    }
}

#[test]
fn stats_count_events_by_status() {
    let hookbox = three_events();
    hookbox.db().execute("UPDATE webhook_events SET status = 'error' WHERE id = 1", []).unwrap();
    let stats = hookbox.run(["stats", "--json"]).ok().json();
    assert_eq!(stats["events"], json!({"unprocessed": 0, "processed": 2, "error": 1}));
    let text = hookbox.run(["stats"]).ok().text();
    assert!(text.contains("processed") && text.contains('2'), "{text}");
}

#[test]
fn reading_commands_create_no_database() {
    let home = Home::new();
    for command in [&["list"][..], &["list", "--json"], &["show", "1"], &["stats"], &["check"]] {
        let output = home.run(command);
        assert!(!output.stderr.contains("panicked"), "{output}");
        assert!(!home.path("webhooks.db").exists(), "{command:?}");
    }
}

#[test]
fn reading_commands_resolve_no_secret() {
    let (home, _) = three_events().stop();
    home.write("hookbox.toml", "[sources.github]\nprovider = \"github\"\nsecret = \"env:NOT_SET_HERE\"\n");
    for command in [&["list"][..], &["show", "1"], &["stats"]] {
        home.run(command).ok();
    }
}

#[test]
fn reading_commands_work_without_a_server() {
    let (home, _) = three_events().stop();
    assert_eq!(home.run(["list", "--json"]).ok().json_lines().len(), 3);
    assert_eq!(home.run(["stats", "--json"]).ok().json()["events"]["processed"], 3);
}

#[test]
fn a_closed_pipe_prints_no_error() {
    let hookbox = Home::new().start();
    // More than a pipe holds, so that the writer meets the closed end.
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(1 << 20));
    hookbox.deliver("push", "d-1", body);
    for args in [&["show", "1"][..], &["show", "1", "--json"], &["show", "1", "--body"]] {
        let mut command = hookbox.command();
        let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
        assert_ne!(output.status.code(), Some(101), "{args:?} panicked");
    }
}

#[test]
fn send_signs_a_delivery_that_is_accepted() {
    let hookbox = Home::new().start();
    let output = hookbox.run(["send", "github", "--url", &hookbox.url("/webhooks/github")]).ok();
    assert!(output.text().contains("200"), "{output}");
    assert_eq!(hookbox.stored(), 1);
}

#[test]
fn send_uses_the_given_file_event_and_id() {
    let hookbox = Home::new().start();
    let file = data("github/issues.opened.json");
    let url = hookbox.url("/webhooks/github");
    let file_arg = file.display().to_string();
    let args = ["send", "github", "--event", "issues", "--file", &file_arg, "--id", "d-1", "--url", &url];
    hookbox.run(args).ok();
    assert_eq!(hookbox.query::<String>("SELECT event_type || ' ' || delivery_id FROM webhook_events"), ["issues d-1"]);
    assert_eq!(
        hookbox.query::<String>("SELECT payload_json FROM webhook_events"),
        [std::fs::read_to_string(file).unwrap()]
    );
}

#[test]
fn two_sends_are_two_events() {
    let hookbox = Home::new().start();
    let url = hookbox.url("/webhooks/github");
    for _ in 0..2 {
        hookbox.run(["send", "github", "--url", &url]).ok();
    }
    assert_eq!(hookbox.stored(), 2);
}

#[test]
fn send_finds_the_address_in_the_config() {
    let port = closed_port();
    let listen = format!("127.0.0.1:{port}");
    let hookbox = Home::with_config(&format!("listen = \"{listen}\"\n{SOURCE}")).listen(&listen).start();
    hookbox.run(["send", "github"]).ok();
    assert_eq!(hookbox.stored(), 1);
}

#[test]
fn a_refused_send_prints_the_status_and_is_exit_1() {
    let hookbox = Home::with_config("[sources.github]\nprovider = \"github\"\nsecret = \"one\"\n").start();
    hookbox.write("other.toml", "[sources.github]\nprovider = \"github\"\nsecret = \"two\"\n");
    let url = hookbox.url("/webhooks/github");
    let output = hookbox.run(["send", "github", "--url", &url, "--config", "other.toml"]);
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.text().contains("401") || output.stderr.contains("401"), "{output}");
}

#[test]
fn a_send_without_a_server_is_exit_1() {
    let port = closed_port();
    let url = format!("http://127.0.0.1:{port}/webhooks/github");
    Home::new().run(["send", "github", "--url", &url]).refused(1, &[&port.to_string()]);
}

#[test]
fn a_send_to_an_unknown_source_is_exit_2() {
    Home::new().run(["send", "gitbub", "--url", "http://127.0.0.1:1/"]).refused(2, &["gitbub"]);
}

#[test]
fn check_prints_the_effective_configuration_and_no_secret() {
    let config =
        format!("database = \"other.db\"\n{SOURCE}[sources.work]\nprovider = \"github\"\nsecret = \"hunter2\"\n");
    let output = Home::with_config(&config).run(["check"]).ok();
    for word in ["127.0.0.1:5000", "other.db", "/webhooks/github", "/webhooks/work", "log"] {
        assert!(output.text().contains(word), "no {word} in: {output}");
    }
    for secret in [SECRET, "hunter2"] {
        assert!(!output.to_string().contains(secret), "{output}");
    }
}

#[test]
fn check_without_a_config_prints_the_built_in_one() {
    let output = Home::new().run(["check"]).ok();
    for word in ["127.0.0.1:5000", "webhooks.db", "/webhooks/github"] {
        assert!(output.text().contains(word), "no {word} in: {output}");
    }
}

#[test]
fn results_go_to_stdout_and_the_rest_to_stderr() {
    let hookbox = Home::new().start();
    hookbox.send(&Request::github("push", "d-1", "{}").signed_with("guessed"));
    hookbox.deliver("push", "d-2", r#"{"ref":"main"}"#);
    hookbox.wait_until_done();
    let (_, output) = hookbox.stop();
    assert_eq!(output.text(), "[1] Handling event push (delivery d-2)\nPayload keys: ref\n");
}
