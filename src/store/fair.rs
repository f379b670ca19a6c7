//! A lock that is taken in the order in which it was asked for.

use std::sync::{Condvar, Mutex, PoisonError};

/// Hands out turns like a ticket machine. `std::sync::Mutex` makes no such promise: a worker that commits back to back
/// would take it again before the receiver has woken up.
#[derive(Default)]
pub(super) struct FairLock {
    tickets: Mutex<Tickets>,
    passed_on: Condvar,
}

#[derive(Default)]
struct Tickets {
    next: u64,
    serving: u64,
}

/// Holding the lock. The turn passes on when this is dropped, in a panic too.
pub(super) struct Turn<'a>(&'a FairLock);

impl FairLock {
    /// Waits for its turn.
    pub(super) fn take(&self) -> Turn<'_> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = tickets.next;
        tickets.next += 1;
        while tickets.serving != mine {
            tickets = self.passed_on.wait(tickets).unwrap_or_else(PoisonError::into_inner);
        }
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.tickets.lock().unwrap_or_else(PoisonError::into_inner).serving += 1;
        self.0.passed_on.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn turns_are_served_in_the_order_in_which_they_were_asked_for() {
        let lock = Arc::new(FairLock::default());
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = lock.take();
        let mut threads = Vec::new();
        for number in 0..8 {
            let (lock_in, order_in) = (Arc::clone(&lock), Arc::clone(&order));
            threads.push(thread::spawn(move || {
                let _turn = lock_in.take();
                order_in.lock().unwrap().push(number);
            }));
            while lock.tickets.lock().unwrap().next != number + 2 {
                thread::yield_now();
            }
        }
        drop(first);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*order.lock().unwrap(), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_passes_the_turn_on() {
        let lock = Arc::new(FairLock::default());
        let inner = Arc::clone(&lock);
        let panicked = thread::spawn(move || {
            let _turn = inner.take();
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        drop(lock.take());
    }
}
