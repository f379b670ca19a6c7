use super::*;

const MAX_BODY_BYTES: u64 = 1000;

/// Parses `text` as a connection does.
fn parse_whole(text: &[u8]) -> Result<Head, Refusal> {
    let end = find_end(text, &mut 0)?.ok_or(Refusal::NotInTime)?;
    parse(&text[..end], MAX_BODY_BYTES)
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
        X-Gate-Peer: 1.2.3.4\r\nTE: gzip\r\nKeep-Alive: 5\r\nA: one\ttwo\r\nExpect: 100-continue\r\nA:\r\n\
        Transfer-Encoding: Chunked\r\n\r\n";
    let head = parse_whole(text)?;
    assert_eq!(head.framing, Framing::Chunked);
    assert!(head.expects_continue && !head.closes && !head.is_head);
    let written = head.complete(7, Peer::Tcp(([203, 0, 113, 9], 4711).into()));
    let expected = "POST /a?b=%20 HTTP/1.1\r\nhost: h:1\r\nX-Forwarded-For: 1\r\nA: one\ttwo\r\nA: \r\nContent-Length: 7\r\n\
                    X-Gate-Peer: 203.0.113.9:4711\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&written), expected);
    Ok(())
}

#[test]
fn malformed_request_lines_are_refused() {
    let lines: [&[u8]; 15] = [
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
        b"OPTIONS * HTTP/1.1",
        b"GET http://h/ HTTP/1.1",
        b"CONNECT h:443 HTTP/1.1",
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
    let heads: [&[u8]; 10] = [
        b"GET / HTTP/1.1\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\n",
        b"GET / HTTP/1.1\rHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\x7f\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\xc3\xa4\r\n\r\n",
        b"GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    for head in heads {
        assert_eq!(refusal(parse_whole(head)), Some(Refusal::Malformed), "{}", String::from_utf8_lossy(head));
    }
}

#[test]
fn such_bytes_are_refused_before_the_head_is_complete() {
    assert_eq!(find_end(b"GET / HTTP/1.1\n", &mut 0), Err(Refusal::Malformed));
    assert_eq!(find_end(b"\x16\x03\x01", &mut 0), Err(Refusal::Malformed), "a TLS hello");
}

#[test]
fn malformed_headers_are_refused() {
    let lines = ["X : 1", " X: 1", "A: 1\r\n folded: 1", "A: 1\r\n\tfolded", ": 1", "A", "A B: 1", "A(: 1", "\"A\": 1"];
    for line in lines.iter().chain(&["Host: again", "Upgrade: h2c", "Connection: upgrade", "Connection: a, Upgrade"]) {
        assert_eq!(refusal(post(&format!("{line}\r\n"))), Some(Refusal::Malformed), "{line}");
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
fn a_head_with_any_byte_changed_is_refused_or_stays_one_request_of_one_length() {
    let good = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nA: b\r\n\r\n";
    for at in 0..good.len() {
        for byte in 0..=255 {
            let mut changed = good.to_vec();
            changed[at] = byte;
            let Ok(head) = parse_whole(&changed) else { continue };
            let written = head.complete(5, Peer::Unix);
            let again = parse_whole(&written);
            assert!(
                again.is_ok_and(|head| head.framing == Framing::Length(5)),
                "{}",
                String::from_utf8_lossy(&written)
            );
        }
    }
}
