//! The manual's recipes, word for word, against a stub in the service's place: what arrives is what the service
//! documents.

use serde_json::json;

use super::config;
use crate::support::{Answer, Home, Received, Stub, example};

const MANUAL: &str = "src/manual/recipes.md";

const ISSUE: &str = r#"{"action":"opened","sender":{"login":"zoe"},"repository":{"full_name":"a/b"},
    "issue":{"title":"It \"breaks\" & <burns> é","html_url":"https://e.org/i?a=1&b=2"}}"#;

/// The request that this recipe sends, to a stub in place of its host, with these secrets.
fn try_recipe(recipe: &str, host: &str, env: &[(&str, &str)], answer: Answer, event: &str, payload: &str) -> Received {
    let stub = Stub::http();
    stub.answer(answer);
    let here = stub.url("");
    let mut home = Home::with_config(&config(&recipe.replace(host, &here)));
    for (variable, value) in env {
        home = home.env(variable, &value.replace(host, &here));
    }
    let hookbox = home.start();
    super::deliver_and_wait(&hookbox, event, "d-1", payload);
    assert_eq!(super::status(&hookbox, 1), "processed");
    stub.first()
}

#[test]
fn ntfy() {
    let env = [("NTFY_AUTHORIZATION", "Bearer tk_1")];
    let received = try_recipe(
        &example(MANUAL, "toml", "[actions.ntfy]"),
        "https://ntfy.sh",
        &env,
        Answer::body(200, "{}"),
        "issues",
        ISSUE,
    );
    assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/my-secret-topic"));
    assert_eq!(received.text(), "zoe opened: It \"breaks\" & <burns> é");
    assert_eq!(received.header("Title"), Some("a/b"));
    assert_eq!(received.header("Click"), Some("https://e.org/i?a=1&b=2"));
    assert_eq!(received.header("Tags"), Some("ticket"));
    assert_eq!(received.header("Authorization"), Some("Bearer tk_1"));
}

#[test]
fn gotify() {
    let env = [("GOTIFY_TOKEN", "A1b2")];
    let received = try_recipe(
        &example(MANUAL, "toml", "[actions.gotify]"),
        "https://gotify.example.org",
        &env,
        Answer::Status(200),
        "issues",
        ISSUE,
    );
    assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/message"));
    assert_eq!(received.header("X-Gotify-Key"), Some("A1b2"));
    assert_eq!(received.header("Content-Type"), Some("application/json"));
    let expected = json!({ "title": "a/b", "message": "It \"breaks\" & <burns> é", "priority": 5 });
    assert_eq!(received.json(), expected);
}

#[test]
fn discord() {
    let env = [("DISCORD_WEBHOOK_URL", "https://discord.com/api/webhooks/12/tok_en")];
    let received = try_recipe(
        &example(MANUAL, "toml", "[actions.discord]"),
        "https://discord.com",
        &env,
        Answer::Status(204),
        "issues",
        ISSUE,
    );
    assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/api/webhooks/12/tok_en"));
    assert_eq!(received.header("Content-Type"), Some("application/json"));
    let content = "zoe opened: It \"breaks\" & <burns> é";
    assert_eq!(received.json(), json!({ "content": content, "allowed_mentions": { "parse": [] } }));
}

#[test]
fn discord_gets_no_more_than_it_takes() {
    let env = [("DISCORD_WEBHOOK_URL", "https://discord.com/api/webhooks/12/tok_en")];
    let payload = json!({ "action": "opened", "issue": { "title": "é".repeat(3000) } }).to_string();
    let received = try_recipe(
        &example(MANUAL, "toml", "[actions.discord]"),
        "https://discord.com",
        &env,
        Answer::Status(204),
        "issues",
        &payload,
    );
    assert_eq!(received.json()["content"].as_str().unwrap().chars().count(), 2000);
}

#[test]
fn telegram() {
    let env = [("TELEGRAM_URL", "https://api.telegram.org/bot12:AB-c/sendMessage")];
    let received = try_recipe(
        &example(MANUAL, "toml", "[actions.telegram]"),
        "https://api.telegram.org",
        &env,
        Answer::body(200, "{}"),
        "issues",
        ISSUE,
    );
    assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/bot12:AB-c/sendMessage"));
    assert_eq!(received.header("Content-Type"), Some("application/json"));
    let text = "It \"breaks\" & <burns> é\nhttps://e.org/i?a=1&b=2";
    assert_eq!(received.json(), json!({ "chat_id": "-1001234567890", "text": text }));
}

#[test]
fn telegram_gets_no_more_than_it_takes() {
    let env = [("TELEGRAM_URL", "https://api.telegram.org/bot12:AB-c/sendMessage")];
    let payload = json!({ "action": "opened", "issue": { "title": "é".repeat(5000) } }).to_string();
    let recipe = example(MANUAL, "toml", "[actions.telegram]");
    let received = try_recipe(&recipe, "https://api.telegram.org", &env, Answer::body(200, "{}"), "issues", &payload);
    assert_eq!(received.json()["text"].as_str().unwrap().chars().count(), 4096);
}

