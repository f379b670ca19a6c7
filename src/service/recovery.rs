//! Gets back what was missed, on a thread of its own for each source: a provider that is slow delays nothing else.

mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::Shared;
use super::error::{Error, Result};
use super::thread::{Thread, in_background};
use crate::clock;
use crate::config::{Config, Recover, Source};
use crate::current::Current;
use crate::metrics::{Metrics, RejectReason};
use crate::recover::{Asked, Comparison, Limits, RecoverError, Recoverer};
use crate::secret::{Env, Secret};
use crate::stop::{Stop, Waker};
use crate::store::{Database, Recoveries};
use report::Reporter;

/// After the start of the machine a proxy or a tunnel may need a moment, without which what is sent again is lost again.
const AFTER_START: Duration = Duration::from_secs(5);

/// How often it is looked up whether what was asked for has arrived. That asks the database alone.
const ARRIVAL_INTERVAL: Duration = Duration::from_secs(5);

/// A time in which deliveries are answered 503 is over when none was for so long.
const AFTER_REFUSALS: Duration = Duration::from_secs(30);

/// The hook itself is looked at when it was off, and otherwise this seldom: that costs a request.
const HOOK_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// A source whose deliveries are compared.
pub(super) struct Target {
    source: Source,
    recover: Recover,
    token: Secret,
    limits: Limits,
}

/// The sources of a configuration that recover by themselves.
pub(super) fn targets(config: &Config, env: &Env<'_>) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for source in config.sources.values() {
        let Some(recover) = &source.recover else { continue };
        let token = source.fetch_recover_token(recover, env).map_err(Error::refused)?;
        if recover.every.is_some() {
            targets.push(Target {
                source: source.clone(),
                recover: recover.clone(),
                token,
                limits: Limits::of(config),
            });
        }
    }
    Ok(targets)
}

/// The threads from outside, one for each source that recovers or has done so: what one waits for delays no other.
pub(super) struct Handle {
    sources: BTreeMap<String, SourceThread>,
}

struct SourceThread {
    /// `None` where the source does not recover any more.
    target: Current<Option<Target>>,
    thread: Thread,
}

impl Handle {
    pub(super) fn start(targets: Vec<Target>, shared: &Shared) -> Result<Handle> {
        let mut handle = Handle { sources: BTreeMap::new() };
        handle.replace(targets, shared)?;
        Ok(handle)
    }

    /// Takes over a new configuration.
    pub(super) fn replace(&mut self, targets: Vec<Target>, shared: &Shared) -> Result<()> {
        let mut targets: BTreeMap<String, Target> =
            targets.into_iter().map(|target| (target.source.name.clone(), target)).collect();
        for (name, source) in &self.sources {
            source.target.replace(targets.remove(name));
            source.thread.wake();
        }
        for (name, target) in targets {
            self.sources.insert(name, start(target, shared)?);
        }
        Ok(())
    }

    /// They are not waited for, because a request may take seconds.
    pub(super) fn request_stop(&self, database: &Database) {
        if self.sources.is_empty() {
            return;
        }
        self.sources.values().for_each(|source| source.thread.request_stop());
        if let Err(error) = record_stop(database) {
            warn!("how long hookbox has run is not recorded: {error}");
        }
    }
}

fn record_stop(database: &Database) -> Result<()> {
    Ok(database.recoveries()?.record_stop(clock::now())?)
}

fn start(target: Target, shared: &Shared) -> Result<SourceThread> {
    let (stop, waker) = (Stop::default(), Waker::default());
    let observer = shared.database.observer()?;
    let recovery = Recovery {
        store: shared.database.recoveries()?,
        reporter: Reporter::new(observer, shared.config.clone(), shared.router_waker.clone()),
        metrics: Arc::clone(&shared.metrics),
        stop: stop.clone(),
        waker: waker.clone(),
        started: Instant::now(),
    };
    let target = Current::new(Some(target));
    let of_thread = target.clone();
    let body = in_background(move || recovery.run(&of_thread));
    let thread = Thread::spawn("recovery", &stop, move || waker.wake(), &shared.messages, body)?;
    Ok(SourceThread { target, thread })
}

struct Recovery {
    store: Recoveries,
    reporter: Reporter,
    metrics: Arc<Metrics>,
    stop: Stop,
    waker: Waker,
    started: Instant,
}

/// How far a source has come.
#[derive(Default)]
struct State {
    last_run: Option<Instant>,
    /// The last comparison that found a changed list.
    last: Option<Comparison>,
    /// When the hook was last found switched on.
    hook_checked: Option<Instant>,
    /// Something was asked for and has not arrived.
    is_waiting: bool,
    /// The deliveries that were answered 503 so far.
    refused: u64,
    /// When the last of them was seen, since the last run.
    refused_at: Option<Instant>,
}

