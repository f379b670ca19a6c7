//! The real gate in front of a real tiny_http, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

mod crowd;
mod faults;
mod rig;
mod shortage;

use super::Snapshot;
use rig::{Rig, Sender, limits, post, wait_until};
use std::thread;
use std::time::Duration;

#[test]
fn a_request_arrives_whole_and_normalised() {
    let rig = Rig::start(limits());
    let mut sender = rig.connect();
    sender.send(b"POST /a?b HTTP/1.1\r\nHost: h\r\nx-gate-peer: 6.6.6.6\r\nConnection: X-Hop\r\nX-Hop: 1\r\nTE: gzip\r\nA: b\r\n");
    sender.send(b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
    let answer = sender.answer();
    assert_eq!(answer.status, 200);
    let expected = format!("POST /a?b host=h x-hop=1 a=b content-length=5 x-gate-peer={}", sender.address());
    assert_eq!(answer.header("x-request"), Some(expected.as_str()));
    assert_eq!(answer.header("x-body"), Some("5 532"));
    assert_eq!((answer.header("server"), answer.header("connection")), (None, None));
    assert!(answer.header("date").is_some() && answer.body.is_empty());
}

#[test]
fn a_request_of_single_bytes_is_a_request() {
    let rig = Rig::start(limits());
    let mut sender = rig.connect();
    for byte in post("/", b"slow") {
        sender.send(&[byte]);
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(sender.answer().header("x-body"), Some("4 453"));
}

#[test]
fn large_bodies_arrive_by_length_and_in_chunks() {
    let rig = Rig::start(limits());
    let body: Vec<u8> = (0..5_000_000).map(|at: u32| (at % 251) as u8).collect();
    let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
    let expected = format!("{} {sum}", body.len());
    let mut sender = rig.connect();
    sender.send(&post("/", &body));
    assert_eq!(sender.answer().header("x-body"), Some(expected.as_str()));
    sender.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(70_001) {
        sender.send(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    sender.send(b"0\r\n\r\n");
    assert_eq!(sender.answer().header("x-body"), Some(expected.as_str()));
}

#[test]
fn an_early_answer_waits_for_the_rest_of_its_request() {
    let rig = Rig::start(rig::with_slots(1));
    let mut sender = rig.connect();
    for _ in 0..3 {
        sender.send(&post("/early", &vec![b'a'; 900_000]));
        assert_eq!(sender.answer().status, 401);
        sender.send(&post("/", b""));
        assert_eq!(sender.answer().status, 200);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let rig = Rig::start(limits());
    let mut sender = rig.connect();
    let requests: Vec<Vec<u8>> =
        (0..5).map(|at| post(&format!("/{at}"), &vec![b'a'; at * 7_000])).chain([b"\r\n".to_vec()]).collect();
    sender.send(&requests.concat());
    for at in 0..5 {
        let answer = sender.answer();
        assert!(answer.header("x-request").unwrap().starts_with(&format!("POST /{at} ")));
        assert!(answer.header("x-body").unwrap().starts_with(&format!("{} ", at * 7_000)));
    }
}

#[test]
fn the_connection_is_closed_for_who_asked_and_for_http_1_0() {
    let rig = Rig::start(limits());
    for request in
        ["GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"]
    {
        let mut sender = rig.connect();
        sender.send(request.as_bytes());
        let answer = sender.answer();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{request}");
        assert_eq!(sender.rest(), b"");
    }
}

#[test]
fn an_answer_to_head_has_no_body() {
    let rig = Rig::start(limits());
    let mut sender = rig.connect();
    sender.send(b"HEAD /page HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = sender.answer_to_head();
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("900000")));
    sender.send(b"GET /page HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(sender.answer().body.len(), 900_000);
}

#[test]
fn the_body_is_asked_for_only_where_it_is_waited_for() {
    let rig = Rig::start(limits());
    let head = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut sender = rig.connect();
    sender.send(head.as_bytes());
    assert_eq!(sender.answer().status, 100);
    sender.send(b"ab");
    assert_eq!(sender.answer().status, 200);
    sender.send(format!("{head}ab").as_bytes());
    assert_eq!(sender.answer().status, 200, "the body was there already");
    sender.send(head.replace(": 2", ": 0").as_bytes());
    assert_eq!(sender.answer().status, 200, "there is no body");
    sender.send(head.replace(": 2", ": 99000000").as_bytes());
    assert_eq!(sender.answer().status, 413);
}

#[test]
fn a_sender_that_has_shut_down_writing_gets_its_answer() {
    let rig = Rig::start(limits());
    let mut sender = rig.connect();
    sender.send(&post("/", b"x"));
    sender.shut_down_writing();
    assert_eq!(sender.answer().status, 200);
    assert_eq!(sender.rest(), b"");
}

#[test]
fn a_unix_socket_serves_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let rig = Rig::start_at(&format!("unix:{}", path.display()), limits());
    assert_eq!(rig.address(), format!("unix:{}", path.display()));
    let mut sender = Sender::unix(&path);
    sender.send(&post("/", b""));
    assert!(sender.answer().header("x-request").unwrap().ends_with("x-gate-peer=unix"));
    rig.stop();
    assert!(!path.exists());
}

#[test]
fn a_new_limit_on_bodies_holds_at_once() {
    let rig = Rig::start(limits());
    let mut sender = rig.connect();
    sender.send(&post("/", b"four"));
    assert_eq!(sender.answer().status, 200);
    rig.set_max_body_bytes(3);
    sender.send(&post("/", b"four"));
    assert_eq!(sender.answer().status, 413);
}

#[test]
fn the_pulse_tells_who_was_let_in_who_waits_and_who_was_answered() {
    let rig = Rig::start(limits());
    assert_eq!(rig.beats(), Snapshot { local_address: 0, answers: 0, is_awaited: false });
    let mut held = rig.connect();
    held.send(&post("/hold", b""));
    rig.wait_for_held(1);
    wait_until("somebody to wait", || rig.beats() == Snapshot { local_address: 1, answers: 0, is_awaited: true });
    rig.release_held();
    assert_eq!(held.answer().status, 200);
    wait_until("nobody to wait", || rig.beats() == Snapshot { local_address: 1, answers: 1, is_awaited: false });
}

#[test]
fn at_stop_what_is_complete_is_answered_and_nothing_else_is_waited_for() {
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
