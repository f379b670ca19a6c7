//! The counts and signs of life of a gate. Written by its thread, read by others.

use super::refusal::{Fault, Refusal};
use crate::http::client::Client;
use crate::http::refused::{RefusalObserver, Refused};
use crate::metrics::{Counter, Gauge, Histogram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// From the fastest commit on a good disk to the time after which providers give up.
const RESPONSE_BOUNDS_US: [u64; 13] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];

#[derive(Debug)]
pub struct Traffic {
    pub open: Gauge,
    pub accepted: Counter,
    /// Evicted.
    pub shed: Counter,
    /// Closed or refused after a timeout of the client's.
    pub late: Counter,
    /// From the last byte of a request with a body to its response, if that is a success.
    pub acknowledgement: Histogram,
    refused: [Counter; Refusal::TABLE.len()],
    pub(super) accept_attempts: Counter,
    answers: Counter,
    is_awaited: AtomicBool,
    /// `None` in tests.
    observer: Option<Arc<dyn RefusalObserver>>,
}

/// The signs of life at one moment, to compare with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// How often the listener was served: a connection was accepted, or there was no room for it.
    pub accept_attempts: u64,
    /// The responses from upstream.
    pub answers: u64,
    /// Whether a request has waited for upstream since its last response. It stays so when that request times out.
    pub is_awaited: bool,
}

impl Default for Traffic {
    fn default() -> Traffic {
        Traffic {
            open: Gauge::default(),
            accepted: Counter::default(),
            shed: Counter::default(),
            late: Counter::default(),
            acknowledgement: Histogram::new(&RESPONSE_BOUNDS_US),
            refused: Default::default(),
            accept_attempts: Counter::default(),
            answers: Counter::default(),
            is_awaited: AtomicBool::default(),
            observer: None,
        }
    }
}

impl Traffic {
    /// With an observer of the requests that the gate refuses.
    pub fn observed_by(observer: Arc<dyn RefusalObserver>) -> Traffic {
        Traffic { observer: Some(observer), ..Traffic::default() }
    }

    pub(super) fn note_refusal(&self, fault: &Fault, path: &str, client: Client) {
        self.refused[fault.refusal as usize].add(1);
        if let Some(observer) = &self.observer {
            observer.observe(&Refused {
                reason: fault.refusal.reason(),
                rule: fault.rule,
                text: &fault.to_string(),
                path,
                client,
            });
        }
    }

    pub(super) fn note_waiting(&self) {
        self.is_awaited.store(true, Ordering::Relaxed);
    }

    pub(super) fn note_answer(&self) {
        self.answers.add(1);
        self.is_awaited.store(false, Ordering::Relaxed);
    }

    /// How often the gate itself responded, by status.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::TABLE.iter().zip(&self.refused).map(|((refusal, ..), count)| (refusal.code(), count.get()))
    }

    pub fn liveness(&self) -> Liveness {
        Liveness {
            accept_attempts: self.accept_attempts.get(),
            answers: self.answers.get(),
            is_awaited: self.is_awaited.load(Ordering::Relaxed),
        }
    }
}
