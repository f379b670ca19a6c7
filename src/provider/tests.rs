//! Every delivery of `tests/it/data/vectors/providers.json`, as it is and changed in every way that a forger could try.

mod verifiers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::algorithm::{Algorithm, Encoding};
use super::key::KeyEncoding;
use super::selector::Selector;
use super::timestamp::TimestampFormat;
use super::*;
use crate::clock::Timestamp;
use crate::digest;
use crate::http::Headers;
use crate::secret::Secret;

const VECTORS: &str = include_str!("../../tests/it/data/vectors/providers.json");

#[derive(Clone, Debug, Deserialize)]
struct Vector {
    id: String,
    provider: String,
    method: String,
    url_path: String,
    url: Option<String>,
    headers: BTreeMap<String, String>,
    body_base64: String,
    secret: String,
    now_unix: Option<i64>,
    expect: String,
}

/// A delivery that can be changed.
#[derive(Clone)]
struct Case {
    verifier: Verifier,
    secrets: Vec<String>,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    now: Timestamp,
}

impl Vector {
    fn case(&self) -> Case {
        let preset = preset(&self.provider).unwrap_or_else(|| panic!("no preset {}", self.provider));
        let verifier = Verifier { public_url: self.url.clone(), ..preset.verifier().unwrap() };
        let case = Case {
            verifier,
            secrets: vec![self.secret.clone()],
            method: self.method.clone(),
            target: self.url_path.clone(),
            headers: self.headers.clone().into_iter().collect(),
            body: digest::unbase64(&self.body_base64).unwrap(),
            now: crate::clock::now(),
        };
        // Without a time of its own, a vector is verified at the time that it names.
        let now = self.now_unix.map(|unix| unix * 1000).or_else(|| signed_at_ms(&case));
        Case { now: now.map_or(case.now, Timestamp::from_unix_ms), ..case }
    }
}

impl Case {
    fn verify(&self) -> Result<usize, VerifyError> {
        let keys = self.secrets.iter().map(|text| {
            let secret = Secret::new(text.as_bytes().to_vec()).unwrap();
            self.verifier.scheme.key(&secret).unwrap_or_else(|wrong| panic!("{wrong}"))
        });
        let headers = Headers::new(self.headers.clone());
        verify(&self.verifier, &keys.collect::<Vec<_>>(), &self.parts(&headers), self.now)
    }

    fn parts<'a>(&'a self, headers: &'a Headers) -> Parts<'a> {
        let Case { method, target, body, .. } = self;
        Parts { method, target, headers, body, forms: self.verifier.form_use(), reading: None }
    }

    fn header(&mut self, name: &str) -> &mut String {
        &mut self.headers.iter_mut().find(|(have, _)| have.eq_ignore_ascii_case(name)).unwrap().1
    }

    fn with_header(&self, name: &str, change: impl FnOnce(&str) -> String) -> Case {
        let mut case = self.clone();
        let value = case.header(name);
        *value = change(value);
        case
    }

    /// The header with the signature, if it is in one.
    fn signature(&self) -> Option<String> {
        let headers = Headers::new(self.headers.clone());
        let by_scheme = match self.parts(&headers).chosen(&self.verifier.scheme.sig) {
            Selector::Header(name) => name.as_str(),
            _ => return None,
        };
        match self.verifier.preset.name {
            "twilio" => Some("X-Twilio-Signature".to_owned()),
            "netlify" => Some("X-Webhook-Signature".to_owned()),
            "adyen-standard" | "msgraph" => None,
            _ => Some(by_scheme.to_owned()),
        }
    }

    fn is_token(&self) -> bool {
        self.verifier.preset.custom.is_none() && self.verifier.scheme.alg == Algorithm::Token
    }

    /// Whether the signature binds the whole body.
    fn binds_body(&self) -> bool {
        let is_form = self.headers.iter().any(|(_, value)| value.contains("x-www-form-urlencoded"));
        let signed = self.verifier.scheme.signed.to_string();
        match self.verifier.preset.name {
            // Adyen signs eight fields, Graph nothing.
            "adyen-standard" | "msgraph" => false,
            // The decoded fields of a form are signed, and several encodings decode to the same.
            "twilio" => !is_form,
            _ if self.is_token() => false,
            _ => signed.contains("{body}") || signed.contains("{payload}") && !is_form,
        }
    }
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(VECTORS).unwrap()
}

fn accepted() -> impl Iterator<Item = (String, Case)> {
    vectors().into_iter().filter(|vector| vector.expect == "accept").map(|vector| (vector.id.clone(), vector.case()))
}

