//! One large body, which anyone can send, delays nobody else. It is verified and checked in one pass, on another thread.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::deliver_during;
use crate::support::{Home, Hookbox, Request, SOURCE, Signal, take_turn_nearly_alone};

/// Half of what is taken by default, because a build for tests reads slowly.
const BODY_BYTES: usize = 12 << 20;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";

/// `filling`, repeated to the size, between the two others.
fn filled(beginning: &str, filling: &str, end: &str) -> Vec<u8> {
    let count = (BODY_BYTES - beginning.len() - end.len()) / filling.len();
    [beginning, &filling.repeat(count), end].concat().into_bytes()
}

fn source(keys: &str) -> Hookbox {
    Home::with_config(&format!("[actions]\n{SOURCE}[sources.it]\n{keys}\n")).start()
}

fn request(content_type: &str, body: Vec<u8>) -> Request {
    Request::new("POST", "/webhooks/it").header("Content-Type", content_type).body(body)
}

/// Nobody waits for this unproven request, which is refused with that status.
#[track_caller]
fn delays_nobody(keys: &str, request: &Request, status: u16) {
    let hookbox = source(keys);
    let (response, _) = deliver_during(&hookbox, "beside-a-large-body", || hookbox.send(request));
    assert_eq!(response.status, status, "{keys}: {}", response.text());
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM webhook_events WHERE source = 'it'"), [0]);
}

#[test]
fn a_form_of_many_fields_delays_nobody() {
    let routes = "provider = \"mailgun-routes\"\nsecret = \"s\"";
    let part = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n";
    delays_nobody(routes, &request(MULTIPART, filled("", part, "--b--\r\n")), 400);
    delays_nobody(routes, &request(MULTIPART, filled("--b\r\n", "\r\n--", "\r\n--b--\r\n")), 401);
    delays_nobody(routes, &request(FORM, filled("", "a=%41&", "b")), 400);
    delays_nobody(routes, &request(FORM, filled("token=1&timestamp=1700000000&signature=", "%41", "")), 401);
    let sorted = "provider = \"hmac\"\nsecret = \"s\"\nverify = { sig = \"header:X-Sig\", signed = \"{form_sorted}\" }";
    let sorted_request = |body| request(FORM, body).header("X-Sig", &format!("sha256={}", "00".repeat(32)));
    delays_nobody(sorted, &sorted_request(filled("", "a=1&b=2&", "")), 413);
}

#[test]
fn a_field_that_is_signed_alone_delays_nobody() {
    let gitea = "provider = \"gitea-form\"\nsecret = [\"s\", \"t\"]";
    let signed = |body| request(FORM, body).header("X-Gitea-Signature", &"00".repeat(32));
    delays_nobody(gitea, &signed(filled("payload=%7B%22a%22%3A%22", "%41+", "%22%7D")), 401);
    delays_nobody(gitea, &signed(filled("", "a=1&", "payload=%7B%7D")), 401);
}

#[test]
fn json_that_holds_its_signature_delays_nobody() {
    let mailgun = "provider = \"mailgun\"\nsecret = \"s\"";
    let signature = r#"{"signature":{"timestamp":"1700000000","token":"t","signature":"00"},"x":"#;
    delays_nobody(mailgun, &request(JSON, filled(&format!("{signature}["), r#"{"a":1},"#, "0]}")), 401);
    delays_nobody(mailgun, &request(JSON, filled("", "[", "")), 401);
    let adyen = "provider = \"adyen-standard\"\nsecret = \"44782DEF547AAA06C910C43932B1EB0C\"";
    let item = r#"{"notificationItems":[{"NotificationRequestItem":{"additionalData":{"#;
    delays_nobody(adyen, &request(JSON, filled(item, r#""a":0,"#, r#""hmacSignature":"AAAA"}}}]}"#)), 401);
    let graph = "provider = \"msgraph\"\nsecret = \"s\"";
    delays_nobody(graph, &request(JSON, filled(r#"{"value":[{"x":["#, "0,", r#"0],"clientState":"x"}]}"#)), 401);
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_body_of_empty_gzip_members_delays_nobody() {
    let open = "provider = \"hmac\"\nverify = \"none\"";
    let member = gzip(b"");
    let members = member.repeat(BODY_BYTES / member.len());
    delays_nobody(open, &request(JSON, members).header("Content-Encoding", "gzip"), 400);
    // A member with a file name of 60,000 bytes (RFC 1952, section 2.3).
    let mut named = member.clone();
    named[3] = 8;
    named.splice(10..10, [&[b'n'; 60_000][..], b"\0"].concat());
    let named = named.repeat(BODY_BYTES / named.len());
    delays_nobody(open, &request(JSON, named).header("Content-Encoding", "gzip"), 400);
}

/// More than the connections on which the receiver gets requests: they would all be occupied.
const COMPRESSED: usize = 36;

#[test]
fn many_compressed_bodies_delay_nobody() {
    take_turn_nearly_alone(); // each of them waits for all before it
    let hookbox = source("provider = \"hmac\"\nverify = \"none\"");
    let body = gzip(format!("[{}0]", "0,".repeat(1 << 20)).as_bytes());
    let request = request(JSON, body).header("Content-Encoding", "gzip");
    let at_once = || {
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..COMPRESSED).map(|_| scope.spawn(|| hookbox.send(&request).status)).collect();
            senders.into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
        })
    };
    let (statuses, _) = deliver_during(&hookbox, "between-compressed-ones", at_once);
    assert_eq!(statuses, [200; COMPRESSED]);
}

#[test]
fn large_deliveries_are_stored_in_their_turn_and_others_between() {
    let hookbox = source("provider = \"hmac\"\nverify = \"none\"");
    let address = hookbox.address();
    let send = |n: usize| {
        let body = format!("[{n},\"{}\"]", "x".repeat(2 << 20));
        let zipped = request(JSON, gzip(body.as_bytes())).header("Content-Encoding", "gzip");
        [address.send(&request(JSON, body.into_bytes())).status, address.send(&zipped).status]
    };
    let at_once = || {
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..4).map(|n| scope.spawn(move || send(n))).collect();
            senders.into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
        })
    };
    let (statuses, _) = deliver_during(&hookbox, "between-large-ones", at_once);
    assert_eq!(statuses, [[200; 2]; 4]);
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM webhook_events WHERE source = 'it'"), [8]);
}

#[test]
fn a_large_delivery_is_answered_before_a_stop() {
    let hookbox = source("provider = \"hmac\"\nverify = \"none\"");
    let mut connection = hookbox.connect();
    connection.send(&request(JSON, format!("[{}0]", "0,".repeat(1 << 20)).into_bytes()).bytes());
    hookbox.signal(Signal::TERM);
    assert_eq!(connection.response().status, 200);
    let (home, output) = hookbox.wait();
    assert_eq!(output.code, Some(0), "{output}");
    assert_eq!(home.stored(), 1);
}
