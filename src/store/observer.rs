//! The connection of the thread that observes what no delivery and no attempt shows: a source that is silent, a full disk,
//! an action that has failed for long.

use std::path::Path;

use super::deaths;
use super::error::Result;
use super::news::{self, jobs_dead};
use super::stats;
use super::troubles::{self, Trouble, TroubleKind};
use super::writer::Writer;
use crate::clock::Timestamp;
use crate::news::{News, Wanted};

/// Reads outside of a transaction, and begins one only where there is something to write.
pub struct Observer {
    pub(super) writer: Writer,
}

impl Observer {
    /// Stores the news that is due by now: actions that have failed for long, and dead jobs that are reported together.
    /// True if there was any.
    pub fn tell_due(&self, wanted: Wanted, now: Timestamp) -> Result<bool> {
        let failing = self.writer.read(|connection| news::long_failing(connection, now))?;
        let deaths = self.writer.read(|connection| deaths::due(connection, now))?;
        if failing.is_empty() && deaths.is_empty() {
            return Ok(false);
        }
        self.writer.write(|transaction| {
            failing.iter().try_for_each(|it| news::tell_long_failing(transaction, &it.name, wanted, now))?;
            deaths.iter().try_for_each(|deaths| jobs_dead(transaction, deaths, wanted, now))
        })?;
        Ok(true)
    }

    /// That of the database, with all links resolved.
    pub fn path(&self) -> &Path {
        &self.writer.path
    }

    /// The troubles that are not over.
    pub fn troubles(&self, kind: TroubleKind) -> Result<Vec<Trouble>> {
        self.writer.read(|connection| troubles::all(connection, kind))
    }

    /// Begins a trouble, or changes what is known of it, and stores `news` about it.
    pub fn write(&self, kind: TroubleKind, trouble: &Trouble, news: Option<News>, now: Timestamp) -> Result<()> {
        self.writer.write(|transaction| {
            troubles::write(transaction, kind, trouble)?;
            news.map_or(Ok(()), |news| news::insert(transaction, news, now))
        })
    }

    pub fn end(&self, kind: TroubleKind, name: &str) -> Result<bool> {
        self.writer.write(|transaction| troubles::end(transaction, kind, name))
    }

    /// When the latest event of a source was received, as far as that is stored.
    pub fn last_received(&self, source: &str) -> Result<Option<Timestamp>> {
        let last = self.writer.read(|connection| stats::last_received(connection, source))?;
        Ok(last.as_deref().and_then(Timestamp::parse))
    }
}
