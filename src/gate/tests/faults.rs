//! Malformed, oversized and slow requests, and upstream connections that fail.

use super::client::Client;
use super::rig::{
    Rig, Scripted, answer_probe, limits, post, read_request, settings, wait_until, with_timeouts,
    with_upstream_connections,
};
use crate::gate::upstream::socket::Address;
use crate::gate::{UPSTREAM_IS_SILENT, run_then, start};
use crate::listen;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn refused_requests_get_a_response_and_their_connection_is_closed() {
    let rig = Rig::start(limits());
    let huge = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}", "a".repeat(17_000));
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: 1\r\n".repeat(64));
    let table: [(u16, &str); 12] = [
        (400, "nonsense\r\n\r\n"),
        (400, "\x16\x03\x01"),
        (400, "GET / HTTP/1.1\n"),
        (400, "GET * HTTP/1.1\r\nHost: h\r\n\r\n"),
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
        let mut client = rig.connect();
        client.send(request.as_bytes());
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{request}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert!(answer.body.ends_with(b"\n") && answer.body.len() < 120);
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(rig.deliver(), 200);
}

#[test]
fn a_malformed_pipelined_request_is_refused_after_the_earlier_responses() {
    let rig = Rig::start(limits());
    let mut client = rig.connect();
    client.send(&[post("/", b"a"), b"nonsense\r\n\r\n".to_vec(), post("/", b"never")].concat());
    assert_eq!((client.answer().status, client.answer().status), (200, 400));
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_refused_client_that_goes_on_sending_gets_its_response() {
    let rig = Rig::start(limits());
    rig.set_max_body_bytes(1000);
    for _ in 0..20 {
        let mut client = rig.connect();
        client.send(&post("/", &vec![b'a'; 500_000]));
        assert_eq!(client.answer().status, 413);
    }
}

#[test]
fn a_refused_client_that_reads_only_when_it_has_sent_27_mb_gets_its_response() {
    let rig = Rig::start(limits());
    let body = vec![b'a'; 27_000_000];
    let chunks = [b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n19bfcc0\r\n", &body[..]].concat();
    for request in [post("/", &body), chunks] {
        let mut client = rig.connect();
        client.send(&request);
        assert_eq!((client.answer().status, client.rest()), (413, vec![]));
    }
}

#[test]
fn a_refused_client_that_sends_forever_is_closed() {
    let rig = Rig::start(with_timeouts(|timeouts| timeouts.discard = Duration::from_millis(300)));
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99000000000\r\n\r\n";
    let mut slow = rig.connect();
    slow.send(head);
    wait_until("the end of a slow one", || {
        thread::sleep(Duration::from_millis(10));
        slow.try_send(b"a").is_err()
    });
    let rig = Rig::start(with_timeouts(|timeouts| timeouts.discard *= 100));
    let mut fast = rig.connect();
    fast.send(head);
    let mebibyte = vec![b'a'; 1 << 20];
    let sent_mib = (0..1000).take_while(|_| fast.try_send(&mebibyte).is_ok()).count();
    assert!((63..200).contains(&sent_mib), "{sent_mib} MiB");
}

#[test]
fn slow_clients_get_408_and_silent_ones_are_closed() {
    let rig = Rig::start(with_timeouts(|timeouts| {
        timeouts.request = Duration::from_millis(200);
        timeouts.idle = Duration::from_millis(100);
    }));
    let (mut silent, mut head, mut body, mut idle) = (rig.connect(), rig.connect(), rig.connect(), rig.connect());
    head.send(b"\r\nGET");
    body.send(&post("/", b"body")[..50]);
    idle.send(&post("/", b""));
    assert_eq!((head.answer().status, body.answer().status, idle.answer().status), (408, 408, 200));
    assert_eq!((silent.rest(), idle.rest()), (vec![], vec![]));
}

#[test]
fn sending_slowly_does_not_extend_the_timeout() {
    let rig = Rig::start(with_timeouts(|timeouts| timeouts.request = Duration::from_millis(300)));
    let mut client = rig.connect();
    let started = Instant::now();
    while client.try_send(b"A").is_ok() && started.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_client_that_does_not_read_its_response_is_closed() {
    let rig = Rig::start(with_timeouts(|timeouts| timeouts.send = Duration::from_millis(200)));
    let mut client = rig.connect();
    // Pages until no buffer takes more, so that the gate has to wait.
    for _ in 0..40 {
        let _ = client.try_send(b"GET /page HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    wait_until("the timeout", || rig.traffic().late.get() == 1);
    assert_eq!(rig.deliver(), 200);
    let mut reads = 0;
    while !client.is_closed() {
        reads += 1;
    }
    assert!(reads < 40 * 900_000 / 65_536, "everything was taken");
}

#[test]
fn a_slow_upstream_means_503_for_queued_and_504_for_in_flight_requests() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let receiver = UnixListener::bind(&path).unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = receiver.accept().unwrap();
        answer_probe(&mut stream);
        (stream, receiver)
    });
    let mut limits = with_upstream_connections(1);
    limits.timeouts.response = Duration::from_millis(200);
    let listener = listen::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let settings = settings();
    let gate = start(limits, listener, Address::of(&path), settings.clone(), || {}).unwrap();
    let _receiver = thread.join().unwrap(); // stays open and reads nothing more
    let address = gate.address().trim_start_matches("http://");
    let (mut in_flight, mut queued) = (Client::tcp(address), Client::tcp(address));
    in_flight.send(&post("/", b""));
    wait_until("the first request in flight", || settings.traffic.liveness().is_awaited);
    queued.send(&post("/", b""));
    let (in_flight, queued) = (in_flight.answer(), queued.answer());
    assert_eq!((in_flight.status, queued.status), (504, 503));
    assert!(queued.header("retry-after").is_some() && in_flight.header("retry-after").is_none());
}

#[test]
fn a_late_response_goes_to_no_other_client() {
    let mut limits = with_upstream_connections(1);
    limits.timeouts.response = Duration::from_secs(2);
    let rig = Rig::start(limits);
    let mut late = rig.connect();
    late.send(&post("/hold", b"late"));
    assert_eq!(late.answer().status, 504);
    assert_eq!(rig.deliver(), 200, "the connection is open again, although the receiver still has the request");
    rig.release_held();
    let mut other = rig.connect();
    other.send(&post("/", b"other"));
    assert!(other.answer().header("x-body").unwrap().starts_with("5 "));
}

#[test]
fn a_lost_upstream_connection_means_502_and_is_reopened() {
    let upstream = Scripted::start(with_upstream_connections(1), |count, mut stream| {
        while read_request(&mut stream) && count > 0 {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    assert_eq!((upstream.status(), upstream.status(), upstream.status()), (502, 200, 200));
}

#[test]
fn an_invalid_upstream_response_means_502() {
    for answer in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let upstream = Scripted::start(with_upstream_connections(1), move |_, mut stream| {
            while read_request(&mut stream) {
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert_eq!(upstream.status(), 502, "{answer}");
        assert!(upstream.settings.traffic.liveness().is_awaited, "that is no sign of life");
    }
}

#[test]
fn an_upstream_connection_lost_while_idle_affects_no_request() {
    // Upstream closes each connection after one response, so that each next request could find a stale one.
    let closed = Arc::new(AtomicUsize::new(0));
    let closed_upstream = closed.clone();
    let upstream = Scripted::start(with_upstream_connections(2), move |_, mut stream| {
        if read_request(&mut stream) {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            // A mere drop would not end it while a child process that another test starts still has a copy of the socket.
            stream.shutdown(Shutdown::Both).unwrap();
            closed_upstream.fetch_add(1, Ordering::Relaxed);
        }
    });
    for at in 0..50 {
        assert_eq!(upstream.status(), 200, "{at}");
        // If it were closed only when the next request is written, that would be 502.
        wait_until("the end of the connection", || closed.load(Ordering::Relaxed) == at + 1);
    }
}

#[test]
fn a_silent_upstream_is_an_error_at_start() {
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
    let limits = with_timeouts(|timeouts| timeouts.start = Duration::from_millis(200));
    let result = start(limits, listener, Address::of(&path), settings(), on_end);
    assert_eq!(result.unwrap_err(), UPSTREAM_IS_SILENT);
    wait_until("the end of the thread", || has_ended.load(Ordering::Relaxed) == 1);
}

#[test]
fn on_end_is_called_even_after_a_panic() {
    let mut has_ended = false;
    run_then(|| panic!("as a test"), || has_ended = true);
    assert!(has_ended);
}
