//! Gets back what was missed, on a thread of its own: a provider that is slow delays nothing else.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::error::{Error, Result};
use super::thread::{Message, Thread, in_background};
use crate::config::{Config, Recover, Source};
use crate::current::Current;
use crate::recover::{Asked, Comparison, Limits, Recoverer, Trouble};
use crate::secret::{Env, Secret};
use crate::stop::{Stop, Waker};
use crate::store::{Database, Recoveries};

/// After the start of the machine a proxy or a tunnel may need a moment, without which what is sent again is lost again.
const AFTER_START: Duration = Duration::from_secs(5);

/// How often it is looked up whether what was asked for has arrived. That asks the database alone.
const ARRIVAL_INTERVAL: Duration = Duration::from_secs(5);

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
            let limits =
                Limits { kept: config.retention.shortest_of_events(), reserve_bytes: config.disk_reserve_bytes };
            targets.push(Target { source: source.clone(), recover: recover.clone(), token, limits });
        }
    }
    Ok(targets)
}

/// The thread from outside, which runs once there is a source that recovers.
pub(super) struct Handle {
    targets: Current<Vec<Target>>,
    thread: Option<Thread>,
}

impl Handle {
    pub(super) fn start(targets: Vec<Target>, database: &Database, messages: &Sender<Message>) -> Result<Handle> {
        let mut handle = Handle { targets: Current::new(Vec::new()), thread: None };
        handle.replace(targets, database, messages)?;
        Ok(handle)
    }

    /// Takes over a new configuration.
    pub(super) fn replace(
        &mut self,
        targets: Vec<Target>,
        database: &Database,
        messages: &Sender<Message>,
    ) -> Result<()> {
        let is_needed = !targets.is_empty();
        self.targets.replace(targets);
        match &self.thread {
            Some(thread) => thread.wake(),
            None if is_needed => self.thread = Some(start(database, self.targets.clone(), messages)?),
            None => {}
        }
        Ok(())
    }

    pub(super) fn request_stop(&self) {
        self.thread.iter().for_each(Thread::request_stop);
    }
}

fn start(database: &Database, targets: Current<Vec<Target>>, messages: &Sender<Message>) -> Result<Thread> {
    let (stop, waker) = (Stop::default(), Waker::default());
    let recovery = Recovery {
        store: database.recoveries()?,
        targets,
        stop: stop.clone(),
        waker: waker.clone(),
        states: BTreeMap::new(),
        started: Instant::now(),
    };
    Thread::spawn("recovery", &stop, move || waker.wake(), messages, in_background(|| recovery.run()))
}

struct Recovery {
    store: Recoveries,
    targets: Current<Vec<Target>>,
    stop: Stop,
    waker: Waker,
    states: BTreeMap<String, State>,
    started: Instant,
}

/// How far a source has come.
#[derive(Default)]
struct State {
    last_run: Option<Instant>,
    /// The last comparison that found a changed list.
    last: Option<Comparison>,
    /// Reported, and not yet over.
    trouble: Option<String>,
    /// Something was asked for and has not arrived.
    is_waiting: bool,
}

impl Recovery {
    fn run(mut self) {
        while !self.stop.is_set() {
            let targets = self.targets.get();
            let mut next = None;
            for target in targets.iter() {
                let state = self.states.entry(target.source.name.clone()).or_default();
                let until = until_due(target, state, self.started);
                if until.is_zero() {
                    state.last_run = Some(Instant::now());
                    round(target, state, &self.store, &self.stop, &self.waker);
                } else if state.is_waiting {
                    report_arrived(target, state, &self.store);
                }
                let until = until_due(target, state, self.started);
                let until = if state.is_waiting { until.min(ARRIVAL_INTERVAL) } else { until };
                next = Some(next.map_or(until, |next: Duration| next.min(until)));
            }
            if !self.stop.is_set() {
                self.waker.wait(next.unwrap_or(Duration::MAX));
            }
        }
    }
}

fn until_due(target: &Target, state: &State, started: Instant) -> Duration {
    match state.last_run {
        None => AFTER_START.saturating_sub(started.elapsed()),
        Some(last) => target.recover.every.unwrap_or(Duration::MAX).saturating_sub(last.elapsed()),
    }
}

/// Compares one source, and asks for what is missing. A trouble is reported when it begins and when it is over.
fn round(target: &Target, state: &mut State, store: &Recoveries, stop: &Stop, waker: &Waker) {
    let name = &target.source.name;
    match try_round(target, state, store, stop, waker) {
        Ok(()) if state.trouble.take().is_some() => info!("{name}: recovering works again"),
        Ok(()) | Err(Trouble::Stopped) => {}
        Err(trouble) => {
            let text = trouble.to_string();
            if state.trouble.as_ref() != Some(&text) {
                let title = target.recover.recovery.title;
                warn!("{name}: what was missed cannot be had back from {title} now: {text}");
            }
            state.trouble = Some(text);
        }
    }
}

fn try_round(
    target: &Target,
    state: &mut State,
    store: &Recoveries,
    stop: &Stop,
    waker: &Waker,
) -> std::result::Result<(), Trouble> {
    let Target { source, recover, token, limits } = target;
    let sleep = |duration| sleep(stop, waker, duration);
    let recoverer = Recoverer::new(source, recover, token, *limits, store, &sleep)?;
    let mut comparison = recoverer.compare(None, state.last.as_ref())?;
    recoverer.record(&comparison)?;
    if !comparison.missed.is_empty() {
        info!("{}: {} lists {} that were not stored", source.name, recover.recovery.title, comparison.missed.len());
    }
    let sent = std::mem::take(&mut comparison.sent);
    if comparison.compared_to.is_some() {
        state.last = Some(Comparison { missed: Vec::new(), ..comparison });
    }
    report_arrived(target, state, store);
    let (name, title) = (&source.name, recover.recovery.title);
    let Asked { asked, taken, waiting, .. } = recoverer.get_back(sent)?;
    state.is_waiting = asked + waiting > 0;
    if asked > 0 {
        info!("{name}: {title} is asked to send {asked} again");
    }
    if taken > 0 {
        info!("{name}: {taken} that were missed are taken from {title}'s API");
    }
    Ok(())
}

fn report_arrived(target: &Target, state: &mut State, store: &Recoveries) {
    let name = &target.source.name;
    let arrived = store.settle(name).and_then(|arrived| Ok((arrived, store.missing(name)?.len())));
    match arrived {
        Ok((0, missing)) => state.is_waiting = missing > 0,
        Ok((arrived, missing)) => {
            state.is_waiting = missing > 0;
            info!("{name}: {arrived} that were missed have arrived; {missing} are missing");
        }
        Err(error) => warn!("{name}: {error}"),
    }
}

/// True if the process stops meanwhile. A wake-up for other reasons does not end it.
fn sleep(stop: &Stop, waker: &Waker, duration: Duration) -> bool {
    let until = Instant::now() + duration;
    while !stop.is_set() && Instant::now() < until {
        waker.wait(until.saturating_duration_since(Instant::now()));
    }
    stop.is_set()
}
