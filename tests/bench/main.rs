//! The figures of hookbox, measured on the program that users run: `cargo bench` prints one table, in about ten minutes.
//!
//! ```text
//! cargo bench                      all but the peers
//! cargo bench -- --peers           also against other receivers: installs Flask with pip, and wants Debian's webhook
//! cargo bench -- --quick           within two minutes, and less sure
//! cargo bench -- drain idle        these rows only
//! cargo bench -- --writes          what a delivery costs the disk and the processor: within two minutes
//! ```
//!
//! `HOOKBOX_BIN` names another build to measure; `HOOKBOX_BENCH_BIN` a static one, whose memory is measured too.
//! The rows of `--writes` are those of `HOOKBOX_BENCH_BIN`, beside the build that `HOOKBOX_BENCH_BASE` names and the older
//! program, whose row says so where it is missing.
//!
//! Where sides are compared, each is alone on the machine, warmed up, and measured in turn with the others, round after
//! round; what is printed is the median, and between brackets the lowest and the highest. Nothing here asserts a speed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod load;
mod machine;
mod peers;
mod server;
mod sink;
mod syncs;
mod table;

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A hostile sender needs a descriptor.
const DESCRIPTORS: u64 = 4096;

/// How much of everything.
pub struct Scale {
    pub quick: bool,
    pub peers: bool,
    /// Sent before each measurement, and not counted: code, caches and connections are then as they are later.
    pub warm_up: Duration,
    /// For one figure.
    pub measure: Duration,
    /// How often all sides are measured in turn.
    pub rounds: usize,
    pub idle: Duration,
    pub latencies: usize,
    pub backlog: i64,
    pub pending: i64,
    pub stored: i64,
}

const FULL: Scale = Scale {
    quick: false,
    peers: false,
    warm_up: Duration::from_millis(400),
    measure: Duration::from_millis(1500),
    rounds: 3,
    idle: Duration::from_secs(60),
    latencies: 300,
    backlog: 50_000,
    pending: 1_000_000,
    stored: 5_000_000,
};

const QUICK: Scale = Scale {
    quick: true,
    warm_up: Duration::from_millis(200),
    measure: Duration::from_millis(500),
    rounds: 1,
    idle: Duration::from_secs(10),
    latencies: 50,
    backlog: 20_000,
    pending: 50_000,
    stored: 200_000,
    ..FULL
};

type Figure = fn(&Scale);

const FIGURES: [(&str, Figure); 16] = [
    ("acknowledgements", figures::acknowledgements),
    ("peers", figures::against_peers),
    ("storeless", figures::against_storing_nothing),
    ("sqlite", figures::against_bare_sqlite),
    ("writes", figures::writes),
    ("memory", figures::memory),
    ("payloads", figures::payloads_in_templates),
    ("million", figures::million),
    ("stored", figures::with_many_stored),
    ("backlog", figures::latency_beside_backlog),
    ("drain", figures::drained),
    ("engines", figures::drained_into_engines),
    ("started", figures::stored_to_started),
    ("hostile", figures::beside_hostile_senders),
    ("unproven", figures::beside_unproven_bodies),
    ("idle", figures::idle),
];

fn main() {
    let (flags, names): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let names = if flags.iter().any(|flag| flag == "--writes") { vec!["writes".to_owned()] } else { names };
    let has = |flag: &str| flags.iter().any(|it| it == flag);
    if !has("--bench") {
        return; // `cargo test --all-targets` runs benchmarks too; only `cargo bench` says so
    }
    if let Some(unknown) = names.iter().find(|name| FIGURES.iter().all(|(known, _)| known != name)) {
        let known: Vec<&str> = FIGURES.iter().map(|(name, _)| *name).collect();
        panic!("no rows are called {unknown:?}; there are {}", known.join(", "));
    }
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum: limit.maximum }).unwrap();
    let scale = Scale { peers: has("--peers"), ..if has("--quick") { QUICK } else { FULL } };
    machine::describe();
    table::begin();
    for (name, figure) in FIGURES {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            figure(&scale);
        }
    }
}
