//! The bodies of requests, on their way from a gate to the thread that answers them.
//!
//! They do not go through the socket and tiny_http, as the heads do: that would copy each body twice more, and wake
//! tiny_http's thread a second time, when the body has been read. The head names its body by a number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::blocks::Blocks;

/// The bodies of one gate that have not been read.
#[derive(Clone, Debug, Default)]
pub struct Bodies(Arc<Mutex<Unread>>);

#[derive(Debug, Default)]
struct Unread {
    /// Never used twice, so that a late request cannot get the body of another one.
    last_number: u64,
    bodies: BTreeMap<u64, Blocks>,
}

impl Bodies {
    /// For the gate.
    pub fn add(&self, body: Blocks) -> UnreadBody {
        let mut unread = self.lock();
        unread.last_number += 1;
        let number = unread.last_number;
        unread.bodies.insert(number, body);
        drop(unread);
        self.get(number)
    }

    /// For the thread that has the request with this number.
    pub(super) fn get(&self, number: u64) -> UnreadBody {
        UnreadBody { bodies: self.clone(), number, stays: false }
    }

    #[cfg(test)]
    pub fn unread_bytes(&self) -> u64 {
        self.lock().bodies.values().map(Blocks::bytes).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Unread> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of these bodies. It is removed when either end drops this: the gate after the response, the receiver in any case.
#[derive(Debug)]
pub struct UnreadBody {
    bodies: Bodies,
    number: u64,
    stays: bool,
}

impl UnreadBody {
    /// As the head names it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// 0 where it has been read.
    pub fn bytes(&self) -> u64 {
        self.bodies.lock().bodies.get(&self.number).map_or(0, Blocks::bytes)
    }

    /// The memory that it takes.
    pub fn held_bytes(&self) -> usize {
        self.bodies.lock().bodies.get(&self.number).map_or(0, Blocks::held_bytes)
    }

    /// `None` where it has been read or removed.
    pub(super) fn read(&mut self) -> Option<Vec<u8>> {
        self.remove().map(Blocks::into_vec)
    }

    /// Leaves the body to the other end.
    pub fn leave(mut self) {
        self.stays = true;
    }

    fn remove(&self) -> Option<Blocks> {
        self.bodies.lock().bodies.remove(&self.number)
    }
}

impl Drop for UnreadBody {
    fn drop(&mut self) {
        if !self.stays {
            self.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks::Budget;
    use super::*;

    fn body(budget: &Budget, text: &str) -> Blocks {
        let mut body = Blocks::new(budget);
        body.append(text.as_bytes(), text.len() as u64);
        body
    }

    #[test]
    fn a_body_is_read_once_by_its_number() {
        let (bodies, budget) = (Bodies::default(), Budget::default());
        let [first, second] = ["first", "2nd"].map(|text| bodies.add(body(&budget, text)));
        assert_eq!((second.bytes(), budget.held_bytes()), (3, 8));
        let mut at_receiver = bodies.get(second.number());
        assert_eq!((at_receiver.read().as_deref(), at_receiver.read()), (Some(&b"2nd"[..]), None));
        assert_eq!((first.bytes(), second.bytes(), budget.held_bytes()), (5, 0, 5));
    }

    #[test]
    fn a_body_ends_with_its_request_at_either_end() {
        let (bodies, budget) = (Bodies::default(), Budget::default());
        let refused = bodies.add(body(&budget, "refused"));
        drop(bodies.get(refused.number()));
        assert_eq!(budget.held_bytes(), 0);
        drop(bodies.add(body(&budget, "lost")));
        assert_eq!(budget.held_bytes(), 0);
        let late = bodies.add(body(&budget, "late"));
        let mut at_receiver = bodies.get(late.number());
        late.leave();
        assert_eq!(at_receiver.read().as_deref(), Some(&b"late"[..]));
    }
}
