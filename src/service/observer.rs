//! Observes what no delivery and no attempt shows, and makes it news: a source that rejects or is silent, a disk that fills
//! up, an action that has failed for long. Each is reported once, until it is over, also across a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use log::{Level, info, warn};
use serde_json::json;

use crate::clock::Timestamp;
use crate::config::{Config, Source};
use crate::current::Current;
use crate::log::rate_limited;
use crate::metrics::{Metrics, Reject, RejectReason};
use crate::news::{Kind, News, Wanted};
use crate::stop::Waker;
use crate::store::{self, Disk, Trouble, TroubleKind};
use crate::units::duration_text;

/// Soon enough for a person, and rare enough for an idle machine.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// Anyone can send wrong signatures.
const MIN_BETWEEN_REJECTING: Duration = Duration::from_secs(60 * 60);

/// Room on the disk is low until there is this much more, in percent: near the limit it would be news again and again.
const DISK_RECOVERED_PERCENT: u64 = 120;

pub(super) struct Observer {
    store: store::Observer,
    config: Current<Config>,
    metrics: Arc<Metrics>,
    /// Woken when there is news.
    router: Waker,
    /// The wrong signatures of each source that have been seen.
    seen_wrong: BTreeMap<String, u64>,
    is_disk_low: bool,
}

impl Observer {
    pub(super) fn new(
        store: store::Observer,
        config: Current<Config>,
        metrics: Arc<Metrics>,
        router: Waker,
    ) -> Observer {
        Observer { store, config, metrics, router, seen_wrong: BTreeMap::new(), is_disk_low: false }
    }

    /// A clock that is not trusted says nothing about how long a source has been silent.
    pub(super) fn observe(&mut self, is_clock_trusted: bool, now: Timestamp) {
        let config = self.config.get();
        let wanted = config.wanted_news();
        let observed = self
            .observe_actions(&config, wanted, now)
            .and_then(|()| self.observe_rejects(&config, wanted, now))
            .and_then(|()| if is_clock_trusted { self.observe_silence(&config, wanted, now) } else { Ok(()) });
        if let Err(error) = observed {
            rate_limited(Level::Warn, "", "observer", format_args!("news cannot be stored yet: {error}"));
        }
        self.observe_disk(now);
    }

    fn observe_actions(&self, config: &Config, wanted: Wanted, now: Timestamp) -> store::Result<()> {
        for trouble in self.store.troubles(TroubleKind::Action)? {
            if !config.actions.contains_key(&trouble.name) {
                self.store.end(TroubleKind::Action, &trouble.name)?;
            }
        }
        if self.store.tell_due(wanted, now)? {
            self.router.wake();
        }
        Ok(())
    }

    /// A signature that is missing is anyone's, and one that is wrong may be that of a changed secret.
    fn observe_rejects(&mut self, config: &Config, wanted: Wanted, now: Timestamp) -> store::Result<()> {
        let mut told: BTreeMap<String, Trouble> = self.troubles(TroubleKind::Rejecting)?;
        for name in config.sources.keys() {
            let over = |trouble: &Trouble| {
                trouble.since.distance(now) >= MIN_BETWEEN_REJECTING
                    && self.last_received(name).is_ok_and(|last| last > Some(trouble.since))
            };
            if told.get(name).is_some_and(over) && self.store.end(TroubleKind::Rejecting, name)? {
                told.remove(name);
            }
            let count = self.metrics.source(name).rejects.of(RejectReason::SignatureWrong).get();
            let is_new = self.seen_wrong.insert(name.clone(), count).unwrap_or_default() < count;
            if is_new && !told.contains_key(name) && wanted.has(Kind::SourceRejecting) {
                self.write(TroubleKind::Rejecting, name, now, Some(self.rejecting(name, now)), now)?;
            }
        }
        Ok(())
    }

    fn rejecting(&self, source: &str, now: Timestamp) -> News {
        let is_it = |reject: &&Reject| {
            reject.source.as_deref() == Some(source) && reject.reason == RejectReason::SignatureWrong
        };
        let latest = self.metrics.rejects.latest();
        let reject = latest.iter().find(is_it);
        let payload = json!({
            "source": source,
            "error": reject.map(|reject| &reject.text),
            "from": reject.map(|reject| &reject.peer),
            "count": reject.map(|reject| reject.count),
            "since": reject.map(|reject| &reject.first_at),
        });
        News { kind: Kind::SourceRejecting, key: format!("{source}/{}", now.unix_ms()), payload }
    }

    fn observe_silence(&self, config: &Config, wanted: Wanted, now: Timestamp) -> store::Result<()> {
        let silent = self.troubles(TroubleKind::Silent)?;
        let is_expected = |name: &String| config.sources.get(name).is_some_and(|it| it.expect_every.is_some());
        for name in silent.keys().filter(|name| !is_expected(name)) {
            self.store.end(TroubleKind::Silent, name)?;
        }
        for source in config.sources.values() {
            if let Some(every) = source.expect_every {
                self.observe_source(source, every, silent.get(&source.name), wanted, now)?;
            }
        }
        Ok(())
    }

