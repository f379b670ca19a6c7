//! The workers: claim jobs, run them, record the outcomes. Each action has threads of its own, so that an unreachable
//! destination delays no other.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};

use crate::action::{Action, ActionKind, ActionReport, Call, Runner};
use crate::clock::{self, Timestamp};
use crate::digest;
use crate::event::{Attempt, Event, Job, Outcome};
use crate::metrics::ActionCounts;
use crate::news::{Kind, Wanted};
use crate::retry;
use crate::stop::{Stop, Waker};
use crate::store::{self, Claim, IMMEDIATELY, Next, Queue};
use crate::template::{Scope, TemplateError};

/// How many hexadecimal digits of a hash make an idempotency key: 128 bits, as a UUID has.
const KEY_DIGITS: usize = 32;

/// How long to wait before an outcome that could not be recorded is recorded again; short enough for several tries within
/// `stop_timeout`.
const RECORD_RETRY: Duration = Duration::from_secs(1);

/// The same while the process stops.
const RECORD_RETRY_AT_STOP: Duration = Duration::from_millis(100);

/// How long a stopping worker tries to record an outcome, so that the action does not run again: another program may hold
/// the lock for a few seconds. `stop_timeout` may end it earlier.
const MAX_RECORD_AT_STOP: Duration = Duration::from_secs(10);

/// A due time further than this beyond the longest backoff, or the delay, means that the clock was set back. Not zero:
/// another worker of the same action may have read the clock a little earlier.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// A worker without jobs polls this many times more rarely than the router, which wakes it on changes.
const ROUTER_POLLS: u32 = 12;

/// Attempts, each with the next state of its job.
type Finished = Vec<(Attempt, Next)>;

/// Jobs that were claimed and not attempted, and when they are due again.
type Unclaimed = Vec<(Job, Timestamp)>;

/// The state of a worker's thread.
pub struct Worker {
    pub action: Action,
    pub runner: Arc<Runner>,
    pub queue: Queue,
    pub counts: Arc<ActionCounts>,
    pub poll_interval: Duration,
    /// How long a run may go on after the process was told to stop.
    pub grace: Duration,
    /// Woken when this action may have new jobs.
    pub waker: Waker,
    /// Woken when this action may have made news: the router.
    pub router: Waker,
    /// The news that an action is for.
    pub wanted: Wanted,
    /// Set when no further job may begin: the process stops, or a new configuration has replaced this worker.
    pub stop: Stop,
    /// Set when the process stops.
    pub ending: Stop,
}

impl Worker {
    /// Works until the stop flag is set. A job that has begun is finished and recorded; the other claimed ones are queued
    /// again.
    pub fn run(mut self) {
        while !self.stop.is_set() {
            let pause = self.work().unwrap_or_else(|error| {
                error!("action {}: {error}", self.action.name);
                self.poll_interval
            });
            if !pause.is_zero() {
                self.waker.wait(pause);
            }
        }
    }

    /// Runs one batch of due jobs. Returns how long there is nothing to do.
    fn work(&mut self) -> store::Result<Duration> {
        let now = clock::now();
        let latest = now.plus(self.action.policy.backoff_max.max(self.action.delay) + CLOCK_SLACK);
        match self.queue.next_due(&self.action.name)? {
            Some(due) if due <= now => {}
            Some(_) if self.queue.expedite(&self.action.name, latest)? => {
                warn!(
                    "action {}: the clock was set back: jobs that would wait too long are tried now",
                    self.action.name
                );
            }
            Some(due) => return Ok(due.distance(now).min(self.poll_interval)),
            None => return Ok(self.poll_interval * ROUTER_POLLS),
        }
        let kind = &self.action.kind;
        let claim = Claim {
            action: &self.action.name,
            limit: kind.batch(),
            is_harmful: kind.is_harmful(),
            latest_only: self.action.latest_only,
        };
        let jobs = self.queue.claim(&claim, now)?;
        let (finished, unclaimed) = self.attempt_all(jobs);
        self.record(&finished, &unclaimed);
        self.queue.checkpoint();
        if self.may_be_news(&finished) {
            self.router.wake();
        }
        // Jobs that were queued again are due at once; without a pause a failing database would be polled in a busy loop.
        Ok(if unclaimed.is_empty() { Duration::ZERO } else { self.poll_interval })
    }

