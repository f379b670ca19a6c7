//! `kind = "http"`: what is sent, and how each failure of a destination is recorded.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::{JOB_DEADLINE, config, deliver_and_wait, done, job, only_attempt, wait_for_state, with};
use crate::support::{
    Answer, Home, Received, Request, SECRET, Stub, authority, closed_port, expired, sign_github, wait_longer_for,
};

/// Well above all copies of one large event, well below what a destination could send.
const MEMORY_MIB: u64 = 64;

fn to(stub: &Stub, keys: &str) -> Home {
    with("http", &format!("url = \"{}\"\n{keys}", stub.url("/in?a=b")))
}

#[test]
fn the_exact_body_and_the_providers_headers_are_sent_by_default() {
    let stub = Stub::http();
    let hookbox = to(&stub, "").start();
    let body = "{ \"b\" : 1.50,\n\"a\":\"\\u00e9 \u{e9}\" }";
    let request = Request::github("issues", "d-1", body).header("Authorization", "Basic aHVzaA==");
    assert_eq!(hookbox.send(&request).status, 200);
    let received = stub.first();
    assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/in?a=b"));
    assert_eq!(received.text(), body);
    assert_eq!(received.header("X-Hub-Signature-256"), Some(sign_github(SECRET, body.as_bytes()).as_str()));
    assert_eq!(received.header("X-GitHub-Event"), Some("issues"));
    assert_eq!(received.header("X-GitHub-Delivery"), Some("d-1"));
    assert_eq!(received.header("Content-Type"), Some("application/json"));
    assert_eq!(received.header("User-Agent"), Some("GitHub-Hookshot/044aadd"));
    assert_eq!(received.header("Hookbox-Event-Id"), Some("1"));
    assert_eq!(received.header("Idempotency-Key").map(str::len), Some(32));
    assert_eq!(received.header("Host"), Some(format!("127.0.0.1:{}", stub.port()).as_str()));
    assert_eq!(received.header("Authorization"), None, "it was not stored, and [redacted] is no password");
    assert_eq!(received.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).count(), 1);
}

#[test]
fn a_form_is_sent_as_a_form() {
    let stub = Stub::http();
    let hookbox = to(&stub, "").start();
    let body = "payload=%7B%22a%22%3A+1%7D&x=%C3%A9";
    let form = "application/x-www-form-urlencoded";
    assert_eq!(hookbox.send(&Request::github("push", "d-1", body).with("Content-Type", form)).status, 200);
    let received = stub.first();
    assert_eq!((received.text().as_str(), received.header("Content-Type")), (body, Some(form)));
}

#[test]
fn method_url_headers_and_body_are_templates() {
    let stub = Stub::http();
    let keys = "url = \"URL/{{ source }}/{{ payload.name | urlencode }}\"\nmethod = \"PUT\"\n\
                headers = { Title = \"{{ payload.title }}\", Content-Type = \"text/plain\", X-Try = \"{{ attempt }}\" }\n\
                body = \"{{ event }} {{ payload.name }}\"";
    let hookbox = with("http", &keys.replace("URL", &stub.url(""))).start();
    hookbox.deliver("issues", "d-1", r#"{"name":"a b/c?","title":"one\r\nX-Forged: two"}"#);
    let received = stub.first();
    assert_eq!((received.method.as_str(), received.target.as_str()), ("PUT", "/github/a%20b/c%3F"));
    assert_eq!(received.text(), "issues a b/c?");
    assert_eq!(received.header("Title"), Some("one  X-Forged: two"), "a line break begins no header of its own");
    assert_eq!(received.header("X-Forged"), None);
    assert_eq!(received.header("Content-Type"), Some("text/plain"));
    assert_eq!(received.header("X-Try"), Some("1"));
    assert_eq!(received.header("X-GitHub-Event"), None, "the provider's headers are about the provider's body");
}

#[test]
fn every_common_method_works() {
    for method in ["POST", "put", "PATCH", "DELETE", "GET"] {
        let stub = Stub::http();
        let hookbox = to(&stub, &format!("method = \"{method}\"")).start();
        deliver_and_wait(&hookbox, "push", "d-1", "{}");
        let attempt = only_attempt(&hookbox, 1);
        assert_eq!(attempt.0, "success", "{method}: {attempt:?}");
        assert_eq!(stub.first().method, method.to_uppercase());
    }
}

/// Checks by the text of the specification, not by the program's own code.
fn is_signed(received: &Received, key: &[u8]) -> bool {
    let header = |name| received.header(name).unwrap_or_default();
    let signed = [header("webhook-id").as_bytes(), b".", header("webhook-timestamp").as_bytes(), b".", &received.body];
    let tag = STANDARD.decode(header("webhook-signature").strip_prefix("v1,").unwrap_or_default()).unwrap();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), &signed.concat(), &tag).is_ok()
}

