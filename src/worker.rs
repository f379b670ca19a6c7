//! Claim -> run -> record: one thread for each action, so that a dead destination delays no other.

use std::time::{Duration, Instant};

use log::{error, info, warn};

use crate::action::{self, Report};
use crate::clock::{self, Timestamp};
use crate::config::Action;
use crate::digest;
use crate::event::{Attempt, Event, Job, Outcome};
use crate::retry;
use crate::stop::{Bell, Stop};
use crate::store::{self, Next, Queue};

/// How long the end of the process is put off for an outcome that cannot be recorded yet: another program may hold the
/// lock for a few seconds, and the action would run again. Service managers wait for longer.
const RECORD_AT_STOP: Duration = Duration::from_secs(10);

/// How soon a record that failed is tried again while the process is to end.
const RECORD_AT_STOP_PAUSE: Duration = Duration::from_millis(100);

/// A worker thread's all.
pub struct Worker {
    pub action: Action,
    pub queue: Queue,
    pub poll_interval: Duration,
    /// Rung when this action may have new jobs.
    pub bell: Bell,
    pub stop: Stop,
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
                self.bell.wait(pause);
            }
        }
    }

    /// Does what is due. Returns how long there is nothing to do.
    fn work(&mut self) -> store::Result<Duration> {
        let now = clock::now();
        let latest = now.plus(self.action.policy.backoff_max);
        match self.queue.next_due(&self.action.name)? {
            Some(due) if due <= now => {}
            Some(_) if self.queue.expedite(&self.action.name, latest)? => {
                warn!("action {}: the clock was set back, so what waits for too long is tried now", self.action.name);
            }
            Some(due) => return Ok(due.distance(now).min(self.poll_interval)),
            None => return Ok(self.poll_interval),
        }
        let jobs = self.queue.claim(&self.action.name, action::batch(&self.action.kind), now)?;
        let (mut finished, mut untouched) = (Vec::new(), Vec::new());
        for job in jobs {
            if self.stop.is_set() {
                untouched.push(job);
                continue;
            }
            match self.queue.event(job.event) {
                Ok(Some(event)) => finished.push(self.attempt(job, &event)),
                // Deleted since; its job with it.
                Ok(None) => {}
                Err(error) => finished.push(self.unreadable(job, &error)),
            }
        }
        self.record(&finished, &untouched);
        Ok(Duration::ZERO)
    }

    fn attempt(&self, job: Job, event: &Event) -> (Attempt, Next) {
        let (started_at, started) = (clock::now(), Instant::now());
        let report = if job.tries > self.action.policy.attempts {
            Report { outcome: Outcome::GiveUp, detail: "the last attempt did not come to its end".to_owned() }
        } else {
            action::run(&self.action, event)
        };
        let attempt =
            Attempt { job, started_at, duration: started.elapsed(), outcome: report.outcome, detail: report.detail };
        let next = self.next(&attempt, clock::now());
        self.tell(&attempt, next);
        (attempt, next)
    }

    /// A failed disk or a damaged page. It is tried for ever: to give the event up would be to write to that page too.
    fn unreadable(&self, job: Job, error: &store::Error) -> (Attempt, Next) {
        let (started_at, outcome) = (clock::now(), Outcome::Retry { after: None });
        let attempt = Attempt { job, started_at, duration: Duration::ZERO, outcome, detail: error.to_string() };
        let next = Next::Queued(started_at.plus(self.action.policy.backoff));
        self.tell(&attempt, next);
        (attempt, next)
    }

    fn next(&self, attempt: &Attempt, now: Timestamp) -> Next {
        match retry::next(&self.action.policy, attempt.job.tries, attempt.outcome, random()) {
            retry::Next::Succeeded => Next::Succeeded,
            retry::Next::RetryIn(delay) => Next::Queued(now.plus(delay)),
            retry::Next::Dead => Next::Dead,
        }
    }

    fn tell(&self, attempt: &Attempt, next: Next) {
        let (action, event, number) = (&self.action.name, attempt.job.event, attempt.job.attempt);
        match next {
            Next::Succeeded => {}
            Next::Queued(due) => {
                info!("action {action}, event {event}, attempt {number}: {}; again at {due}", attempt.detail)
            }
            Next::Dead => warn!(
                "action {action}, event {event}, attempt {number}: {}; dead. To queue it again: hookbox replay {event}",
                attempt.detail
            ),
        }
    }

    /// Records what was done and puts back the rest, however long it takes: a success that is not on record would be
    /// done again, and a job that is not put back would wait for the next start.
    fn record(&mut self, finished: &[(Attempt, Next)], untouched: &[Job]) {
        let mut stopping: Option<Instant> = None;
        while let Err(error) = self.queue.record(finished, untouched, clock::now()) {
            error!("action {}: outcomes cannot be recorded yet: {error}", self.action.name);
            if !self.stop.is_set() {
                self.bell.wait(self.poll_interval);
                continue;
            }
            if stopping.get_or_insert_with(Instant::now).elapsed() > RECORD_AT_STOP {
                warn!("action {}: {} jobs run again at the next start", self.action.name, finished.len());
                return;
            }
            self.bell.wait(RECORD_AT_STOP_PAUSE);
        }
    }
}

/// Evenly spread from 0 to 1, for the jitter.
fn random() -> f64 {
    f64::from(u32::from_le_bytes(digest::random())) / f64::from(u32::MAX)
}
