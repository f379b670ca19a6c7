//! The path of a delivery, as one straight function over typed stages:
//!
//! ```text
//! Inbound -> Received -> Routed -> Verified -> Delivery -> Stored -> acknowledged
//! ```
//!
//! Each stage is a type that only the stage before makes. Before the commit each can end [`Early`]: in a rejection, or in the
//! answer to a handshake, neither of which is stored. Only a [`Stored`] can be acknowledged, and only a committed transaction
//! makes one: acknowledging before the commit does not compile.
//!
//! There is one receiver thread. It commits waiting deliveries together and acknowledges them afterwards, so that many senders
//! share one fsync. It does no network I/O of its own, and the gate passes on only complete requests: no client can make it
//! wait.

mod answer;
mod client;
#[cfg(fuzzing)]
#[path = "../tests/fuzz/receive.rs"]
pub mod fuzz;
mod payload;
mod rejection;

use std::iter;
use std::mem;
use std::sync::Arc;

use log::Level;

use crate::cidr::Cidr;
use crate::clock::{self, Timestamp};
use crate::config::{PATH_PREFIX, Source};
use crate::current::Current;
use crate::digest;
use crate::event::{Delivery, DeliveryId, MAX_IDENTIFIER_BYTES};
use crate::http::form::Form;
use crate::http::{BROWSER_HEADERS, FORWARDING_HEADERS, Inbound, Server};
use crate::json;
use crate::log::rate_limited;
use crate::metrics::{Metrics, SourceCounts};
use crate::provider::handshake::{self, AuthState, HandshakeConfig, HandshakeResult};
use crate::provider::{self, Parts, Redaction, Verification, WithoutId};
use crate::secret::Secret;
use crate::stop::{Stop, Waker};
use crate::store::{Ingest, NotStored, Stored};

use answer::{Early, Ending, Receipt, Unanswered};
use client::{Client, FORWARDED_FOR};
use payload::Content;
use rejection::Rejection;

const HEALTH_PATH: &str = "/healthz";

/// A transaction is closed once its deliveries hold this much: a thousand usual ones. A body is read when it is added, so
/// that this limit, not the number of senders, bounds the memory.
const BATCH_BYTES: usize = 8 << 20;

/// The event type of a delivery that names none.
const UNKNOWN_EVENT: &str = "unknown";

/// The receiver's configuration; replaced as a whole when the configuration is read again.
#[derive(Debug)]
pub struct Intake {
    pub endpoints: Vec<Endpoint>,
    /// Nothing is stored while less than this is free on the disk.
    pub disk_reserve_bytes: u64,
    /// The largest body after decompression.
    pub max_body_bytes: u64,
    /// The proxies that are believed when they name their client.
    pub trusted_proxies: Vec<Cidr>,
}

/// A source that takes deliveries, with its secrets fetched.
#[derive(Debug)]
pub struct Endpoint {
    pub source: Source,
    pub verification: Verification<Secret>,
    pub known: HandshakeConfig,
    pub counts: Arc<SourceCounts>,
}

impl Endpoint {
    fn redaction(&self) -> Redaction<'_> {
        self.source.verifier.redaction(self.verification.secrets(), &self.known.verify_token)
    }
}

/// Everything that the receiver thread owns.
pub struct Receiver {
    pub server: Server,
    pub intake: Current<Intake>,
    pub ingest: Ingest,
    pub router: Waker,
    pub stop: Stop,
    pub metrics: Arc<Metrics>,
    /// Whether the last delivery could not be stored. Logged when that begins and when it ends.
    pub in_trouble: bool,
}

impl Receiver {
    /// Receives until the stop flag is set and [`Server::unblock`] was called.
    pub fn run(mut self) {
        while !self.stop.is_set() {
            let Some(first) = self.server.recv() else { return };
            let others = iter::from_fn(|| self.server.try_recv());
            self.receive(iter::once(first).chain(others).map(Unanswered::new).collect());
        }
    }

    /// Handles all waiting requests together. A large delivery has a transaction of its own, after the small ones.
    fn receive(&mut self, requests: Vec<Unanswered>) {
        let intake = self.intake.get();
        let deliveries = self.answer_checks(requests, &intake);
        let (large, small): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(|request| request.is_large());
        let mut transaction = Transaction::default();
        for request in small {
            self.add(request, &intake, &mut transaction);
            if transaction.bytes >= BATCH_BYTES {
                self.store(mem::take(&mut transaction), &intake);
            }
        }
        self.store(transaction, &intake);
        for request in large {
            let mut transaction = Transaction::default();
            self.add(request, &intake, &mut transaction);
            self.store(transaction, &intake);
        }
    }

    /// Adds a valid delivery to the transaction, and answers any other request.
    fn add(&self, mut request: Unanswered, intake: &Intake, transaction: &mut Transaction) {
        let now = clock::now();
        match delivery_of(request.read(), intake, now) {
            Ok((delivery, receipt)) => transaction.add(delivery, request, receipt),
            Err(early) => early.finish(request, &self.metrics, now),
        }
    }

