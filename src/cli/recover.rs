//! `hookbox recover`: gets back what was missed, now.

use std::io::Write;
use std::thread;

use super::args::RecoverArgs;
use super::table::{Layout, Screen, one_line};
use super::{Failure, unknown_source};
use crate::config::{Config, Mode};
use crate::recover::{Asked, Limits, RecoverError, Recoverer};
use crate::secret::Env;
use crate::store::{Missed, Recoveries};

const HEADINGS: [&str; 4] = ["delivered", "type", "delivery id", "what the provider says"];

pub(super) fn run(config: &Config, args: &RecoverArgs, env: &Env<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(source) = config.sources.get(&args.source) else {
        return Err(unknown_source(config, &args.source));
    };
    let Some(recover) = &source.recover else {
        let name = &source.name;
        return Err(Failure::usage(format!(
            "there is no [sources.{name}.recover] in the config: see hookbox help recover"
        )));
    };
    let token = source.fetch_recover_token(recover, env).map_err(Failure::usage)?;
    let store = Recoveries::open(&config.database)?;
    let sleep = |duration| {
        thread::sleep(duration);
        false
    };
    let recoverer = Recoverer::new(source, recover, &token, Limits::of(config), &store, &sleep)?;
    let comparison = recoverer.compare(args.since, None)?;
    if args.dry_run {
        let mut missing = store.missing(&source.name)?;
        let is_recorded = |it: &Missed| missing.iter().any(|recorded| recorded.delivery_id == it.delivery_id);
        let more: Vec<Missed> = comparison.missed.into_iter().filter(|it| !is_recorded(it)).collect();
        missing.extend(more);
        return write_missing(&missing, out);
    }
    recoverer.record(&comparison)?;
    let earlier = store.settle(&source.name)?;
    let (title, missed) = (recover.recovery.title, comparison.missed.len());
    let Asked { asked, taken, waiting, lost } = recoverer.get_back(comparison.sent)?;
    let arrived = earlier + store.settle(&source.name)?;
    writeln!(out, "{title} lists {missed} more that were not stored; {arrived} have arrived")?;
    match recover.mode {
        Mode::Redeliver => {
            writeln!(out, "asked for {asked}; {waiting} were asked for within the hour; {lost} are lost")?;
        }
        Mode::Take => writeln!(out, "{taken} are stored; {waiting} wait for the next time; {lost} are lost")?,
    }
    Ok(())
}

fn write_missing(missing: &[Missed], out: &mut dyn Write) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(writeln!(out, "nothing is missing")?);
    }
    let row = |it: &Missed| {
        [it.at.to_string(), one_line(&it.event_type), one_line(&it.delivery_id), one_line(&it.status)]
            .map(|cell| cell.to_string())
    };
    let rows: Vec<[String; 4]> = missing.iter().map(row).collect();
    let layout = Layout::of(HEADINGS.map(str::len), 1..HEADINGS.len(), &rows, Screen::of_stdout());
    writeln!(out, "{}", layout.line(&HEADINGS.map(str::to_owned), None))?;
    rows.iter().try_for_each(|row| writeln!(out, "{}", layout.line(row, None)))?;
    Ok(writeln!(out, "{} missing", missing.len())?)
}

impl From<RecoverError> for Failure {
    fn from(error: RecoverError) -> Failure {
        match error {
            RecoverError::Refused(why) => Failure::usage(why),
            RecoverError::Storage(error) => error.into(),
            other => Failure::failed(other),
        }
    }
}
