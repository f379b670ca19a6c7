//! Servers that are none, or lie: a clear error, bounded memory, a retry.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::{BODY, to_nats, to_redis};
use crate::actions::{deliver_and_wait, only_attempt};
use crate::support::Home;

/// A server that sends these bytes to each client, then `repeats` the last of them as long as the client reads, or hangs.
fn server(bytes: Vec<u8>, repeats: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let bytes = bytes.clone();
            std::thread::spawn(move || lie(client, &bytes, repeats));
        }
    });
    port
}

fn lie(mut client: TcpStream, bytes: &[u8], repeats: bool) {
    let _ = client.write_all(bytes);
    let endless = vec![bytes.last().copied().unwrap_or(b'x'); 64 << 10];
    while repeats && client.write_all(&endless).is_ok() {}
    let _ = client.read_to_end(&mut Vec::new());
}

#[track_caller]
fn assert_retried(home: Home, what: &str, expected: &str) {
    let hookbox = home.start();
    deliver_and_wait(&hookbox, "push", "d-1", BODY);
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert!(outcome == "retry" && detail.contains(expected), "{what}: {outcome}: {detail}");
    hookbox.assert_peak_below(60);
    hookbox.assert_alive();
}

const KEYS: &str = "attempts = 1\ntimeout = \"2s\"";

const INFO: &str = "INFO {\"headers\":true,\"max_payload\":1048576}\r\nPONG\r\n";

#[test]
fn of_nats_servers_that_lie_nothing_is_believed() {
    let inbox = |rest: &str| format!("{INFO}{rest}").into_bytes();
    let long_info = format!("INFO {{\"headers\":true,\"x\":\"{}\"}}\r\nPONG\r\n", "x".repeat(1 << 20)).into_bytes();
    for (bytes, repeats, expected) in [
        (b"".to_vec(), false, "no answer in time"),
        (b"INFO {\"head".to_vec(), false, "no answer in time"),
        (b"INFO {\"headers\":true,".to_vec(), true, "longer than any that is expected"),
        (long_info, false, "longer than any that is expected"),
        (b"INFO nonsense\r\n".to_vec(), false, "its INFO is not as documented"),
        (b"INFO {\"max_payload\":1}\r\n".to_vec(), false, "takes no headers"),
        (b"220 mail ESMTP\r\n".to_vec(), false, "is this a NATS server?"),
        (b"+OK\r\n".to_vec(), false, "does not begin with INFO"),
        (b"INFO {\"headers\":true,\"tls_required\":true}\r\n+OK\r\n".to_vec(), false, "before TLS begins"),
        (b"INFO {\"headers\":true,\"tls_required\":true}\r\n".to_vec(), false, "no answer in time"),
        (b"INFO {\"headers\":true}\r\n-ERR 'Authorization Violation'\r\n".to_vec(), false, "Authorization Violation"),
        (inbox("MSG x 1 99999999999\r\n"), true, "longer than any that is expected"),
        (inbox("MSG x 1 5\r\nabcdefgh\r\n"), false, "another length than it says"),
        (inbox("HMSG x 1 9 3\r\nabc\r\n"), false, "another length than it says"),
        (inbox("MSG x 1\r\n"), false, "no lengths"),
        (inbox("-ERR 'Permissions Violation for Publish'\r\n"), false, "Permissions Violation"),
        (inbox(""), false, "no answer in time"),
        (inbox("+OK\r\n\r"), true, "longer than any that is expected"),
    ] {
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let home = to_nats(&format!("nats://127.0.0.1:{}", server(bytes, repeats)), KEYS);
        assert_retried(home, &what, expected);
    }
}

#[test]
fn of_redis_servers_that_lie_nothing_is_believed() {
    for (bytes, repeats, expected) in [
        (&b""[..], false, "no answer in time"),
        (b"+PONG\r\n*2\r\n$3\r\n1-", false, "no answer in time"),
        (b"+", true, "longer than any that is expected"),
        (b"$99999999999\r\n", true, "longer than any that is expected"),
        (b"*1000000\r\n:1\r\n:1\r\n:1\r\n\n", true, "is not text"),
        (b"+PONG\r\n*2\r\n$1\r\n1-0\r\n:0\r\n", false, "another length than it says"),
        (b"+PONG\r\n+OK\r\n", false, "not that of a Redis server"),
        (b"+PONG\r\n*2\r\n$3\r\n1-0\r\n$1\r\n0\r\n", false, "not that of a Redis server"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", false, "is this a Redis server?"),
        (b"-NOAUTH Authentication required.\r\n", false, "check user and password"),
    ] {
        let home = to_redis(&format!("redis://127.0.0.1:{}", server(bytes.to_vec(), repeats)), KEYS);
        assert_retried(home, &String::from_utf8_lossy(bytes), expected);
    }
}

#[test]
fn a_server_that_hangs_leaves_its_part_of_the_time_to_the_next_one() {
    let hanging = server(Vec::new(), false);
    let lying = server(b"220 mail ESMTP\r\n".to_vec(), false);
    let urls = format!("nats://127.0.0.1:{hanging},nats://127.0.0.1:{lying}");
    let started = std::time::Instant::now();
    assert_retried(to_nats(&urls, "attempts = 1\ntimeout = \"3s\""), "two", "is this a NATS server?");
    assert!(started.elapsed() < crate::support::patient(Duration::from_secs(60)));
}
