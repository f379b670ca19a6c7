//! The path of a delivery, as one straight function over typed stages:
//!
//! ```text
//! Inbound -> Received -> Routed -> Verified -> Delivery -> Stored -> acknowledged
//! ```
//!
//! Each stage is a type that only the stage before makes. Before the commit each can end [`Early`]: in a rejection, or in
//! the answer to a handshake, neither of which is stored. Only a [`Stored`] can be acknowledged, and only a committed
//! transaction makes one: acknowledging before the commit does not compile.
//!
//! There is one receiver thread. It commits waiting deliveries together and acknowledges them afterwards, so that many
//! senders share one fsync. It does no network I/O of its own, and the gate passes on only complete requests: no client can
//! make it wait. For a [large](large) body, the stages before the commit take place on another thread.

mod answer;
#[cfg(fuzzing)]
#[path = "../tests/fuzz/receive.rs"]
pub mod fuzz;
mod gzip;
mod intake;
pub mod large;
mod payload;
mod refusals;
mod rejection;
mod transaction;

use std::iter;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use log::Level;

use crate::cidr::Cidr;
use crate::clock::{self, Timestamp};
use crate::current::Current;
use crate::digest;
use crate::event::{Delivery, DeliveryId, MAX_IDENTIFIER_BYTES};
use crate::http::client::{Client, FORWARDED_FOR};
use crate::http::{HEALTH_PATH, Inbound, Server, normal_path};
use crate::log::rate_limited;
use crate::metrics::Metrics;
use crate::provider::handshake::{self, AuthState, HandshakeResult, Reply};
use crate::provider::{self, Parts, Reading, Values, Variable, Verification, WithoutId};
use crate::route::Routing;
use crate::stop::{Stop, Waker};
use crate::store::{Ingest, NotStored, Stored};

use answer::{Early, Ending, Receipt, Unanswered};
pub use intake::{Endpoint, Intake};
use large::{Checked, LargeBodies};
use payload::{Content, OwnQuery};
pub use refusals::Refusals;
use rejection::Rejection;
use transaction::{ToWake, Transaction};

/// A transaction is closed once its deliveries hold this much: a thousand usual ones. A body is read when it is added, so
/// that this limit, not the number of senders, bounds the memory.
const BATCH_BYTES: usize = 8 << 20;

/// The router is woken after this much at the latest, also where it has nothing to route: it shortens the WAL.
const MAX_UNMERGED_BYTES: usize = 1 << 20;

/// The event type of a delivery that names none.
const UNKNOWN_EVENT: &str = "unknown";

/// What can be wrong with an identifier, by its name.
struct IdentifierFaults {
    too_long: &'static str,
    has_control: &'static str,
}

const EVENT_TYPE_FAULTS: IdentifierFaults =
    IdentifierFaults { too_long: "the event type is too long", has_control: "the event type has a control character" };

const DELIVERY_ID_FAULTS: IdentifierFaults = IdentifierFaults {
    too_long: "the delivery id is too long",
    has_control: "the delivery id has a control character",
};

/// Everything that the receiver thread owns.
pub struct Receiver {
    pub server: Server,
    pub intake: Current<Intake>,
    pub large_bodies: LargeBodies,
    pub ingest: Ingest,
    pub router: Waker,
    pub routing: Current<Routing>,
    /// What was stored since the WAL was last looked at.
    pub unmerged_bytes: usize,
    pub stop: Stop,
    pub metrics: Arc<Metrics>,
    /// Whether the last delivery could not be stored. Logged when that begins and when it ends.
    pub in_trouble: bool,
}

impl Receiver {
    /// Receives until the stop flag is set and [`Server::unblock`] was called, which also ends the wait for a request when a
    /// large body has been checked.
    pub fn run(mut self) {
        while !self.stop.is_set() {
            let first = self.server.recv();
            let others = iter::from_fn(|| self.server.try_recv());
            self.receive(first.into_iter().chain(others).map(Unanswered::new).collect());
            // Only now: a call that ends the wait may have been consumed while the requests were fetched.
            self.finish_large();
        }
    }

    /// Handles all waiting small requests together, and hands over the large ones.
    fn receive(&mut self, requests: Vec<Unanswered>) {
        let intake = self.intake.get();
        let deliveries = self.answer_checks(requests, &intake);
        let (large, small): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(|request| request.is_large());
        self.large_bodies.extend(large);
        let mut transaction = Transaction::default();
        for mut request in small {
            let now = clock::now();
            let outcome = delivery_of(request.read(), &intake, now);
            self.add(Checked { request, outcome, now }, &mut transaction);
            if transaction.bytes >= BATCH_BYTES {
                self.store(mem::take(&mut transaction), &intake);
            }
        }
        self.store(transaction, &intake);
    }

