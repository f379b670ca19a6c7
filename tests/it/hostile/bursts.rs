//! Many connections at the same instant, lengths beyond reason, requests in a row.

use std::time::{Duration, Instant};

use super::deliver_during;
use crate::support::{Connection, Home, Request, Signal, allow_descriptors, take_turn_nearly_alone};

/// `count` connections at once to a program that has just started, each with one delivery. It is stopped while they connect,
/// so that it finds all of them in the same instant.
fn burst(count: usize, closes: bool) {
    allow_descriptors(8192);
    let hookbox = Home::new().start();
    hookbox.signal(Signal::STOP);
    let mut connections: Vec<Connection> = (0..count).map(|_| hookbox.connect()).collect();
    for (n, connection) in connections.iter_mut().enumerate() {
        connection.send_lossy(&Request::github("push", &format!("d-{n}"), "{}").bytes());
    }
    hookbox.signal(Signal::CONT);
    let mut kept = Vec::new();
    for mut connection in connections {
        assert_eq!(connection.response().status, 200);
        if !closes {
            kept.push(connection);
        }
    }
    assert_eq!(hookbox.stored(), count as i64);
    hookbox.deliver("push", "afterwards", "{}");
}

#[test]
fn bursts_of_well_behaved_connections_are_all_answered() {
    [8, 64, 1000].into_iter().for_each(|count| burst(count, true));
}

#[test]
fn bursts_of_connections_that_never_close_are_all_answered() {
    [8, 64, 1000].into_iter().for_each(|count| burst(count, false));
}

#[test]
fn a_huge_declared_length_uses_no_memory() {
    let hookbox = Home::new().start();
    let lengths = ["40000000000", "18446744073709551615", "18446744073709551616", "1000000000000000000000000000000"];
    for length in lengths {
        let mut connection = hookbox.connect();
        connection.send(&Request::github("push", "huge", "{}").with("Content-Length", length).bytes());
        assert_eq!(connection.response().status, 413, "{length}");
        // The body is never sent; the connection ends.
        connection.finish_sending();
        assert_eq!(connection.rest(), b"");
    }
    hookbox.assert_alive();
    assert_eq!(hookbox.stored(), 0);
    hookbox.assert_peak_below(32);
}

#[test]
fn rejections_before_the_body_delay_no_delivery() {
    take_turn_nearly_alone();
    let hookbox = Home::new().start();
    let body = vec![b'x'; 100_000];
    let forged = Request::github("push", "forged", &body).signed_with("guessed");
    let hostile = || {
        let requests = [forged.head(), forged.clone().target("/nowhere").head(), forged.clone().method("PUT").head()];
        let mut connections: Vec<Connection> = (0..96).map(|_| hookbox.connect()).collect();
        for (connection, head) in connections.iter_mut().zip(requests.iter().cycle()) {
            connection.send(head);
        }
        std::thread::sleep(Duration::from_secs(1));
        // The answer may come only after the announced body.
        for connection in &mut connections {
            connection.send_lossy(&body);
        }
        connections.iter_mut().map(|connection| connection.response().status).collect::<Vec<_>>()
    };
    let (statuses, delivered) = deliver_during(&hookbox, "bodies unsent", hostile);
    assert!(statuses.iter().zip([401, 404, 405].iter().cycle()).all(|(have, want)| have == want), "{statuses:?}");
    assert_eq!(hookbox.stored(), delivered as i64);
}

#[test]
fn pipelined_requests_of_all_kinds_are_answered_in_order() {
    let hookbox = Home::new().start();
    let large = format!("[\"{}\"]", "x".repeat(300_000));
    let kinds: [(Request, u16); 6] = [
        (Request::github("push", "large", large), 200),
        (Request::github("push", "p", "{}").signed_with("guessed"), 401),
        // Answered at once, outside of all batches: it must not overtake the answers before it.
        (Request::get("/healthz"), 200),
        (Request::get("/nowhere"), 404),
        (Request::github("push", "p", "{").chunked(), 400),
        (Request::get("/webhooks/github"), 405),
    ];
    let expected: Vec<u16> = kinds.iter().cycle().take(60).map(|(_, status)| *status).collect();
    let bytes: Vec<u8> = kinds.iter().cycle().take(60).flat_map(|(request, _)| request.bytes()).collect();
    let mut connection = hookbox.connect();
    let start = Instant::now();
    connection.send_lossy(&bytes);
    let answered: Vec<u16> = (0..60).map(|_| connection.response().status).collect();
    assert_eq!(answered, expected);
    println!("60 pipelined requests took {:?}", start.elapsed());
}
