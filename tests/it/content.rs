//! What of a body is the payload: all that is proven, and nothing else, in whatever form honest senders send it.

use serde_json::{Value, json};

use crate::actions::{action, config};
use crate::support::{Home, Hookbox, Request, SECRET, Stub, sign_github};

const JSON: &str = "application/json; charset=utf-8";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=bound";

const BOM: &str = "\u{feff}";

fn signature(secret: &str, bytes: &[u8]) -> String {
    sign_github(secret, bytes).trim_start_matches("sha256=").to_owned()
}

fn payloads(hookbox: &Hookbox) -> Vec<String> {
    hookbox.query("SELECT payload_json FROM webhook_events ORDER BY id")
}

fn bodies(hookbox: &Hookbox) -> Vec<Vec<u8>> {
    hookbox.query("SELECT body FROM webhook_events ORDER BY id")
}

const TOKEN: &str =
    "[sources.it]\nprovider = \"token\"\nsecret = \"brass-kettle\"\nid = \"json:/id\"\nevent = \"json:/event\"\n";

fn with_token(content_type: &str, body: impl AsRef<[u8]>) -> Request {
    let request = Request::new("POST", "/webhooks/it").header("Authorization", "Bearer brass-kettle");
    request.header("Content-Type", content_type).body(body)
}

fn part(name: &str, more: &str, value: &str) -> String {
    format!("--bound\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n{value}\r\n")
}

#[test]
fn what_stands_beside_a_signed_field_is_refused() {
    let sources = ["gitea-form", "gitea", "forgejo", "gogs"]
        .map(|provider| format!("[sources.{provider}]\nprovider = \"{provider}\"\nsecret = \"{SECRET}\"\n"));
    let own = "[sources.own]\nprovider = \"hmac\"\nsecret = \"s\"\n\
               verify = { sig = \"header:X-Gitea-Signature\", prefix = \"\", signed = \"{form:payload}\" }\n";
    let hookbox = Home::with_config(&format!("[actions]\n{}{own}", sources.concat())).start();
    let document = r#"{"ref":"refs/heads/topic","after":"GENUINE"}"#;
    let encoded = "payload=%7B%22ref%22%3A%22refs%2Fheads%2Ftopic%22%2C%22after%22%3A%22GENUINE%22%7D";
    let others = part("ref", "", "refs/heads/main") + &part("payload", "", document) + "--bound--\r\n";
    for (source, secret) in
        [("gitea-form", SECRET), ("gitea", SECRET), ("forgejo", SECRET), ("gogs", SECRET), ("own", "s")]
    {
        let send = |content_type: &str, body: &str| {
            let mut request = Request::new("POST", &format!("/webhooks/{source}")).header("Content-Type", content_type);
            for header in ["X-Gitea-Signature", "X-Forgejo-Signature", "X-Gogs-Signature"] {
                request = request.header(header, &signature(secret, document.as_bytes()));
            }
            hookbox.send(&request.body(body)).status
        };
        for forged in [
            format!("ref=refs/heads/main&after=EVIL&{encoded}"),
            format!("{encoded}&after=EVIL"),
            format!("{encoded}&payload=%7B%7D"),
            format!("{encoded}&"),
        ] {
            assert_eq!(send(FORM, &forged), 401, "{source}: {forged}");
        }
        assert_eq!(send(MULTIPART, &others), 401, "{source}");
        assert_eq!(send(MULTIPART, &(part("payload", "", document) + "--bound--\r\n")), 401, "{source}");
        assert_eq!(send(FORM, encoded), 200, "{source}");
    }
    hookbox.wait_for_stderr("only the field payload is signed, and the form has more");
    assert_eq!(payloads(&hookbox), vec![document; 5]);
    assert_eq!(bodies(&hookbox), vec![encoded.as_bytes(); 5], "it has nothing else in it");
}

