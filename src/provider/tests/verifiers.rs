//! Ids, event types and keys of each provider, and the test deliveries that we build.

use super::super::request::{RequestBuilder, SignError};
use super::*;
use crate::http::form::FORM;

type Find = fn(&Verifier, &Parts<'_>) -> Option<String>;

fn found(name: &str, headers: &[(&str, &str)], body: &str, find: Find) -> Option<String> {
    let verifier = preset(name).unwrap().verifier().unwrap();
    let fields = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let headers = Headers::new(fields.collect());
    let (body, forms) = (body.as_bytes(), verifier.form_use());
    find(&verifier, &Parts { method: "POST", target: "/", headers: &headers, body, forms, reading: None })
}

fn id_of(name: &str, headers: &[(&str, &str)], body: &str) -> Option<String> {
    found(name, headers, body, Verifier::delivery_id)
}

#[test]
fn an_id_distinguishes_deliveries_that_providers_number_alike() {
    let hubspot = |subscription: u32| {
        let body = format!(r#"[{{"eventId":1,"subscriptionId":{subscription},"occurredAt":1700000000000}}]"#);
        id_of("hubspot-v3", &[], &body).unwrap()
    };
    assert_eq!(hubspot(7), "1:7:1700000000000");
    assert_ne!(hubspot(7), hubspot(8), "one event id counts within one subscription");
    assert_eq!(id_of("hubspot-v2", &[], r#"[{"eventId":1}]"#).as_deref(), Some("1"));
    assert_eq!(id_of("hubspot-v2", &[], r#"{"vid":1}"#), None);
    let netlify = |event, at: u32| {
        let body = format!(r#"{{"id":"d","state":"ready","updated_at":"{at}"}}"#);
        id_of("netlify", &[("X-Netlify-Event", event)], &body).unwrap()
    };
    assert_eq!(netlify("deploy_created", 1), "d:ready:deploy_created:1");
    assert_ne!(netlify("deploy_created", 1), netlify("deploy_locked", 1));
    assert_ne!(netlify("deploy_locked", 1), netlify("deploy_locked", 2));
    assert_eq!(id_of("netlify", &[], r#"{"id":"d","state":"ready"}"#).as_deref(), Some("d:ready"));
}

#[test]
fn a_composed_id_is_never_too_long() {
    let source = format!("https://example.com/{}", "a".repeat(250));
    let id = |id: &str| id_of("cloudevents", &[("ce-id", id), ("ce-source", &source)], "").unwrap();
    assert_eq!((id("1").len(), id("1")), (64, id("1")));
    assert_ne!(id("1"), id("2"));
    let long = "a".repeat(300);
    assert_eq!(id_of("github", &[("X-GitHub-Delivery", &long)], ""), Some(long), "a single value is kept as it is");
}

#[test]
fn a_secret_in_the_wrong_form_is_an_error() {
    let wrong = |name: &str, text: &str| {
        let verifier = preset(name).unwrap().verifier().unwrap();
        verifier.scheme.key(&Secret::new(text.as_bytes().to_vec()).unwrap()).unwrap_err()
    };
    assert!(wrong("svix", "whsec_not base64!").contains("base64 behind whsec_"));
    assert!(wrong("svix", "whsec_").contains("base64"), "an empty key is none");
    assert!(wrong("discord", "abcd").contains("Ed25519 public key (32 bytes in hexadecimal)"));
    assert!(wrong("sendgrid", "AAAA").contains("P-256"));
    assert!(wrong("adyen-banking", "xyz").contains("hexadecimal"));
    let key = |name: &str, text: &str| {
        let verifier = preset(name).unwrap().verifier().unwrap();
        verifier.scheme.key(&Secret::new(text.as_bytes().to_vec()).unwrap()).unwrap().as_bytes().to_vec()
    };
    assert_eq!(key("svix", " whsec_YWJj\t"), b"abc", "white space around an encoded key is a slip");
    assert_eq!(key("adyen-banking", "00ff \n"), [0, 255]);
    assert_eq!(key("stripe", "whsec_ "), b"whsec_ ", "but in a text it may be a part of the key");
}

#[test]
fn test_deliveries_are_accepted() {
    for preset in presets() {
        let public_url = Some("https://hooks.example.com/x".to_owned());
        let verifier = Verifier { public_url, ..preset.verifier().unwrap() };
        let secret = match verifier.scheme.key {
            KeyEncoding::Hex => "00".repeat(32),
            _ => digest::base64(&[7; 32]),
        };
        let Ok(key) = verifier.scheme.key(&Secret::new(secret.into_bytes()).unwrap()) else { continue };
        let now = Timestamp::from_unix_ms(1_700_000_000_123);
        let delivery = |body| TestDelivery {
            event_type: Some("seen".into()),
            id: Some("id-1".into()),
            body,
            new_id: "new".into(),
        };
        let made = match delivery(None).build(&verifier, Some(&key), now) {
            Err(SignError::PrivateKey) => continue,
            made => made.unwrap_or_else(|error| panic!("{}: {error}", preset.name)),
        };
        let result = verify(&verifier, std::slice::from_ref(&key), &made.parts(), now);
        assert_eq!(result, Ok(0), "{}", preset.name);
        if !verifier.id.is_empty() {
            let id = verifier.delivery_id(&made.parts()).unwrap_or_else(|| panic!("{} has no id", preset.name));
            assert!(id.contains("id-1"), "{}: {id}", preset.name);
        }
        if !verifier.event.is_empty() {
            assert_eq!(verifier.event_type(&made.parts()).as_deref(), Some("seen"), "{}", preset.name);
        }
    }
}

/// A test delivery of the provider with a user's own body.
fn built_from(name: &str, body: &[u8]) -> Result<(Verifier, Secret, RequestBuilder), SignError> {
    let public_url = Some("https://hooks.example.com/x?a=1".to_owned());
    let verifier = Verifier { public_url, ..preset(name).unwrap().verifier().unwrap() };
    let key = verifier.scheme.key(&Secret::new(b"00112233".to_vec()).unwrap()).unwrap();
    let delivery = TestDelivery { event_type: None, id: None, body: Some(body.to_vec()), new_id: "new".into() };
    let made = delivery.build(&verifier, Some(&key), Timestamp::from_unix_ms(1_700_000_000_123))?;
    Ok((verifier, key, made))
}

#[test]
fn a_users_own_body_gets_the_values_that_must_be_signed() {
    let bodies: [(&str, &[u8]); 6] = [
        ("twilio", b"{}"),
        ("twilio", b"Body=a"),
        ("mailgun", b"{}"),
        ("mailgun-routes", b"a=1&b=2"),
        ("msgraph", br#"{"value":[{},{}]}"#),
        ("linear", b"{}"),
    ];
    for (name, body) in bodies {
        let (verifier, key, made) = built_from(name, body).unwrap_or_else(|error| panic!("{name}: {error}"));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&made.query).finish();
        let target = format!("/?{query}");
        let parts = Parts { target: &target, ..made.parts() };
        let now = Timestamp::from_unix_ms(1_700_000_000_123);
        assert!(verify(&verifier, &[key], &parts, now).is_ok(), "{name}: {made:?}");
    }
}

#[test]
fn a_composed_id_can_be_sent_with_any_body() {
    let id = |name: &str, id: Option<&str>, body: &str| {
        let verifier = preset(name).unwrap().verifier().unwrap();
        let id = id.map(str::to_owned);
        let delivery =
            TestDelivery { event_type: None, id, body: Some(body.as_bytes().to_vec()), new_id: "new".into() };
        verifier.delivery_id(&delivery.build(&verifier, None, crate::clock::now()).unwrap().parts())
    };
    assert_eq!(id("cloudevents", Some("7"), "{}").as_deref(), Some("7 hookbox_send"));
    assert_eq!(id("cloudevents", None, "text").as_deref(), Some("new hookbox_send"));
    assert_eq!(id("cloudevents", Some("7"), r#"{"source":"/s"}"#).as_deref(), Some("7 /s"));
    assert_eq!(id("netlify", None, r#"{"id":"d","state":"ready"}"#).as_deref(), Some("d:ready"));
}

#[test]
fn a_body_that_the_provider_could_not_send_is_refused() {
    for (name, body) in [("adyen-standard", "{}"), ("msgraph", "[]"), ("msgraph", "text"), ("mailgun", "text")] {
        let refused = built_from(name, body.as_bytes()).map(|(_, _, made)| made);
        assert!(matches!(refused, Err(SignError::NoPlace(_))), "{name}: {refused:?}");
    }
}

#[test]
fn the_content_type_follows_the_users_own_body() {
    let type_of = |name: &str, body: &[u8]| {
        let verifier = preset(name).unwrap().verifier().unwrap();
        let delivery = TestDelivery { event_type: None, id: None, body: Some(body.to_vec()), new_id: "new".into() };
        let made = delivery.build(&verifier, None, crate::clock::now()).unwrap();
        made.headers.get("Content-Type").unwrap().to_owned()
    };
    assert_eq!(type_of("github", b" {}\n"), "application/json");
    assert_eq!(type_of("cloudevents", b"{}"), "application/cloudevents+json");
    assert_eq!(type_of("twilio", b"{}"), "application/json");
    assert_eq!(type_of("twilio", b"Body=a+b&From=%2B1"), FORM);
    assert_eq!(type_of("stripe", b"a=b"), "text/plain; charset=utf-8", "it sends no forms");
    assert_eq!(type_of("github", b"a = b"), "text/plain; charset=utf-8");
    assert_eq!(type_of("github", b"\xff"), "application/octet-stream");
}

#[test]
fn every_provider_has_its_event_type_in_its_own_place() {
    let event = |name: &str, headers: &[(&str, &str)], body: &str| {
        found(name, headers, body, Verifier::event_type).unwrap_or_default()
    };
    assert_eq!(event("sendgrid", &[], r#"[{"event":"delivered"},{"event":"open"}]"#), "delivered");
    assert_eq!(event("gitlab", &[], r#"{"object_kind":"push"}"#), "push");
    assert_eq!(event("gitlab-signing", &[("X-Gitlab-Event", "Push Hook")], r#"{"object_kind":"push"}"#), "Push Hook");
    let whatsapp = r#"{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages"}]}]}"#;
    assert_eq!(event("meta", &[], whatsapp), "messages");
    assert_eq!(event("meta", &[], r#"{"object":"page","entry":[{"messaging":[]}]}"#), "page");
    assert_eq!(event("hubspot-v2", &[], r#"[{"subscriptionType":"contact.creation"}]"#), "contact.creation");
    assert_eq!(event("msgraph", &[], r#"{"value":[{"lifecycleEvent":"missed"}]}"#), "missed");
    assert_eq!(event("telegram", &[], r#"{"update_id":1,"callback_query":{"id":"2"}}"#), "callback_query");
    assert_eq!(event("shopify", &[("Shopify-Topic", "orders/create")], "{}"), "orders/create");
}

#[test]
fn no_header_that_carries_a_key_is_stored() {
    for name in
        ["X-Api-Key", "api-key", "X-Auth-Token", "Cookie", "Authorization", "X-Gitlab-Token", "X-Buildkite-Token"]
    {
        assert!(is_secret_header(name), "{name}");
    }
    for name in ["X-Hub-Signature-256", "X-GitHub-Event", "Content-Type"] {
        assert!(!is_secret_header(name), "{name}");
    }
}

#[test]
fn a_users_own_body_is_sent_unchanged() {
    let verifier = preset("stripe").unwrap().verifier().unwrap();
    let key = Secret::new(b"whsec_x".to_vec()).unwrap();
    let body = br#"{ "id" : "evt_1", "type":"x" }"#.to_vec();
    let delivery = TestDelivery { event_type: None, id: None, body: Some(body.clone()), new_id: "new".into() };
    let made = delivery.build(&verifier, Some(&key), crate::clock::now()).unwrap();
    assert_eq!(made.body, body);
    assert!(verify(&verifier, &[key], &made.parts(), crate::clock::now()).is_ok());
}
