//! One delivery's way in, as one straight function over typed stages:
//!
//! ```text
//! Request -> Received -> Routed -> Unmet -> Verified -> Genuine -> Delivery -> Stored -> acknowledged
//! ```
//!
//! Each stage is a type that only the stage before can make, and each may end in an [`Ended`]: a rejection, or the answer
//! to a handshake, which is not stored (an unsigned one ends before the verification, a signed one after it). Only a
//! [`Stored`] can be acknowledged, and only a transaction that was committed hands one out: an answer before the commit
//! does not compile.
//!
//! There is one receiver thread. It commits everything that is waiting in one transaction, and answers afterwards, so
//! that sixty senders share one fsync. It does no network I/O of its own, and the gate hands over whole requests only:
//! nobody can make it wait.

mod answer;
mod client;
mod payload;

use std::iter;
use std::mem;
use std::sync::Arc;

use log::{Level, debug, info};
use tiny_http::{Request, Server};

use crate::cidr::Cidr;
use crate::clock::{self, Timestamp};
use crate::config::Source;
use crate::current::Current;
use crate::digest;
use crate::event::{BROWSER_HEADERS, Delivery, DeliveryId, FORWARDING_HEADERS, Headers, MAX_IDENTIFIER_BYTES};
use crate::gate;
use crate::log::rate_limited;
use crate::metrics::{Metrics, Reject, SourceCounts};
use crate::provider::handshake::{self, HandshakeConfig, HandshakeResult, Stage};
use crate::provider::{self, Parts, Verification, Verifier, WithoutId};
use crate::secret::Secret;
use crate::stop::{Stop, Waker};
use crate::store::{Ingest, Ingested, NotStored, Stored, WriteError};

use answer::{Answer, Ended, Rejected, Rejection};
use client::{Client, FORWARDED_FOR};
use payload::Content;

/// The beginning of the target of every delivery; the source's name follows.
pub const PATH_PREFIX: &str = "/webhooks/";

/// Bodies above this are stored one at a time: the commit of a big one takes hundreds of milliseconds, for which the
/// small ones beside it should not wait.
const LARGE_BODY_BYTES: usize = 1 << 20;

/// A transaction is closed once its deliveries hold this much: a thousand usual ones. Bodies wait where they are until it
/// is their turn, so that this, and not the number of senders, says what is in memory.
const BATCH_BYTES: usize = 8 << 20;

/// The event type of a delivery that names none.
const UNKNOWN_EVENT: &str = "unknown";

/// A stranger chooses the path; this much of it is worth a line of the log.
const MAX_LOGGED_CHARS: usize = 80;

/// What the receiver goes by; replaced as a whole when the configuration is read again.
#[derive(Debug)]
pub struct Intake {
    pub endpoints: Vec<Endpoint>,
    /// Nothing is stored while less than this is free on the disk.
    pub disk_reserve_bytes: u64,
    /// Of a compressed body, after decompression.
    pub max_body_bytes: u64,
    /// The proxies that are believed when they say whom they were asked by.
    pub trusted_proxies: Vec<Cidr>,
}

/// Where a source's deliveries come in, with its secrets at hand.
#[derive(Debug)]
pub struct Endpoint {
    pub source: Source,
    pub verification: Verification<Secret>,
    pub known: HandshakeConfig,
    pub counts: Arc<SourceCounts>,
}

/// The receiver thread's all.
pub struct Receiver {
    pub server: Arc<Server>,
    pub intake: Current<Intake>,
    pub ingest: Ingest,
    pub router: Waker,
    pub stop: Stop,
    pub metrics: Arc<Metrics>,
    /// Whether the last commit failed: trouble is told once when it begins and once when it ends.
    pub in_trouble: bool,
}

impl Receiver {
    /// Receives until the stop flag is set and [`Server::unblock`] was called.
    pub fn run(mut self) {
        while !self.stop.is_set() {
            // An error is the unblocking, which `try_recv` may have swallowed (hence the flag), or tiny_http's end.
            let Ok(first) = self.server.recv() else { return };
            let others = iter::from_fn(|| self.server.try_recv().ok().flatten());
            let requests = iter::once(first).chain(others).collect();
            self.receive(requests);
        }
    }

    /// The whole way, for all that wait together.
    fn receive(&mut self, requests: Vec<Request>) {
        let intake = self.intake.get();
        let (mut batch, mut large, mut probed) = (Batch::default(), Vec::new(), None);
        for request in requests {
            match self.answer_check(request, &mut probed) {
                None => {}
                Some(request) if is_large(&request) => large.push(request),
                Some(request) => self.admit(request, &intake, &mut batch),
            }
            if batch.bytes >= BATCH_BYTES {
                self.store(mem::take(&mut batch), &intake);
            }
        }
        self.store(batch, &intake);
        for request in large {
            let mut alone = Batch::default();
            self.admit(request, &intake, &mut alone);
            self.store(alone, &intake);
        }
    }

