//! Every provider over HTTP: its vectors, which secret matched, and what the commands print about it.

mod headers;
mod signed;

use serde_json::Value;

use crate::support::{Home, Hookbox, Request, SOURCE, data};

/// A test vector.
struct Vector(Value);

impl Vector {
    fn all() -> Vec<Vector> {
        let text = std::fs::read(data("vectors/providers.json")).unwrap();
        serde_json::from_slice::<Vec<Value>>(&text).unwrap().into_iter().map(Vector).collect()
    }

    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    fn body(&self) -> Vec<u8> {
        unbase64(self.text("body_base64"))
    }

    fn query(&self) -> &str {
        self.text("url_path").split_once('?').map_or("", |(_, query)| query)
    }

    /// The source that it is for. Recorded deliveries are old: their age has its own tests.
    fn config(&self, name: &str) -> String {
        let provider = self.text("provider");
        let mut config = format!("[sources.{name}]\nprovider = {provider:?}\nsecret = {:?}\n", self.text("secret"));
        if let Some(url) = self.0["url"].as_str() {
            config += &format!("public_url = {url:?}\n");
        }
        let has_timestamp = self.0["headers"].as_object().unwrap().keys().any(|name| name.contains("imestamp"));
        if self.0["now_unix"].is_i64() || has_timestamp {
            config += "verify = { tolerance = \"off\", tolerance_future = \"off\" }\n";
        }
        config
    }

    fn request(&self, source: &str) -> Request {
        let query = self.query();
        let separator = if query.is_empty() { "" } else { "?" };
        let mut request = Request::new(self.text("method"), &format!("/webhooks/{source}{separator}{query}"));
        for (name, value) in self.0["headers"].as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        request.body(self.body())
    }
}

/// Decodes valid base64.
pub fn unbase64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for digit in text.bytes().filter(|byte| *byte != b'=') {
        let value = DIGITS.iter().position(|known| *known == digit).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    bytes
}

/// One program with a source for each of the vectors.
fn serve(vectors: &[Vector]) -> Hookbox {
    let configs = vectors.iter().enumerate().map(|(n, vector)| vector.config(&format!("v{n}")));
    Home::with_config(&configs.collect::<Vec<_>>().join("\n")).start()
}

