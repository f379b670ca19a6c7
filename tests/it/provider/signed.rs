//! What is signed: ids in the body, the age of a delivery, the address, keys that prove something; and what the program says
//! of the rest.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::Vector;
use crate::support::{Home, Hookbox, Request, hex};

const TWILIO: &str = "[sources.sms]\nprovider = \"twilio\"\nsecret = \"11aa22bb33cc44dd\"\n\
                      public_url = \"https://hooks.example.net/webhooks/sms\"\n";

fn sha256(key: &str, text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), text.as_bytes())
}

/// A request of Twilio whose URL has this query. The fields must be sorted and need no escapes.
fn twilio(query: &str, fields: &[(&str, &str)], token: &str) -> Request {
    let signed: String = fields.iter().flat_map(|(name, value)| [*name, *value]).collect();
    let url = format!("https://hooks.example.net/webhooks/sms{query}{signed}");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"11aa22bb33cc44dd");
    let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Request::new("POST", &format!("/webhooks/sms{query}"))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("X-Twilio-Signature", &STANDARD.encode(hmac::sign(&key, url.as_bytes())))
        .header("I-Twilio-Idempotency-Token", token)
        .body(body.join("&"))
}

fn zendesk(body: &str, invocation: &str) -> Request {
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    Request::new("POST", "/webhooks/desk")
        .header("Content-Type", "application/json")
        .header("X-Zendesk-Webhook-Signature", &STANDARD.encode(sha256("desk-key", &format!("{now}{body}"))))
        .header("X-Zendesk-Webhook-Signature-Timestamp", &now)
        .header("X-Zendesk-Webhook-Invocation-Id", invocation)
        .body(body)
}

#[track_caller]
fn assert_taken(hookbox: &Hookbox, request: &Request) {
    let response = hookbox.send(request);
    assert_eq!(response.status, 200, "{}{}", response.text(), hookbox.stderr());
}

