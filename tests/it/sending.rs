//! `hookbox send`: which body it sends, and what it says of it.

use serde_json::Value;

use crate::support::{Answer, Home, Stub, authority, data};

/// The types that have an example, the published payload of that type, and members that people use.
const EXAMPLES: [(&str, &str, &[&str]); 6] = [
    ("ping", "ping.repository.json", &["/zen", "/hook_id", "/hook/events/0", "/repository/full_name", "/sender/login"]),
    (
        "push",
        "push.json",
        &[
            "/ref",
            "/before",
            "/after",
            "/compare",
            "/deleted",
            "/forced",
            "/created",
            "/commits/0/id",
            "/commits/0/message",
            "/commits/0/author/name",
            "/commits/0/added/0",
            "/head_commit/id",
            "/head_commit/timestamp",
            "/pusher/name",
            "/repository/full_name",
            "/repository/clone_url",
            "/repository/ssh_url",
            "/repository/default_branch",
            "/sender/login",
        ],
    ),
    (
        "issues",
        "issues.opened.json",
        &[
            "/action",
            "/issue/number",
            "/issue/title",
            "/issue/html_url",
            "/issue/body",
            "/issue/state",
            "/issue/user/login",
            "/issue/labels/0/name",
            "/repository/full_name",
            "/repository/html_url",
            "/sender/login",
        ],
    ),
    (
        "pull_request",
        "pull_request.opened.json",
        &[
            "/action",
            "/number",
            "/pull_request/number",
            "/pull_request/title",
            "/pull_request/html_url",
            "/pull_request/merged",
            "/pull_request/draft",
            "/pull_request/head/ref",
            "/pull_request/head/sha",
            "/pull_request/base/ref",
            "/pull_request/user/login",
            "/repository/full_name",
            "/sender/login",
        ],
    ),
    (
        "release",
        "release.published.json",
        &[
            "/action",
            "/release/tag_name",
            "/release/html_url",
            "/release/name",
            "/release/prerelease",
            "/repository/full_name",
        ],
    ),
    (
        "workflow_run",
        "workflow_run.completed.json",
        &[
            "/action",
            "/workflow_run/conclusion",
            "/workflow_run/status",
            "/workflow_run/head_branch",
            "/workflow_run/head_sha",
            "/workflow_run/html_url",
            "/workflow_run/name",
            "/workflow/name",
            "/repository/full_name",
            "/sender/login",
        ],
    ),
];

fn published_payload(file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(data("github").join(file)).unwrap()).unwrap()
}

fn stored_payload(home: &Home) -> Value {
    serde_json::from_str(&home.query::<String>("SELECT payload_json FROM webhook_events ORDER BY id DESC LIMIT 1")[0])
        .unwrap()
}

/// Every member is also in the published payload, where that has one to compare with, and has a value of the same type.
/// Some published repositories are older than others, which have more members: `newer` is one of those.
fn assert_part_of(ours: &Value, published: &Value, newer: &Value, path: &str) {
    match (ours, published) {
        (Value::Object(ours), Value::Object(published)) => {
            for (name, value) in ours {
                let there = published.get(name).or(newer.get(name));
                let there = there.unwrap_or_else(|| panic!("{path}/{name} is not in the published payload"));
                assert_part_of(value, there, newer, &format!("{path}/{name}"));
            }
        }
        (Value::Array(ours), Value::Array(published)) => {
            ours.iter().zip(published).for_each(|(ours, published)| assert_part_of(ours, published, newer, path));
        }
        (Value::Null, _) | (_, Value::Null) => {}
        _ => assert_eq!(std::mem::discriminant(ours), std::mem::discriminant(published), "{path}"),
    }
}

