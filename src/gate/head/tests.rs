#![allow(clippy::panic)]

use super::*;
use crate::http::blocks::{Blocks, Budget};
use crate::http::bodies::Bodies;

const MAX_BODY_BYTES: u64 = 1000;

/// Parses `text` as a connection does.
fn fault_or_head(text: &[u8]) -> Result<Head, Fault> {
    let end = find_end(text, &mut 0)?.ok_or(Refusal::NotInTime)?;
    parse(&text[..end], MAX_BODY_BYTES)
}

fn parse_whole(text: &[u8]) -> Result<Head, Refusal> {
    fault_or_head(text).map_err(|fault| fault.refusal)
}

/// What upstream is sent, without the lines of [`Head::complete`].
fn forwarded(text: &[u8]) -> String {
    let head = fault_or_head(text).unwrap_or_else(|fault| panic!("{fault}: {}", text.escape_ascii()));
    String::from_utf8(head.forward).unwrap_or_else(|error| panic!("{error}"))
}

fn post(headers: &str) -> Result<Head, Refusal> {
    parse_whole(format!("POST /x HTTP/1.1\r\nHost: h\r\n{headers}\r\n").as_bytes())
}

fn refusal(result: Result<Head, Refusal>) -> Option<Refusal> {
    result.err()
}

#[test]
fn a_head_is_rewritten_for_upstream() -> Result<(), Refusal> {
    let text = b"\r\nPOST /a?b=%20 HTTP/1.1\r\nhost:h:1 \r\nConnection: X-Hop , keep-alive,X-Forwarded-For\r\nX-Forwarded-For: 1\r\n\
        X-Gate-Peer: 1.2.3.4\r\nX-Gate-Body: 6\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nTE: gzip\r\nKeep-Alive: 5\r\nA: one\ttwo\r\nExpect: 100-continue\r\nA:\r\n\
        Transfer-Encoding: Chunked\r\n\r\n";
    let head = parse_whole(text)?;
    assert_eq!(head.framing, Framing::Chunked);
    assert!(head.expects_continue && !head.closes && !head.is_head);
    let body = Bodies::default().add(Blocks::new(&Budget::default()));
    let written = head.complete(Some(&body), Peer::Tcp(([203, 0, 113, 9], 4711).into()));
    let expected = "POST /a?b=%20 HTTP/1.1\r\nhost: h:1\r\nX-Forwarded-For: 1\r\nA: one\ttwo\r\nA: \r\nX-Gate-Body: 1\r\n\
                    X-Gate-Peer: 203.0.113.9:4711\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&written), expected);
    Ok(())
}

#[test]
fn malformed_request_lines_are_refused() {
    let lines: [&[u8]; 16] = [
        b"",
        b"GET",
        b"GET ",
        b" GET / HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET /a b HTTP/1.1",
        b"GET /a\tb HTTP/1.1",
        b"G@T / HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET gate HTTP/1.1",
        b"GET ftp://h/ HTTP/1.1",
        b"CONNECT h:443 HTTP/1.1",
        b"G\xc3\xa4T / HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/1.1\r\n folded: request line",
    ];
    for line in lines {
        let text = [line, b"\r\nHost: h\r\n\r\n"].concat();
        assert_eq!(refusal(parse_whole(&text)), Some(Refusal::Malformed), "{}", String::from_utf8_lossy(line));
    }
}

#[test]
fn other_versions_of_http_are_refused_as_such() {
    for text in ["GET /", "GET / HTTP/0.9", "GET / HTTP/1.2", "GET / HTTP/2.0", "PRI * HTTP/2.0"] {
        let text = format!("{text}\r\n\r\n");
        assert_eq!(refusal(parse_whole(text.as_bytes())), Some(Refusal::UnsupportedVersion), "{text}");
    }
}

#[test]
fn any_method_that_is_a_token_is_forwarded() {
    for method in ["GET", "TRACE", "CONNECT", "PROPFIND", "X-Y"] {
        assert!(parse_whole(format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).is_ok(), "{method}");
    }
}

