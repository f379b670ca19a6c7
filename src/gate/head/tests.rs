use super::*;

const MAX_BODY_BYTES: u64 = 1000;

/// Judges `text` as a connection would: all of it or nothing.
fn judge(text: &[u8]) -> Result<Head, Refusal> {
    let end = find_end(text, &mut 0)?.ok_or(Refusal::NotInTime)?;
    parse(&text[..end], MAX_BODY_BYTES)
}

fn post(headers: &str) -> Result<Head, Refusal> {
    judge(format!("POST /x HTTP/1.1\r\nHost: h\r\n{headers}\r\n").as_bytes())
}

fn refusal(result: Result<Head, Refusal>) -> Option<Refusal> {
    result.err()
}

#[test]
fn a_head_is_written_anew() -> Result<(), Refusal> {
    let text = b"\r\nPOST /a?b=%20 HTTP/1.1\r\nhost:h:1 \r\nConnection: X-Hop , keep-alive,X-Forwarded-For\r\nX-Forwarded-For: 1\r\n\
        X-Gate-Peer: 1.2.3.4\r\nTE: gzip\r\nKeep-Alive: 5\r\nA: one\ttwo\r\nExpect: 100-continue\r\nA:\r\n\
        Transfer-Encoding: Chunked\r\n\r\n";
    let head = judge(text)?;
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
        assert_eq!(refusal(judge(&text)), Some(Refusal::Malformed), "{}", String::from_utf8_lossy(line));
    }
}

#[test]
fn other_versions_are_told_so() {
    for text in ["GET /", "GET / HTTP/0.9", "GET / HTTP/1.2", "GET / HTTP/2.0", "PRI * HTTP/2.0"] {
        let text = format!("{text}\r\n\r\n");
        assert_eq!(refusal(judge(text.as_bytes())), Some(Refusal::UnsupportedVersion), "{text}");
    }
}

#[test]
fn any_method_that_is_a_token_may_pass() {
    for method in ["GET", "TRACE", "CONNECT", "PROPFIND", "X-Y"] {
        assert!(judge(format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).is_ok(), "{method}");
    }
}

#[test]
fn what_parsers_disagree_on_is_refused_anywhere_in_the_head() {
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
        assert_eq!(refusal(judge(head)), Some(Refusal::Malformed), "{}", String::from_utf8_lossy(head));
    }
}

#[test]
fn it_is_refused_at_once_not_when_the_head_ends() {
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
fn one_empty_line_may_stand_before_a_request() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    assert!(judge(format!("\r\n{request}").as_bytes()).is_ok());
    assert!(judge(format!("\r\n\r\n{request}").as_bytes()).is_err());
    assert!(!has_begun(b"") && !has_begun(b"\r") && !has_begun(b"\r\n"));
    assert!(has_begun(b"G") && has_begun(b"\r\nG"));
}

#[test]
fn http_1_1_names_its_host_and_http_1_0_need_not() {
    assert_eq!(refusal(judge(b"GET / HTTP/1.1\r\n\r\n")), Some(Refusal::Malformed));
    assert!(judge(b"GET / HTTP/1.0\r\n\r\n").is_ok_and(|head| head.closes));
    let kept = judge(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(kept.is_ok_and(|head| head.closes));
}

#[test]
fn the_body_ends_in_one_way_only() {
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
    let old = judge(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(refusal(old), Some(Refusal::Malformed));
}

#[test]
fn only_one_expectation_is_known() {
    assert_eq!(refusal(post("Expect: 200-ok\r\n")), Some(Refusal::UnknownExpectation));
    assert!(post("Expect: 100-Continue\r\n").is_ok_and(|head| head.expects_continue));
    let old = judge(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
    assert!(old.is_ok_and(|head| !head.expects_continue));
}

#[test]
fn sixty_four_headers_are_the_most() {
    let headers = |count: usize| "A: 1\r\n".repeat(count - 1);
    assert!(post(&headers(MAX_HEADERS)).is_ok());
    assert_eq!(refusal(post(&headers(MAX_HEADERS + 1))), Some(Refusal::HeadTooLarge));
}

#[test]
fn the_end_is_found_however_the_bytes_arrive() {
    let text = b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\nbody \x00\n";
    let head_bytes = text.len() - b"body \x00\n".len();
    let mut judged_bytes = 0;
    for length in 0..head_bytes {
        assert_eq!(find_end(&text[..length], &mut judged_bytes), Ok(None), "{length}");
    }
    assert_eq!(find_end(text, &mut judged_bytes), Ok(Some(head_bytes)));
    assert_eq!(find_end(text, &mut 0), Ok(Some(head_bytes)));
}

#[test]
fn no_bytes_whatever_are_taken_for_something_they_are_not() {
    // Every single-byte change of a good head is either refused or still one request with one length.
    let good = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nA: b\r\n\r\n";
    for at in 0..good.len() {
        for byte in 0..=255 {
            let mut changed = good.to_vec();
            changed[at] = byte;
            let Ok(head) = judge(&changed) else { continue };
            let written = head.complete(5, Peer::Unix);
            let again = judge(&written);
            assert!(
                again.is_ok_and(|head| head.framing == Framing::Length(5)),
                "{}",
                String::from_utf8_lossy(&written)
            );
        }
    }
}