#[test]
fn home_assistant() {
    let env = [("HOME_ASSISTANT_URL", "http://homeassistant.local:8123/api/webhook/-id_1")];
    let payload = r#"{"action":"completed","workflow_run":{"conclusion":"failure"}}"#;
    let host = "http://homeassistant.local:8123";
    let received = try_recipe(
        &example(MANUAL, "toml", "[actions.home]"),
        host,
        &env,
        Answer::Status(200),
        "workflow_run",
        payload,
    );
    assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/api/webhook/-id_1"));
    assert_eq!(received.header("Content-Type"), Some("application/json"), "or it is not in trigger.json");
    assert_eq!(received.text(), payload);
}

#[test]
fn matrix() {
    let env = [("MATRIX_AUTHORIZATION", "Bearer syt_1")];
    let answer = Answer::body(200, r#"{"event_id":"$1"}"#);
    let received = try_recipe(
        &example(MANUAL, "toml", "[actions.matrix]"),
        "https://matrix.example.org",
        &env,
        answer,
        "issues",
        ISSUE,
    );
    assert_eq!(received.method, "PUT");
    let key = received.header("Idempotency-Key").unwrap();
    let path = format!("/_matrix/client/v3/rooms/%21room%3Aexample.org/send/m.room.message/{key}");
    assert_eq!(received.target, path);
    assert_eq!(received.header("Authorization"), Some("Bearer syt_1"));
    let body = "zoe opened: It \"breaks\" & <burns> é";
    assert_eq!(received.json(), json!({ "msgtype": "m.text", "body": body }));
}

/// What becomes of an event for this recipe when the service answers so, and what was sent.
fn judged(recipe: &str, host: &str, variable: &str, answer: &str) -> (String, Received) {
    let stub = Stub::http();
    stub.answer(Answer::body(200, answer));
    assert!(recipe.contains(host), "no {host} in {recipe}");
    let recipe = recipe.replace(host, &stub.url(""));
    let hookbox = Home::with_config(&config(&format!("{recipe}attempts = 1\n"))).env(variable, "Bearer t-1").start();
    super::deliver_and_wait(&hookbox, if recipe.contains("github:push") { "push" } else { "issues" }, "d-1", ISSUE);
    (super::status(&hookbox, 1), stub.first())
}

/// Real answers: of RabbitMQ 3.10, the others as they are documented.
#[test]
fn a_service_that_answers_200_to_a_failure_is_seen_through() {
    for (recipe, host, variable, good, bad) in [
        (
            example(MANUAL, "toml", "[actions.rabbitmq]"),
            "http://127.0.0.1:15672",
            "RABBITMQ_AUTHORIZATION",
            r#"{"routed":true}"#,
            r#"{"routed":false}"#,
        ),
        (
            example(MANUAL, "toml", "[actions.rqlite]"),
            "http://127.0.0.1:4001",
            "NONE",
            r#"{"results":[{"last_insert_id":1,"rows_affected":1}]}"#,
            r#"{"results":[{"error":"no such table: events"}]}"#,
        ),
        (
            example(MANUAL, "toml", "[actions.bot]"),
            "https://slack.com",
            "SLACK_AUTHORIZATION",
            r#"{"ok":true,"channel":"C0123456789","ts":"1503435956.000247"}"#,
            r#"{"ok":false,"error":"channel_not_found"}"#,
        ),
        (
            example(MANUAL, "toml", "[actions.script]"),
            "http://homeassistant.local:8123",
            "HOME_ASSISTANT_AUTHORIZATION",
            r#"[{"entity_id":"script.hookbox","state":"on"}]"#,
            "[]",
        ),
    ] {
        assert_eq!(judged(&recipe, host, variable, good).0, "processed", "{recipe}");
        assert_eq!(judged(&recipe, host, variable, bad).0, "error", "{recipe}");
        let sent = judged(&recipe, host, variable, good).1;
        assert!(sent.json().to_string().contains("breaks") && sent.method == "POST", "{recipe}: {}", sent.text());
        assert_eq!(sent.header("Authorization"), (variable != "NONE").then_some("Bearer t-1"), "{recipe}");
    }
}

#[test]
fn rabbitmq_gets_the_exact_body() {
    let host = "http://127.0.0.1:15672";
    let (_, sent) =
        judged(&example(MANUAL, "toml", "[actions.rabbitmq]"), host, "RABBITMQ_AUTHORIZATION", r#"{"routed":true}"#);
    assert_eq!(sent.target, "/api/exchanges/%2F/hooks/publish");
    assert_eq!(sent.json()["payload"], ISSUE);
    assert_eq!(sent.json()["routing_key"], "issues");
}
