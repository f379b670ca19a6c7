//! How long the disk of a database takes to make a commit durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::files::{open_own, resolved, sibling};

/// About what the commit of a delivery of 8 KiB appends to the WAL.
const COMMIT: [u8; 12 << 10] = [0x5a; 12 << 10];

/// Measures one sync, of a file that is made beside the database and removed again. The database is not touched.
pub fn sync_time(database: &Path) -> io::Result<Duration> {
    let scratch = sibling(&resolved(database), &format!(".sync-{}", std::process::id()));
    let file = open_own(&scratch, OpenOptions::new().write(true).create_new(true))?;
    // It keeps its name until then: some file systems treat a file without a name differently.
    let measured = time_sync(file);
    fs::remove_file(&scratch)?;
    measured
}

fn time_sync(mut file: File) -> io::Result<Duration> {
    file.write_all(&COMMIT)?;
    let began = Instant::now();
    file.sync_data()?;
    Ok(began.elapsed())
}
