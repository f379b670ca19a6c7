//! Resources used: memory, the start, and what an idle program does.

use std::time::{Duration, Instant};

use super::{MANY, PACE, in_turn, open_events, usual};

use crate::Scale;
use crate::load::{self, Kept, Sender};
use crate::peers::Rows;
use crate::server::{Home, Server, builds, hookbox};
use crate::table::{Spread, at_most, mb, ms, row};

/// The default interval at which an idle program polls for rows of other programs.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Every event waits forever: the log action is for a source that sends nothing.
const NO_ACTION: &str = "[actions.none]\nkind = \"log\"\non = [\"nobody:nothing\"]\n";

pub fn memory(scale: &Scale) {
    for (build, program) in builds() {
        let (idle, busy): (Vec<f64>, Vec<f64>) = (0..scale.rounds).map(|_| idle_and_busy_mb(scale, &program)).unzip();
        let (idle, busy) = (Spread::of(idle, mb), Spread::of(busy, mb));
        row(&format!("resident, idle, {build}"), &idle.to_string(), "", &at_most(5.0, " MB", idle.median));
        row(&format!("resident, 64 senders, {build}"), &busy.to_string(), "", &at_most(16.0, " MB", busy.median));
    }
}

fn idle_and_busy_mb(scale: &Scale, program: &std::path::Path) -> (f64, f64) {
    let home = Home::new();
    let server = Server::start(&home, program);
    std::thread::sleep(Duration::from_secs(1));
    let idle = server.resident_mb();
    usual(scale, MANY, Kept::Closed).measure(server.address);
    (idle, server.peak_mb())
}

/// Memory and start with a full queue.
pub fn million(scale: &Scale) {
    let home = Home::new().with_config(NO_ACTION).with_schema();
    let pending = scale.pending;
    fill_queue(&home, pending);
    let load = usual(scale, MANY, Kept::Closed);
    for (build, program) in builds() {
        rustix::fs::sync();
        let server = Server::start(&home, &program);
        load.measure(server.address);
        let peak = server.peak_mb();
        row(
            &format!("resident, {pending} events pending, 64 senders, {build}"),
            &mb(peak),
            "",
            &at_most(16.0, " MB", peak),
        );
    }
    let start = || {
        let killed = Server::start(&home, &hookbox());
        load.measure(killed.address);
        drop(killed); // SIGKILL
        let began = Instant::now();
        let server = Server::start(&home, &hookbox());
        Sender::new(server.address, Kept::Closed, "{}").deliver().unwrap();
        began.elapsed().as_secs_f64()
    };
    let [times] = in_turn(scale, [&start]);
    let time = Spread::of(times, ms);
    row(
        &format!("start to first answer, {pending} rows, after kill -9"),
        &time.to_string(),
        "",
        &at_most(200.0, " ms", time.median * 1e3),
    );
}

/// Events of which each waits for its second attempt, in an hour.
fn fill_queue(home: &Home, rows: i64) {
    let database = home.database();
    database.pragma_update(None, "synchronous", "OFF").unwrap();
    Rows::usual("unprocessed", &load::body(512), rows).insert(&database);
    let in_an_hour = "(unixepoch() + 3600) * 1000";
    database
        .execute_batch(&format!(
            "INSERT INTO jobs (event_id, action, state, attempts, tries, due_at_ms)
                 SELECT event_id, 'none', 'queued', 1, 1, {in_an_hour} FROM unrouted;
             DELETE FROM unrouted;"
        ))
        .unwrap();
}

pub fn idle(scale: &Scale) {
    let home = Home::new();
    let server = Server::start(&home, &hookbox());
    usual(scale, 1, Kept::Closed).send_to(server.address);
    while open_events(&home) > 0 {
        std::thread::sleep(PACE);
    }
    // The first poll after the last commit still writes a page.
    std::thread::sleep(POLL_INTERVAL * 2);
    let read = || (server.written_bytes(), server.sleeps(), server.cpu());
    let before = read();
    std::thread::sleep(scale.idle);
    let after = read();
    let seconds = scale.idle.as_secs_f64();
    let (bytes, sleeps) = (after.0 - before.0, after.1 - before.1);
    let percent = (after.2 - before.2).as_secs_f64() / seconds * 100.0;
    row(
        &format!("idle for {seconds:.0} s"),
        &format!("{bytes:.0} bytes written, {sleeps:.0} wake-ups, {percent:.3} % of a core"),
        "",
        &format!(
            "{}; {}; {}",
            at_most(0.0, " bytes", bytes),
            at_most(seconds, " wake-ups", sleeps),
            at_most(0.1, " %", percent)
        ),
    );
}
