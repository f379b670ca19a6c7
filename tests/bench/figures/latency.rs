//! Latencies.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{PACE, USUAL_BYTES, alone, in_turn, open_events, paced, quotients};
use crate::Scale;
use crate::load::{self, Kept, Sender};
use crate::server::{Home, Server, hookbox};
use crate::table::{Spread, at_most, mb, ms, row, times};

/// The log action prints two lines for an event.
const LINES: usize = 2;

const HOSTILE: usize = 1000;

pub fn latency_beside_backlog(scale: &Scale) {
    let p99 = |home: &Home| alone(&paced(scale), || Server::start(home, &hookbox())).quantile(0.99).as_secs_f64();
    let beside = || {
        let home = Home::new().with_backlog(scale.backlog, &load::body(USUAL_BYTES));
        let p99 = p99(&home);
        if open_events(&home) < 100 {
            eprintln!("the backlog was drained before the measurement ended");
        }
        p99
    };
    let [with, without] = in_turn(scale, [&beside, &|| p99(&Home::new())]);
    let quotient = Spread::of(quotients(&with, &without), times);
    row(
        "one sender every 10 ms while a backlog drains, p99",
        &Spread::of(with, ms).to_string(),
        &format!("without backlog: {}; {quotient}", Spread::of(without, ms)),
        &at_most(2.0, " x", quotient.median),
    );
}

/// Measured from the moment at which the delivery is sent, because the moment at which it is stored cannot be seen from
/// outside: the time from there is shorter.
pub fn stored_to_started(scale: &Scale) {
    let home = Home::new();
    let mut command = home.command(hookbox());
    command.stdout(Stdio::piped());
    let mut server = Server::start_with(&home, command);
    let mut lines = BufReader::new(server.take_stdout()).lines();
    let mut sender = Sender::new(server.address, Kept::Closed, &load::body(USUAL_BYTES));
    let mut once = || {
        let sent = Instant::now();
        sender.deliver().unwrap();
        let answered = sent.elapsed().as_secs_f64();
        lines.by_ref().take(LINES).for_each(|line| drop(line.unwrap()));
        let done = sent.elapsed().as_secs_f64();
        std::thread::sleep(PACE);
        (answered, done)
    };
    let (answered, mut done): (Vec<f64>, Vec<f64>) = (0..scale.latencies).map(|_| once()).unzip();
    done.sort_by(f64::total_cmp);
    let (p50, p99) = (done[done.len() / 2], done[done.len() * 99 / 100]);
    row(
        "idle, from sending a delivery to what its action prints",
        &format!("p50 {}, p99 {}", ms(p50), ms(p99)),
        &format!("to the answer: p50 {}", ms(Spread::of(answered, ms).median)),
        &at_most(5.0, " ms", p50 * 1e3),
    );
}

pub fn beside_hostile_senders(scale: &Scale) {
    let peaks = std::cell::RefCell::new(Vec::new());
    let load = paced(scale);
    let beside = || {
        let home = Home::new();
        let server = Server::start(&home, &hookbox());
        let is_over = AtomicBool::new(false);
        let answers = std::thread::scope(|scope| {
            scope.spawn(|| trickle(server.address, &is_over));
            std::thread::sleep(Duration::from_secs(1));
            let answers = load.measure(server.address);
            is_over.store(true, Ordering::Relaxed);
            answers
        });
        if answers.failed > 0 {
            eprintln!("{} legitimate deliveries failed beside hostile senders", answers.failed);
        }
        peaks.borrow_mut().push(server.peak_mb());
        answers.quantile(0.99).as_secs_f64()
    };
    let quiet = || {
        let home = Home::new();
        alone(&load, || Server::start(&home, &hookbox())).quantile(0.99).as_secs_f64()
    };
    let [beside, quiet] = in_turn(scale, [&beside, &quiet]);
    let (p99, peak) = (Spread::of(beside, ms), Spread::of(peaks.into_inner(), mb));
    row(
        "one sender every 10 ms while 1,000 hostile ones trickle",
        &format!("p99 {p99}, resident {peak}"),
        &format!("without them: p99 {}", Spread::of(quiet, ms)),
        &format!("{}; {}", at_most(10.0, " ms", p99.median * 1e3), at_most(16.0, " MB", peak.median)),
    );
}

/// This many connections, each with one more byte of an unfinished head every second. A closed one is opened again.
fn trickle(address: SocketAddr, is_over: &AtomicBool) {
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let mut streams: Vec<TcpStream> = (0..HOSTILE).map(|_| connect()).collect();
    let pause = Duration::from_secs(1) / HOSTILE as u32;
    for at in (0..HOSTILE).cycle() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        if streams[at].write_all(b"P").is_err() {
            streams[at] = connect();
        }
        std::thread::sleep(pause);
    }
}
