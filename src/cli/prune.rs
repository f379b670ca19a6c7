//! `hookbox prune`: deletes old events.

use std::io::Write;
use std::thread;
use std::time::Duration;

use super::Failure;
use super::args::PruneArgs;
use super::progress::Progress;
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::event::{ShownStatus, Status};
use crate::store::{self, Disk, Expired, Pruned, Pruner, Rule};

/// After each batch, which takes a millisecond, other processes can write. Long enough for a receiver that waits in SQLite's
/// busy handler to wake up.
const PAUSE: Duration = Duration::from_millis(10);

/// The most that is rewritten while `serve` runs: an SD card writes 10 MiB in the second that the receiver waits.
const MAX_SERVED_BYTES: u64 = 8 << 20;

const NO_AGE: &str = "prune needs an age: write [retention] into the config, or --older-than";

const CLOCK_NOT_SET: &str = "the clock has not been set, so the age of events is unknown: set it first";

pub(super) fn run(config: &Config, args: &PruneArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let rules = rules_of(config, args, clock::now())?;
    let mut progress = Progress::new();
    if args.dry_run {
        let pruner = Pruner::open_read_only(&config.database)?;
        let found = pruner.for_each_batch(&rules, &args.selection, |_, batch, before| {
            progress.show(|| text(before));
            Ok(Some(batch.events.len()))
        })?;
        return Ok(writeln!(out, "would prune {}", text(&found))?);
    }
    let pruner = Pruner::open(&config.database)?;
    let is_served = store::server_of(&config.database).is_some();
    let mut deleted_ids = Vec::new();
    let pruned = pruner.for_each_batch(&rules, &args.selection, |cursor, batch, before| {
        progress.show(|| text(before));
        let deleted = pruner.delete(cursor, batch)?;
        pruner.checkpoint();
        if !args.selection.ids.is_empty() {
            deleted_ids.extend(batch.events.iter().copied());
        }
        if is_served {
            thread::sleep(PAUSE);
        }
        Ok(Some(deleted))
    })?;
    for id in args.selection.ids.iter().filter(|id| !deleted_ids.contains(id)) {
        writeln!(
            out,
            "event {id}: not pruned: it is too young, unprocessed, has an open job, or there is none that passes"
        )?;
    }
    writeln!(out, "pruned {}", text(&pruned))?;
    if args.vacuum { vacuum(config, &pruner, is_served, out) } else { Ok(()) }
}

fn rules_of(config: &Config, args: &PruneArgs, now: Timestamp) -> Result<Vec<Rule>, Failure> {
    if !now.is_plausible() {
        return Err(Failure::failed(CLOCK_NOT_SET));
    }
    let is_by_id = !args.selection.ids.is_empty();
    let status = args.selection.filter.status.map(ShownStatus::stored);
    if let Some(age) = args.older_than.or(is_by_id.then_some(Duration::ZERO)) {
        let statuses = match status {
            Some(status) => vec![status],
            None if is_by_id => vec![Status::Processed, Status::Error],
            None => vec![Status::Processed],
        };
        let rule = |status| Rule { what: Expired::Events(status), before: now.minus(age), now };
        return Ok(statuses.into_iter().map(rule).collect());
    }
    let mut rules = config.retention.rules(now);
    if let Some(status) = status {
        rules.retain(|rule| rule.what == Expired::Events(status));
    }
    // The counts of duplicates are no events.
    if !args.selection.is_any() {
        rules.retain(|rule| rule.what != Expired::Duplicates);
    }
    if rules.is_empty() && (!args.vacuum || !args.selection.is_any()) {
        return Err(Failure::usage(NO_AGE));
    }
    Ok(rules)
}

fn vacuum(config: &Config, pruner: &Pruner, is_served: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let before = pruner.sizes()?;
    let left_bytes = before.database_bytes.saturating_sub(before.reusable_bytes);
    if is_served && left_bytes > MAX_SERVED_BYTES {
        return Err(Failure::failed(format!(
            "{} MiB are free within the database, and are used for new events. To give them back, the other {} MiB must be \
             rewritten, and deliveries would wait for that: stop hookbox serve, run this again, and start it",
            before.reusable_bytes >> 20,
            left_bytes >> 20
        )));
    }
    let free_bytes = Disk::of(&config.database).map_or(u64::MAX, |disk| disk.free_bytes);
    if free_bytes < left_bytes.saturating_add(config.disk_reserve_bytes) {
        return Err(Failure::failed(format!(
            "rewriting the database takes {} MiB, and only {} MiB of the disk are free",
            left_bytes >> 20,
            free_bytes >> 20
        )));
    }
    pruner.vacuum()?;
    let given_bytes = before.database_bytes.saturating_sub(pruner.sizes()?.database_bytes);
    Ok(writeln!(out, "gave {} KiB back to the file system", given_bytes >> 10)?)
}

fn text(pruned: &Pruned) -> String {
    format!("{} events, {} KiB", pruned.events, pruned.bytes >> 10)
}
