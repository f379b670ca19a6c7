//! Large bodies are read, verified, decompressed and checked on a thread of their own, one at a time: each takes tens of
//! milliseconds, and anyone can send one. Meanwhile the receiver goes on with the small ones. It alone stores and answers:
//! it hands a request over unread, and takes it back with the outcome.
//!
//! What waits for its turn is not in memory here but in the gate, within its budget: the gate forwards the next one when
//! this one is answered.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::answer::{Early, Receipt, Unanswered};
use super::{Intake, delivery_of};
use crate::clock::{self, Timestamp};
use crate::current::Current;
use crate::event::Delivery;
use crate::http::Server;

/// From then on the check hangs, or its sender has long given up: the gate waits half as long.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// A request and what the stages before the commit have made of it.
pub(super) struct Checked {
    pub(super) request: Unanswered,
    pub(super) outcome: Result<(Delivery, Receipt), Early>,
    pub(super) now: Timestamp,
}

/// The receiver's end.
pub struct LargeBodies {
    waiting: VecDeque<Unanswered>,
    to_check: Sender<Unanswered>,
    checked: Receiver<Checked>,
    /// When the check began of the body that is not yet stored.
    begun_at: Option<Instant>,
}

/// The end of the other thread.
pub struct Checker {
    to_check: Receiver<Unanswered>,
    checked: Sender<Checked>,
    intake: Current<Intake>,
    server: Server,
}

/// Both ends. `server` is that of the receiver.
pub fn large_bodies(intake: Current<Intake>, server: Server) -> (LargeBodies, Checker) {
    let (to_check, from_receiver) = mpsc::channel();
    let (from_checker, checked) = mpsc::channel();
    let ours = LargeBodies { waiting: VecDeque::new(), to_check, checked, begun_at: None };
    (ours, Checker { to_check: from_receiver, checked: from_checker, intake, server })
}

impl LargeBodies {
    pub(super) fn extend(&mut self, requests: Vec<Unanswered>) {
        self.waiting.extend(requests);
        if self.begun_at.is_none() {
            self.check_next();
        }
    }

    /// To be called once the one before is stored: there is one large body in memory.
    pub(super) fn check_next(&mut self) {
        let next = self.waiting.pop_front();
        self.begun_at = next.is_some().then(Instant::now);
        // Fails if that thread has ended, and then the process is about to end too.
        next.map(|request| self.to_check.send(request));
    }

    pub(super) fn take_checked(&mut self) -> Option<Checked> {
        self.checked.try_recv().ok()
    }

    pub(super) fn health(&self, now: Instant) -> Result<(), &'static str> {
        let hangs = self.begun_at.is_some_and(|begun_at| now.saturating_duration_since(begun_at) > HANGS_AFTER);
        if hangs { Err("the check of a large body hangs") } else { Ok(()) }
    }
}

impl Checker {
    /// Checks until the receiver has ended.
    pub fn run(self) {
        for mut request in self.to_check {
            let now = clock::now();
            let outcome = delivery_of(request.read(), &self.intake.get(), now);
            if self.checked.send(Checked { request, outcome, now }).is_err() {
                return;
            }
            self.server.unblock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_hangs_is_reported() {
        let ((to_check, _inbox), (_outbox, checked)) = (mpsc::channel(), mpsc::channel());
        let began = Instant::now();
        let mut bodies = LargeBodies { waiting: VecDeque::new(), to_check, checked, begun_at: None };
        assert!(bodies.health(began + 2 * HANGS_AFTER).is_ok());
        bodies.begun_at = Some(began);
        assert!(bodies.health(began + HANGS_AFTER).is_ok());
        assert!(bodies.health(began + 2 * HANGS_AFTER).is_err());
    }
}
