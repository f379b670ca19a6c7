//! `hookbox replay` and `hookbox cancel`: jobs are queued again, or not done any more.

use std::io::Write;

use super::Failure;
use super::args::{CancelArgs, ReplayArgs, SelectionArgs};
use super::progress::Progress;
use crate::clock;
use crate::config::Config;
use crate::event::{EventId, Status};
use crate::store::{Commands, ReplayOptions, Selection};

/// Events between two looks at the clock, for showing how far it has come.
const BATCH: usize = 1000;

pub(super) fn replay(config: &Config, args: &ReplayArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut operator = Commands::open(&config.database)?;
    let events = select(&operator, &args.selection)?;
    // Who asks for what is in error and names an action does not mean those where it succeeded and another one failed.
    let spares_succeeded = args.selection.status == Some(Status::Error) && args.action.is_some();
    let options = ReplayOptions { action: args.action.as_deref(), spares_succeeded };
    if args.dry_run {
        let events = operator.replayable(&events, &options)?;
        events.iter().try_for_each(|event| writeln!(out, "would replay event {event}"))?;
        return Ok(());
    }
    let (mut replayed, mut progress) = (0, Progress::new());
    for (done, batch) in events.chunks(BATCH).enumerate() {
        replayed += operator.replay(batch, &options)?;
        progress.show(|| format!("{} of {}", done * BATCH + batch.len(), count(events.len())));
    }
    drop(progress);
    Ok(writeln!(out, "queued {}", count(replayed))?)
}

pub(super) fn cancel(config: &Config, args: &CancelArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut operator = Commands::open(&config.database)?;
    let events = select(&operator, &args.selection)?;
    let cancelled = operator.cancel(&events, args.action.as_deref(), clock::now())?;
    Ok(writeln!(out, "cancelled the open jobs of {}", count(cancelled))?)
}

/// A number that does not exist is a mistake that should be seen.
fn select(operator: &Commands, args: &SelectionArgs) -> Result<Vec<EventId>, Failure> {
    let since = args.since.map(|ago| clock::now().minus(ago));
    let selection = Selection { ids: args.ids.clone(), status: args.status, since };
    let events = operator.select(&selection)?;
    let filtered = args.status.is_some() || since.is_some();
    match args.ids.iter().find(|id| !filtered && !events.contains(id)) {
        Some(missing) => {
            Err(Failure::failed(format!("there is no event {missing}: `hookbox list` shows which there are")))
        }
        None => Ok(events),
    }
}

fn count(events: usize) -> String {
    if events == 1 { "1 event".to_owned() } else { format!("{events} events") }
}
