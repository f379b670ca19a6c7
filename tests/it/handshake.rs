//! Handshakes of providers are answered and not stored.

use serde_json::Value;

use crate::support::{Home, Hookbox, Request, Response, data, sign_github};

/// The source for a handshake.
fn config(vector: &Value) -> String {
    let provider = vector["provider"].as_str().unwrap();
    let keys = match (provider, vector["secret"].as_str()) {
        ("meta", _) => "secret = \"app-secret\"\nverify_token = \"meatyhamhock\"".to_owned(),
        // Recorded ones are old.
        ("slack" | "discord", Some(secret)) => {
            format!("secret = {secret:?}\nverify = {{ tolerance = \"off\", tolerance_future = \"off\" }}")
        }
        ("cloudevents", _) => "secret = \"s\"\nallowed_origins = \"eventemitter.example.com\"".to_owned(),
        ("trello", _) => "secret = \"s\"\npublic_url = \"https://hooks.example.com/trello\"".to_owned(),
        ("notion", _) => String::new(),
        (_, secret) => format!("secret = {:?}", secret.unwrap_or("s")),
    };
    format!("[sources.s]\nprovider = {provider:?}\n{keys}\n")
}

fn request(vector: &Value) -> Request {
    let query =
        vector["url_path"].as_str().unwrap().split_once('?').map_or(String::new(), |(_, query)| format!("?{query}"));
    let mut request = Request::new(vector["method"].as_str().unwrap(), &format!("/webhooks/s{query}"));
    for (name, value) in vector["headers"].as_object().unwrap() {
        request = request.header(name, value.as_str().unwrap());
    }
    request.body(crate::provider::unbase64(vector["body_base64"].as_str().unwrap()))
}

fn send(hookbox: &Hookbox, request: &Request, method: &str) -> Response {
    let mut connection = hookbox.connect();
    connection.send(&request.bytes());
    if method == "HEAD" { connection.head_response() } else { connection.response() }
}

fn source(provider: &str, keys: &str) -> Hookbox {
    Home::with_config(&format!("[sources.s]\nprovider = {provider:?}\n{keys}\n")).start()
}

#[test]
fn every_handshake_is_answered_as_its_provider_expects_and_nothing_is_stored() {
    let vectors: Vec<Value> = serde_json::from_slice(&std::fs::read(data("vectors/handshakes.json")).unwrap()).unwrap();
    assert!(vectors.len() >= 15);
    // Its deliveries cannot be verified without a certificate from the network.
    for vector in vectors.iter().filter(|vector| vector["provider"] != "sns") {
        let id = &vector["id"];
        let hookbox = Home::with_config(&config(vector)).start();
        let response = send(&hookbox, &request(vector), vector["method"].as_str().unwrap());
        assert_eq!(Value::from(response.status), vector["expect_status"], "{id}: {}", response.text());
        for (name, value) in vector["expect_headers"].as_object().unwrap() {
            assert_eq!(response.header(name), value.as_str(), "{id}: {name}");
        }
        if let Some(body) = vector["expect_body"].as_str() {
            assert_eq!(response.text(), body, "{id}");
        }
        assert_eq!(hookbox.stored(), 0, "{id}");
    }
}

#[test]
fn the_answer_to_zoom_proves_the_secret() {
    let hookbox = source("zoom", "secret = \"zoom-secret\"\nverify = { tolerance = \"off\" }");
    let body = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
    let sign = |body: &str| sign_github("zoom-secret", format!("v0:1700000000:{body}").as_bytes());
    let request = |body: &str| {
        Request::new("POST", "/webhooks/s")
            .header("Content-Type", "application/json")
            .header("x-zm-request-timestamp", "1700000000")
            .header("x-zm-signature", &sign(body).replace("sha256=", "v0="))
            .body(body)
    };
    let response = hookbox.send(&request(body));
    let tag = sign_github("zoom-secret", b"qgg8vlvZRS6UYooatFL8Aw").replace("sha256=", "");
    let expected = format!(r#"{{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"{tag}"}}"#);
    assert_eq!((response.status, response.text()), (200, expected));
    let unsigned = request(body).without("x-zm-signature");
    assert_eq!(
        hookbox.send(&unsigned).status,
        401,
        "only after a good signature: otherwise any client could have texts signed"
    );
    let quoted = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"a\"b"}}"#;
    let response = hookbox.send(&request(quoted));
    assert!(serde_json::from_slice::<Value>(&response.body).is_ok(), "{}", response.text());
    assert_eq!(hookbox.stored(), 0);
}

