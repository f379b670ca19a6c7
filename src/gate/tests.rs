//! The gate in front of a real tiny_http, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

mod capacity;
mod client;
mod fairness;
mod faults;
mod own_process;
mod rig;

use super::Liveness;
use super::limits::Limits;
use client::Client;
use rig::{Rig, limits, post, wait_until};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_request_is_forwarded_complete_and_normalised() {
    let rig = Rig::start(limits());
    let mut client = rig.connect();
    client.send(b"POST /a?b HTTP/1.1\r\nHost: h\r\nx-gate-peer: 6.6.6.6\r\nConnection: X-Hop\r\nX-Hop: 1\r\nTE: gzip\r\nA: b\r\n");
    client.send(b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    let expected = format!("POST /a?b host=h x-hop=1 a=b content-length=5 x-gate-peer={}", client.address());
    assert_eq!(answer.header("x-request"), Some(expected.as_str()));
    assert_eq!(answer.header("x-body"), Some("5 532"));
    assert_eq!((answer.header("server"), answer.header("connection")), (None, Some("keep-alive")));
    assert!(answer.header("date").is_some() && answer.body.is_empty());
}

#[test]
fn a_request_sent_byte_by_byte_is_answered() {
    let rig = Rig::start(limits());
    let mut client = rig.connect();
    for byte in post("/", b"slow") {
        client.send(&[byte]);
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.answer().header("x-body"), Some("4 453"));
}

#[test]
fn large_bodies_are_forwarded_by_length_and_in_chunks() {
    let rig = Rig::start(limits());
    let body: Vec<u8> = (0..5_000_000).map(|at: u32| (at % 251) as u8).collect();
    let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
    let expected = format!("{} {sum}", body.len());
    let mut client = rig.connect();
    client.send(&post("/", &body));
    assert_eq!(client.answer().header("x-body"), Some(expected.as_str()));
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(70_001) {
        client.send(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    client.send(b"0\r\n\r\n");
    assert_eq!(client.answer().header("x-body"), Some(expected.as_str()));
}

#[test]
fn an_early_response_is_sent_after_the_rest_of_its_request() {
    let rig = Rig::start(rig::with_upstream_connections(1));
    let mut client = rig.connect();
    for _ in 0..3 {
        client.send(&post("/early", &vec![b'a'; 900_000]));
        assert_eq!(client.answer().status, 401);
        client.send(&post("/", b""));
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let rig = Rig::start(limits());
    let mut client = rig.connect();
    let requests: Vec<Vec<u8>> =
        (0..5).map(|at| post(&format!("/{at}"), &vec![b'a'; at * 7_000])).chain([b"\r\n".to_vec()]).collect();
    client.send(&requests.concat());
    for at in 0..5 {
        let answer = client.answer();
        assert!(answer.header("x-request").unwrap().starts_with(&format!("POST /{at} ")));
        assert!(answer.header("x-body").unwrap().starts_with(&format!("{} ", at * 7_000)));
    }
}

#[test]
fn the_connection_is_closed_after_connection_close_and_after_http_1_0() {
    let rig = Rig::start(limits());
    for request in
        ["GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"]
    {
        let mut client = rig.connect();
        client.send(request.as_bytes());
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{request}");
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_response_says_how_long_its_connection_stays_open() {
    let rig = Rig::start(rig::with_timeouts(|timeouts| timeouts.idle = Duration::from_millis(2_500)));
    let mut client = rig.connect();
    client.send(&post("/", b""));
    let answer = client.answer();
    assert_eq!(answer.header("keep-alive"), Some("timeout=1"), "less than the gate waits");
    let start = Instant::now();
    assert_eq!(client.rest(), b"");
    assert!(start.elapsed() > Duration::from_secs(1), "{:?}", start.elapsed());
    let mut client = rig.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().header("keep-alive"), None);
}

#[test]
fn a_response_to_head_has_no_body() {
    let rig = Rig::start(limits());
    let mut client = rig.connect();
    client.send(b"HEAD /page HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = client.answer_to_head();
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("900000")));
    client.send(b"GET /page HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.answer().body.len(), 900_000);
}

#[test]
fn continue_is_sent_only_to_a_client_that_waits_for_it() {
    let rig = Rig::start(limits());
    let head = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut client = rig.connect();
    client.send(head.as_bytes());
    assert_eq!(client.answer().status, 100);
    client.send(b"ab");
    assert_eq!(client.answer().status, 200);
    client.send(format!("{head}ab").as_bytes());
    assert_eq!(client.answer().status, 200, "the body was there already");
    client.send(head.replace(": 2", ": 0").as_bytes());
    assert_eq!(client.answer().status, 200, "there is no body");
    client.send(head.replace(": 2", ": 99000000").as_bytes());
    assert_eq!(client.answer().status, 413);
}

#[test]
fn a_client_that_has_shut_down_writing_gets_its_response() {
    let rig = Rig::start(limits());
    let mut client = rig.connect();
    client.send(&post("/", b"x"));
    client.shut_down_writing();
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_gate_on_a_unix_socket_serves_requests() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let rig = Rig::start_at(&format!("unix:{}", path.display()), limits());
    assert_eq!(rig.address(), format!("unix:{}", path.display()));
    let mut client = Client::unix(&path);
    client.send(&post("/", b""));
    assert!(client.answer().header("x-request").unwrap().ends_with("x-gate-peer=unix"));
    rig.stop();
    assert!(!path.exists());
}

#[test]
fn a_new_body_limit_applies_immediately() {
    let rig = Rig::start(limits());
    let mut client = rig.connect();
    client.send(&post("/", b"four"));
    assert_eq!(client.answer().status, 200);
    rig.set_max_body_bytes(3);
    client.send(&post("/", b"four"));
    assert_eq!(client.answer().status, 413);
}

#[test]
fn liveness_shows_accepted_connections_waiting_requests_and_responses() {
    let rig = Rig::start(limits());
    assert_eq!(rig.traffic().liveness(), Liveness { accept_attempts: 0, answers: 0, is_awaited: false });
    let mut held = rig.connect();
    held.send(&post("/hold", b""));
    rig.wait_for_held(1);
    wait_until("a request to wait", || {
        rig.traffic().liveness() == Liveness { accept_attempts: 1, answers: 0, is_awaited: true }
    });
    rig.release_held();
    assert_eq!(held.answer().status, 200);
    wait_until("no request to wait", || {
        rig.traffic().liveness() == Liveness { accept_attempts: 1, answers: 1, is_awaited: false }
    });
}

#[test]
fn a_stopping_gate_answers_complete_requests_and_closes_all_other_connections() {
    let rig = Rig::start(limits());
    let (mut idle, mut silent, mut held) = (rig.connect(), rig.connect(), rig.connect());
    idle.send(&post("/", b""));
    assert_eq!(idle.answer().status, 200);
    held.send(&post("/hold", b""));
    rig.wait_for_held(1);
    let address = rig.tcp_address();
    let stopping = rig.stop_in_background();
    assert_eq!((idle.rest(), silent.rest()), (vec![], vec![]));
    assert!(!stopping.is_over());
    stopping.release_held();
    let answer = held.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    drop(held);
    stopping.join();
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_stopping_gate_accepts_those_that_wait_for_room() {
    let mut limits = Limits::new(8, 8);
    limits.timeouts.accept_pause = rig::TIMEOUT;
    let rig = Rig::start(limits);
    let mut held: Vec<Client> = (0..8).map(|_| rig.connect()).collect();
    held.iter_mut().for_each(|client| client.send(&post("/hold", b"")));
    rig.wait_for_held(8);
    let mut waiting: Vec<Client> = (0..5).map(|_| rig.connect()).collect();
    waiting.iter_mut().for_each(|client| client.send(&post("/", b"")));
    // There is no room: they wait in the listener's queue.
    wait_until("a refused place", || rig.traffic().liveness().accept_attempts > 8);
    let stopping = rig.stop_in_background();
    thread::sleep(Duration::from_millis(50)); // it has noticed that it is to stop
    stopping.release_held();
    for client in held.iter_mut().chain(&mut waiting) {
        assert_eq!(client.answer().status, 200);
    }
    drop((held, waiting));
    stopping.join();
}

#[test]
fn a_slow_upload_delays_the_end_of_a_stop_only_for_its_time() {
    let rig = Rig::start(rig::with_timeouts(|timeouts| {
        timeouts.stop = Duration::from_millis(200);
        timeouts.close = rig::TIMEOUT;
    }));
    let mut slow = rig.connect();
    slow.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nbeginning");
    wait_until("the connection", || rig.traffic().open.get() == 1);
    let start = Instant::now();
    rig.stop();
    assert!(start.elapsed() < rig::TIMEOUT / 2, "{:?}", start.elapsed());
}
