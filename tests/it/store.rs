//! What is stored: the contract with other programs and with users.

use serde_json::{Value, json};

use crate::support::{Home, Hookbox, Request, SECRET, SOURCE};

const FORM: &str = "application/x-www-form-urlencoded";

#[track_caller]
fn payload_json(hookbox: &Hookbox) -> String {
    hookbox.query::<String>("SELECT payload_json FROM webhook_events ORDER BY id DESC LIMIT 1")[0].clone()
}

/// The exact bytes of the newest delivery, as the command line gives them back.
#[track_caller]
fn body(hookbox: &Hookbox) -> Vec<u8> {
    let id = hookbox.query::<i64>("SELECT max(id) FROM webhook_events")[0];
    hookbox.run(["show", &id.to_string(), "--body"]).ok().stdout
}

#[track_caller]
fn ids(hookbox: &Hookbox) -> Vec<String> {
    hookbox.query("SELECT delivery_id FROM webhook_events ORDER BY id")
}

#[test]
fn a_new_database_has_the_columns_of_the_contract() {
    let hookbox = Home::new().start();
    let columns = hookbox.query::<String>("SELECT name FROM pragma_table_info('webhook_events') ORDER BY cid");
    let contract = "id source event_type delivery_id payload_json received_at processed_at status headers_json body";
    let is_there = |name: &str| columns.iter().any(|column| column == name);
    assert!(contract.split(' ').all(is_there), "{columns:?}");
    let others = "SELECT name FROM pragma_table_info('webhook_events') WHERE \"notnull\" AND dflt_value IS NULL";
    assert_eq!(hookbox.query::<String>(others).len(), 6, "another program need not know more columns");
    assert_eq!(hookbox.query::<String>("PRAGMA journal_mode"), ["wal"]);
    assert!(hookbox.query::<i64>("PRAGMA user_version")[0] > 0);
}

#[test]
fn json_is_stored_exactly_as_received() {
    let hookbox = Home::new().start();
    let odd = "\r\n {\"b\" : 1.0e+2, \"a\":\t\"\\u00e9 \\u0000 é 📦\",\"a\":2}\n ";
    hookbox.deliver("push", "d-1", odd);
    assert_eq!(payload_json(&hookbox), odd);
    assert_eq!(body(&hookbox), odd.as_bytes());
}

#[test]
fn json_need_not_be_an_object() {
    let hookbox = Home::new().start();
    for (at, text) in ["[1,2]", "\"text\"", "1", "null", "true"].into_iter().enumerate() {
        hookbox.deliver("push", &format!("d-{at}"), text);
        assert_eq!(payload_json(&hookbox), text);
    }
}

#[test]
fn the_payload_field_of_a_form_is_the_payload_and_the_bytes_are_kept() {
    let hookbox = Home::new().start();
    let form = "payload=%7B%22text%22%3A%22%C3%A9+%2B%22%7D";
    let response = hookbox.send(&Request::github("push", "d-1", form).with("Content-Type", FORM));
    assert_eq!(response.status, 200);
    assert_eq!(serde_json::from_str::<Value>(&payload_json(&hookbox)).unwrap(), json!({"text": "é +"}));
    assert_eq!(hookbox.query::<Vec<u8>>("SELECT body FROM webhook_events"), [form.as_bytes()]);
    assert_eq!(body(&hookbox), form.as_bytes());
}

#[test]
fn a_forged_content_type_does_not_turn_a_title_into_the_payload() {
    let hookbox = Home::new().start();
    let issue = r#"{"action":"opened","issue":{"title":"&payload={\"action\":\"deleted\"}&x="}}"#;
    let forged = Request::github("issues", "d-1", issue).with("Content-Type", FORM);
    assert_eq!(hookbox.send(&forged).status, 200);
    assert_eq!(hookbox.query::<String>("SELECT payload_json FROM webhook_events"), [issue]);
}

