//! The figures: each a function that prints its rows.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Scale;
use crate::load::{self, Answers, Kept, Load, Sender};
use crate::peers::{self, Peer};
use crate::server::{Home, Server, hookbox};
use crate::table::{median, ms, per_second, row};

/// The median of what GitHub sends.
const USUAL_BYTES: usize = 8 << 10;

const MANY: usize = 64;

/// The default: how often an idle program looks for rows of others.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

const PACE: Duration = Duration::from_millis(10);

/// Every event waits for ever: the log action is for a source that sends nothing.
const NO_ACTION: &str = "[actions.none]\nkind = \"log\"\non = [\"nobody:nothing\"]\n";

const CONNECTIONS: [(Kept, &str); 2] = [(Kept::Closed, "one request a connection"), (Kept::Open, "connections kept")];

fn usual(scale: &Scale, senders: usize, connection: Kept) -> Load {
    Load { senders, body_bytes: USUAL_BYTES, connection, pace: None, duration: scale.measure }
}

/// One sender every 10 ms; long enough for a 99th percentile.
fn paced(scale: &Scale) -> Load {
    Load { pace: Some(PACE), duration: scale.measure * 2, ..usual(scale, 1, Kept::Closed) }
}

fn plural(senders: usize) -> String {
    if senders == 1 { "1 sender".to_owned() } else { format!("{senders} senders") }
}

fn summary(answers: &Answers) -> String {
    let failed = if answers.failed == 0 { String::new() } else { format!(", {} failed", answers.failed) };
    let (p50, p99) = (ms(answers.quantile(0.5)), ms(answers.quantile(0.99)));
    format!("{}, p50 {p50}, p99 {p99}{failed}", per_second(answers.per_second()))
}

/// What a side acknowledges; one that acknowledges nothing is no figure.
fn rate(load: &Load, address: SocketAddr) -> f64 {
    let answers = load.send_to(address);
    assert!(answers.count() > 0, "{address} acknowledges nothing: {} deliveries failed", answers.failed);
    answers.per_second()
}

/// Both sides in turn, so that both have the same weather. The medians, and that of the quotients.
fn compare(scale: &Scale, mut this: impl FnMut() -> f64, mut that: impl FnMut() -> f64) -> (f64, f64, f64) {
    let rounds: Vec<(f64, f64)> = (0..scale.rounds).map(|_| (this(), that())).collect();
    let of = |part: fn(&(f64, f64)) -> f64| median(rounds.iter().map(part).collect());
    (of(|it| it.0), of(|it| it.1), of(|it| it.0 / it.1))
}

pub fn acknowledgements(scale: &Scale) {
    for (connection, manner) in CONNECTIONS {
        for (body_bytes, size) in
            [(512, "0.5 KiB"), (USUAL_BYTES, "8 KiB"), (24 << 10, "24 KiB"), (256 << 10, "256 KiB")]
        {
            for senders in [1, 16, MANY] {
                let home = Home::new();
                let server = Server::start(&home, &hookbox());
                let answers = Load { body_bytes, ..usual(scale, senders, connection) }.send_to(server.address);
                row(&format!("{}, {size}, {manner}", plural(senders)), &summary(&answers), "", "");
            }
        }
    }
}

/// The other sides only receive. So does ours, in the first of these; users mostly run the second.
const WORK: [(&str, &str); 2] = [("receiving only", "[actions]\n"), ("and processing", "")];

pub fn against_peers(scale: &Scale) {
    if !scale.peers {
        return;
    }
    for peer in Peer::all() {
        for (connection, manner) in CONNECTIONS {
            let reach = match (peer.stores, connection) {
                (true, Kept::Closed) => "15 x",
                (true, Kept::Open) => "18 x",
                (false, _) => "",
            };
            let load = usual(scale, MANY, connection);
            against(scale, manner, reach, peer.name, &load, || rate(&load, peer.start().address));
        }
    }
}

