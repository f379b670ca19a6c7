//! Reports what recovering finds, in the log and as news: each trouble once, until it is over, also across a restart.

use std::time::Duration;

use log::{Level, info, warn};
use serde_json::json;

use super::Target;
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::current::Current;
use crate::log::rate_limited;
use crate::news::{Kind, News};
use crate::recover::RecoverError;
use crate::stop::Waker;
use crate::store::{self, Disk, LastRan, Missed, Trouble, TroubleKind};
use crate::units::duration_text;

/// An outage of the provider only delays. One that lasts for longer is news.
const LONG_OUTAGE: Duration = Duration::from_secs(60 * 60);

/// For how long a time off line that cost deliveries is shown.
const OFFLINE_SHOWN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(super) struct Reporter {
    store: store::Observer,
    config: Current<Config>,
    /// Woken when there is news.
    router: Waker,
}

impl Reporter {
    pub(super) fn new(store: store::Observer, config: Current<Config>, router: Waker) -> Reporter {
        Reporter { store, config, router }
    }

    /// Events were stored that have no jobs yet.
    pub(super) fn wake_router(&self) {
        self.router.wake();
    }

    /// Whether deliveries would be refused.
    pub(super) fn is_disk_full(&self) -> bool {
        Disk::is_full_at(self.store.path(), self.config.get().disk_reserve_bytes)
    }

    /// Recovering a source works.
    pub(super) fn works(&self, target: &Target) {
        let name = &target.source.name;
        let ended = self.end(TroubleKind::Recovery, name);
        if self.checked(ended).unwrap_or(false) {
            info!("{name}: recovering works again");
        }
    }

    /// Recovering a source does not work.
    pub(super) fn failed(&self, target: &Target, cause: &RecoverError) {
        let (name, title) = (&target.source.name, target.recover.recovery.title);
        let (now, error) = (clock::now(), cause.to_string());
        let Some(known) = self.checked(self.known(TroubleKind::Recovery, name)) else { return };
        let is_outage = matches!(cause, RecoverError::Outage(_));
        let is_reported = known.as_ref().is_some_and(|known| is_outage || known.error.as_ref() == Some(&error));
        let since = known.as_ref().map_or(now, |known| known.since);
        let was_told = known.and_then(|known| known.told);
        let is_news = was_told.is_none() && (!is_outage || since.distance(now) >= LONG_OUTAGE);
        if is_reported && !is_news {
            return;
        }
        let payload = json!({ "source": name, "provider": title, "since": since.to_string(), "error": error });
        let news = is_news.then(|| news(Kind::RecoverFailed, name, since, payload));
        let told = was_told.or(is_news.then_some(now));
        let trouble = Trouble { name: name.clone(), since, told, failures: 0, error: Some(error.clone()) };
        self.write(TroubleKind::Recovery, &trouble, news, now);
        if !is_reported {
            warn!("{name}: what was missed cannot be recovered from {title} now: {error}");
        }
    }

    /// What is missing now: the oldest first.
    pub(super) fn missing(&self, target: &Target, missing: &[Missed]) {
        let (name, now) = (&target.source.name, clock::now());
        let Some(known) = self.checked(self.known(TroubleKind::Missing, name)) else { return };
        match (known, missing) {
            (Some(_), []) => {
                let ended = self.end(TroubleKind::Missing, name);
                self.checked(ended);
            }
            (None, [oldest, ..]) => {
                let newest = missing.last().unwrap_or(oldest);
                let payload = json!({
                    "source": name,
                    "provider": target.recover.recovery.title,
                    "count": missing.len(),
                    "oldest": oldest.at.to_string(),
                    "newest": newest.at.to_string(),
                });
                let news = news(Kind::RecoverMissing, name, now, payload);
                let trouble = Trouble { name: name.clone(), since: now, told: Some(now), failures: 0, error: None };
                self.write(TroubleKind::Missing, &trouble, Some(news), now);
            }
            _ => {}
        }
    }

    /// At the start: whether nothing has run for longer than the provider lists its deliveries.
    pub(super) fn offline(&self, target: &Target, last: Option<LastRan>) {
        let (name, recovery, now) = (&target.source.name, target.recover.recovery, clock::now());
        let Some(known) = self.checked(self.known(TroubleKind::Offline, name)) else { return };
        if known.and_then(|known| known.told).is_some_and(|told| told.distance(now) > OFFLINE_SHOWN) {
            let ended = self.end(TroubleKind::Offline, name);
            self.checked(ended);
        }
        let listed = now.minus(recovery.window);
        let Some(LastRan { at: ran, is_stop }) = last.filter(|last| last.at < listed) else { return };
        let (title, kept) = (recovery.title, duration_text(recovery.window));
        let (from, is) = if is_stop { ("from", "is") } else { ("at the earliest from", "may be") };
        let error = format!(
            "off line {from} {ran} to {now}; {title} keeps deliveries for {kept}: what came before {listed} {is} lost"
        );
        let trouble =
            Trouble { name: name.clone(), since: ran, told: Some(now), failures: 0, error: Some(error.clone()) };
        self.write(TroubleKind::Offline, &trouble, None, now);
        warn!("{name}: {error}");
    }

    fn known(&self, kind: TroubleKind, name: &str) -> store::Result<Option<Trouble>> {
        Ok(self.store.troubles(kind)?.into_iter().find(|trouble| trouble.name == name))
    }

    /// Ends a trouble, without a write if there is none.
    fn end(&self, kind: TroubleKind, name: &str) -> store::Result<bool> {
        Ok(self.known(kind, name)?.is_some() && self.store.end(kind, name)?)
    }

    fn write(&self, kind: TroubleKind, trouble: &Trouble, news: Option<News>, now: Timestamp) {
        let news = news.filter(|news| self.config.get().wanted_news().has(news.kind));
        let is_news = news.is_some();
        let written = self.store.write(kind, trouble, news, now);
        if self.checked(written).is_some() && is_news {
            self.router.wake();
        }
    }

    fn checked<T>(&self, result: store::Result<T>) -> Option<T> {
        let log = |error| rate_limited(Level::Warn, "", "recovery", format_args!("news cannot be stored yet: {error}"));
        result.map_err(log).ok()
    }
}

fn news(kind: Kind, source: &str, since: Timestamp, payload: serde_json::Value) -> News {
    News { kind, key: format!("{source}/{}", since.unix_ms()), payload }
}