#[test]
fn a_signed_request_verifies_by_the_standard_webhooks_scheme() {
    let key = b"twenty-four secret bytes";
    let written = format!("whsec_{}", STANDARD.encode(key));
    for (secret, key) in [(written.as_str(), &key[..]), ("plain text", b"plain text")] {
        let stub = Stub::http();
        stub.answer(Answer::Status(500));
        let hookbox = to(&stub, "sign = \"env:SIGN\"\nattempts = 2").env("SIGN", secret).start();
        hookbox.deliver("push", "d-1", r#"{"a":"é"}"#);
        let received = stub.wait_for(2);
        assert!(received.iter().all(|received| is_signed(received, key)), "{received:?}");
        assert!(!is_signed(&received[0], b"another"));
        assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"), "a repeat can be told");
        let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
            - received[1].header("webhook-timestamp").unwrap().parse::<u64>().unwrap();
        assert!(age < 300, "{age} s");
    }
}

#[test]
fn a_delivery_signed_by_the_same_scheme_is_sent_with_our_signature_only() {
    let (theirs, ours) = (b"twenty-four secret bytes", b"another twenty-four of them");
    let source =
        format!("[sources.svix]\nprovider = \"standard-webhooks\"\nsecret = \"whsec_{}\"\n", STANDARD.encode(theirs));
    let stub = Stub::http();
    let keys = format!("url = \"{}\"\nsign = \"whsec_{}\"", stub.url("/"), STANDARD.encode(ours));
    let hookbox = Home::with_config(&(config(&super::action("it", "http", &keys)) + &source)).start();
    done(&hookbox, &format!("send svix --url {}", hookbox.url("/webhooks/svix")));
    let received = stub.first();
    assert!(is_signed(&received, ours) && !is_signed(&received, theirs), "{received:?}");
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        assert_eq!(received.headers.iter().filter(|(have, _)| have == name).count(), 1, "{name}");
    }
}

#[test]
fn a_signing_secret_that_is_not_base64_after_its_prefix_is_refused_at_the_start() {
    for broken in ["whsec_", "whsec_not base64"] {
        let home = with("http", "url = \"http://127.0.0.1:1/\"\nsign = \"env:SIGN\"").env("SIGN", broken);
        let checked = home.run(["check"]);
        checked.refused(2, &["1 problem"]);
        assert!(checked.text().contains("PROBLEM sign: the text after whsec_ is not base64"), "{checked}");
        home.run(["serve"]).refused(2, &["actions.it.sign: the text after whsec_ is not base64"]);
    }
}

#[test]
fn the_idempotency_key_stays_over_attempts_and_differs_by_event_and_action() {
    let stub = Stub::http();
    stub.answer(Answer::Status(500));
    let keys = format!("url = \"{}\"\nattempts = 2", stub.url("/"));
    let both = super::action("a", "http", &keys) + &super::action("b", "http", &keys);
    let hookbox = Home::with_config(&config(&both)).start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.deliver("push", "d-2", "{}");
    hookbox.wait_until_done();
    let mut keys: Vec<String> =
        stub.received().iter().map(|request| request.header("Idempotency-Key").unwrap().to_owned()).collect();
    keys.sort();
    assert_eq!(keys.len(), 8);
    let (pairs, _) = keys.as_chunks::<2>();
    assert!(pairs.iter().all(|[one, two]| one == two), "{keys:?}");
    keys.dedup();
    assert_eq!(keys.len(), 4);
}