    /// Adds what is worth storing to the batch, and answers what is not.
    fn admit(&self, request: Request, intake: &Intake, batch: &mut Batch) {
        let now = clock::now();
        match admit(request, intake, now) {
            Ok((delivery, answer)) => batch.add(delivery, answer),
            Err(Ended::Rejected(rejected)) => reject(rejected, &self.metrics, now),
            Err(Ended::Met(answer, reply)) => shake_hands(answer, &reply),
        }
    }

    fn store(&mut self, batch: Batch, intake: &Intake) {
        if batch.deliveries.is_empty() {
            return;
        }
        self.metrics.commit_deliveries.observe(batch.deliveries.len() as u64);
        for result in self.ingest.store(batch.deliveries, intake.disk_reserve_bytes) {
            match result {
                Ok(stored) => self.acknowledge(stored),
                Err(not_stored) => self.refuse(not_stored),
            }
        }
        self.router.wake();
    }

    fn acknowledge(&mut self, stored: Stored<Answer>) {
        if mem::take(&mut self.in_trouble) {
            rate_limited(Level::Info, "", "stored again", format_args!("deliveries are stored again"));
        }
        let (kept, label) = answer::acknowledge(stored);
        let text = &label.text;
        match kept {
            Ingested::New(id) if label.is_proven => info!("stored event {id}: {text}"),
            Ingested::New(id) => label.by_a_stranger("stored unverified", format_args!("stored event {id}: {text}")),
            // Whoever has seen one delivery can send it again.
            Ingested::Duplicate(id) => {
                label.by_a_stranger("known delivery", format_args!("event {id} came again: {text}"))
            }
            Ingested::Requeued(id) => info!("event {id} came again, and its dead jobs are queued again: {text}"),
            Ingested::Replayed(id) => info!("event {id} came again after dedup_window, and is replayed: {text}"),
        }
    }

    fn refuse(&mut self, NotStored { carried, error }: NotStored<Answer>) {
        if !mem::replace(&mut self.in_trouble, true) {
            // Near the disk's reserve, large and small ones may take turns.
            rate_limited(Level::Error, "", "refused", format_args!("deliveries are refused: {error}"));
        }
        reject(Rejected { answer: carried, why: Rejection::NotStored }, &self.metrics, clock::now());
    }

    /// Answers what is no delivery, outside the batch; gives back what is one. One look serves all who ask after our health
    /// together: anybody may ask, and while another program holds the lock a look takes a second.
    fn answer_check(&mut self, request: Request, probed: &mut Option<Result<(), WriteError>>) -> Option<Request> {
        if gate::is_probe(request.method().as_str(), request.url()) {
            answer::alive(request);
            return None;
        }
        if path_of(request.url()) != "/healthz" {
            return Some(request);
        }
        match request.method() {
            tiny_http::Method::Get | tiny_http::Method::Head => {
                let look = || self.ingest.probe(self.intake.get().disk_reserve_bytes);
                answer::health(request, probed.get_or_insert_with(look))
            }
            _ => Answer::new(request, Client::default())
                .reject(&Rejection::WrongMethod { allow: "GET, HEAD".to_owned() }),
        }
        None
    }
}

/// What is stored in one transaction.
#[derive(Default)]
struct Batch {
    deliveries: Vec<(Delivery, Answer)>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, delivery: Delivery, answer: Answer) {
        self.bytes += delivery.content_bytes();
        self.deliveries.push((delivery, answer));
    }
}

/// From a request to a delivery that is worth storing: the stages before the commit.
fn admit(request: Request, intake: &Intake, now: Timestamp) -> Result<(Delivery, Answer), Ended> {
    Received::read(request, &intake.trusted_proxies)?
        .route(&intake.endpoints)?
        .meet()?
        .verify(now)?
        .meet()?
        .parse(intake.max_body_bytes, now)
}

/// A request with all of its body.
struct Received {
    answer: Answer,
    headers: Headers,
    body: Vec<u8>,
    /// The sender's address as the gate saw it.
    peer: String,
}

/// A request for a source that exists, from where that source takes any.
struct Routed<'a> {
    received: Received,
    endpoint: &'a Endpoint,
}

/// A request that is no handshake, unless it is a signed one.
struct Unmet<'a>(Routed<'a>);

/// A request that its provider has made. Nothing in it has been parsed yet that is not a part of the proof.
struct Verified<'a> {
    routed: Routed<'a>,
    /// Which of the keys has matched; `None` where none was asked for.
    secret_position: Option<usize>,
}

