//! Gets back what was missed: compares what the provider lists with what is stored, and has the provider send again what is
//! not. The record that counts is ours: what a proxy has answered 200 in our place is missing too.

mod api;
mod list;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::clock::{self, Timestamp};
use crate::config::{Recover, Source};
use crate::secret::Secret;
use crate::store::{Missed, Recoveries, StorageError};
use api::{Answer, Api};
use list::Row;

pub use api::Sleep;

/// Nothing is asked for more often in all.
const MAX_ASKED: u32 = 3;

/// Nothing is asked for again within this time: the provider may still be sending.
const BETWEEN: Duration = Duration::from_secs(60 * 60);

/// A delivery is listed when its attempt has ended, so later ones may be listed before it: this much is compared again.
const OVERLAP: Duration = Duration::from_secs(2 * 60);

/// A delivery is listed a moment before it can be had alone.
const NOT_THERE_YET: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// How often a list is begun again whose cursor has expired.
const MAX_RESTARTS: u32 = 3;

/// What hookbox itself answers where a delivery is wrong: it would be rejected again.
const REJECTED: [u64; 4] = [400, 401, 413, 415];

/// Why nothing can be had back now.
#[derive(Debug)]
pub enum Trouble {
    /// The process stops.
    Stopped,
    /// The next run tries again.
    Outage(String),
    /// A person has to change something.
    Refused(String),
    Failed(String),
    Storage(StorageError),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Stopped => f.write_str("the process stops"),
            Trouble::Outage(why) | Trouble::Refused(why) | Trouble::Failed(why) => f.write_str(why),
            Trouble::Storage(error) => error.fmt(f),
        }
    }
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Trouble {
        Trouble::Storage(error)
    }
}

/// What the provider lists and what was not stored.
#[derive(Debug, Default)]
pub struct Comparison {
    /// The oldest first.
    pub missed: Vec<Missed>,
    /// Up to where the list was compared; `None`: it was empty, or had not changed.
    pub compared_to: Option<Timestamp>,
    /// That of the first page.
    pub etag: Option<String>,
}

/// What was done about what is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Asked for now.
    pub asked: usize,
    /// Waits, because it was asked for within the hour.
    pub waiting: usize,
    /// Cannot be had any more.
    pub lost: usize,
}

/// Recovers one source.
pub struct Recoverer<'a> {
    source: &'a Source,
    recover: &'a Recover,
    store: &'a Recoveries,
    api: Api<'a>,
}

