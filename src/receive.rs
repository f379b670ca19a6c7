//! One delivery's way in, as one straight function over typed stages:
//!
//! ```text
//! Request -> Received -> Routed -> Unmet -> Verified -> Genuine -> Delivery -> Stored -> acknowledged
//! ```
//!
//! Each stage is a type that only the stage before can make, and each may end in an [`Ended`]: a rejection, or the answer
//! to a handshake, which is not stored (those that are not signed end before the verification, the signed ones after it).
//! Only a [`Stored`] can be
//! acknowledged, and only a transaction that was committed hands one out: an answer before the commit does not compile.
//!
//! There is one receiver thread. It commits everything that is waiting in one transaction, and answers afterwards, so
//! that sixty senders share one fsync. It does no network I/O of its own, and the gate hands over whole requests only:
//! nobody can make it wait.

mod answer;
mod payload;

use std::sync::Arc;

use log::{debug, info, warn};
use tiny_http::{Request, Server};

use crate::clock::{self, Timestamp};
use crate::config::Source;
use crate::config::secret::Secret;
use crate::current::Current;
use crate::digest;
use crate::event::{Delivery, DeliveryId, Headers, MAX_IDENTIFIER_BYTES};
use crate::gate;
use crate::provider::handshake::{self, Acquaintance, Encounter};
use crate::provider::{self, Parts, WithoutId};
use crate::stop::{Bell, Stop};
use crate::store::{self, Ingest, Kept, NotStored, Stored};

use answer::{Answer, Ended, Rejected, Rejection};
use payload::Content;

/// The beginning of the target of every delivery; the source's name follows.
pub const PATH_PREFIX: &str = "/webhooks/";

/// Bodies above this are stored one at a time: the commit of a big one takes hundreds of milliseconds, for which the
/// small ones beside it should not wait.
const LARGE_BODY_BYTES: usize = 1 << 20;

/// The event type of a delivery that names none.
const UNKNOWN_EVENT: &str = "unknown";

/// A stranger chooses the path; this much of it is worth a line of the log.
const MAX_LOGGED_CHARS: usize = 80;

/// The fields by which a browser tells that a page makes it send a request: any page may, to any address of this machine.
const BROWSER_HEADERS: [&str; 2] = ["Origin", "Sec-Fetch-Site"];

/// The fields by which a proxy or a tunnel tells that it passes on somebody else's request.
const FORWARDING_HEADERS: [&str; 4] = ["Forwarded", "X-Forwarded-For", "Via", "Cf-Connecting-Ip"];

/// What the receiver goes by; replaced as a whole when the configuration is read again.
#[derive(Debug)]
pub struct Intake {
    pub endpoints: Vec<Endpoint>,
    /// Nothing is stored while less than this is free on the disk.
    pub disk_reserve_bytes: u64,
    /// Of a compressed body, after decompression.
    pub max_body_bytes: u64,
}

/// Where a source's deliveries come in, with its secrets at hand.
#[derive(Debug)]
pub struct Endpoint {
    pub source: Source,
    pub proof: Proof,
    pub known: Acquaintance,
}

/// What an endpoint demands before it believes a delivery.
#[derive(Debug)]
pub enum Proof {
    /// A signature made with any of these keys.
    Signature(Vec<Secret>),
    /// Nothing can prove anything before the provider has brought the secret.
    Awaited,
    /// Nothing: the operator said so.
    Nothing,
    /// Nothing from this machine, and no entrance for what came from elsewhere.
    LocalOnly,
}

/// The receiver thread's all.
pub struct Receiver {
    pub server: Arc<Server>,
    pub intake: Current<Intake>,
    pub ingest: Ingest,
    pub router: Bell,
    pub stop: Stop,
    /// Whether the last commit failed: trouble is told once when it begins and once when it ends.
    pub in_trouble: bool,
}

impl Receiver {
    /// Receives until the stop flag is set and [`Server::unblock`] was called.
    pub fn run(mut self) {
        while !self.stop.is_set() {
            // An error is the unblocking, which `try_recv` may have swallowed (hence the flag), or tiny_http's end.
            let Ok(first) = self.server.recv() else { return };
            let waiting = std::iter::from_fn(|| self.server.try_recv().ok().flatten());
            let requests: Vec<Request> = std::iter::once(first).chain(waiting).collect();
            let deliveries = self.answer_checks(requests);
            let (large, small): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(is_large);
            self.receive(small);
            large.into_iter().for_each(|request| self.receive(vec![request]));
        }
    }

