//! `hookbox send`: a test delivery, signed as the provider would.

use std::fs;
use std::io::{self, Read, Write};
use std::time::Duration;

use ureq::Agent;
use ureq::http::Request;

use super::Failure;
use super::args::SendArgs;
use crate::config::secret::{Env, Secret};
use crate::config::{Config, Source, Verification};
use crate::digest;
use crate::listen::Listen;
use crate::provider;
use crate::receive::PATH_PREFIX;

/// Longer than any provider waits for its answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Our own answers are one line; somebody else's page need not scroll the terminal.
const MAX_ANSWER_BYTES: u64 = 4 << 10;

pub(super) fn run(config: &Config, args: &SendArgs, env: &Env<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let source = config.sources.get(&args.source).ok_or_else(|| unknown_source(config, &args.source))?;
    let secret = secret_of(source, env)?;
    let url = args.url.clone().map_or_else(|| url_of(config, source), Ok)?;
    let preset = source.preset;
    let body = body_of(args, preset.sample.body)?;
    let event_type = args.event_type.as_deref().unwrap_or(preset.sample.event_type);
    let id = args.delivery_id.clone().unwrap_or_else(uuid);

    let mut request = Request::post(&url).header("Content-Type", "application/json");
    for (name, value) in provider::sign(preset, secret.as_ref(), event_type, &id, &body) {
        request = request.header(name, value);
    }
    let request = request.body(body).map_err(|error| Failure::usage(format!("{url}: {error}")))?;
    let agent = Agent::config_builder().http_status_as_error(false).max_redirects(0).timeout_global(Some(TIMEOUT));
    let answered = agent.build().new_agent().run(request);
    let mut response =
        answered.map_err(|error| Failure::failed(format!("{url}: {error}: is `hookbox serve` running?")))?;

    let status = response.status();
    let answer = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string().unwrap_or_default();
    writeln!(
        out,
        "sent {event_type} to {url} (delivery {id}): {status} {}",
        super::table::one_line(answer.trim_end())
    )?;
    if status.is_success() { Ok(()) } else { Err(Failure::failed("the delivery was not accepted")) }
}

/// The first secret, as a provider would have it after a rotation; none where nothing is verified.
fn secret_of(source: &Source, env: &Env<'_>) -> Result<Option<Secret>, Failure> {
    let Verification::Secrets(references) = &source.verification else { return Ok(None) };
    let secret = references.first().map(|reference| reference.resolve(env)).transpose();
    secret.map_err(|error| Failure::usage(format!("sources.{}.secret: {error}", source.name)))
}

fn url_of(config: &Config, source: &Source) -> Result<String, Failure> {
    match &config.listen {
        // An address that stands for every interface is nothing to connect to.
        Listen::Tcp(address) => {
            let address = address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
            Ok(format!("http://{address}{PATH_PREFIX}{}", source.name))
        }
        Listen::Unix(path) => Err(Failure::usage(format!(
            "this config listens on the Unix socket {}: say with --url where the proxy before it listens",
            path.display()
        ))),
    }
}

fn body_of(args: &SendArgs, sample: &str) -> Result<Vec<u8>, Failure> {
    let Some(path) = &args.file else { return Ok(sample.as_bytes().to_vec()) };
    let mut body = Vec::new();
    let read = if path.as_os_str() == "-" { io::stdin().read_to_end(&mut body).map(|_| body) } else { fs::read(path) };
    read.map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))
}

fn unknown_source(config: &Config, name: &str) -> Failure {
    let known: Vec<&str> = config.sources.keys().map(String::as_str).collect();
    Failure::usage(format!("no source {name:?} in the config; there is: {}", known.join(", ")))
}

/// A random UUID (RFC 9562, version 4), as most providers' delivery ids are.
fn uuid() -> String {
    let mut bytes: [u8; 16] = digest::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = digest::hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
