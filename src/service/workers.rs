//! The worker threads: hired for each action, replaced when the configuration changes, dismissed at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Message, join, lower_priority, spawn};
use crate::action::Action;
use crate::action::{Kind, Runner};
use crate::cli::Failure;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::secret::Env;
use crate::stop::{Stop, Waker};
use crate::store::Database;
use crate::worker::Worker;

/// How often to look whether the last workers have ended.
const TICK: Duration = Duration::from_millis(10);

/// The actions of a configuration, with their secrets at hand.
pub(super) type Runners = BTreeMap<String, Arc<Runner>>;

/// All workers.
pub(super) struct WorkerPool {
    metrics: Arc<Metrics>,
    hands: Vec<WorkerHandle>,
    /// Those that a new configuration has no work for, and that may still be finishing what they were doing.
    draining: Vec<WorkerHandle>,
    ending: Stop,
}

/// A running worker, from outside.
struct WorkerHandle {
    action: String,
    stop: Stop,
    waker: Waker,
    /// How long what is under way at a stop may take, and how long after that: its own, or that of one whose work it
    /// takes over, for whom it waits.
    grace: Duration,
    clean_up: Duration,
    thread: JoinHandle<()>,
}

/// A thread that waits for the predecessors whose work it takes over.
struct PendingWorker {
    hand: WorkerHandle,
    begin: Sender<Vec<WorkerHandle>>,
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

impl WorkerPool {
    pub(super) fn new(metrics: Arc<Metrics>) -> WorkerPool {
        WorkerPool { metrics, hands: Vec::new(), draining: Vec::new(), ending: Stop::default() }
    }

    /// Replaces all workers by those of `config`. A successor waits until its predecessors have finished what they were
    /// doing: what must not overlap does not overlap across a change of configuration either. If this fails, nothing has
    /// changed.
    pub(super) fn reconfigure(
        &mut self,
        config: &Config,
        runners: &Runners,
        database: &Database,
        messages: &Sender<Message>,
    ) -> Result<(), Failure> {
        let recruits = self.spawn_idle(config, runners, database, messages)?;
        self.stop_claiming();
        let mut before = std::mem::take(&mut self.hands);
        before.append(&mut self.draining);
        let mut recruits = recruits.into_iter().peekable();
        while let Some(PendingWorker { mut hand, begin }) = recruits.next() {
            // One successor for each predecessor, so that together they are never more than may be at work at once.
            let is_last = recruits.peek().is_none_or(|next| next.hand.action != hand.action);
            let count = if is_last { usize::MAX } else { 1 };
            let predecessors: Vec<WorkerHandle> =
                before.extract_if(.., |old| old.action == hand.action).take(count).collect();
            for old in &predecessors {
                hand.grace = hand.grace.max(old.grace);
                hand.clean_up = hand.clean_up.max(old.clean_up);
            }
            // It waits for nothing else, so it is there to hear it.
            let _ = begin.send(predecessors);
            self.hands.push(hand);
        }
        self.draining = before;
        self.draining.retain(|hand| !hand.thread.is_finished());
        Ok(())
    }

    /// Starts the threads, which do nothing before they are told to begin, and end if they never are.
    fn spawn_idle(
        &self,
        config: &Config,
        runners: &Runners,
        database: &Database,
        messages: &Sender<Message>,
    ) -> Result<Vec<PendingWorker>, Failure> {
        let bells_of = |action: &Action| (0..action.concurrency).map(|_| Waker::default()).collect::<Vec<_>>();
        let wakers: BTreeMap<&str, Vec<Waker>> =
            config.actions.values().map(|action| (action.name.as_str(), bells_of(action))).collect();
        let mut recruits = Vec::new();
        for (name, runner) in runners {
            let Some(action) = config.actions.get(name) else { continue };
            let on_dead = action.on_dead.as_deref().and_then(|told| wakers.get(told)).cloned().unwrap_or_default();
            for waker in wakers.get(name.as_str()).into_iter().flatten() {
                let stop = Stop::default();
                let worker = Worker {
                    action: action.clone(),
                    runner: Arc::clone(runner),
                    queue: database.queue()?,
                    counts: self.metrics.action(name),
                    poll_interval: config.poll_interval,
                    grace: config.stop_timeout,
                    waker: waker.clone(),
                    on_dead: on_dead.clone(),
                    stop: stop.clone(),
                    ending: self.ending.clone(),
                };
                let (begin, predecessors) = mpsc::channel::<Vec<WorkerHandle>>();
                // What a command runs would inherit it, for good.
                let steps_back = !matches!(action.kind, Kind::Command(_));
                let thread = spawn(&format!("action {name}"), messages, move || {
                    if steps_back {
                        lower_priority();
                    }
                    let Ok(predecessors) = predecessors.recv() else { return };
                    predecessors.into_iter().for_each(|hand| join(hand.thread));
                    worker.run();
                })?;
                let hand = WorkerHandle {
                    action: name.clone(),
                    stop,
                    waker: waker.clone(),
                    grace: config.stop_timeout,
                    clean_up: action.kind.clean_up(),
                    thread,
                };
                recruits.push(PendingWorker { hand, begin });
            }
        }
        Ok(recruits)
    }

    /// The wakers to ring when there may be new jobs.
    pub(super) fn wakers(&self) -> Vec<Waker> {
        self.hands.iter().map(|hand| hand.waker.clone()).collect()
    }

    /// Tells everybody that the process ends.
    pub(super) fn shut_down(&self) {
        self.ending.set();
        self.stop_claiming();
    }

    /// Tells everybody to begin nothing more. What is under way goes on to its end.
    fn stop_claiming(&self) {
        for hand in &self.hands {
            hand.stop.set();
            hand.waker.wake();
        }
    }

    /// Waits until all have finished. False if some have not when their grace ends, and what they have to clean up after
    /// it is done.
    pub(super) fn leave(self, dismissed_at: Instant) -> bool {
        let mut left = true;
        for hand in self.hands.into_iter().chain(self.draining) {
            let patience = hand.grace + hand.clean_up;
            while !hand.thread.is_finished() && dismissed_at.elapsed() < patience {
                thread::sleep(TICK);
            }
            left &= hand.thread.is_finished();
        }
        left
    }
}