/// A request that its provider has made, and that is no handshake.
struct Genuine<'a>(Verified<'a>);

impl Received {
    fn read(mut request: Request, trusted_proxies: &[Cidr]) -> Result<Received, Ended> {
        let (headers, peer) = answer::take_headers(&request);
        let client = Client::find(&peer, &headers.all(FORWARDED_FOR).collect::<Vec<_>>(), trusted_proxies);
        let length_bytes = request.body_length().unwrap_or(0);
        let mut body = Vec::with_capacity(length_bytes);
        let read = request.as_reader().read_to_end(&mut body);
        let answer = Answer::new(request, client);
        // tiny_http reports the end of a connection as the end of the body.
        if read.is_err() || body.len() != length_bytes {
            return Err(answer.rejected(Rejection::Malformed("the body is incomplete")));
        }
        Ok(Received { answer, headers, body, peer })
    }

    fn route(mut self, endpoints: &[Endpoint]) -> Result<Routed<'_>, Ended> {
        let name = path_of(self.answer.target()).strip_prefix(PATH_PREFIX);
        let Some(endpoint) = endpoints.iter().find(|endpoint| Some(endpoint.source.name.as_str()) == name) else {
            return Err(self.answer.rejected(Rejection::NoSuchPath));
        };
        self.answer.is_for(&endpoint.counts);
        if !endpoint.source.takes_from(|networks| self.answer.client().is_in(networks)) {
            return Err(self.answer.rejected(Rejection::NotAllowed));
        }
        Ok(Routed { received: self, endpoint })
    }

    fn parts(&self, verifier: &Verifier) -> Parts<'_> {
        let Received { answer, headers, body, .. } = self;
        Parts { method: answer.method(), target: answer.target(), headers, body, forms: verifier.forms }
    }

    fn is_local(&self) -> bool {
        let is_forwarded = FORWARDING_HEADERS.iter().chain(&BROWSER_HEADERS).any(|header| self.headers.has(header));
        !is_forwarded && client::is_on_this_machine(&self.peer)
    }
}

impl<'a> Routed<'a> {
    /// Answers a handshake that is not signed, or that brings the secret which is still missing.
    fn meet(self) -> Result<Unmet<'a>, Ended> {
        let is_awaited = matches!(self.endpoint.verification, Verification::Awaited);
        self.encounter(Stage::Before { is_awaited }).map(Unmet)
    }

    /// Answers the request if it is a handshake of its provider.
    fn encounter(self, stage: Stage<'_>) -> Result<Routed<'a>, Ended> {
        let Routed { received, endpoint } = self;
        let verifier = &endpoint.source.verifier;
        match handshake::meet(verifier, &received.parts(verifier), &endpoint.known, stage) {
            HandshakeResult::Delivery => Ok(Routed { received, endpoint }),
            HandshakeResult::Handshake(reply) => Err(Ended::Met(received.answer, Box::new(reply))),
            HandshakeResult::WrongMethod => {
                Err(received.answer.rejected(Rejection::WrongMethod { allow: handshake::methods(verifier) }))
            }
            HandshakeResult::Refused => Err(received.answer.rejected(Rejection::NotMet)),
        }
    }
}

impl<'a> Unmet<'a> {
    fn verify(self, now: Timestamp) -> Result<Verified<'a>, Ended> {
        let Unmet(Routed { received, endpoint }) = self;
        let verifier = &endpoint.source.verifier;
        let verdict = match &endpoint.verification {
            Verification::Secrets(keys) => provider::verify(verifier, keys, &received.parts(verifier), now)
                .map(|verified| Some(verified.secret_position))
                .map_err(Rejection::from),
            Verification::Nothing => Ok(None),
            Verification::LocalOnly if received.is_local() => Ok(None),
            Verification::LocalOnly => Err(Rejection::NotLocal),
            Verification::Awaited => Err(Rejection::NoSecretYet),
        };
        match verdict {
            Ok(secret_position) => Ok(Verified { routed: Routed { received, endpoint }, secret_position }),
            Err(why) => Err(received.answer.rejected(why)),
        }
    }
}

impl<'a> Verified<'a> {
    /// Answers a handshake that is signed.
    fn meet(self) -> Result<Genuine<'a>, Ended> {
        let Verified { routed, secret_position } = self;
        let key = secret_position.and_then(|position| routed.endpoint.verification.secrets().get(position));
        let routed = routed.encounter(Stage::After(key))?;
        Ok(Genuine(Verified { routed, secret_position }))
    }
}

