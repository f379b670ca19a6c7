//! Latencies.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{PACE, RECEIVING_ONLY, USUAL_BYTES, alone, in_turn, open_events, paced, quotients};
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

/// One large body, which anyone can send to a source, and what the source is.
struct Unproven {
    what: &'static str,
    source: &'static str,
    headers: &'static str,
    body: Vec<u8>,
}

/// As large as a body may be by default, and a little less.
const LARGE_BYTES: usize = 24 << 20;

/// `filling`, repeated to the size, between the two others.
fn filled(beginning: &str, filling: impl AsRef<[u8]>, end: &str) -> Vec<u8> {
    let filling = filling.as_ref();
    let count = (LARGE_BYTES - beginning.len() - end.len()) / filling.len();
    [beginning.as_bytes(), &filling.repeat(count), end.as_bytes()].concat()
}

fn unproven(what: &'static str, source: &'static str, headers: &'static str, body: Vec<u8>) -> Unproven {
    Unproven { what, source, headers, body }
}

fn unproven_bodies() -> Vec<Unproven> {
    const JSON: &str = "Content-Type: application/json\r\n";
    const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
    const MULTIPART: &str = "Content-Type: multipart/form-data; boundary=b\r\n";
    const OPEN: &str = "provider = \"hmac\"\nverify = \"none\"";
    const ROUTES: &str = "provider = \"mailgun-routes\"\nsecret = \"s\"";
    const GITEA: &str = "provider = \"gitea-form\"\nsecret = [\"s\", \"t\"]";
    const MAILGUN: &str = "provider = \"mailgun\"\nsecret = \"s\"";
    const ADYEN: &str = "provider = \"adyen-standard\"\nsecret = \"44782DEF547AAA06C910C43932B1EB0C\"";
    let part = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n";
    let signature = r#"{"signature":{"timestamp":"1700000000","token":"t","signature":"00"},"x":["#;
    let item = r#"{"notificationItems":[{"NotificationRequestItem":{"additionalData":{"#;
    let gitea = concat!(
        "Content-Type: application/x-www-form-urlencoded\r\nX-Gitea-Signature: ",
        "0000000000000000000000000000000000000000000000000000000000000000\r\n"
    );
    let github = concat!(
        "Content-Type: application/json\r\nX-Hub-Signature-256: sha256=",
        "0000000000000000000000000000000000000000000000000000000000000000\r\n"
    );
    let empty_member = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let gzip = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    vec![
        unproven("signed as a whole", "provider = \"hmac\"\nsecret = \"s\"", github, filled("[", "0,", "0]")),
        unproven("a form of many parts", ROUTES, MULTIPART, filled("", part, "--b--")),
        unproven("a form of one part", ROUTES, MULTIPART, filled("--b\r\n\r\n", "\r\n--", "\r\n--b--")),
        unproven("a form of one field", GITEA, gitea, filled("payload=%7B%22a%22%3A%22", "%41+", "%22%7D")),
        unproven("a form of many fields", ROUTES, FORM, filled("", "a=1&", "b")),
        unproven("JSON of small objects", MAILGUN, JSON, filled(signature, r#"{"a":1},"#, "0]}")),
        unproven("JSON of small members", ADYEN, JSON, filled(item, r#""a":0,"#, r#""b":0}}}]}"#)),
        unproven("JSON of escapes", MAILGUN, JSON, filled(&format!("{signature}\""), "\\u00e9", "\"]}")),
        unproven("deep JSON", MAILGUN, JSON, filled("", "[", "")),
        unproven("empty gzip members", OPEN, gzip, filled("", empty_member, "")),
    ]
}

pub fn beside_unproven_bodies(scale: &Scale) {
    let load = paced(scale);
    for Unproven { what, source, headers, body } in unproven_bodies() {
        let new_home = || Home::new().with_config(&format!("{RECEIVING_ONLY}[sources.it]\n{source}\n"));
        let length = body.len();
        let head = format!("POST /webhooks/it HTTP/1.1\r\nHost: h\r\n{headers}Content-Length: {length}\r\n\r\n");
        let request = [head.as_bytes(), &body].concat();
        let beside = || {
            let home = new_home();
            let server = Server::start(&home, &hookbox());
            let is_over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| send_until(&is_over, server.address, &request));
                let answers = load.measure(server.address);
                is_over.store(true, Ordering::Relaxed);
                answers.quantile(1.0).as_secs_f64()
            })
        };
        let without = || {
            let home = new_home();
            alone(&load, || Server::start(&home, &hookbox())).quantile(1.0).as_secs_f64()
        };
        let [with, without] = in_turn(scale, [&beside, &without]);
        let wait = Spread::of(with, ms);
        row(
            &format!("one sender every 10 ms beside unproven bodies of 24 MiB, {what}: longest wait"),
            &wait.to_string(),
            &format!("without them: {}", Spread::of(without, ms)),
            &at_most(100.0, " ms", wait.median * 1e3),
        );
    }
}

fn send_until(is_over: &AtomicBool, address: SocketAddr, request: &[u8]) {
    while !is_over.load(Ordering::Relaxed) {
        if let Err(error) = send_alone(address, request) {
            return eprintln!("a large body was not answered: {error}");
        }
    }
}

/// Sends the request on a connection of its own, and waits for the answer.
fn send_alone(address: SocketAddr, request: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(request)?;
    stream.read(&mut [0; 64]).map(drop)
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