/// Mailgun signs a token and a timestamp: what an attacker adds must not become the document.
#[test]
fn a_payload_that_is_not_signed_is_one_field_of_a_form() {
    let config = "[sources.it]\nprovider = \"mailgun-routes\"\nsecret = \"key\"\nid = \"json:/id\"\n[actions]\n";
    let hookbox = Home::with_config(config).start();
    let sig = signature("key", b"1700000000tok");
    let form = format!("timestamp=1700000000&token=tok&signature={sig}&payload=%7B%22id%22%3A7%7D");
    let request = Request::new("POST", "/webhooks/it").header("Content-Type", FORM).body(form);
    assert_eq!(hookbox.send(&request).status, 200);
    let stored: Value = serde_json::from_str(&payloads(&hookbox)[0]).unwrap();
    assert_eq!((&stored["token"], &stored["payload"]), (&json!("tok"), &json!(r#"{"id":7}"#)));
    assert_ne!(hookbox.query::<String>("SELECT delivery_id FROM webhook_events"), ["7"]);
}

#[test]
fn check_and_providers_say_what_is_not_signed() {
    let config = "[sources.a]\nprovider = \"hmac\"\nsecret = \"s\"\nverify = { sig = \"header:X-S\", signed = \"{form:x}\" }\n\
                  [sources.b]\nprovider = \"hmac\"\nsecret = \"s\"\n\
                  verify = { sig = \"header:X-S\", signed = \"{ts}{json:/a/b}\", ts = \"header:X-T\" }\n\
                  [sources.c]\nprovider = \"hmac\"\nsecret = \"s\"\nverify = { sig = \"header:X-S\", signed = \"{url}\" }\n\
                  public_url = \"https://h/\"\n\
                  [sources.d]\nprovider = \"hmac\"\nsecret = \"s\"\n";
    let text = Home::with_config(config).run(["check"]).ok().text();
    for unsigned in ["all of the body beside form field x", "all of the body beside JSON /a/b", "NOT signed: the body,"]
    {
        assert!(text.contains(unsigned), "{unsigned}: {text}");
    }
    for (provider, unsigned) in [
        ("mailgun", "all of the body beside JSON /signature/timestamp and JSON /signature/token"),
        ("mailgun-routes", "all of the body beside form field timestamp and form field token"),
    ] {
        let text = Home::new().run(["providers", provider]).ok().text();
        assert!(text.contains(unsigned), "{text}");
    }
}

#[test]
fn json_with_a_byte_order_mark_is_accepted() {
    let config = format!("{TOKEN}[sources.sp]\nprovider = \"msgraph\"\nsecret = \"pewter-gate-41\"\n[actions]\n");
    let hookbox = Home::with_config(&config).start();
    let item = r#"{"id":"i-1","event":"ItemAdded","Name":"Harbour Lights"}"#;
    for (n, content_type) in [JSON, "text/plain", FORM].into_iter().enumerate() {
        let body = format!("{BOM}{}", item.replace("i-1", &format!("i-{n}")));
        assert_eq!(hookbox.send(&with_token(content_type, body)).status, 200, "{content_type}");
    }
    let batch = r#"{"value": [{"clientState": "pewter-gate-41", "changeType": "updated"}]}"#;
    let graph = |body: String| Request::new("POST", "/webhooks/sp").header("Content-Type", JSON).body(body);
    assert_eq!(hookbox.send(&graph(format!("{BOM}{batch}"))).status, 200);
    assert_eq!(hookbox.send(&graph(format!("{BOM}{}", batch.replace("41", "42")))).status, 401);
    assert_eq!(payloads(&hookbox)[0], item.replace("i-1", "i-0"), "the older programs cannot read a mark");
    assert_eq!(bodies(&hookbox)[3], format!("{BOM}{batch}").as_bytes(), "the exact bytes are kept");
    let types = hookbox.query::<String>("SELECT delivery_id || ' ' || event_type FROM webhook_events ORDER BY id");
    assert_eq!(types[..3], ["i-0 ItemAdded", "i-1 ItemAdded", "i-2 ItemAdded"]);
    assert!(types[3].ends_with(" updated"), "{}", types[3]);
}

#[test]
fn json_in_utf_16_is_refused_by_its_name() {
    let hookbox = Home::with_config(&format!("{TOKEN}[actions]\n")).start();
    let body: Vec<u8> = format!("{BOM}{{}}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let response = hookbox.send(&with_token("application/json; charset=utf-16", body));
    assert_eq!((response.status, response.text().contains("UTF-16")), (400, true), "{}", response.text());
}

#[test]
fn a_proven_delivery_without_content_is_an_empty_object() {
    let config = format!("{TOKEN}[sources.y]\nprovider = \"hmac\"\nsecret = \"k\"\n[actions]\n");
    let hookbox = Home::with_config(&config).start();
    assert_eq!(hookbox.send(&with_token("application/json", "")).status, 200);
    let signed = Request::new("POST", "/webhooks/y").header("Content-Type", "application/json");
    let right = sign_github("k", b"");
    assert_eq!(hookbox.send(&signed.clone().header("X-Hub-Signature-256", &right)).status, 200);
    assert_eq!(hookbox.send(&signed.header("X-Hub-Signature-256", &sign_github("x", b""))).status, 401);
    assert_eq!(hookbox.send(&with_token("application/json", "").without("Content-Type")).status, 200);
    assert_eq!(hookbox.send(&with_token("application/json", "").chunked()).status, 200);
    let said_to_be_gzip = with_token("application/json", "").header("Content-Encoding", "gzip");
    assert_eq!(hookbox.send(&said_to_be_gzip).status, 200);
    assert_eq!(hookbox.send(&with_token("application/json", " ")).status, 400);
    assert_eq!(payloads(&hookbox), ["{}"; 5]);
    assert_eq!(bodies(&hookbox), vec![Vec::<u8>::new(); 5]);
}

#[test]
fn json_of_any_type_is_json() {
    let hookbox = Home::with_config(&format!("{TOKEN}[actions]\n")).start();
    let types =
        ["application/csp-report", "application/octet-stream", "application/reports+json", "text/xml", MULTIPART];
    let body = |n: usize| format!("[{{\"id\":{n}}}]");
    for (n, content_type) in types.into_iter().enumerate() {
        assert_eq!(hookbox.send(&with_token(content_type, body(n))).status, 200, "{content_type}");
    }
    let expected: Vec<String> = (0..types.len()).map(body).collect();
    assert_eq!(payloads(&hookbox), expected);
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM webhook_events WHERE body IS NOT NULL"), [0]);
}

/// As Plex sends it.
#[test]
fn json_in_a_part_named_payload_is_the_payload() {
    let stub = Stub::http();
    let keys = format!(
        "url = \"{}\"\nwhen = \"payload.event == 'media.play'\"\nbody = \"{{{{ payload.Player.title }}}}\"",
        stub.url("/")
    );
    let actions = action("lights", "http", &keys);
    let source = format!("{TOKEN}verify = {{ sig = \"query:token\" }}\n");
    let hookbox = Home::with_config(&(config(&actions) + &source)).start();
    let event = r#"{"event": "media.play", "id": "p-n", "Player": {"title": "Living room"}}"#;
    let json_part = part("payload", "\r\nContent-Type: application/json", event);
    let thumb =
        part("thumb", "; filename=\"thumb; name=payload; x.jpg\"\r\nContent-Type: image/jpeg", "\u{1}\r\n--bou");
    for (n, body) in
        [format!("{json_part}{thumb}--bound--\r\n"), format!("{thumb}{json_part}--bound--\r\n")].iter().enumerate()
    {
        let request = Request::new("POST", "/webhooks/it?token=brass-kettle").header("Content-Type", MULTIPART);
        assert_eq!(hookbox.send(&request.body(body.replace("p-n", &format!("p-{n}")))).status, 200);
    }
    hookbox.wait_until_done();
    assert_eq!(stub.first().text(), "Living room");
    assert_eq!(payloads(&hookbox), ["p-0", "p-1"].map(|id| event.replace("p-n", id)));
    let types = hookbox.query::<String>("SELECT delivery_id || ' ' || event_type FROM webhook_events ORDER BY id");
    assert_eq!(types, ["p-0 media.play", "p-1 media.play"]);
}

#[test]
fn json_in_a_field_named_payload_is_the_payload_wherever_it_stands() {
    let hookbox = Home::with_config(&format!("{TOKEN}[actions]\n")).start();
    let object = "payload=%7B%22id%22%3A%22f-1%22%2C%22event%22%3A%22play%22%7D";
    assert_eq!(hookbox.send(&with_token(FORM, format!("device=x&{object}"))).status, 200);
    assert_eq!(hookbox.send(&with_token(FORM, "device=x&payload=%5B1%2C2%5D")).status, 200);
    assert_eq!(hookbox.send(&with_token(FORM, "payload=42")).status, 200);
    let expected = [r#"{"id":"f-1","event":"play"}"#, r#"{"device":"x","payload":"[1,2]"}"#, r#"{"payload":"42"}"#];
    assert_eq!(payloads(&hookbox), expected);
    assert_eq!(hookbox.query::<String>("SELECT event_type FROM webhook_events ORDER BY id")[0], "play");
}

#[test]
fn the_beginning_of_a_boundary_does_not_make_a_part_of_a_text() {
    let hookbox = Home::with_config(&format!("{TOKEN}[actions]\n")).start();
    let inner = "--b\r\nContent-Disposition: form-data; name=\"payload\"\r\n\r\n{\"id\":\"forged\"}\r\n--b";
    let body = part("text", "", &format!("Hello\r\n{inner}")) + "--bound--\r\n";
    assert_eq!(hookbox.send(&with_token("multipart/form-data; boundary=b", &body)).status, 200);
    assert_eq!(hookbox.send(&with_token(MULTIPART, &body)).status, 200);
    let stored = payloads(&hookbox);
    assert!(stored[0].starts_with("\"--bound"), "{}", stored[0]);
    assert!(stored[1].starts_with("{\"text\":\"Hello"), "{}", stored[1]);
}

#[test]
fn what_is_beyond_the_bounds_of_a_form_is_refused_and_not_half_read() {
    let hookbox = Home::with_config(&format!("{TOKEN}[actions]\n")).start();
    let refused = |content_type: &str, body: String, text: &str| {
        let response = hookbox.send(&with_token(content_type, body));
        assert_eq!((response.status, response.text()), (400, format!("{text}\n")));
    };
    refused(FORM, "a=1&".repeat(1001), "the form has more than 1000 fields");
    refused(FORM, "&".repeat(1001), "the form has more than 1000 fields");
    refused(MULTIPART, part("a", "", "1").repeat(1001) + "--bound--", "the form has more than 1000 fields");
    let head = part("a", &format!("\r\nX: {}", "x".repeat(5000)), "1") + "--bound--";
    refused(MULTIPART, head, "a part of the form has more than 4 KiB of header fields");
    assert_eq!(hookbox.send(&with_token(FORM, "a=1&".repeat(999))).status, 200);
    assert_eq!(hookbox.send(&with_token(MULTIPART, part("a", "", "1").repeat(1000) + "--bound--")).status, 200);
}