impl Genuine<'_> {
    fn parse(self, max_body_bytes: u64, now: Timestamp) -> Result<(Delivery, Answer), Ended> {
        let Genuine(Verified { routed: Routed { received, endpoint }, secret_position }) = self;
        let Received { mut answer, headers, body, .. } = received;
        let source = &endpoint.source;
        match parse(source, &answer, &headers, body, max_body_bytes, now) {
            Ok(delivery) => {
                answer.accept(source.verifier.status, &delivery, secret_position.is_some());
                Ok((Delivery { secret_position, ..delivery }, answer))
            }
            Err(why) => Err(answer.rejected(why)),
        }
    }
}

fn parse(
    source: &Source,
    answer: &Answer,
    headers: &Headers,
    body: Vec<u8>,
    max_body_bytes: u64,
    now: Timestamp,
) -> Result<Delivery, Rejection> {
    let content = Content::decode(headers, body, max_body_bytes)?;
    let verifier = &source.verifier;
    let parts = Parts {
        method: answer.method(),
        target: answer.target(),
        headers,
        body: content.decoded(),
        forms: verifier.forms,
    };
    let event_type = identifier(verifier.event_type(&parts))?;
    let id = match (identifier(verifier.delivery_id(&parts))?, verifier.without_id) {
        (Some(id), _) => DeliveryId::Given(id),
        (None, WithoutId::Content) => DeliveryId::OfContent(content_id(&source.name, content.received())),
        (None, WithoutId::Own) => DeliveryId::Given(digest::uuid()),
    };
    let payload = content.represent(headers, verifier.forms).map_err(Rejection::Malformed)?;
    Ok(Delivery {
        source: source.name.clone(),
        event_type: event_type.unwrap_or_else(|| UNKNOWN_EVENT.to_owned()),
        id,
        payload_json: payload.json,
        body: payload.body,
        headers_json: payload::headers_json(headers, |name| verifier.is_secret_header(name)),
        secret_position: None,
        dedup_window: source.dedup_window,
        received_at: now,
    })
}

fn identifier(value: Option<String>) -> Result<Option<String>, Rejection> {
    match value {
        Some(value) if value.len() > MAX_IDENTIFIER_BYTES => Err(Rejection::Malformed("an identifier is too long")),
        Some(value) if value.contains(char::is_control) => {
            Err(Rejection::Malformed("an identifier has a control character"))
        }
        value => Ok(value),
    }
}

fn content_id(source: &str, body: &[u8]) -> String {
    format!("sha256:{}", digest::hex(&digest::sha256(&[source.as_bytes(), b"\0", body])))
}

fn path_of(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}

/// A compressed body may be anything when it is unpacked.
fn is_large(request: &Request) -> bool {
    let is_compressed = |header: &tiny_http::Header| {
        header.field.equiv("Content-Encoding") && !header.value.as_str().eq_ignore_ascii_case("identity")
    };
    request.body_length().is_some_and(|bytes| bytes > LARGE_BODY_BYTES) || request.headers().iter().any(is_compressed)
}

fn shake_hands(answer: Answer, reply: &handshake::Reply) {
    answer.counts().inspect(|counts| counts.handshakes.add(1));
    let (source, path) = (answer.source(), path_of(answer.target()));
    rate_limited(
        Level::Info,
        source,
        "handshake",
        format_args!("answered a handshake at {path} from {}", answer.client()),
    );
    if let Some(tell) = &reply.tell {
        rate_limited(Level::Warn, source, "told in a handshake", format_args!("{path}: {tell}"));
    }
    answer.reply(reply);
}

/// The query is not logged: it may have a token in it.
fn reject(Rejected { answer, why }: Rejected, metrics: &Metrics, now: Timestamp) {
    let path: String = path_of(answer.target()).chars().take(MAX_LOGGED_CHARS).collect();
    count_reject(&answer, &why, &path, metrics, now);
    match why {
        Rejection::NotStored => debug!("refused {path}: not stored"),
        _ => rate_limited(
            Level::Warn,
            answer.source(),
            why.kind(),
            format_args!("rejected {path} from {}: {why}", answer.client()),
        ),
    }
    answer.reject(&why);
}

/// What could not be stored is no reject: its sender did nothing wrong.
fn count_reject(answer: &Answer, why: &Rejection, path: &str, metrics: &Metrics, now: Timestamp) {
    let counts = answer.counts();
    let Some(reason) = why.reason() else {
        counts.inspect(|counts| counts.refused.add(1));
        return;
    };
    counts.map_or(&metrics.unmatched, |counts| &counts.rejects).of(reason).add(1);
    metrics.hours.add(now);
    let (source, peer) = (counts.map(|counts| counts.name.clone()), answer.client().to_string());
    metrics.rejects.push(Reject::new(source, path, reason, &why.to_string(), &peer, now));
}