#[test]
fn every_vector_is_answered_as_it_expects() {
    let mut vectors = Vector::all();
    // The others are rejected for their age alone, or are GET requests.
    vectors.retain(|vector| !["stale", "future"].contains(&vector.text("class")) && vector.text("method") == "POST");
    vectors
        .retain(|vector| !["malformed-signature"].contains(&vector.text("class")) || vector.text("expect") == "reject");
    let hookbox = serve(&vectors);
    let mut wrong = Vec::new();
    let mut accepted = 0;
    for (n, vector) in vectors.iter().enumerate() {
        let response = hookbox.send(&vector.request(&format!("v{n}")));
        let is_json = vector.0["headers"]["Content-Type"] == "application/json";
        let is_malformed = is_json && serde_json::from_slice::<Value>(&vector.body()).is_err();
        let expected: &[u16] = match vector.text("expect") {
            "accept" if is_malformed => &[400],
            "accept" => &[200, 204],
            _ => &[401],
        };
        accepted += i64::from(expected == [200, 204]);
        let is_handshake = vector.text("class") == "handshake";
        if !expected.contains(&response.status) {
            wrong.push(format!("{}: {} {}", vector.text("id"), response.status, response.text()));
        }
        if response.status == 401 {
            assert_eq!(response.text(), "signature missing or wrong\n", "the sender learns nothing more");
        }
        accepted -= i64::from(is_handshake && expected == [200, 204]);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(hookbox.stored(), accepted);
}

#[test]
fn a_recorded_delivery_is_too_old_and_the_log_says_by_how_much() {
    let config = "[sources.shop]\nprovider = \"stripe\"\nsecret = \"whsec_x\"\n";
    let home = Home::with_config(config);
    let hookbox = home.start();
    let sent = hookbox.run(["send", "shop", "--url", &hookbox.url("/webhooks/shop")]).ok();
    assert!(sent.text().ends_with(": 200 OK\n"), "{sent}");
    let vector = Vector::all().into_iter().find(|vector| vector.text("id") == "stripe/sdk").unwrap();
    let config = vector.config("old").replace("verify = { tolerance = \"off\", tolerance_future = \"off\" }", "");
    let hookbox = Home::with_config(&config).start();
    assert_eq!(hookbox.send(&vector.request("old")).status, 401);
    hookbox.wait_for_stderr(" s more than the tolerance (5m)");
    assert_eq!(hookbox.stored(), 0);
}

#[test]
fn send_signs_for_every_provider_with_a_symmetric_secret() {
    let home = Home::new();
    let listed = home.run(["providers"]).ok().text();
    let supported = listed.split("\n\n").next().unwrap();
    let names: Vec<&str> = supported.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() >= 57, "{names:?}");
    let asymmetric = ["discord", "sendgrid", "standard-webhooks-ed25519"];
    let config: String = names
        .iter()
        .filter(|name| !asymmetric.contains(name))
        .map(|name| {
            let secret = "00112233445566778899aabbccddeeff";
            format!(
                "[sources.{name}]\nprovider = {name:?}\nsecret = \"{secret}\"\npublic_url = \"https://h.test/{name}\"\n"
            )
        })
        .collect();
    let hookbox = Home::with_config(&config).start();
    for name in names.iter().filter(|name| !asymmetric.contains(name)) {
        let url = hookbox.url(&format!("/webhooks/{name}"));
        let sent = hookbox.run(["send", name, "--event", "seen", "--url", &url]).ok();
        assert!(sent.text().starts_with("sent seen to "), "{sent}");
    }
    assert_eq!(hookbox.stored() as usize, names.len() - asymmetric.len());
    let unsigned = hookbox.query::<i64>("SELECT count(*) FROM webhook_events WHERE secret_position IS NULL");
    assert_eq!(unsigned, [0]);
}

#[test]
fn two_sends_are_two_deliveries_even_without_ids() {
    let names = ["zoom", "meta", "buildkite", "dropbox", "msgraph", "adyen-banking"];
    let source =
        |name: &&str| format!("[sources.{name}]\nprovider = {name:?}\nsecret = \"00112233\"\ndedup_window = \"5m\"\n");
    let hookbox = Home::with_config(&names.iter().map(source).collect::<String>()).start();
    for name in names {
        let url = hookbox.url(&format!("/webhooks/{name}"));
        for id in ["1", "2", "2"] {
            hookbox.run(["send", name, "--id", id, "--url", &url]).ok();
        }
        let stored = format!("SELECT count(*) FROM webhook_events WHERE source = '{name}'");
        assert_eq!(hookbox.query::<i64>(&stored), [2], "{name}");
    }
}

#[test]
fn send_refuses_providers_that_sign_with_a_private_key() {
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let home = Home::with_config(&format!("[sources.d]\nprovider = \"discord\"\nsecret = {key:?}\n"));
    home.run(["send", "d"]).refused(1, &["private key", "test button"]);
}

#[test]
fn the_secret_that_matched_is_recorded_by_its_position() {
    let config = "[sources.github]\nprovider = \"github\"\nsecret = [\"newer\", \"env:GITHUB_WEBHOOK_SECRET\"]\n";
    let hookbox = Home::with_config(config).start();
    hookbox.deliver("push", "d-1", "{}");
    assert_eq!(hookbox.send(&Request::github("push", "d-2", "{}").signed_with("newer")).status, 200);
    let listed = hookbox.run(["list", "--json"]).ok().json_lines();
    assert_eq!((&listed[0]["secret"], &listed[1]["secret"]), (&Value::from(2), &Value::from(1)));
    let shown = hookbox.run(["show", "1"]).ok().text();
    assert!(shown.lines().any(|line| line.starts_with("verified ") && line.ends_with(" with secret 2")), "{shown}");
}

