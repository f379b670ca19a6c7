//! Which actions an event is for, and the thread that makes its jobs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use log::error;

use crate::action::Action;
use crate::clock;
use crate::current::Current;
use crate::event::EventId;
use crate::stop::{Stop, Waker};
use crate::store::{self, Queue};
use crate::template::{Scope, TemplateError};

/// The largest payload on which the router evaluates conditions: as a tree it takes ten times the memory and more.
const MAX_ROUTED_BYTES: usize = 1 << 20;

/// Events read, and their conditions evaluated, at once: enough to share the cost of a transaction, which is cut where the
/// receiver waits for it, and few enough to hold in memory.
const BATCH: u32 = 100;

/// The router thread's all.
pub struct Router {
    pub queue: Queue,
    pub routing: Current<Routing>,
    /// Rung when an event was stored.
    pub waker: Waker,
    pub stop: Stop,
    /// The [`Queue::version`] that was seen last.
    pub version: i64,
}

/// What the router goes by; replaced as a whole when the configuration is read again.
pub struct Routing {
    pub actions: Vec<Action>,
    /// The waker of each action's worker.
    pub workers: Vec<Waker>,
    pub poll_interval: Duration,
}

impl Router {
    /// Routes until the stop flag is set.
    pub fn run(mut self) {
        while !self.stop.is_set() {
            let routing = self.routing.get();
            let routed = self.route(&routing);
            self.queue.checkpoint();
            match routed {
                Ok(0) => {
                    self.waker.wait(routing.poll_interval);
                    self.pass_on_changes(&routing);
                }
                Ok(_) => routing.workers.iter().for_each(Waker::wake),
                Err(error) => {
                    error!("events cannot be routed yet: {error}");
                    self.waker.wait(routing.poll_interval);
                }
            }
        }
    }

    /// Wakes the workers when anybody has written: somebody may have queued a job again, or ended a pause. One thread that
    /// polls for all leaves an idle machine asleep, however many actions there are.
    fn pass_on_changes(&mut self, routing: &Routing) {
        // What is wrong with the database is told by the next attempt to route.
        let Ok(version) = self.queue.version() else { return };
        if version != self.version {
            self.version = version;
            routing.workers.iter().for_each(Waker::wake);
        }
    }

    /// Makes the jobs of one batch of events; returns how many there were.
    ///
    /// Where no action is configured at all, events stay unprocessed: another program is to process them.
    fn route(&mut self, routing: &Routing) -> store::Result<usize> {
        if routing.actions.is_empty() {
            return Ok(0);
        }
        let unrouted = self.queue.unrouted(BATCH)?;
        if unrouted.is_empty() {
            return Ok(0);
        }
        let mut routes = Vec::with_capacity(unrouted.len());
        for (id, source, event_type) in &unrouted {
            routes.push((*id, self.actions_for(routing, *id, source, event_type)));
        }
        self.queue.route(&routes, clock::now())?;
        Ok(routes.len())
    }

    fn actions_for<'a>(&self, routing: &'a Routing, id: EventId, source: &str, event_type: &str) -> Vec<&'a str> {
        let candidates: Vec<&Action> = candidates(&routing.actions, source, event_type).collect();
        if candidates.iter().all(|action| action.when.is_none()) {
            return candidates.into_iter().map(|action| action.name.as_str()).collect();
        }
        // What cannot be read, and what is so large that a condition could take the machine's memory, is left to the worker:
        // there it is an attempt, which counts.
        let event = self.queue.event(id).ok().flatten().filter(|event| event.payload_json.len() <= MAX_ROUTED_BYTES);
        let scope = event.as_ref().map(Scope::of);
        let is_for = |action: &&Action| match (&action.when, &scope) {
            (Some(when), Some(scope)) => may_hold(|| when.holds(scope)),
            _ => true,
        };
        candidates.into_iter().filter(is_for).map(|action| action.name.as_str()).collect()
    }
}

/// The actions that a pattern is for; their conditions have not been asked.
pub fn candidates<'a>(actions: &'a [Action], source: &str, event_type: &str) -> impl Iterator<Item = &'a Action> {
    actions.iter().filter(move |action| action.on.iter().any(|pattern| pattern.matches(source, event_type)))
}

/// An expression that cannot be evaluated decides nothing here: its job is made, and the worker, which asks again, lets it
/// die with the reason for everybody to see. A panic would end the process, and meet the same event after the restart.
fn may_hold(evaluate: impl FnOnce() -> Result<bool, TemplateError>) -> bool {
    !matches!(catch_unwind(AssertUnwindSafe(evaluate)), Ok(Ok(false)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Expression;

    #[test]
    fn only_a_clear_no_keeps_an_action_from_an_event() {
        assert!(may_hold(|| Ok(true)));
        assert!(!may_hold(|| Ok(false)));
        assert!(may_hold(|| panic!("a defect")));
        let broken = "payload + 1".parse::<Expression>().expect("an expression");
        assert!(may_hold(|| broken.holds(&Scope::empty())));
    }
}
