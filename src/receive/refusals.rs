//! Requests that the gate refuses: counted and logged like those that the receiver rejects.

use std::sync::Arc;

use super::rejection::Rejected;
use super::{Intake, endpoints_at};
use crate::clock;
use crate::current::Current;
use crate::http::normal_path;
use crate::http::refused::{RefusalObserver, Refused};
use crate::metrics::Metrics;

/// What the gate's thread needs for that.
#[derive(Debug)]
pub struct Refusals {
    pub intake: Current<Intake>,
    pub metrics: Arc<Metrics>,
}

impl RefusalObserver for Refusals {
    fn observe(&self, refused: &Refused<'_>) {
        let intake = self.intake.get();
        let endpoint = endpoints_at(&intake.endpoints, &normal_path(refused.path)).next();
        let rejected = Rejected {
            source: endpoint.map(|endpoint| &*endpoint.counts),
            path: refused.path,
            client: refused.client,
            reason: refused.reason,
            kind: refused.rule,
            detail: refused.text,
        };
        rejected.note(&self.metrics, clock::now());
    }
}