#[test]
fn three_statuses_of_a_message_and_two_updates_of_a_ticket_are_five_events_however_often_they_come() {
    let config = format!("{TWILIO}[sources.desk]\nprovider = \"zendesk\"\nsecret = \"desk-key\"\n");
    let hookbox = Home::with_config(&config).start();
    for token in ["t-1", "t-2"] {
        for status in ["queued", "sent", "delivered"] {
            assert_taken(&hookbox, &twilio("", &[("MessageSid", "SM1"), ("MessageStatus", status)], token));
        }
    }
    for (invocation, status) in [("i-1", "open"), ("i-2", "solved"), ("i-2", "solved")] {
        assert_taken(&hookbox, &zendesk(&format!(r#"{{"id":4711,"status":"{status}"}}"#), invocation));
    }
    let ids = hookbox.query::<String>("SELECT delivery_id FROM webhook_events ORDER BY id");
    assert_eq!(ids, ["SM1:queued", "SM1:sent", "SM1:delivered", "i-1", "i-2"]);
}

#[test]
fn a_captured_delivery_with_another_id_in_a_header_is_the_same_where_the_body_has_one() {
    let config = format!(
        "{TWILIO}[sources.pages]\nprovider = \"pagerduty\"\nsecret = \"page-key\"\n\
         [sources.desk]\nprovider = \"zendesk\"\nsecret = \"desk-key\"\n"
    );
    let hookbox = Home::with_config(&config).start();
    let body = r#"{"event":{"id":"01E","event_type":"incident.triggered"}}"#;
    let event = r#"{"id":"e-1","type":"zen:event-type:user.created","zendesk_event_version":"2022-11-06"}"#;
    for id in ["captured", "changed"] {
        let signature = format!("v1={}", hex(sha256("page-key", body).as_ref()));
        let page = Request::new("POST", "/webhooks/pages").header("X-PagerDuty-Signature", &signature);
        assert_taken(&hookbox, &page.header("X-Webhook-Id", id).body(body));
        assert_taken(&hookbox, &zendesk(event, id));
        let call = [("CallSid", "CA1"), ("CallStatus", "ringing"), ("SequenceNumber", "1")];
        assert_taken(&hookbox, &twilio("", &call, id));
    }
    let ids = hookbox.query::<String>("SELECT delivery_id FROM webhook_events ORDER BY id");
    assert_eq!(ids, ["01E", "e-1", "CA1:ringing:1"]);
}

#[test]
fn a_delivery_captured_long_ago_is_refused_by_every_provider_that_signs_the_time() {
    let ids = ["zoom/event", "sendgrid/sdk", "discord/event", "zendesk/static-secret"];
    let vectors: Vec<Vector> = Vector::all().into_iter().filter(|vector| ids.contains(&vector.text("id"))).collect();
    assert_eq!(vectors.len(), ids.len());
    let with_tolerance = |(n, vector): (usize, &Vector)| {
        vector.config(&format!("v{n}")).replace("verify = { tolerance = \"off\", tolerance_future = \"off\" }\n", "")
    };
    let config: String = vectors.iter().enumerate().map(with_tolerance).collect();
    assert!(!config.contains("tolerance"), "{config}");
    let hookbox = Home::with_config(&config).start();
    for (n, vector) in vectors.iter().enumerate() {
        assert_eq!(hookbox.send(&vector.request(&format!("v{n}"))).status, 401, "{}", vector.text("id"));
        hookbox.wait_for_stderr(&format!("rejected /webhooks/v{n} from 127.0.0.1: the timestamp is "));
    }
    for tolerance in ["(1h 30m)", "(1day 1h)", "(15m)"] {
        assert!(hookbox.stderr().contains(&format!("more than the tolerance {tolerance}")), "{}", hookbox.stderr());
    }
    assert_eq!(hookbox.stored(), 0);
}

#[test]
fn a_query_of_its_own_in_each_status_callback_is_verified_with_the_rest_of_public_url() {
    let hookbox = Home::with_config(TWILIO).start();
    let fields = [("AccountSid", "AC00"), ("MessageSid", "SM1"), ("MessageStatus", "sent")];
    for query in ["", "?id=12345", "?order=A-77&kind=sms", "?q=%20a+b&q"] {
        assert_taken(&hookbox, &twilio(query, &fields, "t"));
    }
    let other = twilio("?id=12345", &fields, "t").target("/webhooks/sms?id=12346");
    let added = twilio("", &fields, "t").target("/webhooks/sms?id=1");
    let without = twilio("?id=12345", &fields, "t").target("/webhooks/sms");
    for request in [other, added, without] {
        assert_eq!(hookbox.send(&request).status, 401);
    }
    hookbox.wait_for_stderr("is public_url in [sources.NAME] that address, character by character");
    assert_eq!(hookbox.stored(), 1, "one status of one message");
}

#[test]
fn a_wrong_signature_over_the_address_names_public_url_in_any_scheme() {
    let config = "[sources.pay]\nprovider = \"square\"\nsecret = \"s\"\npublic_url = \"https://h.test/pay\"\n\
                  [sources.mail]\nprovider = \"hmac\"\nsecret = \"s\"\npublic_url = \"https://h.test/mail\"\n\
                  [sources.mail.verify]\nalg = \"hmac-sha1\"\nsig = \"header:X-Mandrill-Signature\"\nprefix = \"\"\n\
                  enc = \"base64\"\nsigned = \"{url}{form_sorted}\"\n";
    let hookbox = Home::with_config(config).start();
    let signature = STANDARD.encode([7; 32]);
    for (source, header) in [("pay", "x-square-hmacsha256-signature"), ("mail", "X-Mandrill-Signature")] {
        let request = Request::new("POST", &format!("/webhooks/{source}")).header(header, &signature);
        let form = request.header("Content-Type", "application/x-www-form-urlencoded").body("a=1");
        assert_eq!(hookbox.send(&form).status, 401);
        hookbox.wait_for_stderr(&format!(
            "rejected /webhooks/{source} from 127.0.0.1: the signature does not match; this"
        ));
    }
    assert_eq!(hookbox.stderr().matches("public_url").count(), 2, "{}", hookbox.stderr());
}

#[test]
fn a_public_key_with_which_anybody_can_sign_is_a_problem_of_the_config() {
    let zeros = "00".repeat(32);
    let whpk = format!("whpk_{}", STANDARD.encode([0; 32]));
    for (provider, key) in [("discord", &zeros), ("standard-webhooks-ed25519", &whpk)] {
        let home = Home::with_config(&format!("[sources.a]\nprovider = {provider:?}\nsecret = {key:?}\n"));
        let checked = home.run(["check"]);
        assert_eq!(checked.code, Some(2), "{checked}");
        assert!(checked.text().contains("a point of small order (such as all zeros)"), "{checked}");
        home.start_in_vain().refused(2, &["sources.a.secret", "anybody can forge signatures"]);
    }
}

#[test]
fn check_says_what_is_not_signed() {
    let config = "[sources.a]\nprovider = \"github\"\nsecret = \"s\"\n[sources.b]\nprovider = \"token\"\nsecret = \"s\"\n\
                  [sources.c]\nprovider = \"stripe\"\nsecret = \"s\"\n[sources.d]\nprovider = \"hmac\"\nsecret = \"s\"\n\
                  [sources.d.verify]\nsigned = \"{form:x}\"\n";
    let text = Home::with_config(config).run(["check"]).ok().text();
    let unsigned: Vec<&str> = text.lines().filter(|line| line.contains("NOT signed")).map(str::trim).collect();
    let expected = [
        "NOT signed: the delivery id in header X-GitHub-Delivery, the event type in header X-GitHub-Event \
         (`hookbox providers github` says what helps)",
        "NOT signed: the whole delivery (`hookbox providers token` says what helps)",
        "NOT signed: all of the body beside form field x, the event type in header X-Event (`hookbox providers hmac` says what helps)",
    ];
    assert_eq!(unsigned, expected);
}

#[test]
fn a_token_in_a_header_of_its_own_is_the_secret_alone() {
    let config = "[sources.bell]\nprovider = \"token\"\nsecret = \"brass-kettle\"\n\
                  [sources.bell.verify]\nsig = \"header:X-Token\"\n";
    let hookbox = Home::with_config(config).start();
    let ring = Request::new("POST", "/webhooks/bell").body("ding");
    assert_taken(&hookbox, &ring.clone().header("X-Token", "brass-kettle"));
    assert_eq!(hookbox.send(&ring.clone().header("X-Token", "brass-kettl")).status, 401);
    assert_eq!(hookbox.send(&ring.header("Authorization", "Bearer brass-kettle")).status, 401);
    let url = hookbox.url("/webhooks/bell");
    hookbox.run(["send", "bell", "--url", &url]).ok();
    let checked = hookbox.run(["check"]).ok().text();
    assert!(checked.contains("the secret itself in header X-Token: it"), "{checked}");
}

#[test]
fn a_batch_of_cloudevents_is_one_event_that_says_so() {
    let config = "[sources.ce]\nprovider = \"cloudevents\"\nsecret = \"brass-kettle\"\n";
    let hookbox = Home::with_config(config).start();
    let one = r#"{"specversion":"1.0","id":"1","source":"/s","type":"order.made","data":{}}"#;
    let batch = Request::new("POST", "/webhooks/ce").header("Authorization", "Bearer brass-kettle");
    let batch = batch.header("Content-Type", "application/cloudevents-batch+json").body(format!("[{one},{one}]"));
    assert_eq!(hookbox.send(&batch).status, 204);
    assert_eq!(hookbox.query::<String>("SELECT event_type FROM webhook_events"), ["batch"]);
}

#[test]
fn an_event_type_with_spaces_is_routed_listed_and_replayed_by_its_name() {
    let config = "poll_interval = \"100ms\"\n[sources.gitlab]\nprovider = \"gitlab\"\nsecret = \"glt-9\"\n\
                  [actions.pushes]\nkind = \"log\"\non = [\"gitlab:Push Hook\"]\n\
                  [actions.notes]\nkind = \"log\"\non = [\"*:Note Hook\"]\nwhen = \"event == 'Note Hook'\"\n";
    let home = Home::with_config(config);
    assert!(home.run(["check"]).ok().text().contains("on gitlab:Push Hook\n"));
    let hookbox = home.start();
    for (id, event) in [("1", "Push Hook"), ("2", "Note Hook"), ("3", "Push  Hook")] {
        let request = Request::new("POST", "/webhooks/gitlab").header("X-Gitlab-Token", "glt-9");
        assert_taken(&hookbox, &request.header("X-Gitlab-Event", event).header("Idempotency-Key", id).body("{}"));
    }
    hookbox.wait_until_done();
    let jobs = hookbox.query::<String>("SELECT event_id || action FROM jobs ORDER BY 1");
    assert_eq!(jobs, ["1pushes", "2notes"]);
    let listed = hookbox.run(["list", "--event", "Push Hook", "--json"]).ok().json_lines();
    assert_eq!((listed.len(), &listed[0]["id"]), (1, &1.into()));
    Home::with_config(&config.replace("gitlab:Push Hook", "gitlab: Push Hook"))
        .run(["check"])
        .refused(2, &["actions.pushes.on[0]", "begins or ends with a space"]);
}
