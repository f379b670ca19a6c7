//! A gate's counters.

use super::refusal::Refusal;
use crate::metrics::{Counter, Gauge, Histogram};

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
    refused: [Counter; Refusal::ALL.len()],
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
        }
    }
}

impl Traffic {
    pub(super) fn note_refusal(&self, refusal: Refusal) {
        self.refused[refusal as usize].add(1);
    }

    /// How often the gate itself responded, by status.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::ALL.into_iter().map(|refusal| (refusal.code(), self.refused[refusal as usize].get()))
    }
}