pub fn against_storing_nothing(scale: &Scale) {
    if scale.quick {
        return; // another build
    }
    let (program, home) = (peers::storing_nothing(), Home::new());
    let storeless = Server::start(&home, &program);
    for (connection, manner) in CONNECTIONS {
        let load = usual(scale, MANY, connection);
        against(scale, manner, "0.7 x", "storing nothing", &load, || rate(&load, storeless.address));
    }
}

fn against(scale: &Scale, manner: &str, reach: &str, name: &str, load: &Load, theirs: impl Fn() -> f64) {
    for (work, config) in WORK {
        let home = Home::new().with_config(config);
        let server = Server::start(&home, &hookbox());
        let (ours, theirs, times) = compare(scale, || rate(load, server.address), &theirs);
        row(
            &format!("{MANY} senders, {manner}, {work}"),
            &per_second(ours),
            &format!("{name}: {}; {times:.2} x", per_second(theirs)),
            reach,
        );
    }
}

pub fn against_bare_sqlite(scale: &Scale) {
    let (home, bare_home) = (Home::new(), Home::new().with_schema());
    let server = Server::start(&home, &hookbox());
    for (senders, batch) in [(1, 1), (MANY, 32)] {
        let ours = || rate(&usual(scale, senders, Kept::Open), server.address);
        let bare = || peers::bare_inserts_per_second(&bare_home, batch, USUAL_BYTES, scale.measure);
        let (ours, theirs, times) = compare(scale, ours, bare);
        row(
            &format!("{}, connections kept", plural(senders)),
            &per_second(ours),
            &format!("bare SQLite, {batch} rows a commit: {}; {times:.2} x", per_second(theirs)),
            "",
        );
    }
}

pub fn costs(scale: &Scale) {
    for (senders, reach) in [(1, "1 fsync"), (MANY, "0.1 fsyncs")] {
        let load = usual(scale, senders, Kept::Closed);
        let syncs = syncs_per_delivery(&load)
            .map_or_else(|| "strace is missing".to_owned(), |syncs| format!("{syncs:.3} fsyncs"));
        let stored = cost_per_delivery(&load, "[actions]\n");
        row(&format!("a delivery of 8 KiB, stored, {senders} at once"), &format!("{syncs}, {stored}"), "", reach);
        let processed = cost_per_delivery(&load, "");
        row(&format!("the same, stored and processed, {senders} at once"), &processed, "", "");
    }
}

/// With everything that follows from it.
fn cost_per_delivery(load: &Load, config: &str) -> String {
    let home = Home::new().with_config(config);
    let server = Server::start(&home, &hookbox());
    let read = || (server.written_bytes(), server.cpu().as_secs_f64());
    let before = read();
    let count = load.send_to(server.address).count() as f64;
    while config.is_empty() && open_events(&home) > 0 {
        std::thread::sleep(PACE);
    }
    let after = read();
    let (kib, us) = ((after.0 - before.0) / 1024.0 / count, (after.1 - before.1) * 1e6 / count);
    format!("{kib:.1} KiB written, {us:.0} µs of a core")
}

