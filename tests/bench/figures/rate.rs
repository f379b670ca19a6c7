//! Rates.

use std::time::Instant;

use super::{AND_PROCESSING, MANY, PACE, RECEIVING_ONLY, USUAL_BYTES};
use super::{alone, in_turn, open_events, ours, plural, quotients, usual};
use crate::Scale;
use crate::load::{self, Answers, Kept, Load};
use crate::peers::{self, Peer, Rows};
use crate::server::{Home, Server, hookbox};
use crate::table::{Spread, at_least, ms, per_second, row, seconds, times};

const CONNECTIONS: [(Kept, &str); 2] = [(Kept::Closed, "one request a connection"), (Kept::Open, "connections kept")];

const SIZES: [(usize, &str); 4] =
    [(512, "0.5 KiB"), (USUAL_BYTES, "8 KiB"), (24 << 10, "24 KiB"), (256 << 10, "256 KiB")];

/// The other sides only receive. So does ours in the first of these; most users run the second.
const WORK: [&str; 2] = ["receiving only", "and processing"];

/// About as many rows as we commit at once under that load.
const BARE_BATCH: i64 = 32;

pub fn acknowledgements(scale: &Scale) {
    for (connection, manner) in CONNECTIONS {
        for (body_bytes, size) in SIZES {
            for senders in [1, 16, MANY] {
                let load = Load { body_bytes, ..usual(scale, senders, connection) };
                let [rounds] = in_turn(scale, [&|| ours(&load, AND_PROCESSING)]);
                row(&format!("{}, {size}, {manner}", plural(senders)), &summary(&rounds), "", "");
            }
        }
    }
}

fn summary(rounds: &[Answers]) -> String {
    let rate = Spread::of(rounds.iter().map(Answers::per_second), per_second);
    let quantile = |share| Spread::of(seconds(rounds.iter().map(|answers| answers.quantile(share))), ms).median;
    format!("{rate}, p50 {}, p99 {}", ms(quantile(0.5)), ms(quantile(0.99)))
}

pub fn against_peers(scale: &Scale) {
    if !scale.peers {
        return;
    }
    for peer in Peer::all() {
        for (connection, manner) in CONNECTIONS {
            let load = usual(scale, MANY, connection);
            let targets = match (peer.stores, connection) {
                (false, _) => [None; 2],
                (true, Kept::Closed) => [Some(15.0), Some(12.0)],
                (true, Kept::Open) => [Some(18.0), Some(14.0)],
            };
            against(scale, manner, targets, &load, &peer.name, &|| alone(&load, || peer.start()).per_second());
        }
    }
}

pub fn against_storing_nothing(scale: &Scale) {
    if scale.quick {
        return; // another build
    }
    let program = peers::storing_nothing();
    for (connection, manner) in CONNECTIONS {
        let load = usual(scale, MANY, connection);
        let theirs = || {
            let home = Home::new().with_config(RECEIVING_ONLY);
            alone(&load, || Server::start(&home, &program)).per_second()
        };
        let target = match connection {
            Kept::Closed => 0.70,
            Kept::Open => 0.65,
        };
        against(scale, manner, [Some(target), None], &load, "the same, storing nothing", &theirs);
    }
}

/// `targets` are those of receiving only, and of processing too.
fn against(scale: &Scale, manner: &str, targets: [Option<f64>; 2], load: &Load, name: &str, theirs: &dyn Fn() -> f64) {
    let only = || ours(load, RECEIVING_ONLY).per_second();
    let both = || ours(load, AND_PROCESSING).per_second();
    let [only, both, theirs] = in_turn(scale, [&only, &both, theirs]);
    let their_rate = Spread::of(theirs.iter().copied(), per_second);
    for ((work, target), ours) in WORK.into_iter().zip(targets).zip([only, both]) {
        let quotient = Spread::of(quotients(&ours, &theirs), times);
        row(
            &format!("{MANY} senders, {manner}, {work}"),
            &Spread::of(ours, per_second).to_string(),
            &format!("{name}: {their_rate}; {quotient}"),
            &target.map_or_else(String::new, |target| at_least(target, " x", quotient.median)),
        );
    }
}

pub fn against_bare_sqlite(scale: &Scale) {
    for (senders, batch) in [(1, 1), (MANY, BARE_BATCH)] {
        let load = usual(scale, senders, Kept::Open);
        let bare = || {
            let home = Home::new().with_schema();
            rustix::fs::sync();
            peers::bare_inserts_per_second(&home, batch, USUAL_BYTES, scale.measure)
        };
        let [ours, theirs] = in_turn(scale, [&|| ours(&load, RECEIVING_ONLY).per_second(), &bare]);
        let quotient = Spread::of(quotients(&ours, &theirs), times);
        let theirs = Spread::of(theirs, per_second);
        row(
            &format!("{}, connections kept, receiving only", plural(senders)),
            &Spread::of(ours, per_second).to_string(),
            &format!("bare SQLite, rows in a commit: {batch}: {theirs}; {quotient}"),
            "",
        );
    }
}

pub fn with_many_stored(scale: &Scale) {
    let full_home = Home::new().with_config(RECEIVING_ONLY).with_schema();
    let stored = scale.stored;
    let database = full_home.database();
    // As fast as possible: these rows need not survive a crash. Our program resets these settings.
    database
        .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000")
        .unwrap();
    Rows { status: "processed", headers: "{}", payload: "{}", count: stored }.insert(&database);
    drop(database);
    let load = usual(scale, MANY, Kept::Closed);
    let full = || alone(&load, || Server::start(&full_home, &hookbox())).per_second();
    let [full, empty] = in_turn(scale, [&full, &|| ours(&load, RECEIVING_ONLY).per_second()]);
    let quotient = Spread::of(quotients(&full, &empty), times);
    row(
        &format!("{MANY} senders, {stored} small rows stored, receiving only"),
        &Spread::of(full, per_second).to_string(),
        &format!("none stored: {}; {quotient}", Spread::of(empty, per_second)),
        &at_least(0.9, " x", quotient.median),
    );
}

pub fn drained(scale: &Scale) {
    let events = scale.backlog / 2;
    let drain = || {
        let home = Home::new().with_backlog(events, &load::body(USUAL_BYTES));
        rustix::fs::sync();
        let began = Instant::now();
        let _server = Server::start(&home, &hookbox());
        while open_events(&home) > 0 {
            std::thread::sleep(PACE);
        }
        events as f64 / began.elapsed().as_secs_f64()
    };
    let [rates] = in_turn(scale, [&drain]);
    let rate = Spread::of(rates, per_second);
    row("events of 8 KiB drained by the log action", &rate.to_string(), "", &at_least(3000.0, "/s", rate.median));
}
