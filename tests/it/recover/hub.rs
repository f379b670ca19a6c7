//! A stub of GitHub's API for the deliveries of a hook.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::published;
use crate::support::{Address, Answer, Received, Request, Stub};

pub const TOKEN: &str = "github_pat_x";
pub const DAY_S: u64 = 24 * 60 * 60;

const HOOK: &str = "/repos/octocat/hello-world/hooks/12345678";
const LIST: &str = "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries";
const PAGE: usize = 100;

pub struct Hub {
    stub: Stub,
    state: Arc<Mutex<State>>,
}

type Redeliver = dyn Fn(&Request) -> Option<u16> + Send;

#[derive(Default)]
struct State {
    /// The newest last.
    rows: Vec<Value>,
    next_id: u64,
    /// Redelivers, and returns the status of the answer.
    redeliver: Option<Box<Redeliver>>,
    ahead_s: u64,
    lists: usize,
    /// The hook is not active.
    is_off: bool,
    limit_at: Option<usize>,
    limit_s: u64,
    expire_at: Option<usize>,
    hidden: Option<String>,
    refused: Option<u16>,
    gone: Option<String>,
    posted: Vec<String>,
    details: usize,
    unchanged: usize,
    exchanges: Vec<Value>,
}

impl Hub {
    pub fn start() -> Hub {
        let (stub, state) = (Stub::http(), Arc::new(Mutex::new(State { next_id: 1000, ..State::default() })));
        let (judge, base) = (Arc::clone(&state), stub.url(""));
        stub.answer_by(move |request| answer(&judge, request, &base));
        Hub { stub, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn url(&self) -> String {
        self.stub.url("")
    }

    pub fn redeliver_to(&self, address: &Address) {
        let target = address.clone();
        self.redeliver_by(move |request| {
            let mut connection = target.try_connect().ok()?;
            connection.try_send(&request.bytes()).ok()?;
            Some(connection.try_response().ok()?.status)
        });
    }

    pub fn redeliver_by(&self, redeliver: impl Fn(&Request) -> Option<u16> + Send + 'static) {
        self.state().redeliver = Some(Box::new(redeliver));
    }

    /// A delivery of so many seconds ago that was answered with `status`.
    pub fn add(&self, guid: &str, event: &str, status: u16, ago_s: u64) {
        self.state().add(guid, event, status, ago_s, false);
    }

    /// Its clock is ahead of ours.
    pub fn shift_clock(&self, ahead_s: u64) {
        let mut state = self.state();
        state.ahead_s = ahead_s;
        for row in &mut state.rows {
            let at = humantime_of(&row["delivered_at"]) + Duration::from_secs(ahead_s);
            row["delivered_at"] = time(at).into();
        }
    }

    pub fn limit_at(&self, list: usize) {
        self.limit_for(list, 1);
    }

    pub fn limit_for(&self, list: usize, limit_s: u64) {
        let mut state = self.state();
        (state.limit_at, state.limit_s) = (Some(list), limit_s);
    }

    pub fn expire_cursor_at(&self, list: usize) {
        self.state().expire_at = Some(list);
    }

    /// The first request for this delivery is answered with 404.
    pub fn hide_once(&self, guid: &str) {
        self.state().hidden = Some(guid.to_owned());
    }

    /// This delivery alone is answered with 404.
    pub fn hide(&self, guid: &str) {
        self.state().gone = Some(guid.to_owned());
    }

    pub fn switch(&self, is_on: bool) {
        self.state().is_off = !is_on;
    }

    /// How often the list was asked for.
    pub fn lists(&self) -> usize {
        self.state().lists
    }

    pub fn refuse(&self, status: Option<u16>) {
        self.state().refused = status;
    }

    pub fn posts(&self) -> usize {
        self.state().posted.len()
    }

    pub fn posted(&self) -> Vec<String> {
        self.state().posted.clone()
    }

    pub fn details(&self) -> usize {
        self.state().details
    }

    pub fn unchanged(&self) -> usize {
        self.state().unchanged
    }

    pub fn count(&self) -> usize {
        self.stub.count()
    }

    /// Holds everything that was asked and answered to the published description, if it is at hand.
    #[track_caller]
    pub fn assert_as_published(&self) {
        for request in self.stub.received() {
            assert_eq!(request.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
            assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("hookbox/")));
            assert_eq!(request.header("accept"), Some("application/vnd.github+json"));
        }
        published::assert_as_published("GITHUB_OPENAPI", &self.state().exchanges);
    }
}

impl State {
    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.ahead_s)
    }

    fn add(&mut self, guid: &str, event: &str, status: u16, ago_s: u64, redelivery: bool) {
        self.next_id += 1;
        let at = self.now() - Duration::from_secs(ago_s);
        let text = if status == 200 { "OK" } else { "failed to connect" };
        self.rows.push(json!({
            "id": self.next_id, "guid": guid, "delivered_at": time(at), "redelivery": redelivery, "duration": 0.27,
            "status": text, "status_code": status, "event": event, "action": null, "installation_id": null,
            "repository_id": 7, "throttled_at": null,
        }));
    }

    fn list(&mut self, query: &[(String, String)], request: &Received, base: &str) -> Answer {
        self.lists += 1;
        if self.limit_at == Some(self.lists) {
            let reset = self.now().duration_since(UNIX_EPOCH).unwrap().as_secs() + self.limit_s;
            let fields = [("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", reset.to_string())];
            return self.error(403, "API rate limit exceeded", &fields);
        }
        let cursor = query.iter().find(|(name, _)| name == "cursor");
        if self.expire_at == Some(self.lists) && cursor.is_some() {
            return self.error(400, "Invalid cursor", &[]);
        }
        let etag = format!("W/\"{}\"", self.rows.len());
        if cursor.is_none() && request.header("if-none-match") == Some(&etag) {
            self.unchanged += 1;
            return Answer::With(304, self.fields(&[]), Vec::new());
        }
        // A delivery that comes meanwhile moves no page: the cursor is an id.
        let before: u64 = cursor.map_or(u64::MAX, |(_, cursor)| cursor.trim_start_matches("v1_").parse().unwrap());
        let older = self.rows.iter().rev().filter(|row| row["id"].as_u64().unwrap() < before);
        let page: Vec<Value> = older.take(PAGE + 1).cloned().collect();
        let mut more = vec![("ETag", etag)];
        if page.len() > PAGE {
            let last = &page[PAGE - 1]["id"];
            more.push(("Link", format!("<{base}{HOOK}/deliveries?per_page=100&cursor=v1_{last}>; rel=\"next\"")));
        }
        let page: Vec<Value> = page.into_iter().take(PAGE).collect();
        Answer::With(200, self.fields(&more), Value::from(page).to_string().into_bytes())
    }

    fn hook(&mut self) -> Answer {
        if let Some(status) = self.refused {
            return self.error(status, "Refused", &[]);
        }
        let url = "https://api.github.com/repos/octocat/hello-world/hooks/12345678";
        let body = json!({
            "type": "Repository", "id": 12345678, "name": "web", "active": !self.is_off, "events": ["push"],
            "config": { "content_type": "json", "insecure_ssl": "0", "url": "https://example.com/webhooks/github" },
            "updated_at": "2026-01-01T00:00:00Z", "created_at": "2026-01-01T00:00:00Z", "url": url,
            "test_url": format!("{url}/test"), "ping_url": format!("{url}/pings"),
            "last_response": { "code": null, "status": "unused", "message": null },
        });
        let path = LIST.trim_end_matches("/deliveries");
        let exchange = json!({ "path": path, "method": "get", "status": 200, "query": [], "body": body });
        self.exchanges.push(exchange);
        Answer::With(200, self.fields(&[]), body.to_string().into_bytes())
    }

    fn redeliver(&mut self, id: &str) -> Answer {
        let row = self.rows.iter().find(|row| row["id"].as_u64() == id.parse().ok()).cloned();
        let Some(row) = row else { return self.error(404, "Not Found", &[]) };
        let (guid, event) = (row["guid"].as_str().unwrap(), row["event"].as_str().unwrap());
        if self.hidden.as_deref() == Some(guid) {
            self.hidden = None;
            return self.error(404, "Not Found", &[]);
        }
        self.posted.push(guid.to_owned());
        let request = Request::github(event, guid, "{}");
        let status = self.redeliver.as_ref().and_then(|redeliver| redeliver(&request));
        self.add(guid, event, status.unwrap_or(0), 0, true);
        Answer::With(202, self.fields(&[]), b"{}".to_vec())
    }

    fn detail(&mut self, id: &str) -> Answer {
        self.details += 1;
        let row = self.rows.iter().find(|row| row["id"].as_u64() == id.parse().ok()).cloned();
        let Some(mut row) = row else { return self.error(404, "Not Found", &[]) };
        if self.gone.as_deref() == row["guid"].as_str() {
            return self.error(404, "Not Found", &[]);
        }
        if self.hidden.as_deref() == row["guid"].as_str() {
            self.hidden = None;
            return self.error(404, "Not Found", &[]);
        }
        // As GitHub returns it: with signatures, and as an object where the hook sends forms.
        let headers = json!({
            "Accept": "*/*", "Content-Type": "application/x-www-form-urlencoded", "User-Agent": "GitHub-Hookshot/044aadd",
            "X-GitHub-Delivery": row["guid"], "X-GitHub-Event": row["event"],
            "X-Hub-Signature": "sha1=0", "X-Hub-Signature-256": "sha256=0",
        });
        let payload = json!({ "ref": "refs/heads/main", "size": 1.0, "of": row["guid"] });
        row["request"] = json!({ "headers": headers, "payload": payload });
        row["response"] = json!({ "headers": {}, "payload": null });
        row["url"] = "https://example.com/hook".into();
        Answer::With(200, self.fields(&[]), row.to_string().into_bytes())
    }

    fn fields(&self, more: &[(&str, String)]) -> Vec<(String, String)> {
        let date = httpdate::fmt_http_date(self.now());
        let fixed = [("Content-Type", "application/json".to_owned()), ("Date", date)];
        fixed.iter().chain(more).map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    fn error(&self, status: u16, message: &str, more: &[(&str, String)]) -> Answer {
        Answer::With(status, self.fields(more), json!({ "message": message }).to_string().into_bytes())
    }
}

