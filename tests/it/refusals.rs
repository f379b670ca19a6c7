//! Every refused request can be diagnosed, whether the gate or the receiver refuses it: rule, field, path and client are in
//! the log, in `hookbox stats`, on the page and in `doctor`, and are counted by reason.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Address, Home, Hookbox, Request, SOURCE, closed_port};

const SECRET_VALUE: &str = "hush-hush";

/// A server whose admin listener is the one of its config, so that `stats` and `doctor` find it.
fn start() -> (Hookbox, Address) {
    let port = closed_port();
    let config = format!(
        "trusted_proxies = [\"127.0.0.1\"]\nmax_body = \"1KiB\"\n{SOURCE}[admin]\nlisten = \"127.0.0.1:{port}\"\ntoken = \"none\"\n"
    );
    let hookbox = Home::with_config(&config).admin(None).start();
    (hookbox, Address::Tcp(([127, 0, 0, 1], port).into()))
}

/// A head with this line, from a client behind a proxy. Its query and its other fields must not be shown.
fn head(line: &str) -> String {
    format!(
        "POST /webhooks/github?token={SECRET_VALUE} HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\n\
         Authorization: {SECRET_VALUE}\r\n{line}\r\n\r\n"
    )
}

#[track_caller]
fn status_of(hookbox: &Hookbox, bytes: &[u8]) -> u16 {
    let mut connection = hookbox.connect();
    connection.send_lossy(bytes);
    connection.response().status
}

fn overview(admin: &Address) -> Value {
    let answer = admin.send(&Request::get("/api/stats").with("Host", "localhost"));
    serde_json::from_slice(&answer.body).unwrap()
}

/// Line, status, reason, and what is said about it.
const BROKEN: [(&str, u16, &str, &str); 11] = [
    ("Content-Length: 1\r\nContent-Length: 1", 400, "malformed", "a field sent more than once (Content-Length)"),
    (
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        400,
        "malformed",
        "two lengths (Content-Length, Transfer-Encoding)",
    ),
    ("Content-Length: hush-hush", 400, "malformed", "a length that is not a number (Content-Length)"),
    ("X-A: hush-hush\r\n folded", 400, "malformed", "a line that continues another (folding) (X-A)"),
    ("X-A: hush-hush\nX-B: 1", 400, "malformed", "a line end without CR (X-A)"),
    ("X-A: hush-hush\rX-B: 1", 400, "malformed", "CR without a line end (X-A)"),
    ("X-A: hush-hush\x01", 400, "malformed", "a control character (X-A)"),
    ("X-A : hush-hush", 400, "malformed", "a header line that is not NAME: VALUE (X-A)"),
    ("Content-Length: 9999999", 413, "too_large", "body too large: larger than max_body (Content-Length)"),
    ("Expect: hush-hush", 417, "unknown_expectation", "unknown expectation (Expect)"),
    (
        "Transfer-Encoding: gzip",
        400,
        "malformed",
        "a transfer coding other than chunked in HTTP/1.1 (Transfer-Encoding)",
    ),
];

#[test]
fn a_refusal_of_the_gate_names_rule_field_path_and_client_everywhere() {
    let (hookbox, admin) = start();
    for (line, status, ..) in BROKEN {
        assert_eq!(status_of(&hookbox, head(line).as_bytes()), status, "{line}");
    }
    let chunked = head("Transfer-Encoding: chunked") + "x\r\n";
    assert_eq!(status_of(&hookbox, chunked.as_bytes()), 400);
    let chunk = ("", 400, "malformed", "a size that is not hexadecimal (a chunk's size)");
    let overview = overview(&admin);
    let latest = overview["rejects"].as_array().unwrap();
    let (stats, doctor) = (hookbox.run(["stats"]).ok().text(), hookbox.run(["doctor"]).text());
    for (line, _, reason, text) in BROKEN.into_iter().chain([chunk]) {
        let log = "rejected /webhooks/github from 203.0.113.9: ";
        hookbox.wait_for_stderr(text);
        assert!(
            hookbox.stderr().lines().any(|it| it.contains(log) && it.ends_with(text)),
            "{line}: {}",
            hookbox.stderr()
        );
        let found =
            latest.iter().find(|it| it["text"].as_str().unwrap().ends_with(text)).unwrap_or_else(|| panic!("{text}"));
        let found = ["source", "path", "reason", "peer"].map(|key| found[key].as_str().unwrap());
        assert_eq!(found, ["github", "/webhooks/github", reason, "203.0.113.9"], "{text}");
        assert!(stats.lines().any(|it| it.starts_with("  github: ") && it.contains(text)), "{text}: {stats}");
    }
    assert!(stats.contains("rejected since the server started: github 12\n"), "{stats}");
    assert!(stats.contains("by reason: malformed 10, too_large 1, unknown_expectation 1"), "{stats}");
    let line = doctor.lines().find(|line| line.contains("rejected github")).unwrap_or_else(|| panic!("{doctor}"));
    assert!(line.starts_with("warn") && line.contains("(a chunk's size)") && line.contains("11 more"), "{line}");
    for text in [&hookbox.stderr(), &stats, &doctor, &overview.to_string()] {
        assert!(!text.contains(SECRET_VALUE), "{text}");
    }
}