#[test]
fn a_form_of_a_provider_that_sends_none_is_kept_as_text() {
    let config = "[sources.shop]\nprovider = \"stripe\"\nverify = \"none\"\n\
                  [sources.own]\nprovider = \"stripe\"\nverify = \"none\"\nid = \"form:n\"\n";
    let hookbox = Home::with_config(config).start();
    for (n, source) in ["shop", "own"].iter().enumerate() {
        let form = format!("n={n}&payload=%7B%22id%22%3A%22evt_1%22%7D");
        let request = Request::new("POST", &format!("/webhooks/{source}")).header("Content-Type", FORM).body(form);
        assert_eq!(hookbox.send(&request).status, 200);
    }
    let payloads = hookbox.query::<String>("SELECT payload_json FROM webhook_events ORDER BY id");
    assert_eq!(payloads[0], r#""n=0&payload=%7B%22id%22%3A%22evt_1%22%7D""#);
    assert_eq!(payloads[1], r#"{"id":"evt_1"}"#, "unless the config says so");
}

#[test]
fn a_form_without_payload_is_an_object_of_strings() {
    let hookbox = Home::new().start();
    let form = "From=%2B15550100&Body=hello+world&Empty=";
    let response = hookbox.send(&Request::github("sms", "d-1", form).with("Content-Type", FORM));
    assert_eq!(response.status, 200);
    let expected = json!({"From": "+15550100", "Body": "hello world", "Empty": ""});
    assert_eq!(serde_json::from_str::<Value>(&payload_json(&hookbox)).unwrap(), expected);
    assert_eq!(body(&hookbox), form.as_bytes());
}

#[test]
fn other_text_is_a_json_string_and_other_bytes_are_null() {
    let hookbox = Home::new().start();
    let texts: [(&str, &[u8], Value); 3] = [
        ("text/plain", "hello \"é\"\n".as_bytes(), json!("hello \"é\"\n")),
        ("text/plain", b"a\0b", json!("a\0b")),
        ("application/octet-stream", b"\xff\x00\xfe", Value::Null),
    ];
    for (at, (content_type, bytes, expected)) in texts.into_iter().enumerate() {
        let request = Request::github("other", &format!("d-{at}"), bytes).with("Content-Type", content_type);
        assert_eq!(hookbox.send(&request).status, 200);
        assert_eq!(serde_json::from_str::<Value>(&payload_json(&hookbox)).unwrap(), expected);
        assert_eq!(body(&hookbox), bytes);
    }
}

#[test]
fn headers_are_stored_and_those_with_secrets_are_redacted() {
    let hookbox = Home::new().start();
    let secrets = [
        "Authorization",
        "Cookie",
        "X-Gitlab-Token",
        "X-Telegram-Bot-Api-Secret-Token",
        "X-GitHub-Encoded-Secret",
        "Proxy-Authorization",
    ];
    let mut request = Request::github("push", "d-1", "{}");
    for name in secrets {
        request = request.header(name, "hunter2");
    }
    assert_eq!(hookbox.send(&request).status, 200);
    let stored = &hookbox.query::<String>("SELECT headers_json FROM webhook_events")[0];
    assert!(!stored.contains("hunter2"), "{stored}");
    let headers: Value = serde_json::from_str(stored).unwrap();
    let header = |name: &str| {
        let found = headers.as_object().unwrap().iter().find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("no {name} in {stored}")).1.as_str().unwrap().to_owned()
    };
    assert_eq!(header("X-GitHub-Event"), "push");
    assert_eq!(header("User-Agent"), "GitHub-Hookshot/044aadd");
    for name in secrets {
        assert_eq!(header(name), "[redacted]", "{name}");
    }
}

#[test]
fn the_secret_is_nowhere_in_the_database() {
    let hookbox = Home::new().start();
    hookbox.deliver("push", "d-1", "{}");
    let (home, _) = hookbox.stop();
    let database = std::fs::read(home.path("webhooks.db")).unwrap();
    assert!(!database.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes()));
}

#[test]
fn times_are_utc_in_the_format_of_the_older_program() {
    let hookbox = Home::new().start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    for column in ["received_at", "processed_at"] {
        let time = &hookbox.query::<String>(&format!("SELECT {column} FROM webhook_events"))[0];
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00+00:00", "{column} {time}");
        let age = format!("SELECT abs(unixepoch('now') - unixepoch({column})) FROM webhook_events");
        assert!(hookbox.query::<i64>(&age)[0] < 60, "{column} {time}");
    }
}

