//! Untrusted clients cannot stall the server, whether many, slow, malformed or endless, nor can a machine that runs short.
//!
//! Meanwhile legitimate deliveries are answered. Deadlines are ten times what is promised.

mod bursts;
mod endless_requests;
mod fairness;
mod large_bodies;
mod malformed;
mod memory;
mod shortage;
mod slow_clients;
mod templates;
mod watchdog;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Address, Hookbox, Request, patient};

/// Ten times what is promised for one delivery beside hostile clients.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// How long the deliveries of a legitimate sender took.
struct Waits(Vec<Duration>);

impl Waits {
    /// Delivers once, which must be acknowledged.
    #[track_caller]
    fn deliver(&mut self, address: &Address, name: &str) {
        let request = Request::github("push", &format!("{name}-{}", self.0.len()), r#"{"legitimate":true}"#);
        let start = Instant::now();
        let response = address.send(&request);
        self.0.push(start.elapsed());
        assert_eq!(response.status, 200, "{}", response.text());
    }

    #[track_caller]
    fn assert_within(mut self, what: &str, limit: Duration) -> usize {
        self.0.sort_unstable();
        let (count, worst) = (self.0.len(), self.0[self.0.len() - 1]);
        println!("{what}: {count} deliveries, median {:?}, worst {worst:?}", self.0[count / 2]);
        assert!(worst < patient(limit), "{what}: {worst:?}");
        count
    }
}

/// Delivers every 20 ms, each on a new connection, while `hostile` runs. Returns the result of `hostile`, and how
/// many were delivered, all in time.
#[track_caller]
fn deliver_during<T: Send>(hookbox: &Hookbox, what: &str, hostile: impl FnOnce() -> T + Send) -> (T, usize) {
    deliver_within(ANSWERED_WITHIN, hookbox, what, hostile)
}

#[track_caller]
fn deliver_within<T: Send>(
    limit: Duration,
    hookbox: &Hookbox,
    what: &str,
    hostile: impl FnOnce() -> T + Send,
) -> (T, usize) {
    let done = AtomicBool::new(false);
    let address = hookbox.address();
    std::thread::scope(|scope| {
        let deliver = || {
            let mut waits = Waits(Vec::new());
            while !done.load(Ordering::Relaxed) || waits.0.is_empty() {
                waits.deliver(&address, what);
                std::thread::sleep(Duration::from_millis(20));
            }
            waits
        };
        let sender = scope.spawn(deliver);
        // The sender is stopped even if `hostile` panics: the scope waits for both.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(hostile));
        done.store(true, Ordering::Relaxed);
        let waits = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let outcome = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (outcome, waits.assert_within(what, limit))
    })
}
