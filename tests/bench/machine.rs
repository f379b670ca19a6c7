//! What the figures were measured on, in the lines above the table.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use rustix::fs::fdatasync;

use crate::server::Home;
use crate::table::{Spread, ms};

/// Enough for a median.
const SYNCS: usize = 100;

const PAGE: [u8; 4096] = [0x5a; 4096];

pub fn describe() {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("{cores} cores of {}, {}, Linux {}; {}", processor(), memory(), kernel.trim(), load());
    let home = Home::new();
    println!("{}; fdatasync of 4 KiB: {}", file_system(&home.path("")), fdatasync_time(&home));
    println!("hookbox {}, SQLite {}\n", env!("CARGO_PKG_VERSION"), rusqlite::version());
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |line: &str| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned());
    info.lines().find_map(named).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn memory() -> String {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: f64 = info.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0.0);
    format!("{:.0} GB of memory", kib / 1e6)
}

/// What else was going on: the figures of a machine that is not left alone say little.
fn load() -> String {
    let averages = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load {} in the minute before", averages.split(' ').next().unwrap_or_default())
}

/// Its type and device: of the mounts that `path` is under, the last one of the longest.
fn file_system(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let over = fields.filter(|fields| fields.len() > 2 && path.starts_with(fields[1]));
    over.max_by_key(|fields| fields[1].len())
        .map_or_else(|| "an unknown file system".to_owned(), |fields| format!("{} on {}", fields[2], fields[0]))
}

/// What the disk takes to make a page of a growing file durable: nothing that is acknowledged one by one is faster.
fn fdatasync_time(home: &Home) -> Spread {
    let mut file = File::create(home.path("pages")).unwrap();
    let mut once = || {
        let began = Instant::now();
        file.write_all(&PAGE).unwrap();
        fdatasync(&file).unwrap();
        began.elapsed().as_secs_f64()
    };
    Spread::of((0..SYNCS).map(|_| once()).collect::<Vec<f64>>(), ms)
}