    /// Stores a large delivery, in a transaction of its own, and has the next one checked.
    fn finish_large(&mut self) {
        let Some(checked) = self.large_bodies.take_checked() else { return };
        let mut transaction = Transaction::default();
        self.add(checked, &mut transaction);
        self.store(transaction, &self.intake.get());
        self.large_bodies.check_next();
    }

    /// Adds a valid delivery to the transaction, and answers any other request.
    fn add(&self, Checked { request, outcome, now }: Checked, transaction: &mut Transaction) {
        match outcome {
            Ok((delivery, receipt)) => transaction.add(delivery, request, receipt),
            Err(early) => early.finish(request, &self.metrics, now),
        }
    }

    fn store(&mut self, transaction: Transaction, intake: &Intake) {
        if transaction.deliveries.is_empty() {
            return;
        }
        self.metrics.commit_deliveries.observe(transaction.deliveries.len() as u64);
        self.unmerged_bytes += transaction.bytes;
        let mut to_wake = ToWake::of(&transaction.deliveries);
        for result in self.ingest.store(transaction.deliveries, intake.disk_reserve_bytes) {
            match result {
                Ok(stored) => {
                    to_wake.router |= stored.is_reopened();
                    self.acknowledge(stored);
                }
                Err(not_stored) => self.refuse(not_stored),
            }
        }
        self.wake(&to_wake);
        if self.unmerged_bytes >= MAX_UNMERGED_BYTES {
            self.unmerged_bytes = 0;
            self.ingest.shorten_overdue_wal();
        }
    }

    /// Wakes those who go on with what was stored.
    fn wake(&self, ToWake { router, actions }: &ToWake) {
        if *router || self.unmerged_bytes >= MAX_UNMERGED_BYTES {
            self.router.wake();
        }
        let routing = self.routing.get();
        actions.iter().for_each(|action| routing.workers.wake(action));
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
            } else if request.is_about_server() {
                request.name_methods();
            } else if normal_path(&request.path()) != HEALTH_PATH {
                others.push(request);
            } else if ["GET", "HEAD"].contains(&request.method()) {
                request.report_health(health.get_or_insert_with(|| self.health(intake)));
            } else {
                request.reject(&Rejection::WrongMethod { allow: "GET, HEAD".to_owned() }.row());
            }
        }
        others
    }

    /// `Err` has one line that says what is wrong.
    fn health(&mut self, intake: &Intake) -> Result<(), &'static str> {
        self.ingest.probe(intake.disk_reserve_bytes).map_err(|error| error.summary())?;
        self.large_bodies.health(Instant::now())
    }
}

/// The sources that take deliveries at this path: one, or several senders of one's own that share it.
fn endpoints_at<'a>(endpoints: &'a [Endpoint], normal_path: &str) -> impl Iterator<Item = &'a Endpoint> {
    endpoints.iter().filter(move |endpoint| endpoint.source.is_at(normal_path))
}

/// The stages before the commit, from a request to a delivery and the receipt for it.
fn delivery_of(inbound: Inbound, intake: &Intake, now: Timestamp) -> Result<(Delivery, Receipt), Early> {
    Received::new(inbound, &intake.trusted_proxies)?
        .route(&intake.endpoints, now)?
        .authenticate(now)?
        .into_delivery(intake, now)
}

/// A complete request, and its client.
struct Received {
    inbound: Inbound,
    client: Client,
}

/// A request for a source that exists, from an address that the source allows. While the source is sought, that one may be
/// any of those that share the path.
struct Routed<'a> {
    received: Received,
    endpoint: &'a Endpoint,
}

/// A delivery that its provider has signed, or that the source takes unverified.
struct Verified<'a> {
    routed: Routed<'a>,
    /// The position of the key that matched; `None` where the source needs none.
    secret_position: Option<usize>,
    /// What was found in the body, if a handshake check or the signature needed a value of it.
    values: Option<Values>,
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

    /// Of sources that share a path, the first takes what is proven to none of them.
    fn route(self, endpoints: &[Endpoint], now: Timestamp) -> Result<Routed<'_>, Early> {
        let sharing: Vec<&Endpoint> = endpoints_at(endpoints, &self.inbound.normal_path()).collect();
        let Some(&first) = sharing.first() else {
            return Err(self.early(None, Rejection::NoSuchSource));
        };
        let mut routed = Routed { received: self, endpoint: first };
        if sharing.len() > 1 {
            for endpoint in sharing {
                routed.endpoint = endpoint;
                if routed.is_allowed() && routed.is_proven(now) {
                    return Ok(routed);
                }
            }
            routed.endpoint = first;
        }
        if !routed.is_allowed() {
            return Err(routed.early(Rejection::NotAllowed));
        }
        Ok(routed)
    }
}

