//! How much the gate takes on: connections, bytes and time.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::{Duration, Instant};

/// Passing this many descriptors to poll(2) costs too little to be measured.
const MAX_CONNECTIONS: u64 = 512;

/// Allowed even if the descriptors do not suffice for them.
const MIN_CONNECTIONS: usize = 8;

/// For database, workers and their children, log, the private listener ([`Limits::of_private_listener`]), and refused
/// clients.
const RESERVED_DESCRIPTORS: u64 = 64
    + PRIVATE_CONNECTIONS
    + PRIVATE_UPSTREAM_CONNECTIONS * DESCRIPTORS_PER_UPSTREAM_CONNECTION
    + 2 * DISCARDING_CONNECTIONS as u64;

/// The connection of a worker to the database, its WAL, and a socket or a command's pipes for the attempt.
const DESCRIPTORS_PER_WORKER: u64 = 6;

/// The descriptors of an idle program, and a few for its actions. With less, tiny_http would stop accepting the pool's
/// connections, and the start would fail after a long wait and without its reason.
const MIN_RESERVED_DESCRIPTORS: u64 = 48;

/// The gate's end, and the other end, which tiny_http clones.
const DESCRIPTORS_PER_UPSTREAM_CONNECTION: u64 = 3;

/// Enough that none is waited for during a slow commit; each costs a thread of tiny_http.
const UPSTREAM_CONNECTIONS: usize = 32;
const UPSTREAM_DESCRIPTORS: u64 = UPSTREAM_CONNECTIONS as u64 * DESCRIPTORS_PER_UPSTREAM_CONNECTION;

/// Two of the largest bodies that are usual (25 MB) and many small ones, on a machine with 512 MB.
const BUDGET_BYTES: usize = 64 * 1024 * 1024;

/// Refused clients whose bodies are read to the end, so that they get the response; beside the other connections. Reading
/// costs no memory, and little time: not more than a bad signature costs, for which a body is read too.
const DISCARDING_CONNECTIONS: usize = 16;

/// Left free for the rest of the program after descriptors have run out.
const SHORTAGE_DESCRIPTORS: usize = 8;

/// How long fewer connections are allowed after descriptors have run out.
const SHORTAGE: Duration = Duration::from_secs(10);

/// Two people with a browser each, which opens six, a Prometheus, and a little.
const PRIVATE_CONNECTIONS: u64 = 24;

/// tiny_http has four threads in any case.
const PRIVATE_UPSTREAM_CONNECTIONS: u64 = 4;

/// Requests to the private listener have no bodies, unless someone means harm.
const PRIVATE_BUDGET_BYTES: usize = 256 * 1024;

/// No response of the private listener is important enough to delay the end of the process.
const PRIVATE_STOP: Duration = Duration::from_secs(1);

/// How long each step may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until the pool is open. It takes milliseconds; an upstream that has not answered by then never will.
    pub start: Duration,
    /// From accepting the connection, or the first byte of a request, to the last byte of its body. The most patient
    /// providers wait as long for the whole delivery.
    pub request: Duration,
    /// Keep-alive: between two requests on one connection. The proxies' settings in the README stay below it.
    pub idle: Duration,
    /// From the complete request to the upstream response. No provider waits as long.
    pub response: Duration,
    /// Until the client has taken the response.
    pub send: Duration,
    /// For the client to notice that the gate closes, and between two pieces of a request that is discarded.
    pub linger: Duration,
    /// For a client to send the rest of a body that was refused, which is discarded.
    pub discard: Duration,
    /// For the response to a probe on a new upstream connection.
    pub probe: Duration,
    /// Between two attempts to open an upstream connection.
    pub reopen: Duration,
    /// Younger connections are not evicted: a client may connect a moment before it sends. Silent clients keep their
    /// places for this long, and the next in the backlog waits for one.
    pub min_age: Duration,
    /// While draining, for a request that may be on its way over a connection younger than this.
    pub drain: Duration,
    /// Until the listener is polled again after there was no room.
    pub accept_pause: Duration,
    /// From the beginning of draining until nothing more is accepted, if connections from before are still open.
    pub stop: Duration,
    /// From then on until the remaining connections are closed. Senders that connect meanwhile wait for the next process. A
    /// request follows its connection within milliseconds, from a proxy or a tunnel on this machine; from elsewhere after
    /// the time of a round trip.
    pub close: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            start: Duration::from_secs(10),
            request: Duration::from_secs(10),
            idle: Duration::from_secs(15),
            response: Duration::from_secs(30),
            send: Duration::from_secs(10),
            linger: Duration::from_secs(1),
            discard: Duration::from_secs(10),
            probe: Duration::from_secs(10),
            reopen: Duration::from_millis(100),
            min_age: Duration::from_millis(100),
            drain: Duration::from_millis(250),
            accept_pause: Duration::from_millis(10),
            stop: Duration::from_secs(5),
            close: Duration::from_millis(100),
        }
    }
}