#[test]
fn refusals_are_counted_by_reason_under_the_source_that_the_alert_watches() {
    let (hookbox, admin) = start();
    for _ in 0..6 {
        status_of(&hookbox, head("Content-Length: 1\r\nContent-Length: 1").as_bytes());
    }
    status_of(&hookbox, b"\x16\x03\x01\x02");
    status_of(&hookbox, b"GET /x HTTP/2.0\r\n\r\n");
    let filler = format!("GET /long HTTP/1.1\r\nX-Filler: {}\r\n\r\n", "x".repeat(17_000));
    status_of(&hookbox, filler.as_bytes());
    let page = admin.send(&Request::get("/metrics").with("Host", "localhost")).text();
    for sample in [
        "hookbox_rejects_total{source=\"github\",reason=\"malformed\"} 6",
        "hookbox_deliveries_total{source=\"github\",outcome=\"rejected\"} 6",
        "hookbox_rejects_total{source=\"\",reason=\"malformed\"} 1",
        "hookbox_rejects_total{source=\"\",reason=\"unsupported_version\"} 1",
        "hookbox_rejects_total{source=\"\",reason=\"head_too_large\"} 1",
        "hookbox_refused_requests_total{listener=\"public\",status=\"400\"} 7",
    ] {
        assert!(page.lines().any(|line| line == sample), "no {sample} in\n{page}");
    }
    let overview = overview(&admin);
    let reasons = serde_json::json!({
        "": {"head_too_large": 1, "malformed": 1, "unsupported_version": 1}, "github": {"malformed": 6}
    });
    assert_eq!(overview["reject_reasons"], reasons);
    let hours: u64 = overview["hours"].as_array().unwrap().iter().map(|hour| hour["rejected"].as_u64().unwrap()).sum();
    assert_eq!(hours, 9);
    let stats = hookbox.run(["stats"]).ok().text();
    for part in [
        "github 6, no source 3",
        "  a request: malformed request: TLS",
        "  /x: HTTP/1.0",
        "  /long: request head too large: longer than 16 KiB (X-Filler)",
    ] {
        assert!(stats.contains(part), "no {part} in {stats}");
    }
    assert_eq!(hookbox.run(["stats", "--json"]).ok().json()["reject_reasons"], reasons);
    let doctor = hookbox.run(["doctor"]).text();
    let line =
        doctor.lines().find(|line| line.contains(" rejected ") && line.contains("for no source")).unwrap_or_default();
    assert!(line.starts_with("ok") && line.contains("X-Filler") && line.contains("2 more"), "{doctor}");
}

#[test]
fn a_receivers_refusals_name_the_field_too() {
    let (hookbox, _) = start();
    let request = Request::github("push", "d-1", "{}");
    for (request, status, words) in [
        (request.clone().header("Content-Encoding", "br"), 415, "Content-Encoding"),
        (request.clone().without("X-Hub-Signature-256"), 401, "header:X-Hub-Signature-256 is missing"),
        (request.clone().with("X-GitHub-Event", &"x".repeat(257)), 400, "the event type is too long"),
        (request.clone().method("PUT"), 405, "the method is not one of POST, HEAD"),
    ] {
        assert_eq!(hookbox.send(&request).status, status, "{words}");
        hookbox.wait_for_stderr(words);
        let stderr = hookbox.stderr();
        let line = stderr.lines().find(|line| line.contains(words)).unwrap_or_default();
        assert!(line.contains("rejected /webhooks/github from 127.0.0.1: "), "{line}");
    }
}

/// Nothing that a client chooses is kept or becomes a label, however much it varies.
#[test]
fn a_flood_of_refusals_is_bounded_in_log_list_and_metrics() {
    let (hookbox, admin) = start();
    let scrape = || admin.send(&Request::get("/metrics").with("Host", "localhost")).text();
    let before = scrape().lines().count();
    for number in 0..300 {
        let request = format!("GET /flood-{number} HTTP/1.1\r\nHost: h\r\nX-Flood-{number} : 1\r\n\r\n");
        assert_eq!(status_of(&hookbox, request.as_bytes()), 400);
    }
    let page = scrape();
    assert!(!page.to_lowercase().contains("flood") && page.lines().count() == before, "{page}");
    assert!(overview(&admin)["rejects"].as_array().unwrap().len() <= 20);
    let (_, output) = hookbox.stop();
    let named: BTreeSet<&str> = output.stderr.lines().filter(|line| line.contains("X-Flood-")).collect();
    assert_eq!(named.len(), 5, "{output}");
    assert!(output.stderr.contains("295 x a header line that is not NAME: VALUE"), "{output}");
}

#[test]
fn what_the_pages_gate_refuses_is_logged_and_counted() {
    let (hookbox, admin) = start();
    let mut connection = admin.connect();
    connection.send(b"GET /api/stats HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n");
    assert_eq!(connection.response().status, 400);
    hookbox.wait_for_stderr("the page refused /api/stats from 127.0.0.1");
    hookbox.wait_for_stderr("a field sent more than once (Host)");
    let page = admin.send(&Request::get("/metrics").with("Host", "localhost")).text();
    assert!(page.contains("hookbox_refused_requests_total{listener=\"admin\",status=\"400\"} 1"), "{page}");
}