    /// `known` is its silence, or since when it is awaited for the first time.
    fn observe_source(
        &self,
        source: &Source,
        every: Duration,
        known: Option<&Trouble>,
        wanted: Wanted,
        now: Timestamp,
    ) -> store::Result<()> {
        let name = &source.name;
        let last = self.last_received(name)?;
        if let Some(trouble) = known.filter(|trouble| last > Some(trouble.since)) {
            self.store.end(TroubleKind::Silent, name)?;
            if trouble.told.is_some() {
                info!("source {name} receives again: it had received nothing since {}", trouble.since);
            }
        } else if known.is_some_and(|trouble| trouble.told.is_some()) {
            return Ok(());
        }
        let Some(since) = last.or(known.map(|trouble| trouble.since)) else {
            let awaited = Trouble { name: name.clone(), since: now, told: None, failures: 0, error: None };
            return self.store.write(TroubleKind::Silent, &awaited, None, now);
        };
        if now <= since || since.distance(now) <= every {
            return Ok(());
        }
        let every = duration_text(every);
        warn!("source {name} has received nothing since {since}, and should every {every} (expect_every)");
        let payload = json!({
            "source": name,
            "since": since.to_string(),
            "expect_every": every,
            "last_received": last.map(|at| at.to_string()),
        });
        let news = News { kind: Kind::SourceSilent, key: format!("{name}/{}", since.unix_ms()), payload };
        let news = Some(news).filter(|_| wanted.has(Kind::SourceSilent));
        self.write(TroubleKind::Silent, name, since, news, now)
    }

    /// Warns once when the disk fills up, and again when it has been emptied and fills up again.
    pub(super) fn observe_disk(&mut self, now: Timestamp) {
        let config = self.config.get();
        let (path, reserve_bytes) = (self.store.path(), config.disk_reserve_bytes);
        let Some(disk) = Disk::of(path) else { return };
        let is_low = disk.is_nearly_full(reserve_bytes);
        if is_low && !self.is_disk_low {
            warn!(
                "the disk that holds the database is nearly full, with {} MiB free: make room, or let [retention] do so",
                disk.free_bytes >> 20
            );
        }
        let is_over = !disk.is_nearly_full(reserve_bytes / 100 * DISK_RECOVERED_PERCENT);
        let payload = json!({
            "path": path.display().to_string(),
            "free_bytes": disk.free_bytes,
            "reserve_bytes": reserve_bytes,
        });
        let news = News { kind: Kind::DiskLow, key: now.unix_ms().to_string(), payload };
        let is_wanted = config.wanted_news().has(Kind::DiskLow);
        if let Err(error) = self.tell_disk(is_low && is_wanted, is_over, news, now) {
            rate_limited(Level::Warn, "", "observer", format_args!("news cannot be stored yet: {error}"));
        }
        self.is_disk_low = is_low || self.is_disk_low && !is_over;
    }

    fn tell_disk(&self, is_low: bool, is_over: bool, news: News, now: Timestamp) -> store::Result<()> {
        if !is_low && !is_over {
            return Ok(());
        }
        match (is_low, self.store.troubles(TroubleKind::Disk)?.is_empty()) {
            (true, true) => self.write(TroubleKind::Disk, "", now, Some(news), now),
            (false, false) => self.store.end(TroubleKind::Disk, "").map(drop),
            _ => Ok(()),
        }
    }

    fn write(
        &self,
        kind: TroubleKind,
        name: &str,
        since: Timestamp,
        news: Option<News>,
        now: Timestamp,
    ) -> store::Result<()> {
        let is_news = news.is_some();
        let trouble = Trouble { name: name.to_owned(), since, told: Some(now), failures: 0, error: None };
        self.store.write(kind, &trouble, news, now)?;
        if is_news {
            self.router.wake();
        }
        Ok(())
    }

    fn troubles(&self, kind: TroubleKind) -> store::Result<BTreeMap<String, Trouble>> {
        let troubles = self.store.troubles(kind)?;
        Ok(troubles.into_iter().map(|trouble| (trouble.name.clone(), trouble)).collect())
    }

    /// When a source has last received a delivery, a known one included since the start.
    fn last_received(&self, source: &str) -> store::Result<Option<Timestamp>> {
        let at_ms = i64::try_from(self.metrics.source(source).last_received_ms.get()).unwrap_or_default();
        let since_start = Some(at_ms).filter(|at_ms| *at_ms > 0).map(Timestamp::from_unix_ms);
        Ok(since_start.max(self.store.last_received(source)?))
    }
}
