//! Requests to a provider's API: its limits are obeyed, its answers bounded, and the token goes to no other host.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::header::{AUTHORIZATION, DATE, ETAG, IF_NONE_MATCH, LINK, RETRY_AFTER};
use ureq::http::{HeaderMap, Method, Request};

use super::Trouble;
use crate::client;
use crate::clock::{self, Timestamp};
use crate::config::Recover;
use crate::secret::Secret;

/// A page of a list is far smaller.
const MAX_ANSWER_BYTES: u64 = 32 << 20;

const TIMEOUT: Duration = Duration::from_secs(30);

/// What GitHub asks for where a secondary limit names no time.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);

/// Longer than any limit lasts; a time that is wrong must not stop recovering for days.
const MAX_WAIT: Duration = Duration::from_secs(65 * 60);

/// Waits after an outage within one run. Then the next run goes on.
const OUTAGE_WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Sleeps; true if the process stops meanwhile.
pub type Sleep<'a> = &'a dyn Fn(Duration) -> bool;

/// A provider's API, with the token of a source.
pub struct Api<'a> {
    agent: Agent,
    recover: &'a Recover,
    token: &'a Secret,
    sleep: Sleep<'a>,
}

/// An answer to a request.
pub struct Answer {
    pub status: u16,
    /// By the provider's clock.
    pub now: Timestamp,
    pub etag: Option<String>,
    /// The address of the next page.
    pub next: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Result<Value, Trouble> {
        serde_json::from_slice(&self.body).map_err(|error| Trouble::Failed(format!("its answer is not JSON: {error}")))
    }

    /// What it says about an error, in one short line.
    pub fn message(&self) -> String {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let message = json.get("message").and_then(Value::as_str).unwrap_or_default();
        let message: String = message.chars().filter(|char| !char.is_control()).take(200).collect();
        if message.is_empty() { self.status.to_string() } else { format!("{}: {message}", self.status) }
    }
}

impl<'a> Api<'a> {
    pub fn new(recover: &'a Recover, token: &'a Secret, sleep: Sleep<'a>) -> Result<Api<'a>, Trouble> {
        Ok(Api { agent: client::agent(None).map_err(Trouble::Failed)?, recover, token, sleep })
    }

    /// The address of a path of the hook.
    pub fn url(&self, path: &str) -> String {
        format!("{}{}{path}", self.recover.api, self.recover.hook_path)
    }

    pub fn get(&self, url: &str, etag: Option<&str>) -> Result<Answer, Trouble> {
        self.call(&Method::GET, url, etag)
    }

    pub fn post(&self, url: &str) -> Result<Answer, Trouble> {
        self.call(&Method::POST, url, None)
    }

    /// True if the process stops meanwhile.
    pub fn sleep(&self, duration: Duration) -> bool {
        (self.sleep)(duration)
    }

    /// Waits as long as a limit asks for, and tries again after an outage.
    fn call(&self, method: &Method, url: &str, etag: Option<&str>) -> Result<Answer, Trouble> {
        let mut outages = OUTAGE_WAITS.iter();
        loop {
            let (wait, trouble) = match self.send(method, url, etag) {
                Ok((answer, Some(wait))) if matches!(answer.status, 403 | 429) => {
                    log::info!(
                        "{} limits how often it is asked: waiting {} s",
                        self.recover.recovery.title,
                        wait.as_secs()
                    );
                    (wait, None)
                }
                Ok((answer, _)) if answer.status < 500 => return Ok(answer),
                Ok((answer, wait)) => {
                    (wait.unwrap_or_default(), Some(Trouble::Outage(format!("it answers {}", answer.message()))))
                }
                Err(error) => (Duration::ZERO, Some(Trouble::Outage(error))),
            };
            let wait = match trouble {
                None => wait,
                Some(trouble) => wait.max(*outages.next().ok_or(trouble)?),
            };
            if self.sleep(wait) {
                return Err(Trouble::Stopped);
            }
        }
    }

    /// One request; also how long the provider asks to wait.
    fn send(&self, method: &Method, url: &str, etag: Option<&str>) -> Result<(Answer, Option<Duration>), String> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in self.recover.recovery.fields {
            request = request.header(*name, *value);
        }
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let bearer = [b"Bearer ", self.token.as_bytes().trim_ascii()].concat();
        let request = request.header(AUTHORIZATION, bearer).body(()).map_err(|error| error.to_string())?;
        let timed = self.agent.configure_request(request).timeout_global(Some(TIMEOUT)).build();
        let mut response = self.agent.run(timed).map_err(|error| error.to_string())?;
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        let body = body.map_err(|error| error.to_string())?;
        let fields = response.headers();
        let answer = Answer {
            status: response.status().as_u16(),
            now: text(fields, DATE.as_str()).and_then(http_date).unwrap_or_else(clock::now),
            etag: text(fields, ETAG.as_str()).map(str::to_owned),
            next: text(fields, LINK.as_str()).and_then(next_page).filter(|url| self.is_here(url)).map(str::to_owned),
            body,
        };
        let wait = asked_wait(fields, &answer);
        Ok((answer, wait))
    }

    /// The token must go nowhere else.
    fn is_here(&self, url: &str) -> bool {
        url.strip_prefix(&self.recover.api).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// How long a provider asks to wait: by `Retry-After`, or because the requests of this hour are used up. `None` for a refusal
/// that is none of a limit.
/// Source: <https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api>.
fn asked_wait(fields: &HeaderMap, answer: &Answer) -> Option<Duration> {
    let number = |name: &str| text(fields, name).and_then(|text| text.trim().parse::<i64>().ok());
    let seconds = number(RETRY_AFTER.as_str()).or_else(|| {
        let is_used_up = number("x-ratelimit-remaining") == Some(0);
        let reset = number("x-ratelimit-reset").filter(|_| is_used_up)?;
        Some(reset - answer.now.unix_ms() / 1000 + 1)
    });
    let is_limit = answer.status == 429 || answer.message().to_lowercase().contains("rate limit");
    let wait = seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    let wait = wait.or(is_limit.then_some(DEFAULT_WAIT));
    wait.map(|wait| wait.clamp(Duration::from_secs(1), MAX_WAIT))
}

fn text<'f>(fields: &'f HeaderMap, name: &str) -> Option<&'f str> {
    fields.get(name)?.to_str().ok()
}

fn http_date(text: &str) -> Option<Timestamp> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_unix_ms(clock::millis(since)))
}

/// The address of `rel="next"` in a `Link` field (RFC 8288).
fn next_page(link: &str) -> Option<&str> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    Some(next.split_once('<')?.1.split_once('>')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_read_from_the_link() {
        let link = "<https://h/a?cursor=1>; rel=\"prev\", <https://h/a?per_page=100&cursor=v1_2>; rel=\"next\"";
        assert_eq!(next_page(link), Some("https://h/a?per_page=100&cursor=v1_2"));
        assert_eq!(next_page("<https://h/a>; rel=\"first\""), None);
    }
}