#[test]
fn every_failure_is_recorded_by_its_kind_and_leaks_neither_threads_nor_memory() {
    let stub = Stub::http();
    let elsewhere = Stub::http();
    let keys = "url = \"http://127.0.0.1:{{ payload.port }}/\"\nattempts = 1\ntimeout = \"500ms\"";
    let hookbox = with("http", keys).start();
    let large = "x".repeat(100_000);
    let ways = [
        (Answer::Status(200), "success", "200 OK"),
        (Answer::body(201, "made\n"), "success", "201 Created made"),
        (Answer::Status(204), "success", "204 No Content"),
        (Answer::Reset, "retry", "io: "),
        (Answer::Close, "retry", ""),
        (Answer::Hang, "retry", "timeout: "),
        (Answer::Trickle, "retry", "timeout: "),
        (Answer::NotHttp, "retry", ""),
        (Answer::body(500, "it hurts"), "retry", "500 Internal Server Error it hurts"),
        (Answer::Status(503), "retry", "503 Service Unavailable"),
        (Answer::Status(408), "retry", "408 Request Timeout"),
        (Answer::Status(429), "retry", "429 Too Many Requests"),
        (Answer::body(404, "no_service"), "give_up", "404 Not Found no_service"),
        (Answer::Status(410), "give_up", "410 Gone"),
        (Answer::header(301, "Location", &elsewhere.url("/")), "give_up", "301 Moved Permanently"),
        (Answer::header(307, "Location", &elsewhere.url("/")), "give_up", "307 Temporary Redirect"),
        (Answer::header(500, "X-Large", &large), "retry", ""),
        (Answer::body(400, &large), "give_up", "400 Bad Request xxx"),
        (Answer::Endless, "success", "200 OK xxx"),
    ];
    let body = |port: u16| format!(r#"{{"port":{port}}}"#);
    deliver_and_wait(&hookbox, "push", "first", body(stub.port()));
    let threads = hookbox.proc_status("Threads");
    let mut event = 1;
    for (way, outcome, detail) in ways {
        stub.answer(way.clone());
        event += 1;
        deliver_and_wait(&hookbox, "push", &format!("d-{event}"), body(stub.port()));
        let attempt = only_attempt(&hookbox, event);
        assert_eq!(attempt.0, outcome, "{way:.30?}: {attempt:?}");
        assert!(attempt.1.starts_with(detail) && !attempt.1.is_empty(), "{way:.30?}: {attempt:?}");
        assert!(attempt.1.len() < 4200, "{} bytes", attempt.1.len());
        assert_eq!(super::status(&hookbox, event), if outcome == "success" { "processed" } else { "error" });
    }
    deliver_and_wait(&hookbox, "push", "refused", body(closed_port()));
    let (outcome, detail) = only_attempt(&hookbox, event + 1);
    assert!(outcome == "retry" && detail.contains("Connection refused"), "{outcome} {detail}");
    assert_eq!(elsewhere.count(), 0, "no redirect is followed: what is sent carries secrets");
    stub.answer(Answer::Status(200));
    deliver_and_wait(&hookbox, "push", "last", body(stub.port()));
    assert_eq!(only_attempt(&hookbox, event + 2).0, "success");
    assert_eq!(hookbox.proc_status("Threads"), threads);
    hookbox.assert_peak_below(MEMORY_MIB);
}

#[test]
fn retry_after_is_obeyed_in_seconds_and_as_a_date() {
    let date =
        |seconds| httpdate::fmt_http_date(std::time::SystemTime::now() + std::time::Duration::from_secs(seconds));
    // With some minutes for the test itself on a slow machine.
    for (status, after, due_in_ms) in [
        (429, "1000.0".to_owned(), 700_000..1_000_001),
        (503, date(1000), 700_000..1_000_001),
        (500, "1000".to_owned(), 700_000..1_000_001),
        (500, "soon".to_owned(), -300_000..300_000),
    ] {
        let stub = Stub::http();
        stub.answer(Answer::header(status, "Retry-After", &after));
        let hookbox = Home::with_config(&config(&patient(&stub))).start();
        hookbox.deliver("push", "d-1", "{}");
        // Neither while the next attempt runs, which is due soon if Retry-After is ignored.
        let due_ms = wait_longer_for("a retry", JOB_DEADLINE, || {
            let job = job(&hookbox, 1, "it");
            job["held_until_ms"].as_i64().or(job["due_at_ms"].as_i64().filter(|due_ms| *due_ms > 0))
        });
        let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
        assert!(due_in_ms.contains(&(due_ms - now_ms)), "{after}: in {} ms", due_ms - now_ms);
    }
}

fn patient(stub: &Stub) -> String {
    let url = stub.url("/");
    format!("[actions.it]\nkind = \"http\"\non = [\"*\"]\nbackoff = \"100ms\"\nbackoff_max = \"1h\"\nurl = \"{url}\"\n")
}

#[test]
fn a_kept_connection_closed_by_the_destination_uses_up_no_attempt() {
    let stub = Stub::http();
    stub.answer(Answer::KeepAWhile);
    let hookbox = to(&stub, "").start();
    for n in 1..=5 {
        deliver_and_wait(&hookbox, "push", &format!("d-{n}"), "{}");
        assert_eq!(only_attempt(&hookbox, n).0, "success");
        // Longer than the stub keeps an idle connection.
        std::thread::sleep(std::time::Duration::from_millis(60));
    }
}

#[test]
fn a_certificate_must_be_of_a_trusted_authority_for_the_host_and_not_expired() {
    let (root, identity) = authority("localhost");
    let (other_root, for_another_host) = authority("elsewhere.test");
    let (old_root, of_another_time) = expired("localhost");
    let (good, wrong_host) = (Stub::https(&identity), Stub::https(&for_another_host));
    let too_late = Stub::https(&of_another_time);
    let attempt = |stub: &Stub, ca: &str| {
        let keys = format!("url = \"{}\"\nattempts = 1\n{ca}", stub.url("/"));
        let home = with("http", &keys);
        home.write("root.pem", &root);
        home.write("other.pem", &other_root);
        home.write("old.pem", &old_root);
        let hookbox = home.start();
        deliver_and_wait(&hookbox, "push", "d-1", "{}");
        only_attempt(&hookbox, 1)
    };
    assert_eq!(attempt(&good, "ca_file = \"root.pem\"").0, "success");
    for (stub, ca) in [
        (&good, ""),
        (&good, "ca_file = \"other.pem\""),
        (&wrong_host, "ca_file = \"other.pem\""),
        (&too_late, "ca_file = \"old.pem\""),
    ] {
        let (outcome, detail) = attempt(stub, ca);
        assert_eq!(outcome, "retry", "{detail}");
        assert!(detail.contains("certificate"), "{detail}");
    }
    let refused = wrong_host.count() + too_late.count();
    assert_eq!((good.count(), refused), (1, 0), "nothing was sent to an untrusted server");
    let (outcome, detail) = attempt(&Stub::http(), "");
    assert_eq!(outcome, "success", "{detail}");
}

#[test]
fn a_destination_without_tls_is_a_failed_attempt() {
    let stub = Stub::http();
    let url = stub.url("/").replace("http:", "https:");
    let hookbox = with("http", &format!("url = \"{url}\"\nattempts = 1\ntimeout = \"2s\"")).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    assert_eq!(only_attempt(&hookbox, 1).0, "retry");
    assert_eq!(stub.count(), 0);
}

#[test]
fn a_ca_file_without_a_certificate_is_refused_at_the_start() {
    let home = with("http", "url = \"https://example.org\"\nca_file = \"empty.pem\"");
    home.start_in_vain().refused(2, &["actions.it", "ca_file", "empty.pem"]);
    home.write("empty.pem", "nothing");
    home.start_in_vain().refused(2, &["actions.it", "ca_file", "no certificate"]);
    home.run(["check"]).refused(2, &["1 problem"]);
}

#[test]
fn no_error_shows_a_secret_url() {
    for rest in
        ["/hooks/s3cret", "[::1/s3cret", "127.0.0.1:1/s3cret?a b", ":1/s3cret", "@/s3cret", "a:s3cret@127.0.0.1:1/"]
    {
        let url = &format!("http://{rest}");
        let home = with("http", "url = \"env:URL\"\nattempts = 1").env("URL", url);
        let hookbox = home.start();
        deliver_and_wait(&hookbox, "push", "d-1", "{}");
        wait_for_state(&hookbox, 1, "it", "dead");
        let told = hookbox.stderr() + &super::show(&hookbox, 1).to_string() + &super::done(&hookbox, "check --event 1");
        assert!(!told.contains("s3cret"), "{told}");
    }
}

#[test]
fn an_invalid_url_from_the_environment_is_refused_at_the_start_and_not_shown() {
    let home = with("http", "url = \"env:URL\"").env("URL", "hooks.example.org/s3cret");
    let output = home.start_in_vain();
    output.refused(2, &["actions.it", "url", "http://"]);
    assert!(!output.stderr.contains("s3cret"), "{output}");
}

#[test]
fn the_largest_body_is_sent_without_being_parsed() {
    let stub = Stub::http();
    let hookbox = to(&stub, "").start();
    // Small values cost most once they are read: 25 MB would become a gigabyte.
    let body = format!("[{}0]", "1,".repeat((25 << 19) - 2));
    deliver_and_wait(&hookbox, "push", "d-1", &body);
    assert!(stub.first().text() == body);
    hookbox.assert_peak_below(200);
}

#[test]
fn up_to_concurrency_requests_run_at_once() {
    let stub = Stub::http();
    let hookbox = to(&stub, "concurrency = 3").start();
    stub.answer(Answer::Hang);
    for n in 0..5 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    stub.wait_for(3);
    hookbox.deliver("push", "d-5", "{}");
    assert_eq!(stub.count(), 3, "none of them has an answer yet");
}