#[test]
fn a_token_in_a_custom_header_is_not_stored() {
    let config = "[sources.bell]\nprovider = \"token\"\nsecret = \"hunter2\"\n\
                  [sources.bell.verify]\nsig = \"header:X-Bell-Key\"\nprefix = \"\"\n";
    let hookbox = Home::with_config(config).start();
    let ring = Request::new("POST", "/webhooks/bell").header("X-Bell-Key", "hunter2").body("ding");
    assert_eq!(hookbox.send(&ring).status, 200);
    assert_eq!(hookbox.send(&ring.clone().with("X-Bell-Key", "Hunter2")).status, 401);
    assert_eq!(hookbox.send(&ring.clone().without("X-Bell-Key")).status, 401);
    let headers = hookbox.query::<String>("SELECT headers_json FROM webhook_events");
    assert!(headers[0].contains("X-Bell-Key") && !headers[0].contains("hunter2"), "{headers:?}");
    let stored = hookbox.stored();
    assert_eq!(stored, 1);
}

#[test]
fn a_token_in_the_query_is_accepted_and_never_logged() {
    let config = "[sources.hub]\nprovider = \"token\"\nsecret = \"hunter2\"\n\
                  [sources.hub.verify]\nsig = \"query:token\"\n";
    let hookbox = Home::with_config(config).start();
    let request = |token: &str| Request::new("POST", &format!("/webhooks/hub?token={token}")).body("{}");
    assert_eq!(hookbox.send(&request("hunter2")).status, 200);
    assert_eq!(hookbox.send(&request("hunter3")).status, 401);
    hookbox.wait_for_stderr("rejected /webhooks/hub from");
    assert!(!hookbox.stderr().contains("hunter"), "{}", hookbox.stderr());
}

#[test]
fn a_custom_provider_is_configured_by_keys() {
    let config = "[sources.own]\nprovider = \"hmac\"\nsecret = \"73656372\"\nid = \"json:/n\"\nevent = [\"header:X-Kind\"]\n\
                  [sources.own.verify]\nalg = \"hmac-sha512\"\nsig = \"header:X-Sig\"\nsplit = \",\"\nprefix = \"a=\"\n\
                  enc = \"base64\"\nkey = \"hex\"\nsigned = \"{ts}|{id}|{body}\"\nts = \"item:at=\"\nts_unit = \"ms\"\n\
                  tolerance = \"1m\"\ntolerance_future = 30\nstatus = 0\n";
    let home = Home::with_config(&config.replace("status = 0\n", ""));
    let checked = home.run(["check"]).ok().text();
    assert!(
        checked.contains("hmac-sha512, base64, of {ts}|{id}|{body} in header X-Sig (its items a=...)"),
        "{checked}"
    );
    assert!(checked.contains("timestamps up to 1m old and 30s ahead"), "{checked}");
    let hookbox = home.start();
    let url = hookbox.url("/webhooks/own");
    hookbox.run(["send", "own", "--event", "x", "--id", "7", "--url", &url]).ok();
    let listed = hookbox.run(["list", "--json"]).ok().json_lines();
    assert_eq!((&listed[0]["delivery_id"], &listed[0]["event"]), (&Value::from("7"), &Value::from("x")));
    Home::with_config(config).run(["check"]).refused(2, &["sources.own.verify.status: unknown key"]);
}

