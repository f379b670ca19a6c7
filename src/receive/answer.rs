//! The right to answer one request once, and what there is to say.

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use log::{Level, debug};
use tiny_http::{Header, Request, Response};

use crate::event::{Delivery, Headers};
use crate::gate::PEER_HEADER;
use crate::log::rate_limited;
use crate::metrics::{RejectReason, SourceCounts};
use crate::provider::Refusal;
use crate::provider::handshake::Reply;
use crate::store::{Ingested, Stored, WriteError};

use super::client::Client;

/// When to come again after a 503: long enough for a full disk to be noticed, short enough for a held lock.
const RETRY_AFTER_S: &str = "30";

/// A request that has been read and not been answered.
pub(super) struct Answer {
    /// Boxed, because it is big and passes from stage to stage.
    request: Box<Request>,
    client: Client,
    /// Of the source that it is for, once that is known.
    counts: Option<Arc<SourceCounts>>,
    /// What the delivery is, for the log.
    text: String,
    is_proven: bool,
    /// What the provider wants to hear when it is stored.
    status: u16,
}

/// A request that ends before anything is stored.
pub(super) enum Ended {
    Rejected(Rejected),
    /// A handshake, and its answer.
    Met(Answer, Box<Reply>),
}

/// A request that ends here, and why.
pub(super) struct Rejected {
    pub(super) answer: Answer,
    pub(super) why: Rejection,
}

/// Why a delivery is not acknowledged. `Display` is for the operator; what the sender reads is [`Rejection::line`].
#[derive(Debug)]
pub(super) enum Rejection {
    NoSuchPath,
    WrongMethod {
        allow: String,
    },
    Malformed(&'static str),
    /// Compressed, and larger than any body may be.
    TooLarge,
    Forged(Refusal),
    /// The clock cannot judge its timestamp; the sender shall come again.
    ClockNotSet,
    /// A handshake that is not as it should be.
    NotMet,
    /// The provider has not brought the secret, or the operator not configured it.
    NoSecretYet,
    /// An unverified source takes nothing that was passed on from elsewhere.
    NotLocal,
    /// The source takes nothing from this address.
    NotAllowed,
    /// It could not be made durable now; the sender shall come again.
    NotStored,
}

/// What was acknowledged, for the log.
pub(super) struct Label {
    pub(super) text: String,
    source: String,
    /// Its provider has made it, not just anybody.
    pub(super) is_proven: bool,
}

impl Label {
    /// Logs what anybody may have caused, as often as he likes.
    pub(super) fn by_a_stranger(&self, what: &'static str, line: fmt::Arguments<'_>) {
        rate_limited(Level::Info, &self.source, what, line);
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Rejection {
        match refusal {
            Refusal::ClockNotSet => Rejection::ClockNotSet,
            other => Rejection::Forged(other),
        }
    }
}

impl Rejection {
    /// As what it is counted; `None` for what is no reject.
    pub(super) fn reason(&self) -> Option<RejectReason> {
        Some(match self {
            Rejection::NoSuchPath => RejectReason::NoSuchSource,
            Rejection::WrongMethod { .. } => RejectReason::WrongMethod,
            Rejection::Malformed(_) => RejectReason::Malformed,
            Rejection::TooLarge => RejectReason::TooLarge,
            Rejection::Forged(Refusal::Missing(_)) => RejectReason::SignatureMissing,
            Rejection::Forged(
                Refusal::NoTimestamp(_) | Refusal::BadTimestamp(_) | Refusal::TooOld { .. } | Refusal::TooNew { .. },
            ) => RejectReason::Timestamp,
            Rejection::Forged(_) => RejectReason::SignatureWrong,
            Rejection::NotMet => RejectReason::Handshake,
            Rejection::NoSecretYet => RejectReason::NoSecret,
            Rejection::NotLocal => RejectReason::Forwarded,
            Rejection::NotAllowed => RejectReason::NotAllowed,
            Rejection::NotStored | Rejection::ClockNotSet => return None,
        })
    }

    fn status(&self) -> u16 {
        match self {
            Rejection::NoSuchPath => 404,
            Rejection::WrongMethod { .. } => 405,
            Rejection::Malformed(_) => 400,
            Rejection::TooLarge => 413,
            Rejection::Forged(_) | Rejection::NoSecretYet => 401,
            Rejection::NotLocal | Rejection::NotMet | Rejection::NotAllowed => 403,
            Rejection::NotStored | Rejection::ClockNotSet => 503,
        }
    }

    /// One short line that leaks nothing.
    fn line(&self) -> &'static str {
        match self {
            Rejection::NoSuchPath => "no such source",
            Rejection::WrongMethod { .. } => "wrong method",
            Rejection::Malformed(what) => what,
            Rejection::TooLarge => "too large",
            Rejection::Forged(_) | Rejection::NoSecretYet => "signature missing or wrong",
            Rejection::ClockNotSet => "cannot be judged now",
            Rejection::NotMet => "refused",
            Rejection::NotLocal => "this source takes no forwarded deliveries",
            Rejection::NotAllowed => "forbidden",
            Rejection::NotStored => "cannot be stored now",
        }
    }

