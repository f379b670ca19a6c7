//! Unverified requests, and many verified ones at once, use little memory.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::Signal;

use crate::support::{Home, Request};

/// As many as the receiver can get at once.
const SENDERS: usize = 32;

/// The size of a hostile body: half of what is taken by default, because a build for tests reads slowly.
const BODY_BYTES: usize = 12 << 20;

/// The body, once in the gate and once in the receiver, and an idle program, are some 40 MiB.
const PEAK_MIB: u64 = 60;

/// Sends an unsigned body to a source with this configuration.
#[track_caller]
fn costs_little(source: &str, headers: &[(&str, &str)], beginning: &[u8], filling: &[u8]) {
    let hookbox = Home::with_config(&format!("[sources.it]\n{source}")).start();
    let body: Vec<u8> = beginning.iter().chain(filling.iter().cycle()).copied().take(BODY_BYTES).collect();
    let mut request = Request::new("POST", "/webhooks/it").body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = hookbox.send(&request);
    assert!([401, 413].contains(&response.status), "{source}: {} {}", response.status, response.text());
    println!("{source}");
    hookbox.assert_peak_below(PEAK_MIB);
}

const JSON: (&str, &str) = ("Content-Type", "application/json");
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// All of it is valid JSON, so that no parser stops before its end.
#[track_caller]
fn json_costs_little(source: &str, beginning: &str, filling: &str, end: &str) {
    let filled = filling.repeat((BODY_BYTES - beginning.len() - end.len()) / filling.len());
    let body = format!("{beginning}{}{end}", filled.trim_end_matches(','));
    costs_little(source, &[JSON], body.as_bytes(), b" ");
}

#[test]
fn an_unsigned_batch_of_payments_is_not_parsed_into_memory() {
    let source = "provider = \"adyen-standard\"\nsecret = \"44782DEF547AAA06C910C43932B1EB0C\"";
    json_costs_little(source, r#"{"notificationItems":[{"NotificationRequestItem":{"x":["#, "0,", "]}}]}");
    json_costs_little(source, r#"{"notificationItems":["#, r#"{"NotificationRequestItem":{}},"#, "]}");
}

#[test]
fn an_unsigned_batch_of_changes_is_not_parsed_into_memory() {
    json_costs_little("provider = \"msgraph\"\nsecret = \"s\"", r#"{"value":["#, "{},", "]}");
}

#[test]
fn a_large_unsigned_form_is_not_sorted() {
    let signature = ("X-Twilio-Signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    let twilio = "provider = \"twilio\"\nsecret = [\"a\", \"b\"]\npublic_url = \"https://h/\"";
    costs_little(twilio, &[FORM, signature], b"", b"a=1&b=2&");
    let own =
        "provider = \"hmac\"\nsecret = [\"a\", \"b\"]\nverify = { sig = \"header:X-Sig\", signed = \"{form_sorted}\" }";
    costs_little(own, &[FORM, ("X-Sig", &"00".repeat(32))], b"", b"a=1&b=2&");
}

#[test]
fn a_form_of_invalid_utf_8_does_not_grow() {
    let gitea = "provider = \"gitea\"\nsecret = \"s\"";
    costs_little(gitea, &[FORM, ("X-Gitea-Signature", &"00".repeat(32))], b"payload=", b"\xff");
}

/// [`SENDERS`] deliver this at the same time. All must be stored, in bounded memory.
#[track_caller]
fn together_cost_little(request: &Request) {
    let hookbox = Home::with_config("[actions]\n[sources.it]\nprovider = \"hmac\"\nverify = \"none\"").start();
    // So that all are there when it continues.
    hookbox.signal(Signal::STOP);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let address = hookbox.address();
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let mut connection = address.connect();
                scope.spawn(move || {
                    connection.send(&request.bytes());
                    connection.response().status
                })
            })
            .collect();
        hookbox.signal(Signal::CONT);
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; SENDERS]);
    assert_eq!(hookbox.stored(), SENDERS as i64);
    hookbox.assert_peak_below(120);
}

#[test]
fn simultaneous_compressed_bodies_are_unpacked_one_at_a_time() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(format!("\"{}\"", "x".repeat(4 << 20)).as_bytes()).unwrap();
    let request = Request::new("POST", "/webhooks/it").header(JSON.0, JSON.1).header("Content-Encoding", "gzip");
    together_cost_little(&request.body(encoder.finish().unwrap()));
}

#[test]
fn bodies_that_grow_as_json_are_not_all_in_one_transaction() {
    let request = Request::new("POST", "/webhooks/it").header("Content-Type", "text/plain");
    together_cost_little(&request.body([1; 1_000_000]));
}
