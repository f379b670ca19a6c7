//! The worker threads: hired for each action, replaced when the configuration changes, dismissed at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Message, join, spawn, step_back};
use crate::action::{Kind, Runner};
use crate::cli::Failure;
use crate::config::secret::Env;
use crate::config::{Action, Config};
use crate::metrics::Metrics;
use crate::stop::{Bell, Stop};
use crate::store::Database;
use crate::worker::Worker;

/// How often to look whether the last workers have ended.
const TICK: Duration = Duration::from_millis(10);

/// The actions of a configuration, with their secrets at hand.
pub(super) type Runners = BTreeMap<String, Arc<Runner>>;

/// All workers.
pub(super) struct Staff {
    metrics: Arc<Metrics>,
    hands: Vec<Hand>,
    /// Those that a new configuration has no work for, and that may still be finishing what they were doing.
    departed: Vec<Hand>,
    ending: Stop,
}

/// A running worker, from outside.
struct Hand {
    action: String,
    stop: Stop,
    bell: Bell,
    /// How long what is under way at a stop may take, and how long after that: its own, or that of one whose work it
    /// takes over, for whom it waits.
    grace: Duration,
    clean_up: Duration,
    thread: JoinHandle<()>,
}

/// A thread that waits for the predecessors whose work it takes over.
struct Recruit {
    hand: Hand,
    begin: Sender<Vec<Hand>>,
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
    pub(super) fn new(metrics: Arc<Metrics>) -> Staff {
        Staff { metrics, hands: Vec::new(), departed: Vec::new(), ending: Stop::default() }
    }

    /// Replaces all workers by those of `config`. A successor waits until its predecessors have finished what they were
    /// doing: what must not overlap does not overlap across a change of configuration either. If this fails, nothing has
    /// changed.
    pub(super) fn employ(
        &mut self,
        config: &Config,
        runners: &Runners,
        database: &Database,
        messages: &Sender<Message>,
    ) -> Result<(), Failure> {
        let recruits = self.recruit(config, runners, database, messages)?;
        self.retire();
        let mut before = std::mem::take(&mut self.hands);
        before.append(&mut self.departed);
        let mut recruits = recruits.into_iter().peekable();
        while let Some(Recruit { mut hand, begin }) = recruits.next() {
            // One successor for each predecessor, so that together they are never more than may be at work at once.
            let is_last = recruits.peek().is_none_or(|next| next.hand.action != hand.action);
            let count = if is_last { usize::MAX } else { 1 };
            let predecessors: Vec<Hand> = before.extract_if(.., |old| old.action == hand.action).take(count).collect();
            for old in &predecessors {
                hand.grace = hand.grace.max(old.grace);
                hand.clean_up = hand.clean_up.max(old.clean_up);
            }
            // It waits for nothing else, so it is there to hear it.
            let _ = begin.send(predecessors);
            self.hands.push(hand);
        }
        self.departed = before;
        self.departed.retain(|hand| !hand.thread.is_finished());
        Ok(())
    }

    /// Starts the threads, which do nothing before they are told to begin, and end if they never are.
    fn recruit(
        &self,
        config: &Config,
        runners: &Runners,
        database: &Database,
        messages: &Sender<Message>,
    ) -> Result<Vec<Recruit>, Failure> {
        let bells_of = |action: &Action| (0..action.concurrency).map(|_| Bell::default()).collect::<Vec<_>>();
        let bells: BTreeMap<&str, Vec<Bell>> =
            config.actions.values().map(|action| (action.name.as_str(), bells_of(action))).collect();
        let mut recruits = Vec::new();
        for (name, runner) in runners {
            let Some(action) = config.actions.get(name) else { continue };
            let mourners = action.on_dead.as_deref().and_then(|told| bells.get(told)).cloned().unwrap_or_default();
            for bell in bells.get(name.as_str()).into_iter().flatten() {
                let stop = Stop::default();
                let worker = Worker {
                    action: action.clone(),
                    runner: Arc::clone(runner),
                    queue: database.queue()?,
                    counts: self.metrics.action(name),
                    poll_interval: config.poll_interval,
                    grace: config.stop_timeout,
                    bell: bell.clone(),
                    mourners: mourners.clone(),
                    stop: stop.clone(),
                    ending: self.ending.clone(),
                };
                let (begin, predecessors) = mpsc::channel::<Vec<Hand>>();
                // What a command runs would inherit it, for good.
                let steps_back = !matches!(action.kind, Kind::Command(_));
                let thread = spawn(&format!("action {name}"), messages, move || {
                    if steps_back {
                        step_back();
                    }
                    let Ok(predecessors) = predecessors.recv() else { return };
                    predecessors.into_iter().for_each(|hand| join(hand.thread));
                    worker.run();
                })?;
                let hand = Hand {
                    action: name.clone(),
                    stop,
                    bell: bell.clone(),
                    grace: config.stop_timeout,
                    clean_up: action.kind.clean_up(),
                    thread,
                };
                recruits.push(Recruit { hand, begin });
            }
        }
        Ok(recruits)
    }

    /// The bells to ring when there may be new jobs.
    pub(super) fn bells(&self) -> Vec<Bell> {
        self.hands.iter().map(|hand| hand.bell.clone()).collect()
    }

    /// Tells everybody that the process ends.
    pub(super) fn dismiss(&self) {
        self.ending.set();
        self.retire();
    }

    /// Tells everybody to begin nothing more. What is under way goes on to its end.
    fn retire(&self) {
        for hand in &self.hands {
            hand.stop.set();
            hand.bell.ring();
        }
    }

    /// Waits until all have finished. False if some have not when their grace ends, and what they have to clean up after
    /// it is done.
    pub(super) fn leave(self, dismissed_at: Instant) -> bool {
        let mut left = true;
        for hand in self.hands.into_iter().chain(self.departed) {
            let patience = hand.grace + hand.clean_up;
            while !hand.thread.is_finished() && dismissed_at.elapsed() < patience {
                thread::sleep(TICK);
            }
            left &= hand.thread.is_finished();
        }
        left
    }
}
