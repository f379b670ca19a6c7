//! Written once: what a delivery costs the disk and the processor, beside the older program in the same run.
//!
//! `HOOKBOX_BENCH_BIN` names the build to measure, `HOOKBOX_BENCH_BASE` another one to compare it with.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{AND_PROCESSING, MANY, RECEIVING_ONLY, USUAL_BYTES, usual};
use crate::Scale;
use crate::load::{self, Kept, Sender};
use crate::peers::Older;
use crate::server::{Home, Server, hookbox};
use crate::sink::Sink;
use crate::syncs::SyncCounter;
use crate::table::{at_most, row};

/// Rows in the database before a measurement begins.
const STORED: usize = 300;

/// Enough for several checkpoints.
const DELIVERIES: usize = 400;

/// The median of what small services send, and that of GitHub.
const SIZES: [(usize, &str); 2] = [(614, "0.6 KiB"), (USUAL_BYTES, "8 KiB")];

/// An event that is not processed by then never is.
const PROCESSED_WITHIN: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_micros(200);

/// Beside the commits there are checkpoints of two syncs each, after about fifty single deliveries or more.
const WITH_CHECKPOINTS: f64 = 1.1;

/// What is done with a delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Stored,
    Logged,
    /// Sent on to a program of this machine that answers at once.
    Posted,
}

/// The cost of one delivery.
struct Cost {
    kib: f64,
    syncs: Option<f64>,
    cpu_us: f64,
}

/// One program, or two that share a database, under measurement.
enum Side {
    Hookbox(PathBuf),
    Older(Older),
}

/// A side and its name in the table.
struct Named(String, Side);

struct Row {
    work: Work,
    body: (usize, &'static str),
    senders: usize,
}

pub fn writes(scale: &Scale) {
    let sides = sides();
    let [ours, others @ ..] = sides.as_slice() else { return };
    let cost = |Named(name, side): &Named, row: &Row| side.cost(scale, row).map(|cost| (name.clone(), cost));
    let mut processed = Vec::new();
    for wanted in rows() {
        let Some((_, our_cost)) = cost(ours, &wanted) else { continue };
        let theirs: Vec<(String, Cost)> = others.iter().filter_map(|side| cost(side, &wanted)).collect();
        print(&wanted, &our_cost, &theirs);
        if (wanted.work, wanted.body.0, wanted.senders) == (Work::Logged, USUAL_BYTES, 1) {
            processed = [(ours.0.clone(), our_cost)].into_iter().chain(theirs).collect();
        }
    }
    print_card(&processed);
}

/// Ours first.
fn sides() -> Vec<Named> {
    let named = |variable: &str| std::env::var_os(variable).map(|path| std::path::absolute(path).unwrap());
    let ours = Named("hookbox".to_owned(), Side::Hookbox(named("HOOKBOX_BENCH_BIN").unwrap_or_else(hookbox)));
    let base = named("HOOKBOX_BENCH_BASE").map(|path| Named("base".to_owned(), Side::Hookbox(path)));
    let older = match Older::find() {
        Ok(older) => Some(Named("older".to_owned(), Side::Older(older))),
        Err(why) => {
            eprintln!("the older program is skipped: {why}");
            None
        }
    };
    [Some(ours), base, older].into_iter().flatten().collect()
}

fn rows() -> Vec<Row> {
    let works = [Work::Stored, Work::Logged, Work::Posted];
    let lone = SIZES.iter().flat_map(|body| works.map(|work| Row { work, body: *body, senders: 1 }));
    let many = [Work::Stored, Work::Logged].map(|work| Row { work, body: SIZES[1], senders: MANY });
    lone.chain(many).collect()
}

impl Side {
    /// None if this program does not do this work.
    fn cost(&self, scale: &Scale, row: &Row) -> Option<Cost> {
        let sink = Sink::start();
        let home = match (self, row.work) {
            (Side::Older(_), Work::Posted) => return None,
            (Side::Older(older), _) => older.home(),
            (Side::Hookbox(_), work) => Home::new().with_config(&config(work, &sink)),
        };
        let stored = self.start(&home, row.work);
        stored.deliver_alone(&home, row, STORED);
        stored.stop();
        rustix::fs::sync();
        let running = self.start(&home, row.work);
        Some(if row.senders == 1 { running.lone_cost(&home, row) } else { running.busy_cost(&home, scale, row) })
    }