    /// Attempts claimed jobs; returns the attempts, and the jobs to queue again. An error of one job does not keep the
    /// others from being recorded: they would stay `running` until the next start, and then run again.
    fn attempt_all(&self, jobs: Vec<Job>) -> (Finished, Unclaimed) {
        let (mut finished, mut unclaimed) = (Finished::new(), Unclaimed::new());
        for job in jobs {
            if self.stop.is_set() {
                unclaimed.push((job, IMMEDIATELY));
                continue;
            }
            match self.queue.event(job.event) {
                Ok(Some(event)) => finished.push(self.attempt(&job, &event)),
                // The event was deleted, and its job with it, unless the other program has disabled the trigger.
                Ok(None) => {
                    if let Err(error) = self.queue.delete_orphan(&job) {
                        unclaimed.push(self.unreadable(job, &error));
                    }
                }
                Err(error) => unclaimed.push(self.unreadable(job, &error)),
            }
        }
        (finished, unclaimed)
    }

    /// Makes one attempt.
    fn attempt(&self, job: &Job, event: &Event) -> (Attempt, Next) {
        let (started_at, started) = (clock::now(), Instant::now());
        let report = catch_panic(|| self.run_action(job, event))
            .unwrap_or_else(|error| Some(ActionReport::give_up(error.to_string())));
        let ActionReport { outcome, detail } = report.unwrap_or_else(ActionReport::interrupted);
        let (next, held_until) = self.next(job, outcome, clock::now());
        let attempt =
            Attempt { job: job.clone(), started_at, duration: started.elapsed(), outcome, detail, held_until };
        self.count(&attempt, event);
        self.log(&attempt, &next);
        (attempt, next)
    }

    fn may_be_news(&self, finished: &Finished) -> bool {
        let has = |kind| self.wanted.has(kind);
        finished.iter().any(|(_, next)| match next {
            Next::Dead => has(Kind::JobDead) || has(Kind::ActionFailing),
            Next::Queued(_) | Next::Waiting { .. } => has(Kind::ActionFailing),
            Next::Succeeded => has(Kind::ActionRecovered),
            Next::Interrupted => false,
        })
    }

    fn count(&self, attempt: &Attempt, event: &Event) {
        let Some(count) = self.counts.of(attempt.outcome) else { return };
        count.add(1);
        self.counts.attempt.observe_duration(attempt.duration);
        if attempt.outcome == Outcome::Success
            && let Some(received_at) = Timestamp::parse(&event.received_at)
        {
            self.counts.processing.observe_duration(clock::now().distance(received_at));
        }
    }

    /// Runs the action; `None` if a stop of the process cut it short. `Err` is a fault of the configuration or the payload:
    /// the job is dead, with the reason.
    fn run_action(&self, job: &Job, event: &Event) -> Result<Option<ActionReport>, TemplateError> {
        if job.attempts_since_queued > self.action.policy.attempts {
            return Ok(Some(ActionReport::give_up(
                "no attempts are left: the last one did not finish, or fewer are configured now",
            )));
        }
        let idempotency_key = idempotency_key(event, job);
        let scope = Scope::of(event).with("attempt", job.attempt).with("idempotency_key", idempotency_key.as_str());
        // The router has evaluated the condition, but makes a job where it could not.
        if !self.action.applies_to(&scope)? {
            return Ok(Some(ActionReport { outcome: Outcome::Success, detail: "not for this event".to_owned() }));
        }
        // The same for the key.
        if job.key.is_none() {
            self.action.key_of(&scope)?;
        }
        Ok(self.runner.run(&Call {
            event,
            scope: &scope,
            attempt: job.attempt,
            idempotency_key: &idempotency_key,
            timeout: self.action.timeout,
            stop: &self.ending,
            grace: self.grace,
        }))
    }

    /// An event that cannot be read: a failed disk, or a damaged page. Its job is retried forever, because giving it up
    /// would write to that page too, and no attempt is counted, because none was made.
    fn unreadable(&self, job: Job, error: &store::StorageError) -> (Job, Timestamp) {
        error!("action {}: event {}: {error}", self.action.name, job.event);
        (job, clock::now().plus(self.action.policy.backoff.max(self.poll_interval)))
    }

