//! `kind = "slack"`: its messages, and that its URL is shown nowhere.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{deliver_and_wait, done, only_attempt, show, with};
use crate::real_payloads::payloads_in;
use crate::support::{Answer, Home, Stub, data};

fn to(stub: &Stub, keys: &str) -> Home {
    with("slack", &format!("url = \"env:SLACK_WEBHOOK_URL\"\n{keys}"))
        .env("SLACK_WEBHOOK_URL", &stub.url("/services/T0/B0/s3cret"))
}

/// The message about one event.
fn message(keys: &str, event: &str, payload: impl AsRef<[u8]>) -> Value {
    let stub = Stub::http();
    let hookbox = to(&stub, keys).start();
    hookbox.deliver(event, "d-1", payload);
    let received = stub.first();
    assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/services/T0/B0/s3cret"));
    assert_eq!(received.header("Content-Type"), Some("application/json"));
    assert_eq!(received.header("X-Hub-Signature-256"), None);
    received.json()
}

#[test]
fn values_of_the_payload_are_escaped_and_the_template_is_not() {
    let payload = r#"{"title":"<!channel> a & b","url":"https://example.org/?a=1&b=2"}"#;
    let text = message("text = \"<{{ payload.url }}|{{ payload.title }}> & more\"", "issues", payload);
    let expected = "<https://example.org/?a=1&amp;b=2|&lt;!channel&gt; a &amp; b> & more";
    assert_eq!(text, json!({ "text": expected }));
}

#[test]
fn blocks_are_json_with_values_from_the_event() {
    let keys = "text = \"short\"\nblocks = '''[{\"type\": \"section\", \"text\": {\"type\": \"mrkdwn\",
        \"text\": {{ (\"*\" ~ (payload.title | mrkdwn) ~ \"*\") | tojson }}}}]'''";
    let message = message(keys, "issues", r#"{"title":"\"<b>\" \\ & é"}"#);
    let text = "*\"&lt;b&gt;\" \\ &amp; é*";
    let block = json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } });
    assert_eq!(message, json!({ "text": "short", "blocks": [block] }));
}

#[test]
fn blocks_that_are_not_json_are_dead_with_the_reason() {
    let stub = Stub::http();
    let hookbox = to(&stub, "blocks = '[{{ payload.title }}]'").start();
    deliver_and_wait(&hookbox, "issues", "d-1", r#"{"title":"no JSON"}"#);
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert_eq!(outcome, "give_up");
    assert!(detail.contains("blocks is not JSON"), "{detail}");
    assert_eq!(stub.count(), 0);
}

#[test]
fn the_built_in_texts_describe_real_payloads_of_github() {
    let url = "https://github.com/Codertocat/Hello-World";
    let who = "Codertocat";
    let issue =
        format!("{who} opened issue <{url}/issues/1|#1 Spelling error in the README file> in {who}/Hello-World");
    let title = "Update the README with new information.";
    let request = format!("{who} opened pull request <{url}/pull/2|#2 {title}> in {who}/Hello-World");
    for (event, file, expected) in [
        ("push", "push.json", format!("{who} deleted simple-tag in {who}/Hello-World")),
        ("issues", "issues.opened.json", issue),
        ("pull_request", "pull_request.opened.json", request),
        ("star", "star.created.json", format!("*star* from github: created in {who}/Hello-World by {who} (event 1)")),
    ] {
        let payload = std::fs::read(data("github").join(file)).unwrap();
        assert_eq!(message("", event, payload)["text"], expected, "{event}");
    }
}

#[test]
fn the_text_of_a_push_describes_its_commits() {
    let payload = |more: Value| {
        let mut payload = json!({ "ref": "refs/heads/main", "pusher": { "name": "zoe" }, "commits": [],
            "repository": { "full_name": "a/b" } });
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        payload.to_string()
    };
    let text = |more| message("", "push", payload(more))["text"].clone();
    let one =
        json!({ "commits": [{}], "head_commit": { "message": "Fix <it>\n\nmore" }, "compare": "https://e.org/c" });
    assert_eq!(text(one), "zoe pushed 1 commit to a/b (main): Fix &lt;it&gt; <https://e.org/c|compare>");
    assert_eq!(text(json!({ "commits": [{}, {}], "forced": true })), "zoe force-pushed 2 commits to a/b (main)");
    assert_eq!(text(json!({ "created": true })), "zoe created main in a/b");
}

#[test]
fn releases_and_workflow_runs_have_texts_too() {
    let release = r#"{"action":"published","release":{"html_url":"https://e.org/r","name":null,"tag_name":"v1"},
        "repository":{"full_name":"a/b"},"sender":{"login":"zoe"}}"#;
    assert_eq!(message("", "release", release)["text"], "zoe published release <https://e.org/r|v1> of a/b");
    let run = |action: &str, conclusion: &str| {
        let run = json!({ "html_url": "https://e.org/w", "name": "CI", "head_branch": "main",
            "conclusion": serde_json::from_str::<Value>(conclusion).unwrap() });
        json!({ "action": action, "workflow_run": run, "repository": { "full_name": "a/b" } }).to_string()
    };
    let text = |payload| message("", "workflow_run", payload)["text"].clone();
    assert_eq!(text(run("completed", "\"failure\"")), "Workflow <https://e.org/w|CI> failure on main of a/b");
    assert_eq!(text(run("in_progress", "null")), "Workflow <https://e.org/w|CI> in progress on main of a/b");
}