    fn store(&mut self, transaction: Transaction, intake: &Intake) {
        if transaction.deliveries.is_empty() {
            return;
        }
        self.metrics.commit_deliveries.observe(transaction.deliveries.len() as u64);
        for result in self.ingest.store(transaction.deliveries, intake.disk_reserve_bytes) {
            match result {
                Ok(stored) => self.acknowledge(stored),
                Err(not_stored) => self.refuse(not_stored),
            }
        }
        self.router.wake();
    }

    fn acknowledge(&mut self, stored: Stored<(Unanswered, Receipt)>) {
        if mem::take(&mut self.in_trouble) {
            rate_limited(Level::Info, "", "stored again", format_args!("storing deliveries works again"));
        }
        answer::acknowledge(stored);
    }

    fn refuse(&mut self, NotStored { carried, error }: NotStored<(Unanswered, Receipt)>) {
        if !mem::replace(&mut self.in_trouble, true) {
            // Near the disk's reserve small deliveries still fit and large ones do not, so this may alternate.
            rate_limited(Level::Error, "", "refused", format_args!("deliveries are refused: {error}"));
        }
        answer::refuse(carried);
    }

    /// Answers the gate's probes and health checks, and returns the other requests. Health checks that wait together share
    /// one check of the database: anyone may send them, and while another program holds the lock a check takes a second.
    fn answer_checks(&mut self, requests: Vec<Unanswered>, intake: &Intake) -> Vec<Unanswered> {
        let mut health = None;
        let mut others = Vec::with_capacity(requests.len());
        for request in requests {
            if request.is_probe() {
                request.answer_probe();
            } else if request.path() != HEALTH_PATH {
                others.push(request);
            } else if ["GET", "HEAD"].contains(&request.method()) {
                request.report_health(health.get_or_insert_with(|| self.ingest.probe(intake.disk_reserve_bytes)));
            } else {
                request.reject(&Rejection::WrongMethod { allow: "GET, HEAD".to_owned() }.row());
            }
        }
        others
    }
}

/// The deliveries of one transaction, each with its answer.
#[derive(Default)]
struct Transaction {
    deliveries: Vec<(Delivery, (Unanswered, Receipt))>,
    bytes: usize,
}

impl Transaction {
    fn add(&mut self, delivery: Delivery, request: Unanswered, receipt: Receipt) {
        self.bytes += delivery.content_bytes();
        self.deliveries.push((delivery, (request, receipt)));
    }
}

/// The stages before the commit, from a request to a delivery and the receipt for it.
fn delivery_of(inbound: Inbound, intake: &Intake, now: Timestamp) -> Result<(Delivery, Receipt), Early> {
    Received::new(inbound, &intake.trusted_proxies)?
        .route(&intake.endpoints)?
        .authenticate(now)?
        .into_delivery(intake.max_body_bytes, now)
}

/// A complete request, and its client.
struct Received {
    inbound: Inbound,
    client: Client,
}

/// A request for a source that exists, from an address that the source allows.
struct Routed<'a> {
    received: Received,
    endpoint: &'a Endpoint,
}

/// A delivery that its provider has signed, or that the source takes unverified. Beside handshake checks, only the
/// parts that the signature needs have been parsed.
struct Verified<'a> {
    routed: Routed<'a>,
    /// The position of the key that matched; `None` where the source needs none.
    secret_position: Option<usize>,
}

impl Received {
    fn new(inbound: Inbound, trusted_proxies: &[Cidr]) -> Result<Received, Early> {
        let forwarded_for: Vec<&str> = inbound.headers.all(FORWARDED_FOR).collect();
        let client = Client::find(inbound.peer, &forwarded_for, trusted_proxies);
        let received = Received { inbound, client };
        if received.inbound.is_complete {
            return Ok(received);
        }
        Err(received.early(None, Rejection::Malformed("the body is incomplete")))
    }

    fn early(&self, endpoint: Option<&Endpoint>, ending: impl Into<Ending>) -> Early {
        let source = endpoint.map(|endpoint| Arc::clone(&endpoint.counts));
        Early { ending: ending.into(), client: self.client, source }
    }

    fn route(self, endpoints: &[Endpoint]) -> Result<Routed<'_>, Early> {
        let name = self.inbound.path().strip_prefix(PATH_PREFIX);
        let Some(endpoint) = endpoints.iter().find(|endpoint| Some(endpoint.source.name.as_str()) == name) else {
            return Err(self.early(None, Rejection::NoSuchSource));
        };
        if endpoint.source.allow.as_ref().is_some_and(|networks| !self.client.is_in(networks)) {
            return Err(self.early(Some(endpoint), Rejection::NotAllowed));
        }
        Ok(Routed { received: self, endpoint })
    }

    fn is_local(&self) -> bool {
        let Inbound { headers, peer, .. } = &self.inbound;
        let is_forwarded = FORWARDING_HEADERS.iter().chain(&BROWSER_HEADERS).any(|header| headers.has(header));
        !is_forwarded && peer.is_some_and(|peer| peer.ip().is_loopback())
    }
}

