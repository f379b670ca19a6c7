//! Which deliveries are accepted, and how they are answered.

use serde_json::Value;

use crate::support::{Home, Request, SECRET, SOURCE, sign_github};

#[test]
fn a_signed_delivery_is_stored_and_answered_200_with_an_empty_body() {
    let hookbox = Home::new().start();
    let response = hookbox.send(&Request::github("issues", "d-1", r#"{"action":"opened"}"#));
    assert_eq!((response.status, response.text().as_str()), (200, ""));
    assert_eq!(hookbox.query::<String>("SELECT source FROM webhook_events"), ["github"]);
    assert_eq!(hookbox.query::<String>("SELECT event_type FROM webhook_events"), ["issues"]);
    assert_eq!(hookbox.query::<String>("SELECT delivery_id FROM webhook_events"), ["d-1"]);
}

#[test]
fn the_same_delivery_again_is_answered_200_and_stored_once() {
    let hookbox = Home::new().start();
    for _ in 0..3 {
        let response = hookbox.send(&Request::github("issues", "d-1", "{}"));
        assert_eq!((response.status, response.text().as_str()), (200, ""));
    }
    assert_eq!(hookbox.stored(), 1);
}

#[test]
fn a_hundred_simultaneous_deliveries_of_one_id_are_one_row_and_a_hundred_times_200() {
    let hookbox = Home::new().start();
    let request = Request::github("issues", "d-1", "{}");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..100).map(|_| scope.spawn(|| hookbox.send(&request).status)).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; 100]);
    assert_eq!(hookbox.stored(), 1);
}

#[test]
fn a_chunked_delivery_is_accepted() {
    let hookbox = Home::new().start();
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(50_000));
    let response = hookbox.send(&Request::github("push", "d-1", &body).chunked());
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(hookbox.query::<String>("SELECT payload_json FROM webhook_events"), [body]);
}

#[test]
fn a_delivery_of_20_mib_is_accepted() {
    let hookbox = Home::new().start();
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(20 << 20));
    hookbox.deliver("push", "d-1", &body);
    assert_eq!(hookbox.query::<i64>("SELECT length(payload_json) FROM webhook_events"), [body.len() as i64]);
}

#[test]
fn a_delivery_in_many_small_pieces_is_accepted() {
    let hookbox = Home::new().start();
    let mut connection = hookbox.connect();
    for piece in Request::github("push", "d-1", r#"{"ref":"refs/heads/main"}"#).bytes().chunks(7) {
        connection.send(piece);
    }
    assert_eq!(connection.response().status, 200);
    assert_eq!(hookbox.stored(), 1);
}

#[test]
fn expect_100_continue_is_answered() {
    let hookbox = Home::new().start();
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(5_000));
    let request = Request::github("push", "d-1", &body).header("Expect", "100-continue");
    let mut connection = hookbox.connect();
    connection.send(&request.head());
    assert_eq!(connection.response().status, 100);
    connection.send(body.as_bytes());
    assert_eq!(connection.response().status, 200);
    assert_eq!(hookbox.stored(), 1);
}

#[test]
fn a_connection_carries_one_delivery_after_the_other() {
    let hookbox = Home::new().start();
    let mut connection = hookbox.connect();
    for id in ["d-1", "d-2", "d-3"] {
        connection.send(&Request::github("push", id, "{}").bytes());
        assert_eq!(connection.response().status, 200);
    }
    assert_eq!(hookbox.stored(), 3);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let hookbox = Home::new().start();
    let mut connection = hookbox.connect();
    let delivery = Request::github("push", "d-1", "{}");
    let mut bytes = delivery.bytes();
    bytes.extend(delivery.clone().with("X-GitHub-Delivery", "d-2").body("[]").bytes());
    bytes.extend(Request::get("/nowhere").bytes());
    connection.send(&bytes);
    let statuses = [connection.response().status, connection.response().status, connection.response().status];
    assert_eq!(statuses, [200, 401, 404]);
    assert_eq!(hookbox.stored(), 1);
}

