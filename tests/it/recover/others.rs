//! GitLab and Stripe, whose lists have the requests themselves. The stubs answer as their documentation shows.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::published;
use super::{recover_source as recover, stored_ids};
use crate::support::{Address, Answer, Home, Received, Request, Stub, example, wait_for, wait_longer_for};

/// An event is stored in a commit of its own, and comes five seconds after the start.
const MINUTE: Duration = Duration::from_secs(60);

const TAKEN_IDS: &str = "SELECT delivery_id FROM webhook_events JOIN taken ON event_id = id ORDER BY id";

/// A list, the newest last, and what was asked for.
#[derive(Default)]
struct Listed {
    items: Vec<Value>,
    resent: Vec<String>,
    target: Option<Address>,
    /// Answers this request with 429.
    limit_at: Option<usize>,
    requests: usize,
    exchanges: Vec<Value>,
}

struct Api {
    stub: Stub,
    listed: Arc<Mutex<Listed>>,
}

impl Api {
    fn start(answer: fn(&mut Listed, &Received) -> (Answer, &'static str)) -> Api {
        let (stub, listed) = (Stub::http(), Arc::new(Mutex::new(Listed::default())));
        let judge = Arc::clone(&listed);
        stub.answer_by(move |request| {
            let mut listed = judge.lock().unwrap();
            listed.requests += 1;
            if listed.limit_at == Some(listed.requests) {
                return Answer::With(429, vec![("Retry-After".to_owned(), "1".to_owned())], b"{}".to_vec());
            }
            let (answer, path) = answer(&mut listed, request);
            let Answer::With(status, _, body) = &answer else { return answer };
            listed.exchanges.push(published::exchange(path, &request.method, &request.target, *status, body));
            answer
        });
        Api { stub, listed }
    }

    fn add(&self, item: Value) {
        self.listed.lock().unwrap().items.push(item);
    }

    fn limit_at(&self, request: usize) {
        self.listed.lock().unwrap().limit_at = Some(request);
    }

    #[track_caller]
    fn assert_as_published(&self, variable: &str) {
        published::assert_as_published(variable, &self.listed.lock().unwrap().exchanges);
    }

    fn targets(&self) -> Vec<String> {
        self.stub.received().into_iter().map(|request| request.target).collect()
    }
}

fn json_answer(status: u16, more: &[(&str, String)], body: &Value) -> Answer {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let fields = [("Content-Type", "application/json".to_owned()), ("Date", date)];
    let fields = fields.iter().chain(more).map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Answer::With(status, fields, body.to_string().into_bytes())
}

/// The value of a parameter in the target of a request.
fn parameter(target: &str, name: &str) -> Option<String> {
    let query = target.split_once('?')?.1;
    query.split('&').find_map(|pair| Some(pair.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

// ---- GitLab

const HOOK: &str = "/api/v4/projects/flightjs%2Fflight/hooks/12";

/// A page has 20; the address of the next one is that of a server behind a proxy.
fn gitlab(listed: &mut Listed, request: &Received) -> (Answer, &'static str) {
    assert_eq!(request.header("authorization"), Some("Bearer glpat-x"));
    let rest = request.target.strip_prefix(HOOK).unwrap_or_else(|| panic!("{}", request.target));
    if request.method == "POST" {
        let id = rest.strip_prefix("/events/").and_then(|rest| rest.strip_suffix("/resend")).unwrap();
        return (resend(listed, id), "/api/v4/projects/{id}/hooks/{hook_id}/events/{hook_log_id}/resend");
    }
    assert!(rest.starts_with("/events?") && parameter(rest, "per_page").as_deref() == Some("20"), "{rest}");
    let page: usize = parameter(rest, "page").map_or(1, |page| page.parse().unwrap());
    let left: Vec<&Value> = listed.items.iter().rev().skip((page - 1) * 20).collect();
    let mut more = Vec::new();
    if left.len() > 20 {
        let next = format!("<http://internal:8080{HOOK}/events?page={}&per_page=20>; rel=\"next\"", page + 1);
        more.push(("Link", next));
    }
    let answer = json_answer(200, &more, &json!(left.into_iter().take(20).collect::<Vec<_>>()));
    (answer, "/api/v4/projects/{id}/hooks/{hook_id}/events")
}

/// It keeps the Idempotency-Key, as GitLab's `ResendService` does.
fn resend(listed: &mut Listed, id: &str) -> Answer {
    let item = listed.items.iter().find(|item| item["id"].as_u64() == id.parse().ok()).unwrap().clone();
    let key = item["request_headers"]["Idempotency-Key"].as_str().unwrap().to_owned();
    listed.resent.push(key.clone());
    let headers = [("X-Gitlab-Event", "Push Hook"), ("Idempotency-Key", &key), ("X-Gitlab-Token", "hush")];
    let request = headers
        .iter()
        .fold(Request::new("POST", "/webhooks/gitlab"), |request, (name, value)| request.header(name, value));
    let request = request.body(item["request_data"].to_string());
    let mut connection = listed.target.as_ref().unwrap().try_connect().unwrap();
    connection.try_send(&request.bytes()).unwrap();
    let status = connection.try_response().unwrap().status;
    json_answer(201, &[], &json!({ "response_status": status }))
}

fn gitlab_event(id: u32, kind: &str, status: &str, ago_s: u64) -> Value {
    let at = humantime::format_rfc3339_millis(SystemTime::now() - Duration::from_secs(ago_s)).to_string();
    json!({
        "id": id, "url": "https://example.net/", "trigger": "push_hooks",
        "request_headers": {
            "Content-Type": "application/json", "User-Agent": "GitLab/18.0.0", "Idempotency-Key": format!("key-{id:03}"),
            "X-Gitlab-Event": kind, "X-Gitlab-Event-UUID": format!("uuid-{id}"), "X-Gitlab-Token": "[REDACTED]",
        },
        "request_data": { "object_kind": "push", "n": id },
        "response_headers": {}, "response_body": "", "execution_duration": 1.09, "response_status": status, "created_at": at,
    })
}

fn gitlab_home(api: &Api, keys: &str) -> Home {
    let text = format!(
        "[sources.gitlab]\nprovider = \"gitlab\"\nsecret = \"hush\"\n[sources.gitlab.recover]\nevery = \"off\"\n\
         hook = \"flightjs/flight/12\"\ntoken = \"env:API_TOKEN\"\napi = \"{}\"\n{keys}",
        api.stub.url("/api/v4")
    );
    Home::with_config(&text).env("API_TOKEN", "glpat-x")
}

#[test]
fn gitlab_sends_again_what_is_missing_under_the_same_idempotency_key() {
    let api = Api::start(gitlab);
    for (id, status) in [(1, "internal error"), (2, "200"), (3, "401"), (4, "502")] {
        api.add(gitlab_event(id, "Push Hook", status, 600 - u64::from(id)));
    }
    let mut too_large = gitlab_event(5, "Push Hook", "500", 60);
    too_large["request_data"] = json!({ "oversize": true });
    api.add(too_large);
    let hookbox = gitlab_home(&api, "").start();
    api.listed.lock().unwrap().target = Some(hookbox.address());
    let said = recover(&hookbox, "gitlab", &[]);
    assert!(said.contains("asked for 3"), "{said}");
    assert_eq!(stored_ids(&hookbox), ["key-001", "key-002", "key-004"]);
    assert_eq!(api.listed.lock().unwrap().resent, ["key-001", "key-002", "key-004"]);
    assert!(recover(&hookbox, "gitlab", &["--since", "5d"]).contains("asked for 0"));
    assert_eq!(hookbox.query::<String>("SELECT state FROM recoveries WHERE delivery_id = 'key-005'"), ["lost"]);
    api.assert_as_published("GITLAB_OPENAPI");
}

#[test]
fn of_gitlab_is_taken_what_is_missing_from_all_pages_of_its_list() {
    let api = Api::start(gitlab);
    for id in 1..=65 {
        let kind = if id % 3 == 0 { "Note Hook" } else { "Push Hook" };
        api.add(gitlab_event(id, kind, "502", 6000 - u64::from(id)));
    }
    api.limit_at(3);
    let hookbox = gitlab_home(&api, "mode = \"take\"\nevents = [\"Note Hook\"]\n").start();
    let said = recover(&hookbox, "gitlab", &[]);
    assert!(said.contains("21 are stored"), "{said}");
    let expected: Vec<String> = (1..=21).map(|n| format!("key-{:03}", 3 * n)).collect();
    assert_eq!(hookbox.query::<String>(TAKEN_IDS), expected, "the oldest first");
    assert_eq!(api.targets().len(), 4 + 1, "a request a page, and one that was limited");
    let payload = "SELECT payload_json FROM webhook_events WHERE event_type = 'Note Hook' ORDER BY id LIMIT 1";
    assert_eq!(hookbox.query::<String>(payload), [r#"{"object_kind":"push","n":3}"#]);
    let headers = hookbox.query::<String>("SELECT headers_json FROM webhook_events LIMIT 1");
    assert!(headers[0].contains(r#""X-Gitlab-Token":"[redacted]""#), "{headers:?}");
    api.assert_as_published("GITLAB_OPENAPI");
}

// ---- Stripe

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn stripe(listed: &mut Listed, request: &Received) -> (Answer, &'static str) {
    assert_eq!((request.method.as_str(), request.header("authorization")), ("GET", Some("Bearer rk_test_x")));
    assert!(request.target.starts_with("/v1/events?limit=100"), "{}", request.target);
    let since: u64 = parameter(&request.target, "created%5Bgte%5D").map_or(0, |since| since.parse().unwrap());
    let wanted = parameter(&request.target, "types%5B%5D");
    let after = parameter(&request.target, "starting_after");
    let mut left: Vec<&Value> = listed.items.iter().rev().collect();
    if let Some(after) = after {
        let at = left.iter().position(|event| event["id"] == *after).unwrap();
        left.drain(..=at);
    }
    left.retain(|event| event["created"].as_u64() >= Some(since));
    left.retain(|event| wanted.as_ref().is_none_or(|wanted| event["type"] == **wanted));
    let page: Vec<&Value> = left.iter().take(100).copied().collect();
    let body = json!({ "object": "list", "url": "/v1/events", "has_more": left.len() > 100, "data": page });
    (json_answer(200, &[], &body), "/v1/events")
}

fn stripe_event(n: u32, kind: &str, created: u64) -> Value {
    json!({
        "id": format!("evt_{n:04}"), "object": "event", "api_version": "2025-08-27.basil", "created": created,
        "livemode": false, "pending_webhooks": 1, "request": { "id": null, "idempotency_key": null }, "type": kind,
        "data": { "object": { "id": format!("in_{n}"), "object": "invoice", "amount_due": 1.0 } },
    })
}

fn stripe_home(api: &Api, keys: &str) -> Home {
    let text = format!(
        "[sources.stripe]\nprovider = \"stripe\"\nsecret = \"whsec_aGk=\"\n[sources.stripe.recover]\n\
         token = \"env:API_TOKEN\"\napi = \"{}\"\n{keys}",
        api.stub.url("")
    );
    Home::with_config(&text).env("API_TOKEN", "rk_test_x")
}

#[test]
fn of_stripe_is_taken_what_is_missing_and_then_only_what_is_new_is_listed() {
    let api = Api::start(stripe);
    for n in 0..1000 {
        let kind = if n % 10 == 3 { "invoice.paid" } else { "charge.succeeded" };
        api.add(stripe_event(n, kind, now_s() - 20_000 + u64::from(n)));
    }
    let hookbox = stripe_home(&api, "every = \"off\"\n").start();
    let said = recover(&hookbox, "stripe", &[]);
    assert!(said.contains("1000 are stored"), "{said}");
    assert_eq!(api.targets().len(), 10, "a request a page");
    let expected: Vec<String> = (0..1000).map(|n| format!("evt_{n:04}")).collect();
    assert_eq!(hookbox.query::<String>(TAKEN_IDS), expected, "the oldest first");
    api.add(stripe_event(1000, "invoice.paid", now_s()));
    let said = recover(&hookbox, "stripe", &[]);
    assert!(said.contains("1 are stored"), "{said}");
    let targets = api.targets();
    assert!(targets.len() == 12 && targets[10].contains("created%5Bgte%5D="), "{targets:?}");
    api.assert_as_published("STRIPE_OPENAPI");
}

#[test]
fn stripe_is_asked_for_the_wanted_types_alone_and_needs_no_address_of_ours() {
    let api = Api::start(stripe);
    for n in 0..300 {
        api.add(stripe_event(
            n,
            if n == 7 { "invoice.paid" } else { "charge.succeeded" },
            now_s() - 1000 + u64::from(n),
        ));
    }
    let hookbox = stripe_home(&api, "events = [\"invoice.paid\"]\n").start();
    wait_for("the event", || (hookbox.stored() == 1).then_some(()));
    hookbox.wait_for_stderr("1 that were missed are taken from Stripe's API");
    assert_eq!(api.targets(), ["/v1/events?limit=100&types%5B%5D=invoice.paid"]);
    api.assert_as_published("STRIPE_OPENAPI");
}

#[test]
fn without_a_public_address_the_manuals_lines_take_from_stripe() {
    let api = Api::start(stripe);
    api.add(stripe_event(1, "charge.succeeded", now_s() - 1000));
    api.add(stripe_event(2, "invoice.paid", now_s() - 900));
    let lines = example("src/manual/recover.md", "toml", "[sources.stripe]");
    let home = Home::with_config(&format!("{lines}api = \"{}\"\n", api.stub.url("")));
    let hookbox = home.env("STRIPE_SECRET", "whsec_any").env("STRIPE_KEY", "rk_test_x").start();
    wait_longer_for("the event", MINUTE, || (hookbox.stored() == 1).then_some(()));
    assert_eq!(hookbox.query::<String>(TAKEN_IDS), ["evt_0002"]);
    let both = "/v1/events?limit=100&types%5B%5D=invoice.paid&types%5B%5D=checkout.session.completed";
    assert_eq!(api.targets()[0], both);
    api.assert_as_published("STRIPE_OPENAPI");
}

#[test]
fn killed_while_it_takes_from_a_list_it_stores_each_once() {
    let api = Api::start(stripe);
    for n in 0..400 {
        api.add(stripe_event(n, "invoice.paid", now_s() - 5000 + u64::from(n)));
    }
    let mut hookbox = stripe_home(&api, "").start();
    for stored in [10, 150] {
        wait_longer_for("some", MINUTE, || (hookbox.stored() >= stored).then_some(()));
        hookbox = hookbox.kill9().start();
    }
    wait_longer_for("all of them", MINUTE, || (hookbox.stored() == 400).then_some(()));
    let expected: Vec<String> = (0..400).map(|n| format!("evt_{n:04}")).collect();
    assert_eq!(hookbox.query::<String>(TAKEN_IDS), expected);
}

#[test]
fn what_is_missing_and_no_longer_listed_is_lost() {
    let api = Api::start(stripe);
    api.add(stripe_event(1, "invoice.paid", now_s()));
    let hookbox = stripe_home(&api, "every = \"off\"\n").start();
    for (id, age_days) in [("evt_old", 31), ("evt_young", 1)] {
        let at_ms = (now_s() - age_days * 24 * 3600) * 1000;
        let row = format!("'stripe', '{id}', '{id}', 'invoice.paid', {at_ms}, 'missing', 0, NULL, ''");
        hookbox.db().execute_batch(&format!("INSERT INTO recoveries VALUES ({row})")).unwrap();
    }
    let said = recover(&hookbox, "stripe", &[]);
    assert!(said.contains("1 are stored; 1 wait for the next time; 1 are lost"), "{said}");
}

#[test]
fn what_a_provider_cannot_do_is_refused_with_what_to_write() {
    let api = Api::start(stripe);
    for (keys, words) in [
        ("mode = \"redeliver\"\n", "Stripe sends nothing again on request; write mode = \"take\""),
        ("hook = \"we_1\"\n", "Stripe lists the events of the account; remove hook"),
        ("mode = \"give\"\n", "write \"redeliver\" or \"take\""),
    ] {
        stripe_home(&api, keys).run(["check"]).refused(2, &[words]);
    }
    let described = |provider| Home::with_config("").run(["providers", provider]).ok().text();
    let gitlab = described("gitlab");
    assert!(gitlab.contains("the scope api") && gitlab.contains("the scope read_api"), "{gitlab}");
    assert!(described("stripe").contains("a restricted key with the permission Events, read"));
}
