//! `hookbox replay` and `hookbox cancel`: queue jobs again, or cancel them.

use std::io::Write;

use super::args::ReplayArgs;
use super::pause::write_held;
use super::progress::Progress;
use super::{Failure, no_event, table};
use crate::clock;
use crate::config::Config;
use crate::event::{EventId, ShownStatus};
use crate::store::{Cancelled, Commands, ReplayOptions, ReplayScope, ReplayTotals, Replayed, Selection};

/// Events after which progress is shown.
const BATCH: usize = 1000;

/// Of so many events each has a line of its own; of more, each action.
const MAX_LINES: usize = 20;

/// How to do what has succeeded.
const AGAIN: &str = ": --again does it again";

pub(super) fn replay(config: &Config, args: &ReplayArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut commands = Commands::open(&config.database)?;
    let mut selection = args.selection.clone();
    // Those that are done have no failed job.
    selection.filter.is_unfinished = args.scope == ReplayScope::Failed && selection.ids.is_empty();
    let events = select(&commands, &selection, out)?;
    let options = ReplayOptions { action: args.action.as_deref(), scope: args.scope };
    let (mut replayed, mut progress, mut done) = (Vec::new(), Progress::new(), 0);
    for batch in events.chunks(BATCH) {
        replayed.extend(match args.dry_run {
            true => commands.plan_replay(batch, &options, clock::now())?,
            false => commands.replay(batch, &options, clock::now())?,
        });
        done += batch.len();
        progress.show(|| format!("{done} of {}", count(events.len(), "event")));
    }
    drop(progress);
    let is_by_id = !args.selection.ids.is_empty();
    let totals = write_replayed(&replayed, is_by_id, args.dry_run, out)?;
    if replayed.is_empty() {
        writeln!(out, "{}", nothing(args, &events))?;
    }
    writeln!(out, "{}", totals.sum(args.dry_run))?;
    write_obstacles(config, &commands, &totals, out)?;
    write_held(&commands, args.action.as_deref(), out)
}

/// A line for each event, or for each action where the events are many.
fn write_replayed(
    replayed: &[Replayed],
    is_by_id: bool,
    is_planned: bool,
    out: &mut dyn Write,
) -> Result<ReplayTotals, Failure> {
    let mut totals = ReplayTotals::default();
    replayed.iter().for_each(|event| totals.add(event));
    if is_by_id || replayed.len() <= MAX_LINES {
        for event in replayed {
            writeln!(out, "event {}: {}", event.event, table::one_line(&event.text(is_planned, AGAIN)))?;
        }
    } else {
        totals.lines(is_planned, AGAIN).iter().try_for_each(|line| writeln!(out, "{}", table::one_line(line)))?;
    }
    Ok(totals)
}

/// Why nothing is to be done for any event.
fn nothing(args: &ReplayArgs, events: &[EventId]) -> String {
    let of_action = args.action.as_ref().map_or(String::new(), |action| format!(" of {}", table::one_line(action)));
    match args.scope {
        ReplayScope::Failed if args.selection.is_any() || !events.is_empty() => {
            format!("no job{of_action} is dead or waits for a retry")
        }
        _ => "no event passes the filter".to_owned(),
    }
}

/// What keeps queued jobs from being done.
fn write_obstacles(
    config: &Config,
    commands: &Commands,
    totals: &ReplayTotals,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let paused = commands.paused()?;
    for action in totals.actions() {
        let name = table::one_line(action);
        if !config.actions.contains_key(action) {
            writeln!(out, "{name} is not in the config: its jobs wait until it is")?;
        } else if paused.iter().any(|paused| paused == action) {
            writeln!(out, "{name} is paused: its jobs wait (hookbox resume {name})")?;
        }
    }
    Ok(())
}

pub(super) fn cancel(
    config: &Config,
    selection: &Selection,
    action: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut commands = Commands::open(&config.database)?;
    let mut selection = selection.clone();
    // Others have no open job.
    if selection.ids.is_empty() {
        selection.filter.status.get_or_insert(ShownStatus::Unprocessed);
    }
    let events = select(&commands, &selection, out)?;
    let cancelled = commands.cancel(&events, action, clock::now())?;
    if !selection.ids.is_empty() {
        for event in cancelled.iter().filter(|event| event.jobs == 0) {
            writeln!(out, "event {}: {}", event.event, no_open_job(action))?;
        }
    }
    let jobs = cancelled.iter().map(|event| event.jobs).sum();
    let changed = cancelled.iter().filter(|Cancelled { jobs, .. }| *jobs > 0).count();
    Ok(writeln!(out, "cancelled {} of {}", count(jobs, "job"), count(changed, "event"))?)
}

fn no_open_job(action: Option<&str>) -> String {
    action.map_or("no job is open".to_owned(), |action| format!("no job of {} is open", table::one_line(action)))
}

/// An ID that does not exist is an error; one that does not pass the filter is reported.
fn select(commands: &Commands, selection: &Selection, out: &mut dyn Write) -> Result<Vec<EventId>, Failure> {
    let events = commands.select(selection)?;
    let unfiltered = Selection { ids: selection.ids.clone(), ..Selection::default() };
    let existing = if selection.ids.is_empty() { Vec::new() } else { commands.select(&unfiltered)? };
    if let Some(missing) = selection.ids.iter().find(|id| !existing.contains(id)) {
        return Err(no_event(*missing));
    }
    for id in existing.iter().filter(|id| !events.contains(id)) {
        writeln!(out, "event {id}: does not pass the filter")?;
    }
    Ok(events)
}

fn count(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
