//! `kind = "http"`: a request to somebody else's server.

use std::borrow::Cow;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use ureq::tls::TlsConfig;

use super::{Call, MAX_DETAIL_BYTES, PrepareError, Report, excerpt, tls};
use crate::clock;
use crate::digest::{self, Hash};
use crate::event::Event;
use crate::http::{BROWSER_HEADERS, FORWARDING_HEADERS};
use crate::provider::{self, REDACTED};
use crate::retry;
use crate::secret::{Env, Secret, SecretRef};
use crate::template::{Template, TemplateError};

/// Refused or unreachable addresses answer at once or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What belonged to the connection on which a delivery came, or is said anew; beside what tells by whom or from which page
/// it came, for which a receiver that believes this machine would refuse it.
const NOT_FORWARDED: [&str; 11] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-real-ip",
];

/// Of a secret of the Standard Webhooks scheme: base64 follows.
const KEY_PREFIX: &str = "whsec_";

/// The action as configured.
#[derive(Clone, Debug)]
pub struct Http {
    pub method: Method,
    /// A template once it is fetched, as `env:` and `file:` may hold a whole URL with a token in it.
    pub url: SecretRef,
    /// Set or replaced; templates once they are fetched.
    pub headers: Vec<(HeaderName, SecretRef)>,
    /// Without one the exact original body is sent, with the provider's own headers.
    pub body: Option<Template>,
    /// Signs by the Standard Webhooks scheme.
    pub sign: Option<SecretRef>,
    pub ca_file: Option<PathBuf>,
}

/// The action with its secrets at hand.
pub struct Runner {
    agent: Agent,
    method: Method,
    url: Template,
    headers: Vec<Field>,
    body: Option<Template>,
    /// The key itself.
    sign: Option<Secret>,
}

/// A header field that the configuration sets.
struct Field {
    name: HeaderName,
    value: Template,
    /// Its value may be a secret.
    is_hidden: bool,
}

/// A request before it is sent.
struct Draft<'a> {
    url: String,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: Cow<'a, [u8]>,
}

impl Http {
    pub(super) fn prepare(&self, env: &Env<'_>) -> Result<Runner, PrepareError> {
        let headers = self.headers.iter().map(|(name, value)| Field::of(name, value, env));
        Ok(Runner {
            agent: agent(self.ca_file.as_deref())?,
            method: self.method.clone(),
            url: url(&self.url, env)?,
            headers: headers.collect::<Result<_, PrepareError>>()?,
            body: self.body.clone(),
            sign: self.sign.as_ref().map(|secret| signing_key(secret, env)).transpose()?,
        })
    }
}

impl Runner {
    pub(super) fn run(&self, call: &Call<'_>) -> Report {
        match self.draft(call) {
            Ok(Draft { url, fields, body }) => send(&self.agent, &self.method, &url, fields, &body, call.timeout),
            Err(error) => Report::give_up(error.to_string()),
        }
    }

