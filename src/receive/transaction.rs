//! The deliveries that are committed together, and whom to wake afterwards.

use std::collections::BTreeSet;

use super::answer::{Receipt, Unanswered};
use crate::event::Delivery;

/// The threads for which there is something new.
pub(super) struct ToWake {
    pub(super) router: bool,
    pub(super) actions: BTreeSet<String>,
}

impl ToWake {
    pub(super) fn of<T>(deliveries: &[(Delivery, T)]) -> ToWake {
        let mut to_wake = ToWake { router: false, actions: BTreeSet::new() };
        for (delivery, _) in deliveries {
            match &delivery.jobs {
                None => to_wake.router = true,
                Some(jobs) => to_wake.actions.extend(jobs.iter().map(|job| job.action.clone())),
            }
        }
        to_wake
    }
}

/// The deliveries of one transaction, each with its answer.
#[derive(Default)]
pub(super) struct Transaction {
    pub(super) deliveries: Vec<(Delivery, (Unanswered, Receipt))>,
    pub(super) bytes: usize,
}

impl Transaction {
    pub(super) fn add(&mut self, delivery: Delivery, request: Unanswered, receipt: Receipt) {
        self.bytes += delivery.content_bytes();
        self.deliveries.push((delivery, (request, receipt)));
    }
}
