//! The pool of worker threads: started for each action, replaced when the configuration changes, awaited at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use log::info;
use sd_notify::NotifyState;

use super::Runners;
use super::error::Result;
use super::thread::{Message, Thread, lower_priority};
use crate::action::ActionKind;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::stop::{Stop, Waker, Wakers};
use crate::store::Database;
use crate::systemd;
use crate::units::duration_text;
use crate::worker::Worker;

/// How often to check whether the last workers have ended.
const TICK: Duration = Duration::from_millis(10);

/// A worker that is not idle has not ended by then.
const REPORT_AFTER: Duration = Duration::from_millis(200);

pub(super) struct WorkerPool {
    metrics: Arc<Metrics>,
    messages: Sender<Message>,
    router: Waker,
    workers: Vec<WorkerHandle>,
    /// Workers of actions that are no longer configured, which may still be finishing what they were doing.
    draining: Vec<WorkerHandle>,
    /// Set when the process ends.
    ending: Stop,
}

/// A running worker, from outside.
struct WorkerHandle {
    action: String,
    waker: Waker,
    /// How long an attempt may go on at a stop, and its cleaning up after that. Of a worker that waits for predecessors,
    /// the longest of all.
    stop_timeout: Duration,
    thread: Thread,
    /// The worker is idle until it is sent the predecessors to wait for.
    begin: Sender<Vec<WorkerHandle>>,
}

impl WorkerPool {
    pub(super) fn new(metrics: Arc<Metrics>, messages: Sender<Message>, router: Waker) -> WorkerPool {
        WorkerPool { metrics, messages, router, workers: Vec::new(), draining: Vec::new(), ending: Stop::default() }
    }

    /// Replaces all workers by those of `config`. A new worker waits until its predecessors have finished what they were
    /// doing, so that no action exceeds its concurrency across a change of configuration. If this fails, nothing has
    /// changed.
    pub(super) fn reconfigure(&mut self, config: &Config, runners: &Runners, database: &Database) -> Result<()> {
        let mut idle = self.spawn_idle(config, runners, database)?.into_iter().peekable();
        self.stop_claiming();
        let mut old = std::mem::take(&mut self.workers);
        old.append(&mut self.draining);
        while let Some(mut worker) = idle.next() {
            // One predecessor each, and the rest for the last, so that together they never exceed the concurrency.
            let is_last = idle.peek().is_none_or(|next| next.action != worker.action);
            let count = if is_last { usize::MAX } else { 1 };
            let predecessors: Vec<_> = old.extract_if(.., |old| old.action == worker.action).take(count).collect();
            let stop_timeouts = predecessors.iter().map(|old| old.stop_timeout);
            worker.stop_timeout = stop_timeouts.fold(worker.stop_timeout, Duration::max);
            let _ = worker.begin.send(predecessors); // it is waiting for exactly this
            self.workers.push(worker);
        }
        self.draining = old;
        self.draining.retain(|worker| !worker.thread.has_ended());
        Ok(())
    }

    /// Starts the threads, which do nothing until they are sent their predecessors, and end if that never happens.
    fn spawn_idle(&self, config: &Config, runners: &Runners, database: &Database) -> Result<Vec<WorkerHandle>> {
        let wanted = config.wanted_news();
        let mut idle = Vec::new();
        for (action, runner) in runners {
            for _ in 0..action.concurrency {
                let queue = if action.kind.is_repeatable() { database.relaxed_queue()? } else { database.queue()? };
                let worker = Worker {
                    action: action.clone(),
                    runner: Arc::clone(runner),
                    queue,
                    counts: self.metrics.action(&action.name),
                    poll_interval: config.poll_interval,
                    grace: config.stop_timeout,
                    waker: Waker::default(),
                    router: self.router.clone(),
                    wanted,
                    stop: Stop::default(),
                    ending: self.ending.clone(),
                };
                idle.push(WorkerHandle::spawn(worker, &self.messages)?);
            }
        }
        Ok(idle)
    }

    /// The wakers to use when there may be new jobs.
    pub(super) fn wakers(&self) -> Wakers {
        let wakers = self.workers.iter().map(|worker| (worker.action.clone(), worker.waker.clone()));
        Wakers(wakers.collect())
    }

    /// Set when the process ends.
    pub(super) fn ending(&self) -> Stop {
        self.ending.clone()
    }

    /// The longest time that [`WorkerPool::stop`] may take.
    pub(super) fn stop_timeout(&self) -> Duration {
        self.all().map(|worker| worker.stop_timeout).max().unwrap_or_default()
    }

    /// Tells all workers that the process ends, and waits until they have ended. False if some have not when their time is
    /// over.
    pub(super) fn stop(&self) -> bool {
        let requested_at = Instant::now();
        self.ending.set();
        self.stop_claiming();
        let is_awaited =
            |worker: &&WorkerHandle| !worker.thread.has_ended() && requested_at.elapsed() < worker.stop_timeout;
        let mut is_reported = false;
        while let Some(longest) = self.all().filter(is_awaited).map(|worker| worker.stop_timeout).max() {
            if !is_reported && requested_at.elapsed() > REPORT_AFTER {
                is_reported = true;
                report_waiting(self.all().filter(is_awaited), longest);
            }
            thread::sleep(TICK);
        }
        self.all().all(|worker| worker.thread.has_ended())
    }

    fn all(&self) -> impl Iterator<Item = &WorkerHandle> {
        self.workers.iter().chain(&self.draining)
    }

    /// Tells all workers to begin nothing more. Attempts under way go on to their end.
    fn stop_claiming(&self) {
        self.workers.iter().for_each(|worker| worker.thread.request_stop());
    }
}

/// Says why the process has not ended yet, in the log and in `systemctl status`.
fn report_waiting<'a>(workers: impl Iterator<Item = &'a WorkerHandle>, longest: Duration) {
    let mut attempts: BTreeMap<&str, usize> = BTreeMap::new();
    workers.for_each(|worker| *attempts.entry(&worker.action).or_default() += 1);
    let attempts: Vec<_> = attempts
        .into_iter()
        .map(|(action, count)| if count == 1 { action.to_owned() } else { format!("{action} ({count} attempts)") })
        .collect();
    let text = format!("stopping: waiting for {}, at most {}", attempts.join(", "), duration_text(longest));
    info!("{text}. Deliveries are received meanwhile");
    systemd::notify(&[NotifyState::Status(&text)]);
}

impl WorkerHandle {
    fn spawn(worker: Worker, messages: &Sender<Message>) -> Result<WorkerHandle> {
        let action = worker.action.name.clone();
        let (stop, waker, wake) = (worker.stop.clone(), worker.waker.clone(), worker.waker.clone());
        let stop_timeout = worker.grace + worker.action.kind.clean_up();
        let (begin, predecessors) = mpsc::channel();
        let run = || run(worker, predecessors);
        let thread = Thread::spawn(&format!("action {action}"), &stop, move || wake.wake(), messages, run)?;
        Ok(WorkerHandle { action, waker, stop_timeout, thread, begin })
    }
}

/// The thread of a worker.
fn run(worker: Worker, predecessors: Receiver<Vec<WorkerHandle>>) {
    // Not for commands, which would inherit the priority for good.
    if !matches!(worker.action.kind, ActionKind::Command(_)) {
        lower_priority();
    }
    let Ok(predecessors) = predecessors.recv() else {
        worker.stop.set();
        return; // the new configuration was refused
    };
    predecessors.into_iter().for_each(|old| old.thread.join());
    worker.run();
}