    fn start(&self, home: &Home, work: Work) -> Running {
        Running(match self {
            Side::Hookbox(program) => vec![Server::start_quietly(home, program)],
            Side::Older(older) => older.start(home, work != Work::Stored),
        })
    }
}

fn config(work: Work, sink: &Sink) -> String {
    match work {
        Work::Stored => RECEIVING_ONLY.to_owned(),
        Work::Logged => AND_PROCESSING.to_owned(),
        Work::Posted => format!("[actions.sink]\nkind = \"http\"\nurl = \"http://{}/\"\non = [\"*\"]\n", sink.address),
    }
}

/// The processes of a side. The first one receives.
struct Running(Vec<Server>);

impl Running {
    /// The database is empty of open events and its WAL is checkpointed at both ends, so that nothing is left out.
    fn lone_cost(self, home: &Home, row: &Row) -> Cost {
        self.deliver_alone(home, row, 1);
        let counter = SyncCounter::attach(home, &self.pids());
        let before = (self.written_bytes(), self.cpu());
        self.deliver_alone(home, row, DELIVERIES);
        let cpu = self.cpu() - before.1;
        let syncs = counter.and_then(SyncCounter::count);
        self.per_delivery(DELIVERIES, before.0, cpu, syncs)
    }

    fn busy_cost(self, home: &Home, scale: &Scale, row: &Row) -> Cost {
        self.deliver_alone(home, row, 1);
        let counter = SyncCounter::attach(home, &self.pids());
        let before = (self.written_bytes(), self.cpu());
        let answers = usual(scale, row.senders, Kept::Closed).send_to(self.0[0].address);
        if row.work != Work::Stored {
            wait_until(|| super::open_events(home) == 0);
        }
        let cpu = self.cpu() - before.1;
        let syncs = counter.and_then(SyncCounter::count);
        if answers.failed > 0 {
            eprintln!("{} deliveries failed, {} did not", answers.failed, answers.count());
        }
        self.per_delivery(answers.count(), before.0, cpu, syncs)
    }

    fn per_delivery(self, count: usize, bytes_before: f64, cpu: Duration, syncs: Option<f64>) -> Cost {
        let count = count as f64;
        let written_bytes = self.stop().written_bytes() - bytes_before;
        Cost {
            kib: written_bytes / 1024.0 / count,
            syncs: syncs.map(|syncs| syncs / count),
            cpu_us: cpu.as_secs_f64() * 1e6 / count,
        }
    }

    /// The next is sent when the last is processed.
    fn deliver_alone(&self, home: &Home, row: &Row, deliveries: usize) {
        let mut sender = Sender::new(self.0[0].address, Kept::Closed, &load::body(row.body.0));
        let database = home.database();
        let mut status = database.prepare("SELECT status FROM webhook_events ORDER BY id DESC LIMIT 1").unwrap();
        for _ in 0..deliveries {
            assert_eq!(sender.deliver().unwrap(), 200, "a delivery is not acknowledged");
            if row.work != Work::Stored {
                wait_until(|| status.query_row([], |row| row.get::<_, String>(0)).unwrap() == "processed");
            }
        }
    }

    fn pids(&self) -> Vec<String> {
        self.0.iter().map(Server::pid).collect()
    }

    fn written_bytes(&self) -> f64 {
        self.0.iter().map(Server::written_bytes).sum()
    }

    fn cpu(&self) -> Duration {
        self.0.iter().map(Server::process_cpu).sum()
    }