    pub(super) fn preview(&self, call: &Call<'_>) -> Result<String, TemplateError> {
        let Draft { url, fields, body } = self.draft(call)?;
        let mut text = format!("{} {}\n", self.method, origin(&url));
        let is_hidden = |name: &HeaderName| self.headers.iter().any(|field| field.is_hidden && field.name == *name);
        for (name, value) in fields {
            let value =
                if is_hidden(&name) { "(as configured)".into() } else { String::from_utf8_lossy(value.as_bytes()) };
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push_str(&format!("\n{}\n", String::from_utf8_lossy(&body)));
        Ok(text)
    }

    fn draft<'a>(&self, call: &Call<'a>) -> Result<Draft<'a>, TemplateError> {
        let (url, mut fields, body) = (self.url.render(call.scope)?, self.fields(call)?, self.body(call)?);
        if let Some(key) = &self.sign {
            // In place of a provider's own, which may be of the same scheme: a receiver takes the first that it finds.
            let signed = standard_webhooks(key, call.idempotency_key, clock::now().unix_ms() / 1000, &body);
            signed.into_iter().for_each(|(name, value)| put(&mut fields, name, value));
        }
        Ok(Draft { url, fields, body })
    }

    fn body<'a>(&self, call: &Call<'a>) -> Result<Cow<'a, [u8]>, TemplateError> {
        match &self.body {
            Some(template) => Ok(template.render(call.scope)?.into_bytes().into()),
            None => Ok(call.event.bytes().into()),
        }
    }

    /// The provider's own fields where its own body is sent; ours; then what the configuration sets.
    fn fields(&self, call: &Call<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, TemplateError> {
        let mut fields = match self.body {
            Some(_) => Vec::new(),
            None => header_fields_to_forward(call.event),
        };
        set(&mut fields, HeaderName::from_static("hookbox-event-id"), &call.event.id.to_string());
        set(&mut fields, HeaderName::from_static("idempotency-key"), call.idempotency_key);
        if let Some(death) = call.death {
            set(&mut fields, HeaderName::from_static("hookbox-dead-action"), &death.action);
        }
        for Field { name, value, .. } in &self.headers {
            set(&mut fields, name.clone(), &value.render(call.scope)?);
        }
        Ok(fields)
    }
}

impl Field {
    fn of(name: &HeaderName, value: &SecretRef, env: &Env<'_>) -> Result<Field, PrepareError> {
        let template = template(value, "headers", env)?;
        // What is written out with something of the event in it is a text.
        let is_text = matches!(value, SecretRef::Literal(_)) && template.source().contains("{{");
        let is_hidden = !is_text || provider::is_secret_header(name.as_str());
        Ok(Field { name: name.clone(), value: template, is_hidden })
    }
}

/// The stored header fields of an event that still mean something to somebody else, so that its provider's signature can
/// be verified again. What was redacted is gone.
pub fn header_fields_to_forward(event: &Event) -> Vec<(HeaderName, HeaderValue)> {
    let stored: Map<String, Value> = serde_json::from_str(&event.headers_json).unwrap_or_default();
    let field = |(name, value): (String, Value)| {
        let value = value.as_str().filter(|value| *value != REDACTED)?;
        if is_of_its_way(&name) {
            return None;
        }
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    };
    stored.into_iter().filter_map(field).collect()
}

fn is_of_its_way(name: &str) -> bool {
    let mut fields = NOT_FORWARDED.iter().chain(&FORWARDING_HEADERS).chain(&BROWSER_HEADERS);
    fields.any(|field| field.eq_ignore_ascii_case(name))
}

/// The names of the header fields that carried a secret and were not stored.
pub fn redacted_names(event: &Event) -> Vec<String> {
    let stored: Map<String, Value> = serde_json::from_str(&event.headers_json).unwrap_or_default();
    stored.into_iter().filter(|(_, value)| value == REDACTED).map(|(name, _)| name).collect()
}

/// Sends one request, and says what its answer means.
pub(super) fn send(
    agent: &Agent,
    method: &Method,
    url: &str,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: &[u8],
    timeout: Duration,
) -> Report {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in fields {
        request = request.header(name, value);
    }
    let request = match request.body(body) {
        Ok(request) => request,
        Err(error) => return Report::give_up(format!("the request cannot be made: {error}")),
    };
    let timed = agent.configure_request(request).timeout_global(Some(timeout)).build();
    match agent.run(timed) {
        Ok(response) => judge(response),
        Err(error) if is_our_mistake(&error) => Report::give_up(error.to_string()),
        Err(error) => Report::retry(error.to_string()),
    }
}

/// As much of a URL as can be shown: what follows the host, and what stands before an `@`, may be a secret.
pub(super) fn origin(url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else { return "(not a URL)".to_owned() };
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}/...", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default())
}

/// The same of a URL as it is configured, or where it is kept.
pub(super) fn place(url: &SecretRef) -> String {
    let SecretRef::Literal(template) = url else { return url.to_string() };
    let text = String::from_utf8_lossy(template.as_bytes());
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('{') {
        return format!("{scheme}://..., which depends on the event");
    }
    origin(&format!("{scheme}://{host}/"))
}