    /// The kind of trouble, in few words, for where many are counted.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Rejection::Forged(refusal) => refusal.kind(),
            Rejection::NoSecretYet => "no secret yet",
            Rejection::ClockNotSet => "clock not set",
            Rejection::NotMet => "handshake refused",
            Rejection::NotLocal => "forwarded",
            Rejection::NotAllowed => "address not allowed",
            other => other.line(),
        }
    }

    fn header(&self) -> Option<Header> {
        match self {
            Rejection::WrongMethod { allow } => header("Allow", allow),
            Rejection::NotStored | Rejection::ClockNotSet => header("Retry-After", RETRY_AFTER_S),
            _ => None,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Forged(refusal) => refusal.fmt(f),
            Rejection::TooLarge => f.write_str("the body is larger than max_body when decompressed"),
            Rejection::ClockNotSet => Refusal::ClockNotSet.fmt(f),
            Rejection::NotMet => f.write_str(
                "it is not a handshake as it should be: see verify_token and allowed_origins in [sources.NAME]",
            ),
            Rejection::NoSecretYet => {
                f.write_str("the source has no secret yet: set it to the token that the provider has sent")
            }
            Rejection::NotLocal => {
                f.write_str("it came from elsewhere, and this source verifies nothing: give it a secret")
            }
            Rejection::NotAllowed => f.write_str(
                "this address is not in the source's allow (behind a proxy, trusted_proxies must name the proxy)",
            ),
            other => f.write_str(other.line()),
        }
    }
}

impl Answer {
    pub(super) fn new(request: Request, client: Client) -> Answer {
        Answer { request: Box::new(request), client, counts: None, text: String::new(), is_proven: false, status: 200 }
    }

    pub(super) fn is_for(&mut self, source: &Arc<SourceCounts>) {
        self.counts = Some(Arc::clone(source));
    }

    pub(super) fn counts(&self) -> Option<&SourceCounts> {
        self.counts.as_deref()
    }

    /// The name of the source that it is for, empty before that is known.
    pub(super) fn source(&self) -> &str {
        self.counts().map_or("", |counts| &counts.name)
    }

    pub(super) fn client(&self) -> Client {
        self.client
    }

    pub(super) fn target(&self) -> &str {
        self.request.url()
    }

    pub(super) fn method(&self) -> &str {
        self.request.method().as_str()
    }

    /// Notes what to answer once it is stored, and what to log.
    pub(super) fn accept(&mut self, status: u16, delivery: &Delivery, is_proven: bool) {
        self.status = status;
        self.is_proven = is_proven;
        self.text = format!("{} from {} (delivery {})", delivery.event_type, delivery.source, delivery.id.as_str());
    }

    pub(super) fn rejected(self, why: Rejection) -> Ended {
        Ended::Rejected(Rejected { answer: self, why })
    }

    pub(super) fn reply(self, reply: &Reply) {
        let mut response = Response::from_data(reply.body.as_bytes()).with_status_code(reply.status);
        for header in reply.headers.iter().filter_map(|(name, value)| header(name, value)) {
            response.add_header(header);
        }
        send(*self.request, response);
    }

    pub(super) fn reject(self, why: &Rejection) {
        let mut response = Response::from_string(format!("{}\n", why.line())).with_status_code(why.status());
        if let Some(header) = why.header() {
            response.add_header(header);
        }
        send(*self.request, response);
    }
}

/// Answers with an empty body, which every provider understands, and gives back what was kept and the label.
pub(super) fn acknowledge(stored: Stored<Answer>) -> (Ingested, Label) {
    let (kept, answer) = stored.into_parts();
    if let Some(counts) = answer.counts() {
        count(counts, kept);
    }
    let source = answer.source().to_owned();
    send(*answer.request, Response::from_data(Vec::new()).with_status_code(answer.status));
    (kept, Label { text: answer.text, source, is_proven: answer.is_proven })
}

fn count(counts: &SourceCounts, kept: Ingested) {
    match kept {
        Ingested::New(_) => counts.stored.add(1),
        Ingested::Duplicate(_) => counts.duplicates.add(1),
        Ingested::Requeued(_) | Ingested::Replayed(_) => counts.replayed.add(1),
    }
}

/// Answers the gate's question whether somebody is here.
pub(super) fn alive(request: Request) {
    send(request, Response::from_data(Vec::new()));
}

/// Answers `GET /healthz`.
pub(super) fn health(request: Request, probed: &Result<(), WriteError>) {
    let (status, line) = match probed {
        Ok(()) => (200, "ok"),
        Err(error) => (503, error.summary()),
    };
    let mut response = Response::from_string(format!("{line}\n")).with_status_code(status);
    if status != 200
        && let Some(header) = header("Retry-After", RETRY_AFTER_S)
    {
        response.add_header(header);
    }
    send(request, response);
}

/// The sender's header fields and its address, which the gate has put among them.
pub(super) fn take_headers(request: &Request) -> (Headers, String) {
    let is_ours = |header: &&Header| !header.field.equiv(PEER_HEADER);
    let field = |header: &Header| (header.field.as_str().to_string(), header.value.to_string());
    let fields = request.headers().iter().filter(is_ours).map(field).collect();
    (Headers::new(fields), peer(request).unwrap_or_default().to_owned())
}

fn peer(request: &Request) -> Option<&str> {
    request.headers().iter().find(|header| header.field.equiv(PEER_HEADER)).map(|header| header.value.as_str())
}

fn header(name: &str, value: &str) -> Option<Header> {
    Header::from_bytes(name, value).ok()
}

/// The sender may be gone; its delivery is as stored as it was, and comes again if it was not.
fn send(request: Request, response: Response<Cursor<Vec<u8>>>) {
    if let Err(error) = request.respond(response) {
        debug!("the answer did not reach the gate: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_not_set_lets_the_sender_come_again_and_does_not_call_it_a_forger() {
        let rejection = Rejection::from(Refusal::ClockNotSet);
        assert_eq!(rejection.status(), 503);
        assert!(rejection.header().is_some_and(|header| header.field.equiv("Retry-After")));
        assert_eq!(Rejection::from(Refusal::Mismatch).status(), 401);
    }
}
