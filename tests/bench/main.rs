//! The figures of hookbox, measured on the program that users run: `cargo bench` prints one table, in a few minutes.
//!
//! ```text
//! cargo bench                      all but the peers
//! cargo bench -- --quick           under a minute, and less sure
//! cargo bench -- --peers           also against other receivers: installs Flask with pip, and wants Debian's webhook
//! cargo bench -- drain idle        these rows only
//! ```
//!
//! Where two sides are compared, they are measured in turn in the same run. Nothing here asserts a speed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod figures;
mod load;
mod peers;
mod server;
mod table;

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A hostile sender needs a descriptor.
const DESCRIPTORS: u64 = 4096;

/// How much of everything.
pub struct Scale {
    pub quick: bool,
    pub peers: bool,
    /// For one figure.
    pub measure: Duration,
    /// How often two sides are measured in turn.
    pub rounds: usize,
    pub idle: Duration,
    pub latencies: usize,
    pub backlog: i64,
    pub pending: i64,
    pub stored: i64,
}

impl Scale {
    fn new(quick: bool, peers: bool) -> Scale {
        let seconds = Duration::from_secs;
        if quick {
            let measure = Duration::from_millis(500);
            let (backlog, pending, stored) = (10_000, 50_000, 200_000);
            return Scale {
                quick,
                peers,
                measure,
                rounds: 1,
                idle: seconds(10),
                latencies: 50,
                backlog,
                pending,
                stored,
            };
        }
        let (backlog, pending, stored) = (50_000, 1_000_000, 5_000_000);
        Scale {
            quick,
            peers,
            measure: seconds(2),
            rounds: 3,
            idle: seconds(60),
            latencies: 300,
            backlog,
            pending,
            stored,
        }
    }
}

type Figure = fn(&Scale);

const FIGURES: [(&str, Figure); 13] = [
    ("acknowledgements", figures::acknowledgements),
    ("peers", figures::against_peers),
    ("storeless", figures::against_storing_nothing),
    ("sqlite", figures::against_bare_sqlite),
    ("costs", figures::costs),
    ("memory", figures::memory),
    ("million", figures::million),
    ("stored", figures::with_many_stored),
    ("backlog", figures::latency_beside_backlog),
    ("drain", figures::drained),
    ("started", figures::stored_to_started),
    ("idle", figures::idle),
    ("hostile", figures::beside_hostile_senders),
];

fn main() {
    let (flags, names): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let has = |flag: &str| flags.iter().any(|it| it == flag);
    if !has("--bench") {
        return; // `cargo test --all-targets` runs benchmarks too; only `cargo bench` says so
    }
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum: limit.maximum }).unwrap();
    let scale = Scale::new(has("--quick"), has("--peers"));
    table::begin();
    for (name, figure) in FIGURES {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            figure(&scale);
        }
    }
}
