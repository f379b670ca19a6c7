//! The gate's signs of life, read by the watchdog.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Written by the gate's thread, read by others.
#[derive(Debug, Default)]
pub struct Liveness {
    accept_attempts: AtomicU64,
    answers: AtomicU64,
    is_awaited: AtomicBool,
}

/// The state at one moment, to compare with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How often the listener was served: a connection was accepted, or there was no room for it.
    pub accept_attempts: u64,
    /// The responses from upstream.
    pub answers: u64,
    /// Whether a request has waited for upstream since its last response. It stays so when that request times out.
    pub is_awaited: bool,
}

impl Liveness {
    pub fn note_accept_attempt(&self) {
        self.accept_attempts.fetch_add(1, Ordering::Relaxed);
    }

    pub fn note_waiting(&self) {
        self.is_awaited.store(true, Ordering::Relaxed);
    }

    pub fn note_answer(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.is_awaited.store(false, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            accept_attempts: self.accept_attempts.load(Ordering::Relaxed),
            answers: self.answers.load(Ordering::Relaxed),
            is_awaited: self.is_awaited.load(Ordering::Relaxed),
        }
    }
}