#[test]
fn invalid_keys_are_reported_by_name() {
    let check = |provider: &str, keys: &str, words: &[&str]| {
        let config = format!("[sources.a]\nprovider = {provider:?}\nsecret = \"s\"\n{keys}\n");
        Home::with_config(&config).run(["check"]).refused(2, words);
    };
    check("hmac", "[sources.a.verify]\nsigned = \"{ts}{body}\"", &["sources.a.verify.ts: missing"]);
    check("hmac", "[sources.a.verify]\ntolerance = 9", &["sources.a.verify.tolerance: there is no timestamp"]);
    check(
        "hmac",
        "[sources.a.verify]\ntolerance_future = 9",
        &["sources.a.verify.tolerance_future: there is no timestamp"],
    );
    check("hmac", "[sources.a.verify]\nsigned = \"body\"", &["sources.a.verify.signed: it is the same for every"]);
    check("hmac", "[sources.a.verify]\nts = \"item:t=\"", &["sources.a.verify.split: missing"]);
    check("hmac", "[sources.a.verify]\nsigned = \"{id}.{body}\"", &["sources.a.id: missing; the signed text has {id}"]);
    check("hmac", "[sources.a.verify]\nalg = \"sha256\"", &["sources.a.verify.signed", "{secret}"]);
    check("hmac", "[sources.a.verify]\nalg = \"md5\"", &["sources.a.verify.alg", "hmac-sha1"]);
    check("hmac", "[sources.a.verify]\nsig = \"X-Sig\"", &["sources.a.verify.sig", "header:NAME"]);
    check("hmac", "[sources.a.verify]\nsigned = \"{bdy}\"", &["sources.a.verify.signed", "{form_sorted}"]);
    check("stripe", "[sources.a.verify]\ntolerance = 0", &["sources.a.verify.tolerance", "out of bounds"]);
    check("square", "", &["sources.a.public_url: missing"]);
    check("square", "public_url = \"hooks.example.com\"", &["sources.a.public_url", "https://"]);
    check("netlify", "[sources.a.verify]\nalg = \"token\"", &["sources.a.verify", "cannot be changed"]);
    check("github", "verify = \"none\"", &["sources.a.verify: there is a secret too"]);
    check("sns", "", &["sources.a.provider: Amazon SNS is not supported", "SQS"]);
    check("strpe", "", &["did you mean \"stripe\"?"]);
    check("github", "id = \"X-Id\"", &["sources.a.id", "header:NAME"]);
    check("github", "dedup_window = \"1s\"", &["sources.a.dedup_window", "out of bounds"]);
    check("github", "status = 404", &["sources.a.status", "out of bounds"]);
}

#[test]
fn a_secret_that_cannot_be_decoded_is_reported_by_check_and_serve() {
    let home = Home::with_config("[sources.a]\nprovider = \"svix\"\nsecret = [\"whsec_AAAA\", \"whsec_hunter2!\"]\n");
    let checked = home.run(["check"]);
    assert_eq!(checked.code, Some(2), "{checked}");
    assert!(checked.text().contains("PROBLEM (literal): it is not base64 behind whsec_"), "{checked}");
    let served = home.start_in_vain();
    served.refused(2, &["sources.a.secret: (literal): it is not base64 behind whsec_"]);
    assert!(!checked.text().contains("hunter2") && !served.stderr.contains("hunter2"));
}