impl<'a> Routed<'a> {
    /// Verifies a delivery. A handshake ends early, with its answer.
    fn authenticate(self, now: Timestamp) -> Result<Verified<'a>, Early> {
        match self.matching_secret(now) {
            Ok(secret_position) => Ok(Verified { routed: self, secret_position }),
            Err(ending) => Err(self.early(ending)),
        }
    }

    fn early(&self, ending: impl Into<Ending>) -> Early {
        self.received.early(Some(self.endpoint), ending)
    }

    /// The position of the secret that matches. Unsigned handshakes, and those that bring the secret that the source lacks,
    /// are answered before verification; signed ones after.
    fn matching_secret(&self, now: Timestamp) -> Result<Option<usize>, Ending> {
        let verification = &self.endpoint.verification;
        self.answer_handshake(AuthState::Unverified { awaits_secret: matches!(verification, Verification::Awaited) })?;
        let position = self.verify(now)?;
        let key = position.and_then(|position| verification.secrets().get(position));
        self.answer_handshake(AuthState::Verified(key))?;
        Ok(position)
    }

    fn answer_handshake(&self, state: AuthState<'_>) -> Result<(), Ending> {
        let handshakes = &self.endpoint.source.verifier.handshakes;
        match handshake::answer_handshake(handshakes, &self.parts(), &self.endpoint.known, state) {
            HandshakeResult::Delivery => Ok(()),
            HandshakeResult::Handshake(reply) => Err(Ending::Handshake(Box::new(reply))),
            HandshakeResult::WrongMethod => {
                Err(Rejection::WrongMethod { allow: handshake::allowed_methods(handshakes) }.into())
            }
            HandshakeResult::Refused => Err(Rejection::HandshakeRefused.into()),
        }
    }

    fn verify(&self, now: Timestamp) -> Result<Option<usize>, Rejection> {
        match &self.endpoint.verification {
            Verification::Secrets(keys) => provider::verify(&self.endpoint.source.verifier, keys, &self.parts(), now)
                .map(Some)
                .map_err(Rejection::Unverified),
            Verification::Nothing => Ok(None),
            Verification::LocalOnly if self.received.is_local() => Ok(None),
            Verification::LocalOnly => Err(Rejection::NotLocal),
            Verification::Awaited => Err(Rejection::NoSecretYet),
        }
    }

    fn parts(&self) -> Parts<'_> {
        let Inbound { method, target, headers, body, .. } = &self.received.inbound;
        Parts { method, target, headers, body, forms: self.endpoint.source.verifier.forms, scan: None }
    }
}

impl Verified<'_> {
    fn into_delivery(mut self, max_body_bytes: u64, now: Timestamp) -> Result<(Delivery, Receipt), Early> {
        let body = mem::take(&mut self.routed.received.inbound.body);
        let delivery = self.parse(body, max_body_bytes, now).map_err(|why| self.routed.early(why))?;
        let receipt = Receipt {
            status: self.routed.endpoint.source.verifier.status,
            source: Arc::clone(&self.routed.endpoint.counts),
            text: format!("{} from {} (delivery {})", delivery.event_type, delivery.source, delivery.id.as_str()),
            is_proven: self.secret_position.is_some(),
        };
        Ok((delivery, receipt))
    }

    fn parse(&self, body: Vec<u8>, max_body_bytes: u64, now: Timestamp) -> Result<Delivery, Rejection> {
        let source = &self.routed.endpoint.source;
        let verifier = &source.verifier;
        let headers = &self.routed.received.inbound.headers;
        let content = Content::decode(headers, body, max_body_bytes)?;
        let parts = Parts { body: content.decoded(), ..self.routed.parts() };
        let form_payload = parts.form().and_then(Form::payload);
        let scan = json::scan(form_payload.as_deref().map_or(parts.body, str::as_bytes), verifier.lookups());
        let parts = Parts { scan: Some(&scan), ..parts };
        let event_type = identifier(verifier.event_type(&parts))?;
        let id = match (identifier(verifier.delivery_id(&parts))?, verifier.preset.without_id) {
            (Some(id), _) => DeliveryId::Given(id),
            (None, WithoutId::Content) => DeliveryId::OfContent(content_id(&source.name, content.received())),
            (None, WithoutId::Own) => DeliveryId::Given(digest::uuid()),
        };
        let redaction = self.routed.endpoint.redaction();
        let json = payload::represent(&parts, form_payload, &scan).map_err(Rejection::Malformed)?;
        let (payload_json, body) = content.into_stored(json, &scan).map_err(Rejection::Malformed)?;
        Ok(Delivery {
            source: source.name.clone(),
            event_type: event_type.unwrap_or_else(|| UNKNOWN_EVENT.to_owned()),
            id,
            payload_json,
            body,
            headers_json: payload::headers_json(headers, |name, value| redaction.hides(name, value)),
            secret_position: self.secret_position,
            dedup_window: source.dedup_window,
            received_at: now,
        })
    }
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
