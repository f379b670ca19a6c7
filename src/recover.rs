//! Gets back what was missed: compares what the provider lists with what is stored, and has the provider send again what is
//! not, or stores what its API returns. The record that counts is ours: what a proxy has answered 200 in our place is
//! missing too.

mod api;
mod hook;
mod list;
mod sent;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::time::Duration;

use crate::clock::{self, Timestamp};
use crate::config::{Config, Mode, Recover, Source};
use crate::event::Delivery;
use crate::provider::Paging;
use crate::secret::Secret;
use crate::store::{Missed, Recoveries, StorageError, WriteError};
use api::{Answer, Api};
use list::Row;
use sent::Sent;

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

/// Requests that were in the list are in memory until they are stored. Of more than this the newest are recovered by the
/// next run.
const MAX_SENT_BYTES: usize = 32 << 20;

/// What hookbox itself answers where a delivery is wrong: it would be rejected again.
const REJECTED: [u64; 4] = [400, 401, 413, 415];

/// Why nothing can be recovered now.
#[derive(Debug)]
pub enum RecoverError {
    /// The process stops.
    Stopped,
    /// The next run tries again.
    Outage(String),
    /// A person has to change something.
    Refused(String),
    Failed(String),
    Storage(StorageError),
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoverError::Stopped => f.write_str("the process stops"),
            RecoverError::Outage(why) | RecoverError::Refused(why) | RecoverError::Failed(why) => f.write_str(why),
            RecoverError::Storage(error) => error.fmt(f),
        }
    }
}

impl From<StorageError> for RecoverError {
    fn from(error: StorageError) -> RecoverError {
        RecoverError::Storage(error)
    }
}

impl From<WriteError> for RecoverError {
    fn from(error: WriteError) -> RecoverError {
        match error {
            WriteError::Storage(error) => RecoverError::Storage(error),
            other => RecoverError::Outage(other.to_string()),
        }
    }
}

/// How much is recovered at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long events are stored: nothing older is looked at. `None`: always.
    pub kept: Option<Duration>,
    /// Nothing is stored that would leave less than this free on the disk.
    pub reserve_bytes: u64,
}

impl Limits {
    pub fn of(config: &Config) -> Limits {
        Limits { kept: config.retention.shortest_of_events(), reserve_bytes: config.disk_reserve_bytes }
    }
}

/// What the provider lists and what was not stored.
#[derive(Debug, Default)]
pub struct Comparison {
    /// The oldest first.
    pub missed: Vec<Missed>,
    /// Up to where the list was compared; `None`: it had not changed.
    pub compared_to: Option<Timestamp>,
    /// That of the first page.
    pub etag: Option<String>,
    /// The requests that are to be stored and were in the list, by delivery id.
    pub sent: BTreeMap<String, Sent>,
    /// The delivery ids of which the provider has not kept the content.
    pub not_kept: Vec<String>,
}

/// What was done about what is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Asked for now.
    pub asked: usize,
    /// Stored now.
    pub taken: usize,
    /// Waits, because it was asked for within the hour.
    pub waiting: usize,
    /// Cannot be had any more.
    pub lost: usize,
}

/// Recovers one source.
pub struct Recoverer<'a> {
    source: &'a Source,
    recover: &'a Recover,
    limits: Limits,
    store: &'a Recoveries,
    api: Api<'a>,
}