impl Recovery {
    fn run(self, target: &Current<Option<Target>>) {
        let mut state = State::default();
        while !self.stop.is_set() {
            let next = target.get().as_ref().as_ref().map_or(Duration::MAX, |target| self.attend(target, &mut state));
            if !self.stop.is_set() {
                self.waker.wait(next);
            }
        }
    }

    /// Does what is due for a source. Returns when to look again.
    fn attend(&self, target: &Target, state: &mut State) -> Duration {
        self.count_refusals(target, state);
        if self.until_due(target, state).is_zero() {
            // What came back now would be refused again.
            if self.reporter.is_disk_full() {
                return AFTER_REFUSALS;
            }
            if state.last_run.is_none() {
                self.report_offline(target);
            }
            (state.last_run, state.refused_at) = (Some(Instant::now()), None);
            self.round(target, state);
        } else if state.is_waiting {
            self.report_arrived(target, state);
        }
        let longest = if state.is_waiting { ARRIVAL_INTERVAL } else { AFTER_REFUSALS };
        self.until_due(target, state).min(longest)
    }

    fn until_due(&self, target: &Target, state: &State) -> Duration {
        let Some(last) = state.last_run else { return AFTER_START.saturating_sub(self.started.elapsed()) };
        let until = target.recover.every.unwrap_or(Duration::MAX).saturating_sub(last.elapsed());
        state.refused_at.map_or(until, |at| until.min(AFTER_REFUSALS.saturating_sub(at.elapsed())))
    }

    /// By the receiver and by the gate, for this source.
    fn count_refusals(&self, target: &Target, state: &mut State) {
        let counts = self.metrics.source(&target.source.name);
        let refused = counts.refused.get() + counts.rejects.of(RejectReason::TooBusy).get();
        if refused > state.refused {
            state.refused = refused;
            state.refused_at = Some(Instant::now());
        }
    }

    fn report_offline(&self, target: &Target) {
        match self.store.last_ran(&target.source.name) {
            Ok(ran) => self.reporter.offline(target, ran),
            Err(error) => warn!("{}: {error}", target.source.name),
        }
    }

    /// Compares one source, and gets back what is missing.
    fn round(&self, target: &Target, state: &mut State) {
        match self.try_round(target, state) {
            Ok(()) => self.reporter.works(target),
            Err(RecoverError::Stopped) => {}
            Err(error) => self.reporter.failed(target, &error),
        }
    }

    fn try_round(&self, target: &Target, state: &mut State) -> std::result::Result<(), RecoverError> {
        let Target { source, recover, token, limits } = target;
        let (name, title) = (&source.name, recover.recovery.title);
        let sleep = |duration| self.sleep(duration);
        let recoverer = Recoverer::new(source, recover, token, *limits, &self.store, &sleep)?;
        let mut comparison = recoverer.compare(None, state.last.as_ref())?;
        recoverer.record(&comparison)?;
        if !comparison.missed.is_empty() {
            info!("{name}: {title} lists {} that were not stored", comparison.missed.len());
        }
        let sent = std::mem::take(&mut comparison.sent);
        if comparison.compared_to.is_some() {
            state.last = Some(Comparison { missed: Vec::new(), ..comparison });
        }
        self.report_arrived(target, state);
        let Asked { asked, taken, .. } = recoverer.get_back(sent)?;
        if asked > 0 {
            info!("{name}: {title} is asked to send {asked} again");
        }
        if taken > 0 {
            self.reporter.wake_router();
            info!("{name}: {taken} that were missed are taken from {title}'s API");
        }
        self.report_arrived(target, state);
        if state.hook_checked.is_none_or(|at| at.elapsed() >= HOOK_INTERVAL) {
            state.hook_checked = None;
            recoverer.check_hook()?;
            state.hook_checked = Some(Instant::now());
        }
        Ok(())
    }

    fn report_arrived(&self, target: &Target, state: &mut State) {
        let name = &target.source.name;
        let arrived = self.store.settle(name).and_then(|arrived| Ok((arrived, self.store.missing(name)?)));
        match arrived {
            Ok((arrived, missing)) => {
                state.is_waiting = !missing.is_empty();
                self.reporter.missing(target, &missing);
                if arrived > 0 {
                    info!("{name}: {arrived} that were missed have arrived; {} are missing", missing.len());
                }
            }
            Err(error) => warn!("{name}: {error}"),
        }
    }

    /// True if the process stops meanwhile. A wake-up for other reasons does not end it.
    fn sleep(&self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        while !self.stop.is_set() && Instant::now() < until {
            self.waker.wait(until.saturating_duration_since(Instant::now()));
        }
        self.stop.is_set()
    }
}
