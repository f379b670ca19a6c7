//! `hookbox replay` and `hookbox cancel`: queue jobs again, or cancel them.

use std::io::Write;

use super::args::ReplayArgs;
use super::pause::write_held;
use super::progress::Progress;
use super::{Failure, no_event};
use crate::clock;
use crate::config::Config;
use crate::event::{EventId, Status};
use crate::store::{Commands, ReplayOptions, Selection};

/// Events of one transaction, after which progress is shown.
const BATCH: usize = 1000;

pub(super) fn replay(config: &Config, args: &ReplayArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut commands = Commands::open(&config.database)?;
    let events = select(&commands, &args.selection)?;
    // If the named action succeeded and another one put the event in error, the named one does not run again.
    let spares_succeeded = args.selection.status == Some(Status::Error) && args.action.is_some();
    let options = ReplayOptions { action: args.action.as_deref(), spares_succeeded };
    if args.dry_run {
        let events = commands.replayable(&events, &options)?;
        events.iter().try_for_each(|event| writeln!(out, "would replay event {event}"))?;
        return Ok(());
    }
    let (mut replayed, mut progress) = (0, Progress::new());
    for (done, batch) in events.chunks(BATCH).enumerate() {
        replayed += commands.replay(batch, &options)?;
        progress.show(|| format!("{} of {}", done * BATCH + batch.len(), count(events.len())));
    }
    drop(progress);
    writeln!(out, "queued {}", count(replayed))?;
    write_held(&commands, args.action.as_deref(), out)
}

pub(super) fn cancel(
    config: &Config,
    selection: &Selection,
    action: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut commands = Commands::open(&config.database)?;
    let events = select(&commands, selection)?;
    let cancelled = commands.cancel(&events, action, clock::now())?;
    Ok(writeln!(out, "cancelled the open jobs of {}", count(cancelled))?)
}

/// An ID that does not exist is an error.
fn select(commands: &Commands, selection: &Selection) -> Result<Vec<EventId>, Failure> {
    let events = commands.select(selection)?;
    let filtered = selection.status.is_some() || selection.since.is_some();
    match selection.ids.iter().find(|id| !filtered && !events.contains(id)) {
        Some(missing) => Err(no_event(*missing)),
        None => Ok(events),
    }
}

fn count(events: usize) -> String {
    if events == 1 { "1 event".to_owned() } else { format!("{events} events") }
}
