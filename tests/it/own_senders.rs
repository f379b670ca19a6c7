//! Keys for senders of one's own: a path, methods, a fixed answer, and the query.

use crate::support::{Home, Request, sign_github};

const DOOR: &str = r#"
[sources.door]
provider = "token"
secret = "hunter2-hunter2"
path = "/hooks/open the door"
methods = ["get", "POST", "PUT"]
[sources.door.verify]
sig = "query:token"
"#;

fn door() -> String {
    DOOR.replace("open the door", "open%20the%7Edoor")
}

fn payload(home: &Home) -> Vec<String> {
    home.query("SELECT payload_json FROM webhook_events ORDER BY id")
}

#[test]
fn a_source_takes_deliveries_at_its_path_in_every_spelling_and_at_its_own() {
    let hookbox = Home::with_config(&door()).start();
    for target in ["/hooks/open%20the~door?token=hunter2-hunter2", "/hooks/%6fpen%20the%7edoor?token=hunter2-hunter2"] {
        assert_eq!(hookbox.send(&Request::new("POST", target)).status, 200, "{target}");
    }
    assert_eq!(hookbox.send(&Request::new("POST", "/webhooks/door?token=hunter2-hunter2")).status, 200);
    for target in ["/hooks/open%20the~door/?token=hunter2-hunter2", "/hooks?token=hunter2-hunter2"] {
        assert_eq!(hookbox.send(&Request::new("POST", target)).status, 404, "{target}");
    }
    assert_eq!(hookbox.stored(), 3);
    assert!(hookbox.run(["check"]).ok().text().contains("GET, POST, PUT http://127.0.0.1:"));
}

#[test]
fn only_the_methods_of_a_source_bring_deliveries() {
    let hookbox = Home::with_config(&door()).start();
    for (method, status) in [("GET", 200), ("PUT", 200), ("POST", 200), ("PATCH", 405), ("DELETE", 405), ("HEAD", 200)]
    {
        let response = hookbox.send(&Request::new(method, "/webhooks/door?token=hunter2-hunter2"));
        assert_eq!(response.status, status, "{method}");
        if status == 405 {
            assert_eq!(response.header("Allow"), Some("GET, POST, PUT, HEAD"));
        }
    }
    assert_eq!(hookbox.stored(), 3, "HEAD stores nothing");
    assert_eq!(hookbox.send(&Request::get("/webhooks/door?token=wrong")).status, 401);
}

