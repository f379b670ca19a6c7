//! Clients of the admin listener cannot delay deliveries.

use std::time::Duration;

use super::{get, post, status};
use crate::support::{Connection, Home, Request, allow_descriptors};

#[test]
fn three_hundred_connections_to_the_page_delay_no_delivery() {
    allow_descriptors(8192);
    let hookbox = Home::new().with_open_admin().start();
    let admin = hookbox.admin_address();
    let mut crowd: Vec<Connection> = (0..300).map(|_| admin.connect()).collect();
    for (n, connection) in crowd.iter_mut().enumerate() {
        match n % 3 {
            0 => connection.send_lossy(b"GET /api/stats HTTP/1.1\r\nHost: loc"),
            1 => connection.send_lossy(&get("/api/events").bytes().repeat(50)),
            _ => {}
        }
    }
    for n in 0..50 {
        hookbox.deliver("push", &format!("d-{n}"), "{}");
    }
    // A client after these is served too, in place of a silent one.
    assert_eq!(status(&admin, &get("/healthz")), 200);
    drop(crowd);
}

#[test]
fn an_unexpected_body_is_refused_unread() {
    let hookbox = Home::new().with_open_admin().start();
    let admin = hookbox.admin_address();
    let mut liar = admin.connect();
    liar.send(
        b"POST /api/events/1/replay HTTP/1.1\r\nHost: localhost\r\nX-Hookbox: 1\r\nContent-Length: 40000000000\r\n\r\n",
    );
    assert_eq!(liar.response().status, 413);
    let mut chunked = admin.connect();
    chunked.send_lossy(&post("/api/events/1/replay").body(vec![b'x'; 100_000]).chunked().bytes());
    assert_eq!(chunked.response().status, 413);
    assert_eq!(status(&admin, &post("/api/events/1/replay").body("x")), 404);
    hookbox.assert_alive();
}

#[test]
fn an_open_page_does_not_delay_the_stop() {
    let hookbox = Home::new().with_open_admin().start();
    let mut kept = hookbox.admin_address().connect();
    kept.send(&get("/api/stats").bytes());
    assert_eq!(kept.response().status, 200);
    let mut half = hookbox.admin_address().connect();
    half.send(b"GET / HTTP/1.1\r\n");
    let (_, output) = hookbox.stop();
    assert_eq!(output.code, Some(0), "{output}");
}

/// Requests as in the corpus of malformed ones, to the admin listener.
#[test]
fn malformed_requests_are_refused() {
    let hookbox = Home::new().with_open_admin().start();
    let admin = hookbox.admin_address();
    let requests: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n",
    ];
    for request in requests {
        let mut connection = admin.connect();
        connection.send_lossy(request);
        assert!(connection.response().status >= 400, "{}", String::from_utf8_lossy(request));
    }
    for target in [
        "/../",
        "//",
        "/api",
        "/api/events/",
        "/api/events/x",
        "/api/events/1/",
        "/api/events/-1",
        "/%2e",
        "/page.html",
    ] {
        assert_eq!(status(&admin, &get(target)), 404, "{target}");
    }
    hookbox.assert_alive();
}

/// They come on top of the receiver's.
#[test]
fn the_admin_listener_needs_few_threads() {
    let hookbox = Home::new().with_open_admin().start();
    assert_eq!(status(&hookbox.admin_address(), &get("/")), 200);
    std::thread::sleep(Duration::from_millis(100));
    let threads = hookbox.proc_status("Threads");
    let hookbox = Home::new().start();
    let without = hookbox.proc_status("Threads");
    hookbox.send(&Request::get("/healthz"));
    assert!(threads <= without + 8, "{threads} and {without}");
}
