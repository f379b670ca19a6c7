//! Clients with different addresses, of which one takes more than the others.

use super::client::Client;
use super::rig::{Rig, limits, post, wait_until};
use crate::gate::limits::Limits;
use std::thread;
use std::time::Duration;

const MIN_AGE: Duration = Duration::from_millis(50);

/// The last number of the clients' addresses: 127.0.0.2 takes more than 127.0.0.3.
const GREEDY: u8 = 2;
const HONEST: u8 = 3;

/// All that a request has but its last byte.
fn unfinished(body: &[u8]) -> Vec<u8> {
    let mut request = post("/", body);
    request.pop();
    request
}

fn unfinished_for(client: &str) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {client}\r\nContent-Length: 5\r\n\r\n");
    [head.as_bytes(), b"smal"].concat()
}

/// Room for eight.
fn rig() -> Rig {
    let mut limits = Limits::new(4, 8);
    limits.timeouts.min_age = MIN_AGE;
    Rig::start(limits)
}

/// Sends `bytes` on `count` new connections, which are old enough to be evicted when this returns.
fn occupy(rig: &Rig, last: u8, bytes: &[u8], count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| rig.connect_from(last)).collect();
    for client in &mut clients {
        client.send(bytes);
    }
    thread::sleep(2 * MIN_AGE);
    clients
}

#[track_caller]
fn assert_refused(client: &mut Client) {
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true));
    assert_eq!(client.rest(), b"");
}

#[track_caller]
fn assert_finishes(client: &mut Client) {
    client.send(b"l");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn the_client_with_the_most_connections_makes_room_and_is_answered() {
    let rig = rig();
    let mut honest = occupy(&rig, HONEST, &unfinished(b"small"), 1);
    let mut greedy = occupy(&rig, GREEDY, &unfinished(b"small"), 7);
    for _ in 0..6 {
        assert_eq!(rig.deliver(), 200);
        thread::sleep(MIN_AGE);
    }
    assert_refused(&mut greedy[0]);
    assert_finishes(&mut honest[0]);
}

#[test]
fn a_flood_of_one_client_evicts_no_other() {
    let rig = rig();
    let mut honest = occupy(&rig, HONEST, &unfinished(b"small"), 1);
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.extend(occupy(&rig, GREEDY, &unfinished(b"small"), 1));
    }
    assert_finishes(&mut honest[0]);
    assert_refused(&mut flood[0]);
}

#[test]
fn a_client_whose_requests_are_all_complete_does_not_make_another_pay() {
    let rig = rig();
    let mut honest = occupy(&rig, HONEST, &unfinished(b"small"), 1);
    let mut held = occupy(&rig, GREEDY, &post("/hold", b""), 7);
    rig.wait_for_held(4);
    let mut waiting = rig.connect();
    waiting.send(&post("/", b""));
    wait_until("attempts to accept it", || rig.traffic().liveness().accept_attempts >= 8 + 4);
    rig.release_held();
    rig.wait_for_held(3);
    assert_finishes(&mut honest[0]);
    rig.release_held();
    assert_eq!((held[6].answer().status, waiting.answer().status), (200, 200));
}

#[test]
fn behind_a_trusted_proxy_the_client_that_it_names_pays() {
    let rig = rig();
    rig.trust_proxy("127.0.0.1");
    let mut honest = occupy(&rig, 1, &unfinished_for("198.51.100.7"), 1);
    let mut greedy = occupy(&rig, 1, &unfinished_for("192.0.2.1, 203.0.113.9"), 3);
    // What the client itself claims counts for nothing, nor does what another peer names.
    greedy.extend(occupy(&rig, 1, &unfinished_for("198.51.100.7, 203.0.113.9"), 2));
    let mut direct = occupy(&rig, HONEST, &unfinished_for("203.0.113.9"), 2);
    assert_eq!(rig.deliver(), 200);
    assert_refused(&mut greedy[0]);
    assert_finishes(&mut honest[0]);
    assert_finishes(&mut direct[0]);
}

