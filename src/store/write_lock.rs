//! Decides which thread of this process writes next: first the receiver, because a provider waits for it, then the others
//! in the order in which they asked.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The lock under which the threads of `serve` write to one database.
///
/// The others acquire a lock of their own before this one, so that at most one of them is ahead of the receiver. And the
/// receiver is one thread: it is ahead of each of them at most once.
#[derive(Default)]
pub(super) struct WriteLock {
    writing: TicketLock,
    others: TicketLock,
}

/// The kind of thread that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priority {
    Receiver,
    Other,
}

/// Holds the write lock until it is dropped.
pub(super) struct WriteGuard<'a> {
    // In the order of their release: the next of the others must find the receiver ahead of it.
    _writing: Ticket<'a>,
    _other: Option<Ticket<'a>>,
}

impl WriteLock {
    /// Waits for the lock.
    pub(super) fn acquire(&self, priority: Priority) -> WriteGuard<'_> {
        let other = (priority == Priority::Other).then(|| self.others.acquire());
        WriteGuard { _writing: self.writing.acquire(), _other: other }
    }

    /// Keeps all but the receiver from writing.
    pub(super) fn lock_out_others(&self) -> Ticket<'_> {
        self.others.acquire()
    }

    /// True while the receiver waits for the thread that holds the lock.
    pub(super) fn has_waiting_receiver(&self) -> bool {
        self.writing.has_waiters()
    }
}

/// A fair lock. `std::sync::Mutex` is not: a worker that commits back to back would acquire it again before the receiver has
/// woken up.
#[derive(Default)]
struct TicketLock {
    tickets: Mutex<Tickets>,
    released: Condvar,
}

#[derive(Default)]
struct Tickets {
    next: u64,
    serving: u64,
}

/// Holds a ticket lock until it is dropped, in a panic too.
pub(super) struct Ticket<'a>(&'a TicketLock);

impl TicketLock {
    fn acquire(&self) -> Ticket<'_> {
        let mut tickets = self.tickets();
        let mine = tickets.next;
        tickets.next += 1;
        while tickets.serving != mine {
            tickets = self.released.wait(tickets).unwrap_or_else(PoisonError::into_inner);
        }
        Ticket(self)
    }

    fn has_waiters(&self) -> bool {
        let tickets = self.tickets();
        tickets.next - tickets.serving > 1
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.0.tickets().serving += 1;
        self.0.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    /// The order in which threads of `priorities` acquire the lock, which they ask for one after the other while it is held.
    fn order(priorities: &[Priority]) -> Vec<usize> {
        let lock = Arc::new(WriteLock::default());
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = lock.acquire(Priority::Other);
        let mut threads = Vec::new();
        for (number, &priority) in priorities.iter().enumerate() {
            let (lock_in, order_in) = (Arc::clone(&lock), Arc::clone(&order));
            threads.push(thread::spawn(move || {
                let _guard = lock_in.acquire(priority);
                order_in.lock().unwrap().push(number);
            }));
            // The first has a ticket of each.
            while lock.writing.tickets().next + lock.others.tickets().next != number as u64 + 3 {
                thread::yield_now();
            }
        }
        drop(first);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        order.lock().unwrap().clone()
    }

    #[test]
    fn the_lock_is_acquired_in_the_order_in_which_it_was_asked_for() {
        assert_eq!(order(&[Priority::Other; 8]), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn the_receiver_is_next() {
        assert_eq!(order(&[Priority::Other, Priority::Other, Priority::Receiver]), [2, 0, 1]);
    }

    #[test]
    fn a_waiting_receiver_is_seen_and_no_other() {
        let lock = Arc::new(WriteLock::default());
        let first = lock.acquire(Priority::Other);
        let wait = |priority| {
            let lock = Arc::clone(&lock);
            thread::spawn(move || drop(lock.acquire(priority)))
        };
        let other = wait(Priority::Other);
        while !lock.others.has_waiters() {
            thread::yield_now();
        }
        assert!(!lock.has_waiting_receiver());
        let receiver = wait(Priority::Receiver);
        while !lock.has_waiting_receiver() {
            thread::yield_now();
        }
        drop(first);
        [other, receiver].into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!lock.has_waiting_receiver());
    }

    #[test]
    fn the_receiver_writes_while_the_others_are_locked_out() {
        let lock = WriteLock::default();
        let _others = lock.lock_out_others();
        drop(lock.acquire(Priority::Receiver));
    }

    /// Acknowledged events must be processed too, although the receiver comes first.
    #[test]
    fn a_receiver_that_never_pauses_lets_the_others_write_in_between() {
        const WRITES: u32 = 100_000;
        let (lock, writes) = (WriteLock::default(), AtomicU32::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while writes.load(Ordering::Relaxed) < WRITES {
                    let _guard = lock.acquire(Priority::Receiver);
                    writes.fetch_add(1, Ordering::Relaxed);
                }
            });
            for _ in 0..100 {
                let _guard = lock.acquire(Priority::Other);
                assert!(writes.load(Ordering::Relaxed) < WRITES);
            }
            writes.store(WRITES, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_panic_releases_the_lock() {
        let lock = Arc::new(WriteLock::default());
        let lock_in = Arc::clone(&lock);
        let panicked = thread::spawn(move || {
            let _guard = lock_in.acquire(Priority::Other);
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        drop(lock.acquire(Priority::Other));
    }
}