impl<'a> Recoverer<'a> {
    pub fn new(
        source: &'a Source,
        recover: &'a Recover,
        token: &'a Secret,
        limits: Limits,
        store: &'a Recoveries,
        sleep: Sleep<'a>,
    ) -> Result<Recoverer<'a>, RecoverError> {
        Ok(Recoverer { source, recover, limits, store, api: Api::new(recover, token, sleep)? })
    }

    /// Compares the list with what is stored, from where the last comparison has ended, or from `since` ago. With the `last`
    /// comparison of this process, an unchanged list costs one request.
    pub fn compare(&self, since: Option<Duration>, last: Option<&Comparison>) -> Result<Comparison, RecoverError> {
        let unfinished = self.unfinished()?;
        let mark = self.store.compared_to(&self.source.name)?.max(last.and_then(|last| last.compared_to));
        let from = mark.filter(|_| since.is_none()).map(|mark| mark.minus(OVERLAP));
        let from = from.map(|from| unfinished.iter().map(|missed| missed.at).fold(from, Timestamp::min));
        let first = self.api.list_url(from);
        let etag = last.filter(|_| unfinished.is_empty()).and_then(|last| last.etag.as_deref());
        let answer = self.api.get(&first, etag)?;
        if answer.status == 304 {
            return Ok(Comparison::default());
        }
        let mut floor = answer.now.minus(since.unwrap_or(self.recover.recovery.window));
        floor = from.map_or(floor, |from| floor.max(from));
        floor = self.limits.kept.map_or(floor, |kept| floor.max(answer.now.minus(kept)));
        let unfinished = unfinished.into_iter().map(|missed| missed.delivery_id).collect();
        let (etag, now) = (answer.etag.clone(), answer.now);
        let mut found = Found { unfinished, ..Found::default() };
        self.read_pages(answer, &first, floor, &mut found)?;
        Ok(found.into_comparison(etag, now))
    }

    /// What is missing and is to be taken from the list: it has to be listed again.
    fn unfinished(&self) -> Result<Vec<Missed>, RecoverError> {
        if !self.takes_from_list() {
            return Ok(Vec::new());
        }
        Ok(self.store.missing(&self.source.name)?)
    }

    fn takes_from_list(&self) -> bool {
        self.recover.mode == Mode::Take && self.recover.recovery.lists_requests()
    }

    /// Adds what is missing of all pages to the end of the window.
    fn read_pages(
        &self,
        mut answer: Answer,
        first: &str,
        floor: Timestamp,
        found: &mut Found,
    ) -> Result<(), RecoverError> {
        let mut restarts = 0;
        loop {
            self.check_list(&answer)?;
            let rows = list::rows(self.recover.recovery, &self.source.verifier, answer.text()?, answer.now)?;
            let is_last = rows.last().is_none_or(|row| row.at < floor);
            let next = if is_last { None } else { self.next_page(first, &answer, &rows)? };
            self.add(rows, floor, found)?;
            let Some(next) = next else { return Ok(()) };
            answer = self.api.get(&next, None)?;
            if matches!(answer.status, 400 | 404 | 410 | 422) && restarts < MAX_RESTARTS {
                // The cursor has expired. To start over is harmless: each delivery counts once.
                restarts += 1;
                answer = self.api.get(first, None)?;
            }
        }
    }

    fn next_page(&self, first: &str, answer: &Answer, rows: &[Row]) -> Result<Option<String>, RecoverError> {
        Ok(match self.recover.recovery.paging {
            Paging::Link => answer.next.as_ref().map(|query| {
                let path = first.split_once('?').map_or(first, |(path, _)| path);
                format!("{path}?{query}")
            }),
            Paging::Last { parameter, more, .. } => {
                let has_more = list::has_more(answer.text()?, more);
                rows.last().filter(|_| has_more).map(|row| format!("{first}&{parameter}={}", row.item))
            }
        })
    }

    /// Adds the rows of a page that are missing. It was listed before our record is read, so what has just arrived is in it.
    fn add(&self, rows: Vec<Row>, floor: Timestamp, found: &mut Found) -> Result<(), RecoverError> {
        found.newest = found.newest.max(rows.iter().map(|row| row.at).max());
        let is_wanted = |row: &Row| self.recover.events.is_empty() || self.recover.events.contains(&row.event_type);
        let rows: Vec<Row> = rows.into_iter().filter(|row| row.at >= floor && is_wanted(row)).collect();
        let ids: Vec<&str> = rows.iter().map(|row| row.delivery_id.as_str()).collect();
        let known = self.store.known(&self.source.name, &ids)?;
        for mut row in rows {
            if known.contains(&row.delivery_id) && !found.unfinished.contains(&row.delivery_id) {
                self.store.update_status_if_missing(&self.source.name, &row.delivery_id, &row.status)?;
                continue;
            }
            let is_settled = REJECTED.contains(&row.status_code)
                || self.source.ignores_repeated_body && row.status_code == u64::from(self.source.verifier.status);
            if self.recover.mode == Mode::Take {
                row.is_redelivery = false; // What is taken need not wait for one that is under way.
            }
            found.add(row, is_settled, self.takes_from_list());
        }
        Ok(())
    }

    /// Records what is missing, and how far the list was compared; nothing where neither has changed.
    pub fn record(&self, comparison: &Comparison) -> Result<(), RecoverError> {
        let Some(compared_to) = comparison.compared_to else { return Ok(()) };
        let name = &self.source.name;
        if comparison.missed.is_empty() && self.store.compared_to(name)?.is_some() {
            return Ok(());
        }
        self.store.record(name, &comparison.missed, compared_to, clock::now())?;
        for missed in comparison.missed.iter().filter(|missed| comparison.not_kept.contains(&missed.delivery_id)) {
            let title = self.recover.recovery.title;
            self.lose(missed, &format!("{title} has not kept its content"), &mut Asked::default())?;
        }
        Ok(())
    }

    /// Gets back everything that is missing, the oldest first. `sent` is what the list had of it.
    pub fn get_back(&self, mut sent: BTreeMap<String, Sent>) -> Result<Asked, RecoverError> {
        let mut asked = Asked::default();
        for missed in self.store.missing(&self.source.name)? {
            if missed.asked_at.is_some_and(|at| at.distance(clock::now()) < BETWEEN) {
                asked.waiting += 1;
            } else if missed.asked >= MAX_ASKED {
                self.lose(&missed, &self.says(&missed.status), &mut asked)?;
            } else {
                match self.recover.mode {
                    Mode::Redeliver => self.ask(&missed, &mut asked)?,
                    Mode::Take => self.take(&missed, sent.remove(&missed.delivery_id), &mut asked)?,
                }
            }
        }
        Ok(asked)
    }

    /// Stores one. `listed` is what the list had of it.
    fn take(&self, missed: &Missed, listed: Option<Sent>, asked: &mut Asked) -> Result<(), RecoverError> {
        let (recovery, now) = (self.recover.recovery, clock::now());
        let sent = match (listed, recovery.request.path) {
            (Some(sent), _) => Ok(sent),
            (None, Some(path)) => self.fetch(path, missed)?,
            (None, None) if missed.at < now.minus(recovery.window) => Err("it is no longer in the list".to_owned()),
            (None, None) => {
                asked.waiting += 1;
                return Ok(());
            }
        };
        match sent.and_then(|sent| self.delivery(sent, missed, now)) {
            Ok(delivery) => {
                asked.taken += usize::from(self.store.take(&delivery, self.limits.reserve_bytes)?);
                Ok(())
            }
            Err(why) => self.lose(missed, &why, asked),
        }
    }

    fn delivery(&self, sent: Sent, missed: &Missed, now: Timestamp) -> Result<Delivery, String> {
        sent.into_delivery(&self.source.name, &self.source.verifier, &missed.delivery_id, now)
    }

    /// The request of a delivery. The inner error says why it cannot be had.
    fn fetch(&self, path: &str, missed: &Missed) -> Result<Result<Sent, String>, RecoverError> {
        let url = self.api.url(&path.replace("{item}", &missed.item));
        let fetched = self.until_there(|| self.api.get(&url, None));
        if let Err(RecoverError::Outage(_)) = fetched {
            // So that one for which the provider fails each time does not keep back the others.
            self.store.ask(&self.source.name, missed, clock::now())?;
        }
        let answer = fetched?;
        match answer.status {
            200 => {
                let sent = Sent::of(&self.recover.recovery.request, answer.text()?);
                Ok(sent.ok_or_else(|| "its content is not in the answer".to_owned()))
            }
            401 | 403 => Err(self.refused(&answer)),
            _ => Ok(Err(self.says(&answer.message()))),
        }
    }

    fn says(&self, what: &str) -> String {
        format!("{} says: {what}", self.recover.recovery.title)
    }

    /// Tries again while the provider does not know what it has listed.
    fn until_there(&self, call: impl Fn() -> Result<Answer, RecoverError>) -> Result<Answer, RecoverError> {
        let mut answer = call()?;
        for wait in NOT_THERE_YET {
            if answer.status != 404 {
                break;
            }
            if self.api.sleep(wait) {
                return Err(RecoverError::Stopped);
            }
            answer = call()?;
        }
        Ok(answer)
    }

    /// Asks for one.
    fn ask(&self, missed: &Missed, asked: &mut Asked) -> Result<(), RecoverError> {
        let max_per_minute = self.recover.recovery.resend.as_ref().and_then(|resend| resend.max_per_minute);
        if self.api.wait_to_resend(max_per_minute) {
            return Err(RecoverError::Stopped);
        }
        if self.store.ask(&self.source.name, missed, clock::now())? {
            match self.redeliver(missed)? {
                None => asked.asked += 1,
                Some(why) => self.lose(missed, &why, asked)?,
            }
        }
        Ok(())
    }

    fn lose(&self, missed: &Missed, why: &str, asked: &mut Asked) -> Result<(), RecoverError> {
        let source = &self.source.name;
        self.store.lose(source, &missed.delivery_id, why)?;
        let Missed { event_type, delivery_id, at, .. } = missed;
        log::warn!("{source}: {event_type} {delivery_id} of {at} is lost: {why}");
        asked.lost += 1;
        Ok(())
    }

    /// `Some` is why it cannot be sent again.
    fn redeliver(&self, missed: &Missed) -> Result<Option<String>, RecoverError> {
        let Some(resend) = &self.recover.recovery.resend else { return Ok(None) };
        let url = self.api.url(&resend.path.replace("{item}", &missed.item));
        let answer = self.until_there(|| self.api.post(&url))?;
        match answer.status {
            200..=299 => Ok(None),
            401 | 403 => Err(self.refused(&answer)),
            _ => Ok(Some(self.says(&answer.message()))),
        }
    }

    /// Whether a list was answered.
    fn check_list(&self, answer: &Answer) -> Result<(), RecoverError> {
        if answer.status == 200 { Ok(()) } else { Err(self.refused(answer)) }
    }

    fn refused(&self, answer: &Answer) -> RecoverError {
        let (message, permission) = (answer.message(), self.recover.permission());
        let what = match answer.status {
            401 => format!("the token is wrong, revoked or expired: make {permission}"),
            403 => format!("the token lacks a permission: it has to be {permission}"),
            404 => format!(
                "there is no hook {} that the token may see: look at its number in the hook's settings, and at the \
                 token, which has to be {permission}",
                self.recover.hook
            ),
            300..=399 => format!("{} has moved: correct hook", self.recover.hook),
            _ => return RecoverError::Failed(format!("it answers {message}")),
        };
        RecoverError::Refused(format!("{what} (it answers {message})"))
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    /// By delivery id. `None`: not missing.
    missed: BTreeMap<String, Option<Missed>>,
    newest: Option<Timestamp>,
    /// Known as missing, and listed again for its content.
    unfinished: HashSet<String>,
    /// The requests in the list by delivery id, the newest first, and their length.
    sent: VecDeque<(String, Sent)>,
    sent_bytes: usize,
    not_kept: Vec<String>,
}