#[test]
fn requests_that_a_proxy_begins_to_forward_are_not_one_client() {
    let rig = rig();
    rig.trust_proxy("127.0.0.1");
    let mut begun = occupy(&rig, 1, b"POST / HTTP/1.1\r\nHost: h\r\n", 4);
    let mut greedy = occupy(&rig, GREEDY, &unfinished(b"small"), 4);
    assert_eq!(rig.deliver(), 200);
    assert_refused(&mut greedy[0]);
    for client in &mut begun {
        client.send(b"\r\n");
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn requests_that_a_proxy_never_finishes_hold_no_more_than_half_of_the_places() {
    let rig = rig();
    rig.trust_proxy("127.0.0.1");
    let mut honest = occupy(&rig, HONEST, &unfinished(b"small"), 3);
    let mut begun = occupy(&rig, 1, b"POST / HTTP/1.1\r\nHost: h\r\n", 5);
    assert_eq!(rig.deliver(), 200);
    assert_refused(&mut begun[0]);
    for client in &mut honest {
        assert_finishes(client);
    }
}

#[test]
fn connections_that_a_proxy_keeps_for_later_make_room_first() {
    let rig = rig();
    rig.trust_proxy("127.0.0.1");
    let mut direct = occupy(&rig, HONEST, &unfinished(b"small"), 3);
    let mut kept = occupy(&rig, 1, &post("/", b""), 5);
    for client in &mut kept {
        assert_eq!(client.answer().status, 200);
    }
    thread::sleep(2 * MIN_AGE);
    assert_eq!(rig.deliver(), 200);
    assert_eq!(kept[0].rest(), b"", "an answer to no request would only confuse it");
    assert_finishes(&mut direct[0]);
}

#[test]
fn of_clients_with_equally_much_those_of_one_network_pay_first() {
    let rig = rig();
    rig.trust_proxy("127.0.0.1");
    let mut honest = occupy(&rig, 1, &unfinished_for("198.51.100.7"), 1);
    let mut greedy: Vec<Client> = Vec::new();
    for at in 1..8 {
        greedy.extend(occupy(&rig, 1, &unfinished_for(&format!("2001:db8:1:{at}::1")), 1));
    }
    assert_eq!(rig.deliver(), 200);
    assert_refused(&mut greedy[0]);
    assert_finishes(&mut honest[0]);
}

#[test]
fn the_client_whose_bodies_hold_the_most_pays_when_the_budget_is_used_up() {
    let mut limits = limits();
    limits.budget_bytes = 1_400_000;
    let rig = Rig::start(limits);
    rig.set_max_body_bytes(400_000);
    let body = [b'a'; 390_000];
    let greedy = occupy(&rig, GREEDY, &post("/", &body)[..120_000], 10);
    let mut honest = rig.connect_from(HONEST);
    honest.send(&post("/", &body));
    assert_eq!(honest.answer().status, 200);
    assert!(rig.traffic().refused().any(|(status, count)| status == "503" && count > 0));
    drop(greedy);
}

#[test]
fn a_refused_client_gets_its_answer_while_another_uses_up_what_is_discarded() {
    let rig = Rig::start(limits());
    rig.set_max_body_bytes(1000);
    let request = post("/", &vec![b'a'; 5_000_000]);
    let mut honest = rig.connect_from(HONEST);
    honest.send(&request[..100_000]);
    // They send a little again and again, so that they are not closed for their silence.
    let mut greedy = Vec::new();
    for piece in request[100_000..].chunks(100_000) {
        let mut client = rig.connect_from(GREEDY);
        client.send(&request[..1_000]);
        greedy.push(client);
        for client in &mut greedy {
            let _ = client.try_send(b"a");
        }
        honest.send(piece);
    }
    assert_eq!((honest.answer().status, honest.rest()), (413, vec![]));
    wait_until("connections to be closed", || rig.traffic().open.get() <= 17);
}
