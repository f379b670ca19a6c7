//! `kind = "http"`: a request to another server.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::header::AUTHORIZATION;
use ureq::http::{HeaderName, HeaderValue, Method, Request, Response};
use ureq::{Agent, Body};

use super::{ActionReport, Call, answer};
use crate::client;
use crate::clock;
use crate::digest;
use crate::provider;
use crate::secret::{Env, Secret, SecretRef};
use crate::template::{Expression, Template, TemplateError};

/// The prefix of a secret of the Standard Webhooks scheme; base64 follows.
const KEY_PREFIX: &str = "whsec_";

/// The action as configured.
#[derive(Clone, Debug)]
pub struct Http {
    pub method: Method,
    /// Once fetched, it is a template: `env:` and `file:` may hold a whole URL with a token in it.
    pub url: SecretRef,
    /// Fields to set or replace; once fetched, they are templates.
    pub headers: Vec<(HeaderName, SecretRef)>,
    /// `None`: the exact body of the delivery is sent, with the provider's header fields.
    pub body: Option<Template>,
    /// Signs by the Standard Webhooks scheme.
    pub sign: Option<SecretRef>,
    pub success_when: Option<Expression>,
    pub ca_file: Option<PathBuf>,
}

/// The action with its secrets fetched.
pub struct HttpRunner {
    agent: Agent,
    method: Method,
    url: Template,
    headers: Vec<Field>,
    body: Option<Template>,
    signing_key: Option<Secret>,
    success_when: Option<Expression>,
}

/// A header field that the configuration sets.
struct Field {
    name: HeaderName,
    value: Template,
    /// Its value may be a secret: a preview hides it.
    is_secret: bool,
}

/// A rendered request.
struct Rendered<'a> {
    url: String,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: Cow<'a, [u8]>,
}

impl Http {
    pub(super) fn prepare(&self, env: &Env<'_>) -> Result<HttpRunner, String> {
        let headers = self.headers.iter().map(|(name, value)| Field::of(name, value, env));
        Ok(HttpRunner {
            agent: agent(self.ca_file.as_deref())?,
            method: self.method.clone(),
            url: url(&self.url, env)?,
            headers: headers.collect::<Result<_, String>>()?,
            body: self.body.clone(),
            signing_key: self.sign.as_ref().map(|secret| signing_key(secret, env)).transpose()?,
            success_when: self.success_when.clone(),
        })
    }
}

impl HttpRunner {
    pub(super) fn run(&self, call: &Call<'_>) -> ActionReport {
        let Rendered { url, fields, body } = match self.render(call) {
            Ok(rendered) => rendered,
            Err(error) => return ActionReport::give_up(error.to_string()),
        };
        match send(&self.agent, &self.method, &url, fields, &body, call.timeout) {
            Ok(response) => answer::report(response, self.success_when.as_ref(), call),
            Err(failure) => failure,
        }
    }

    pub(super) fn preview(&self, call: &Call<'_>) -> Result<String, TemplateError> {
        let Rendered { url, fields, body } = self.render(call)?;
        let mut text = format!("{} {}\n", self.method, client::origin(&url));
        let is_secret = |name: &HeaderName| self.headers.iter().any(|field| field.is_secret && field.name == *name);
        for (name, value) in fields {
            let value =
                if is_secret(&name) { "(as configured)".into() } else { String::from_utf8_lossy(value.as_bytes()) };
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push_str(&format!("\n{}\n", String::from_utf8_lossy(&body)));
        Ok(text)
    }

    fn render<'a>(&self, call: &Call<'a>) -> Result<Rendered<'a>, TemplateError> {
        let (url, mut fields, body) = (self.url.render(call.scope)?, self.fields(call)?, self.body(call)?);
        if let Some(key) = &self.signing_key {
            // Replaces a provider's signature of the same scheme: a receiver reads the first that it finds.
            sign(&mut fields, key, call.idempotency_key, clock::now().unix_ms() / 1000, &body);
        }
        Ok(Rendered { url, fields, body })
    }

    fn body<'a>(&self, call: &Call<'a>) -> Result<Cow<'a, [u8]>, TemplateError> {
        match &self.body {
            Some(template) => Ok(template.render(call.scope)?.into_bytes().into()),
            None => Ok(call.event.bytes().into()),
        }
    }

    /// The provider's fields with the provider's body, then hookbox's own, then those of the configuration.
    fn fields(&self, call: &Call<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, TemplateError> {
        let mut fields = match self.body {
            Some(_) => Vec::new(),
            None => client::forwarded_fields(call.event),
        };
        set(&mut fields, HeaderName::from_static("hookbox-event-id"), &call.event.id.to_string());
        set(&mut fields, HeaderName::from_static("idempotency-key"), call.idempotency_key);
        for Field { name, value, .. } in &self.headers {
            set(&mut fields, name.clone(), &value.render(call.scope)?);
        }
        Ok(fields)
    }
}

