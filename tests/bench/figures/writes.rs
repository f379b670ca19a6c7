//! Written once: what a delivery costs the disk and the processor, beside the older program in the same run.
//!
//! `HOOKBOX_BENCH_BIN` names the build to measure, `HOOKBOX_BENCH_BASE` another one to compare it with.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{AND_PROCESSING, MANY, RECEIVING_ONLY, USUAL_BYTES, open_events, usual};
use crate::Scale;
use crate::load::{self, Kept, Sender};
use crate::peers::Older;
use crate::server::{self, Home, Server};
use crate::sink::Sink;
use crate::syncs::{Counting, SyncCounter};
use crate::table::{at_most, row};

/// Rows in the database before a measurement begins.
const STORED: usize = 300;

/// Enough for several checkpoints.
const DELIVERIES: usize = 400;

/// A small body, and the median of what GitHub sends.
const SIZES: [(usize, &str); 2] = [(614, "0.6 KiB"), (USUAL_BYTES, "8 KiB")];

/// An event that is not processed by then never is.
const PROCESSED_WITHIN: Duration = Duration::from_secs(180);

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

/// A program under measurement, or two that share a database.
enum Program {
    Hookbox(PathBuf),
    Older(Older),
    Missing,
}

/// A program, and what the table calls it.
struct Side {
    name: &'static str,
    program: Program,
}

/// What a side costs; none where its program is missing.
struct Measured {
    name: &'static str,
    cost: Option<Cost>,
}

/// A delivery, in the rows about it.
struct Case {
    work: Work,
    body: (usize, &'static str),
    senders: usize,
}

pub fn writes(scale: &Scale) {
    let sides = sides();
    for case in cases() {
        let sides = sides.iter().filter(|side| side.program.does(case.work));
        let measured: Vec<Measured> = sides.map(|side| side.measure(scale, &case)).collect();
        print(&case, &measured);
        if case.work == Work::Logged && case.is_usual() && case.is_alone() {
            print_card(&measured);
        }
    }
}

/// Ours first.
fn sides() -> Vec<Side> {
    let named = |variable: &str| std::env::var_os(variable).map(|path| std::path::absolute(path).unwrap());
    let hookbox = |name, path| Side { name, program: Program::Hookbox(path) };
    let ours = hookbox("hookbox", named("HOOKBOX_BENCH_BIN").unwrap_or_else(server::hookbox));
    let base = named("HOOKBOX_BENCH_BASE").map(|path| hookbox("base", path));
    let older = Older::find().inspect_err(|why| eprintln!("skipped: the older program: {why}"));
    let older = Side { name: "older", program: older.map_or(Program::Missing, Program::Older) };
    [Some(ours), base, Some(older)].into_iter().flatten().collect()
}

fn cases() -> Vec<Case> {
    let works = [Work::Stored, Work::Logged, Work::Posted];
    let alone = SIZES.iter().flat_map(|body| works.map(|work| Case { work, body: *body, senders: 1 }));
    let many = [Work::Stored, Work::Logged].map(|work| Case { work, body: SIZES[1], senders: MANY });
    alone.chain(many).collect()
}

impl Case {
    fn is_usual(&self) -> bool {
        self.body.0 == USUAL_BYTES
    }

    fn is_alone(&self) -> bool {
        self.senders == 1
    }
}

impl Side {
    fn measure(&self, scale: &Scale, case: &Case) -> Measured {
        let is_there = !matches!(self.program, Program::Missing);
        Measured { name: self.name, cost: is_there.then(|| self.program.cost(scale, case)) }
    }
}

impl Program {
    /// A counter that slows the program down has a run of its own.
    fn cost(&self, scale: &Scale, case: &Case) -> Cost {
        let counter = SyncCounter::available();
        let cost = self.cost_of_run(scale, case, counter);
        match counter {
            Some(SyncCounter::Strace) => Cost { syncs: cost.syncs, ..self.cost_of_run(scale, case, None) },
            _ => cost,
        }
    }

    fn cost_of_run(&self, scale: &Scale, case: &Case, counter: Option<SyncCounter>) -> Cost {
        let sink = Sink::start();
        let home = match self {
            Program::Older(older) => older.home(),
            _ => Home::new().with_config(&config(case.work, &sink)),
        };
        let earlier = self.start(&home, case.work);
        earlier.deliver_alone(&home, case, STORED);
        earlier.stop();
        rustix::fs::sync();
        self.start(&home, case.work).cost(&home, scale, case, counter)
    }

    /// The older worker prints each event, and sends nothing.
    fn does(&self, work: Work) -> bool {
        matches!(self, Program::Hookbox(_)) || work != Work::Posted
    }