/// How much earlier than the gate a client stops to use an idle connection, so that its request does not cross the end.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

impl Timeouts {
    /// For how long a client may use an idle connection.
    pub fn keep_alive(&self) -> Duration {
        self.idle.saturating_sub(KEEP_ALIVE_MARGIN)
    }
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub upstream_connections: usize,
    pub budget_bytes: usize,
    pub timeouts: Timeouts,
    connections: usize,
    discarding_connections: usize,
    /// A lower limit on connections, and until when it holds.
    shortage: Option<(usize, Instant)>,
}

impl Limits {
    /// The limits of this process. Raises the soft limit on descriptors as far as the gate and this many workers need.
    /// `Err` names the limit that is lower than what one delivery takes.
    pub fn of_this_process(workers: u64) -> Result<Limits, String> {
        // The first one's are among RESERVED_DESCRIPTORS.
        let of_workers = workers.saturating_sub(1).saturating_mul(DESCRIPTORS_PER_WORKER);
        let needed = MAX_CONNECTIONS + UPSTREAM_DESCRIPTORS + RESERVED_DESCRIPTORS + of_workers;
        let descriptors = raise_descriptors(needed);
        let least = UPSTREAM_DESCRIPTORS + MIN_RESERVED_DESCRIPTORS;
        if descriptors < least {
            return Err(format!(
                "this process may open only {descriptors} descriptors: allow at least {least}, better {needed} (ulimit -n, or \
                 LimitNOFILE= in the unit)"
            ));
        }
        Ok(Limits::new(UPSTREAM_CONNECTIONS, connections_within(descriptors.saturating_sub(of_workers))))
    }

    /// For the listener that only the operator uses.
    pub fn of_private_listener() -> Limits {
        let limits = Limits::new(PRIVATE_UPSTREAM_CONNECTIONS as usize, PRIVATE_CONNECTIONS as usize);
        let timeouts = Timeouts { stop: PRIVATE_STOP, ..limits.timeouts };
        Limits { budget_bytes: PRIVATE_BUDGET_BYTES, timeouts, ..limits }
    }

    pub fn new(upstream_connections: usize, connections: usize) -> Limits {
        Limits {
            upstream_connections,
            budget_bytes: BUDGET_BYTES,
            timeouts: Timeouts::default(),
            connections,
            discarding_connections: DISCARDING_CONNECTIONS,
            shortage: None,
        }
    }

    pub fn connections(&self, now: Instant) -> usize {
        match self.shortage {
            Some((connections, until)) if now < until => connections,
            _ => self.connections,
        }
    }

    /// How many refused clients may send the rest of their requests, beside the other connections.
    pub fn discarding_connections(&self, now: Instant) -> usize {
        if self.connections(now) < self.connections { 0 } else { self.discarding_connections }
    }

    /// Descriptors ran out while `open` connections existed. Returns whether that is new.
    pub fn note_shortage(&mut self, open: usize, now: Instant) -> bool {
        let connections = open.saturating_sub(SHORTAGE_DESCRIPTORS).max(MIN_CONNECTIONS).min(self.connections);
        let before = self.shortage.replace((connections, now + SHORTAGE));
        before.is_none_or(|(_, until)| until <= now)
    }
}

fn connections_within(descriptors: u64) -> usize {
    let left = descriptors.saturating_sub(UPSTREAM_DESCRIPTORS + RESERVED_DESCRIPTORS);
    usize::try_from(left.min(MAX_CONNECTIONS)).unwrap_or(0).max(MIN_CONNECTIONS)
}

/// Raises the soft limit towards `needed`, never beyond the hard limit, and never lowers it. Returns the limit in force.
fn raise_descriptors(needed: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    let wanted = needed.min(limit.maximum.unwrap_or(u64::MAX));
    if soft >= wanted {
        return soft;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }) {
        Ok(()) => wanted,
        Err(_) => soft, // fewer connections, then
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_descriptors_limits_the_connections() {
        let table = [(u64::MAX, 512), (740, 512), (739, 511), (348, 120), (236, 8), (20, 8)];
        for (descriptors, connections) in table {
            assert_eq!(connections_within(descriptors), connections, "{descriptors}");
        }
    }

    #[test]
    fn the_limit_on_descriptors_is_never_lowered() {
        let before = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert_eq!(raise_descriptors(1), before);
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), before);
    }

    #[test]
    fn a_shortage_of_descriptors_lowers_the_limit_for_a_while() {
        let now = Instant::now();
        let mut limits = Limits::new(1, 100);
        limits.note_shortage(50, now);
        assert_eq!((limits.connections(now), limits.connections(now + SHORTAGE)), (42, 100));
        limits.note_shortage(3, now);
        assert_eq!(limits.connections(now), MIN_CONNECTIONS);
    }
}