    /// The whole way, for all that wait together.
    fn receive(&mut self, requests: Vec<Request>) {
        let intake = self.intake.get();
        let now = clock::now();
        let mut genuine = Vec::with_capacity(requests.len());
        for request in requests {
            match admit(request, &intake, now) {
                Ok(delivery) => genuine.push(delivery),
                Err(Ended::Rejected(rejected)) => reject(rejected),
                Err(Ended::Met(answer, reply)) => shake_hands(answer, &reply),
            }
        }
        if genuine.is_empty() {
            return;
        }
        for result in self.ingest.store(genuine, intake.disk_reserve_bytes) {
            match result {
                Ok(stored) => self.acknowledge(stored),
                Err(not_stored) => self.refuse(not_stored),
            }
        }
        self.router.ring();
    }

    fn acknowledge(&mut self, stored: Stored<Answer>) {
        if std::mem::take(&mut self.in_trouble) {
            info!("deliveries are stored again");
        }
        match answer::acknowledge(stored) {
            (Kept::New(id), label) => info!("stored event {id}: {label}"),
            (Kept::Duplicate(id), label) => info!("event {id} came again: {label}"),
            (Kept::Requeued(id), label) => info!("event {id} came again, and its dead jobs are queued again: {label}"),
            (Kept::Replayed(id), label) => info!("event {id} came again after dedup_window, and is replayed: {label}"),
        }
    }

    fn refuse(&mut self, NotStored { carried, error }: NotStored<Answer>) {
        if !std::mem::replace(&mut self.in_trouble, true) {
            log::error!("deliveries are refused: {error}");
        }
        reject(Rejected { answer: carried, why: Rejection::NotStored });
    }

    /// Answers what is no delivery, outside the batches; gives the others back. One look serves all who ask after our
    /// health together: anybody may ask, and while another program holds the lock a look takes a second.
    fn answer_checks(&mut self, requests: Vec<Request>) -> Vec<Request> {
        let mut probed = None;
        requests.into_iter().filter_map(|request| self.answer_check(request, &mut probed)).collect()
    }

    fn answer_check(&mut self, request: Request, probed: &mut Option<store::Result<()>>) -> Option<Request> {
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
            _ => Answer::new(request).reject(&Rejection::WrongMethod { allow: "GET, HEAD".to_owned() }),
        }
        None
    }
}

/// From a request to a delivery that is worth storing: the stages before the commit.
fn admit(request: Request, intake: &Intake, now: Timestamp) -> Result<(Delivery, Answer), Ended> {
    Received::read(request)?.route(&intake.endpoints)?.meet()?.verify(now)?.meet()?.parse(intake.max_body_bytes, now)
}

/// A request with all of its body.
struct Received {
    answer: Answer,
    headers: Headers,
    body: Vec<u8>,
    /// The sender's address as the gate saw it.
    peer: String,
}

/// A request for a source that exists.
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
    fn read(mut request: Request) -> Result<Received, Ended> {
        let (headers, peer) = answer::take_headers(&request);
        let length_bytes = request.body_length().unwrap_or(0);
        let mut body = Vec::with_capacity(length_bytes);
        let read = request.as_reader().read_to_end(&mut body);
        let answer = Answer::new(request);
        // tiny_http reports the end of a connection as the end of the body.
        if read.is_err() || body.len() != length_bytes {
            return Err(answer.rejected(Rejection::Malformed("the body is incomplete")));
        }
        Ok(Received { answer, headers, body, peer })
    }

    fn route(self, endpoints: &[Endpoint]) -> Result<Routed<'_>, Ended> {
        let name = path_of(self.answer.target()).strip_prefix(PATH_PREFIX);
        let Some(endpoint) = endpoints.iter().find(|endpoint| Some(endpoint.source.name.as_str()) == name) else {
            return Err(self.answer.rejected(Rejection::NoSuchPath));
        };
        Ok(Routed { received: self, endpoint })
    }

    fn parts(&self) -> Parts<'_> {
        Parts { method: self.answer.method(), target: self.answer.target(), headers: &self.headers, body: &self.body }
    }

    fn is_local(&self) -> bool {
        let is_loopback = |peer: &str| peer.parse().is_ok_and(|peer: std::net::SocketAddr| peer.ip().is_loopback());
        let is_forwarded = FORWARDING_HEADERS.iter().chain(&BROWSER_HEADERS).any(|header| self.headers.has(header));
        !is_forwarded && (self.peer == "unix" || is_loopback(&self.peer))
    }
}

