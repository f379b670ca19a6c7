//! The worker threads: hired for each action, replaced when the configuration changes, dismissed at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Message, join, spawn};
use crate::action::Runner;
use crate::cli::Failure;
use crate::config::secret::Env;
use crate::config::{Action, Config};
use crate::stop::{Bell, Stop};
use crate::store::Database;
use crate::worker::Worker;

/// How often to look whether the last workers have ended.
const TICK: Duration = Duration::from_millis(10);

/// The actions of a configuration, with their secrets at hand.
pub(super) type Runners = BTreeMap<String, Arc<Runner>>;

/// All workers, by action.
#[derive(Default)]
pub(super) struct Staff(BTreeMap<String, Vec<Hand>>);

/// A running worker, from outside.
struct Hand {
    stop: Stop,
    bell: Bell,
    thread: JoinHandle<()>,
}

/// Fetches the secrets of all actions.
pub(super) fn runners(config: &Config, env: &Env<'_>) -> Result<Runners, Failure> {
    let prepare = |action: &Action| {
        let runner = action.kind.prepare(env);
        let runner = runner.map_err(|error| Failure::usage(format!("actions.{}.{error}", action.name)))?;
        Ok((action.name.clone(), runner))
    };
    config.actions.values().map(prepare).collect()
}

impl Staff {
    /// Replaces all workers by those of `config`. A successor waits until its predecessors have finished what they were
    /// doing: what must not overlap does not overlap across a change of configuration either.
    pub(super) fn employ(
        &mut self,
        config: &Config,
        runners: &Runners,
        database: &Database,
        messages: &Sender<Message>,
    ) -> Result<(), Failure> {
        self.dismiss();
        let mut before = std::mem::take(&mut self.0);
        let bells_of = |action: &Action| (0..action.concurrency).map(|_| Bell::default()).collect::<Vec<_>>();
        let bells: BTreeMap<&str, Vec<Bell>> =
            config.actions.values().map(|action| (action.name.as_str(), bells_of(action))).collect();
        for (name, runner) in runners {
            let Some(action) = config.actions.get(name) else { continue };
            let mut predecessors = before.remove(name).unwrap_or_default();
            let mut hands = Vec::new();
            let mourners = action.on_dead.as_deref().and_then(|told| bells.get(told)).cloned().unwrap_or_default();
            for bell in bells.get(name.as_str()).into_iter().flatten().cloned() {
                let stop = Stop::default();
                let worker = Worker {
                    action: action.clone(),
                    runner: Arc::clone(runner),
                    queue: database.queue()?,
                    poll_interval: config.poll_interval,
                    grace: config.stop_timeout,
                    bell: bell.clone(),
                    mourners: mourners.clone(),
                    stop: stop.clone(),
                };
                let waited_for = std::mem::take(&mut predecessors);
                let thread = spawn(&format!("action {name}"), messages, move || {
                    waited_for.into_iter().for_each(|hand| join(hand.thread));
                    worker.run();
                })?;
                hands.push(Hand { stop, bell, thread });
            }
            self.0.insert(name.clone(), hands);
        }
        Ok(())
    }

    /// The bells to ring when there may be new jobs.
    pub(super) fn bells(&self) -> Vec<Bell> {
        self.hands().map(|hand| hand.bell.clone()).collect()
    }

    /// Tells everybody to finish.
    pub(super) fn dismiss(&self) {
        for hand in self.hands() {
            hand.stop.set();
            hand.bell.ring();
        }
    }

    /// Waits until all have finished. False if some have not by `deadline`.
    pub(super) fn leave(self, deadline: Instant) -> bool {
        let mut left = true;
        for hand in self.0.into_values().flatten() {
            while !hand.thread.is_finished() && Instant::now() < deadline {
                thread::sleep(TICK);
            }
            left &= hand.thread.is_finished();
        }
        left
    }

    fn hands(&self) -> impl Iterator<Item = &Hand> {
        self.0.values().flatten()
    }
}
