//! Complete requests, from the gate to a delivery that is ready to be stored.

use std::io::Write as _;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::http::Headers;
use crate::http::form::{Field, Form, MAX_FIELDS};
use crate::json;
use crate::provider::handshake::HandshakeConfig;
use crate::provider::{TestDelivery, presets};

const MAX_BODY_BYTES: u64 = 1 << 20;

const NOW_UNIX_MS: i64 = 1_700_000_000_000;

/// Fits every way to write a key: text, base64 and hexadecimal; 32 bytes.
const SECRET: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";

/// A source for each preset with a secret, and one that verifies nothing.
static INTAKE: LazyLock<Intake> = LazyLock::new(|| Intake {
    endpoints: presets().flat_map(|preset| [endpoint(preset, true), endpoint(preset, false)]).flatten().collect(),
    actions: Vec::new(),
    disk_reserve_bytes: 0,
    max_body_bytes: MAX_BODY_BYTES,
    trusted_proxies: Vec::new(),
});

fn endpoint(preset: &'static provider::Preset, is_verified: bool) -> Option<Endpoint> {
    let mut verifier = preset.verifier().expect("a preset of the table");
    verifier.public_url = Some("https://hooks.example.net/webhooks/x".to_owned());
    let secret = Secret::new(SECRET.into()).expect("a secret");
    let verification = match verifier.scheme.key(&secret) {
        Ok(key) if is_verified => Verification::Secrets(vec![key]),
        _ if is_verified => return None,
        _ => Verification::Nothing,
    };
    let name = format!("{}{}", preset.name, if is_verified { "" } else { "-open" });
    let source = Source {
        name: name.clone(),
        verifier,
        verification: Verification::Nothing,
        verify_token: None,
        allowed_origins: Vec::new(),
        allow: None,
        dedup_window: None,
        ignores_repeated_body: true,
    };
    let known = HandshakeConfig { verify_token: None, allowed_origins: Vec::new() };
    Some(Endpoint { source, verification, known, counts: Metrics::default().source(&name) })
}

/// The first byte chooses a source. Lines follow, as of a head: a target, then header fields. After an empty line, the body.
struct Input<'a> {
    endpoint: &'static Endpoint,
    query: String,
    fields: Vec<(String, String)>,
    body: &'a [u8],
}

impl<'a> Input<'a> {
    fn read(input: &'a [u8]) -> Option<Input<'a>> {
        let (first, rest) = input.split_first()?;
        let endpoint = &INTAKE.endpoints[usize::from(*first) % INTAKE.endpoints.len()];
        let end = rest.windows(2).position(|pair| pair == b"\n\n")?;
        let head = std::str::from_utf8(&rest[..end]).ok()?;
        let mut lines = head.lines();
        let query = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter_map(|line| line.split_once(": "));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(Input { endpoint, query, fields, body: &rest[end + 2..] })
    }

    fn inbound(&self, fields: Vec<(String, String)>, body: &[u8]) -> Inbound {
        Inbound {
            method: "POST".to_owned(),
            target: format!("{}?{}", self.endpoint.source.path(), self.query),
            headers: Headers::new(fields),
            peer: None,
            is_http_1_0: false,
            body: body.to_vec(),
            is_complete: true,
        }
    }
}

fn now() -> Timestamp {
    Timestamp::from_unix_ms(NOW_UNIX_MS)
}

/// No signature that an input makes up is taken for one.
pub fn signature(input: &[u8]) {
    let Some(input) = Input::read(input) else { return };
    let is_verified = matches!(input.endpoint.verification, Verification::Secrets(_));
    let delivered = delivery_of(input.inbound(input.fields.clone(), input.body), &INTAKE, now());
    assert!(!(is_verified && delivered.is_ok()), "forged at {}", input.endpoint.source.name);
    check_stored(delivered.ok().map(|(delivery, _)| delivery), input.body);
}

/// A signed delivery with any body and any other fields is stored as it came, or refused.
pub fn delivery(input: &[u8]) {
    let Some(input) = Input::read(input) else { return };
    let Verification::Secrets(keys) = &input.endpoint.verification else { return };
    let test = TestDelivery { event_type: None, id: None, body: Some(input.body.to_vec()), new_id: "d-1".to_owned() };
    let Ok(signed) = test.build(&input.endpoint.source.verifier, keys.first(), now()) else { return };
    let is_signed = |name: &str| signed.headers.has(name);
    let others = input.fields.iter().filter(|(name, _)| !is_signed(name)).cloned();
    let fields = signed.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).chain(others);
    let delivered = delivery_of(input.inbound(fields.collect(), &signed.body), &INTAKE, now());
    check_stored(delivered.ok().map(|(delivery, _)| delivery), &signed.body);
}

fn check_stored(delivery: Option<Delivery>, body: &[u8]) {
    let Some(delivery) = delivery else { return };
    let payload = json::replace_lone_surrogates(&delivery.payload_json);
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&payload).is_ok();
    assert!(is_json, "stored as JSON: {payload}");
    assert!(serde_json::from_str::<serde_json::Map<_, _>>(&delivery.headers_json).is_ok());
    let kept = delivery.body.as_deref().unwrap_or(delivery.payload_json.as_bytes());
    assert_eq!(kept, body, "the exact bytes are kept");
}

/// A form is read within its bounds.
pub fn form(input: &[u8]) {
    let Some(input) = Input::read(input) else { return };
    let headers = Headers::new(input.fields);
    let Some(form) = Form::find(&headers, input.body) else { return };
    let Ok(fields) = form.fields() else { return };
    assert!(fields.len() <= MAX_FIELDS);
    let text_bytes = |field: &Field<'_>| field.name().len() + field.text().map_or(0, |text| text.len());
    // A byte that is not UTF-8 becomes a character of three.
    assert!(fields.iter().map(text_bytes).sum::<usize>() <= 3 * input.body.len());
}

/// Nothing inflates beyond the largest body, and what was compressed comes back.
pub fn gzip(input: &[u8]) {
    let headers = Headers::new(vec![("Content-Encoding".to_owned(), "gzip".to_owned())]);
    if let Ok(content) = Content::decode(&headers, input.to_vec(), MAX_BODY_BYTES) {
        assert!(content.decoded().len() as u64 <= MAX_BODY_BYTES);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let compressed = encoder.write_all(input).and_then(|()| encoder.finish()).expect("memory");
    let content = Content::decode(&headers, compressed, MAX_BODY_BYTES).ok().expect("what we have compressed");
    assert_eq!(content.decoded(), input);
}
