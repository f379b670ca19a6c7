//! Behind real proxies, with the configuration of the manual.

pub mod bare;
pub mod front;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Home, Hookbox, Request, SECRET, SOURCE, closed_port, take_turn_nearly_alone};
use front::{Front, Kind};

/// What the manual's config has for a proxy on the same machine.
pub const TRUST: &str = "trusted_proxies = [\"127.0.0.1\", \"::1\"]\n";

/// Large enough that every buffer on the way is too small, and within `max_body`.
const LARGE_BYTES: usize = 24 << 20;

fn config() -> String {
    format!("{TRUST}{SOURCE}")
}

pub fn delivery(id: &str, body: impl AsRef<[u8]>) -> Request {
    Front::named(Request::github("push", id, body))
}

/// Runs a test behind every proxy that is installed.
pub fn behind_each(test: impl Fn(&Front, Hookbox)) {
    for kind in Kind::installed() {
        let hookbox = Home::with_config(&config()).start();
        let front = Front::start(kind, hookbox.address().tcp());
        test(&front, hookbox);
    }
}

pub fn text_of(bytes: usize) -> String {
    format!("{{\"text\": \"{}\"}}", "0123456789abcdef".repeat(bytes / 16))
}

#[test]
fn a_signed_delivery_passes_unchanged() {
    behind_each(|front, hookbox| {
        let response = front.send(&delivery("signed", "{ \"spaced\":  1}"));
        assert_eq!((response.status, response.text()), (200, String::new()));
        assert_eq!(hookbox.query::<String>("SELECT payload_json FROM webhook_events"), ["{ \"spaced\":  1}"]);
        let forged = delivery("forged", "{}").signed_with("another secret");
        assert_eq!(front.send(&forged).status, 401);
        assert_eq!(hookbox.stored(), 1);
    });
}

#[test]
fn only_deliveries_pass() {
    behind_each(|front, _hookbox| {
        for target in ["/", "/healthz", "/metrics", "/api/events", "/webhooks/../healthz", "/webhooks/%2e%2e/healthz"] {
            let status = front.send(&Front::named(Request::get(target))).status;
            assert!([400, 403, 404].contains(&status), "{target}: {status}");
        }
        assert_eq!(front.send(&Front::named(Request::get("/webhooks/github"))).status, 405);
    });
}

#[test]
fn a_slow_body_is_streamed_through() {
    behind_each(|front, hookbox| {
        let request = delivery("slow", "{\"a\":1}");
        let bytes = request.bytes();
        let (head, body) = bytes.split_at(request.head().len());
        let mut connection = front.connect();
        connection.send(head);
        for byte in body {
            std::thread::sleep(Duration::from_millis(500));
            connection.send(&[*byte]);
        }
        assert_eq!(connection.response().status, 200);
        assert_eq!(hookbox.stored(), 1);
    });
}

#[test]
fn large_and_chunked_bodies_pass() {
    behind_each(|front, hookbox| {
        let large = text_of(LARGE_BYTES);
        for (id, request) in [
            ("large", delivery("large", &large)),
            ("chunked", delivery("chunked", text_of(300_000)).chunked()),
            ("both", delivery("both", &large).chunked()),
        ] {
            assert_eq!(front.send(&request).status, 200, "{id}");
        }
        let bytes = "SELECT length(payload_json) FROM webhook_events ORDER BY id";
        assert_eq!(
            hookbox.query::<i64>(bytes),
            [large.len(), text_of(300_000).len(), large.len()].map(|bytes| bytes as i64)
        );
    });
}

#[test]
fn a_too_large_body_is_refused() {
    behind_each(|front, hookbox| {
        let body = text_of(26 << 20);
        for request in [delivery("length", &body), delivery("chunked", &body).chunked()] {
            // hookbox says so while the body still comes.
            assert_eq!(front.send(&request).status, 413);
        }
        assert_eq!(hookbox.stored(), 0);
    });
}

#[test]
fn the_log_and_allow_see_the_clients_address() {
    behind_each(|front, hookbox| {
        let deliver = |client: [u8; 4], secret: &str, claimed: &str| {
            let mut connection = front.connect_from(client.into());
            let request = delivery("d", "{}").signed_with(secret).header("X-Forwarded-For", claimed);
            connection.send(&request.bytes());
            connection.response().status
        };
        assert_eq!(deliver([127, 0, 0, 9], "another secret", "198.51.100.7"), 401);
        hookbox.wait_for_stderr("rejected /webhooks/github from 127.0.0.9: the signature does not match");
        hookbox.reload(format!("{}allow = \"127.0.0.9\"\n", config()));
        assert_eq!(deliver([127, 0, 0, 9], SECRET, "198.51.100.7"), 200);
        assert_eq!(deliver([127, 0, 0, 8], SECRET, "127.0.0.9"), 403);
    });
}