impl<'a> Routed<'a> {
    /// Answers a handshake that is not signed.
    fn meet(self) -> Result<Unmet<'a>, Ended> {
        self.encounter(None).map(Unmet)
    }

    /// Answers the request if it is a handshake of its provider. `key` is what [`handshake::meet`] takes.
    fn encounter(self, key: Option<Option<&Secret>>) -> Result<Routed<'a>, Ended> {
        let Routed { received, endpoint } = self;
        let contract = &endpoint.source.contract;
        match handshake::meet(contract, &received.parts(), &endpoint.known, key) {
            Encounter::Delivery => Ok(Routed { received, endpoint }),
            Encounter::Handshake(reply) => Err(Ended::Met(received.answer, reply)),
            Encounter::WrongMethod => {
                Err(received.answer.rejected(Rejection::WrongMethod { allow: handshake::methods(contract) }))
            }
            Encounter::Refused => Err(received.answer.rejected(Rejection::NotMet)),
        }
    }
}

impl<'a> Unmet<'a> {
    fn verify(self, now: Timestamp) -> Result<Verified<'a>, Ended> {
        let Unmet(Routed { received, endpoint }) = self;
        let verdict = match &endpoint.proof {
            Proof::Signature(keys) => provider::verify(&endpoint.source.contract, keys, &received.parts(), now)
                .map(|verified| Some(verified.secret_position))
                .map_err(Rejection::from),
            Proof::Nothing => Ok(None),
            Proof::LocalOnly if received.is_local() => Ok(None),
            Proof::LocalOnly => Err(Rejection::NotLocal),
            Proof::Awaited => Err(Rejection::NoSecretYet),
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
        let key = match &routed.endpoint.proof {
            Proof::Signature(keys) => secret_position.and_then(|position| keys.get(position)),
            _ => None,
        };
        let routed = routed.encounter(Some(key))?;
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
                answer.accept(source.contract.status, &delivery);
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
    let contract = &source.contract;
    let parts = Parts { method: answer.method(), target: answer.target(), headers, body: content.decoded() };
    let event_type = identifier(contract.event_type(&parts))?;
    let id = match (identifier(contract.delivery_id(&parts))?, contract.without_id) {
        (Some(id), _) => DeliveryId::Given(id),
        (None, WithoutId::Content) => DeliveryId::OfContent(content_id(&source.name, content.received())),
        (None, WithoutId::Own) => DeliveryId::Given(digest::uuid()),
    };
    let payload = content.represent(headers).map_err(Rejection::Malformed)?;
    Ok(Delivery {
        source: source.name.clone(),
        event_type: event_type.unwrap_or_else(|| UNKNOWN_EVENT.to_owned()),
        id,
        payload_json: payload.json,
        body: payload.body,
        headers_json: payload::headers_json(headers, |name| contract.is_secret_header(name)),
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

fn is_large(request: &Request) -> bool {
    request.body_length().is_some_and(|bytes| bytes > LARGE_BODY_BYTES)
}

fn shake_hands(answer: Answer, reply: &handshake::Reply) {
    info!("answered a handshake at {} from {}", path_of(answer.target()), answer.peer());
    if let Some(tell) = &reply.tell {
        warn!("{}: {tell}", path_of(answer.target()));
    }
    answer.reply(reply);
}

/// The query is not logged: it may have a token in it.
fn reject(Rejected { answer, why }: Rejected) {
    let path: String = path_of(answer.target()).chars().take(MAX_LOGGED_CHARS).collect();
    match why {
        Rejection::NotStored => debug!("refused {path}: not stored"),
        _ => warn!("rejected {path} from {}: {why}", answer.peer()),
    }
    answer.reject(&why);
}