impl Found {
    /// The latest attempt of a delivery is listed first, and says what came of it.
    fn add(&mut self, row: Row, is_settled: bool, is_taken: bool) {
        let missed = Missed {
            delivery_id: row.delivery_id.clone(),
            item: row.item,
            event_type: row.event_type,
            at: row.at,
            asked: 0,
            asked_at: row.is_redelivery.then_some(row.at),
            status: row.status,
        };
        if let Some(first) = self.missed.get_mut(&row.delivery_id) {
            if let Some(first) = first {
                first.at = first.at.min(row.at);
            }
            return;
        }
        self.missed.insert(row.delivery_id.clone(), (!is_settled).then_some(missed));
        let Some(sent) = row.sent.filter(|_| !is_settled) else { return };
        if sent.is_lost {
            self.not_kept.push(row.delivery_id);
        } else if is_taken {
            self.keep(row.delivery_id, sent);
        }
    }

    fn keep(&mut self, id: String, sent: Sent) {
        self.sent_bytes += sent.bytes();
        self.sent.push_back((id, sent));
        while self.sent_bytes > MAX_SENT_BYTES && self.sent.len() > 1 {
            self.sent_bytes -= self.sent.pop_front().map_or(0, |(_, sent)| sent.bytes());
        }
    }

    fn into_comparison(self, etag: Option<String>, now: Timestamp) -> Comparison {
        let mut missed: Vec<Missed> = self.missed.into_values().flatten().collect();
        missed.sort_by(|a, b| (a.at, &a.delivery_id).cmp(&(b.at, &b.delivery_id)));
        let sent = self.sent.into_iter().collect();
        Comparison { missed, compared_to: self.newest.or(Some(now)), etag, sent, not_kept: self.not_kept }
    }
}
