//! The figures: each a function that prints its rows.

mod engines;
mod latency;
mod payloads;
mod rate;
mod resources;
mod writes;

use std::time::Duration;

use crate::Scale;
use crate::load::{Answers, Kept, Load};
use crate::server::{Home, Server, hookbox};

pub use engines::drained_into_engines;
pub use latency::{beside_hostile_senders, beside_unproven_bodies, latency_beside_backlog, stored_to_started};
pub use payloads::payloads_in_templates;
pub use rate::{
    acknowledgements, against_bare_sqlite, against_peers, against_storing_nothing, drained, with_many_stored,
};
pub use resources::{idle, memory, million};
pub use writes::writes;

/// The median of GitHub's payloads.
const USUAL_BYTES: usize = 8 << 10;

const MANY: usize = 64;

const PACE: Duration = Duration::from_millis(10);

/// Configurations: deliveries are only stored; or the built-in action processes them too, as without a config.
const RECEIVING_ONLY: &str = "[actions]\n";
const AND_PROCESSING: &str = "";

fn usual(scale: &Scale, senders: usize, connection: Kept) -> Load {
    let (warm_up, duration) = (scale.warm_up, scale.measure);
    Load { senders, body_bytes: USUAL_BYTES, connection, pace: None, warm_up, duration }
}

/// One sender every 10 ms; long enough for a 99th percentile.
fn paced(scale: &Scale) -> Load {
    Load { pace: Some(PACE), duration: scale.measure * 3, ..usual(scale, 1, Kept::Closed) }
}

fn plural(senders: usize) -> String {
    if senders == 1 { "1 sender".to_owned() } else { format!("{senders} senders") }
}

/// All sides in turn, round after round, so that all have the same conditions. The results of each side.
fn in_turn<T, const SIDES: usize>(scale: &Scale, sides: [&dyn Fn() -> T; SIDES]) -> [Vec<T>; SIDES] {
    let mut given = [const { Vec::new() }; SIDES];
    for _ in 0..scale.rounds {
        for (side, given) in sides.iter().zip(&mut given) {
            given.push(side());
        }
    }
    given
}

/// One side divided by the other, round by round.
fn quotients(these: &[f64], those: &[f64]) -> Vec<f64> {
    these.iter().zip(those).map(|(this, that)| this / that).collect()
}

/// One side, alone on the machine: pending writes of the one before are flushed first, and it has ended when the next
/// starts.
fn alone(load: &Load, start: impl FnOnce() -> Server) -> Answers {
    rustix::fs::sync();
    let server = start();
    let answers = load.measure(server.address);
    server.stop();
    assert!(answers.count() > 0, "nothing is acknowledged: {} deliveries failed", answers.failed);
    if answers.failed > 0 {
        eprintln!("{} deliveries failed, {} did not", answers.failed, answers.count());
    }
    answers
}

/// Our side, with an empty database.
fn ours(load: &Load, config: &str) -> Answers {
    let home = Home::new().with_config(config);
    alone(load, || Server::start(&home, &hookbox()))
}

fn open_events(home: &Home) -> i64 {
    home.count("SELECT count(*) FROM webhook_events WHERE status = 'unprocessed'")
}
