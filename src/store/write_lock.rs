//! Who writes next: the receiver, for whom a provider waits, before anybody else; the others in the order in which they
//! asked.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The turn to write, of all the threads that write to one database.
///
/// The others queue for their place before they ask for the turn, so that at most one of them is before the receiver. And
/// the receiver is one thread: at most one turn of its own is before each of theirs.
#[derive(Default)]
pub(super) struct WriteLock {
    writing: FairLock,
    others: FairLock,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priority {
    Receiver,
    Other,
}

/// The turn to write, until it is dropped.
pub(super) struct WriteGuard<'a> {
    // In the order of their release: whoever gets the place must find the receiver before itself.
    _writing: Ticket<'a>,
    _place: Option<Ticket<'a>>,
}

impl WriteLock {
    /// Waits for the turn.
    pub(super) fn take(&self, priority: Priority) -> WriteGuard<'_> {
        let place = (priority == Priority::Other).then(|| self.others.take());
        WriteGuard { _writing: self.writing.take(), _place: place }
    }

    /// Keeps everybody but the receiver from writing.
    pub(super) fn hold_others(&self) -> Ticket<'_> {
        self.others.take()
    }

    /// Whether the receiver waits for whoever has the turn.
    pub(super) fn is_urgent(&self) -> bool {
        self.writing.is_awaited()
    }
}

/// Hands out turns like a ticket machine. `std::sync::Mutex` makes no such promise: a worker that commits back to back
/// would take it again before the receiver has woken up.
#[derive(Default)]
struct FairLock {
    tickets: Mutex<Tickets>,
    passed_on: Condvar,
}

#[derive(Default)]
struct Tickets {
    next: u64,
    serving: u64,
}

/// Holding a lock. It passes on when this is dropped, in a panic too.
pub(super) struct Ticket<'a>(&'a FairLock);

impl FairLock {
    fn take(&self) -> Ticket<'_> {
        let mut tickets = self.tickets();
        let mine = tickets.next;
        tickets.next += 1;
        while tickets.serving != mine {
            tickets = self.passed_on.wait(tickets).unwrap_or_else(PoisonError::into_inner);
        }
        Ticket(self)
    }

    /// Whether anybody waits besides the one who holds it.
    fn is_awaited(&self) -> bool {
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
        self.0.passed_on.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    /// The order in which those of `priorities`, who ask one after the other while somebody writes, get their turns.
    fn order(priorities: &[Priority]) -> Vec<usize> {
        let turns = Arc::new(WriteLock::default());
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = turns.take(Priority::Other);
        let mut threads = Vec::new();
        for (number, &priority) in priorities.iter().enumerate() {
            let (turns_in, order_in) = (Arc::clone(&turns), Arc::clone(&order));
            threads.push(thread::spawn(move || {
                let _turn = turns_in.take(priority);
                order_in.lock().unwrap().push(number);
            }));
            // The first has a ticket of each.
            while turns.writing.tickets().next + turns.others.tickets().next != number as u64 + 3 {
                thread::yield_now();
            }
        }
        drop(first);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        order.lock().unwrap().clone()
    }

    #[test]
    fn turns_are_served_in_the_order_in_which_they_were_asked_for() {
        assert_eq!(order(&[Priority::Other; 8]), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn the_receiver_is_next() {
        assert_eq!(order(&[Priority::Other, Priority::Other, Priority::Receiver]), [2, 0, 1]);
    }

    #[test]
    fn it_is_urgent_while_the_receiver_waits_and_only_then() {
        let turns = Arc::new(WriteLock::default());
        let first = turns.take(Priority::Other);
        let wait = |priority| {
            let turns = Arc::clone(&turns);
            thread::spawn(move || drop(turns.take(priority)))
        };
        let other = wait(Priority::Other);
        while !turns.others.is_awaited() {
            thread::yield_now();
        }
        assert!(!turns.is_urgent());
        let receiver = wait(Priority::Receiver);
        while !turns.is_urgent() {
            thread::yield_now();
        }
        drop(first);
        [other, receiver].into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!turns.is_urgent());
    }

    #[test]
    fn while_the_others_are_held_the_receiver_writes() {
        let turns = WriteLock::default();
        let _held = turns.hold_others();
        drop(turns.take(Priority::Receiver));
    }

    #[test]
    fn a_panic_passes_the_turn_on() {
        let turns = Arc::new(WriteLock::default());
        let inner = Arc::clone(&turns);
        let panicked = thread::spawn(move || {
            let _turn = inner.take(Priority::Other);
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        drop(turns.take(Priority::Other));
    }
}
