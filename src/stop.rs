//! A stop flag and a wake-up, which threads share beside the database. A lost wake-up costs latency only, because every
//! waiting loop also polls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Set once, to end the threads that check it.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Interrupts the sleep of one thread. If it is not asleep, its next sleep ends at once.
#[derive(Clone, Default)]
pub struct Waker(Arc<(Mutex<bool>, Condvar)>);

impl Waker {
    pub fn wake(&self) {
        let (is_woken, changed) = &*self.0;
        *is_woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_one();
    }

    /// Sleeps until woken, or for `timeout`.
    pub fn wait(&self, timeout: Duration) {
        let (is_woken, changed) = &*self.0;
        let guard = is_woken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut guard, _) =
            changed.wait_timeout_while(guard, timeout, |is_woken| !*is_woken).unwrap_or_else(PoisonError::into_inner);
        *guard = false;
    }
}

/// The wakers of all workers, each with the name of its action.
#[derive(Clone, Default)]
pub struct Wakers(pub Vec<(String, Waker)>);

impl Wakers {
    /// After changes that may be for any action.
    pub fn wake_all(&self) {
        self.0.iter().for_each(|(_, waker)| waker.wake());
    }

    /// The workers of one action.
    pub fn wake(&self, action: &str) {
        self.0.iter().filter(|(of, _)| of == action).for_each(|(_, waker)| waker.wake());
    }
}