#[test]
fn bytes_that_parsers_disagree_on_are_refused_anywhere_in_the_head() {
    let heads: [&[u8]; 9] = [
        b"GET / HTTP/1.1\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\n",
        b"GET / HTTP/1.1\rHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\x7f\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\xc3\xa4: 1\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    for head in heads {
        assert_eq!(refusal(parse_whole(head)), Some(Refusal::Malformed), "{}", String::from_utf8_lossy(head));
    }
}

#[test]
fn such_bytes_are_refused_before_the_head_is_complete() {
    for beginning in [&b"GET / HTTP/1.1\n"[..], b"GET / HTTP/1.1\r\nA: \x7fc3", b"\x16\x03\x01"] {
        assert!(find_end(beginning, &mut 0).is_err_and(|fault| fault.refusal == Refusal::Malformed));
    }
}

#[test]
fn malformed_headers_are_refused() {
    let lines = ["X : 1", " X: 1", "A: 1\r\n folded: 1", "A: 1\r\n\tfolded", ": 1", "A", "A B: 1", "A(: 1", "\"A\": 1"];
    for line in lines.iter().chain(&["Host: again"]) {
        assert_eq!(refusal(post(&format!("{line}\r\n"))), Some(Refusal::Malformed), "{line}");
    }
}

#[test]
fn bytes_above_127_are_escaped_in_the_target_and_in_values() {
    let text = b"GET /\xc3\xa4?\xfc=%7f HTTP/1.1\r\nHost: h\r\ncf-ipcity: M\xfcnsingen \xa0\r\n\r\n";
    let expected = "GET /\x7fc3\x7fa4?\x7ffc=%7f HTTP/1.1\r\nHost: h\r\ncf-ipcity: M\x7ffcnsingen \x7fa0\r\n";
    assert_eq!(forwarded(text), expected);
}

#[test]
fn an_offer_to_upgrade_is_ignored() {
    let offers = [
        "Connection: upgrade\r\n",
        "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\nUpgrade: h2c\r\n",
        "Upgrade: \"ü\"/1, h2c\r\nUpgrade: again\r\n",
    ];
    for offer in offers {
        let text = format!("POST /x HTTP/1.1\r\nHost: h\r\n{offer}A: 1\r\n\r\n");
        assert_eq!(forwarded(text.as_bytes()), "POST /x HTTP/1.1\r\nHost: h\r\nA: 1\r\n", "{offer}");
        assert!(parse_whole(text.as_bytes()).is_ok_and(|head| !head.closes), "{offer}");
    }
    assert!(post("Connection: upgrade, close\r\nUpgrade: h2c\r\n").is_ok_and(|head| head.closes));
}

#[test]
fn the_authority_of_an_absolute_target_is_the_host() {
    for host in ["Host: other\r\n", "A: 1\r\nhost:\r\n"] {
        let text = format!("POST http://me:pw@h:1?a HTTP/1.1\r\n{host}\r\n");
        let expected =
            format!("POST /?a HTTP/1.1\r\nHost: h:1\r\n{}", if host.starts_with('A') { "A: 1\r\n" } else { "" });
        assert_eq!(forwarded(text.as_bytes()), expected, "{host}");
    }
    assert_eq!(forwarded(b"GET HTTPS://h/x HTTP/1.0\r\n\r\n"), "GET /x HTTP/1.1\r\nHost: h\r\nX-Gate-Version: 1.0\r\n");
    for hosts in ["", "Host: h\r\nHost: h\r\n"] {
        let text = format!("GET http://h/ HTTP/1.1\r\n{hosts}\r\n");
        assert_eq!(refusal(parse_whole(text.as_bytes())), Some(Refusal::Malformed), "{hosts}");
    }
}

