//! Slow clients, by the thousand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::deliver_during;
use crate::support::{
    Address, Connection, Home, Request, allow_descriptors, needs_no_turn, take_turn_nearly_alone, wait_for,
};

/// The gate's 512 connections and 16 of refused clients, three descriptors for each of its 32 upstream ones, and the
/// program's own.
const MOST_DESCRIPTORS: usize = 512 + 16 + 3 * 32 + 64;

/// What the legitimate sender and the watchdog have open meanwhile.
const LEGITIMATE: usize = 4;

/// The deadline of a request, and room for a busy machine.
const HOSTILE_FOR: Duration = Duration::from_secs(12);

#[test]
fn two_thousand_slow_clients_delay_no_delivery() {
    take_turn_nearly_alone();
    allow_descriptors(8192);
    let hookbox = Home::new().start();
    let address = hookbox.address();
    let head = Request::github("push", "slow", vec![b'x'; 5000]).head();
    let (before, mut most_descriptors) = (hookbox.descriptors(), 0);
    let hostile = || {
        let mut slow: Vec<Connection> = (0..2000).map(|_| address.connect()).collect();
        for (n, connection) in slow.iter_mut().enumerate() {
            begin(n % 4, connection, &head);
        }
        let end = Instant::now() + HOSTILE_FOR;
        while Instant::now() < end {
            most_descriptors = most_descriptors.max(hookbox.descriptors());
            let tick = Instant::now();
            for (n, connection) in slow.iter_mut().enumerate() {
                // One byte a second: a head that never ends, or a body.
                if n % 4 < 2 {
                    connection.send_lossy(b"x");
                }
            }
            std::thread::sleep(Duration::from_secs(1).saturating_sub(tick.elapsed()));
        }
        let closed = || (hookbox.descriptors() <= before + LEGITIMATE).then_some(());
        wait_for("the slow connections to be closed", closed);
    };
    let ((), delivered) = deliver_during(&hookbox, "2,000 slow clients", hostile);
    println!("at most {most_descriptors} descriptors were open");
    assert!(most_descriptors <= MOST_DESCRIPTORS, "{most_descriptors}");
    assert_eq!(hookbox.stored(), delivered as i64);
    hookbox.assert_peak_below(64);
}

/// A slow head, a slow body, a reader that stalls, an idle one.
fn begin(kind: usize, connection: &mut Connection, head: &[u8]) {
    match kind {
        0 => connection.send_lossy(b"POST /webhooks/github HTTP/1.1\r\nX-Slow: "),
        1 => connection.send_lossy(head),
        2 => {
            connection.read_little_at_a_time();
            connection.limit_sending(Duration::from_millis(1));
            connection.send_lossy(&Request::get("/nowhere").bytes().repeat(20));
        }
        _ => {}
    }
}

/// Sends requests without reading the answers, until those fill all buffers and the program reads no more.
fn stall(address: &Address) -> Connection {
    let requests = Request::get("/nowhere").bytes().repeat(500);
    let mut connection = address.connect();
    connection.read_little_at_a_time();
    connection.limit_sending(Duration::from_millis(700));
    while connection.try_send(&requests).is_ok() {}
    connection
}

/// Nearly as many as there are places, and then silent connections that wait for the last ones.
#[test]
fn stalled_readers_block_no_delivery() {
    take_turn_nearly_alone();
    allow_descriptors(8192);
    let hookbox = Home::new().start();
    let address = hookbox.address();
    let stalled: Vec<Connection> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..500).map(|_| scope.spawn(|| stall(&address))).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    let silent: Vec<Connection> = (0..300).map(|_| hookbox.connect()).collect();
    deliver_during(&hookbox, "500 stalled readers", || std::thread::sleep(Duration::from_secs(1)));
    assert_eq!((stalled.len(), silent.len()), (500, 300));
    hookbox.assert_peak_below(64);
}

/// Each sends many requests at once and reads nothing; there are more of them than places.
#[test]
fn pipelines_on_every_connection_block_no_delivery() {
    take_turn_nearly_alone();
    allow_descriptors(8192);
    let hookbox = Home::new().start();
    let requests = Request::get("/nowhere").bytes().repeat(2_000);
    let hostile = || {
        let mut pipelines: Vec<Connection> = (0..640).map(|_| hookbox.connect()).collect();
        for connection in &mut pipelines {
            connection.limit_sending(Duration::from_millis(20));
            connection.send_lossy(&requests);
        }
        std::thread::sleep(Duration::from_secs(2));
        pipelines.len()
    };
    assert_eq!(deliver_during(&hookbox, "640 pipelines", hostile).0, 640);
    hookbox.assert_peak_below(64);
}

/// Sends one request after the other until `done`.
fn never_pause(address: &Address, connections: usize, done: &AtomicBool) {
    let request = Request::get("/nowhere").bytes();
    let mut kept: Vec<Connection> = (0..connections).map(|_| address.connect()).collect();
    while !done.load(Ordering::Relaxed) {
        for connection in &mut kept {
            connection.send_lossy(&request);
        }
        for connection in &mut kept {
            let is_kept =
                connection.try_response().is_ok_and(|response| response.header("Connection") != Some("close"));
            if !is_kept && let Ok(another) = address.try_connect() {
                *connection = another;
            }
        }
    }
}

#[test]
fn busy_kept_connections_block_no_delivery() {
    take_turn_nearly_alone();
    allow_descriptors(8192);
    let hookbox = Home::new().start();
    let (address, done) = (hookbox.address(), AtomicBool::new(false));
    let hostile = || {
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| never_pause(&address, 10, &done));
            }
            std::thread::sleep(Duration::from_secs(3));
            done.store(true, Ordering::Relaxed);
        });
    };
    deliver_during(&hookbox, "640 that never pause", hostile);
}

#[test]
fn idle_connections_are_closed_after_their_timeout() {
    needs_no_turn();
    let hookbox = Home::new().start();
    let before = hookbox.sockets();
    let mut idle: Vec<Connection> = (0..100).map(|_| hookbox.connect()).collect();
    // Half of them have been served once: they may be idle for longer.
    for connection in &mut idle[..50] {
        connection.send(&Request::get("/healthz").bytes());
        assert_eq!(connection.response().status, 200);
    }
    assert!(idle[50..].iter_mut().all(|connection| connection.ends_within(Duration::from_secs(12))));
    assert!(idle[..50].iter_mut().all(|connection| connection.ends_within(Duration::from_secs(8))));
    wait_for("the sockets to be closed", || (hookbox.sockets() <= before).then_some(()));
}
