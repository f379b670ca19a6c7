//! One address takes all it can get: the slow delivery of another one is still stored.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    Address, Connection, Home, Hookbox, Request, SOURCE, allow_descriptors, patient, take_turn_nearly_alone,
};

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;
const GREEDY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Nearly all places of the gate.
const HELD: usize = 505;

const FLOOD_INTERVAL: Duration = Duration::from_micros(3_300);

/// The pieces of a delivery of 2 MB over a round trip of 300 ms.
const ROUND_TRIPS: usize = 14;
const ROUND_TRIP: Duration = Duration::from_millis(300);

fn two_megabytes(id: &str) -> Request {
    Request::github("push", id, format!("{{\"text\":\"{}\"}}", "x".repeat(2_000_000)))
}

/// Delivers piece by piece. The status of the answer, if there is one.
fn deliver_slowly(connection: &mut Connection, request: &Request) -> Option<u16> {
    let bytes = request.bytes();
    for piece in bytes.chunks(bytes.len().div_ceil(ROUND_TRIPS)) {
        connection.send_lossy(piece);
        std::thread::sleep(ROUND_TRIP);
    }
    connection.try_response().ok().map(|response| response.status)
}

/// 300 new connections a second from one address, beside those that it holds already, each with `beginning`.
fn flood(address: &Address, source: Ipv4Addr, beginning: &[u8], done: &AtomicBool) {
    let open = || {
        let mut connection = address.connect_from(source);
        connection.send_lossy(beginning);
        connection
    };
    let mut held: Vec<Connection> = (0..HELD).map(|_| open()).collect();
    while !done.load(Ordering::Relaxed) {
        let start = Instant::now();
        held.push(open());
        std::thread::sleep(FLOOD_INTERVAL.saturating_sub(start.elapsed()));
    }
}

/// The status of a slow delivery during a flood.
fn deliver_during_flood(
    hookbox: &Hookbox,
    (flooding, beginning): (Ipv4Addr, &[u8]),
    (source, request): (Ipv4Addr, &Request),
) -> Option<u16> {
    let (address, done) = (hookbox.address(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&address, flooding, beginning, &done));
        let status = deliver_slowly(&mut address.connect_from(source), request);
        done.store(true, Ordering::Relaxed);
        status
    })
}

#[test]
fn a_slow_delivery_is_stored_during_a_flood_from_another_address() {
    take_turn_nearly_alone();
    allow_descriptors(8192);
    let hookbox = Home::new().start();
    let beginnings: [(&str, Vec<u8>); 3] = [
        ("silent", Vec::new()),
        ("heads", b"POST /webhooks/github HTTP/1.1\r\nX-Slow: ".to_vec()),
        ("bodies", two_megabytes("never").bytes()[..8_000].to_vec()),
    ];
    for (name, beginning) in beginnings {
        let status = deliver_during_flood(&hookbox, (GREEDY, &beginning), (HONEST, &two_megabytes(name)));
        assert_eq!(status, Some(200), "{name}");
    }
    assert_eq!(hookbox.stored(), 3);
}

#[test]
fn a_slow_delivery_is_stored_during_a_flood_that_a_trusted_proxy_forwards() {
    take_turn_nearly_alone();
    allow_descriptors(8192);
    let hookbox = Home::with_config(&format!("trusted_proxies = \"127.0.0.1\"\n{SOURCE}")).start();
    let from = |request: Request, client: &str| request.header("X-Forwarded-For", client);
    let flood = from(two_megabytes("never"), "203.0.113.9").bytes();
    let honest = from(two_megabytes("slow"), "198.51.100.7");
    assert_eq!(deliver_during_flood(&hookbox, (LOCAL, &flood[..8_000]), (LOCAL, &honest)), Some(200));
    assert_eq!(hookbox.stored(), 1);
}

#[test]
fn one_address_cannot_hold_the_whole_budget_for_bodies() {
    take_turn_nearly_alone();
    allow_descriptors(8192);
    let hookbox = Home::new().start();
    let address = hookbox.address();
    // Together a little more than 64 MiB, each smaller than the honest one's.
    let beginning = &two_megabytes("never").bytes()[..135_000];
    let mut held: Vec<Connection> = (0..HELD).map(|_| address.connect_from(GREEDY)).collect();
    for connection in &mut held {
        connection.send_lossy(beginning);
    }
    for n in 0..4 {
        let mut connection = address.connect_from(HONEST);
        connection.send_lossy(&two_megabytes(&format!("d-{n}")).bytes());
        assert_eq!(connection.response().status, 200, "{n}");
    }
    assert_eq!(hookbox.stored(), 4);
    hookbox.assert_peak_below(128);
}

#[test]
fn who_makes_room_is_answered_and_told_when_to_come_back() {
    take_turn_nearly_alone();
    allow_descriptors(8192);
    let hookbox = Home::new().start();
    let address = hookbox.address();
    let mut greedy: Vec<Connection> = (0..600).map(|_| address.connect_from(GREEDY)).collect();
    for connection in &mut greedy {
        connection.send_lossy(b"POST /webhooks/github HTTP/1.1\r\nHost: h\r\n");
    }
    for n in 0..20 {
        let mut connection = address.connect_from(HONEST);
        connection.send(&Request::github("push", &format!("d-{n}"), "{}").bytes());
        assert_eq!(connection.response().status, 200);
    }
    let response = greedy[0].response();
    assert_eq!((response.status, response.header("Retry-After")), (503, Some("10")));
    assert!(greedy[0].ends_within(patient(Duration::from_secs(1))));
}