#[test]
fn an_echoed_challenge_is_bounded_and_printable() {
    let hookbox = source("dropbox", "secret = \"s\"");
    let status = |challenge: &str| {
        let response = hookbox.send(&Request::get(&format!("/webhooks/s?challenge={challenge}")));
        assert!(response.body.len() <= 1024);
        response.status
    };
    assert_eq!(status(&"a".repeat(1024)), 200);
    for wrong in [&"a".repeat(1025), "", "a%0d%0ab", "%1b[2J"] {
        assert_eq!(status(wrong), 403, "{wrong}");
    }
    let page = hookbox.send(&Request::get("/webhooks/s?challenge=%3Cscript%3E"));
    assert_eq!(page.header("Content-Type"), Some("text/plain"));
    assert_eq!(page.header("X-Content-Type-Options"), Some("nosniff"));
}

#[test]
fn methods_other_than_post_are_allowed_only_for_handshakes() {
    for (provider, keys, allow) in [
        ("github", "secret = \"s\"", "POST, HEAD"),
        ("meta", "secret = \"s\"", "POST, GET, HEAD"),
        ("trello", "secret = \"s\"\npublic_url = \"https://h.test/\"", "POST, HEAD"),
        ("cloudevents", "secret = \"s\"", "POST, HEAD"),
    ] {
        let hookbox = source(provider, keys);
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
            let response = hookbox.send(&Request::new(method, "/webhooks/s"));
            assert_eq!((response.status, response.header("Allow")), (405, Some(allow)), "{method} {provider}");
        }
    }
    let response = source("github", "secret = \"s\"").send(&Request::get("/webhooks/s?challenge=x"));
    assert_eq!(response.status, 405);
}

#[test]
fn metas_handshake_is_refused_without_a_verify_token_and_check_says_so() {
    let hookbox = source("meta", "secret = \"s\"");
    let query = "hub.mode=subscribe&hub.challenge=1&hub.verify_token=";
    for token in ["", "guessed"] {
        assert_eq!(hookbox.send(&Request::get(&format!("/webhooks/s?{query}{token}"))).status, 403);
    }
    hookbox.wait_for_stderr("see verify_token");
    assert!(!hookbox.stderr().contains("guessed"), "{}", hookbox.stderr());
    let checked = hookbox.run(["check"]).ok().text();
    assert!(checked.contains("NO verify_token: the handshake"), "{checked}");
}

