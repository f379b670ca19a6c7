//! `hookbox send`: a test delivery, signed as the provider would.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use ureq::http::Request;

use super::args::SendArgs;
use super::{Failure, unknown_source};
use crate::client;
use crate::clock::{self, Timestamp};
use crate::config::{Config, GET, Source};
use crate::digest;
use crate::event::EventId;
use crate::listen::Listen;
use crate::provider::{TestDelivery, Verification};
use crate::secret::{Env, Secret};
use crate::store::{Filter, Reader, Summary};

/// Longer than any provider waits.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Our own answers have one line; a page of another server need not fill the terminal.
const MAX_ANSWER_BYTES: u64 = 4 << 10;

/// Of the newest events of the source, those among which the delivery is searched.
const SEARCHED_EVENTS: u32 = 20;

/// The database has times in seconds.
const TIME_STEP: Duration = Duration::from_secs(1);

pub(super) fn run(config: &Config, args: &SendArgs, env: &Env<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let source = config.sources.get(&args.source).ok_or_else(|| unknown_source(config, &args.source))?;
    let key = key_of(source, env)?;
    let url = args.url.clone().map_or_else(|| url_of_source(config, source), Ok)?;
    let delivery = TestDelivery {
        event_type: args.event_type.clone(),
        id: args.delivery_id.clone(),
        body: args.file.as_deref().map(body_of).transpose()?,
        new_id: args.delivery_id.clone().unwrap_or_else(digest::uuid),
    };
    let built = delivery.build(&source.verifier, key.as_ref(), clock::now());
    let built = built.map_err(|error| Failure::failed(format!("{}: {error}", source.name)))?;
    let sent = Sent { source, id: source.verifier.delivery_id(&built.parts()), body: &built.body, at: clock::now() };

    let method = source.usual_method();
    let mut request = Request::builder().method(method).uri(with_query(&url, &built.query));
    for (name, value) in built.headers.iter() {
        request = request.header(name, value);
    }
    let request = request
        .body(if method == GET { &[][..] } else { &built.body })
        .map_err(|error| Failure::usage(format!("{url}: {error}")))?;
    let agent = client::agent(None).map_err(Failure::failed)?;
    // Directly to our own listener: ureq would use the proxy that the environment names.
    let request = agent.configure_request(request).proxy(None).timeout_global(Some(TIMEOUT)).build();
    let answered = agent.run(request);
    let mut response =
        answered.map_err(|error| Failure::failed(format!("{url}: {error}: is `hookbox serve` running?")))?;

    let status = response.status();
    let answer = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string().unwrap_or_default();
    let answer = super::table::one_line(answer.trim_end());
    let stored = status.is_success().then(|| sent.find(config)).flatten();
    let event_type = event_type(args, source);
    let line = format!("sent {event_type} to {url}{}: {status} {answer}", sent.names(stored.as_ref()));
    writeln!(out, "{}", line.trim_end())?;
    if let Some(note) = without_example(args, source) {
        writeln!(out, "{note}")?;
    }
    if status.is_success() { Ok(()) } else { Err(Failure::failed("the delivery was not accepted")) }
}

fn event_type<'a>(args: &'a SendArgs, source: &Source) -> &'a str {
    args.event_type.as_deref().unwrap_or(source.verifier.preset.sample.event_type)
}

/// That the body is that of another type than was asked for.
fn without_example(args: &SendArgs, source: &Source) -> Option<String> {
    let (asked, preset) = (args.event_type.as_deref()?, source.verifier.preset);
    let example = preset.sample_of(Some(asked)).event_type;
    let examples: Vec<&str> = preset.samples.iter().map(|sample| sample.event_type).collect();
    let is_other = args.file.is_none() && !examples.is_empty() && example != asked;
    is_other.then(|| {
        let examples = examples.join(", ");
        format!("its body is that of a {example}: there are examples of {examples}; --file sends a body of your own")
    })
}

/// What was sent, and how it can be found again.
struct Sent<'a> {
    source: &'a Source,
    /// `None` where the receiver makes one.
    id: Option<String>,
    body: &'a [u8],
    at: Timestamp,
}

impl Sent<'_> {
    /// The event that it became; `None` where that is stored elsewhere, or not to be read.
    fn find(&self, config: &Config) -> Option<Summary> {
        let reader = Reader::open(&config.database).ok()?;
        let source = Some(self.source.name.clone());
        let events = reader.list(&Filter { source, limit: SEARCHED_EVENTS, ..Filter::default() }).ok()?.events;
        let is_it = |event: &Summary| match &self.id {
            Some(id) => event.delivery_id == *id,
            None => self.is_new(event) && self.has_body(&reader, event),
        };
        events.into_iter().find(is_it)
    }

    fn is_new(&self, event: &Summary) -> bool {
        Timestamp::parse(&event.received_at).is_some_and(|at| at.plus(TIME_STEP) >= self.at)
    }

    fn has_body(&self, reader: &Reader, event: &Summary) -> bool {
        reader.event(EventId(event.id)).ok().flatten().is_some_and(|event| event.bytes() == self.body)
    }

    /// The delivery id, and the number of the event, as far as they are known.
    fn names(&self, stored: Option<&Summary>) -> String {
        match (stored, &self.id) {
            (Some(event), _) => {
                format!(" (delivery {}, event {})", super::table::one_line(&event.delivery_id), event.id)
            }
            (None, Some(id)) => format!(" (delivery {})", super::table::one_line(id)),
            (None, None) => String::new(),
        }
    }
}

/// The first secret, with which the provider signs after a rotation; none where nothing is verified.
fn key_of(source: &Source, env: &Env<'_>) -> Result<Option<Secret>, Failure> {
    match &source.verification {
        Verification::Secrets(references) => {
            Ok(references.first().map(|reference| source.key(reference, env)).transpose().map_err(Failure::usage)?)
        }
        Verification::Awaited => {
            Err(Failure::usage(format!("sources.{}.secret: there is none yet to sign with", source.name)))
        }
        Verification::Nothing | Verification::LocalOnly => Ok(None),
    }
}

fn with_query(url: &str, pairs: &[(String, String)]) -> String {
    if pairs.is_empty() {
        return url.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' })
}

fn url_of_source(config: &Config, source: &Source) -> Result<String, Failure> {
    match &config.listen {
        Listen::Tcp(address) => Ok(url_of(address, &source.path())),
        Listen::Unix(path) => Err(Failure::usage(format!(
            "this config listens on the Unix socket {}: say with --url where the proxy before it listens",
            path.display()
        ))),
    }
}

/// The URL of a path at a listener of this machine. The address for all interfaces is no destination, so it becomes that of
/// the loopback.
pub(super) fn url_of(address: &str, path: &str) -> String {
    format!("http://{}{path}", address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:"))
}

fn body_of(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let read = if path.as_os_str() == "-" { io::stdin().read_to_end(&mut body).map(|_| body) } else { fs::read(path) };
    read.map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))
}
