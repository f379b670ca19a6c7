//! Who may use the admin listener.

use std::net::TcpListener;
use std::time::Duration;

use super::{asking, config, get, post, status};
use crate::maintenance::doctor::assert_finds;
use crate::support::{Address, DEADLINE, Home, Request, SOURCE, Signal, needs_no_turn, wait_for, wait_longer_for};

/// Everything that it answers.
pub const TARGETS: [(&str, &str); 12] = [
    ("GET", "/"),
    ("GET", "/page.js"),
    ("GET", "/page.css"),
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/api/events"),
    ("GET", "/api/events/1"),
    ("GET", "/api/running"),
    ("GET", "/api/stats"),
    ("POST", "/api/events/1/replay"),
    ("POST", "/api/events/1/cancel"),
    ("POST", "/api/actions/log/pause"),
];

const TOKEN: &str = "correct horse battery";

pub fn bearing(request: Request, token: &str) -> Request {
    request.with("Authorization", &format!("Bearer {token}"))
}

#[test]
fn an_unknown_host_is_refused_before_anything_else() {
    let hookbox = Home::with_config(&config("hosts = ['pi.local']")).with_open_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    let admin = hookbox.admin_address();
    let port = admin.tcp().port();
    for (method, target) in TARGETS {
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "[::2]", ""] {
            let request = asking(method, target).with("Host", host).header("X-Hookbox", "1");
            assert_eq!(status(&admin, &request), 403, "{method} {target} to {host:?}");
        }
    }
    for host in ["localhost", "LocalHost", "127.0.0.1", "[::1]", "pi.local"] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            assert_eq!(status(&admin, &get("/api/stats").with("Host", &host)), 200, "{host}");
        }
    }
    let mut older = admin.connect();
    older.send(b"GET /api/stats HTTP/1.0\r\n\r\n");
    assert_eq!(older.response().status, 403, "no host at all");
    let two = get("/api/stats").with("Host", "localhost").header("Host", "evil.example");
    assert_ne!(status(&admin, &two), 200, "one that it knows and one that it does not");
}

#[test]
fn every_answer_has_strict_security_headers() {
    let hookbox = Home::with_config(&config("token = 'correct horse battery'")).with_admin().start();
    let admin = hookbox.admin_address();
    let requests = [
        (200, get("/")),
        (200, get("/page.js")),
        (200, bearing(get("/api/events"), TOKEN)),
        (401, get("/api/events")),
        (403, get("/").with("Host", "evil.example")),
        (404, get("/nowhere")),
        (405, post("/")),
    ];
    for (expected, request) in requests {
        let response = admin.send(&request);
        assert_eq!(response.status, expected);
        let policy = response.header("Content-Security-Policy").unwrap();
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{expected}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(response.header("X-Content-Type-Options"), Some("nosniff"), "{expected}");
        assert_eq!(response.header("Referrer-Policy"), Some("no-referrer"), "{expected}");
        assert_eq!(response.header("Cache-Control"), Some("no-store"), "{expected}");
        assert_eq!(response.header("Access-Control-Allow-Origin"), None, "{expected}");
    }
}

#[test]
fn a_change_needs_the_header_that_no_other_page_can_set() {
    let hookbox = Home::new().with_open_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    let admin = hookbox.admin_address();
    for target in ["/api/events/1/replay", "/api/events/1/cancel", "/api/actions/log/pause", "/api/actions/log/resume"]
    {
        let form = asking("POST", target).header("Content-Type", "application/x-www-form-urlencoded").body("a=b");
        assert_eq!(status(&admin, &form), 403, "{target}");
        assert_eq!(status(&admin, &form.header("X-Hookbox", "0")), 403, "{target}");
        let reading = admin.send(&get(target));
        assert_eq!((reading.status, reading.header("Allow")), (405, Some("POST")), "{target}");
    }
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM paused")[0], 0);
    // What a browser asks before it sends a header of ours from another page.
    let preflight = asking("OPTIONS", "/api/events/1/replay")
        .header("Origin", "https://evil.example")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "x-hookbox");
    let answer = admin.send(&preflight);
    assert_eq!(answer.status, 405);
    assert!(!answer.headers.iter().any(|(name, _)| name.to_lowercase().starts_with("access-control")));
    assert_eq!(status(&admin, &post("/api/actions/log/pause")), 200);
}

