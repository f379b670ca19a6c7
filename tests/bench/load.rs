//! The load generator: blocking senders, each a thread, over raw HTTP. The body is signed once and only the delivery id
//! changes, so that the generator, which shares the machine with what it measures, costs little.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ring::hmac;

/// The secret of every side.
pub const SECRET: &str = "It's a Secret to Everybody";

/// A delivery id is a UUID, as GitHub sends it.
const ID_BYTES: usize = 36;

/// A side that answers later than this has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// No two deliveries of a run have the same number.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// How to send.
#[derive(Clone, Copy)]
pub struct Load {
    pub senders: usize,
    pub body_bytes: usize,
    pub connection: Kept,
    /// The interval between two deliveries of a sender; none: as soon as one is answered.
    pub pace: Option<Duration>,
    /// Sent first, by [`Load::measure`], and not counted.
    pub warm_up: Duration,
    pub duration: Duration,
}

/// What a sender does with its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// One connection for each request, as providers do.
    Closed,
    /// Kept, as proxies do. If the program closes it, a new one is opened.
    Open,
}

/// The results.
#[derive(Default)]
pub struct Answers {
    /// Of the deliveries answered with 200, in order.
    latencies: Vec<Duration>,
    pub failed: usize,
    elapsed: Duration,
}

impl Answers {
    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    pub fn count(&self) -> usize {
        self.latencies.len()
    }

    /// The latency that this share of the deliveries stayed within.
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * share) as usize).copied().unwrap_or_default()
    }
}

impl Load {
    /// Warms up, then measures.
    pub fn measure(self, address: SocketAddr) -> Answers {
        Load { duration: self.warm_up, ..self }.send_to(address);
        self.send_to(address)
    }

    /// Sends for the whole duration.
    pub fn send_to(self, address: SocketAddr) -> Answers {
        let body = body(self.body_bytes);
        let started = Instant::now();
        let deadline = started + self.duration;
        let mut answers = std::thread::scope(|scope| {
            let run = || Sender::new(address, self.connection, &body).run(self.pace, deadline);
            let senders: Vec<_> = (0..self.senders).map(|_| scope.spawn(run)).collect();
            senders.into_iter().map(|sender| sender.join().unwrap()).reduce(Answers::join).unwrap_or_default()
        });
        answers.elapsed = started.elapsed();
        answers.latencies.sort_unstable();
        answers
    }
}

impl Answers {
    fn join(mut self, other: Answers) -> Answers {
        self.latencies.extend(other.latencies);
        self.failed += other.failed;
        self
    }
}

/// One sender with its request and its connection.
pub struct Sender {
    address: SocketAddr,
    keeps: bool,
    request: Vec<u8>,
    id_at: usize,
    stream: Option<TcpStream>,
}

impl Sender {
    pub fn new(address: SocketAddr, connection: Kept, body: &str) -> Sender {
        let keeps = connection == Kept::Open;
        let before = format!(
            "POST /webhooks/github HTTP/1.1\r\nHost: {address}\r\nUser-Agent: GitHub-Hookshot/044aadd\r\nAccept: */*\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nX-GitHub-Event: issues\r\n\
             X-Hub-Signature-256: {}\r\nConnection: {}\r\nX-GitHub-Delivery: ",
            body.len(),
            signature(body),
            if keeps { "keep-alive" } else { "close" },
        );
        let request = format!("{before}{:ID_BYTES$}\r\n\r\n{body}", "").into_bytes();
        Sender { address, keeps, request, id_at: before.len(), stream: None }
    }

    fn run(mut self, pace: Option<Duration>, deadline: Instant) -> Answers {
        let mut answers = Answers::default();
        let mut due = Instant::now();
        while Instant::now() < deadline {
            let began = Instant::now();
            match self.deliver() {
                Ok(200) => answers.latencies.push(began.elapsed()),
                _ => answers.failed += 1,
            }
            if let Some(pace) = pace {
                due += pace;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        answers
    }

    /// One delivery with a new id, from the connection to the whole answer. Returns its status.
    pub fn deliver(&mut self) -> io::Result<u16> {
        self.request[self.id_at..self.id_at + ID_BYTES].copy_from_slice(next_id().as_bytes());
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address)?,
        };
        stream.write_all(&self.request)?;
        let (status, stays_open) = read_answer(&mut stream)?;
        self.stream = (self.keeps && stays_open).then_some(stream);
        Ok(status)
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(stream)
}

/// The status, and whether another request may follow.
fn read_answer(stream: &mut TcpStream) -> io::Result<(u16, bool)> {
    let (mut answer, mut chunk) = (Vec::new(), [0; 2048]);
    let head_bytes = loop {
        if let Some(at) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read_bytes => answer.extend_from_slice(&chunk[..read_bytes]),
        }
    };
    let head = String::from_utf8_lossy(&answer[..head_bytes]).to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let body_bytes: usize = field("content-length:").and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    let mut missing = vec![0; (head_bytes + body_bytes).saturating_sub(answer.len())];
    stream.read_exact(&mut missing)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, field("connection:") != Some("close")))
}

/// JSON of exactly so many bytes, made of objects like those that GitHub sends.
pub fn body(bytes: usize) -> String {
    const OPEN: &str = r#"{"action":"opened","items":["#;
    const ITEM: &str = r#"{"id":1296269,"node_id":"MDEwOlJlcG9zaXRvcnkxMjk2MjY5","full_name":"octocat/Hello-World","private":false,"html_url":"https://github.com/octocat/Hello-World","description":"This your first repo!","size":108,"topics":["octocat","api"]},"#;
    const CLOSE: &str = r#"null],"pad":""}"#;
    let room = bytes.saturating_sub(OPEN.len() + CLOSE.len());
    let (items, pad) = (room / ITEM.len(), room % ITEM.len());
    format!(r#"{OPEN}{}null],"pad":"{}"}}"#, ITEM.repeat(items), "x".repeat(pad))
}

fn signature(body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, body.as_bytes());
    tag.as_ref().iter().fold("sha256=".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// Spread like the ids of providers: neighbours in time are no neighbours in the index.
fn next_id() -> String {
    let number = NEXT_ID.fetch_add(1, Ordering::Relaxed) + (u64::from(std::process::id()) << 40);
    let (high, low) = (scattered(number), scattered(!number));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low << 16 >> 16
    )
}

/// The finaliser of splitmix64: one to one.
fn scattered(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
