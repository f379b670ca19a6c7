//! `hookbox forward`.

use super::{config, deliver_and_wait, done};
use crate::support::{Answer, Home, Hookbox, Request, SECRET, Stub, closed_port, sign_github};

const BODY: &str = "{ \"b\" : 1.50,\n\"a\":\"\\u00e9 \u{e9}\" }";

fn one_event() -> Hookbox {
    let hookbox = Home::with_config(&config("[actions]\n")).start();
    let request = Request::github("issues", "d-1", BODY).header("Authorization", "Basic aHVzaA==");
    assert_eq!(hookbox.send(&request).status, 200);
    hookbox
}

#[test]
fn forward_sends_the_exact_body_and_headers_and_prints_the_answer() {
    let stub = Stub::http();
    stub.answer(Answer::body(202, "thanks\n\u{1b}[31mred"));
    let hookbox = one_event();
    let printed = done(&hookbox, &format!("forward 1 {}", stub.url("/here?a=b")));
    assert_eq!(printed, "202 Accepted\nthanks\n?[31mred\n");
    let received = stub.first();
    assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/here?a=b"));
    assert_eq!(received.text(), BODY);
    assert_eq!(received.header("X-Hub-Signature-256"), Some(sign_github(SECRET, BODY.as_bytes()).as_str()));
    assert_eq!(received.header("X-GitHub-Event"), Some("issues"));
    assert_eq!(received.header("Content-Type"), Some("application/json"));
    assert_eq!(received.header("Authorization"), None);
    assert_eq!(super::status(&hookbox, 1), "unprocessed", "nothing is changed");
}

#[test]
fn forward_fails_if_the_destination_does_not_accept() {
    let stub = Stub::http();
    let hookbox = one_event();
    for (answer, word) in [(Answer::body(500, "oops"), "500"), (Answer::header(301, "Location", "/"), "301")] {
        stub.answer(answer);
        let output = hookbox.run(["forward", "1", &stub.url("/")]);
        output.refused(1, &["did not accept it"]);
        assert!(output.text().starts_with(word), "{output}");
    }
    hookbox.run(["forward", "1", &format!("http://127.0.0.1:{}/", closed_port())]).refused(1, &["refused"]);
    hookbox.run(["forward", "9", &stub.url("/")]).refused(1, &["no event 9"]);
    hookbox.run(["forward", "1"]).refused(2, &["URL"]);
    hookbox.run(["forward", "1", "no url"]).refused(2, &["no url"]);
}

#[test]
fn forward_prints_the_beginning_of_a_long_answer() {
    let stub = Stub::http();
    let hookbox = one_event();
    for answer in [Answer::body(200, &"x".repeat(1 << 20)), Answer::Endless] {
        stub.answer(answer);
        let printed = done(&hookbox, &format!("forward 1 {}", stub.url("/")));
        assert!(printed.starts_with("200 OK\nxxxx") && printed.len() < 70_000, "{} bytes", printed.len());
    }
}

#[test]
fn a_forwarded_event_is_verified_and_stored_by_another_hookbox() {
    let (here, there) = (one_event(), Home::new().start());
    done(&here, &format!("forward 1 {}", there.url("/webhooks/github")));
    deliver_and_wait(&there, "push", "d-2", "{}");
    let stored = there.query::<String>("SELECT payload_json FROM webhook_events WHERE delivery_id = 'd-1'");
    assert_eq!(stored, [BODY]);
}
