//! Connections that are kept from one job to the next, and closed when none has come for a while: a worker that sleeps
//! answers no server that asks whether it is there.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than the pauses within a burst of deliveries, shorter than any server waits for a sign of life.
const KEPT: Duration = Duration::from_secs(10);

/// The connections of one action that are not in use.
pub struct Kept<T>(Arc<Mutex<Shelf<T>>>);

struct Shelf<T> {
    /// The one that was used last is at the end.
    unused: Vec<(Instant, T)>,
    /// A thread will close them.
    is_watched: bool,
}

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept(Arc::new(Mutex::new(Shelf { unused: Vec::new(), is_watched: false })))
    }
}

impl<T: Send + 'static> Kept<T> {
    /// The connection that was used last.
    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unused.pop().map(|(_, connection)| connection)
    }

    pub fn put(&self, connection: T) {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.unused.push((Instant::now(), connection));
        if !shelf.is_watched {
            let watched = Arc::downgrade(&self.0);
            let started = thread::Builder::new().name("kept".to_owned()).spawn(move || close_unused(&watched));
            shelf.is_watched = started.is_ok();
        }
        if !shelf.is_watched {
            shelf.unused.clear(); // there is no thread for it
        }
    }
}

/// Closes connections when their time is over, until there are none, or the action is gone.
fn close_unused<T>(shelf: &Weak<Mutex<Shelf<T>>>) {
    let mut pause = KEPT;
    loop {
        thread::sleep(pause);
        let Some(shelf) = shelf.upgrade() else { return };
        let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.unused.retain(|(since, _)| since.elapsed() < KEPT);
        let Some((oldest, _)) = shelf.unused.first() else {
            shelf.is_watched = false;
            return;
        };
        pause = KEPT.saturating_sub(oldest.elapsed());
    }
}
