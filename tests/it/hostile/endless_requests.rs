//! Endless requests, and the largest bodies from many senders at once: memory is bounded.

use std::time::{Duration, Instant};

use super::{deliver_during, deliver_within};
use crate::support::{Address, Home, Request, patient, take_turn_nearly_alone};

/// An idle program, request heads in progress, and freed memory that the C library keeps.
const BASE_MIB: u64 = 32;

/// The gate's budget for bodies in progress.
const BUDGET_MIB: u64 = 64;

/// How often one largest body (25 MiB) is in memory behind the gate: the receiver's, SQLite's copy of it and the row made
/// of that; and of the one before the worker's, and SQLite's while that is read.
const COPIES: u64 = 5;

/// A body of this size is checked and committed in hundreds of milliseconds, and in a build for tests in seconds. One
/// such at a time goes before a small one.
const BEHIND_LARGE: Duration = Duration::from_secs(8);

/// Sends `beginning` and then `block` until the program closes the connection. The status of its answer, if that arrived.
fn send_forever(address: &Address, beginning: &[u8], block: &[u8]) -> Option<u16> {
    let mut connection = address.connect();
    connection.send_lossy(beginning);
    let start = Instant::now();
    while connection.try_send(block).is_ok() {
        assert!(start.elapsed() < patient(Duration::from_secs(30)), "the program reads forever");
    }
    connection.try_response().ok().map(|response| response.status)
}

/// Four such senders at once.
fn flood(name: &str, beginning: &[u8], block: &[u8], refusal: u16) {
    take_turn_nearly_alone();
    let hookbox = Home::new().start();
    let address = hookbox.address();
    let hostile = || {
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..4).map(|_| scope.spawn(|| send_forever(&address, beginning, block))).collect();
            senders.into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
        })
    };
    let (statuses, delivered) = deliver_during(&hookbox, name, hostile);
    println!("{name}: {statuses:?}");
    assert!(
        statuses.iter().all(|status| matches!(status, None | Some(503)) || *status == Some(refusal)),
        "{statuses:?}"
    );
    assert_eq!(hookbox.stored(), delivered as i64);
    hookbox.assert_peak_below(BASE_MIB + BUDGET_MIB);
}

#[test]
fn four_endless_header_lines_are_cut_off() {
    flood("endless line", b"POST /webhooks/github HTTP/1.1\r\nHost: h\r\nX-Endless: ", &[b'x'; 65_536], 431);
}

#[test]
fn endless_headers_are_cut_off() {
    flood("endless headers", b"POST /webhooks/github HTTP/1.1\r\nHost: h\r\n", &b"X-Y: z\r\n".repeat(8192), 431);
}

#[test]
fn an_endless_request_line_is_cut_off() {
    flood("endless target", b"POST /", &[b'x'; 65_536], 431);
}

#[test]
fn an_endless_chunked_body_is_cut_off() {
    let beginning = Request::github("push", "endless", "").chunked().head();
    let chunk = [b"10000\r\n", &[b'x'; 65_536][..], b"\r\n"].concat();
    flood("endless chunks", &beginning, &chunk, 413);
}

#[test]
fn endless_chunk_extensions_and_trailers_are_cut_off() {
    let beginning = Request::github("push", "endless", "").chunked().head();
    flood("endless extension", &[&beginning, &b"1;"[..]].concat(), &[b'x'; 65_536], 400);
    flood("endless trailers", &[&beginning, &b"0\r\n"[..]].concat(), &b"X-Y: z\r\n".repeat(8192), 400);
}

/// Memory beyond the base stays under the budget of the gate and a few copies of one body.
#[test]
fn twenty_bodies_of_25_mib_at_once_are_stored_or_refused_in_bounded_memory() {
    take_turn_nearly_alone();
    let hookbox = Home::new().start();
    let text = "x".repeat((25 << 20) - 20);
    let request = Request::github("push", "", format!(r#"{{"text":"{text}"}}"#));
    let address = hookbox.address();
    let send = |n: usize| {
        let bytes = request.clone().with("X-GitHub-Delivery", &format!("large-{n}")).bytes();
        let mut connection = address.connect();
        connection.send_lossy(&bytes);
        connection.try_response().ok().map(|response| response.status)
    };
    let send = &send;
    let hostile = || {
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..20).map(|n| scope.spawn(move || send(n))).collect();
            senders.into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
        })
    };
    let (statuses, delivered) = deliver_within(BEHIND_LARGE, &hookbox, "20 bodies of 25 MiB", hostile);
    println!("{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, None | Some(200 | 503))), "{statuses:?}");
    let stored = statuses.iter().filter(|status| **status == Some(200)).count();
    assert!(stored > 0, "{statuses:?}");
    let large: i64 = hookbox.query("SELECT count(*) FROM webhook_events WHERE length(payload_json) > 1000000")[0];
    assert!(large >= stored as i64, "{large} rows for {stored} answers");
    assert!(hookbox.stored() >= (stored + delivered) as i64);
    hookbox.wait_until_done();
    hookbox.assert_peak_below(BASE_MIB + BUDGET_MIB + COPIES * 25);
}