impl<'a> Recoverer<'a> {
    pub fn new(
        source: &'a Source,
        recover: &'a Recover,
        token: &'a Secret,
        store: &'a Recoveries,
        sleep: Sleep<'a>,
    ) -> Result<Recoverer<'a>, Trouble> {
        Ok(Recoverer { source, recover, store, api: Api::new(recover, token, sleep)? })
    }

    /// Compares the list with what is stored, from where the last comparison has ended, or from `since` ago. Nothing older
    /// than `kept` is looked at, which is how long events are stored. With the `last` comparison of this process, an
    /// unchanged list costs one request.
    pub fn compare(
        &self,
        since: Option<Duration>,
        kept: Option<Duration>,
        last: Option<&Comparison>,
    ) -> Result<Comparison, Trouble> {
        let first = self.api.url(self.recover.recovery.list);
        let mut answer = self.api.get(&first, last.and_then(|last| last.etag.as_deref()))?;
        if answer.status == 304 {
            return Ok(Comparison::default());
        }
        let mut floor = answer.now.minus(since.unwrap_or(self.recover.recovery.window));
        let mark = self.store.compared_to(&self.source.name)?.max(last.and_then(|last| last.compared_to));
        if let (None, Some(mark)) = (since, mark) {
            floor = floor.max(mark.minus(OVERLAP));
        }
        floor = kept.map_or(floor, |kept| floor.max(answer.now.minus(kept)));
        let mut found = Found { missed: BTreeMap::new(), newest: None };
        let (etag, mut restarts) = (answer.etag.clone(), 0);
        loop {
            self.check_list(&answer)?;
            let rows = list::rows(self.recover.recovery, &answer.json()?)?;
            let is_last = rows.last().is_none_or(|row| row.at < floor);
            self.add(rows, floor, &mut found)?;
            let Some(next) = answer.next.take().filter(|_| !is_last) else { break };
            answer = self.api.get(&next, None)?;
            if matches!(answer.status, 400 | 404 | 410 | 422) && restarts < MAX_RESTARTS {
                // The cursor has expired. To start over is harmless: each delivery counts once.
                restarts += 1;
                answer = self.api.get(&first, None)?;
            }
        }
        let mut missed: Vec<Missed> = found.missed.into_values().flatten().collect();
        missed.sort_by(|a, b| (a.at, &a.delivery_id).cmp(&(b.at, &b.delivery_id)));
        Ok(Comparison { missed, compared_to: found.newest, etag })
    }

    /// Adds the rows of a page that are missing. It was listed before our record is read, so what has just arrived is in it.
    fn add(&self, rows: Vec<Row>, floor: Timestamp, found: &mut Found) -> Result<(), Trouble> {
        found.newest = found.newest.max(rows.iter().map(|row| row.at).max());
        let is_wanted = |row: &Row| self.recover.events.is_empty() || self.recover.events.contains(&row.event_type);
        let rows: Vec<Row> = rows.into_iter().filter(|row| row.at >= floor && is_wanted(row)).collect();
        let ids: Vec<&str> = rows.iter().map(|row| row.delivery_id.as_str()).collect();
        let known = self.store.known(&self.source.name, &ids)?;
        for row in rows {
            if known.contains(&row.delivery_id) {
                self.store.update_status_if_missing(&self.source.name, &row.delivery_id, &row.status)?;
                continue;
            }
            let is_settled = REJECTED.contains(&row.status_code)
                || self.source.ignores_repeated_body && row.status_code == u64::from(self.source.verifier.status);
            found.add(row, is_settled);
        }
        Ok(())
    }

    /// Records what is missing, and how far the list was compared; nothing where neither has changed.
    pub fn record(&self, comparison: &Comparison) -> Result<(), Trouble> {
        let Some(compared_to) = comparison.compared_to else { return Ok(()) };
        let name = &self.source.name;
        if comparison.missed.is_empty() && self.store.compared_to(name)?.is_some() {
            return Ok(());
        }
        Ok(self.store.record(name, &comparison.missed, compared_to, clock::now())?)
    }

    /// Asks for everything that is missing, the oldest first.
    pub fn ask(&self) -> Result<Asked, Trouble> {
        let mut asked = Asked::default();
        for missed in self.store.missing(&self.source.name)? {
            let now = clock::now();
            if missed.asked_at.is_some_and(|at| at.distance(now) < BETWEEN) {
                asked.waiting += 1;
            } else if missed.asked >= MAX_ASKED {
                self.lose(&missed, &missed.status, &mut asked)?;
            } else if self.store.ask(&self.source.name, &missed, now)? {
                match self.redeliver(&missed)? {
                    None => asked.asked += 1,
                    Some(why) => self.lose(&missed, &why, &mut asked)?,
                }
            }
        }
        Ok(asked)
    }

    fn lose(&self, missed: &Missed, why: &str, asked: &mut Asked) -> Result<(), Trouble> {
        let (title, source) = (self.recover.recovery.title, &self.source.name);
        self.store.lose(source, &missed.delivery_id, why)?;
        let Missed { event_type, delivery_id, at, .. } = missed;
        log::warn!("{source}: {event_type} {delivery_id} of {at} is lost; {title} says: {why}");
        asked.lost += 1;
        Ok(())
    }

    /// `Some` is why it cannot be sent again.
    fn redeliver(&self, missed: &Missed) -> Result<Option<String>, Trouble> {
        let Some(resend) = self.recover.recovery.resend else { return Ok(None) };
        let url = self.api.url(&resend.replace("{item}", &missed.item));
        let mut answer = self.api.post(&url)?;
        for wait in NOT_THERE_YET {
            if answer.status != 404 {
                break;
            }
            if self.api.sleep(wait) {
                return Err(Trouble::Stopped);
            }
            answer = self.api.post(&url)?;
        }
        match answer.status {
            200..=299 => Ok(None),
            401 | 403 => Err(self.refused(&answer)),
            _ => Ok(Some(answer.message())),
        }
    }

    /// Whether a list was answered.
    fn check_list(&self, answer: &Answer) -> Result<(), Trouble> {
        if answer.status == 200 { Ok(()) } else { Err(self.refused(answer)) }
    }

    fn refused(&self, answer: &Answer) -> Trouble {
        let (message, permission) = (answer.message(), self.recover.recovery.permission);
        let what = match answer.status {
            401 => format!("the token is wrong, revoked or expired: make {permission}"),
            403 => format!("the token lacks a permission: it has to be {permission}"),
            404 => format!(
                "there is no hook {} that the token may see: look at its number in the hook's settings, and at the \
                 token, which has to be {permission}",
                self.recover.hook
            ),
            300..=399 => format!("{} has moved: correct hook", self.recover.hook),
            _ => return Trouble::Failed(format!("it answers {message}")),
        };
        Trouble::Refused(format!("{what} (it answers {message})"))
    }
}

/// What was found so far, by delivery id. `None`: not missing.
struct Found {
    missed: BTreeMap<String, Option<Missed>>,
    newest: Option<Timestamp>,
}

impl Found {
    /// The latest attempt of a delivery is listed first, and says what came of it.
    fn add(&mut self, row: Row, is_settled: bool) {
        let missed = Missed {
            delivery_id: row.delivery_id.clone(),
            item: row.item,
            event_type: row.event_type,
            at: row.at,
            asked: 0,
            asked_at: row.is_redelivery.then_some(row.at),
            status: row.status,
        };
        let first = self.missed.entry(row.delivery_id).or_insert_with(|| (!is_settled).then_some(missed));
        if let Some(first) = first {
            first.at = first.at.min(row.at);
        }
    }
}