#[test]
fn two_sources_may_use_the_same_id() {
    let source = |name| format!("[sources.{name}]\nprovider = \"github\"\nsecret = \"env:GITHUB_WEBHOOK_SECRET\"\n");
    let hookbox = Home::with_config(&(source("one") + &source("two"))).start();
    for target in ["/webhooks/one", "/webhooks/two", "/webhooks/one"] {
        assert_eq!(hookbox.send(&Request::github("push", "d-1", "{}").target(target)).status, 200);
    }
    assert_eq!(hookbox.query::<String>("SELECT source FROM webhook_events ORDER BY id"), ["one", "two"]);
}

#[test]
fn an_id_of_the_provider_is_a_duplicate_forever() {
    let hookbox = Home::new().start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.db().execute("UPDATE webhook_events SET received_at = '2025-01-31T12:00:00+00:00'", []).unwrap();
    hookbox.deliver("push", "d-1", "{}");
    assert_eq!(ids(&hookbox), ["d-1"]);
}

#[test]
fn a_delivery_without_an_event_type_is_unknown() {
    let hookbox = Home::new().start();
    assert_eq!(hookbox.send(&Request::github("push", "d-1", "{}").without("X-GitHub-Event")).status, 200);
    // As the older receiver calls it.
    assert_eq!(hookbox.query::<String>("SELECT event_type FROM webhook_events"), ["unknown"]);
}

#[test]
fn deliveries_are_503_while_another_program_holds_the_lock_and_200_afterwards() {
    let hookbox = Home::new().start();
    let request = Request::github("push", "d-1", "{}");
    let other = hookbox.lock_database();
    let response = hookbox.send(&request);
    assert_eq!(response.status, 503);
    let seconds: u32 = response.header("Retry-After").unwrap().parse().unwrap();
    assert!(seconds > 0);
    assert_eq!(hookbox.send(&Request::get("/healthz")).status, 503);
    drop(other);
    assert_eq!(hookbox.stored(), 0, "not acknowledged, not stored");
    assert_eq!(hookbox.send(&request).status, 200);
    hookbox.assert_alive();
}

#[test]
fn a_short_wait_for_the_lock_is_no_503() {
    let hookbox = Home::new().start();
    let other = hookbox.lock_database();
    let mut connection = hookbox.connect();
    connection.send(&Request::github("push", "d-1", "{}").bytes());
    hookbox.wait_until_it_waits_for_the_lock();
    // As long as a short transaction takes.
    std::thread::sleep(std::time::Duration::from_millis(100));
    drop(other);
    assert_eq!(connection.response().status, 200);
}

#[test]
fn with_too_little_free_disk_deliveries_are_503_and_health_fails() {
    let home = Home::with_config(&format!("disk_reserve = \"1024GiB\"\n{SOURCE}"));
    let disk = rustix::fs::statvfs(home.path(".")).unwrap();
    if disk.f_bavail * disk.f_frsize >= 1 << 40 {
        return println!("skipped: more than 1 TiB is free, and no reserve may be larger");
    }
    let hookbox = home.start();
    let response = hookbox.send(&Request::github("push", "d-1", "{}"));
    assert_eq!(response.status, 503);
    assert!(response.header("Retry-After").is_some());
    let health = hookbox.send(&Request::get("/healthz"));
    assert_eq!((health.status, health.text().trim_end().lines().count()), (503, 1));
    assert_eq!(hookbox.stored(), 0);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let home = Home::new();
    let text = "not a database\n".repeat(1000);
    home.write("webhooks.db", &text);
    home.start_in_vain().refused(2, &["webhooks.db"]);
    assert_eq!(std::fs::read_to_string(home.path("webhooks.db")).unwrap(), text);
}

#[test]
fn a_database_in_a_missing_directory_is_refused() {
    let home = Home::new().arg("--database").arg("nowhere/webhooks.db");
    home.start_in_vain().refused(2, &["nowhere/webhooks.db"]);
}

#[test]
fn a_database_newer_than_the_program_is_refused_and_left_alone() {
    let (home, _) = Home::new().start().stop();
    home.db().execute_batch("PRAGMA user_version = 9999").unwrap();
    home.start_in_vain().refused(2, &["webhooks.db"]);
    home.run(["list"]).refused(2, &["webhooks.db"]);
    assert_eq!(home.query::<i64>("PRAGMA user_version"), [9999]);
}