#[test]
fn a_sender_that_has_finished_sending_still_gets_its_answer() {
    let hookbox = Home::new().start();
    let mut connection = hookbox.connect();
    connection.send(&Request::github("push", "d-1", "{}").bytes());
    connection.finish_sending();
    assert_eq!(connection.response().status, 200);
}

#[test]
fn http_1_0_is_answered() {
    let hookbox = Home::new().start();
    let mut connection = hookbox.connect();
    connection.send(b"GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(connection.response().status, 200);
}

#[test]
fn a_delivery_over_a_unix_socket_is_accepted() {
    let home = Home::new();
    let listen = format!("unix:{}", home.path("http.sock").display());
    let hookbox = home.listen(&listen).start();
    assert_eq!(hookbox.send(&Request::github("push", "d-1", "{}")).status, 200);
    assert_eq!(hookbox.stored(), 1);
}

#[test]
fn health_is_200_and_one_line() {
    let hookbox = Home::new().start();
    let response = hookbox.send(&Request::get("/healthz"));
    assert_eq!(response.status, 200);
    assert_eq!(response.text().trim_end().lines().count(), 1, "{}", response.text());
}

#[test]
fn without_a_secret_unsigned_deliveries_are_accepted_with_a_warning() {
    let hookbox = Home::new().without_secret().start();
    hookbox.wait_for_stderr("NOT verified");
    for host in ["localhost", "LocalHost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"] {
        let request = Request::github("push", host, "{}").without("X-Hub-Signature-256").with("Host", host);
        assert_eq!(hookbox.send(&request).status, 200, "{host}");
    }
}

#[test]
fn without_a_secret_a_forwarded_delivery_is_403() {
    let hookbox = Home::new().without_secret().start();
    let request = Request::github("push", "d-1", "{}").with("Host", "localhost");
    let headers = [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Anything",
        "Via",
        "X-Real-IP",
        "Cf-Connecting-Ip",
        "Fly-Client-IP",
        "X-Client-IP",
        "True-Client-IP",
        "X-Original-Host",
        "x_forwarded_for",
    ];
    for name in headers {
        assert_eq!(hookbox.send(&request.clone().header(name, "192.0.2.1")).status, 403, "{name}");
    }
    hookbox.wait_for_stderr("it came from elsewhere (the field Forwarded)");
    assert_eq!(hookbox.stored(), 0);
}

#[test]
fn without_a_secret_a_delivery_for_another_host_is_403() {
    let hookbox = Home::new().without_secret().start();
    let request = Request::github("push", "d-1", "{}");
    for host in ["hooks.example.com", "localhost.example.com", "192.168.1.5:5000", "0.0.0.0:5000", "", "[::2]"] {
        assert_eq!(hookbox.send(&request.clone().with("Host", host)).status, 403, "{host:?}");
    }
    hookbox.wait_for_stderr("it came from elsewhere (the Host hooks.example.com)");
    assert_eq!(hookbox.stored(), 0);
}

/// nginx speaks it to its upstreams where it is not told otherwise, and gives them their own address as `Host`.
#[test]
fn without_a_secret_a_delivery_in_http_1_0_is_403() {
    let hookbox = Home::new().without_secret().start();
    for host in ["Host: 127.0.0.1:5000\r\n", ""] {
        let mut connection = hookbox.connect();
        let head = format!("POST /webhooks/github HTTP/1.0\r\n{host}Connection: close\r\nX-GitHub-Event: push\r\n");
        connection.send(format!("{head}X-GitHub-Delivery: d-1\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes());
        assert_eq!(connection.response().status, 403, "{host}");
    }
    hookbox.wait_for_stderr("it came from elsewhere (HTTP/1.0");
    assert_eq!(hookbox.stored(), 0);
}

#[test]
fn with_a_secret_a_forwarded_delivery_is_accepted() {
    let hookbox = Home::new().start();
    let request = Request::github("push", "d-1", "{}").header("X-Forwarded-For", "192.0.2.1").header("Via", "1.1 p");
    assert_eq!(hookbox.send(&request).status, 200);
}

#[test]
fn every_secret_of_a_list_is_accepted_and_no_other() {
    let config = "[sources.github]\nprovider = \"github\"\nsecret = [\"env:GITHUB_WEBHOOK_SECRET\", \"the old one\"]\n";
    let hookbox = Home::with_config(config).start();
    let request = Request::github("push", "d-1", "{}");
    assert_eq!(hookbox.send(&request).status, 200);
    assert_eq!(hookbox.send(&request.clone().signed_with("the old one")).status, 200);
    assert_eq!(hookbox.send(&request.signed_with("the oldest one")).status, 401);
}

#[test]
fn a_secret_in_a_file_is_used_without_its_final_line_break() {
    let home = Home::with_config("[sources.github]\nprovider = \"github\"\nsecret = \"file:secret.txt\"\n");
    home.write("secret.txt", "from a file\n");
    let hookbox = home.start();
    assert_eq!(hookbox.send(&Request::github("push", "d-1", "{}").signed_with("from a file")).status, 200);
}

#[test]
fn a_credential_of_systemd_is_a_secret() {
    let home = Home::with_config("[sources.github]\nprovider = \"github\"\nsecret = \"credential:hook\"\n");
    home.write("hook", "from systemd");
    let directory = home.path(".").display().to_string();
    let hookbox = home.env("CREDENTIALS_DIRECTORY", &directory).start();
    assert_eq!(hookbox.send(&Request::github("push", "d-1", "{}").signed_with("from systemd")).status, 200);
}

#[test]
fn a_source_is_served_under_its_name_by_its_own_secret() {
    let config = format!("{SOURCE}[sources.work]\nprovider = \"github\"\nsecret = \"another\"\n");
    let hookbox = Home::with_config(&config).start();
    let request = Request::github("push", "d-1", "{}").target("/webhooks/work");
    assert_eq!(hookbox.send(&request).status, 401, "signed with the secret of the other source");
    assert_eq!(hookbox.send(&request.signed_with("another")).status, 200);
    assert_eq!(hookbox.query::<String>("SELECT source FROM webhook_events"), ["work"]);
}

#[test]
fn a_source_with_verify_none_accepts_unsigned_deliveries() {
    let hookbox = Home::with_config("[sources.open]\nprovider = \"github\"\nverify = \"none\"\n").start();
    let request = Request::github("push", "d-1", "{}").target("/webhooks/open").without("X-Hub-Signature-256");
    assert_eq!(hookbox.send(&request).status, 200);
}

#[test]
fn a_form_delivery_is_verified_over_its_own_bytes() {
    let hookbox = Home::new().start();
    let body = "payload=%7B%22action%22%3A%22opened%22%2C%22text%22%3A%22a+b%22%7D";
    let request = Request::github("issues", "d-1", body).with("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(hookbox.send(&request).status, 200);
    let stored: Value =
        serde_json::from_str(&hookbox.query::<String>("SELECT payload_json FROM webhook_events")[0]).unwrap();
    assert_eq!(stored, serde_json::json!({"action": "opened", "text": "a b"}));
    let signed_json = sign_github(SECRET, br#"{"action":"opened","text":"a b"}"#);
    assert_eq!(hookbox.send(&request.with("X-Hub-Signature-256", &signed_json)).status, 401);
}

#[test]
fn header_names_and_the_content_type_may_be_in_any_case() {
    let hookbox = Home::new().start();
    let signature = sign_github(SECRET, b"{}");
    let request = Request::new("POST", "/webhooks/github")
        .header("content-type", "Application/JSON; charset=UTF-8")
        .header("x-github-event", "push")
        .header("X-GITHUB-DELIVERY", "d-1")
        .header("x-hub-signature-256", &signature)
        .body("{}");
    assert_eq!(hookbox.send(&request).status, 200);
    assert_eq!(hookbox.query::<String>("SELECT event_type || delivery_id FROM webhook_events"), ["pushd-1"]);
}
