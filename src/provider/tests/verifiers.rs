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
fn an_id_in_the_signed_body_goes_before_one_in_a_header() {
    const FORM_TYPE: (&str, &str) = ("Content-Type", FORM);
    let twilio = |body: &str| id_of("twilio", &[FORM_TYPE, ("I-Twilio-Idempotency-Token", "token-1")], body).unwrap();
    assert_eq!(twilio("MessageSid=SM1&MessageStatus=sent&SmsSid=SM1&SmsStatus=sent"), "SM1:sent");
    assert_eq!(twilio("MessageSid=SM1&MessageStatus=delivered"), "SM1:delivered");
    assert_eq!(twilio("MessageSid=SM1&SmsStatus=received&Body=Hello"), "SM1:received");
    assert_eq!(twilio("MessageSid=SM1&Body=Hello"), "SM1", "an incoming message");
    assert_eq!(twilio("CallSid=CA1&CallStatus=ringing&SequenceNumber=1"), "CA1:ringing:1");
    assert_eq!(twilio("CallSid=CA1&CallStatus=in-progress&Digits=1"), "token-1", "instructions, asked for again");
    let zendesk = |body: &str| id_of("zendesk", &[("X-Zendesk-Webhook-Invocation-Id", "inv-1")], body).unwrap();
    assert_eq!(zendesk(r#"{"id":"evt-1","zendesk_event_version":"2022-11-06"}"#), "evt-1");
    assert_eq!(zendesk(r#"{"id":4711,"title":"a trigger's own body"}"#), "inv-1");
    assert_eq!(id_of("zendesk", &[], r#"{"id":4711}"#), None, "the number of a ticket");
    let pagerduty = id_of("pagerduty", &[("X-Webhook-Id", "w-1")], r#"{"event":{"id":"01"}}"#);
    assert_eq!(pagerduty.as_deref(), Some("01"));
}

#[test]
fn values_that_are_signed_go_before_those_that_are_not() {
    // GitLab's header has another word than its body. A header alone tells apart what Netlify sends twice in one state.
    let exceptions = [("gitlab-signing", "event type"), ("netlify", "id")];
    for preset in presets() {
        let verifier = preset.verifier().unwrap();
        let unsigned = verifier.unsigned();
        for (what, formats, unsigned) in
            [("id", &verifier.id, &unsigned.id), ("event type", &verifier.event, &unsigned.event_type)]
        {
            let is_signed = |format: &Format| !format.selectors().any(|selector| unsigned.contains(&selector));
            let is_in_order = formats.iter().map(is_signed).is_sorted_by(|before, after| before >= after);
            assert_eq!(is_in_order, !exceptions.contains(&(preset.name, what)), "{}: {what}", preset.name);
        }
    }
}

#[test]
fn what_is_signed_is_known_of_every_preset() {
    let summary = |name: &str| unsigned_summary(&preset(name).unwrap().verifier().unwrap());
    let github = "the delivery id in header X-GitHub-Delivery, the event type in header X-GitHub-Event";
    assert_eq!(summary("github").as_deref(), Some(github));
    assert_eq!(summary("token").as_deref(), Some("the whole delivery"));
    assert_eq!(summary("msgraph").as_deref(), Some("the whole delivery"));
    let beside = "all of the body beside JSON /signature/timestamp and JSON /signature/token";
    let mailgun = format!("{beside}, the event type in JSON /event-data/event");
    assert_eq!(summary("mailgun"), Some(mailgun));
    assert_eq!(summary("adyen-standard").as_deref(), Some("most of the body"));
    assert_eq!(summary("dropbox").as_deref(), Some("a delivery id (there is none)"));
    assert_eq!(summary("gitlab-signing").as_deref(), Some("the event type in header X-Gitlab-Event"));
    assert_eq!(summary("twilio").as_deref(), Some("the delivery id in header I-Twilio-Idempotency-Token"));
    let signed = presets().map(|preset| preset.name).filter(|name| summary(name).is_none()).collect::<BTreeSet<_>>();
    for name in ["stripe", "slack", "pagerduty", "standard-webhooks", "svix", "mlflow", "discord", "square", "typeform"]
    {
        assert!(signed.contains(name), "{name}: {:?}", summary(name));
    }
    for name in ["gitea", "forgejo", "gogs", "bitbucket", "jira", "linear", "shopify", "sentry", "netlify"] {
        assert!(!signed.contains(name), "{name}");
    }
}

#[test]
fn a_token_has_a_prefix_in_the_header_authorization_only() {
    let result = |sig: &str, prefix: Option<&str>, name: &str, value: &str| {
        let mut verifier = preset("token").unwrap().verifier().unwrap();
        verifier.scheme.sig = sig.parse().unwrap();
        verifier.scheme.has_own_prefix = prefix.is_some();
        verifier.scheme.prefix = prefix.unwrap_or("Bearer ").to_owned();
        let key = Secret::new(b"brass-kettle".to_vec()).unwrap();
        let headers = Headers::new(vec![(name.to_owned(), value.to_owned())]);
        let forms = verifier.form_use();
        let parts = Parts { method: "POST", target: "/", headers: &headers, body: b"", forms, reading: None };
        verify(&verifier, &[key], &parts, crate::clock::now()).is_ok()
    };
    let either = "header:X-Token|header:Authorization";
    for sig in ["header:X-Token", either] {
        assert!(result(sig, None, "X-Token", "brass-kettle"), "{sig}");
        assert!(!result(sig, None, "X-Token", "Bearer brass-kettle"), "{sig}");
    }
    assert!(result(either, None, "Authorization", "bearer brass-kettle"));
    assert!(!result(either, None, "Authorization", "brass-kettle"));
    assert!(result("header:X-Token", Some("Key "), "X-Token", "Key brass-kettle"));
    assert!(!result("header:X-Token", Some("Key "), "X-Token", "brass-kettle"));
}

#[test]
fn a_batch_of_cloudevents_says_that_it_is_one() {
    let event = |body: &str| found("cloudevents", &[], body, Verifier::event_type);
    let one = r#"{"specversion":"1.0","type":"order.made"}"#;
    assert_eq!(event(&format!("[{one},{one}]")).as_deref(), Some("batch"));
    assert_eq!(event(one).as_deref(), Some("order.made"));
    assert_eq!(event("[]"), None);
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
            let event_type = verifier.event_type(&made.parts()).unwrap_or_default();
            assert!(event_type == "seen" || event_type == "seen.created", "{}: {event_type}", preset.name);
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
fn a_users_own_body_is_sent_unchanged() {
    let verifier = preset("stripe").unwrap().verifier().unwrap();
    let key = Secret::new(b"whsec_x".to_vec()).unwrap();
    let body = br#"{ "id" : "evt_1", "type":"x" }"#.to_vec();
    let delivery = TestDelivery { event_type: None, id: None, body: Some(body.clone()), new_id: "new".into() };
    let made = delivery.build(&verifier, Some(&key), crate::clock::now()).unwrap();
    assert_eq!(made.body, body);
    assert!(verify(&verifier, &[key], &made.parts(), crate::clock::now()).is_ok());
}