impl<'a> Routed<'a> {
    /// Verifies a delivery. A handshake ends early, with its answer.
    fn authenticate(self, now: Timestamp) -> Result<Verified<'a>, Early> {
        let reading = self.endpoint.source.verifier.reading(None);
        let matching = self.matching_secret(&reading, now);
        let values = reading.into_values();
        match (matching, values.as_ref().and_then(Values::error)) {
            (_, Some(error)) => Err(self.early(Rejection::Malformed(error.text()))),
            (Ok(secret_position), None) => Ok(Verified { routed: self, secret_position, values }),
            (Err(ending), None) => Err(self.early(ending)),
        }
    }

    fn early(&self, ending: impl Into<Ending>) -> Early {
        self.received.early(Some(self.endpoint), ending)
    }

    fn is_allowed(&self) -> bool {
        self.endpoint.source.allow.as_ref().is_none_or(|networks| self.received.client.is_in(networks))
    }

    fn is_proven(&self, now: Timestamp) -> bool {
        self.matching_secret(&self.endpoint.source.verifier.reading(None), now).is_ok()
    }

    /// The position of the secret that matches. Unsigned handshakes, and those that bring the secret that the source lacks,
    /// are answered before verification; signed ones after.
    fn matching_secret(&self, reading: &Reading<'_>, now: Timestamp) -> Result<Option<usize>, Ending> {
        if self.is_mere_head() {
            return Err(self.answer_head());
        }
        let verification = &self.endpoint.verification;
        let parts = &self.parts(&self.received.inbound.body, reading);
        let awaits_secret = matches!(verification, Verification::Awaited);
        self.answer_handshake(parts, AuthState::Unverified { awaits_secret })?;
        let position = self.verify(parts, now)?;
        let key = position.and_then(|position| verification.secrets().get(position));
        self.answer_handshake(parts, AuthState::Verified(key))?;
        Ok(position)
    }

    fn answer_handshake(&self, parts: &Parts<'_>, state: AuthState<'_>) -> Result<(), Ending> {
        if let Some(is_taken) = self.endpoint.source.takes_method(parts.method) {
            let allow = || {
                self.endpoint.source.methods.iter().chain([&handshake::HEAD]).copied().collect::<Vec<_>>().join(", ")
            };
            return if is_taken { Ok(()) } else { Err(Rejection::WrongMethod { allow: allow() }.into()) };
        }
        let handshakes = &self.endpoint.source.verifier.handshakes;
        match handshake::answer_handshake(handshakes, parts, &self.endpoint.known, state) {
            HandshakeResult::Delivery => Ok(()),
            HandshakeResult::Handshake(reply) => Err(Ending::Handshake(Box::new(reply))),
            HandshakeResult::WrongMethod => {
                Err(Rejection::WrongMethod { allow: handshake::allowed_methods(handshakes) }.into())
            }
            HandshakeResult::Refused => Err(Rejection::HandshakeRefused.into()),
        }
    }

    /// Whether it is a HEAD with no other meaning to the provider.
    fn is_mere_head(&self) -> bool {
        let method = &self.received.inbound.method;
        method == handshake::HEAD && !handshake::has_method(&self.endpoint.source.verifier.handshakes, method)
    }

    /// Some providers ask with HEAD whether there is a receiver before they save its address. They sign nothing then.
    fn answer_head(&self) -> Ending {
        let result = match self.endpoint.verification {
            Verification::LocalOnly => self.check_local(),
            _ => Ok(()),
        };
        result.map_or_else(Ending::from, |()| Ending::Handshake(Box::new(Reply::empty())))
    }

    fn check_local(&self) -> Result<(), Rejection> {
        self.received.inbound.foreign_sign().map_or(Ok(()), |sign| Err(Rejection::NotLocal(sign)))
    }

    fn verify(&self, parts: &Parts<'_>, now: Timestamp) -> Result<Option<usize>, Rejection> {
        match &self.endpoint.verification {
            Verification::Secrets(keys) => provider::verify(&self.endpoint.source.verifier, keys, parts, now)
                .map(Some)
                .map_err(Rejection::Unverified),
            Verification::Nothing => Ok(None),
            Verification::LocalOnly => self.check_local().map(|()| None),
            Verification::Awaited => Err(Rejection::NoSecretYet),
        }
    }

    fn parts<'s>(&'s self, body: &'s [u8], reading: &'s Reading<'s>) -> Parts<'s> {
        let Inbound { method, target, headers, .. } = &self.received.inbound;
        Parts { method, target, headers, body, forms: self.endpoint.source.verifier.form_use(), reading: Some(reading) }
    }
}