#[test]
fn a_fault_names_the_rule_and_the_field() {
    for (headers, expected) in [
        (
            "Content-Length: 1\r\ncontent-length: 1\r\n",
            "malformed request: a field sent more than once (Content-Length)",
        ),
        ("Content-Length: x\r\n", "malformed request: a length that is not a number (Content-Length)"),
        ("Content-Length: 1001\r\n", "body too large: larger than max_body (Content-Length)"),
        (
            "Transfer-Encoding: gzip\r\n",
            "malformed request: a transfer coding other than chunked in HTTP/1.1 (Transfer-Encoding)",
        ),
        ("Host: h\r\n", "malformed request: a field sent more than once (Host)"),
        ("Expect: tea\r\n", "unknown expectation (Expect)"),
        ("X-A: secret\r\n folded\r\n", "malformed request: a line that continues another (folding) (X-A)"),
        ("X-A : secret\r\n", "malformed request: a header line that is not NAME: VALUE (X-A)"),
    ] {
        let text = format!("POST /x HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        assert_eq!(fault_or_head(text.as_bytes()).err().map(|fault| fault.to_string()).as_deref(), Some(expected));
    }
}

#[test]
fn one_empty_line_before_a_request_is_ignored() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    assert!(parse_whole(format!("\r\n{request}").as_bytes()).is_ok());
    assert!(parse_whole(format!("\r\n\r\n{request}").as_bytes()).is_err());
    assert!(!has_begun(b"") && !has_begun(b"\r") && !has_begun(b"\r\n"));
    assert!(has_begun(b"G") && has_begun(b"\r\nG"));
}

#[test]
fn http_1_1_needs_a_host_and_http_1_0_does_not() {
    assert_eq!(refusal(parse_whole(b"GET / HTTP/1.1\r\n\r\n")), Some(Refusal::Malformed));
    assert!(parse_whole(b"GET / HTTP/1.0\r\n\r\n").is_ok_and(|head| head.closes));
    let kept = parse_whole(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(kept.is_ok_and(|head| head.closes));
}

#[test]
fn exactly_one_valid_length_is_accepted() {
    let framing = |headers: &str| post(headers).map(|head| head.framing);
    assert_eq!(framing(""), Ok(Framing::Length(0)));
    assert_eq!(framing("Content-Length: 1000\r\n"), Ok(Framing::Length(MAX_BODY_BYTES)));
    assert_eq!(framing("transfer-encoding: chunked\r\n"), Ok(Framing::Chunked));
    let malformed = [
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ];
    for headers in malformed {
        assert_eq!(framing(headers), Err(Refusal::Malformed), "{headers}");
    }
    for length in ["1001", "40000000000", "18446744073709551616", "99999999999999999999999999"] {
        assert_eq!(framing(&format!("Content-Length: {length}\r\n")), Err(Refusal::BodyTooLarge), "{length}");
    }
    let old = parse_whole(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(refusal(old), Some(Refusal::Malformed));
}

#[test]
fn only_100_continue_is_accepted_as_expectation() {
    assert_eq!(refusal(post("Expect: 200-ok\r\n")), Some(Refusal::UnknownExpectation));
    assert!(post("Expect: 100-Continue\r\n").is_ok_and(|head| head.expects_continue));
    let old = parse_whole(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
    assert!(old.is_ok_and(|head| !head.expects_continue));
}

#[test]
fn more_than_64_headers_are_refused() {
    let headers = |count: usize| "A: 1\r\n".repeat(count - 1);
    assert!(post(&headers(MAX_HEADERS)).is_ok());
    assert_eq!(refusal(post(&headers(MAX_HEADERS + 1))), Some(Refusal::HeadTooLarge));
}

#[test]
fn the_end_of_a_head_is_found_however_its_bytes_arrive() {
    let text = b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\nbody \x00\n";
    let head_bytes = text.len() - b"body \x00\n".len();
    let mut checked_bytes = 0;
    for length in 0..head_bytes {
        assert_eq!(find_end(&text[..length], &mut checked_bytes), Ok(None), "{length}");
    }
    assert_eq!(find_end(text, &mut checked_bytes), Ok(Some(head_bytes)));
    assert_eq!(find_end(text, &mut 0), Ok(Some(head_bytes)));
}

#[test]
fn a_head_with_any_byte_changed_is_refused_or_stays_one_request_without_a_length() {
    let good = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nA: b\r\n\r\n";
    for at in 0..good.len() {
        for byte in 0..=255 {
            let mut changed = good.to_vec();
            changed[at] = byte;
            let Ok(head) = parse_whole(&changed) else { continue };
            // An escape is for upstream only: the gate itself refuses it.
            let written = String::from_utf8_lossy(&head.complete(None, Peer::Unix)).replace('\x7f', "%");
            let again = parse_whole(written.as_bytes());
            assert!(again.is_ok_and(|head| head.framing == Framing::Length(0)), "{written}");
        }
    }
}