#[test]
fn a_merged_pull_request_is_not_merely_closed() {
    let payload = |merged: bool| {
        let request = json!({ "html_url": "https://e.org/p", "number": 7, "title": "T", "merged": merged });
        json!({ "action": "closed", "pull_request": request, "repository": { "full_name": "a/b" },
            "sender": { "login": "zoe" } })
        .to_string()
    };
    let text = |merged| message("", "pull_request", payload(merged))["text"].clone();
    assert_eq!(text(true), "zoe merged pull request <https://e.org/p|#7 T> in a/b");
    assert_eq!(text(false), "zoe closed pull request <https://e.org/p|#7 T> in a/b");
}

#[test]
fn an_event_with_a_known_name_and_another_payload_gets_the_general_text() {
    assert_eq!(message("", "push", r#"{"message":"from elsewhere"}"#)["text"], "*push* from github (event 1)");
    assert_eq!(message("", "odd", "[1]")["text"], "*odd* from github (event 1)");
}

#[test]
fn every_real_payload_has_a_text() {
    let path = std::env::var_os("HOOKBOX_PAYLOADS").map_or_else(|| data("github"), PathBuf::from);
    let payloads = payloads_in(&path);
    let stub = Stub::http();
    let hookbox = to(&stub, "concurrency = 4\nattempts = 1").start();
    for (n, (event, body)) in payloads.iter().enumerate() {
        hookbox.deliver(event, &format!("d-{n}"), body);
    }
    let received = stub.wait_for(payloads.len());
    hookbox.wait_until_done();
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM jobs WHERE state <> 'succeeded'"), [0]);
    for text in received.iter().map(|request| request.json()["text"].as_str().unwrap().to_owned()) {
        assert!(!text.contains("  ") && !text.contains("<|") && !text.contains("None") && text.len() > 10, "{text:?}");
    }
}

#[test]
fn a_text_that_is_too_long_is_cut() {
    let payload = json!({ "title": "é".repeat(10_000) }).to_string();
    let text = message("text = \"{{ payload.title }}\"", "issues", payload)["text"].as_str().unwrap().to_owned();
    assert_eq!(text.chars().count(), 3000);
}

#[test]
fn the_url_is_shown_nowhere() {
    let stub = Stub::http();
    stub.answer(Answer::body(403, "action_prohibited"));
    let hookbox = to(&stub, "").start();
    deliver_and_wait(&hookbox, "issues", "d-1", "{}");
    assert_eq!(only_attempt(&hookbox, 1), ("give_up".to_owned(), "403 Forbidden action_prohibited".to_owned()));
    let checked = done(&hookbox, "check --event 1");
    assert!(checked.contains(&format!("POST {}", stub.url("/..."))) || checked.contains("POST http://127.0.0.1/..."));
    let told = checked + &hookbox.stderr() + &hookbox.stdout() + &show(&hookbox, 1).to_string();
    assert!(!told.contains("s3cret") && !told.contains("/services"), "{told}");
}
