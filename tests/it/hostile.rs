//! Nobody can make it stall: strangers in crowds, slow, malformed and without end, and a machine that runs short.
//!
//! A legitimate delivery must get its answer meanwhile. What is asserted is ten times what is promised.

mod bursts;
mod endless_requests;
mod malformed;
mod memory;
mod shortage;
mod slow_clients;
mod watchdog;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Address, Hookbox, Request, patient};

/// Ten times what is promised for one delivery while strangers do their worst.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// What a legitimate sender met with.
struct Experience {
    waits: Vec<Duration>,
}

impl Experience {
    /// Delivers once, which must be acknowledged.
    #[track_caller]
    fn deliver(&mut self, address: &Address, name: &str) {
        let request = Request::github("push", &format!("{name}-{}", self.waits.len()), r#"{"legitimate":true}"#);
        let start = Instant::now();
        let response = address.send(&request);
        self.waits.push(start.elapsed());
        assert_eq!(response.status, 200, "{}", response.text());
    }

    #[track_caller]
    fn judge(mut self, what: &str, limit: Duration) -> usize {
        self.waits.sort_unstable();
        let (count, worst) = (self.waits.len(), self.waits[self.waits.len() - 1]);
        println!("{what}: {count} deliveries, median {:?}, worst {worst:?}", self.waits[count / 2]);
        assert!(worst < patient(limit), "{what}: {worst:?}");
        count
    }
}

/// Delivers every 20 ms, each on a connection of its own, as long as `hostile` runs. Returns what that returned, and how
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
            let mut experience = Experience { waits: Vec::new() };
            while !done.load(Ordering::Relaxed) || experience.waits.is_empty() {
                experience.deliver(&address, what);
                std::thread::sleep(Duration::from_millis(20));
            }
            experience
        };
        let sender = scope.spawn(deliver);
        // Who delivers stops even where it fails: the scope waits for both.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(hostile));
        done.store(true, Ordering::Relaxed);
        let experience = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let outcome = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (outcome, experience.judge(what, limit))
    })
}