#[test]
fn everything_but_the_page_and_its_health_needs_the_token() {
    let hookbox = Home::with_config(&config("token = 'env:ADMIN'")).env("ADMIN", TOKEN).with_admin().start();
    hookbox.deliver("push", "d-1", "{}");
    hookbox.wait_until_done();
    let admin = hookbox.admin_address();
    // Ten wrong ones are taken for mistakes: one for each target that is not open.
    let wrong = ["correct hors", "correct horse battery staple", "CORRECT HORSE BATTERY", "x"];
    for ((method, target), wrong) in TARGETS.into_iter().zip(wrong.into_iter().cycle()) {
        let is_open = ["/", "/page.js", "/page.css", "/healthz"].contains(&target);
        let request = asking(method, target).header("X-Hookbox", "1");
        let answer = admin.send(&request);
        assert_eq!(answer.status, if is_open { 200 } else { 401 }, "{target}");
        assert_eq!(answer.header("WWW-Authenticate").is_some(), !is_open, "{target}");
        let answer = admin.send(&bearing(request.clone(), wrong));
        assert_eq!(answer.status, if is_open { 200 } else { 401 }, "{target} with {wrong:?}");
        assert!(!answer.text().contains(TOKEN));
        assert!(matches!(status(&admin, &bearing(request, TOKEN)), 200 | 409), "{target}");
    }
    assert!(!hookbox.stderr().contains(TOKEN));
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM paused")[0], 1, "by the one that had the token");
}

#[test]
fn an_address_beyond_loopback_needs_a_token() {
    for place in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let home = Home::with_config(&config(&format!("listen = '{place}'"))).admin(None);
        home.start_in_vain().refused(2, &["admin.token", "127.0.0.1"]);
        home.run(["check"]).refused(2, &["admin.token"]);
    }
    Home::new().admin(Some("0.0.0.0:0")).start_in_vain().refused(2, &["token", "[admin]"]);

    let admin = config("listen = '0.0.0.0:0'\ntoken = 'correct horse battery'");
    let hookbox = Home::with_config(&admin).admin(None).start();
    let port = hookbox.admin_address().tcp().port();
    let here = Address::Tcp(([127, 0, 0, 1], port).into());
    assert_eq!(status(&here, &get("/api/stats").with("Host", "192.0.2.1")), 401, "by an address it may have");
    assert_eq!(status(&here, &bearing(get("/api/stats").with("Host", "192.0.2.1"), TOKEN)), 200);
    assert_eq!(status(&here, &bearing(get("/api/stats").with("Host", "evil.example"), TOKEN)), 403);
}

#[test]
fn a_unix_socket_has_local_names_only() {
    let home = Home::new();
    let place = format!("unix:{}", home.path("admin.sock").display());
    let hookbox = home.with_open_admin().admin(Some(&place)).start();
    assert_eq!(status(&hookbox.admin_address(), &get("/api/stats")), 200);
    assert_eq!(status(&hookbox.admin_address(), &get("/api/stats").with("Host", "evil.example")), 403);
    let (home, _) = hookbox.stop();
    assert!(!home.path("admin.sock").exists());
    home.write("hookbox.toml", SOURCE);
    let hookbox = home.start();
    assert_eq!(status(&hookbox.admin_address(), &get("/api/stats")), 401, "a made token guards a socket too");
    assert_eq!(status(&hookbox.admin_address(), &get("/metrics")), 200);
}

#[test]
fn a_request_forwarded_by_a_proxy_needs_a_token() {
    let hookbox = Home::with_config(&config("hosts = ['pi.local']")).with_open_admin().start();
    for field in
        ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP", "Cf-Connecting-Ip", "X-Client-IP"]
    {
        let forwarded = get("/api/stats").header(field, "203.0.113.9");
        assert_eq!(status(&hookbox.admin_address(), &forwarded), 403, "{field}");
    }
    // nginx's default for its upstreams.
    let mut bare = hookbox.admin_address().connect();
    bare.send(b"GET /api/stats HTTP/1.0\r\nHost: 127.0.0.1:5001\r\nConnection: close\r\n\r\n");
    assert_eq!(bare.response().status, 403);
    let hookbox = Home::with_config(&config("token = 'correct horse battery'")).with_admin().start();
    let forwarded = get("/api/stats").header("X-Forwarded-For", "203.0.113.9");
    assert_eq!(status(&hookbox.admin_address(), &bearing(forwarded, TOKEN)), 200);
}

