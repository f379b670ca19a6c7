//! Header fields that carry a secret are neither stored nor shown nor sent on.

use serde_json::Value;

use crate::support::{Home, Hookbox, Request, SECRET, Stub};

const HUB: &str = "[sources.hub]\nprovider = \"token\"\nsecret = \"brass-kettle-7\"\n\
                   [sources.hub.verify]\nsig = \"query:token\"\n";

fn stored(hookbox: &Hookbox) -> Value {
    let headers = hookbox.query::<String>("SELECT headers_json FROM webhook_events ORDER BY id DESC LIMIT 1");
    serde_json::from_str(&headers[0]).unwrap()
}

/// The database with its write-ahead log.
fn database(hookbox: &Hookbox) -> Vec<u8> {
    ["webhooks.db", "webhooks.db-wal"]
        .iter()
        .flat_map(|name| std::fs::read(hookbox.path(name)).unwrap_or_default())
        .collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn a_secret_in_a_header_is_not_stored_whether_its_name_or_its_value_says_so() {
    let hookbox = Home::new().start();
    let secrets = [
        ("X-Api-Secret", "opal-1"),
        ("X-Auth", "opal-2"),
        ("X-Upstream-Key", "opal-3"),
        ("X-Session-Id", "opal-4"),
        ("X-User-Password", "opal-5"),
        ("X-Credentials", "opal-6"),
        ("Referer", "https://h.test/p?access_token=opal-7"),
        ("X-Original-URI", "/webhooks/github?a=1&token=opal-8"),
        ("X-Forwarded-Uri", "/webhooks/github?%74oken=opal-9"),
        ("X-Note", &format!("the secret is {SECRET}!")),
    ];
    let kept = [
        ("Idempotency-Key", "key-17"),
        ("X-Signing-Key-Id", "key-18"),
        ("X-Request-Id", "r-19"),
        ("X-Author", "octocat"),
        ("Accept", "*/*"),
    ];
    let mut request = Request::github("push", "d-1", "{}");
    for (name, value) in secrets.iter().chain(&kept) {
        request = request.header(name, value);
    }
    assert_eq!(hookbox.send(&request).status, 200);
    let headers = stored(&hookbox);
    for (name, _) in secrets {
        assert_eq!(headers[name], "[redacted]", "{name} in {headers}");
    }
    for (name, value) in kept {
        assert_eq!(headers[name], value, "{headers}");
    }
    assert!(headers["X-Hub-Signature-256"].as_str().unwrap().starts_with("sha256="), "{headers}");
    assert_eq!((&headers["X-GitHub-Event"], &headers["X-GitHub-Delivery"]), (&"push".into(), &"d-1".into()));
    let database = database(&hookbox);
    assert!(!contains(&database, "opal-") && !contains(&database, SECRET));
    let shown = hookbox.run(["show", "1"]).ok().text() + &hookbox.run(["show", "1", "--json"]).ok().text();
    assert!(!shown.contains("opal-") && !shown.contains(SECRET), "{shown}");
}

#[test]
fn a_secret_in_a_header_is_not_sent_on_and_what_a_receiver_needs_is() {
    let stub = Stub::http();
    let action = format!("[actions.behind]\nkind = \"http\"\non = [\"*\"]\nurl = \"{}\"\n", stub.url("/"));
    let hookbox = Home::with_config(&format!("{}{action}", crate::support::SOURCE)).start();
    let request = Request::github("push", "d-1", "{}")
        .header("X-Api-Secret", "opal-1")
        .header("X-Note", "first")
        .header("X-Note", SECRET)
        .header("Cookie", "a=opal-2")
        .header("Cookie", "b=opal-3")
        .header("X-Original-URI", "/webhooks/github?token=opal-4")
        .header("X-Signing-Key-Id", "key-18");
    assert_eq!(hookbox.send(&request).status, 200);
    let received = stub.first();
    for name in ["X-Api-Secret", "X-Note", "Cookie", "X-Original-URI"] {
        assert_eq!(received.header(name), None, "{name}");
    }
    for name in ["X-Hub-Signature-256", "X-GitHub-Event", "X-GitHub-Delivery", "X-Signing-Key-Id", "Idempotency-Key"] {
        assert!(received.header(name).is_some(), "{name}");
    }
}

#[test]
fn a_secret_in_the_query_is_neither_stored_nor_logged_in_clear() {
    let hookbox = Home::with_config(HUB).start();
    let target = "/webhooks/hub?a=1&token=brass-kettle-7";
    let request =
        Request::new("POST", target).header("X-Original-URI", target).header("X-Echo", "q=brass%2Dkettle%2D7");
    assert_eq!(hookbox.send(&request.clone().body("{}")).status, 200);
    assert_eq!(hookbox.send(&request.body("{")).status, 200);
    let wrong = Request::new("POST", "/webhooks/hub?token=brass-kettle-8").body("{}");
    assert_eq!(hookbox.send(&wrong).status, 401);
    let elsewhere = Request::new("POST", "/webhooks/hubb?token=brass-kettle-7").body("{}");
    assert_eq!(hookbox.send(&elsewhere).status, 404);
    hookbox.wait_for_stderr("rejected /webhooks/hubb from");
    assert!(!hookbox.stderr().contains("kettle"), "{}", hookbox.stderr());
    assert!(!contains(&database(&hookbox), "kettle"));
}
