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
        match self.queue.next_due(&self.action.name)? {
            Some(due) if due <= now => {}
            Some(due) => return Ok(due.distance(now).min(self.poll_interval)),
            None => return Ok(self.poll_interval),
        }
        let jobs = self.queue.claim(&self.action.name, action::batch(&self.action.kind), now)?;
        let (mut finished, mut untouched) = (Vec::new(), Vec::new());
        for job in jobs {
            match self.event_of(&job) {
                Some(event) => finished.push(self.attempt(job, &event)),
                None => untouched.push(job),
            }
        }
        self.record(&finished, &untouched);
        self.queue.checkpoint()?;
        Ok(Duration::ZERO)
    }

    /// The event to work on; `None` if it cannot be read now, or if the process is to end.
    fn event_of(&self, job: &Job) -> Option<Event> {
        if self.stop.is_set() {
            return None;
        }
        let read = self.queue.event(job.event);
        read.inspect_err(|error| error!("action {}: event {}: {error}", self.action.name, job.event)).ok().flatten()
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
        while let Err(error) = self.queue.record(finished, untouched, clock::now()) {
            error!("action {}: outcomes cannot be recorded yet: {error}", self.action.name);
            if self.stop.is_set() {
                return;
            }
            self.bell.wait(self.poll_interval);
        }
    }
}

/// Evenly spread from 0 to 1, for the jitter.
fn random() -> f64 {
    f64::from(u32::from_le_bytes(digest::random())) / f64::from(u32::MAX)
}
