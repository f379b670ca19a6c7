//! What was recovered of each source, and what of it does not work: for people and for metrics.

use std::collections::BTreeMap;

use rusqlite::{Connection, Result};
use serde::Serialize;

use super::row::string;
use super::troubles::{self, Trouble, TroubleKind};
use crate::clock::Timestamp;

/// A source whose deliveries are compared with those that its provider lists.
#[derive(Debug, Default, Serialize)]
pub struct RecoveryStats {
    pub source: String,
    /// Listed by the provider, and not stored.
    pub missing: i64,
    /// When the oldest of them was first delivered.
    pub oldest_missing: Option<String>,
    /// Ever.
    pub recovered: i64,
    /// Cannot be had any more: of the last hundred days.
    pub lost: i64,
    /// Why the last was lost.
    pub last_lost: Option<String>,
    /// Since when recovering does not work, and why.
    pub failing_since: Option<String>,
    pub failing_because: Option<String>,
    /// A time off line that was longer than the provider lists deliveries, and what is lost by it.
    pub offline: Option<String>,
}

impl RecoveryStats {
    /// What is wrong, each in a line; none where all is well.
    pub fn problems(&self) -> Vec<String> {
        let failing = self.failing_since.as_ref().map(|since| {
            let why = self.failing_because.as_deref().unwrap_or_default();
            format!("what was missed cannot be recovered since {since}: {why}")
        });
        let missing = (self.missing > 0).then(|| {
            let oldest = self.oldest_missing.as_deref().unwrap_or_default();
            format!("{} were missed and are not there yet, the oldest of {oldest}", self.missing)
        });
        failing.into_iter().chain(self.offline.clone()).chain(missing).collect()
    }
}

/// In the order of their names.
pub(super) fn stats(connection: &Connection) -> Result<Vec<RecoveryStats>> {
    let mut all: BTreeMap<String, RecoveryStats> = BTreeMap::new();
    let mut marks = connection.prepare_cached("SELECT source, recovered_before FROM recovery_marks")?;
    for mark in marks.query_map([], |row| Ok((string(row, 0)?, row.get(1)?)))? {
        let (source, recovered) = mark?;
        all.entry(source).or_default().recovered = recovered;
    }
    let sql = "SELECT source, state, count(*), min(at_ms) FROM recoveries GROUP BY source, state";
    let mut counts = connection.prepare_cached(sql)?;
    let counts = counts.query_map([], |row| Ok((string(row, 0)?, string(row, 1)?, row.get(2)?, row.get(3)?)))?;
    for count in counts {
        let (source, state, count, oldest_ms): (String, String, i64, i64) = count?;
        let Some(stats) = all.get_mut(&source) else { continue };
        match state.as_str() {
            "missing" => {
                stats.missing = count;
                stats.oldest_missing = Some(Timestamp::from_unix_ms(oldest_ms).to_string());
            }
            "recovered" => stats.recovered += count,
            "lost" => stats.lost = count,
            _ => {}
        }
    }
    let last = "SELECT status FROM recoveries WHERE source = ?1 AND state = 'lost' ORDER BY at_ms DESC LIMIT 1";
    let mut last = connection.prepare_cached(last)?;
    for (source, stats) in all.iter_mut().filter(|(_, stats)| stats.lost > 0) {
        stats.last_lost = Some(last.query_row([source], |row| string(row, 0))?);
    }
    for Trouble { name, since, error, .. } in troubles::all(connection, TroubleKind::Recovery)? {
        let stats = all.entry(name).or_default();
        (stats.failing_since, stats.failing_because) = (Some(since.to_string()), error);
    }
    for trouble in troubles::all(connection, TroubleKind::Offline)? {
        all.entry(trouble.name).or_default().offline = trouble.error;
    }
    Ok(all.into_iter().map(|(source, stats)| RecoveryStats { source, ..stats }).collect())
}
