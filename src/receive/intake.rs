//! What the receiver takes, and for which actions: its part of the configuration.

use std::sync::Arc;

use crate::action::Action;
use crate::cidr::Cidr;
use crate::clock::Timestamp;
use crate::config::Source;
use crate::event::{MatchingAction, NewJob};
use crate::metrics::SourceCounts;
use crate::provider::handshake::HandshakeConfig;
use crate::provider::{Redaction, Verification};
use crate::secret::Secret;
use crate::store;

/// The receiver's configuration; replaced as a whole when the configuration is read again.
#[derive(Debug)]
pub struct Intake {
    pub endpoints: Vec<Endpoint>,
    pub actions: Vec<Action>,
    /// Nothing is stored while less than this is free on the disk.
    pub disk_reserve_bytes: u64,
    /// The largest body after decompression.
    pub max_body_bytes: u64,
    /// The proxies that are believed when they name their client.
    pub trusted_proxies: Vec<Cidr>,
}

impl Intake {
    /// The jobs of an event; `None` where the router must decide, because a condition or a key reads the payload, or because
    /// another program may process the event. Jobs with keys are made in the order of their events, by the router alone.
    pub(super) fn decided(&self, matching: &[MatchingAction], now: Timestamp) -> Option<Vec<NewJob>> {
        let is_undecided = |action: &MatchingAction| action.has_condition || action.is_keyed;
        if self.actions.is_empty() || matching.iter().any(is_undecided) {
            return None;
        }
        let job = |action: &MatchingAction| NewJob {
            action: action.name.clone(),
            key: None,
            due: store::due_after(now, action.delay, now),
        };
        Some(matching.iter().map(job).collect())
    }

    /// The endpoint of the source and those that share its path: a delivery may bring the proofs of several.
    pub(super) fn sharing(&self, source: &Source) -> Vec<&Endpoint> {
        self.endpoints.iter().filter(|endpoint| endpoint.source.shares_path_with(source)).collect()
    }

    pub(super) fn actions_for(&self, source: &str, event_type: &str) -> Vec<MatchingAction> {
        let matching = self.actions.iter().filter(|action| action.matches(source, event_type));
        let named = |action: &Action| MatchingAction {
            name: action.name.clone(),
            has_condition: action.when.is_some(),
            is_keyed: action.is_keyed(),
            delay: action.delay,
        };
        matching.map(named).collect()
    }
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
    pub(super) fn redaction(&self) -> Redaction<'_> {
        self.source.verifier.redaction(self.verification.secrets(), &self.known.verify_token)
    }
}