#[track_caller]
fn assert_rejected(id: &str, what: &str, case: &Case) {
    let result = case.verify();
    assert!(result.is_err(), "{id}: accepted with {what}: {:?}", case.headers);
}

#[test]
fn every_vector_is_accepted_or_rejected_as_expected() {
    let mut wrong = Vec::new();
    for vector in vectors() {
        let result = vector.case().verify();
        if result.is_ok() != (vector.expect == "accept") {
            wrong.push(format!("{}: expected {}, got {result:?}", vector.id, vector.expect));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_preset_is_complete_and_has_an_accepted_vector() {
    let accepted: BTreeSet<String> =
        vectors().into_iter().filter(|vector| vector.expect == "accept").map(|vector| vector.provider).collect();
    for preset in presets() {
        let verifier = preset.verifier().unwrap_or_else(|wrong| panic!("{}: {wrong}", preset.name));
        verifier.scheme.check().unwrap_or_else(|wrong| panic!("{}: {wrong:?}", preset.name));
        assert!(accepted.contains(preset.name), "{} has no vector", preset.name);
        for text in [preset.title, preset.docs, preset.setup, preset.answer, preset.retries] {
            assert!(!text.is_empty(), "{}", preset.name);
        }
        assert!(preset.docs.starts_with("https://"), "{}", preset.name);
    }
    let names: BTreeSet<&str> =
        presets().map(|preset| preset.name).chain(UNSUPPORTED.iter().map(|it| it.name)).collect();
    assert_eq!(names.len(), presets().count() + UNSUPPORTED.len(), "each name once");
}

#[test]
fn a_changed_bit_of_the_body_is_rejected() {
    for (id, case) in accepted().filter(|(_, case)| case.binds_body()) {
        for at in [0, case.body.len() / 2, case.body.len().saturating_sub(1)] {
            for bit in 0..8 {
                let mut changed = case.clone();
                let Some(byte) = changed.body.get_mut(at) else { continue };
                *byte ^= 1 << bit;
                assert_rejected(&id, &format!("bit {bit} of byte {at} of the body changed"), &changed);
            }
        }
        let longer = Case { body: [&case.body[..], b"\n"].concat(), ..case.clone() };
        assert_rejected(&id, "a longer body", &longer);
    }
}

/// The digests in a signature header, without what surrounds them.
fn digests(case: &Case) -> Vec<std::ops::Range<usize>> {
    let name = case.signature().unwrap();
    let value = case.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(&name)).unwrap().1.clone();
    let scheme = &case.verifier.scheme;
    if case.verifier.preset.custom.is_some() {
        return std::iter::once(0..value.len()).collect();
    }
    let items = match &scheme.split {
        Some(separator) => value.split(separator.as_str()).collect::<Vec<_>>(),
        None => vec![value.as_str()],
    };
    let digests = items.iter().filter_map(|item| {
        let (prefix, digest) = item.trim().split_at_checked(scheme.prefix.len())?;
        prefix.eq_ignore_ascii_case(&scheme.prefix).then_some(digest)
    });
    let start_of = |text: &str| text.as_ptr() as usize - value.as_ptr() as usize;
    digests.map(|text| start_of(text)..start_of(text) + text.len()).collect()
}

#[test]
fn a_missing_or_repeated_signature_is_rejected() {
    for (id, case) in accepted() {
        let Some(name) = case.signature() else { continue };
        assert_rejected(&id, "an empty signature", &case.with_header(&name, |_| String::new()));
        let without = case.headers.iter().filter(|(have, _)| !have.eq_ignore_ascii_case(&name)).cloned().collect();
        assert_rejected(&id, "no signature", &Case { headers: without, ..case.clone() });
        let mut twice = case.clone();
        let value = twice.header(&name).clone();
        twice.headers.push((name.to_uppercase(), value));
        assert_rejected(&id, "the signature twice", &twice);
    }
}

/// The accepted deliveries whose signature is the whole of a header, with that header's name.
fn signed_alone() -> impl Iterator<Item = (String, Case, String)> {
    let is_list = |case: &Case| case.verifier.scheme.split.is_some() && case.verifier.preset.custom.is_none();
    let alone = accepted().filter(move |(_, case)| !is_list(case));
    alone.filter_map(|(id, case)| case.signature().map(|name| (id, case, name)))
}

#[test]
fn a_cut_or_extended_signature_is_rejected() {
    for (id, case, name) in signed_alone() {
        let assert_changed_rejected = |what: &str, change: &dyn Fn(&str) -> String| {
            assert_rejected(&id, what, &case.with_header(&name, change));
        };
        for n in 1..4 {
            assert_changed_rejected("a truncated signature", &|value| value[..value.len() - n].to_owned());
        }
        for more in ["0", "00", "=", "==", "A", "AA", "AAAA", "\n", " x"] {
            assert_changed_rejected(&format!("{more:?} added"), &|value| format!("{value}{more}"));
        }
        assert_changed_rejected("another prefix", &|value| format!("x{value}"));
        let prefix = case.verifier.scheme.prefix.len();
        if prefix > 0 {
            assert_changed_rejected("no prefix", &|value| value[prefix..].to_owned());
        }
    }
}

#[test]
fn a_changed_bit_of_the_signature_is_rejected() {
    for (id, case, name) in signed_alone() {
        let value = case.clone().header(&name).clone();
        for (at, bit) in (0..value.len()).flat_map(|at| (0..7).map(move |bit| (at, bit))) {
            let mut bytes = value.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            // The prefix of a token is case-insensitive, and so are hexadecimal digits.
            let is_prefix = case.is_token() && at < case.verifier.scheme.prefix.len();
            let is_digit = case.verifier.scheme.enc == Encoding::Hex
                && digests(&case)[0].contains(&at)
                && !case.is_token()
                && case.verifier.preset.custom.is_none();
            let is_same = (is_prefix || is_digit) && changed.eq_ignore_ascii_case(&value);
            if !is_same {
                let what = format!("bit {bit} of byte {at} of the signature changed");
                assert_rejected(&id, &what, &case.with_header(&name, |_| changed));
            }
        }
    }
}

#[test]
fn only_hexadecimal_is_case_insensitive() {
    for (id, case) in accepted() {
        let Some(name) = case.signature() else { continue };
        let upper = |value: &str| {
            let mut value = value.to_owned();
            for range in digests(&case) {
                value.replace_range(range.clone(), &value[range].to_uppercase());
            }
            value
        };
        let changed = case.with_header(&name, upper);
        if changed.headers == case.headers {
            continue;
        }
        let is_hex =
            case.verifier.scheme.enc == Encoding::Hex && !case.is_token() && case.verifier.preset.custom.is_none();
        assert_eq!(changed.verify().is_ok(), is_hex, "{id}");
    }
}

#[test]
fn another_secret_is_rejected_and_any_position_matches() {
    for (id, case) in accepted() {
        let scheme = &case.verifier.scheme;
        let other = match (scheme.alg, scheme.key) {
            (Algorithm::EcdsaP256Sha256, _) => {
                let mut key = digest::unbase64(&case.secrets[0]).unwrap();
                *key.last_mut().unwrap() ^= 1;
                digest::base64(&key)
            }
            (_, KeyEncoding::Hex) => digest::hex(&[7; 32]),
            (_, KeyEncoding::Base64) => format!("{}{}", scheme.key_strip, digest::base64(&[7; 32])),
            (_, KeyEncoding::Utf8) => "another secret".to_owned(),
        };
        let wrong = Case { secrets: vec![other.clone()], ..case.clone() };
        assert_rejected(&id, "another secret", &wrong);
        let rotated = Case { secrets: vec![other, case.secrets[0].clone()], ..case.clone() };
        assert_eq!(rotated.verify(), Ok(1), "{id}");
    }
}

#[test]
fn signed_headers_cannot_be_changed() {
    for (id, case) in accepted() {
        let signed = case.verifier.scheme.signed.selectors().chain(&case.verifier.scheme.ts).cloned();
        let headers = Headers::new(case.headers.clone());
        let names = signed.filter_map(|selector| match case.parts(&headers).chosen(&selector) {
            Selector::Header(name) => Some(name.clone()),
            _ => None,
        });
        for name in names.collect::<Vec<_>>() {
            assert_rejected(&id, &name, &case.with_header(&name, |value| format!("{value}1")));
            assert_rejected(&id, &name, &case.with_header(&name, |value| format!("0{value}")));
            assert_rejected(&id, &name, &case.with_header(&name, |_| String::new()));
            let mut twice = case.clone();
            let value = twice.header(&name).clone();
            twice.headers.push((name, value));
            assert_rejected(&id, "a repeated header", &twice);
        }
        if case.verifier.needs_url() {
            let elsewhere = case.verifier.public_url.clone().map(|url| url.replace("://", "://x"));
            let verifier = Verifier { public_url: elsewhere, ..case.verifier.clone() };
            assert_rejected(&id, "another address", &Case { verifier, ..case.clone() });
        }
    }
}

/// The timestamp of a delivery.
fn signed_at_ms(case: &Case) -> Option<i64> {
    let scheme = &case.verifier.scheme;
    let headers = Headers::new(case.headers.clone());
    let parts = case.parts(&headers);
    let ts = match scheme.ts.as_ref()? {
        Selector::Item(prefix) => {
            let value = parts.only(&scheme.sig).ok()?.into_owned();
            let separator = scheme.split.as_deref()?;
            value.split(separator).find_map(|item| item.trim().strip_prefix(prefix.as_str()).map(str::to_owned))?
        }
        selector => parts.only(selector).ok()?.into_owned(),
    };
    scheme.timestamp_format.read(&ts).map(Timestamp::unix_ms)
}

#[test]
fn a_delivery_is_accepted_up_to_exactly_the_tolerance() {
    let mut tried = BTreeSet::new();
    for (id, case) in accepted() {
        let scheme = &case.verifier.scheme;
        let (Some(tolerance), Some(at_ms)) = (scheme.tolerance, signed_at_ms(&case)) else { continue };
        let step = if scheme.timestamp_format == TimestampFormat::Seconds { 1000 } else { 1 };
        let tolerance_ms = tolerance.as_millis() as i64;
        let verify_at = |ms: i64| Case { now: Timestamp::from_unix_ms(ms), ..case.clone() }.verify();
        assert!(verify_at(at_ms + tolerance_ms).is_ok(), "{id}");
        let error = verify_at(at_ms + tolerance_ms + step).unwrap_err();
        assert_eq!(error, VerifyError::TooOld { age_ms: tolerance_ms + step, tolerance }, "{id}");
        match scheme.tolerance_future {
            Some(ahead) => {
                let ahead_ms = ahead.as_millis() as i64;
                assert!(verify_at(at_ms - ahead_ms).is_ok(), "{id}");
                let error = verify_at(at_ms - ahead_ms - step).unwrap_err();
                assert_eq!(error, VerifyError::TooNew { ahead_ms: ahead_ms + step, tolerance: ahead }, "{id}");
            }
            None => assert!(verify_at(at_ms - 100_000_000).is_ok(), "{id}"),
        }
        assert_eq!(
            verify_at(1000),
            Err(VerifyError::ClockNotSet),
            "{id}: a clock that was not set checks no timestamp"
        );
        tried.insert(case.verifier.preset.name);
    }
    for provider in ["zoom", "discord", "sendgrid", "zendesk", "mlflow"] {
        assert!(tried.contains(provider), "{provider}");
    }
    assert!(tried.len() >= 17, "{tried:?}");
}

#[test]
fn a_rejected_timestamp_says_by_how_much() {
    let tolerance = Duration::from_secs(300);
    let text = VerifyError::TooOld { age_ms: 312_000, tolerance }.to_string();
    assert!(text.contains("312 s old, 12 s more than the tolerance"), "{text}");
    let text = VerifyError::TooNew { ahead_ms: 300_500, tolerance }.to_string();
    assert!(text.contains("300.500 s in the future, 0.500 s more"), "{text}");
}

#[test]
fn a_missing_timestamp_is_named_with_its_selector() {
    let without = |id: &str, name: &str, change: fn(&str) -> String| {
        let (_, case) = accepted().find(|(have, _)| have == id).unwrap();
        case.with_header(name, change).verify().unwrap_err().to_string()
    };
    let text = without("svix/docs", "svix-timestamp", |_| String::new());
    assert!(text.contains("no timestamp (header:svix-timestamp|header:webhook-timestamp)"), "{text}");
    let text = without("stripe/sdk", "Stripe-Signature", |value| value.split_once(',').unwrap().1.to_owned());
    assert!(text.contains("no timestamp (t= in header:Stripe-Signature)"), "{text}");
    let text = without("svix/docs", "svix-timestamp", |_| "soon".to_owned());
    assert!(text.contains("the timestamp (header:svix-timestamp|header:webhook-timestamp) is not valid"), "{text}");
}

#[test]
fn a_tolerance_for_the_future_applies_on_its_own() {
    let (id, case) = accepted().find(|(id, _)| id == "svix/docs").unwrap();
    let at_ms = signed_at_ms(&case).unwrap();
    let mut verifier = case.verifier.clone();
    verifier.scheme.tolerance = None;
    let verify_at = |ms| Case { verifier: verifier.clone(), now: Timestamp::from_unix_ms(ms), ..case.clone() }.verify();
    assert!(verify_at(at_ms + 1_000_000_000).is_ok() && verify_at(at_ms - 300_000).is_ok(), "{id}");
    assert!(matches!(verify_at(at_ms - 301_000), Err(VerifyError::TooNew { .. })), "{id}");
}

#[test]
fn only_the_first_few_of_many_signatures_are_tried() {
    let (_, case) = accepted().find(|(id, _)| id.starts_with("stripe/")).unwrap();
    let value = case.clone().header("Stripe-Signature").clone();
    let (ts, good) = value.split_once(",").unwrap();
    let wrong = format!(",v1={}", "00".repeat(32)).repeat(200);
    let late = case.with_header("Stripe-Signature", |_| format!("{ts}{wrong},{good}"));
    assert_rejected("stripe", "the good one behind 200 others", &late);
    let (id, case) = accepted().find(|(id, _)| id.starts_with("standard-webhooks/ed25519")).unwrap();
    let wrong = format!("v1a,{} ", digest::base64(&[7; 64]));
    let behind = |count| case.with_header("webhook-signature", |good| format!("{}{good}", wrong.repeat(count)));
    assert!(behind(3).verify().is_ok(), "{id}");
    assert_rejected(&id, "the good one behind 4 others, of which each costs as much as the first", &behind(4));
}

#[test]
fn twilio_signs_the_query_of_the_request_and_no_fragment() {
    let (_, mut case) = accepted().find(|(id, _)| id == "twilio/sdk").unwrap();
    let url = case.verifier.public_url.clone().unwrap();
    case.verifier.public_url = Some(format!("{url}#rc=3&rp=all"));
    assert!(case.verify().is_ok());
    case.verifier.public_url = url.split('?').next().map(str::to_owned);
    assert!(case.verify().is_ok(), "the query is that of the request");
    case.target = case.target.replace("/myapp.php", "/behind/a/proxy");
    assert!(case.verify().is_ok(), "a proxy may have changed the path");
    for target in ["/myapp.php", "/myapp.php?foo=1", "/myapp.php?foo=1&bar=3", "/myapp.php?foo=1&bar=2&"] {
        assert_rejected("twilio/sdk", target, &Case { target: target.to_owned(), ..case.clone() });
    }
}

#[test]
fn a_wrong_signature_over_an_address_names_the_key_of_the_address() {
    let mut needing_url = BTreeSet::new();
    for (id, case) in accepted() {
        let wrong = Case { secrets: vec![digest::hex(&[7; 32])], ..case.clone() };
        if !case.verifier.needs_url() {
            continue;
        }
        let text = wrong.verify().unwrap_err().to_string();
        assert!(text.contains("public_url") && text.contains("the same secret"), "{id}: {text}");
        needing_url.insert(case.verifier.preset.name);
    }
    assert!(["twilio", "square", "trello", "hubspot-v2", "hubspot-v3"].iter().all(|name| needing_url.contains(name)));
}

#[test]
fn a_key_with_which_anybody_can_sign_is_refused() {
    let verifier = |name: &str| preset(name).unwrap().verifier().unwrap();
    let key = |name: &str, text: String| verifier(name).scheme.key(&Secret::new(text.into_bytes()).unwrap());
    let mut small = vec![[0; 32], [0xff; 32], [0xff; 32], [0xff; 32], [0; 32]];
    small[1][0] = 0xec;
    small[2][0] = 0xed;
    small[3][0] = 0xee;
    small[4][0] = 1;
    for hex in [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ] {
        small.push(digest::unhex(hex).unwrap().try_into().unwrap());
    }
    for bytes in small {
        for sign in [0, 0x80] {
            let mut bytes = bytes;
            bytes[31] = bytes[31] & 0x7f | sign;
            let refused = key("discord", digest::hex(&bytes)).unwrap_err();
            assert!(refused.contains("anybody can forge"), "{bytes:x?}: {refused}");
            let written = format!("whpk_{}", digest::base64(&bytes));
            assert!(key("standard-webhooks-ed25519", written).unwrap_err().contains("anybody can forge"));
        }
    }
    for (id, case) in accepted().filter(|(_, case)| case.verifier.scheme.alg == Algorithm::Ed25519) {
        assert!(key(case.verifier.preset.name, case.secrets[0].clone()).is_ok(), "{id}");
    }
}