#[test]
fn the_query_of_a_get_is_the_payload_without_the_proof() {
    let hookbox = Home::with_config(&door()).start();
    let target = "/webhooks/door?who=J%C3%BCrg+M&tok%65n=hunter2-hunter2&&n=1";
    assert_eq!(hookbox.send(&Request::get(target)).status, 200);
    assert_eq!(
        hookbox.send(&Request::new("PUT", "/webhooks/door?token=hunter2-hunter2&x=1").body("{\"a\":1}")).status,
        200
    );
    assert_eq!(payload(&hookbox), [r#"{"who":"Jürg M","n":"1"}"#, r#"{"a":1}"#]);
    let headers: Vec<String> = hookbox.query("SELECT headers_json FROM webhook_events ORDER BY id");
    assert!(
        headers[0].ends_with(r#"":method":"GET",":query":"who=J%C3%BCrg+M&n=1"}"#.trim_start_matches('"')),
        "{headers:?}"
    );
    assert!(headers[1].ends_with(r#"":method":"PUT",":query":"x=1"}"#.trim_start_matches('"')), "{headers:?}");
    assert!(!headers.concat().contains("hunter2"), "{headers:?}");
    let curl = hookbox.run(["show", "1", "--curl"]).ok().text();
    assert!(curl.contains("/webhooks/door?who=J%C3%BCrg+M&n=1'") && curl.contains("--request GET"), "{curl}");
    assert!(!curl.contains("data-raw") && !curl.contains(":query"), "{curl}");
}

#[test]
fn templates_see_method_and_query() {
    let action = "[actions.say]\nkind = \"command\"\non = [\"*\"]\nwhen = \"query.go == 'yes'\"\n\
                  run = [\"sh\", \"-c\", \"echo \\\"$0\\\" >> said\", \"{{ method }} {{ query.n }} {{ headers | length }}\"]\n";
    let hookbox = Home::with_config(&format!("{}{action}", door())).start();
    let target = "/webhooks/door?token=hunter2-hunter2&go=yes&n=7";
    for method in ["GET", "POST"] {
        assert_eq!(hookbox.send(&Request::new(method, target)).status, 200);
    }
    assert_eq!(hookbox.send(&Request::get("/webhooks/door?token=hunter2-hunter2&go=no")).status, 200);
    hookbox.wait_until_done();
    let said = std::fs::read_to_string(hookbox.path("said")).unwrap();
    assert_eq!(said, "GET 7 2\nPOST 7 2\n");
}

#[test]
fn the_query_of_a_known_provider_is_not_stored() {
    let hookbox = Home::new().start();
    let request = Request::github("push", "d-1", "{}").target("/webhooks/github?token=secret-of-someone");
    assert_eq!(hookbox.send(&request).status, 200);
    let headers: Vec<String> = hookbox.query("SELECT headers_json FROM webhook_events");
    assert!(!headers[0].contains("secret-of-someone"), "{headers:?}");
}

#[test]
fn two_gets_that_differ_in_their_query_are_no_repeated_body() {
    let config = door().replace("methods", "repeated_body = \"ignore\"\nmethods");
    let hookbox = Home::with_config(&config).start();
    for n in ["1", "2", "2"] {
        assert_eq!(hookbox.send(&Request::get(&format!("/webhooks/door?token=hunter2-hunter2&n={n}"))).status, 200);
    }
    assert_eq!(payload(&hookbox), [r#"{"n":"1"}"#, r#"{"n":"2"}"#]);
}

#[test]
fn a_fixed_answer_is_sent_for_what_is_stored_only() {
    let config = format!(
        "{}\n[sources.door.answer]\nstatus = 202\nbody = \"on my way\"\nheaders = {{ X-From = \"hookbox\" }}\n",
        door()
    );
    let hookbox = Home::with_config(&config).start();
    let response = hookbox.send(&Request::get("/webhooks/door?token=hunter2-hunter2"));
    assert_eq!((response.status, response.text().as_str()), (202, "on my way"));
    assert_eq!(response.header("X-From"), Some("hookbox"));
    assert_eq!(response.header("Content-Type"), Some("text/plain; charset=UTF-8"));
    let refused = hookbox.send(&Request::get("/webhooks/door?token=wrong"));
    assert_eq!((refused.status, refused.header("X-From")), (401, None));
    let lock = hookbox.lock_database();
    let refused = hookbox.send(&Request::get("/webhooks/door?token=hunter2-hunter2"));
    assert_eq!((refused.status, refused.header("X-From")), (503, None), "nothing is stored");
    drop(lock);
}

#[test]
fn an_answer_has_the_content_type_that_the_config_names() {
    let config = format!(
        "{}answer = {{ body = '{{}}', headers = {{ content-type = 'application/json' }} }}\n",
        door().replace("[sources.door.verify]\nsig = \"query:token\"\n", "")
    );
    let hookbox = Home::with_config(&config).start();
    let response = hookbox.send(&Request::get("/webhooks/door").header("Authorization", "Bearer hunter2-hunter2"));
    assert_eq!((response.status, response.header("Content-Type")), (200, Some("application/json")));
}

#[test]
fn a_signed_put_is_verified_like_a_post() {
    let config = "[sources.own]\nprovider = \"hmac\"\nsecret = \"s3cret-s3cret\"\nmethods = [\"PUT\"]\n";
    let hookbox = Home::with_config(config).start();
    let put = |body: &str| {
        Request::new("PUT", "/webhooks/own")
            .header("X-Hub-Signature-256", &sign_github("s3cret-s3cret", b"{}"))
            .body(body)
    };
    assert_eq!(hookbox.send(&put("{}")).status, 200);
    assert_eq!(hookbox.send(&put("{ }")).status, 401);
    assert_eq!(hookbox.send(&put("{}").method("POST")).status, 405);
}

#[test]
fn send_uses_a_method_that_the_source_takes() {
    let hookbox = Home::with_config(&door().replace("\"get\", \"POST\", \"PUT\"", "\"GET\"")).start();
    let text = hookbox.run(["send", "door", "--url", &hookbox.url("/webhooks/door")]).ok().text();
    assert!(text.contains(": 200"), "{text}");
    assert_eq!(payload(&hookbox), ["{}"]);
}

#[test]
fn sources_that_share_a_path_take_what_is_proven_to_them() {
    let source = |name: &str, rest: &str| format!("[sources.{name}]\npath = \"/hooks/both\"\n{rest}\n");
    let config = [
        source("a", "provider = \"hmac\"\nsecret = \"signing-secret\"\nallow = \"127.0.0.1\""),
        source("b", "provider = \"token\"\nsecret = \"hunter2-hunter2\"\nmethods = [\"GET\", \"POST\"]"),
        source("c", "provider = \"token\"\nverify = \"none\"\nallow = \"127.0.0.9\"\nmethods = [\"POST\"]"),
    ];
    let hookbox = Home::with_config(&config.concat()).start();
    let post = || Request::new("POST", "/hooks/both").body("{}");
    let signed = post().header("X-Hub-Signature-256", &sign_github("signing-secret", b"{}"));
    let token = |value: &str| post().header("Authorization", &format!("Bearer {value}"));
    assert_eq!(hookbox.send(&signed).status, 200);
    assert_eq!(hookbox.send(&token("hunter2-hunter2")).status, 200);
    assert_eq!(
        hookbox.send(&Request::get("/hooks/both").header("Authorization", "Bearer hunter2-hunter2")).status,
        200
    );
    for request in [&post(), &signed] {
        let mut connection = hookbox.address().connect_from([127, 0, 0, 9].into());
        connection.send(&request.bytes());
        assert_eq!(connection.response().status, 200, "a does not allow the address");
    }
    for (request, status) in [(post(), 401), (token("wrong"), 401), (signed.clone().body("{ }"), 401)] {
        assert_eq!(hookbox.send(&request).status, status);
    }
    let sources: Vec<String> = hookbox.query("SELECT source FROM webhook_events ORDER BY id");
    assert_eq!(sources, ["a", "b", "b", "c", "c"]);
    hookbox.wait_for_stderr("rejected /hooks/both from 127.0.0.1: header:X-Hub-Signature-256 is missing");
}

#[test]
fn a_delivery_with_the_proofs_of_two_sources_shows_neither() {
    let source = |name: &str, sig: &str| {
        format!(
            "[sources.{name}]\npath = \"/hooks/both\"\nprovider = \"token\"\nsecret = \"secret-of-{name}\"\n\
             methods = [\"GET\", \"POST\"]\nid = \"header:X-Id-Token\"\n[sources.{name}.verify]\nsig = \"{sig}\"\n"
        )
    };
    let sources = [source("a", "header:X-Door"), source("b", "header:X-Gate"), source("c", "query:gate")];
    let hookbox = Home::with_config(&sources.concat()).start();
    let request = |method: &str, path: &str, id: &str| {
        let request = Request::new(method, &format!("{path}?n=1&gate=secret-of-c")).header("X-Id-Token", id);
        let request = request.header("X-Door", "secret-of-a").header("X-Gate", "secret-of-b");
        request.header("X-Note", "by secret-of-b or secret-of-c").body("{}")
    };
    for (method, path, id) in [("POST", "/hooks/both", "1"), ("POST", "/webhooks/b", "2"), ("GET", "/hooks/both", "3")]
    {
        assert_eq!(hookbox.send(&request(method, path, id)).status, 200, "{method} {path}");
    }
    let rows: Vec<String> =
        hookbox.query("SELECT source || headers_json || payload_json FROM webhook_events ORDER BY id");
    assert!(rows[0].starts_with('a') && rows[1].starts_with('b') && rows[2].starts_with('a'), "{rows:?}");
    for (row, id) in rows.iter().zip(1..) {
        assert!(!row.contains("secret-of-"), "{row}");
        assert!(row.contains("n=1") && row.contains(&format!(r#""X-Id-Token":"{id}""#)), "{row}");
    }
}
