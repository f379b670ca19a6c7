//! The receiver's answers. No other file can send one, and this one acknowledges only what is [`Stored`].

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use log::{Level, debug, info};

use super::rejection::{RETRY_AFTER, Rejection, Row};
use crate::http::Responder;
use crate::log::rate_limited;
use crate::metrics::SourceCounts;
use crate::provider::handshake::Reply;
use crate::store::{Ingested, Stored, WriteError};

const TEXT: (&str, &str) = ("Content-Type", "text/plain; charset=UTF-8");

/// A [`Responder`] with which only this file can respond.
pub(super) struct Unanswered(Responder);

/// The answer to a delivery, its log line and its counters, for when it is stored.
pub(super) struct Receipt {
    /// The status that the provider expects.
    pub(super) status: u16,
    pub(super) source: Arc<SourceCounts>,
    /// The delivery, for the log.
    pub(super) text: String,
    /// Whether it is signed: otherwise anyone can have sent it.
    pub(super) is_proven: bool,
}

impl Deref for Unanswered {
    type Target = Responder;

    fn deref(&self) -> &Responder {
        &self.0
    }
}

impl DerefMut for Unanswered {
    fn deref_mut(&mut self) -> &mut Responder {
        &mut self.0
    }
}

impl Unanswered {
    pub(super) fn new(responder: Responder) -> Unanswered {
        Unanswered(responder)
    }

    pub(super) fn reject(self, row: &Row<'_>) {
        self.0.respond(row.status, [TEXT].into_iter().chain(row.header), format!("{}\n", row.line));
    }

    pub(super) fn answer_handshake(self, reply: &Reply) {
        let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str()));
        self.0.respond(reply.status, headers, reply.body.as_bytes());
    }

    /// Answers the gate's probe.
    pub(super) fn answer_probe(self) {
        self.0.respond(200, [], "");
    }

    /// Answers `GET /healthz`.
    pub(super) fn report_health(self, health: &Result<(), WriteError>) {
        match health {
            Ok(()) => self.0.respond(200, [TEXT], "ok\n"),
            Err(error) => self.0.respond(503, [TEXT, RETRY_AFTER], format!("{}\n", error.summary())),
        }
    }

    /// Answers a delivery that could not be stored. It is not counted as a reject: its sender did nothing wrong.
    pub(super) fn refuse(self, receipt: &Receipt) {
        receipt.source.refused.add(1);
        debug!("refused {}: not stored", self.path());
        self.reject(&Rejection::NotStored.row());
    }
}

/// Answers with an empty body, which every provider understands.
pub(super) fn acknowledge(stored: Stored<(Unanswered, Receipt)>) {
    let (ingested, (unanswered, receipt)) = stored.into_parts();
    receipt.count(ingested);
    unanswered.0.respond(receipt.status, [], "");
    receipt.log(ingested);
}

impl Receipt {
    fn count(&self, ingested: Ingested) {
        match ingested {
            Ingested::New(_) => self.source.stored.add(1),
            Ingested::Duplicate(_) => self.source.duplicates.add(1),
            Ingested::Requeued(_) | Ingested::Replayed(_) => self.source.replayed.add(1),
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
            Ingested::Requeued(id) => info!("event {id} came again, and its dead jobs are queued again: {text}"),
            Ingested::Replayed(id) => info!("event {id} came again after dedup_window, and is replayed: {text}"),
        }
    }
}
