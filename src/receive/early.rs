//! Requests that end before anything is stored: their answers, counters and log lines.

use std::sync::Arc;

use log::Level;

use super::answer::Unanswered;
use super::client::Client;
use super::rejection::{Rejection, Row};
use crate::clock::Timestamp;
use crate::log::rate_limited;
use crate::metrics::{Metrics, Reject, SourceCounts};
use crate::provider::handshake::Reply;

/// The sender chooses the path; this much of it is worth a line of the log.
const MAX_LOGGED_CHARS: usize = 80;

/// The answer to a request that is not stored.
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

/// A request that ends before anything is stored.
pub(super) struct Early {
    pub(super) ending: Ending,
    pub(super) client: Client,
    /// `None` where there is no source at the path.
    pub(super) source: Option<Arc<SourceCounts>>,
}

impl Early {
    /// Counts and logs the request, and answers it.
    pub(super) fn finish(self, unanswered: Unanswered, metrics: &Metrics, now: Timestamp) {
        // The query may have a token in it.
        let path: String = unanswered.path().chars().take(MAX_LOGGED_CHARS).collect();
        match &self.ending {
            Ending::Rejected(rejection) => {
                let row = rejection.row();
                self.count_rejection(&row, &path, metrics, now);
                let line = format_args!("rejected {path} from {}: {}", self.client, row.detail);
                rate_limited(Level::Warn, self.source_name(), row.kind, line);
                unanswered.reject(&row);
            }
            Ending::Handshake(reply) => {
                self.note_handshake(reply, &path);
                unanswered.answer_handshake(reply);
            }
        }
    }

    fn source_name(&self) -> &str {
        self.source.as_ref().map_or("", |source| &source.name)
    }

    fn count_rejection(&self, row: &Row<'_>, path: &str, metrics: &Metrics, now: Timestamp) {
        let source = self.source.as_deref();
        let Some(reason) = row.reason else {
            source.inspect(|source| source.refused.add(1));
            return;
        };
        source.map_or(&metrics.unmatched, |source| &source.rejects).of(reason).add(1);
        metrics.hours.add(now);
        let (name, client) = (source.map(|source| source.name.clone()), self.client.to_string());
        metrics.rejects.push(Reject::new(name, path, reason, &row.detail, &client, now));
    }

    fn note_handshake(&self, reply: &Reply, path: &str) {
        self.source.as_ref().inspect(|source| source.handshakes.add(1));
        let line = format_args!("answered a handshake at {path} from {}", self.client);
        rate_limited(Level::Info, self.source_name(), "handshake", line);
        if let Some(notice) = &reply.notice {
            rate_limited(Level::Warn, self.source_name(), "told in a handshake", format_args!("{path}: {notice}"));
        }
    }
}
