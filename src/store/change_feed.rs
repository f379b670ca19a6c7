//! Which events have changed since the last poll, for commands that follow along.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Result};

use super::list::oldest_of_few;
use super::summary::Summary;
use crate::event::Status;

/// How many open and failed events are remembered, of each status, to detect changes: the oldest, because workers begin
/// with those. They take some hundred KiB.
const MAX_REMEMBERED: usize = 10_000;

/// New events in one poll; the next one has the rest.
const MAX_NEW: u32 = 1000;

/// The state at the last poll.
#[derive(Debug)]
pub struct ChangeFeed {
    /// SQLite's number for the state of the database: while it is the same, nothing was written.
    version: Option<i64>,
    last_id: i64,
    remembered: Remembered,
}

/// Events that may change, by their ids: those that are not processed.
#[derive(Debug)]
struct Remembered {
    statuses: BTreeMap<i64, Status>,
    /// Events with greater ids may be missing here.
    horizon: i64,
}

impl ChangeFeed {
    pub(super) fn begin(connection: &Connection) -> Result<ChangeFeed> {
        let last_id = "SELECT coalesce(max(id), 0) FROM webhook_events";
        let last_id = connection.query_row(last_id, [], |row| row.get(0))?;
        Ok(ChangeFeed { version: None, last_id, remembered: Remembered::read(connection)? })
    }

    /// Goes on with another connection to the same database.
    pub fn reconnect(&mut self) {
        self.version = None;
    }

    /// The events that are new, or have another status, since the last poll, in the order of their ids. An event that has
    /// left a status and come back between two polls has not changed.
    pub(super) fn poll(&mut self, connection: &Connection) -> Result<Vec<Summary>> {
        let mut ids = self.remembered.replace(Remembered::read(connection)?, self.last_id);
        ids.extend(self.new_ids(connection)?);
        let mut by_id = Summary::by_id(connection)?;
        let mut changed = Vec::new();
        for id in ids {
            changed.extend(by_id.query_row([id], Summary::of).optional()?);
        }
        Ok(changed)
    }

    /// Whether any program has written since the last call. Takes no lock.
    pub(super) fn has_changed(&mut self, connection: &Connection) -> Result<bool> {
        let version = Some(connection.pragma_query_value(None, "data_version", |row| row.get(0))?);
        Ok(std::mem::replace(&mut self.version, version) != version)
    }

    fn new_ids(&mut self, connection: &Connection) -> Result<Vec<i64>> {
        let sql = "SELECT id FROM webhook_events WHERE id > ?1 ORDER BY id LIMIT ?2";
        let mut statement = connection.prepare_cached(sql)?;
        let ids: Vec<i64> = statement.query_map((self.last_id, MAX_NEW), |row| row.get(0))?.collect::<Result<_>>()?;
        if let Some(last) = ids.last() {
            self.last_id = *last;
        }
        if ids.len() == MAX_NEW as usize {
            self.version = None;
        }
        Ok(ids)
    }
}

impl Remembered {
    fn read(connection: &Connection) -> Result<Remembered> {
        let mut now = Remembered { statuses: BTreeMap::new(), horizon: i64::MAX };
        for status in [Status::Unprocessed, Status::Error] {
            let mut ids = oldest_of_few(connection, status, MAX_REMEMBERED as u32 + 1)?;
            if ids.len() > MAX_REMEMBERED {
                ids.truncate(MAX_REMEMBERED);
                now.horizon = now.horizon.min(ids[MAX_REMEMBERED - 1]);
            }
            now.statuses.extend(ids.into_iter().map(|id| (id, status)));
        }
        Ok(now)
    }

    /// The ids up to `last_id` whose status was another before.
    fn replace(&mut self, now: Remembered, last_id: i64) -> BTreeSet<i64> {
        let horizon = last_id.min(self.horizon).min(now.horizon);
        let changed = |id: &&i64| **id <= horizon && self.statuses.get(id) != now.statuses.get(id);
        let ids = self.statuses.keys().chain(now.statuses.keys()).filter(changed).copied().collect();
        *self = now;
        ids
    }
}