/// A run of its own, because it is slower.
fn syncs_per_delivery(load: &Load) -> Option<f64> {
    let home = Home::new().with_config("[actions]\n");
    let mut command = home.command("strace");
    command.args(["-D", "-f", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-o", "trace"]).arg(hookbox());
    std::process::Command::new("strace").arg("-V").stdout(Stdio::null()).status().ok()?;
    let server = Server::start_with(&home, command);
    let before = syncs(&home);
    let answers = load.send_to(server.address);
    Some((syncs(&home) - before) as f64 / answers.count() as f64)
}

/// A call that was interrupted takes two lines, of which one has the name and the bracket.
fn syncs(home: &Home) -> usize {
    fs::read_to_string(home.path("trace")).unwrap().matches("sync(").count()
}

pub fn memory(scale: &Scale) {
    let home = Home::new();
    let server = Server::start(&home, &hookbox());
    std::thread::sleep(Duration::from_secs(1));
    row("resident, idle", &format!("{:.1} MB", server.resident_mb()), "", "5 MB (static musl)");
    usual(scale, MANY, Kept::Closed).send_to(server.address);
    row("resident, 64 senders", &format!("{:.1} MB", server.peak_mb()), "", "16 MB (static musl)");
}

/// Memory and start with a full queue.
pub fn million(scale: &Scale) {
    let home = Home::new().with_config(NO_ACTION).with_schema();
    let pending = scale.pending;
    fill_queue(&home, pending);
    let server = Server::start(&home, &hookbox());
    usual(scale, MANY, Kept::Closed).send_to(server.address);
    row(
        &format!("resident, {pending} events pending, 64 senders"),
        &format!("{:.1} MB", server.peak_mb()),
        "",
        "16 MB (static musl)",
    );
    let mut server = Some(server);
    let mut start = || {
        server = None; // SIGKILL
        let began = Instant::now();
        let started = server.insert(Server::start(&home, &hookbox()));
        Sender::new(started.address, Kept::Closed, "{}").deliver().unwrap();
        let took = began.elapsed().as_secs_f64();
        usual(scale, MANY, Kept::Closed).send_to(started.address);
        took
    };
    let times: Vec<f64> = (0..scale.rounds).map(|_| start()).collect();
    row(
        &format!("start to first answer, {pending} rows, after kill -9"),
        &ms(Duration::from_secs_f64(median(times))),
        "",
        "200 ms",
    );
}

/// Events of which each waits for its second attempt, in an hour.
fn fill_queue(home: &Home, rows: i64) {
    let database = home.database();
    database.pragma_update(None, "synchronous", "OFF").unwrap();
    peers::insert(&database, "unprocessed", &load::body(512), rows);
    let in_an_hour = "(unixepoch() + 3600) * 1000";
    database
        .execute_batch(&format!(
            "INSERT INTO jobs (event_id, action, state, attempts, tries, due_at_ms)
                 SELECT event_id, 'none', 'queued', 1, 1, {in_an_hour} FROM unrouted;
             DELETE FROM unrouted;"
        ))
        .unwrap();
}

pub fn with_many_stored(scale: &Scale) {
    let (home, full_home) = (Home::new(), Home::new().with_schema());
    let stored = scale.stored;
    let database = full_home.database();
    database.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000").unwrap();
    for _ in 0..10 {
        peers::insert(&database, "processed", "{}", stored / 10);
    }
    drop(database);
    let (empty, full) = (Server::start(&home, &hookbox()), Server::start(&full_home, &hookbox()));
    let load = usual(scale, MANY, Kept::Closed);
    let (with, without, times) = compare(scale, || rate(&load, full.address), || rate(&load, empty.address));
    let against = format!("empty: {}; {times:.2} x", per_second(without));
    row(&format!("64 senders, {stored} small rows stored"), &per_second(with), &against, "0.9 x");
}

/// A home in which so many usual events wait to be processed.
fn backlog(events: i64) -> Home {
    let home = Home::new().with_schema();
    let database = home.database();
    database.pragma_update(None, "synchronous", "OFF").unwrap();
    peers::insert(&database, "unprocessed", &load::body(USUAL_BYTES), events);
    home
}

fn open_events(home: &Home) -> i64 {
    home.count("SELECT count(*) FROM webhook_events WHERE status = 'unprocessed'")
}

pub fn latency_beside_backlog(scale: &Scale) {
    let p99 = |home: &Home| {
        let server = Server::start(home, &hookbox());
        paced(scale).send_to(server.address).quantile(0.99).as_secs_f64()
    };
    let beside = || {
        let home = backlog(scale.backlog);
        let p99 = p99(&home);
        if open_events(&home) < 100 {
            eprintln!("the backlog was drained before the measurement ended");
        }
        p99
    };
    let (with, without, times) = compare(scale, beside, || p99(&Home::new()));
    let [with, without] = [with, without].map(|seconds| ms(Duration::from_secs_f64(seconds)));
    row(
        "p99, one sender every 10 ms, while a backlog drains",
        &with,
        &format!("without backlog: {without}; {times:.1} x"),
        "2 x",
    );
}

pub fn drained(scale: &Scale) {
    let events = scale.backlog / 2;
    let rates = (0..scale.rounds).map(|_| {
        let home = backlog(events);
        let began = Instant::now();
        let _server = Server::start(&home, &hookbox());
        while open_events(&home) > 0 {
            std::thread::sleep(PACE);
        }
        events as f64 / began.elapsed().as_secs_f64()
    });
    row("events drained by log", &per_second(median(rates.collect())), "", "3,000/s");
}

pub fn stored_to_started(scale: &Scale) {
    let home = Home::new();
    let mut command = home.command(hookbox());
    command.stdout(Stdio::piped());
    let mut server = Server::start_with(&home, command);
    let mut lines = BufReader::new(server.take_stdout()).lines();
    let mut sender = Sender::new(server.address, Kept::Closed, &load::body(USUAL_BYTES));
    let mut once = || {
        sender.deliver().unwrap();
        let answered = Instant::now();
        lines.by_ref().take(2).for_each(|line| drop(line.unwrap()));
        let took = answered.elapsed().as_secs_f64();
        std::thread::sleep(PACE);
        took
    };
    let times: Vec<f64> = (0..scale.latencies).map(|_| once()).collect();
    row("acknowledged to action done, idle, p50", &ms(Duration::from_secs_f64(median(times))), "", "5 ms to its start");
}

pub fn idle(scale: &Scale) {
    let home = Home::new();
    let server = Server::start(&home, &hookbox());
    usual(scale, 1, Kept::Closed).send_to(server.address);
    while open_events(&home) > 0 {
        std::thread::sleep(PACE);
    }
    // The first look after the last commit still touches a page.
    std::thread::sleep(POLL_INTERVAL * 2);
    let read = || (server.written_bytes(), server.sleeps(), server.cpu());
    let before = read();
    std::thread::sleep(scale.idle);
    let after = read();
    let share = (after.2 - before.2).as_secs_f64() / scale.idle.as_secs_f64();
    let (bytes, sleeps) = (after.0 - before.0, after.1 - before.1);
    row(
        &format!("idle for {} s", scale.idle.as_secs()),
        &format!("{bytes:.0} bytes written, {sleeps:.0} wake-ups, {:.3} % of a core", share * 100.0),
        "",
        "0 bytes, 0.1 %",
    );
}

pub fn beside_hostile_senders(scale: &Scale) {
    let home = Home::new();
    let server = Server::start(&home, &hookbox());
    let quiet = paced(scale).send_to(server.address);
    let is_over = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        scope.spawn(|| trickle(server.address, 1000, &is_over));
        std::thread::sleep(Duration::from_secs(1));
        let beside = paced(scale).send_to(server.address);
        is_over.store(true, Ordering::Relaxed);
        beside
    });
    let failed = if beside.failed == 0 { String::new() } else { format!(", {} failed", beside.failed) };
    row(
        "a legitimate delivery while 1,000 hostile senders trickle",
        &format!("p99 {}{failed}, {:.1} MB resident", ms(beside.quantile(0.99)), server.peak_mb()),
        &format!("without them: p99 {}", ms(quiet.quantile(0.99))),
        "10 ms, 16 MB",
    );
}

/// So many connections, each with one more byte of an unfinished head every second. What is closed comes again.
fn trickle(address: SocketAddr, count: usize, is_over: &AtomicBool) {
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let mut streams: Vec<TcpStream> = (0..count).map(|_| connect()).collect();
    let pause = Duration::from_secs(1) / count as u32;
    for at in (0..count).cycle() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        if streams[at].write_all(b"P").is_err() {
            streams[at] = connect();
        }
        std::thread::sleep(pause);
    }
}
