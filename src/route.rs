//! The router: makes a job of each action that an event is for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use log::error;

use crate::action::Action;
use crate::clock::{self, Timestamp};
use crate::current::Current;
use crate::event::{EventId, Key, NewJob};
use crate::stop::{Stop, Waker, Wakers};
use crate::store::{self, Queue, Unrouted};
use crate::template::{Scope, TemplateError};

/// The largest payload on which the router evaluates conditions alone: reading it takes up to eight times its memory, and
/// the events after it wait.
const MAX_ROUTED_BYTES: usize = 1 << 20;

/// Times are stored in whole seconds. A delay is never shorter than configured.
const STORED_PRECISION: Duration = Duration::from_secs(1);

/// Events routed in one transaction, which ends early where the receiver waits: enough to share its cost, few enough to
/// hold in memory.
const BATCH: u32 = 100;

/// The state of the router's thread.
pub struct Router {
    pub queue: Queue,
    pub routing: Current<Routing>,
    /// Woken when an event was stored.
    pub waker: Waker,
    pub stop: Stop,
    /// The [`Queue::version`] that was read last.
    pub version: i64,
}

/// The router's part of the configuration; replaced as a whole when that is reloaded.
pub struct Routing {
    pub actions: Vec<Action>,
    /// Those of all workers.
    pub workers: Wakers,
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
                Ok(0) => self.wait(&routing),
                Ok(_) => routing.workers.wake_all(),
                Err(error) => {
                    error!("events cannot be routed yet: {error}");
                    self.wait(&routing);
                }
            }
        }
    }

    fn wait(&mut self, routing: &Routing) {
        self.waker.wait(routing.poll_interval);
        self.look_for_changes(routing);
    }

    /// When any program has written, wakes the workers, because a command may have replayed an event or ended a pause, and
    /// looks whether a tool has dropped the triggers that list new events. One thread polls for all, so that an idle machine
    /// sleeps however many actions there are.
    fn look_for_changes(&mut self, routing: &Routing) {
        // An error appears again, and is logged, with the next attempt to route.
        let Ok(version) = self.queue.version() else { return };
        if version == self.version {
            return;
        }
        self.version = version;
        if let Err(error) = self.queue.mend_schema() {
            error!("the schema of the database cannot be checked or restored yet: {error}");
        }
        routing.workers.wake_all();
    }

    /// Makes the jobs of one batch of events; returns how many events there were.
    ///
    /// Without any configured action, events stay unprocessed, for another program to process.
    fn route(&mut self, routing: &Routing) -> store::Result<usize> {
        if routing.actions.is_empty() {
            return Ok(0);
        }
        let unrouted = self.queue.unrouted(BATCH)?;
        if unrouted.is_empty() {
            return Ok(0);
        }
        let now = clock::now();
        let routes = unrouted.iter().map(|event| (event.id, self.jobs_for(routing, event, now)));
        let routes: Vec<(EventId, Vec<NewJob>)> = routes.collect();
        self.queue.route(&routes, now)?;
        Ok(routes.len())
    }

    /// The jobs of the actions that are for an event, or may be.
    fn jobs_for(&self, routing: &Routing, event: &Unrouted, now: Timestamp) -> Vec<NewJob> {
        let matches = |action: &&Action| action.matches(&event.source, &event.event_type);
        let actions: Vec<&Action> = routing.actions.iter().filter(matches).collect();
        let is_keyed = actions.iter().any(|action| action.is_keyed());
        let reads_payload = is_keyed || actions.iter().any(|action| action.when.is_some());
        let scope = if reads_payload { self.scope_of(event.id, is_keyed) } else { None };
        let received_at = event.received_at.map_or(now, |at| at.plus(STORED_PRECISION));
        let job = |action: &Action, key| {
            let due = store::due_after(received_at, action.delay, now);
            NewJob { action: action.name.clone(), key, due }
        };
        let decide = |action: &&Action| match &scope {
            Some(scope) => decide(action, scope).map(|key| job(action, key)),
            None => Some(job(action, None)),
        };
        actions.iter().filter_map(decide).collect()
    }

    /// `None` where the event cannot be read, or is so large that reading its payload could use up the memory. The worker
    /// evaluates its conditions then, as an attempt, which is counted.
    ///
    /// Without its key a job would overtake others: for that a large payload is read too, unless it may be what has ended
    /// the last process.
    fn scope_of(&self, id: EventId, is_keyed: bool) -> Option<Scope> {
        let event = self.queue.event(id).ok().flatten()?;
        let is_small = event.payload_json.len() <= MAX_ROUTED_BYTES;
        (is_small || is_keyed && !self.queue.is_suspect(id)).then(|| Scope::of(&event))
    }
}

/// The key of an action's job for an event; `None` where its condition is clearly false. Where the condition or the key
/// cannot be evaluated, a job without a key is made: the worker evaluates both again, and the job is dead with the reason.
fn decide(action: &Action, scope: &Scope) -> Option<Option<Key>> {
    match evaluate(|| action.applies_to(scope)) {
        Some(true) => Some(evaluate(|| action.key_of(scope)).flatten()),
        Some(false) => None,
        None => Some(None),
    }
}

/// `None` where it cannot be evaluated. A panic here would end the process, and again after each restart.
fn evaluate<T>(work: impl FnOnce() -> Result<T, TemplateError>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Expression;

    #[test]
    fn what_panics_or_fails_cannot_be_evaluated() {
        assert_eq!(evaluate(|| Ok(true)), Some(true));
        assert_eq!(evaluate(|| Ok(false)), Some(false));
        assert_eq!(evaluate::<bool>(|| panic!("a defect")), None);
        let broken = "payload + 1".parse::<Expression>().expect("an expression");
        assert_eq!(evaluate(|| broken.holds(&Scope::empty())), None);
    }
}
