//! Invalid requests are rejected with the right status, are not stored, and leave the server alive.

use std::time::Duration;

use crate::support::{Connection, Home, Hookbox, Request, SECRET, SOURCE, needs_no_turn, sign_github};

const BODY: &str = r#"{"action":"opened"}"#;

fn delivery() -> Request {
    Request::github("issues", "d-1", BODY)
}

/// With a valid signature, so that it is rejected for another reason.
fn signed(body: impl AsRef<[u8]>) -> Request {
    Request::github("issues", "d-1", body)
}

#[track_caller]
fn assert_rejected(hookbox: &Hookbox, request: &Request, status: u16) {
    let response = hookbox.send(request);
    assert_eq!(response.status, status, "{}", response.text());
    assert!(response.text().trim_end().lines().count() <= 1, "one short line: {}", response.text());
    assert!(response.body.len() < 200, "one short line: {}", response.text());
    assert_nothing_happened(hookbox);
}

#[track_caller]
fn assert_nothing_happened(hookbox: &Hookbox) {
    assert_eq!(hookbox.stored(), 0);
    hookbox.assert_alive();
}

/// Sends bytes as they are; the status of the answer.
#[track_caller]
fn status_of(hookbox: &Hookbox, bytes: &[u8]) -> u16 {
    let mut connection = hookbox.connect();
    connection.send_lossy(bytes);
    connection.response().status
}

#[test]
fn no_such_path_is_404() {
    let hookbox = Home::new().start();
    for target in ["/", "/webhooks", "/webhooks/", "/webhooks/gitbub", "/webhooks/github/x", "/webhooks/..%2fgithub"] {
        assert_rejected(&hookbox, &delivery().target(target), 404);
    }
}

#[test]
fn a_wrong_method_is_405_and_says_which_is_right() {
    let hookbox = Home::new().start();
    for method in ["GET", "PUT", "DELETE"] {
        let response = hookbox.send(&delivery().method(method));
        assert_eq!((response.status, response.header("Allow")), (405, Some("POST, HEAD")), "{method}");
    }
    let response = hookbox.send(&Request::new("POST", "/healthz"));
    assert_eq!(response.status, 405);
    assert!(response.header("Allow").unwrap().contains("GET"));
    assert_nothing_happened(&hookbox);
}

#[test]
fn no_signature_is_401() {
    assert_rejected(&Home::new().start(), &delivery().without("X-Hub-Signature-256"), 401);
}

#[test]
fn a_wrong_signature_is_401_and_nothing_is_stored() {
    let hookbox = Home::new().start();
    assert_rejected(&hookbox, &delivery().signed_with("guessed"), 401);
    let right = sign_github(SECRET, BODY.as_bytes());
    let almost = format!("{}{}", &right[..right.len() - 1], if right.ends_with('0') { '1' } else { '0' });
    for signature in ["", "sha256=", "sha256=zz", "sha1=00", &almost, &right[..40], &right["sha256=".len()..]] {
        assert_rejected(&hookbox, &delivery().with("X-Hub-Signature-256", signature), 401);
    }
}

#[test]
fn the_right_signature_for_other_bytes_is_401() {
    let hookbox = Home::new().start();
    assert_rejected(&hookbox, &delivery().body(r#"{"action":"deleted"}"#), 401);
    assert_rejected(&hookbox, &delivery().body(format!("{BODY}\n")), 401);
}

#[test]
fn a_signature_with_an_empty_secret_is_401() {
    assert_rejected(&Home::new().start(), &delivery().signed_with(""), 401);
}

#[test]
fn two_different_signatures_are_refused_in_either_order() {
    let hookbox = Home::new().start();
    let wrong = sign_github("guessed", BODY.as_bytes());
    let right = sign_github(SECRET, BODY.as_bytes());
    for (first, second) in [(&wrong, &right), (&right, &wrong)] {
        let request = delivery().with("X-Hub-Signature-256", first).header("X-Hub-Signature-256", second);
        let status = hookbox.send(&request).status;
        assert!(matches!(status, 400 | 401), "{status}");
        assert_nothing_happened(&hookbox);
    }
}

#[test]
fn a_json_content_type_with_another_body_is_400() {
    let hookbox = Home::new().start();
    for body in ["hello", "{", "{} {}", "{'a':1}", r#"{"a":1,}"#, "NaN", "payload=%7B%7D"] {
        assert_rejected(&hookbox, &signed(body), 400);
    }
}

#[test]
fn an_empty_body_with_another_signature_is_401() {
    let hookbox = Home::new().start();
    assert_rejected(&hookbox, &signed("").signed_with("another"), 401);
    assert_rejected(&hookbox, &signed("").signed_with("another").chunked(), 401);
}

#[test]
fn invalid_utf_8_is_400() {
    assert_rejected(&Home::new().start(), &signed(b"{\"text\":\"\xff\xfe\"}"), 400);
}

#[test]
fn a_nul_byte_is_400_in_json_and_in_a_header() {
    let hookbox = Home::new().start();
    assert_rejected(&hookbox, &signed(b"{\"text\":\"a\0b\"}"), 400);
    assert_rejected(&hookbox, &delivery().with("X-GitHub-Delivery", "d\0e"), 400);
}

#[test]
fn nesting_128_deep_is_accepted_and_129_is_400() {
    let hookbox = Home::new().start();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_rejected(&hookbox, &signed(nested(129)), 400);
    assert_rejected(&hookbox, &signed(format!("{{\"a\":{}}}", nested(128))), 400);
    assert_eq!(hookbox.send(&signed(nested(128))).status, 200);
}

#[test]
fn nesting_10_000_deep_is_400() {
    let hookbox = Home::new().start();
    assert_rejected(&hookbox, &signed(format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))), 400);
    assert_rejected(&hookbox, &signed("[".repeat(10_000)), 400);
    assert_rejected(&hookbox, &signed(format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000))), 400);
}