impl Field {
    fn of(name: &HeaderName, value: &SecretRef, env: &Env<'_>) -> Result<Field, String> {
        let template = template(value, "headers", env)?;
        // A literal that contains a part of the event is text, not a secret.
        let is_text = matches!(value, SecretRef::Literal(_)) && template.source().contains("{{");
        let is_secret = !is_text || provider::is_secret_header(name.as_str());
        Ok(Field { name: name.clone(), value: template, is_secret })
    }
}

/// A client that trusts the certificates in `ca_file`.
pub(super) fn agent(ca_file: Option<&Path>) -> Result<Agent, String> {
    client::agent(ca_file).map_err(|error| format!("ca_file: {error}"))
}

/// Sends one request. `timeout` bounds all of it, and the reading of the answer. `Err`: there is no answer.
pub(super) fn send(
    agent: &Agent,
    method: &Method,
    url: &str,
    mut fields: Vec<(HeaderName, HeaderValue)>,
    body: &[u8],
    timeout: Duration,
) -> Result<Response<Body>, ActionReport> {
    let (url, credentials) = client::without_credentials(url);
    if let Some(credentials) = credentials
        && fields.iter().all(|(name, _)| *name != AUTHORIZATION)
    {
        fields.push((AUTHORIZATION, credentials));
    }
    let mut request = Request::builder().method(method).uri(&*url);
    for (name, value) in fields {
        request = request.header(name, value);
    }
    let cannot_be_made = |error| ActionReport::give_up(format!("the request cannot be made: {error}"));
    let request = request.body(body).map_err(cannot_be_made)?;
    let timed = agent.configure_request(request).timeout_global(Some(timeout)).build();
    agent.run(timed).map_err(|error| match is_configuration_error(&error) {
        true => ActionReport::give_up(error.to_string()),
        false => ActionReport::retry(error.to_string()),
    })
}

/// A configured URL without its secrets, or where it is kept.
pub(super) fn displayed_url(url: &SecretRef) -> String {
    let SecretRef::Literal(template) = url else { return url.to_string() };
    let text = String::from_utf8_lossy(template.as_bytes());
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('{') {
        return format!("{scheme}://..., which depends on the event");
    }
    client::origin(&format!("{scheme}://{host}/"))
}

/// A fetched URL as a template. A literal one was checked when the configuration was read.
pub(super) fn url(value: &SecretRef, env: &Env<'_>) -> Result<Template, String> {
    let url = template(value, "url", env)?;
    let is_url = url.source().starts_with("http://") || url.source().starts_with("https://");
    if is_url { Ok(url) } else { Err("url: the secret does not begin with http:// or https://".to_owned()) }
}

/// A fetched secret as a template; a literal one was checked when the configuration was read.
fn template(value: &SecretRef, key: &'static str, env: &Env<'_>) -> Result<Template, String> {
    let secret = value.resolve(env).map_err(|error| format!("{key}: {error}"))?;
    let text = std::str::from_utf8(secret.as_bytes())
        .map_err(|_| format!("{key}: the secret is not text, which a URL or a header must be"))?;
    text.trim().parse().map_err(|error| format!("{key}: {error}"))
}

/// A request that fails every time, until the configuration is changed.
fn is_configuration_error(error: &ureq::Error) -> bool {
    matches!(error, ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::RequireHttpsOnly(_))
}

/// Sets or replaces a field.
fn set(fields: &mut Vec<(HeaderName, HeaderValue)>, name: HeaderName, value: &str) {
    // A line break in a value would begin another field.
    let one_line = value.replace(char::is_control, " ");
    let Ok(value) = HeaderValue::from_str(one_line.trim()) else { return };
    fields.retain(|(other, _)| *other != name);
    fields.push((name, value));
}

/// The key in a secret for signing: its text, or what the base64 after the scheme's prefix encodes.
fn signing_key(value: &SecretRef, env: &Env<'_>) -> Result<Secret, String> {
    let secret = value.resolve(env).map_err(|error| format!("sign: {error}"))?;
    let Some(text) = secret.as_bytes().strip_prefix(KEY_PREFIX.as_bytes()) else { return Ok(secret) };
    let key = std::str::from_utf8(text).ok().and_then(digest::unbase64_key).and_then(Secret::new);
    key.ok_or_else(|| "sign: the text after whsec_ is not base64; copy the secret again".to_owned())
}

/// Adds the header fields with which a receiver verifies our request.
/// Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
fn sign(fields: &mut Vec<(HeaderName, HeaderValue)>, key: &Secret, id: &str, now_unix_s: i64, body: &[u8]) {
    let timestamp = now_unix_s.to_string();
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let signature = format!("v1,{}", digest::base64(&digest::hmac(digest::SHA256, key.as_bytes(), &signed)));
    set(fields, HeaderName::from_static("webhook-id"), id);
    set(fields, HeaderName::from_static("webhook-timestamp"), &timestamp);
    set(fields, HeaderName::from_static("webhook-signature"), &signature);
}
