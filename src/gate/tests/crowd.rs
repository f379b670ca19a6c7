//! Many senders, and large ones.

use super::rig::{Rig, Sender, limits, post, wait_until};
use crate::gate::limits::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::thread;
use std::time::{Duration, Instant};

fn with_connections(connections: usize) -> Limits {
    let mut limits = Limits::new(4, connections);
    limits.deadlines.grace = Duration::from_millis(50);
    limits
}

#[test]
fn a_thousand_deliveries_at_once_are_all_answered() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let mut limits = Limits::of_this_process(1).unwrap();
    limits.deadlines.grace *= 10; // this machine may be busy with other tests
    let rig = Rig::start(limits);
    let mut senders: Vec<Sender> = (0..1000).map(|_| rig.connect()).collect();
    for sender in &mut senders {
        sender.send(&post("/", b"delivery"));
    }
    for sender in &mut senders {
        assert_eq!(sender.answer().status, 200);
    }
}

#[test]
fn the_silent_make_room_oldest_first() {
    let rig = Rig::start(with_connections(8));
    let mut oldest = rig.connect();
    oldest.send(b"GET /");
    let mut others: Vec<Sender> = (0..7).map(|_| rig.connect()).collect();
    for sender in &mut others {
        sender.send(b"GET /");
    }
    thread::sleep(Duration::from_millis(100));
    let mut idle = rig.connect(); // at the cost of the oldest
    idle.send(&post("/", b""));
    assert_eq!(idle.answer().status, 200);
    assert!(oldest.is_closed());
    thread::sleep(Duration::from_millis(100));
    assert_eq!(rig.deliver(), 200);
    assert!(idle.is_closed(), "an idle one goes before an unfinished one");
    for sender in &mut others {
        sender.send(b" HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(sender.answer().status, 200);
    }
}

#[test]
fn who_asks_for_more_than_it_reads_makes_room() {
    let mut limits = with_connections(8);
    limits.deadlines.grace = Duration::from_millis(100);
    let rig = Rig::start(limits);
    let mut stalled: Vec<Sender> = (0..7).map(|_| rig.connect()).collect();
    for sender in &mut stalled {
        // Pages until no buffer takes more.
        for _ in 0..40 {
            let _ = sender.try_send(b"GET /page HTTP/1.1\r\nHost: h\r\n\r\n");
        }
    }
    thread::sleep(Duration::from_millis(800));
    let _silent: Vec<Sender> = (0..60).map(|_| rig.connect()).collect();
    let start = Instant::now();
    assert_eq!(rig.deliver(), 200);
    // One after the other, the silent ones would take 6 s in the last place.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn complete_requests_are_never_closed_to_make_room() {
    let rig = Rig::start(with_connections(8));
    let mut held: Vec<Sender> = (0..8).map(|_| rig.connect()).collect();
    for sender in &mut held {
        sender.send(&post("/hold", b""));
    }
    rig.wait_for_held(4); // as many as there are slots; the others are queued
    let mut waiting = rig.connect();
    waiting.send(&post("/", b""));
    thread::sleep(Duration::from_millis(200));
    rig.release_held();
    rig.wait_for_held(4);
    rig.release_held();
    for sender in &mut held {
        assert_eq!(sender.answer().status, 200);
    }
    assert_eq!(waiting.answer().status, 200);
}

#[test]
fn the_largest_unfinished_body_pays_when_the_budget_is_used_up() {
    let mut limits = limits();
    limits.budget_bytes = 1_400_000;
    let rig = Rig::start(limits);
    rig.set_max_body_bytes(400_000);
    let request = post("/", &[b'a'; 390_000]);
    let mut senders: Vec<Sender> = (0..5).map(|_| rig.connect()).collect();
    for sender in &mut senders {
        sender.send(&request[..150_000]);
    }
    let mut largest = rig.connect();
    largest.send(&request[..request.len() - 1]);
    let refused = largest.answer();
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true));
    assert_eq!(rig.deliver(), 200, "small ones never pay");
    senders.truncate(1);
    assert_eq!(rig.deliver(), 200, "now the others are gone");
    senders[0].send(&request[150_000..]);
    assert_eq!(senders[0].answer().status, 200);
}

#[test]
fn the_budget_is_level_after_use() {
    let mut limits = limits();
    limits.budget_bytes = 1_000_000;
    let rig = Rig::start(limits);
    rig.set_max_body_bytes(400_000);
    for at in 0..20 {
        let mut sender = rig.connect();
        sender.send(&post(if at % 2 == 0 { "/" } else { "/early" }, &vec![b'a'; 390_000]));
        assert_ne!(sender.answer().status, 503, "{at}");
        rig.connect().send(&post("/", &vec![b'a'; 390_000])[..200_000]);
    }
}

#[test]
fn large_bodies_go_one_at_a_time_and_small_ones_pass_them() {
    let rig = Rig::start(limits());
    let (mut first, mut second) = (rig.connect(), rig.connect());
    first.send(&post("/hold", &vec![b'a'; 1_500_000]));
    rig.wait_for_held(1);
    second.send(&post("/hold", &vec![b'a'; 1_500_000]));
    thread::sleep(Duration::from_millis(100));
    assert_eq!(rig.deliver(), 200);
    assert_eq!(rig.held(), 1);
    rig.release_held();
    assert_eq!(first.answer().status, 200);
    rig.wait_for_held(1);
    rig.release_held();
    assert_eq!(second.answer().status, 200);
}

#[test]
fn a_crowd_of_tricklers_hinders_nobody() {
    let rig = Rig::start(with_connections(32));
    let mut tricklers: Vec<Sender> = (0..100).map(|_| rig.connect()).collect();
    for round in 0..10 {
        for trickler in &mut tricklers {
            let _ = trickler.try_send(b"G");
        }
        assert_eq!(rig.deliver(), 200, "{round}");
    }
    wait_until("a trickler's end", || tricklers[0].is_closed());
}
