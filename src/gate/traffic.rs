//! What passes a gate, in numbers.

use super::refusal::Refusal;
use crate::metrics::{Counter, Gauge, Histogram};

/// From the fastest commit of a good disk to what providers stop waiting for, in microseconds.
const ANSWER_BOUNDS_US: [u64; 13] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];

#[derive(Debug)]
pub struct Traffic {
    pub open: Gauge,
    pub accepted: Counter,
    /// Closed to make room for others.
    pub shed: Counter,
    /// Closed, or refused, because something was not sent or not taken in time.
    pub late: Counter,
    /// From the last byte of a request that has a body to the answer that takes it.
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
            acknowledgement: Histogram::new(&ANSWER_BOUNDS_US),
            refused: Default::default(),
        }
    }
}

impl Traffic {
    pub(super) fn note_refusal(&self, refusal: Refusal) {
        self.refused[refusal as usize].add(1);
    }

    /// How often the gate answered in the receiver's place, by the status.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::ALL.into_iter().map(|refusal| (refusal.code(), self.refused[refusal as usize].get()))
    }
}