#[test]
fn without_hookbox_the_sender_is_told_to_come_again() {
    for kind in Kind::installed() {
        let front = Front::start(kind, SocketAddr::from((Ipv4Addr::LOCALHOST, closed_port())));
        let status = front.send(&delivery("d", "{}")).status;
        assert!([502, 503].contains(&status), "{kind:?}: {status}");
    }
}

/// Ends of connections to this port as the kernel lists them, of those too that were closed lately.
fn connection_ends(upstream: SocketAddr) -> usize {
    let port = format!(":{:04X}", upstream.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let addresses = |line: &str| line.split_whitespace().skip(1).take(2).any(|address| address.ends_with(&port));
    table.lines().filter(|line| addresses(line)).count()
}

#[test]
fn two_hundred_deliveries_use_few_kept_connections() {
    // On a busy machine a proxy opens more connections while the others still wait for answers.
    take_turn_nearly_alone();
    behind_each(|front, hookbox| {
        std::thread::scope(|scope| {
            for sender in 0..4 {
                scope.spawn(move || {
                    let mut connection = front.connect();
                    for n in 0..50 {
                        connection.send(&delivery(&format!("kept-{sender}-{n}"), "{}").bytes());
                        assert_eq!(connection.response().status, 200);
                    }
                });
            }
        });
        assert_eq!(hookbox.stored(), 200);
        // The listener and both ends of each connection; a delivery with one of its own would have left one behind.
        let ends = connection_ends(hookbox.address().tcp());
        assert!(ends < 50, "{ends} ends of connections after 200 deliveries");
    });
}

/// Delivers until it is told to stop. The ids that were acknowledged, and how many were not.
fn deliver_until(front: &Front, done: &AtomicBool, sender: usize) -> (Vec<String>, usize) {
    let (mut acknowledged, mut others) = (Vec::new(), 0);
    for n in 0.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("r-{sender}-{n}");
        match front.send(&delivery(&id, "{}")).status {
            200 => acknowledged.push(id),
            502..=504 => others += 1,
            status => panic!("{status}"),
        }
    }
    (acknowledged, others)
}

/// Restarts hookbox a few times under four senders; what was acknowledged must be there.
#[track_caller]
fn restarted(kind: Kind, upstream: SocketAddr, home: Home) {
    let (front, done) = (Front::start(kind, upstream), AtomicBool::new(false));
    let hookbox = home.start();
    let (hookbox, acknowledged, refused) = std::thread::scope(|scope| {
        let (front, done) = (&front, &done);
        let senders: Vec<_> = (0..4).map(|n| scope.spawn(move || deliver_until(front, done, n))).collect();
        let hookbox = (0..5).fold(hookbox, |hookbox, _| {
            std::thread::sleep(Duration::from_millis(200));
            hookbox.stop().0.start()
        });
        std::thread::sleep(Duration::from_millis(200));
        done.store(true, Ordering::Relaxed);
        let results: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        let refused: usize = results.iter().map(|(_, others)| others).sum();
        (hookbox, results.into_iter().flat_map(|(ids, _)| ids).collect::<Vec<_>>(), refused)
    });
    let stored: Vec<String> = hookbox.query("SELECT delivery_id FROM webhook_events");
    let lost: Vec<&String> = acknowledged.iter().filter(|id| !stored.contains(id)).collect();
    assert!(lost.is_empty() && !acknowledged.is_empty(), "lost: {lost:?}");
    println!("{kind:?}: {} acknowledged, {refused} refused", acknowledged.len());
}

#[test]
fn a_restart_behind_a_proxy_loses_no_acknowledged_delivery() {
    for kind in Kind::installed() {
        let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, closed_port()));
        restarted(kind, upstream, Home::with_config(&config()).listen(&upstream.to_string()));
    }
}

#[test]
fn a_restart_with_the_service_managers_socket_behind_a_proxy_loses_no_acknowledged_delivery() {
    for kind in Kind::installed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = listener.local_addr().unwrap();
        restarted(kind, upstream, Home::with_config(&config()).passing(&listener));
    }
}