impl Verified<'_> {
    fn into_delivery(mut self, intake: &Intake, now: Timestamp) -> Result<(Delivery, Receipt), Early> {
        let body = mem::take(&mut self.routed.received.inbound.body);
        let values = self.values.take();
        let delivery = self.parse(body, values, intake, now).map_err(|why| self.routed.early(why))?;
        let receipt = Receipt {
            status: self.routed.endpoint.source.verifier.status,
            answer: self.routed.endpoint.source.answer.clone(),
            source: Arc::clone(&self.routed.endpoint.counts),
            text: format!("{} from {} (delivery {})", delivery.event_type, delivery.source, delivery.id.as_str()),
            is_proven: self.secret_position.is_some(),
        };
        Ok((delivery, receipt))
    }

    fn parse(
        &self,
        body: Vec<u8>,
        values: Option<Values>,
        intake: &Intake,
        now: Timestamp,
    ) -> Result<Delivery, Rejection> {
        let source = &self.routed.endpoint.source;
        let verifier = &source.verifier;
        let headers = &self.routed.received.inbound.headers;
        let content = Content::decode(headers, body, intake.max_body_bytes)?;
        let reading = verifier.reading(values.filter(|_| !content.is_compressed()));
        let parts = self.routed.parts(content.decoded(), &reading);
        let values = reading.values(&parts);
        if let Some(error) = values.error() {
            return Err(Rejection::Malformed(error.text()));
        }
        let event_type = identifier(verifier.event_type(&parts), &EVENT_TYPE_FAULTS)?;
        let event_type = event_type.unwrap_or_else(|| UNKNOWN_EVENT.to_owned());
        let matching = intake.actions_for(&source.name, &event_type);
        let jobs = intake.decided(&matching, now);
        let id = match (identifier(verifier.delivery_id(&parts), &DELIVERY_ID_FAULTS)?, verifier.preset.without_id) {
            (Some(id), _) => DeliveryId::Given(id),
            (None, WithoutId::Content) => DeliveryId::OfContent {
                hash: format!("sha256:{}", digest::hex(&hash(&source.name, content.received()))),
                actions: matching,
            },
            (None, WithoutId::Own) => DeliveryId::Given(digest::uuid()),
        };
        let sharing = intake.sharing(source);
        let verifiers: Vec<_> = sharing.iter().map(|endpoint| &endpoint.source.verifier).collect();
        let query = OwnQuery::of(&parts, verifier, &verifiers);
        let body_digest = source.ignores_repeated_body.then(|| {
            // Other bytes around a signed field, or another encoding of it, do not make another delivery.
            let field = values.document().filter(|_| !verifier.scheme.signed.has(Variable::Body));
            hash(&source.name, query.payload_bytes().or(field.map(str::as_bytes)).unwrap_or(content.received()))
        });
        let redaction = self.routed.endpoint.redaction();
        let redactions: Vec<_> = sharing.iter().map(|endpoint| endpoint.redaction()).collect();
        let hides = |name: &str, value: &str| {
            redaction.hides(name, value) || redactions.iter().any(|of_one| of_one.has_secret(name, value))
        };
        let payload = query.payload().map_or_else(|| payload::payload(&parts, values), Ok);
        let payload = payload.map_err(Rejection::Malformed)?;
        let (payload_json, body) = content.into_stored(payload).map_err(Rejection::Malformed)?;
        Ok(Delivery {
            source: source.name.clone(),
            event_type,
            id,
            payload_json,
            body,
            headers_json: payload::headers_json(headers, &query, hides),
            secret_position: self.secret_position,
            dedup_window: source.dedup_window,
            body_digest,
            jobs,
            received_at: now,
        })
    }
}

fn identifier(value: Option<String>, faults: &IdentifierFaults) -> Result<Option<String>, Rejection> {
    match value {
        Some(value) if value.len() > MAX_IDENTIFIER_BYTES => Err(Rejection::Malformed(faults.too_long)),
        Some(value) if value.contains(char::is_control) => Err(Rejection::Malformed(faults.has_control)),
        value => Ok(value),
    }
}

/// The same content at two sources is not the same delivery.
fn hash(source: &str, content: &[u8]) -> Vec<u8> {
    digest::sha256(&[source.as_bytes(), b"\0", content])
}