#[test]
fn a_body_over_the_limit_is_413_with_and_without_a_length() {
    let hookbox = Home::with_config(&format!("max_body = \"10KiB\"\n{SOURCE}")).start();
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(10 * 1024));
    assert_rejected(&hookbox, &signed(&body), 413);
    assert_rejected(&hookbox, &signed(&body).chunked(), 413);
}

#[test]
fn a_body_at_the_limit_is_accepted() {
    let hookbox = Home::with_config(&format!("max_body = \"10KiB\"\n{SOURCE}")).start();
    let body = format!("\"{}\"", "x".repeat(10 * 1024 - 2));
    assert_eq!(hookbox.send(&signed(&body)).status, 200);
    assert_eq!(hookbox.send(&signed(&body).chunked()).status, 200);
}

#[test]
fn a_body_over_the_limit_is_413_even_if_the_sender_never_sends_it() {
    let hookbox = Home::new().start();
    for expect in [None, Some("100-continue")] {
        let mut request = delivery().with("Content-Length", "40000000000");
        if let Some(expect) = expect {
            request = request.header("Expect", expect);
        }
        assert_eq!(status_of(&hookbox, &request.head()), 413);
        assert_nothing_happened(&hookbox);
    }
}

#[test]
fn a_length_beyond_any_number_is_refused() {
    let hookbox = Home::new().start();
    let status = status_of(&hookbox, &delivery().with("Content-Length", "99999999999999999999999999").head());
    assert!(matches!(status, 400 | 413), "{status}");
    assert_nothing_happened(&hookbox);
}

#[test]
fn a_head_over_16_kib_is_431() {
    let hookbox = Home::new().start();
    assert_rejected(&hookbox, &delivery().header("X-Filler", &"x".repeat(17 * 1024)), 431);
    assert_rejected(&hookbox, &Request::get(&format!("/{}", "x".repeat(17 * 1024))), 431);
}

#[test]
fn an_endless_header_line_is_cut_off() {
    let hookbox = Home::new().start();
    let mut connection = hookbox.connect();
    connection.send(b"POST /webhooks/github HTTP/1.1\r\nX-Filler: ");
    // Until the program closes the connection: 64 MiB would have used as much memory.
    let cut = (0..4096).any(|_| connection.try_send(&[b'x'; 16 * 1024]).is_err());
    assert!(cut, "64 MiB of one header line were taken");
    assert_nothing_happened(&hookbox);
}

#[test]
fn an_id_or_event_type_of_256_bytes_is_accepted_and_of_257_is_400() {
    let hookbox = Home::new().start();
    for header in ["X-GitHub-Delivery", "X-GitHub-Event"] {
        assert_rejected(&hookbox, &delivery().with(header, &"x".repeat(257)), 400);
        assert_rejected(&hookbox, &delivery().with(header, &"x".repeat(10 * 1024)), 400);
    }
    let longest = "x".repeat(256);
    let request = delivery().with("X-GitHub-Delivery", &longest).with("X-GitHub-Event", &longest);
    assert_eq!(hookbox.send(&request).status, 200);
}

#[test]
fn control_characters_in_an_id_or_event_type_are_400() {
    let hookbox = Home::new().start();
    for header in ["X-GitHub-Delivery", "X-GitHub-Event"] {
        for value in ["a\tb", "a\u{1}b", "a\u{1b}[31mb", "a\u{7f}b"] {
            assert_rejected(&hookbox, &delivery().with(header, value), 400);
        }
    }
}

#[test]
fn a_name_or_method_that_is_not_ascii_is_400() {
    let hookbox = Home::new().start();
    assert_rejected(&hookbox, &delivery().header("X-Näme", "Zoe"), 400);
    assert_rejected(&hookbox, &delivery().method("PÖST"), 400);
    assert_rejected(&hookbox, &delivery().target("/webhooks/gïthub"), 404);
}

