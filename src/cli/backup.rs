//! `hookbox backup`: a copy of the database.

use std::io::Write;
use std::path::Path;

use super::Failure;
use super::progress::Progress;
use crate::config::Config;
use crate::store;

pub(super) fn run(config: &Config, file: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let show = |done: i32, all: i32| progress.show(|| format!("{} of {} pages copied", done, all));
    let copied = store::backup(&config.database, file, config.disk_reserve_bytes, show)?;
    drop(progress);
    let (events, kib) = (copied.events, copied.bytes >> 10);
    Ok(writeln!(out, "wrote {events} events, {kib} KiB, to {} and verified them", file.display())?)
}
