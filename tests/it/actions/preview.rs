//! `hookbox check` finds mistakes in templates, and shows what would be sent without sending it.

use super::{action, config, done};
use crate::support::{Home, Stub};

#[test]
fn every_template_and_expression_is_compiled() {
    for (kind, keys, key) in [
        ("command", "run = [\"echo\", \"{{ payload.\"]", "actions.it.run"),
        ("command", "run = [\"true\"]\nwhen = \"payload ==\"", "actions.it.when"),
        ("slack", "url = \"http://a.test\"\ntext = \"{% if x %}\"", "actions.it.text"),
        ("slack", "url = \"http://a.test\"\nblocks = \"{{ 1 + }}\"", "actions.it.blocks"),
        ("http", "url = \"http://a.test/{{\"", "actions.it.url"),
        ("http", "url = \"http://a.test\"\nbody = \"{{ a b }}\"", "actions.it.body"),
        ("http", "url = \"http://a.test\"\nheaders = { A = \"{{ a b }}\" }", "actions.it.headers"),
        ("http", "url = \"ftp://a.test\"", "actions.it.url"),
        ("http", "url = \"http://a.test\"\nheaders = { \"A B\" = \"c\" }", "actions.it.headers"),
        ("command", "run = []", "actions.it.run"),
        ("command", "run = [\"true\"]\ngive_up = [0]", "actions.it.give_up"),
        ("command", "run = [\"true\"]\non_dead = \"it\"", "actions.it.on_dead"),
        ("command", "run = [\"true\"]\non_dead = \"nobody\"", "actions.it.on_dead"),
        ("log", "url = \"http://a.test\"", "actions.it.url"),
        (
            "http",
            "url = \"http://a.test\"\nheaders = { content-length = \"{{ payload.n }}\" }",
            "actions.it.headers.content-length",
        ),
    ] {
        let home = Home::with_config(&config(&action("it", kind, keys)));
        home.run(["check"]).refused(2, &[key]);
    }
}

/// Four actions, of which one is for something else and one asks for something else.
fn four(stub: &Stub) -> Home {
    let url = stub.url("/hidden-path");
    let slack = action("say", "slack", &format!("url = \"{url}\"\ntext = \"{{{{ payload.title }}}}\""));
    let headers = "headers = { Authorization = \"env:TOKEN\", Title = \"of {{ payload.title }}\", Cookie = \"{{ event }}\" }\nbody = \"to {{ payload.title }}\"";
    let http = action("pass", "http", &format!("url = \"{url}\"\nsign = \"env:TOKEN\"\n{headers}"));
    let command = action("run", "command", "run = [\"touch\", \"{{ payload.title }}\"]");
    let other = action("other", "log", "").replace("[\"*\"]", "[\"github:push\"]");
    let unless = action("unless", "log", "when = \"not payload.title\"");
    let broken = action("broken", "log", "when = \"payload.title + 1\"");
    Home::with_config(&config(&(slack + &http + &command + &other + &unless + &broken))).env("TOKEN", "s3cret-token")
}

#[track_caller]
fn assert_shown(text: &str, stub: &Stub) {
    let place = format!("127.0.0.1:{}", stub.port());
    for part in [
        "an event issues from github\n",
        &format!("action say: yes\ntimeout 30s\nPOST http://{place}/...\n\n{{\"text\":\"a-title\"}}\n"),
        &format!("action pass: yes\ntimeout 30s\nPOST http://{place}/...\n"),
        "authorization: (as configured)\n",
        "cookie: (as configured)\n",
        "title: of a-title\n",
        "webhook-signature: v1,",
        "\n\nto a-title\n",
        "action run: yes\ntimeout 1m\nrun [\"touch\", \"a-title\"] with ",
        "action other: no, by on\n",
        "action unless: no, by when\n",
        "action broken: its job would be dead at once: ",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!text.contains("s3cret") && !text.contains("hidden-path"), "{text}");
}

#[test]
fn check_shows_what_a_stored_event_would_trigger_and_does_nothing() {
    let stub = Stub::http();
    let home = four(&stub);
    let written = std::fs::read_to_string(home.path("hookbox.toml")).unwrap();
    home.write("hookbox.toml", super::config("[actions]\n"));
    let hookbox = home.start();
    hookbox.deliver("issues", "d-1", r#"{"title":"a-title"}"#);
    hookbox.write("hookbox.toml", written);
    assert_shown(&done(&hookbox, "check --event 1"), &stub);
    hookbox.run(["check", "--event", "2"]).refused(1, &["no event 2"]);
    assert_eq!(stub.count(), 0);
    assert!(!hookbox.path("a-title").exists());
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM jobs"), [0]);
}

#[test]
fn check_shows_what_a_file_would_trigger_and_creates_no_database() {
    let stub = Stub::http();
    let home = four(&stub);
    home.write("issue.json", r#"{"title":"a-title"}"#);
    assert_shown(&done(&home, "check --file issue.json --source github --type issues"), &stub);
    assert!(done(&home, "check --file issue.json --type push").contains("action other: yes\nprint it\n"));
    home.run(["check", "--file", "none.json"]).refused(1, &["none.json"]);
    home.run(["check", "--file", "issue.json", "--source", "nobody"]).refused(2, &["nobody"]);
    assert_eq!(stub.count(), 0);
    assert!(!home.path("webhooks.db").exists() && !home.path("a-title").exists());
}
