//! The receiver's answers, with the counters and the log line of each. No other file can send one, and this one
//! acknowledges only [`Stored`] deliveries.

use std::ops::Deref;
use std::sync::Arc;

use log::{Level, debug, info};

use super::rejection::{RETRY_AFTER, Rejected, Rejection, Row};
use crate::clock::{self, Timestamp};
use crate::config::Answer;
use crate::http::client::Client;
use crate::http::{Inbound, Responder};
use crate::log::rate_limited;
use crate::metrics::{Metrics, SourceCounts};
use crate::provider::handshake::Reply;
use crate::store::{Ingested, Stored};

const TEXT: (&str, &str) = ("Content-Type", "text/plain; charset=UTF-8");

/// Those that at least one path takes.
const SERVER_METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// The rest of a path is not logged, because the sender chooses it.
const MAX_LOGGED_CHARS: usize = 80;

/// A [`Responder`] with which only this file can respond.
pub(super) struct Unanswered(Responder);

impl Deref for Unanswered {
    type Target = Responder;

    fn deref(&self) -> &Responder {
        &self.0
    }
}

impl Unanswered {
    pub(super) fn new(responder: Responder) -> Unanswered {
        Unanswered(responder)
    }

    pub(super) fn read(&mut self) -> Inbound {
        self.0.read()
    }

    pub(super) fn reject(self, row: &Row<'_>) {
        self.0.respond(row.status, [TEXT].into_iter().chain(row.header), format!("{}\n", row.line));
    }

    pub(super) fn answer_probe(self) {
        self.0.respond(200, [], "");
    }

    /// Answers a request about the server as a whole (RFC 9110, section 9.3.7).
    pub(super) fn name_methods(self) {
        self.0.respond(204, [("Allow", SERVER_METHODS)], "");
    }

    pub(super) fn report_health(self, health: &Result<(), &'static str>) {
        match health {
            Ok(()) => self.0.respond(200, [TEXT], "ok\n"),
            Err(wrong) => self.0.respond(503, [TEXT, RETRY_AFTER], format!("{wrong}\n")),
        }
    }
}

/// Why a request ends before anything is stored.
pub(super) enum Ending {
    Rejected(Rejection),
    /// Boxed, because it is large and rare.
    Handshake(Box<Reply>),
}

impl From<Rejection> for Ending {
    fn from(rejection: Rejection) -> Ending {
        Ending::Rejected(rejection)
    }
}

/// The answer to a request that is not stored.
pub(super) struct Early {
    pub(super) ending: Ending,
    pub(super) client: Client,
    /// `None` where there is no source at the path.
    pub(super) source: Option<Arc<SourceCounts>>,
}

impl Early {
    /// Counts and logs the request, and answers it.
    pub(super) fn finish(self, request: Unanswered, metrics: &Metrics, now: Timestamp) {
        // The query may have a token in it.
        let path: String = request.path().chars().take(MAX_LOGGED_CHARS).collect();
        match &self.ending {
            Ending::Rejected(rejection) => {
                let row = rejection.row();
                self.note_rejection(&row, &path, metrics, now);
                request.reject(&row);
            }
            Ending::Handshake(reply) => {
                self.note_handshake(reply, &path);
                let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str()));
                request.0.respond(reply.status, headers, reply.body.as_bytes());
            }
        }
    }

    fn source_name(&self) -> &str {
        self.source.as_ref().map_or("", |source| &source.name)
    }

    fn note_rejection(&self, row: &Row<'_>, path: &str, metrics: &Metrics, now: Timestamp) {
        let (source, client, kind, detail) = (self.source.as_deref(), self.client, row.kind, row.detail.as_ref());
        if let Some(reason) = row.reason {
            return Rejected { source, path, client, reason, kind, detail }.note(metrics, now);
        }
        source.inspect(|source| source.refused.add(1));
        rate_limited(Level::Warn, self.source_name(), kind, format_args!("rejected {path} from {client}: {detail}"));
    }

    fn note_handshake(&self, reply: &Reply, path: &str) {
        self.source.as_ref().inspect(|source| source.handshakes.add(1));
        let line = format_args!("answered a handshake at {path} from {}", self.client);
        rate_limited(Level::Info, self.source_name(), "handshake", line);
        if let Some(notice) = &reply.notice {
            rate_limited(Level::Warn, self.source_name(), "handshake notice", format_args!("{path}: {notice}"));
        }
    }
}

/// The answer to a delivery, its log line and its counters, to use once it is stored.
pub(super) struct Receipt {
    /// The status that the provider expects.
    pub(super) status: u16,
    /// What the source answers in place of that.
    pub(super) answer: Option<Arc<Answer>>,
    pub(super) source: Arc<SourceCounts>,
    /// The delivery, for the log.
    pub(super) text: String,
    /// Whether it is signed: otherwise anyone can have sent it.
    pub(super) is_proven: bool,
}

/// Answers with an empty body, which every provider understands, or what the source's config says.
pub(super) fn acknowledge(stored: Stored<(Unanswered, Receipt)>) {
    let (ingested, (request, receipt)) = stored.into_parts();
    receipt.count(ingested);
    match receipt.answer.as_deref() {
        None => request.0.respond(receipt.status, [], ""),
        Some(Answer { status, headers, body }) => {
            let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(TEXT.0));
            let text = (!body.is_empty() && !has_type).then_some(TEXT);
            let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            request.0.respond(*status, headers.chain(text), body.as_str());
        }
    }
    receipt.log(ingested);
}

/// Answers a delivery that could not be stored. It is not counted as a reject: its sender did nothing wrong.
pub(super) fn refuse((request, receipt): (Unanswered, Receipt)) {
    receipt.source.refused.add(1);
    debug!("refused {}: not stored", request.path());
    request.reject(&Rejection::NotStored.row());
}

impl Receipt {
    fn count(&self, ingested: Ingested) {
        self.source.last_received_ms.set(clock::now().unix_ms().unsigned_abs());
        match ingested {
            Ingested::New(_) => self.source.stored.add(1),
            Ingested::Duplicate(_) => self.source.duplicates.add(1),
            Ingested::Requeued(_) | Ingested::Replayed(_) => self.source.replayed.add(1),
            Ingested::Repeated(_) => self.source.repeated.add(1),
        }
    }

    fn log(&self, ingested: Ingested) {
        let text = &self.text;
        // Anyone who has seen one delivery can send it again.
        let log_untrusted = |what, line| rate_limited(Level::Info, &self.source.name, what, line);
        match ingested {
            Ingested::New(id) if self.is_proven => info!("stored event {id}: {text}"),
            Ingested::New(id) => log_untrusted("stored unverified", format_args!("stored event {id}: {text}")),
            Ingested::Duplicate(id) => log_untrusted("known delivery", format_args!("event {id} came again: {text}")),
            Ingested::Repeated(id) => {
                let line = format_args!("the body of event {id} came again under another id, and is ignored: {text}");
                log_untrusted("repeated body", line);
            }
            Ingested::Requeued(id) => info!("event {id} came again, and its dead jobs are queued again: {text}"),
            Ingested::Replayed(id) => info!("event {id} came again after dedup_window, and is replayed: {text}"),
        }
    }
}
