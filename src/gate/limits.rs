//! How much the gate takes on: connections, bytes and time.

use super::GateError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::{Duration, Instant};

/// A list of this many descriptors costs poll(2) nothing that could be measured.
const MAX_CONNECTIONS: u64 = 512;

/// However few descriptors there are, the gate tries to serve.
const MIN_CONNECTIONS: usize = 8;

/// Database, workers and their children, log, and the private listener ([`Limits::of_private_listener`]).
const RESERVED_DESCRIPTORS: u64 = 64 + PRIVATE_CONNECTIONS + PRIVATE_SLOTS * DESCRIPTORS_PER_SLOT;

/// A worker's connection to the database and its WAL, and what an attempt has open: a socket, or a command's pipes.
const DESCRIPTORS_PER_WORKER: u64 = 6;

/// What the program itself has open when nothing happens, and a little for what its actions start. With less, tiny_http
/// would stop accepting the pool's connections, and the start would fail after a long wait and without its reason.
const LEAST_DESCRIPTORS: u64 = 48;

/// One end here, and tiny_http clones the other.
const DESCRIPTORS_PER_SLOT: u64 = 3;

/// Enough that a slow commit leaves none waiting; each costs a thread of tiny_http.
const SLOTS: usize = 32;

/// Two of the largest bodies that are usual (25 MB) and many small ones, on a machine with 512 MB.
const BUDGET_BYTES: usize = 64 * 1024 * 1024;

/// When descriptors ran out all the same, so many are left to the rest of the program.
const SHORTAGE_STEP: usize = 8;

/// How long the limit stays down after descriptors ran out.
const SHORTAGE: Duration = Duration::from_secs(10);

/// Two people with a browser each, which opens six, a Prometheus, and a little.
const PRIVATE_CONNECTIONS: u64 = 24;

/// tiny_http has four threads in any case.
const PRIVATE_SLOTS: u64 = 4;

/// What is asked for has no body, so that only the mischievous send one.
const PRIVATE_BUDGET_BYTES: usize = 256 * 1024;

/// Nothing here is worth delaying the end of the process for.
const PRIVATE_STOP: Duration = Duration::from_secs(1);

/// How long each thing may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Until the pool is open. It takes milliseconds; a receiver that has not answered by then never will.
    pub start: Duration,
    /// From the first byte of a request, or from the connection, to the last byte of its body.
    pub request: Duration,
    /// Between two requests on one connection.
    pub idle: Duration,
    /// From a complete request to the receiver's answer.
    pub answer: Duration,
    /// Until the sender has taken the answer.
    pub reply: Duration,
    /// Until the sender has noticed that the gate closes.
    pub linger: Duration,
    /// For the answer that proves an inner connection.
    pub probe: Duration,
    /// Until a lost inner connection is tried again.
    pub reopen: Duration,
    /// Younger ones are never closed to make room: a sender may connect a moment before it sends. Those who say nothing
    /// hold their places for so long, and the next in the line waits for it.
    pub grace: Duration,
    /// At the stop, for a request that may be on its way over a connection as young as this.
    pub farewell: Duration,
    /// How long the listener is left alone when there is no room.
    pub accept_pause: Duration,
    /// From the wish to stop until what lives is given up.
    pub stop: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            start: Duration::from_secs(10),
            request: Duration::from_secs(10),
            idle: Duration::from_secs(15),
            answer: Duration::from_secs(30),
            reply: Duration::from_secs(10),
            linger: Duration::from_secs(1),
            probe: Duration::from_secs(10),
            reopen: Duration::from_millis(100),
            grace: Duration::from_millis(100),
            farewell: Duration::from_millis(250),
            accept_pause: Duration::from_millis(50),
            stop: Duration::from_secs(5),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub slots: usize,
    pub budget_bytes: usize,
    pub deadlines: Deadlines,
    connections: usize,
    /// A lower limit on connections, and until when it holds.
    shortage: Option<(usize, Instant)>,
}

impl Limits {
    /// What the machine allows. Raises the soft limit on descriptors as far as the gate and so many workers have use for
    /// them.
    pub fn of_this_process(workers: u64) -> Result<Limits, GateError> {
        // One is among what is reserved in any case.
        let of_workers = workers.saturating_sub(1).saturating_mul(DESCRIPTORS_PER_WORKER);
        let needed = MAX_CONNECTIONS + SLOTS as u64 * DESCRIPTORS_PER_SLOT + RESERVED_DESCRIPTORS + of_workers;
        let descriptors = raise_descriptors(needed);
        let least = SLOTS as u64 * DESCRIPTORS_PER_SLOT + LEAST_DESCRIPTORS;
        if descriptors < least {
            return Err(GateError::TooFewDescriptors { descriptors, least, needed });
        }
        Ok(Limits::new(SLOTS, connections_within(descriptors.saturating_sub(of_workers), SLOTS)))
    }

    /// For the listener that only the operator uses.
    pub fn of_private_listener() -> Limits {
        let limits = Limits::new(PRIVATE_SLOTS as usize, PRIVATE_CONNECTIONS as usize);
        let deadlines = Deadlines { stop: PRIVATE_STOP, ..limits.deadlines };
        Limits { budget_bytes: PRIVATE_BUDGET_BYTES, deadlines, ..limits }
    }

    pub fn new(slots: usize, connections: usize) -> Limits {
        Limits { slots, budget_bytes: BUDGET_BYTES, deadlines: Deadlines::default(), connections, shortage: None }
    }

    pub fn connections(&self, now: Instant) -> usize {
        match self.shortage {
            Some((connections, until)) if now < until => connections,
            _ => self.connections,
        }
    }

    pub fn is_short(&self, now: Instant) -> bool {
        self.shortage.is_some_and(|(_, until)| now < until)
    }

    /// Descriptors ran out while `live` connections existed.
    pub fn note_shortage(&mut self, live: usize, now: Instant) {
        let connections = live.saturating_sub(SHORTAGE_STEP).max(MIN_CONNECTIONS).min(self.connections);
        self.shortage = Some((connections, now + SHORTAGE));
    }
}

fn connections_within(descriptors: u64, slots: usize) -> usize {
    let left = descriptors.saturating_sub(slots as u64 * DESCRIPTORS_PER_SLOT + RESERVED_DESCRIPTORS);
    usize::try_from(left.min(MAX_CONNECTIONS)).unwrap_or(0).max(MIN_CONNECTIONS)
}

/// Raises the soft limit towards `needed`, never beyond the hard limit, and never lowers it. Returns what holds.
fn raise_descriptors(needed: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    let wanted = needed.min(limit.maximum.unwrap_or(u64::MAX));
    if soft >= wanted {
        return soft;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }) {
        Ok(()) => wanted,
        Err(_) => soft, // the gate serves within what it has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_from_descriptors() {
        let table = [(u64::MAX, 512), (708, 512), (707, 511), (316, 120), (204, 8), (20, 8)];
        for (descriptors, connections) in table {
            assert_eq!(connections_within(descriptors, SLOTS), connections, "{descriptors}");
        }
    }

    #[test]
    fn descriptors_are_never_lowered() {
        let before = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert_eq!(raise_descriptors(1), before);
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), before);
    }

    #[test]
    fn a_shortage_passes() {
        let now = Instant::now();
        let mut limits = Limits::new(1, 100);
        limits.note_shortage(50, now);
        assert_eq!((limits.connections(now), limits.connections(now + SHORTAGE)), (42, 100));
        limits.note_shortage(3, now);
        assert_eq!(limits.connections(now), MIN_CONNECTIONS);
    }
}
