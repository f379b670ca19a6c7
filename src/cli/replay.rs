//! `hookbox replay` and `hookbox cancel`: jobs are queued again, or not done any more.

use std::io::Write;

use super::Failure;
use super::args::{CancelArgs, ReplayArgs, SelectionArgs};
use crate::clock;
use crate::config::Config;
use crate::event::EventId;
use crate::store::{Operator, Selection};

pub(super) fn replay(config: &Config, args: &ReplayArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut operator = Operator::open(&config.database)?;
    let events = select(&operator, &args.selection)?;
    if args.dry_run {
        let events = operator.replayable(&events, args.action.as_deref())?;
        events.iter().try_for_each(|event| writeln!(out, "would replay event {event}"))?;
        return Ok(());
    }
    let replayed = operator.replay(&events, args.action.as_deref())?;
    Ok(writeln!(out, "queued {}", count(replayed))?)
}

pub(super) fn cancel(config: &Config, args: &CancelArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut operator = Operator::open(&config.database)?;
    let events = select(&operator, &args.selection)?;
    let cancelled = operator.cancel(&events, args.action.as_deref(), clock::now())?;
    Ok(writeln!(out, "cancelled the open jobs of {}", count(cancelled))?)
}

/// A number that does not exist is a mistake that should be seen.
fn select(operator: &Operator, args: &SelectionArgs) -> Result<Vec<EventId>, Failure> {
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