fn answer(state: &Mutex<State>, request: &Received, base: &str) -> Answer {
    let mut state = state.lock().unwrap();
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query: Vec<(String, String)> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if path == HOOK && request.method == "GET" {
        return state.hook();
    }
    let rest = path.strip_prefix(HOOK).and_then(|rest| rest.strip_prefix("/deliveries")).unwrap_or("?");
    let id = rest.strip_prefix('/').and_then(|rest| rest.strip_suffix("/attempts"));
    let (template, answer) = match (state.refused, request.method.as_str(), rest, id) {
        (Some(status), ..) => (LIST.to_owned(), state.error(status, "Refused", &[])),
        (None, "GET", "", _) => (LIST.to_owned(), state.list(&query, request, base)),
        (None, "GET", _, None) if rest.len() > 1 => {
            (format!("{LIST}/{{delivery_id}}"), state.detail(rest.trim_start_matches('/')))
        }
        (None, "POST", _, Some(id)) => (format!("{LIST}/{{delivery_id}}/attempts"), state.redeliver(id)),
        _ => panic!("no such operation: {} {}", request.method, request.target),
    };
    let Answer::With(status, _, body) = &answer else { return answer };
    if *status != 404 {
        let exchange = published::exchange(&template, &request.method, &request.target, *status, body);
        state.exchanges.push(exchange);
    }
    answer
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

fn humantime_of(text: &Value) -> SystemTime {
    humantime::parse_rfc3339(text.as_str().unwrap()).unwrap()
}
