//! Claim -> run -> record: threads of their own for each action, so that a dead destination delays no other.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};

use crate::action::Action;
use crate::action::{Call, DeadJob, Ended, Report, Runner};
use crate::clock::{self, Timestamp};
use crate::digest;
use crate::event::{Attempt, Event, Job, Outcome};
use crate::metrics::ActionCounts;
use crate::retry;
use crate::stop::{Stop, Waker};
use crate::store::{self, IMMEDIATELY, Next, Queue};
use crate::template::{Scope, TemplateError};

/// How many hexadecimal digits of a hash make an idempotency key: 128 bits, as a UUID has.
const KEY_DIGITS: usize = 32;

/// How soon an outcome that could not be recorded is tried to be recorded again; short enough for some tries within the
/// grace of a stop.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// How long at most a worker tries at the end of the process to record an outcome: another program may hold the lock for a
/// few seconds, and the action would run again. `stop_timeout` may end it earlier.
const RECORD_AT_STOP: Duration = Duration::from_secs(10);

/// How far a due time may lie beyond the longest backoff before the clock is taken to have been set back: another worker of
/// the same action may look at the clock a little earlier.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// A worker without any job looks so much more seldom than the router, which wakes it when something has changed.
const POLLS_OF_THE_ROUTER: u32 = 12;

/// How soon a record that failed is tried again while the process is to end.
const RECORD_AT_STOP_PAUSE: Duration = Duration::from_millis(100);

/// What was tried, and what follows.
type Finished = Vec<(Attempt, Next)>;

/// What was claimed only, and when it is due again.
type Unclaimed = Vec<(Job, Timestamp)>;

/// A worker thread's all.
pub struct Worker {
    pub action: Action,
    pub runner: Arc<Runner>,
    pub queue: Queue,
    pub counts: Arc<ActionCounts>,
    pub poll_interval: Duration,
    /// What is under way when the process is to end has this long.
    pub grace: Duration,
    /// Rung when this action may have new jobs.
    pub waker: Waker,
    /// To be rung when a job has died, for the action that is to tell of it.
    pub on_dead: Vec<Waker>,
    /// No further job is to be begun: the process ends, or a new configuration has another worker take over.
    pub stop: Stop,
    /// The process is to end.
    pub ending: Stop,
}

impl Worker {
    /// Works until the stop flag is set: what has begun is finished and recorded, what was only claimed is put back.
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

    /// Does what is due. Returns how long there is nothing to do.
    fn work(&mut self) -> store::Result<Duration> {
        let now = clock::now();
        let latest = now.plus(self.action.policy.backoff_max + CLOCK_SLACK);
        match self.queue.next_due(&self.action.name)? {
            Some(due) if due <= now => {}
            Some(_) if self.queue.expedite(&self.action.name, latest)? => {
                warn!("action {}: the clock was set back, so what waits for too long is tried now", self.action.name);
            }
            Some(due) => return Ok(due.distance(now).min(self.poll_interval)),
            None => return Ok(self.poll_interval * POLLS_OF_THE_ROUTER),
        }
        let jobs = self.queue.claim(&self.action.name, self.action.kind.batch(), now)?;
        let (finished, unclaimed) = self.try_all(jobs);
        self.record(&finished, &unclaimed);
        self.queue.checkpoint();
        if finished.iter().any(|(_, next)| matches!(next, Next::Dead { tell: Some(_) })) {
            self.on_dead.iter().for_each(Waker::wake);
        }
        // What was put back is due at once; a database in trouble is not to be asked without end.
        Ok(if unclaimed.is_empty() { Duration::ZERO } else { self.poll_interval })
    }

