//! `hookbox forward`: sends a stored event, byte for byte, to another address.

use std::io::{Read, Write};
use std::time::Duration;

use ureq::http::Request;
use ureq::http::header::{AUTHORIZATION, USER_AGENT};

use super::{Failure, no_event, table};
use crate::client;
use crate::config::Config;
use crate::event::EventId;
use crate::store::Reader;

/// A person is waiting.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Enough for an error page.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

pub(super) fn run(config: &Config, id: EventId, url: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let event = Reader::open(&config.database)?.event(id)?.ok_or_else(|| no_event(id))?;
    let (address, credentials) = client::without_credentials(url);
    let mut request = Request::post(&*address);
    let credentials = credentials.map(|value| (AUTHORIZATION, value));
    // The client names itself: this is not a request of the provider.
    let fields = client::forwarded_fields(&event).into_iter().filter(|(name, _)| *name != USER_AGENT);
    for (name, value) in fields.chain(credentials) {
        request = request.header(name, value);
    }
    request = request.header("hookbox-event-id", event.id.to_string());
    let request = request.body(event.bytes()).map_err(|error| Failure::usage(format!("{address}: {error}")))?;
    let agent = client::agent(None).map_err(Failure::failed)?;
    let request = agent.configure_request(request).timeout_global(Some(TIMEOUT)).build();
    let response = agent.run(request).map_err(|error| Failure::failed(format!("{address}: {error}")))?;
    let status = response.status();
    let mut answer = Vec::new();
    // An answer that breaks off is printed as far as it goes.
    let _ = response.into_body().into_reader().take(MAX_ANSWER_BYTES).read_to_end(&mut answer);
    writeln!(out, "{status}")?;
    for line in String::from_utf8_lossy(&answer).lines() {
        writeln!(out, "{}", table::one_line(line))?;
    }
    if status.is_success() { Ok(()) } else { Err(Failure::failed(format!("{address} did not accept it"))) }
}