#[test]
fn contradictory_lengths_are_400() {
    let hookbox = Home::new().start();
    let both = delivery().header("Content-Length", "19").chunked();
    assert_rejected(&hookbox, &both, 400);
    let two = delivery().header("Content-Length", "19").header("Content-Length", "5");
    assert_rejected(&hookbox, &two, 400);
    for length in ["-1", "+19", "1 9", "0x13", "", "19, 19, 5"] {
        assert_rejected(&hookbox, &delivery().header("Content-Length", length), 400);
    }
}

#[test]
fn a_transfer_encoding_other_than_chunked_is_refused() {
    let hookbox = Home::new().start();
    for encoding in ["gzip", "gzip, chunked", "chunked, chunked", "xchunked", "chunked\x0b"] {
        let status = hookbox.send(&delivery().header("Transfer-Encoding", encoding)).status;
        assert!(matches!(status, 400 | 501), "{encoding}: {status}");
        assert_nothing_happened(&hookbox);
    }
}

#[test]
fn malformed_chunks_are_400() {
    let hookbox = Home::new().start();
    let head = delivery().chunked().head();
    let bodies: [&[u8]; 6] = [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n0\r\n\r\n",
        b"2\n{}\n0\n\n",
        b"2\r\n{}XX0\r\n\r\n",
        b"\r\n",
        b"ffffffffffffffffff\r\n",
    ];
    for body in bodies {
        let status = status_of(&hookbox, &[&head, body].concat());
        assert!(matches!(status, 400 | 413), "{}: {status}", String::from_utf8_lossy(body));
        assert_nothing_happened(&hookbox);
    }
}

#[test]
fn almost_http_is_400() {
    let hookbox = Home::new().start();
    let requests: [&[u8]; 9] = [
        b"hello\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/0.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: a\n\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting\r\n\r\n",
    ];
    for request in requests {
        let status = status_of(&hookbox, request);
        assert!(matches!(status, 400 | 505), "{}: {status}", String::from_utf8_lossy(request));
        assert_nothing_happened(&hookbox);
    }
}

/// Lasts as long as the program's deadline of 10 s, for all three cases at once.
#[test]
fn a_sender_that_stops_or_trickles_gets_408_and_delays_no_other() {
    needs_no_turn();
    let hookbox = Home::new().start();
    let bytes = delivery().bytes();
    let head_length = delivery().head().len();
    let start = |length: usize| {
        let mut connection = hookbox.connect();
        connection.send(&bytes[..length]);
        connection
    };
    let mut stopped_in_head = start(head_length - 10);
    let mut stopped_in_body = start(head_length + 5);
    let mut trickling = start(20);
    hookbox.assert_alive();
    let answer = trickle(&mut trickling, &bytes[20..]);
    assert_eq!(answer, 408, "a byte now and then");
    assert_eq!(stopped_in_head.response().status, 408, "stopped in the head");
    assert_eq!(stopped_in_body.response().status, 408, "stopped in the body");
    for part in ["the head", "the body"] {
        let line = format!("rejected /webhooks/github from 127.0.0.1: request not complete in time ({part})");
        hookbox.wait_for_stderr(&line);
    }
    assert_nothing_happened(&hookbox);
}

/// Sends a byte at a time until the program closes the connection.
fn trickle(connection: &mut Connection, bytes: &[u8]) -> u16 {
    for byte in bytes.iter().take(100) {
        if connection.try_send(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    connection.response().status
}

#[test]
fn an_interrupted_delivery_is_not_stored() {
    let hookbox = Home::new().start();
    let bytes = delivery().bytes();
    for length in [0, 1, 40, bytes.len() - 5, bytes.len() - 1] {
        let mut connection = hookbox.connect();
        connection.send(&bytes[..length]);
    }
    // A chunked body whose sender goes away before the last chunk is no whole body.
    let mut connection = hookbox.connect();
    connection.send(delivery().chunked().bytes().strip_suffix(b"0\r\n\r\n").unwrap());
    connection.finish_sending();
    let _ = connection.rest();
    assert_nothing_happened(&hookbox);
}

#[test]
fn a_sender_that_reads_no_answer_delays_no_other() {
    let hookbox = Home::new().start();
    let mut deaf = hookbox.connect();
    deaf.read_little_at_a_time();
    deaf.limit_sending(Duration::from_millis(200));
    // Until the answers have filled all buffers between us.
    let requests = Request::get("/nowhere").bytes().repeat(100);
    let _ = (0..50).any(|_| deaf.try_send(&requests).is_err());
    assert_nothing_happened(&hookbox);
    assert_eq!(hookbox.send(&delivery()).status, 200);
}

#[test]
fn rejections_leak_nothing() {
    let hookbox = Home::new().start();
    let requests = [delivery().signed_with("guessed"), signed("{"), delivery().target("/webhooks/nosuch")];
    for request in requests {
        let text = hookbox.send(&request).text();
        let expected = sign_github(SECRET, BODY.as_bytes());
        for leak in [SECRET, &expected["sha256=".len()..], "webhooks.db", "src/"] {
            assert!(!text.contains(leak), "{text}");
        }
        assert!(!hookbox.stderr().contains(SECRET));
        assert!(!hookbox.stdout().contains(SECRET));
    }
}