/// Nothing follows redirects: what is sent carries secrets. All answers are answers, not errors.
pub fn agent(ca_file: Option<&std::path::Path>) -> Result<Agent, PrepareError> {
    let roots = tls::roots(ca_file).map_err(PrepareError::Certificates)?;
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .user_agent(concat!("hookbox/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .tls_config(TlsConfig::builder().root_certs(roots).build());
    Ok(config.build().new_agent())
}

/// A fetched URL as a template. One that is written out was looked at when the configuration was read.
pub(super) fn url(value: &SecretRef, env: &Env<'_>) -> Result<Template, PrepareError> {
    let url = template(value, "url", env)?;
    let is_one = url.source().starts_with("http://") || url.source().starts_with("https://");
    if is_one { Ok(url) } else { Err(PrepareError::NotUrl) }
}

/// A fetched secret as a template; a literal one was checked when the configuration was read.
fn template(value: &SecretRef, key: &'static str, env: &Env<'_>) -> Result<Template, PrepareError> {
    let secret = value.resolve(env).map_err(|error| PrepareError::Secret { key, error })?;
    let text = std::str::from_utf8(secret.as_bytes()).map_err(|_| PrepareError::NotText { key })?;
    text.trim().parse().map_err(|error| PrepareError::Template { key, error })
}

fn judge(response: Response<ureq::Body>) -> Report {
    let status = response.status();
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let outcome = retry::outcome_of_status(status.as_u16(), retry_after.as_deref(), clock::now());
    let mut answer = Vec::new();
    // The status has been given: an answer that breaks off or never ends changes nothing.
    let _ = response.into_body().into_reader().take(MAX_DETAIL_BYTES as u64).read_to_end(&mut answer);
    Report { outcome, detail: format!("{status} {}", excerpt(&answer)).trim_end().to_owned() }
}

/// What no retry mends: the configuration must change.
fn is_our_mistake(error: &ureq::Error) -> bool {
    matches!(error, ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::RequireHttpsOnly(_))
}

fn set(fields: &mut Vec<(HeaderName, HeaderValue)>, name: HeaderName, value: &str) {
    // A line break in a value would begin another field.
    let one_line = value.replace(char::is_control, " ");
    let Ok(value) = HeaderValue::from_str(one_line.trim()) else { return };
    put(fields, name, value);
}

fn put(fields: &mut Vec<(HeaderName, HeaderValue)>, name: HeaderName, value: HeaderValue) {
    fields.retain(|(other, _)| *other != name);
    fields.push((name, value));
}

/// What a secret for signing stands for: the text itself, or what is in base64 behind the scheme's prefix.
fn signing_key(value: &SecretRef, env: &Env<'_>) -> Result<Secret, PrepareError> {
    let secret = value.resolve(env).map_err(|error| PrepareError::Secret { key: "sign", error })?;
    match secret.as_bytes().strip_prefix(KEY_PREFIX.as_bytes()) {
        None => Ok(secret),
        Some(text) => {
            let key = std::str::from_utf8(text).ok().and_then(digest::unbase64_key);
            key.and_then(Secret::new).ok_or(PrepareError::NotKey)
        }
    }
}

/// The header fields by which a receiver verifies what comes from us.
/// Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
fn standard_webhooks(key: &Secret, id: &str, now_unix_s: i64, body: &[u8]) -> [(HeaderName, HeaderValue); 3] {
    let timestamp = now_unix_s.to_string();
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let signature = format!("v1,{}", digest::base64(&digest::hmac(Hash::Sha256, key.as_bytes(), &signed)));
    let value = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    [
        (HeaderName::from_static("webhook-id"), value(id)),
        (HeaderName::from_static("webhook-timestamp"), HeaderValue::from(now_unix_s)),
        (HeaderName::from_static("webhook-signature"), value(&signature)),
    ]
}
