//! What is malformed, too large, too slow, or lost.

use super::rig::{Rig, Sender, limits, post, settings, wait_until, with_deadlines, with_slots};
use crate::gate::limits::Limits;
use crate::gate::{GateError, OnDrop, start};
use crate::listen;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn faults_are_answered_and_end_the_connection() {
    let rig = Rig::start(limits());
    let huge = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}", "a".repeat(17_000));
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: 1\r\n".repeat(64));
    let table: [(u16, &str); 12] = [
        (400, "nonsense\r\n\r\n"),
        (400, "\x16\x03\x01"),
        (400, "GET / HTTP/1.1\n"),
        (400, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
        (413, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 40000000000\r\n\r\n"),
        (413, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n"),
        (417, "POST / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n"),
        (431, &huge),
        (431, &many),
        (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (505, "GET /\r\n\r\n"),
    ];
    for (status, request) in table {
        let mut sender = rig.connect();
        sender.send(request.as_bytes());
        let answer = sender.answer();
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{request}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert!(answer.body.ends_with(b"\n") && answer.body.len() < 60);
        assert_eq!(sender.rest(), b"");
    }
    assert_eq!(rig.deliver(), 200);
}

#[test]
fn a_fault_in_a_pipeline_comes_after_the_answers_before_it() {
    let rig = Rig::start(limits());
    let mut sender = rig.connect();
    sender.send(&[post("/", b"a"), b"nonsense\r\n\r\n".to_vec(), post("/", b"never")].concat());
    assert_eq!((sender.answer().status, sender.answer().status), (200, 400));
    assert_eq!(sender.rest(), b"");
}

#[test]
fn a_refused_sender_that_goes_on_sending_gets_its_answer() {
    let rig = Rig::start(limits());
    rig.set_max_body_bytes(1000);
    for _ in 0..20 {
        let mut sender = rig.connect();
        sender.send(&post("/", &vec![b'a'; 500_000]));
        assert_eq!(sender.answer().status, 413);
    }
}

#[test]
fn who_is_too_slow_is_told_and_who_is_silent_is_closed() {
    let rig = Rig::start(with_deadlines(|deadlines| {
        deadlines.request = Duration::from_millis(200);
        deadlines.idle = Duration::from_millis(100);
    }));
    let (mut silent, mut head, mut body, mut idle) = (rig.connect(), rig.connect(), rig.connect(), rig.connect());
    head.send(b"\r\nGET");
    body.send(&post("/", b"body")[..50]);
    idle.send(&post("/", b""));
    assert_eq!((head.answer().status, body.answer().status, idle.answer().status), (408, 408, 200));
    assert_eq!((silent.rest(), idle.rest()), (vec![], vec![]));
}

#[test]
fn trickling_does_not_prolong_the_time() {
    let rig = Rig::start(with_deadlines(|deadlines| deadlines.request = Duration::from_millis(300)));
    let mut sender = rig.connect();
    let started = Instant::now();
    while sender.try_send(b"A").is_ok() && started.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn who_does_not_take_the_answer_is_closed() {
    let rig = Rig::start(with_deadlines(|deadlines| deadlines.reply = Duration::from_millis(200)));
    let mut sender = rig.connect();
    // Pages until no buffer takes more: the gate has to wait for the sender.
    for _ in 0..40 {
        let _ = sender.try_send(b"GET /page HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    thread::sleep(Duration::from_millis(600));
    assert_eq!(rig.deliver(), 200);
    let mut received_bytes = 0;
    while !sender.is_closed() {
        received_bytes += 1;
    }
    assert!(received_bytes < 40 * 900_000 / 65_536, "everything was taken");
}

#[test]
fn a_receiver_that_is_too_slow_costs_503_in_the_queue_and_504_in_flight() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let receiver = UnixListener::bind(&path).unwrap();
    let thread = thread::spawn(move || prove(receiver.accept().unwrap().0, receiver));
    let mut limits = with_slots(1);
    limits.deadlines.answer = Duration::from_millis(200);
    let listener = listen::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let gate = start(limits, listener, &path, settings(), || {}).unwrap();
    let _receiver = thread.join().unwrap(); // alive, and takes nothing more
    let address = gate.address().trim_start_matches("http://");
    let (mut flying, mut queued) = (Sender::tcp(address), Sender::tcp(address));
    flying.send(&post("/", b""));
    thread::sleep(Duration::from_millis(50));
    queued.send(&post("/", b""));
    let (flying, queued) = (flying.answer(), queued.answer());
    assert_eq!((flying.status, queued.status), (504, 503));
    assert!(queued.header("retry-after").is_some() && flying.header("retry-after").is_none());
}

fn prove(mut stream: UnixStream, listener: UnixListener) -> (UnixStream, UnixListener) {
    assert!(read_request(&mut stream));
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    (stream, listener)
}

#[test]
fn a_late_answer_is_given_to_nobody_else() {
    let mut limits = with_slots(1);
    limits.deadlines.answer = Duration::from_millis(200);
    let rig = Rig::start(limits);
    let mut late = rig.connect();
    late.send(&post("/hold", b"late"));
    assert_eq!(late.answer().status, 504);
    assert_eq!(rig.deliver(), 200, "the slot is open again, although the receiver still has the request");
    rig.release_held();
    let mut other = rig.connect();
    other.send(&post("/", b"other"));
    assert!(other.answer().header("x-body").unwrap().starts_with("5 "));
}

/// An inner server that proves connections and then does to each request what `serve` says.
fn inner(path: &std::path::Path, serve: impl Fn(usize, UnixStream) + Send + Sync + 'static) {
    let listener = UnixListener::bind(path).unwrap();
    let (serve, count) = (Arc::new(serve), Arc::new(AtomicUsize::new(0)));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (serve, count) = (serve.clone(), count.clone());
            thread::spawn(move || {
                let _ = read_request(&mut stream);
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                serve(count.fetch_add(1, Ordering::Relaxed), stream);
            });
        }
    });
}

fn read_request(stream: &mut UnixStream) -> bool {
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

fn behind(
    limits: Limits,
    serve: impl Fn(usize, UnixStream) + Send + Sync + 'static,
) -> (tempfile::TempDir, String, crate::gate::Gate) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    inner(&path, serve);
    let listener = listen::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let gate = start(limits, listener, &path, settings(), || {}).unwrap();
    let address = gate.address().trim_start_matches("http://").to_string();
    (directory, address, gate)
}

fn status(address: &str) -> u16 {
    let mut sender = Sender::tcp(address);
    sender.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    sender.answer().status
}

#[test]
fn a_lost_slot_costs_its_request_502_and_is_opened_again() {
    let (_directory, address, _gate) = behind(with_slots(1), |count, mut stream| {
        while read_request(&mut stream) && count > 0 {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    assert_eq!((status(&address), status(&address), status(&address)), (502, 200, 200));
}

#[test]
fn an_answer_that_is_none_costs_502() {
    for answer in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let (_directory, address, gate) = behind(with_slots(1), move |_, mut stream| {
            while read_request(&mut stream) {
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert_eq!(status(&address), 502, "{answer}");
        assert!(gate.liveness().beats().is_awaited, "that is no sign of the receiver's life");
    }
}

#[test]
fn a_slot_lost_while_idle_costs_no_request_anything() {
    // Every inner connection ends after one answer, so that each next request could find a stale one.
    let (_directory, address, _gate) = behind(with_slots(2), |_, mut stream| {
        if read_request(&mut stream) {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    for at in 0..50 {
        assert_eq!(status(&address), 200, "{at}");
        thread::sleep(Duration::from_millis(5)); // an end that crosses the request would be 502
    }
}

#[test]
fn a_silent_receiver_is_an_error_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let _silent = UnixListener::bind(&path).unwrap();
    let has_ended = Arc::new(AtomicUsize::new(0));
    let on_end = {
        let has_ended = has_ended.clone();
        move || {
            has_ended.fetch_add(1, Ordering::Relaxed);
        }
    };
    let listener = listen::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let limits = with_deadlines(|deadlines| deadlines.start = Duration::from_millis(200));
    let result = start(limits, listener, &path, settings(), on_end);
    assert!(matches!(result, Err(GateError::ReceiverSilent)));
    wait_until("the thread's end", || has_ended.load(Ordering::Relaxed) == 1);
}

#[test]
fn the_end_is_told_even_after_a_panic() {
    let has_ended = Arc::new(AtomicUsize::new(0));
    let inside = has_ended.clone();
    let thread = thread::spawn(move || {
        let _on_end = OnDrop(Some(move || {
            inside.fetch_add(1, Ordering::Relaxed);
        }));
        panic!("as a test");
    });
    assert!(thread.join().is_err());
    assert_eq!(has_ended.load(Ordering::Relaxed), 1);
}
