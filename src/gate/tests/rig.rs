//! A gate, a tiny_http and a receiver, and senders that look closely.

use super::super::limits::{Deadlines, Limits};
use super::super::upstream::socket::Upstream;
use super::super::{Gate, Settings, Snapshot, start};
use crate::http::{Inbound, PEER_HEADER, Responder, Server};
use crate::listen;
use rustix::net::sockopt::set_socket_linger;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Ten times what anything here should take, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn limits() -> Limits {
    with_slots(4)
}

pub fn with_slots(slots: usize) -> Limits {
    Limits::new(slots, 512)
}

pub fn with_deadlines(change: impl FnOnce(&mut Deadlines)) -> Limits {
    let mut limits = limits();
    change(&mut limits.deadlines);
    limits
}

pub fn post(target: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub fn settings() -> Arc<Settings> {
    Arc::new(Settings { max_body_bytes: AtomicU64::new(25 * 1024 * 1024), traffic: Arc::default() })
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

type Held = Arc<Mutex<Vec<(Inbound, Responder)>>>;

pub struct Rig {
    gate: Option<Gate>,
    settings: Arc<Settings>,
    pub has_ended: Arc<AtomicBool>,
    held: Held,
    receiver: Option<JoinHandle<()>>,
    private: Option<Upstream>,
}

impl Rig {
    pub fn start(limits: Limits) -> Rig {
        Rig::start_at("127.0.0.1:0", limits)
    }

    pub fn start_at(listen: &str, limits: Limits) -> Rig {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let hint = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let private = Upstream::create(&hint, &std::env::temp_dir()).unwrap();
        let held = Held::default();
        let receiver = start_receiver(private.server(), held.clone());
        let listener = listen::bind(&listen.parse().unwrap()).unwrap();
        let (settings, has_ended) = (settings(), Arc::new(AtomicBool::new(false)));
        let on_end = {
            let has_ended = has_ended.clone();
            move || has_ended.store(true, Ordering::Relaxed)
        };
        let gate = start(limits, listener, &private.path(), settings.clone(), on_end).unwrap();
        Rig { gate: Some(gate), settings, has_ended, held, receiver: Some(receiver), private: Some(private) }
    }

    pub fn address(&self) -> &str {
        self.gate.as_ref().unwrap().address()
    }

    pub fn tcp_address(&self) -> String {
        self.address().trim_start_matches("http://").to_string()
    }

    pub fn connect(&self) -> Sender {
        Sender::tcp(&self.tcp_address())
    }

    pub fn beats(&self) -> Snapshot {
        self.gate.as_ref().unwrap().liveness().beats()
    }

    pub fn set_max_body_bytes(&self, bytes: u64) {
        self.settings.max_body_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The status of one small delivery.
    pub fn deliver(&self) -> u16 {
        let mut sender = self.connect();
        sender.send(&post("/", b"small"));
        sender.answer().status
    }

    pub fn held(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    pub fn wait_for_held(&self, count: usize) {
        wait_until("requests at the receiver", || self.held() == count);
    }

    pub fn release_held(&self) {
        release(&self.held);
    }

    pub fn stop(mut self) {
        self.gate.take().unwrap().stop();
        assert!(self.has_ended.load(Ordering::Relaxed));
    }

    pub fn stop_in_background(mut self) -> Stopping {
        let gate = self.gate.take().unwrap();
        Stopping { thread: thread::spawn(move || gate.stop()), rig: self }
    }
}

pub struct Stopping {
    thread: JoinHandle<()>,
    rig: Rig,
}

impl Stopping {
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    pub fn release_held(&self) {
        self.rig.release_held();
    }

    pub fn join(self) {
        self.thread.join().unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.release_held();
        drop(self.gate.take());
        self.private.as_ref().unwrap().server().unblock();
        let _ = self.receiver.take().unwrap().join();
        drop(self.private.take());
    }
}

fn release(held: &Held) {
    for (inbound, responder) in held.lock().unwrap().drain(..) {
        respond(&inbound, responder);
    }
}

fn start_receiver(server: Server, held: Held) -> JoinHandle<()> {
    thread::spawn(move || {
        while let Some(mut responder) = server.recv() {
            match responder.path() {
                _ if responder.is_probe() => responder.respond(204, [], ""),
                "/early" => responder.respond(401, [], ""),
                "/page" => responder.respond(200, [], vec![b'p'; 900_000]),
                "/hold" => held.lock().unwrap().push((responder.read(), responder)),
                _ => respond(&responder.read(), responder),
            }
        }
    })
}

/// An empty answer that tells in its headers what arrived.
fn respond(inbound: &Inbound, responder: Responder) {
    let sum: u64 = inbound.body.iter().map(|byte| u64::from(*byte)).sum();
    let mut seen = format!("{} {} ", inbound.method, inbound.target);
    for (name, value) in inbound.headers.iter() {
        seen += &format!("{}={value} ", name.to_ascii_lowercase());
    }
    seen += &format!("{}={}", PEER_HEADER.to_ascii_lowercase(), inbound.peer.unwrap());
    responder.respond(200, [("X-Request", &*seen), ("X-Body", &format!("{} {sum}", inbound.body.len()))], "");
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub struct Sender {
    socket: Socket,
    input: Vec<u8>,
}

#[derive(Debug)]
pub struct Received {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

impl Sender {
    pub fn tcp(address: &str) -> Sender {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Sender { socket: Socket::Tcp(stream), input: Vec::new() }
    }

    pub fn unix(path: &Path) -> Sender {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Sender { socket: Socket::Unix(stream), input: Vec::new() }
    }

    pub fn address(&self) -> String {
        match &self.socket {
            Socket::Tcp(stream) => stream.local_addr().unwrap().to_string(),
            Socket::Unix(_) => "unix".into(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.write_all(bytes),
            Socket::Unix(stream) => stream.write_all(bytes),
        }
    }

    pub fn shut_down_writing(&self) {
        match &self.socket {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    /// Ends the connection in a way that the other side's poll reports even where it asks for nothing.
    pub fn reset(self) {
        match &self.socket {
            Socket::Tcp(stream) => set_socket_linger(stream, Some(Duration::ZERO)).unwrap(),
            Socket::Unix(_) => {}
        }
    }

    fn read_more(&mut self) -> std::io::Result<usize> {
        let mut buffer = [0; 65536];
        let read = match &mut self.socket {
            Socket::Tcp(stream) => stream.read(&mut buffer),
            Socket::Unix(stream) => stream.read(&mut buffer),
        }?;
        self.input.extend_from_slice(&buffer[..read]);
        Ok(read)
    }

    pub fn answer(&mut self) -> Received {
        self.receive(false)
    }

    pub fn answer_to_head(&mut self) -> Received {
        self.receive(true)
    }

    fn receive(&mut self, is_to_head: bool) -> Received {
        let head_bytes = loop {
            if let Some(at) = self.input.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            assert_ne!(self.read_more().unwrap(), 0, "closed without an answer");
        };
        let head = String::from_utf8(self.input.drain(..head_bytes).collect()).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut received = Received { status, head, body: Vec::new() };
        let length: usize = received.header("content-length").map_or(0, |it| it.parse().unwrap());
        let length = if is_to_head { 0 } else { length };
        while self.input.len() < length {
            assert_ne!(self.read_more().unwrap(), 0, "closed within an answer");
        }
        received.body = self.input.drain(..length).collect();
        received
    }

    /// Everything up to the end that the gate makes.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.read_more().unwrap() > 0 {}
        std::mem::take(&mut self.input)
    }

    /// True once the gate has closed or reset the connection.
    pub fn is_closed(&mut self) -> bool {
        !matches!(self.read_more(), Ok(1..))
    }
}