    fn start(&self, home: &Home, work: Work) -> Running {
        Running(match self {
            Program::Hookbox(program) => vec![Server::start_quietly(home, program)],
            Program::Older(older) => older.start(home, work != Work::Stored),
            Program::Missing => Vec::new(),
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
    /// All events are processed and the WAL is copied into the database at both ends, so that nothing is left out.
    fn cost(self, home: &Home, scale: &Scale, case: &Case, counter: Option<SyncCounter>) -> Cost {
        self.deliver_alone(home, case, 1);
        let counting = counter.map(|counter| counter.attach(home, &self.pids()));
        let (bytes_before, cpu_before) = (self.written_bytes(), self.cpu());
        let count = if case.is_alone() {
            self.deliver_alone(home, case, DELIVERIES);
            DELIVERIES
        } else {
            self.deliver_at_once(home, scale, case)
        } as f64;
        let cpu = self.cpu() - cpu_before;
        let syncs = counting.map(Counting::end);
        let written_bytes = self.stop().written_bytes() - bytes_before;
        Cost {
            kib: written_bytes / 1024.0 / count,
            syncs: syncs.map(|syncs| syncs / count),
            cpu_us: cpu.as_secs_f64() * 1e6 / count,
        }
    }

    /// The next is sent when the last is processed.
    fn deliver_alone(&self, home: &Home, case: &Case, deliveries: usize) {
        let mut sender = Sender::new(self.0[0].address, Kept::Closed, &load::body(case.body.0));
        let database = home.database();
        let mut status = database.prepare("SELECT status FROM webhook_events ORDER BY id DESC LIMIT 1").unwrap();
        for _ in 0..deliveries {
            assert_eq!(sender.deliver().unwrap(), 200, "a delivery is not acknowledged");
            if case.work != Work::Stored {
                wait_until(|| status.query_row([], |row| row.get::<_, String>(0)).unwrap() == "processed");
            }
        }
    }

    /// Returns the number of those that were acknowledged.
    fn deliver_at_once(&self, home: &Home, scale: &Scale, case: &Case) -> usize {
        let answers = usual(scale, case.senders, Kept::Closed).send_to(self.0[0].address);
        if answers.failed > 0 {
            eprintln!("{} deliveries failed, {} did not", answers.failed, answers.count());
        }
        if case.work != Work::Stored {
            wait_until(|| open_events(home) == 0);
        }
        answers.count()
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

fn print(case: &Case, measured: &[Measured]) {
    let work = match case.work {
        Work::Stored => "stored",
        Work::Logged => "processed by log",
        Work::Posted => "processed by http",
    };
    let how = if case.is_alone() { "alone".to_owned() } else { format!("{} at once", case.senders) };
    let what = format!("a delivery of {}, {work}, {how}", case.body.1);
    let [kib, syncs, cpu] = targets(case);
    print_row(&format!("{what}: written"), measured, |cost| Some(cost.kib), " KiB", kib);
    print_row(&format!("{what}: syncs"), measured, |cost| cost.syncs, "", syncs);
    print_row(&format!("{what}: of a core"), measured, |cost| Some(cost.cpu_us), " µs", cpu);
}

fn print_row(
    what: &str,
    measured: &[Measured],
    number: impl Fn(&Cost) -> Option<f64>,
    unit: &str,
    target: Option<Target>,
) {
    let text = |measured: &Measured| match measured.cost.as_ref().map(&number) {
        Some(Some(number)) => format!("{}{unit}", digits(number)),
        Some(None) => "neither perf nor strace can count here".to_owned(),
        None => "skipped".to_owned(),
    };
    let [ours, others @ ..] = measured else { return };
    let against: Vec<String> = others.iter().map(|other| format!("{}: {}", other.name, text(other))).collect();
    let reach = target.zip(ours.cost.as_ref().and_then(&number));
    let reach = reach.map(|(target, number)| at_most(target.number, unit, number / target.allowance));
    row(what, &text(ours), &against.join("; "), &reach.unwrap_or_default());
}

/// To three digits, or to the whole number.
fn digits(number: f64) -> String {
    match number {
        ..10.0 => format!("{number:.2}"),
        ..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// A figure to reach, and by what the measured one may be larger because it includes more.
#[derive(Clone, Copy)]
struct Target {
    number: f64,
    allowance: f64,
}

/// Of KiB, syncs and microseconds.
fn targets(case: &Case) -> [Option<Target>; 3] {
    let [kib, syncs, cpu_us] = match (case.work, case.senders, case.is_usual()) {
        (Work::Stored, 1, true) => [Some(28.0), Some(1.0), None],
        (Work::Logged, 1, true) => [Some(40.0), Some(1.0), None],
        (Work::Stored, 1, false) => [None, Some(1.0), None],
        (Work::Logged, 1, false) => [Some(22.0), Some(1.0), None],
        (Work::Posted, ..) => [None, Some(2.0), None],
        (Work::Stored, ..) => [Some(14.0), Some(0.1), Some(105.0)],
        (Work::Logged, ..) => [Some(22.0), None, Some(150.0)],
    };
    let exactly = |number: Option<f64>| number.map(|number| Target { number, allowance: 1.0 });
    let syncs = syncs.map(|number| Target { number, allowance: WITH_CHECKPOINTS });
    [exactly(kib), syncs, exactly(cpu_us)]
}

/// A usual card of a Raspberry Pi; cells of three bits each stand about so many cycles.
const CARD_BYTES: f64 = 32e9;
const ERASE_CYCLES: f64 = 1000.0;

/// Assumed: for each byte that the program writes, so many are written by the journal of the file system, and by the card,
/// which can only erase blocks of some MB.
const WRITE_AMPLIFICATION: f64 = 10.0;

/// The arithmetic with our figure, and what the same gives for the others.
fn print_card(measured: &[Measured]) {
    let kib = |measured: &Measured| measured.cost.as_ref().map(|cost| cost.kib);
    let deliveries = |kib: f64| CARD_BYTES * ERASE_CYCLES / (kib * 1024.0 * WRITE_AMPLIFICATION);
    let text = |measured: &Measured| {
        kib(measured).map_or_else(|| "skipped".to_owned(), |kib| format!("{:.0} million", deliveries(kib) / 1e6))
    };
    let [ours, others @ ..] = measured else { return };
    let against: Vec<String> = others.iter().map(|other| format!("{}: {}", other.name, text(other))).collect();
    let what = format!(
        "deliveries of 8 KiB, processed by log, alone, until a card of 32 GB is worn out: 32e9 bytes x {ERASE_CYCLES} erase \
         cycles / ({:.1} x 1024 bytes x {WRITE_AMPLIFICATION} for write amplification, which is assumed)",
        kib(ours).unwrap_or(f64::NAN)
    );
    row(&what, &text(ours), &against.join("; "), "");
}