    fn stop(self) -> Running {
        Running(self.0.into_iter().map(Server::stop).collect())
    }
}

fn wait_until(mut is_done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_done() {
        assert!(started.elapsed() < PROCESSED_WITHIN, "a delivery is not processed");
        std::thread::sleep(POLL);
    }
}

fn print(wanted: &Row, ours: &Cost, theirs: &[(String, Cost)]) {
    let work = match wanted.work {
        Work::Stored => "stored",
        Work::Logged => "processed by log",
        Work::Posted => "processed by http",
    };
    let how = if wanted.senders == 1 { "alone".to_owned() } else { format!("{} at once", wanted.senders) };
    let what = format!("a delivery of {}, {work}, {how}", wanted.body.1);
    let against = |number: &dyn Fn(&Cost) -> String| {
        theirs.iter().map(|(name, cost)| format!("{name}: {}", number(cost))).collect::<Vec<_>>().join("; ")
    };
    let [kib_target, syncs_target, cpu_target] = targets(wanted);
    let kib = |cost: &Cost| format!("{:.1} KiB", cost.kib);
    let reach = kib_target.map_or_else(String::new, |target| at_most(target, " KiB", ours.kib));
    row(&format!("{what}: written"), &kib(ours), &against(&kib), &reach);
    let syncs = |cost: &Cost| cost.syncs.map_or_else(|| "not counted".to_owned(), |syncs| format!("{syncs:.2}"));
    let judged = |target| ours.syncs.map(|syncs| at_most(target, "", syncs / WITH_CHECKPOINTS));
    row(&format!("{what}: syncs"), &syncs(ours), &against(&syncs), &syncs_target.and_then(judged).unwrap_or_default());
    let cpu = |cost: &Cost| format!("{:.0} µs", cost.cpu_us);
    let reach = cpu_target.map_or_else(String::new, |target| at_most(target, " µs", ours.cpu_us));
    row(&format!("{what}: of a core"), &cpu(ours), &against(&cpu), &reach);
}

/// Of KiB, syncs and microseconds.
fn targets(row: &Row) -> [Option<f64>; 3] {
    let is_usual = row.body.0 == USUAL_BYTES;
    match (row.work, row.senders, is_usual) {
        (Work::Stored, 1, true) => [Some(28.0), Some(1.0), None],
        (Work::Logged, 1, true) => [Some(40.0), Some(1.0), None],
        (Work::Stored, 1, false) => [None, Some(1.0), None],
        (Work::Logged, 1, false) => [Some(22.0), Some(1.0), None],
        (Work::Posted, ..) => [None, Some(2.0), None],
        (Work::Stored, ..) => [Some(14.0), Some(0.1), Some(105.0)],
        (Work::Logged, ..) => [Some(22.0), None, Some(150.0)],
    }
}

/// A usual card of a Raspberry Pi; cells of three bits each stand about so many cycles.
const CARD_BYTES: f64 = 32e9;
const ERASE_CYCLES: f64 = 1000.0;

/// Assumed: for each byte that the program writes, so many are written by the journal of the file system, and by the card,
/// which can only erase blocks of some MB.
const WRITE_AMPLIFICATION: f64 = 10.0;

fn print_card(costs: &[(String, Cost)]) {
    let lives_for = |cost: &Cost| {
        let deliveries = CARD_BYTES * ERASE_CYCLES / (cost.kib * 1024.0 * WRITE_AMPLIFICATION);
        format!("{:.0} million", deliveries / 1e6)
    };
    let shown = |(name, cost): &(String, Cost)| format!("{name}: {}", lives_for(cost));
    let [(_, ours), theirs @ ..] = costs else { return };
    row(
        &format!(
            "deliveries of 8 KiB, alone, processed by log, that a card of 32 GB with 1,000 erase cycles lives for: \
             32e9 bytes x 1,000 / ({:.1} x 1,024 bytes x {WRITE_AMPLIFICATION} of assumed write amplification)",
            ours.kib
        ),
        &lives_for(ours),
        &theirs.iter().map(shown).collect::<Vec<_>>().join("; "),
        "",
    );
}
