//! Requests to a provider's API: its limits are obeyed, its answers bounded, and the token goes to no other host.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::Agent;
use ureq::http::header::{AUTHORIZATION, DATE, ETAG, IF_NONE_MATCH, LINK, RETRY_AFTER};
use ureq::http::{HeaderMap, Method, Request};

use super::RecoverError;
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

/// Of limits that count requests.
const MINUTE: Duration = Duration::from_secs(60);

/// Where providers say what is wrong.
const MESSAGES: [&str; 3] = ["/message", "/error/message", "/error"];

/// Sleeps; true if the process stops meanwhile.
pub type Sleep<'a> = &'a dyn Fn(Duration) -> bool;

/// A provider's API, with the token of a source.
pub struct Api<'a> {
    agent: Agent,
    recover: &'a Recover,
    token: &'a Secret,
    sleep: Sleep<'a>,
    /// When something was last asked to be sent again, as far as that counts for the limit.
    resent: RefCell<VecDeque<Instant>>,
}

/// An answer to a request.
pub struct Answer {
    pub status: u16,
    /// By the provider's clock.
    pub now: Timestamp,
    pub etag: Option<String>,
    /// The query of the address of the next page. The rest of it is ours: a server behind a proxy may know another.
    pub next: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> Result<&str, RecoverError> {
        std::str::from_utf8(&self.body).map_err(|_| RecoverError::Failed("its answer is not UTF-8".to_owned()))
    }

    /// What it says about an error, in one short line.
    pub fn message(&self) -> String {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let message = MESSAGES.iter().find_map(|place| json.pointer(place)?.as_str()).unwrap_or_default();
        let message: String = message.chars().filter(|char| !char.is_control()).take(200).collect();
        if message.is_empty() { self.status.to_string() } else { format!("{}: {message}", self.status) }
    }
}

impl<'a> Api<'a> {
    pub fn new(recover: &'a Recover, token: &'a Secret, sleep: Sleep<'a>) -> Result<Api<'a>, RecoverError> {
        let agent = client::agent(None).map_err(RecoverError::Failed)?;
        Ok(Api { agent, recover, token, sleep, resent: RefCell::default() })
    }

    /// The address of a path of the hook.
    pub fn url(&self, path: &str) -> String {
        format!("{}{}{path}", self.recover.api, self.recover.hook_path)
    }

    /// The address of the first page: with the wanted types, and what is younger than `from`, as far as the list can be
    /// narrowed.
    pub fn list_url(&self, from: Option<Timestamp>) -> String {
        let recovery = self.recover.recovery;
        let mut url = self.url(recovery.list);
        if let (Some(parameter), Some(from)) = (recovery.since, from) {
            url.push_str(&format!("&{parameter}={}", from.unix_ms() / 1000));
        }
        if let Some(types) = recovery.types.as_ref().filter(|types| self.recover.events.len() <= types.max) {
            for event in &self.recover.events {
                let event: String = form_urlencoded::byte_serialize(event.as_bytes()).collect();
                url.push_str(&format!("&{}={event}", types.parameter));
            }
        }
        url
    }

    pub fn get(&self, url: &str, etag: Option<&str>) -> Result<Answer, RecoverError> {
        self.call(&Method::GET, url, etag)
    }

    pub fn post(&self, url: &str) -> Result<Answer, RecoverError> {
        self.call(&Method::POST, url, None)
    }

    /// Waits until something may be asked to be sent again. True if the process stops meanwhile.
    pub fn wait_to_resend(&self, max_per_minute: Option<usize>) -> bool {
        let Some(max) = max_per_minute else { return false };
        let mut resent = self.resent.borrow_mut();
        let wait = match resent.front() {
            Some(first) if resent.len() >= max => MINUTE.saturating_sub(first.elapsed()),
            _ => Duration::ZERO,
        };
        if !wait.is_zero() && self.sleep(wait) {
            return true;
        }
        resent.push_back(Instant::now());
        let spare = resent.len().saturating_sub(max);
        resent.drain(..spare);
        false
    }

    /// True if the process stops meanwhile.
    pub fn sleep(&self, duration: Duration) -> bool {
        (self.sleep)(duration)
    }

    /// Waits as long as a limit asks for, and tries again after an outage.
    fn call(&self, method: &Method, url: &str, etag: Option<&str>) -> Result<Answer, RecoverError> {
        let mut outages = OUTAGE_WAITS.iter();
        loop {
            let (wait, error) = match self.send(method, url, etag) {
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
                    (wait.unwrap_or_default(), Some(RecoverError::Outage(format!("it answers {}", answer.message()))))
                }
                Err(error) => (Duration::ZERO, Some(RecoverError::Outage(error))),
            };
            let wait = match error {
                None => wait,
                Some(error) => wait.max(*outages.next().ok_or(error)?),
            };
            if self.sleep(wait) {
                return Err(RecoverError::Stopped);
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
            next: text(fields, LINK.as_str()).and_then(next_query).map(str::to_owned),
            body,
        };
        let wait = asked_wait(fields, &answer);
        Ok((answer, wait))
    }
}

/// How long a provider asks to wait: by `Retry-After`, or because the requests of this hour are used up. `None` for a
/// refusal that is none of a limit. Source: <https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api>.
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

/// The query of the address of `rel="next"` in a `Link` field (RFC 8288).
fn next_query(link: &str) -> Option<&str> {
    let (before, _) = link.split_once("rel=\"next\"")?;
    let (_, address) = before.rsplit_once('<')?;
    Some(address.split_once('>')?.0.split_once('?')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;
    use crate::provider;
    use crate::secret::SecretRef;

    #[test]
    fn no_more_is_sent_again_in_a_minute_than_the_provider_allows() {
        let recovery = provider::recovery("gitlab").unwrap();
        let recover = Recover {
            recovery,
            mode: Mode::Redeliver,
            hook: "a/b/1".to_owned(),
            hook_path: String::new(),
            token: SecretRef::Env("T".to_owned()),
            every: None,
            events: Vec::new(),
            api: recovery.api.to_owned(),
        };
        let token = Secret::new(b"x".to_vec()).unwrap();
        let waits = RefCell::new(Vec::new());
        let sleep = |duration| {
            waits.borrow_mut().push(duration);
            false
        };
        let api = Api::new(&recover, &token, &sleep).unwrap();
        let max_per_minute = recovery.resend.as_ref().unwrap().max_per_minute;
        for _ in 0..5 {
            assert!(!api.wait_to_resend(max_per_minute));
        }
        assert!(waits.borrow().is_empty());
        assert!(!api.wait_to_resend(max_per_minute));
        let waits = waits.borrow();
        assert!(waits.len() == 1 && waits[0] > MINUTE / 2 && waits[0] <= MINUTE, "{waits:?}");
    }

    #[test]
    fn the_next_page_is_read_from_the_link() {
        let link = "<https://h/a?cursor=1>; rel=\"prev\", <https://h/a?per_page=100&cursor=v1_2>; rel=\"next\"";
        assert_eq!(next_query(link), Some("per_page=100&cursor=v1_2"));
        assert_eq!(next_query("<https://h/a?x=1,2>; rel=\"next\""), Some("x=1,2"));
        assert_eq!(next_query("<https://h/a?x=1>; rel=\"first\""), None);
    }
}
