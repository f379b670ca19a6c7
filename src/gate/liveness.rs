//! Signs of life, for whoever looks at the gate from outside.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the gate's thread notes, and others read.
#[derive(Debug, Default)]
pub struct Liveness {
    local_address: AtomicU64,
    answers: AtomicU64,
    is_awaited: AtomicBool,
}

/// The liveness at one moment, to compare with another one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How often the listener was looked after: somebody was let in, or every place was taken.
    pub local_address: u64,
    /// The receiver's answers.
    pub answers: u64,
    /// Whether a request has waited for the receiver since it answered last; one that was given up is not forgotten.
    pub is_awaited: bool,
}

impl Liveness {
    pub fn note_door(&self) {
        self.local_address.fetch_add(1, Ordering::Relaxed);
    }

    pub fn note_waiting(&self) {
        self.is_awaited.store(true, Ordering::Relaxed);
    }

    pub fn note_answer(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.is_awaited.store(false, Ordering::Relaxed);
    }

    pub fn beats(&self) -> Snapshot {
        Snapshot {
            local_address: self.local_address.load(Ordering::Relaxed),
            answers: self.answers.load(Ordering::Relaxed),
            is_awaited: self.is_awaited.load(Ordering::Relaxed),
        }
    }
}
