//! The right to answer one request once, and what there is to say.

use std::fmt;
use std::io::Cursor;

use log::debug;
use tiny_http::{Header, Method, Request, Response};

use crate::event::Headers;
use crate::gate::PEER_HEADER;
use crate::provider::Refusal;
use crate::store::{self, Kept, Stored};

/// When to come again after a 503: long enough for a full disk to be noticed, short enough for a held lock.
const RETRY_AFTER_S: &str = "30";

/// A request that has been read and not been answered.
pub(super) struct Answer {
    /// Boxed, because it is big and passes from stage to stage.
    request: Box<Request>,
    /// What the delivery is, for the log.
    pub(super) label: String,
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
        allow: &'static str,
    },
    Malformed(&'static str),
    Forged(Refusal),
    /// An unverified source takes nothing that was passed on from elsewhere.
    NotLocal,
    /// It could not be made durable now; the sender shall come again.
    NotStored,
}

impl Rejection {
    fn status(&self) -> u16 {
        match self {
            Rejection::NoSuchPath => 404,
            Rejection::WrongMethod { .. } => 405,
            Rejection::Malformed(_) => 400,
            Rejection::Forged(_) => 401,
            Rejection::NotLocal => 403,
            Rejection::NotStored => 503,
        }
    }

    /// One short line that leaks nothing.
    fn line(&self) -> &'static str {
        match self {
            Rejection::NoSuchPath => "no such source",
            Rejection::WrongMethod { .. } => "wrong method",
            Rejection::Malformed(what) => what,
            Rejection::Forged(_) => "signature missing or wrong",
            Rejection::NotLocal => "this source takes no forwarded deliveries",
            Rejection::NotStored => "cannot be stored now",
        }
    }

    fn header(&self) -> Option<Header> {
        match self {
            Rejection::WrongMethod { allow } => header("Allow", allow),
            Rejection::NotStored => header("Retry-After", RETRY_AFTER_S),
            _ => None,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Forged(refusal) => refusal.fmt(f),
            Rejection::NotLocal => {
                f.write_str("it came from elsewhere, and this source verifies nothing: give it a secret")
            }
            other => f.write_str(other.line()),
        }
    }
}

impl Answer {
    pub(super) fn new(request: Request) -> Answer {
        Answer { request: Box::new(request), label: String::new() }
    }

    pub(super) fn target(&self) -> &str {
        self.request.url()
    }

    pub(super) fn is_post(&self) -> bool {
        *self.request.method() == Method::Post
    }

    pub(super) fn peer(&self) -> &str {
        peer(&self.request).unwrap_or("an unknown address")
    }

    pub(super) fn rejected(self, why: Rejection) -> Rejected {
        Rejected { answer: self, why }
    }

    pub(super) fn reject(self, why: &Rejection) {
        let mut response = Response::from_string(format!("{}\n", why.line())).with_status_code(why.status());
        if let Some(header) = why.header() {
            response.add_header(header);
        }
        send(*self.request, response);
    }
}

/// Answers 200 with an empty body, as every provider wants it, and gives back what was kept and the label.
pub(super) fn acknowledge(stored: Stored<Answer>) -> (Kept, String) {
    let (kept, answer) = stored.into_parts();
    send(*answer.request, Response::from_data(Vec::new()));
    (kept, answer.label)
}

/// Answers the gate's question whether somebody is here.
pub(super) fn alive(request: Request) {
    send(request, Response::from_data(Vec::new()));
}

/// Answers `GET /healthz`.
pub(super) fn health(request: Request, probed: &store::Result<()>) {
    let (status, line) = match probed {
        Ok(()) => (200, "ok"),
        Err(store::Error::Reserve { .. }) => (503, "the disk reserve is used up"),
        Err(store::Error::Full(_)) => (503, "the disk is full"),
        Err(store::Error::Busy(_)) => (503, "the database is locked by another program"),
        Err(store::Error::ReadOnly(_)) => (503, "the database cannot be written"),
        Err(_) => (503, "the database does not work"),
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