#[test]
fn a_reload_changes_the_token_and_never_removes_it_from_a_public_address() {
    let open = config("listen = '0.0.0.0:0'\ntoken = 'correct horse battery'");
    let hookbox = Home::with_config(&open).admin(Some("0.0.0.0:0")).start();
    let here = Address::Tcp(([127, 0, 0, 1], hookbox.admin_address().tcp().port()).into());
    hookbox.write("hookbox.toml", config("token = 'another one entirely'\nhosts = ['pi.local']"));
    hookbox.signal(Signal::HUP);
    let by_name = bearing(get("/api/stats").with("Host", "pi.local"), "another one entirely");
    wait_for("the new token", || (status(&here, &by_name) == 200).then_some(()));
    assert_eq!(status(&here, &bearing(get("/api/stats"), TOKEN)), 401);

    // In the file the listener is where only this machine reaches it; the one that runs is not.
    hookbox.write("hookbox.toml", SOURCE);
    hookbox.signal(Signal::HUP);
    hookbox.wait_for_stderr("keeping the old config");
    assert_eq!(status(&here, &get("/api/stats")), 401);
}

#[test]
fn the_page_opens_when_its_address_is_free_and_deliveries_are_received_meanwhile() {
    needs_no_turn();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();
    let hookbox = Home::new().admin(Some(&place)).start();
    hookbox.deliver("push", "d-1", "{}");
    // Longer than it waits between two tries.
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(hookbox.stderr().matches("there is no page").count(), 1, "{}", hookbox.stderr());
    drop(taken);
    wait_longer_for("the page", 3 * DEADLINE, || hookbox.stderr().contains("page and metrics").then_some(()));
    assert_eq!(status(&hookbox.admin_address(), &get("/healthz")), 200);
    let (_, output) = hookbox.stop();
    assert_eq!(output.code, Some(0), "{output}");
}

#[test]
fn an_address_that_the_machine_does_not_have_keeps_only_the_page_away() {
    let admin = "[admin]\nlisten = \"192.0.2.9:9000\"\ntoken = \"0123456789abcdef\"\n";
    let hookbox = Home::with_config(&format!("{admin}{SOURCE}")).admin(None).start();
    hookbox.deliver("push", "d-1", "{}");
    let lines: Vec<String> = hookbox.stderr().lines().map(str::to_owned).collect();
    let told = lines.iter().filter(|line| line.contains("192.0.2.9:9000")).collect::<Vec<_>>();
    assert!(told.len() == 1 && told[0].contains("ERROR"), "{told:?}");
    let (home, output) = hookbox.stop();
    assert_eq!(output.code, Some(0), "{output}");
    let checked = home.run(["check"]).ok().text();
    assert!(checked.contains("192.0.2.9:9000") && checked.contains("does not have that address"), "{checked}");
    assert_finds(&home, &[], "page address", "warn", &["192.0.2.9:9000", "does not have that address"]);
    // It would be open to others when the address comes.
    home.write("hookbox.toml", format!("{}{SOURCE}", admin.replace("token = \"0123456789abcdef\"\n", "")));
    home.start_in_vain().refused(2, &["admin.token"]);
}

#[test]
fn a_taken_default_address_keeps_only_the_page_away() {
    // If this fails, another program has the port: it is taken in either case.
    let _default = TcpListener::bind("127.0.0.1:5001");
    let hookbox = Home::new().admin(None).start();
    hookbox.wait_for_stderr("127.0.0.1:5001 is in use");
    hookbox.deliver("push", "d-1", "{}");
}

#[test]
fn listen_off_starts_no_admin_listener() {
    let hookbox = Home::with_config(&config("listen = 'off'")).admin(None).start();
    hookbox.deliver("push", "d-1", "{}");
    assert!(!hookbox.stderr().contains("page and metrics"));
}

#[test]
fn the_service_manager_can_pass_the_admin_socket() {
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let hookbox = Home::new().passing_as("admin", &passed).admin(None).start();
    assert_eq!(hookbox.admin_address().tcp(), passed.local_addr().unwrap());
    assert_ne!(hookbox.address().tcp(), passed.local_addr().unwrap());
    assert_eq!(status(&hookbox.admin_address(), &get("/healthz")), 200);
    hookbox.deliver("push", "d-1", "{}");

    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let started = Home::new().passing_as("admin", &everywhere).admin(None).try_start();
    let ended = started.err().expect("a refusal");
    ended.1.refused(2, &["token", "[admin]"]);
}