#[test]
fn the_example_of_a_type_has_the_members_of_the_providers_own_payload() {
    let hookbox = Home::new().start();
    let url = hookbox.url("/webhooks/github");
    let newer = published_payload("issues.opened.json")["repository"].take();
    for (event, published, used) in EXAMPLES {
        hookbox.run(["send", "github", "--event", event, "--url", &url]).ok();
        let (ours, published) = (stored_payload(&hookbox), published_payload(published));
        for pointer in used {
            assert!(ours.pointer(pointer).is_some_and(|value| !value.is_null()), "{event}: no {pointer}");
        }
        assert_part_of(&ours, &published, &newer, event);
    }
    let types = hookbox.query::<String>("SELECT event_type FROM webhook_events ORDER BY id");
    assert_eq!(types, EXAMPLES.map(|(event, _, _)| event));
}

#[test]
fn a_type_without_an_example_is_said_to_have_another_body() {
    let hookbox = Home::new().start();
    let url = hookbox.url("/webhooks/github");
    let sent = hookbox.run(["send", "github", "--event", "star", "--url", &url]).ok().text();
    assert!(sent.contains("its body is that of a ping: there are examples of push, issues,"), "{sent}");
    let sent = hookbox.run(["send", "github", "--event", "push", "--url", &url]).ok().text();
    assert!(!sent.contains("its body"), "{sent}");
}

#[test]
fn the_delivery_id_that_is_printed_is_the_stored_one() {
    let names = ["github", "stripe", "meta", "hmac", "token", "shopify", "dropbox"];
    let source = |name: &&str| format!("[sources.{name}]\nprovider = {name:?}\nsecret = \"00112233\"\n");
    let home = Home::with_config(&names.iter().map(source).collect::<String>());
    home.write("own.json", r#"{"id":"evt_own","type":"invoice.paid"}"#);
    let hookbox = home.start();
    let mut number = 0;
    let mut send = |name: &str, args: &[&str]| {
        let url = hookbox.url(&format!("/webhooks/{name}"));
        let sent = hookbox.run(["send", name, "--url", &url].iter().chain(args)).ok().text();
        number += 1;
        let id = &hookbox.query::<String>("SELECT delivery_id FROM webhook_events ORDER BY id DESC LIMIT 1")[0];
        assert!(sent.contains(&format!("(delivery {id}, event {number}): 200")), "{name}: {sent} {id}");
    };
    for name in names {
        send(name, &[]);
        send(name, &[]);
    }
    send("stripe", &["--file", "own.json"]);
}

#[test]
fn a_test_delivery_goes_through_a_proxy_with_https() {
    let (root, identity) = authority("localhost");
    let stub = Stub::https(&identity);
    stub.answer(Answer::body(200, ""));
    let home = Home::new().env("SSL_CERT_FILE", "root.pem");
    home.write("root.pem", &root);
    let url = stub.url("/webhooks/github");
    let sent = home.run(["send", "github", "--url", &url]).ok().text();
    assert!(sent.contains(&format!("sent ping to {url}")) && sent.contains("200 OK"), "{sent}");
    assert_eq!(stub.wait_for(1)[0].header("X-GitHub-Event"), Some("ping"));
}

#[test]
fn test_deliveries_and_forwarded_events_call_themselves_hookbox() {
    let stub = Stub::http();
    stub.answer(Answer::body(200, ""));
    let hookbox = Home::new().start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.run(["send", "github", "--url", &stub.url("/")]).ok();
    hookbox.run(["forward", "1", &stub.url("/")]).ok();
    let received = stub.wait_for(2);
    for request in &received {
        let agent = request.header("User-Agent").unwrap_or_default();
        assert!(agent.starts_with("hookbox/"), "{agent}");
    }
    assert_eq!(received[1].header("Hookbox-Event-Id"), Some("1"));
}

#[test]
fn send_uses_no_proxy_of_the_environment() {
    let home = Home::new().start();
    let mut command = home.command();
    command.args(["send", "github", "--url", &home.url("/webhooks/github")]);
    for name in ["ALL_PROXY", "HTTP_PROXY", "http_proxy"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