    /// What becomes of the job, and until when the whole action waits because its destination asks for that.
    fn next(&self, job: &Job, outcome: Outcome, now: Timestamp) -> (Next, Option<Timestamp>) {
        let policy = &self.action.policy;
        if let Outcome::Busy { wait } = outcome
            && let Some(wait) = retry::hold(policy, job.waited, wait)
        {
            return (Next::Waiting { waited: job.waited + wait }, Some(now.plus(wait)));
        }
        let again = retry::delay(policy, job.attempts_since_queued, outcome, random()).map(|delay| now.plus(delay));
        match (outcome, again) {
            (Outcome::Interrupted, _) => (Next::Interrupted, None),
            // Due at once, and so the first of the action when the hold is over.
            (Outcome::Busy { .. }, Some(due)) => (Next::Queued(IMMEDIATELY), Some(due)),
            (Outcome::Busy { wait }, None) => (Next::Dead, Some(now.plus(wait.min(policy.backoff_max)))),
            (_, Some(due)) => (Next::Queued(due), None),
            (Outcome::Success, None) => (Next::Succeeded, None),
            (_, None) => (Next::Dead, None),
        }
    }

    fn log(&self, attempt: &Attempt, next: &Next) {
        let (action, event, number) = (&self.action.name, attempt.job.event, attempt.job.attempt);
        let what = format!("action {action}, event {event}, attempt {number}: {}", attempt.detail);
        match (next, attempt.held_until) {
            (Next::Succeeded, _) => {}
            (Next::Dead, _) => warn!("{what}; dead. To queue it again: hookbox replay {event}"),
            (_, Some(until)) => info!("{what}; the destination asks to wait: the action goes on at {until}"),
            (Next::Queued(due), None) => info!("{what}; again at {due}"),
            (Next::Interrupted, None) => info!("{what}; again at the next start"),
            (Next::Waiting { .. }, None) => {}
        }
    }

    /// Records the attempts and queues the other jobs again, however long that takes: an unrecorded success would be
    /// repeated, and a job that is not queued again would wait for the next start. A stopping process gives up after
    /// [`MAX_RECORD_AT_STOP`].
    fn record(&mut self, finished: &[(Attempt, Next)], unclaimed: &[(Job, Timestamp)]) {
        let mut stopping: Option<Instant> = None;
        while let Err(error) = self.queue.record(finished, unclaimed, self.wanted, clock::now()) {
            error!("action {}: outcomes cannot be recorded yet: {error}", self.action.name);
            if !self.ending.is_set() {
                self.waker.wait(self.poll_interval.min(RECORD_RETRY));
                continue;
            }
            if stopping.get_or_insert_with(Instant::now).elapsed() > MAX_RECORD_AT_STOP {
                warn!("action {}: {} jobs run again at the next start", self.action.name, finished.len());
                return;
            }
            self.waker.wait(RECORD_RETRY_AT_STOP);
        }
    }
}

/// Turns a panic into a failed attempt, so that a defect that one event triggers does not end the process.
fn catch_panic<E>(run: impl FnOnce() -> Result<Option<ActionReport>, E>) -> Result<Option<ActionReport>, E> {
    // Sound, because a run changes nothing that outlives it.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        Ok(Some(ActionReport::retry(format!("a defect in hookbox: {}", panic_message(&panic)))))
    })
}

fn panic_message(panic: &Box<dyn Any + Send>) -> &str {
    let formatted = panic.downcast_ref::<String>().map(String::as_str);
    formatted.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

/// How long a job waits whose attempt did not end before the process did, because it may be what has ended the process. A
/// printed line is not, unless a condition read the payload before.
pub fn wait_after_crash(action: &Action, attempts_since_queued: u32) -> Duration {
    if matches!(action.kind, ActionKind::Log) && action.when.is_none() {
        return Duration::ZERO;
    }
    retry::delay(&action.policy, attempts_since_queued, Outcome::Retry { after: None }, random()).unwrap_or_default()
}

/// The same for every attempt of a job, and for every copy of the event that the provider has sent; another one where all of
/// it was asked for again.
pub fn idempotency_key(event: &Event, job: &Job) -> String {
    let round = if job.round == 0 { String::new() } else { job.round.to_string() };
    let parts = [&event.source, &event.delivery_id, &job.action, &round].map(|part| part.as_bytes());
    digest::hex(&digest::sha256(&[&parts.join(&0)]))[..KEY_DIGITS].to_owned()
}

/// Uniformly distributed from 0 to 1, for the jitter.
fn random() -> f64 {
    f64::from(u32::from_le_bytes(digest::random())) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Outcome;

    #[test]
    fn a_panic_is_an_attempt_that_failed() {
        let report = catch_panic::<()>(|| panic!("out of {}", "luck")).unwrap().unwrap();
        assert_eq!(report.outcome, Outcome::Retry { after: None });
        assert_eq!(report.detail, "a defect in hookbox: out of luck");
    }
}
