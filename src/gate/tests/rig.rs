//! A gate with its upstream: tiny_http and a receiver that responds with what it was sent, or a scripted one.

use super::super::limits::{Limits, Timeouts};
use super::super::upstream::socket::{Address, Upstream};
use super::super::{Gate, Settings, Traffic, start};
use super::client::Client;
use crate::current::Current;
use crate::http::{Inbound, PEER_HEADER, Responder, Server};
use crate::listen;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Ten times longer than any wait here should take, on a machine that is busy with other tests.
pub const TIMEOUT: Duration = Duration::from_secs(20);

pub fn limits() -> Limits {
    with_upstream_connections(4)
}

pub fn with_upstream_connections(count: usize) -> Limits {
    Limits::new(count, 512)
}

pub fn with_timeouts(change: impl FnOnce(&mut Timeouts)) -> Limits {
    let mut limits = limits();
    change(&mut limits.timeouts);
    limits
}

pub fn post(target: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        max_body_bytes: AtomicU64::new(25 * 1024 * 1024),
        trusted_proxies: Current::new(Vec::new()),
        traffic: Arc::default(),
    })
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until two values with `interval` between them are equal.
pub fn wait_until_steady<T: PartialEq>(what: &str, interval: Duration, mut value: impl FnMut() -> T) {
    wait_until(what, || {
        let before = value();
        thread::sleep(interval);
        value() == before
    });
}

type Held = Arc<Mutex<Vec<(Inbound, Responder)>>>;

pub struct Rig {
    gate: Option<Gate>,
    settings: Arc<Settings>,
    pub has_ended: Arc<AtomicBool>,
    held: Held,
    receiver: Option<JoinHandle<()>>,
    upstream: Option<Upstream>,
}

impl Rig {
    pub fn start(limits: Limits) -> Rig {
        Rig::start_at("127.0.0.1:0", limits)
    }

    pub fn start_at(listen: &str, limits: Limits) -> Rig {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let hint = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let upstream = Upstream::create(&hint, &std::env::temp_dir()).unwrap();
        let held = Held::default();
        let receiver = start_receiver(upstream.server(), held.clone());
        let listener = listen::bind(&listen.parse().unwrap()).unwrap();
        let (settings, has_ended) = (settings(), Arc::new(AtomicBool::new(false)));
        let on_end = {
            let has_ended = has_ended.clone();
            move || has_ended.store(true, Ordering::Relaxed)
        };
        let gate = start(limits, listener, upstream.address(), settings.clone(), on_end).unwrap();
        Rig { gate: Some(gate), settings, has_ended, held, receiver: Some(receiver), upstream: Some(upstream) }
    }

    pub fn address(&self) -> &str {
        self.gate.as_ref().unwrap().address()
    }

    pub fn tcp_address(&self) -> String {
        self.address().trim_start_matches("http://").to_string()
    }

    pub fn connect(&self) -> Client {
        Client::tcp(&self.tcp_address())
    }

    /// From an address of this machine, as another client: 127.0.0.`last`.
    pub fn connect_from(&self, last: u8) -> Client {
        Client::tcp_from(Ipv4Addr::new(127, 0, 0, last), &self.tcp_address())
    }

    pub fn trust_proxy(&self, network: &str) {
        self.settings.trusted_proxies.replace(vec![network.parse().unwrap()]);
    }

    pub fn traffic(&self) -> &Traffic {
        &self.settings.traffic
    }

    pub fn set_max_body_bytes(&self, bytes: u64) {
        self.settings.max_body_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The status of one small delivery.
    pub fn deliver(&self) -> u16 {
        let mut client = self.connect();
        client.send(&post("/", b"small"));
        client.answer().status
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
        self.upstream.as_ref().unwrap().server().unblock();
        let _ = self.receiver.take().unwrap().join();
        drop(self.upstream.take());
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
            match responder.path().as_str() {
                _ if responder.is_probe() => responder.respond(204, [], ""),
                "/early" => responder.respond(401, [], ""),
                "/page" => responder.respond(200, [], vec![b'p'; 900_000]),
                "/hold" => held.lock().unwrap().push((responder.read(), responder)),
                _ => respond(&responder.read(), responder),
            }
        }
    })
}

/// An empty response with the request in its headers.
fn respond(inbound: &Inbound, responder: Responder) {
    let sum: u64 = inbound.body.iter().map(|byte| u64::from(*byte)).sum();
    let mut seen = format!("{} {} ", inbound.method, inbound.target);
    for (name, value) in inbound.headers.iter() {
        seen += &format!("{}={value} ", name.to_ascii_lowercase());
    }
    seen += &format!("{}={}", PEER_HEADER.to_ascii_lowercase(), inbound.peer.unwrap());
    responder.respond(200, [("X-Request", &*seen), ("X-Body", &format!("{} {sum}", inbound.body.len()))], "");
}

/// A gate whose upstream answers the probe on each connection, and then does `serve` with its number and socket.
pub struct Scripted {
    pub gate: Gate,
    pub settings: Arc<Settings>,
    _directory: tempfile::TempDir,
}

impl Scripted {
    pub fn start(limits: Limits, serve: impl Fn(usize, UnixStream) + Send + Sync + 'static) -> Scripted {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        start_scripted_upstream(&path, serve);
        let listener = listen::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let settings = settings();
        let gate = start(limits, listener, Address::of(&path), settings.clone(), || {}).unwrap();
        Scripted { gate, settings, _directory: directory }
    }

    /// The status of one request.
    pub fn status(&self) -> u16 {
        let mut client = Client::tcp(self.gate.address().trim_start_matches("http://"));
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client.answer().status
    }
}

fn start_scripted_upstream(path: &Path, serve: impl Fn(usize, UnixStream) + Send + Sync + 'static) {
    let listener = UnixListener::bind(path).unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        let opened = Arc::new(AtomicUsize::new(0));
        for mut stream in listener.incoming().flatten() {
            let (serve, opened) = (serve.clone(), opened.clone());
            thread::spawn(move || {
                answer_probe(&mut stream);
                serve(opened.fetch_add(1, Ordering::Relaxed), stream);
            });
        }
    });
}

pub fn answer_probe(stream: &mut UnixStream) {
    assert!(read_request(stream));
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
}

/// Reads a request without a body. False at the end of input.
pub fn read_request(stream: &mut UnixStream) -> bool {
    let mut input = Vec::new();
    let mut byte = [0];
    while !input.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => input.push(byte[0]),
            _ => return false,
        }
    }
    true
}
