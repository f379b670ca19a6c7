//! Many clients and large bodies: eviction, the budget, and the order of forwarding.

use super::client::Client;
use super::rig::{Rig, limits, post, wait_until, wait_until_steady};
use crate::gate::limits::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::thread;
use std::time::{Duration, Instant};

const MIN_AGE: Duration = Duration::from_millis(50);

fn with_connections(connections: usize) -> Limits {
    let mut limits = Limits::new(4, connections);
    limits.timeouts.min_age = MIN_AGE;
    limits
}

#[test]
fn a_thousand_deliveries_at_once_are_all_answered() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let mut limits = Limits::of_this_process(1).unwrap();
    limits.timeouts.min_age *= 10; // this machine may be busy with other tests
    let rig = Rig::start(limits);
    let mut clients: Vec<Client> = (0..1000).map(|_| rig.connect()).collect();
    for client in &mut clients {
        client.send(&post("/", b"delivery"));
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn the_oldest_silent_connection_is_evicted_first() {
    let rig = Rig::start(with_connections(8));
    let mut oldest = rig.connect();
    oldest.send(b"GET /");
    let mut others: Vec<Client> = (0..7).map(|_| rig.connect()).collect();
    for client in &mut others {
        client.send(b"GET /");
    }
    let mut idle = rig.connect(); // evicts the oldest
    idle.send(&post("/", b""));
    assert_eq!(idle.answer().status, 200);
    assert_eq!((oldest.answer().status, oldest.rest()), (503, vec![]));
    thread::sleep(MIN_AGE);
    assert_eq!(rig.deliver(), 200);
    assert!(idle.is_closed(), "an idle one is evicted before an unfinished one");
    for client in &mut others {
        client.send(b" HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn clients_that_do_not_read_their_responses_are_evicted() {
    let mut limits = with_connections(8);
    limits.timeouts.min_age = 2 * MIN_AGE;
    let rig = Rig::start(limits);
    let mut stalled: Vec<Client> = (0..7).map(|_| rig.connect()).collect();
    for client in &mut stalled {
        // Pages until no buffer takes more.
        for _ in 0..40 {
            let _ = client.try_send(b"GET /page HTTP/1.1\r\nHost: h\r\n\r\n");
        }
    }
    wait_until_steady("full buffers", 4 * MIN_AGE, || rig.traffic().liveness().answers);
    let _silent: Vec<Client> = (0..60).map(|_| rig.connect()).collect();
    let start = Instant::now();
    assert_eq!(rig.deliver(), 200);
    // If the silent ones shared the last place, they would take 6 s.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn complete_requests_are_never_evicted() {
    let rig = Rig::start(with_connections(8));
    let mut held: Vec<Client> = (0..8).map(|_| rig.connect()).collect();
    for client in &mut held {
        client.send(&post("/hold", b""));
    }
    rig.wait_for_held(4); // as many as upstream connections; the others are queued
    let mut waiting = rig.connect();
    waiting.send(&post("/", b""));
    wait_until("attempts to accept it", || rig.traffic().liveness().accept_attempts >= 8 + 4);
    rig.release_held();
    rig.wait_for_held(4);
    rig.release_held();
    for client in &mut held {
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(waiting.answer().status, 200);
}

#[test]
fn the_largest_unfinished_body_is_refused_when_the_budget_is_used_up() {
    let mut limits = limits();
    limits.budget_bytes = 1_400_000;
    let rig = Rig::start(limits);
    rig.set_max_body_bytes(400_000);
    let request = post("/", &[b'a'; 390_000]);
    let mut clients: Vec<Client> = (0..5).map(|_| rig.connect()).collect();
    for client in &mut clients {
        client.send(&request[..150_000]);
    }
    let mut largest = rig.connect();
    largest.send(&request[..request.len() - 1]);
    let refused = largest.answer();
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true));
    assert_eq!(rig.deliver(), 200, "small ones are never refused");
    clients.truncate(1);
    assert_eq!(rig.deliver(), 200, "now the others are gone");
    clients[0].send(&request[150_000..]);
    assert_eq!(clients[0].answer().status, 200);
}

#[test]
fn the_budget_is_returned_after_use() {
    let mut limits = limits();
    limits.budget_bytes = 1_000_000;
    let rig = Rig::start(limits);
    rig.set_max_body_bytes(400_000);
    for at in 0..20 {
        let mut client = rig.connect();
        client.send(&post(if at % 2 == 0 { "/" } else { "/early" }, &vec![b'a'; 390_000]));
        assert_ne!(client.answer().status, 503, "{at}");
        rig.connect().send(&post("/", &vec![b'a'; 390_000])[..200_000]);
    }
}

#[test]
fn large_bodies_are_forwarded_one_at_a_time_and_small_ones_overtake_them() {
    let rig = Rig::start(limits());
    let (mut first, mut second) = (rig.connect(), rig.connect());
    first.send(&post("/hold", &vec![b'a'; 1_500_000]));
    rig.wait_for_held(1);
    second.send(&post("/hold", &vec![b'a'; 1_500_000]));
    // Each delivery takes more than one iteration of the event loop, which each read 64 KiB of the second body.
    for _ in 0..30 {
        assert_eq!(rig.deliver(), 200);
    }
    assert_eq!(rig.held(), 1);
    rig.release_held();
    assert_eq!(first.answer().status, 200);
    rig.wait_for_held(1);
    rig.release_held();
    assert_eq!(second.answer().status, 200);
}

#[test]
fn many_slow_clients_do_not_keep_out_deliveries() {
    let rig = Rig::start(with_connections(32));
    let mut slow: Vec<Client> = (0..100).map(|_| rig.connect()).collect();
    for round in 0..10 {
        for client in &mut slow {
            let _ = client.try_send(b"G");
        }
        assert_eq!(rig.deliver(), 200, "{round}");
    }
    wait_until("the eviction of the oldest", || slow[0].is_closed());
}
