//! `hookbox delete`: deletes one event, for a secret that has leaked into a payload.

use std::io::Write;

use super::{Failure, no_event, table};
use crate::config::Config;
use crate::event::EventId;
use crate::store::Commands;

/// What may still have it.
const ELSEWHERE: &str = "It may still be in backups and replicas, in logs, at destinations, and in free pages of the database from earlier \
                         changes of the row (hookbox prune --vacuum removes them).";

pub(super) fn run(config: &Config, id: EventId, out: &mut dyn Write) -> Result<(), Failure> {
    let deleted = Commands::open(&config.database)?.delete(id)?.ok_or_else(|| no_event(id))?;
    let summary = &deleted.summary;
    let [source, event] = [&summary.source, &summary.event].map(|text| table::one_line(text));
    writeln!(out, "deleted event {id} ({event} from {source}), and overwrote it in the database")?;
    if deleted.open_jobs > 0 {
        writeln!(out, "It had open jobs, which are gone. An attempt that is under way is not broken off.")?;
    }
    if !deleted.is_wal_empty {
        writeln!(
            out,
            "The WAL still has it, because another program reads the database: run hookbox prune --vacuum, or restart \
             hookbox serve. Stop Litestream before, which always reads"
        )?;
    }
    Ok(writeln!(out, "{ELSEWHERE}")?)
}