#[test]
fn providers_are_described_in_full() {
    let home = Home::new();
    let text = home.run(["providers", "stripe"]).ok().text();
    for part in [
        "Stripe (stripe)",
        "all of whsec_...",
        "hmac-sha256, hex, of {ts}.{body} in header Stripe-Signature (its items v1=...); timestamps up to 5m old",
        "JSON /id",
        "JSON /type",
        "200 with an empty body",
        "for 3 days",
        "https://docs.stripe.com/",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    for (name, part) in [
        ("linear", "; timestamps up to 1m old and 1m ahead, where there is one"),
        ("hubspot-v2", "else JSON /0/eventId; without one, each delivery is a new event"),
        ("dropbox", "id           none: each delivery is a new event"),
        (
            "github",
            "not signed   the delivery id in header X-GitHub-Delivery, the event type in header X-GitHub-Event and",
        ),
        ("github", "repeated_body = \"ignore\""),
        ("zoom", "can send it again as a new event, until its timestamp is too old. In [sources.NAME], allow"),
        ("gitlab", "not signed   the whole delivery: the secret proves who sends it"),
        ("stripe", "not signed   other header fields\n"),
        ("zendesk", "JSON /id where there is JSON /zendesk_event_version, else header X-Zendesk-Webhook-Invocation-Id"),
        ("alertmanager", "is sent again every repeat_interval"),
        ("docker-registry", "JSON /events/0/id"),
        ("mlflow", "hmac-sha256, base64, of {header:X-MLflow-Delivery-Id}.{ts}.{body} in header X-MLflow-Signature"),
        ("cloudevents", "\"batch\" where there is JSON /0/specversion"),
        ("svix", "in header svix-signature or header webhook-signature (its items v1,...)"),
    ] {
        let text = home.run(["providers", name]).ok().text();
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let text = home.run(["providers", "paypal"]).ok().text();
    assert!(text.contains("not supported: ") && text.contains("instead"), "{text}");
    home.run(["providers", "strip"]).refused(2, &["did you mean \"stripe\"?"]);
    home.run(["providers", "HubSpot"]).refused(2, &["there are \"hubspot-v3\", \"hubspot-v2\", \"hubspot-v1\""]);
    home.run(["providers", "whatsapp"]).refused(2, &["did you mean \"meta\"?"]);
    home.run(["providers", "no-such"]).refused(2, &["`hookbox providers` lists them", "\"hmac\""]);
    let list = home.run(["providers"]).ok().text();
    assert!(list.contains("svix") && list.contains("not supported") && list.contains("jira-connect"), "{list}");
}

#[test]
fn a_batch_is_one_event() {
    let config = "[sources.crm]\nprovider = \"hubspot-v1\"\nverify = \"none\"\n";
    let hookbox = Home::with_config(config).start();
    let body = r#"[{"eventId":1,"subscriptionType":"contact.creation"},{"eventId":2}]"#;
    let request = Request::new("POST", "/webhooks/crm").header("Content-Type", "application/json").body(body);
    assert_eq!(hookbox.send(&request).status, 200);
    assert_eq!(hookbox.query::<String>("SELECT payload_json FROM webhook_events"), [body]);
    assert_eq!(hookbox.query::<String>("SELECT delivery_id || event_type FROM webhook_events"), ["1contact.creation"]);
}

#[test]
fn a_compressed_body_is_verified_compressed_and_stored_unpacked() {
    let zipped = |text: &str| {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let hookbox = Home::with_config(&format!("max_body = \"2KiB\"\n{}", SOURCE)).start();
    let body = zipped(r#"{"a":1}"#);
    let request = Request::github("push", "d-1", &body).header("Content-Encoding", "gzip");
    assert_eq!(hookbox.send(&request).status, 200);
    assert_eq!(hookbox.query::<String>("SELECT payload_json FROM webhook_events"), [r#"{"a":1}"#]);
    assert_eq!(hookbox.query::<Vec<u8>>("SELECT body FROM webhook_events"), [body]);
    let bomb = zipped(&format!("[{}]", " ".repeat(2100)));
    let response = hookbox.send(&Request::github("push", "d-2", bomb).header("Content-Encoding", "gzip"));
    assert_eq!((response.status, response.text()), (413, "too large\n".to_owned()));
    let response = hookbox.send(&Request::github("push", "d-3", "{}").header("Content-Encoding", "gzip"));
    assert_eq!(response.status, 400);
    assert_eq!(hookbox.stored(), 1);
}

#[test]
fn every_content_type_of_providers_is_accepted() {
    let hookbox = Home::new().start();
    for (n, kind) in [
        "application/json; charset=UTF-8",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
        "text/plain; charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
    ]
    .iter()
    .enumerate()
    {
        let request = Request::github("push", &format!("d-{n}"), r#"{"a":1}"#).with("Content-Type", kind);
        assert_eq!(hookbox.send(&request).status, 200, "{kind}");
    }
}
