//! What is done now and then: old events are forgotten, and a disk that fills up is told of in time.

use std::time::{Duration, Instant};

use log::{info, warn};

use crate::clock::{self, ClockStepDetector, Timestamp};
use crate::config::Retention;
use crate::current::Current;
use crate::event::Status;
use crate::stop::{Stop, Waker};
use crate::store::{self, Cursor, Disk, Expired, Pruner, Rule};

/// How often to look. It also puts the first look off until a machine without a clock battery has asked for the time.
const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);

/// The least between two looks, for events that are kept for seconds only.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Nobody minds if something is kept for a tenth longer than asked for.
const LOOKS_AN_AGE: u32 = 10;

/// The pause after each batch leaves the disk to the others for most of the time.
const PAUSE: Duration = Duration::from_millis(50);

/// The pause while events are processed. There is always an end to it: a machine that is never idle fills its disk too.
const PAUSE_WHILE_BUSY: Duration = Duration::from_secs(1);

/// What a configuration says about housekeeping.
#[derive(Debug)]
pub struct Policy {
    pub retention: Retention,
    pub disk_reserve_bytes: u64,
}

/// The housekeeping thread's all.
pub struct Housekeeper {
    pruner: Pruner,
    policy: Current<Policy>,
    waker: Waker,
    stop: Stop,
    began: Instant,
    clock_steps: ClockStepDetector,
    was_clock_trusted: bool,
    is_disk_low: bool,
}

impl Housekeeper {
    /// To end it, set `stop` and ring `waker`.
    pub fn new(pruner: Pruner, policy: Current<Policy>, waker: Waker, stop: Stop) -> Housekeeper {
        Housekeeper {
            pruner,
            policy,
            waker,
            stop,
            began: Instant::now(),
            clock_steps: ClockStepDetector::default(),
            was_clock_trusted: true,
            is_disk_low: false,
        }
    }

    /// Looks after things until it is stopped.
    pub fn run(mut self) {
        self.is_clock_trusted(clock::now());
        self.watch_disk();
        loop {
            self.waker.wait(pause(&self.policy.get().retention));
            if self.stop.is_set() {
                return;
            }
            self.watch_disk();
            self.forget_what_is_old();
        }
    }

    fn forget_what_is_old(&mut self) {
        let now = clock::now();
        let rules = rules(&self.policy.get().retention, now);
        let is_trusted = self.is_clock_trusted(now);
        if !is_trusted && self.was_clock_trusted && !rules.is_empty() {
            warn!("the clock was set, or is not set: nothing is pruned until it has been right for an hour");
        }
        self.was_clock_trusted = is_trusted;
        if !is_trusted || rules.is_empty() {
            return;
        }
        match self.forget(&rules) {
            Ok(0) => {}
            Ok(forgotten) => info!("pruned {forgotten} events"),
            Err(error) => warn!("old events cannot be pruned yet: {error}"),
        }
        self.pruner.shrink();
    }

    /// Returns how many events were forgotten.
    fn forget(&self, rules: &[Rule]) -> store::Result<usize> {
        let mut forgotten = 0;
        for rule in rules {
            let count = self.forget_by(*rule)?;
            forgotten += if rule.what == Expired::Duplicates { 0 } else { count };
        }
        Ok(forgotten)
    }

    fn forget_by(&self, rule: Rule) -> store::Result<usize> {
        let pruner = &self.pruner;
        let mut search = Cursor::new(rule);
        let mut forgotten = 0;
        loop {
            let batch = pruner.find(&mut search)?;
            if batch.events.is_empty() || self.stop.is_set() {
                return Ok(forgotten);
            }
            forgotten += pruner.delete(&search, &batch)?;
            pruner.checkpoint();
            self.waker.wait(if pruner.is_busy()? { PAUSE_WHILE_BUSY } else { PAUSE });
        }
    }

    fn is_clock_trusted(&mut self, now: Timestamp) -> bool {
        self.clock_steps.is_trusted(self.began.elapsed(), now)
    }

    /// Says once when the disk fills up, and again when it has been emptied and fills up again.
    fn watch_disk(&mut self) {
        let Some(disk) = Disk::of(self.pruner.path()) else { return };
        let is_low = disk.is_nearly_full(self.policy.get().disk_reserve_bytes);
        if is_low && !self.is_disk_low {
            warn!(
                "the disk that holds the database is nearly full, with {} MiB free: make room, or let [retention] do so",
                disk.free_bytes >> 20
            );
        }
        self.is_disk_low = is_low;
    }
}

/// How long until the next look.
fn pause(retention: &Retention) -> Duration {
    retention.shortest().map_or(LOOK_EVERY, |age| (age / LOOKS_AN_AGE).clamp(LOOK_AT_MOST_EVERY, LOOK_EVERY))
}

/// What is to be forgotten at that moment.
pub fn rules(retention: &Retention, now: Timestamp) -> Vec<Rule> {
    let ages = [
        (Expired::Events(Status::Processed), retention.processed),
        (Expired::Events(Status::Error), retention.error),
        (Expired::Duplicates, retention.duplicates),
    ];
    let rule = |(what, age): (Expired, Option<Duration>)| Some(Rule { what, before: now.minus(age?), now });
    ages.into_iter().filter_map(rule).collect()
}