#[test]
fn notions_token_is_logged_with_instructions_and_nothing_else_is_accepted_before() {
    let hookbox = source("notion", "");
    let post = |body: &str| Request::new("POST", "/webhooks/s").header("Content-Type", "application/json").body(body);
    assert_eq!(hookbox.send(&post(r#"{"id":"1","type":"page.created"}"#)).status, 401);
    assert_eq!(hookbox.send(&post(r#"{"verification_token":"secret_abc"}"#)).status, 200);
    hookbox.wait_for_stderr("secret_abc");
    hookbox.wait_for_stderr("make it this source's secret");
    assert_eq!(hookbox.send(&post(r#"{"verification_token":"a\nforged line"}"#)).status, 401);
    assert!(!hookbox.stderr().contains("forged line"));
    assert_eq!(hookbox.stored(), 0);
    let checked = hookbox.run(["check"]).ok().text();
    assert!(checked.contains("NO SECRET YET"), "{checked}");
}

fn post(body: &str) -> Request {
    Request::new("POST", "/webhooks/s").header("Content-Type", "application/json").body(body)
}

#[test]
fn once_notion_has_a_secret_another_token_is_neither_accepted_nor_logged() {
    let hookbox = source("notion", "secret = \"secret_abc\"");
    assert_eq!(hookbox.send(&post(r#"{"verification_token":"secret_of_another"}"#)).status, 401);
    let again = r#"{"verification_token":"secret_abc"}"#;
    let signed = post(again).header("X-Notion-Signature", &sign_github("secret_abc", again.as_bytes()));
    assert_eq!(hookbox.send(&signed).status, 200, "Notion sends its own once more when asked to");
    assert_eq!(hookbox.stored(), 0);
    let log = hookbox.stderr();
    assert!(!log.contains("secret_of_another") && !log.contains("secret_abc"), "{log}");
}

#[test]
fn an_unverified_token_is_logged_only_if_it_is_well_formed() {
    let hookbox = source("notion", "");
    let tokens = ["two words", "\\u202ereversed", "line\\u2028line", &"a".repeat(129), "é", ""];
    for token in tokens {
        assert_eq!(hookbox.send(&post(&format!(r#"{{"verification_token":"{token}"}}"#))).status, 401, "{token}");
    }
    assert_eq!(hookbox.send(&post(&format!(r#"{{"verification_token":"{}"}}"#, "a".repeat(128)))).status, 200);
    hookbox.wait_for_stderr(&"a".repeat(128));
    let log = hookbox.stderr();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("has sent a verification token")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(!log.contains("words") && !log.contains("reversed"), "{log}");
}

#[test]
fn a_notion_source_with_verify_none_logs_the_token_too() {
    let hookbox = source("notion", "verify = \"none\"");
    assert_eq!(hookbox.send(&post(r#"{"verification_token":"secret_abc"}"#)).status, 200);
    hookbox.wait_for_stderr("secret_abc");
    assert_eq!(hookbox.stored(), 0);
}

#[test]
fn bitbuckets_connection_test_is_answered_and_other_unsigned_requests_are_refused() {
    let hookbox = source("bitbucket", "secret = \"s\"");
    let ping = post(r#"{"test":true}"#).header("X-Event-Key", "diagnostics:ping").header("X-Request-Id", "1");
    assert_eq!(hookbox.send(&ping).status, 200);
    assert_eq!(hookbox.send(&ping.clone().with("X-Event-Key", "repo:push")).status, 401);
    assert_eq!(hookbox.send(&ping.without("X-Event-Key")).status, 401);
    assert_eq!(hookbox.stored(), 0);
}

#[test]
fn slacks_certificate_check_is_answered_only_as_a_form() {
    let hookbox = source("slack", "secret = \"s\"");
    let form = |body: &str| post(body).with("Content-Type", "application/x-www-form-urlencoded");
    let response = hookbox.send(&form("token=x&ssl_check=1"));
    assert_eq!((response.status, response.text()), (200, String::new()));
    for request in [form("ssl_check=0"), post("ssl_check=1"), form("{\"text\":\"&ssl_check=1&\"}")] {
        assert_eq!(hookbox.send(&request).status, 401);
    }
    assert_eq!(hookbox.stored(), 0);
}

#[test]
fn discords_pings_are_answered_with_a_content_type() {
    let hookbox = source("discord", "verify = \"none\"");
    let response = hookbox.send(&post(r#"{"type":1}"#));
    assert_eq!((response.status, response.text()), (200, r#"{"type":1}"#.to_owned()));
    let response = hookbox.send(&post(r#"{"type":0}"#));
    assert_eq!((response.status, response.header("Content-Type")), (204, Some("application/json")));
    assert_eq!(hookbox.stored(), 0);
}

#[test]
fn any_origin_can_be_allowed_without_a_rate_limit() {
    let hookbox = source("cloudevents", "secret = \"s\"\nallowed_origins = [\"*\"]");
    let ask = Request::new("OPTIONS", "/webhooks/s").header("WebHook-Request-Origin", "anybody.example");
    let response = hookbox.send(&ask);
    assert_eq!((response.status, response.header("WebHook-Allowed-Origin")), (200, Some("anybody.example")));
    assert_eq!(response.header("WebHook-Allowed-Rate"), Some("*"));
    let response = hookbox.send(&ask.header("WebHook-Request-Rate", "120"));
    assert_eq!(response.header("WebHook-Allowed-Rate"), Some("120"));
}

#[test]
fn a_handshake_without_a_usable_challenge_is_refused_and_not_stored() {
    let slack = source("slack", "verify = \"none\"");
    let long = "a".repeat(1025);
    for challenge in ["\"\"", "{}", "\"a\\r\\nX: b\"", &format!("\"{long}\"")] {
        let body = format!(r#"{{"type":"url_verification","challenge":{challenge}}}"#);
        let response = slack.send(&post(&body));
        assert_eq!((response.status, response.text()), (403, "refused\n".to_owned()), "{challenge}");
    }
    let zoom = source("zoom", "verify = \"none\"");
    assert_eq!(zoom.send(&post(r#"{"event":"endpoint.url_validation","payload":{}}"#)).status, 403);
    assert_eq!((slack.stored(), zoom.stored()), (0, 0));
}

#[test]
fn an_unverified_source_answers_handshakes() {
    let hookbox = source("slack", "verify = \"none\"");
    let body = r#"{"type":"url_verification","challenge":"abc"}"#;
    let response =
        hookbox.send(&Request::new("POST", "/webhooks/s").header("Content-Type", "application/json").body(body));
    assert_eq!((response.status, response.text()), (200, "abc".to_owned()));
    assert_eq!(hookbox.stored(), 0);
}

#[test]
fn a_discord_event_with_the_type_of_a_ping_is_stored() {
    let hookbox = source("discord", "verify = \"none\"");
    let body = r#"{"version":1,"application_id":"1","type":1,"event":{"type":"ENTITLEMENT_CREATE"}}"#;
    let response =
        hookbox.send(&Request::new("POST", "/webhooks/s").header("Content-Type", "application/json").body(body));
    assert_eq!((response.status, response.text()), (200, String::new()));
    assert_eq!(hookbox.query::<String>("SELECT event_type FROM webhook_events"), ["ENTITLEMENT_CREATE"]);
}
