//! The router: makes a job of each action that an event is for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use log::error;

use crate::action::Action;
use crate::clock;
use crate::current::Current;
use crate::event::EventId;
use crate::stop::{Stop, Waker, Wakers};
use crate::store::{self, Queue};
use crate::template::{Scope, TemplateError};

/// The largest payload on which the router evaluates conditions: reading it takes up to eight times its memory, and the events
/// after it wait.
const MAX_ROUTED_BYTES: usize = 1 << 20;

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
        let routes =
            unrouted.iter().map(|(id, source, event_type)| (*id, self.actions_for(routing, *id, source, event_type)));
        let routes: Vec<(EventId, Vec<&str>)> = routes.collect();
        self.queue.route(&routes, clock::now())?;
        Ok(routes.len())
    }

    /// The names of the actions that are for an event, or may be.
    fn actions_for<'a>(&self, routing: &'a Routing, id: EventId, source: &str, event_type: &str) -> Vec<&'a str> {
        let mut actions: Vec<&Action> =
            routing.actions.iter().filter(|action| action.matches(source, event_type)).collect();
        if actions.iter().any(|action| action.when.is_some())
            && let Some(scope) = self.scope_of(id)
        {
            actions.retain(|action| may_apply(|| action.applies_to(&scope)));
        }
        actions.into_iter().map(|action| action.name.as_str()).collect()
    }

    /// `None` where the event cannot be read, or is so large that evaluating a condition could use up the memory. The worker
    /// evaluates its conditions then, as an attempt, which is counted.
    fn scope_of(&self, id: EventId) -> Option<Scope> {
        let event = self.queue.event(id).ok().flatten()?;
        (event.payload_json.len() <= MAX_ROUTED_BYTES).then(|| Scope::of(&event))
    }
}

/// True unless the condition is clearly false. Where it cannot be evaluated a job is made: the worker evaluates it again, and
/// the job is dead with the reason. A panic here would end the process, and again after each restart.
fn may_apply(condition: impl FnOnce() -> Result<bool, TemplateError>) -> bool {
    !matches!(catch_unwind(AssertUnwindSafe(condition)), Ok(Ok(false)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Expression;

    #[test]
    fn only_a_condition_that_is_clearly_false_excludes_an_action() {
        assert!(may_apply(|| Ok(true)));
        assert!(!may_apply(|| Ok(false)));
        assert!(may_apply(|| panic!("a defect")));
        let broken = "payload + 1".parse::<Expression>().expect("an expression");
        assert!(may_apply(|| broken.holds(&Scope::empty())));
    }
}