    /// What has become of claimed jobs: those that were tried, and those to be put back. No error keeps one of them from
    /// being recorded: it would be `running` until the next start, and what was done would be done again.
    fn try_all(&self, jobs: Vec<Job>) -> (Finished, Unclaimed) {
        let (mut finished, mut unclaimed) = (Finished::new(), Unclaimed::new());
        for job in jobs {
            if self.stop.is_set() {
                unclaimed.push((job, IMMEDIATELY));
                continue;
            }
            match self.queue.event(job.event) {
                Ok(Some(event)) => match self.attempt(&job, &event) {
                    Some(attempt) => finished.push(attempt),
                    None => unclaimed.push((job, IMMEDIATELY)),
                },
                // Deleted since; its job with it, unless the other program went past the trigger.
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

    /// Makes one attempt; `None` if the end of the process broke it off.
    fn attempt(&self, job: &Job, event: &Event) -> Option<(Attempt, Next)> {
        let (started_at, started) = (clock::now(), Instant::now());
        let ended = unless_it_panics(|| self.run_action(job, event));
        let ended = ended.unwrap_or_else(|error| Ended::Done(Report::give_up(error.to_string())));
        let Ended::Done(Report { outcome, detail }) = ended else { return None };
        let attempt = Attempt { job: job.clone(), started_at, duration: started.elapsed(), outcome, detail };
        self.count(&attempt, event);
        let next = self.next(&attempt, clock::now());
        self.tell(&attempt, &next);
        Some((attempt, next))
    }

    fn count(&self, attempt: &Attempt, event: &Event) {
        self.counts.of(attempt.outcome).add(1);
        self.counts.attempt.observe_duration(attempt.duration);
        if attempt.outcome == Outcome::Success
            && let Some(received_at) = Timestamp::parse(&event.received_at)
        {
            self.counts.processing.observe_duration(clock::now().distance(received_at));
        }
    }

    /// An error here is one of the configuration or the payload: the job is dead with the reason, never skipped in silence.
    fn run_action(&self, job: &Job, event: &Event) -> Result<Ended, TemplateError> {
        if job.attempts_since_queued > self.action.policy.attempts {
            return Ok(Ended::Done(Report::give_up(
                "no attempt is left: the last did not come to its end, or fewer are configured by now",
            )));
        }
        let idempotency_key = idempotency_key(event, job);
        let death = (!job.dead_action.is_empty()).then(|| self.death(job));
        let mut scope = Scope::of(event).with("attempt", job.attempt).with("idempotency_key", idempotency_key.as_str());
        if let Some(DeadJob { action, error }) = &death {
            scope = scope.with("dead_action", action.as_str()).with("error", error.as_str());
        }
        // The router has asked already, and queued what it could not decide.
        if let Some(when) = self.action.when.as_ref().filter(|_| death.is_none())
            && !when.holds(&scope)?
        {
            return Ok(Ended::Done(Report::not_for_it()));
        }
        Ok(self.runner.run(&Call {
            event,
            scope: &scope,
            attempt: job.attempt,
            idempotency_key: &idempotency_key,
            death: death.as_ref(),
            timeout: self.action.timeout,
            stop: &self.ending,
            grace: self.grace,
        }))
    }

    fn death(&self, job: &Job) -> DeadJob {
        let error = self.queue.last_error(job.event, &job.dead_action).ok().flatten().unwrap_or_default();
        DeadJob { action: job.dead_action.clone(), error }
    }

    /// A failed disk or a damaged page. It is tried for ever: to give the event up would be to write to that page too; and it
    /// is no attempt, because nothing was done.
    fn unreadable(&self, job: Job, error: &store::StorageError) -> (Job, Timestamp) {
        error!("action {}: event {}: {error}", self.action.name, job.event);
        (job, clock::now().plus(self.action.policy.backoff.max(self.poll_interval)))
    }

    fn next(&self, attempt: &Attempt, now: Timestamp) -> Next {
        match retry::next(&self.action.policy, attempt.job.attempts_since_queued, attempt.outcome, random()) {
            retry::Next::Succeeded => Next::Succeeded,
            retry::Next::RetryIn(delay) => Next::Queued(now.plus(delay)),
            retry::Next::Dead => Next::Dead { tell: self.action.on_dead.clone() },
        }
    }

    fn tell(&self, attempt: &Attempt, next: &Next) {
        let (action, event, number) = (&self.action.name, attempt.job.event, attempt.job.attempt);
        match next {
            Next::Succeeded => {}
            Next::Queued(due) => {
                info!("action {action}, event {event}, attempt {number}: {}; again at {due}", attempt.detail)
            }
            Next::Dead { .. } => warn!(
                "action {action}, event {event}, attempt {number}: {}; dead. To queue it again: hookbox replay {event}",
                attempt.detail
            ),
        }
    }

    /// Records what was done and puts back the rest, however long it takes: a success that is not on record would be
    /// done again, and a job that is not put back would wait for the next start. A process that ends does not wait for
    /// ever: it leaves this thread behind.
    fn record(&mut self, finished: &[(Attempt, Next)], unclaimed: &[(Job, Timestamp)]) {
        let mut stopping: Option<Instant> = None;
        while let Err(error) = self.queue.record(finished, unclaimed, clock::now()) {
            error!("action {}: outcomes cannot be recorded yet: {error}", self.action.name);
            if !self.ending.is_set() {
                self.waker.wait(self.poll_interval.min(RECORD_AGAIN));
                continue;
            }
            if stopping.get_or_insert_with(Instant::now).elapsed() > RECORD_AT_STOP {
                warn!("action {}: {} jobs run again at the next start", self.action.name, finished.len());
                return;
            }
            self.waker.wait(RECORD_AT_STOP_PAUSE);
        }
    }
}

/// A defect that one event meets must not end the thread that works for all of them, nor the process with it.
fn unless_it_panics(run: impl FnOnce() -> Result<Ended, TemplateError>) -> Result<Ended, TemplateError> {
    // What an attempt changes is its own, and thrown away with it.
    let ended = catch_unwind(AssertUnwindSafe(run));
    ended.unwrap_or_else(|panic| {
        Ok(Ended::Done(Report::retry(format!("a defect in hookbox: {}", panic_message(&panic)))))
    })
}

fn panic_message(panic: &Box<dyn Any + Send>) -> &str {
    let formatted = panic.downcast_ref::<String>().map(String::as_str);
    formatted.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

/// The same for every attempt at a job, and for every copy of the event that a provider may have caused.
pub fn idempotency_key(event: &Event, job: &Job) -> String {
    let parts = [&event.source, &event.delivery_id, &job.action, &job.dead_action].map(|part| part.as_bytes());
    digest::hex(&digest::sha256(&[&parts.join(&0)]))[..KEY_DIGITS].to_owned()
}

/// Evenly spread from 0 to 1, for the jitter.
fn random() -> f64 {
    f64::from(u32::from_le_bytes(digest::random())) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Outcome;

    #[test]
    fn a_panic_is_an_attempt_that_failed() {
        let Ok(Ended::Done(report)) = unless_it_panics(|| panic!("out of {}", "luck")) else { panic!("no report") };
        assert_eq!(report.outcome, Outcome::Retry { after: None });
        assert_eq!(report.detail, "a defect in hookbox: out of luck");
    }
}
