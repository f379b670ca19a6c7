//! What HTTP tells a server to accept or to ignore is accepted or ignored: RFC 9110, RFC 9112 and RFC 3986.

use std::process::Command;

use serde_json::Value;

use crate::support::{DEADLINE, Home, Hookbox, Request, Response, SOURCE, Stub, is_installed, patient, wait_for};

const TOKEN_SOURCE: &str = "[sources.x]\nprovider = \"token\"\nsecret = \"brass-kettle\"\n";

/// Stands for the byte 0xfc, which is no UTF-8.
const LATIN_1: &str = "\u{1}";

fn delivery(target: &str) -> Request {
    Request::new("POST", target)
        .header("Authorization", "Bearer brass-kettle")
        .header("Content-Type", "application/json")
        .body("{\"n\":1}")
}

fn start() -> Hookbox {
    Home::with_config(TOKEN_SOURCE).start()
}

/// The bytes of the request, with 0xfc in place of [`LATIN_1`].
fn bytes(request: &Request) -> Vec<u8> {
    request.bytes().into_iter().map(|byte| if byte == LATIN_1.as_bytes()[0] { 0xfc } else { byte }).collect()
}

#[track_caller]
fn send(hookbox: &Hookbox, request: &Request) -> Response {
    let mut connection = hookbox.connect();
    connection.send(&bytes(request));
    connection.response()
}

fn stored_headers(hookbox: &Hookbox) -> Vec<Value> {
    let headers = hookbox.query::<String>("SELECT headers_json FROM webhook_events ORDER BY id");
    headers.iter().map(|json| serde_json::from_str(json).unwrap()).collect()
}

#[test]
fn an_absolute_target_is_accepted_and_its_authority_is_the_host() {
    let hookbox = start();
    for (target, host) in [
        ("http://hooks.example.net/webhooks/x", "hooks.example.net"),
        ("http://127.0.0.1:37599/webhooks/x?a=b", "127.0.0.1:37599"),
        ("HTTPS://[::1]:5000/%77ebhooks/x", "[::1]:5000"),
        ("http://me:hush@h/webhooks/x", "h"),
    ] {
        assert_eq!(send(&hookbox, &delivery(target)).status, 200, "{target}");
        assert_eq!(stored_headers(&hookbox).last().unwrap()["Host"], host, "{target}");
    }
    assert_eq!(hookbox.stored(), 4);
    for (target, status) in [("http://h", 404), ("http://h?/webhooks/x", 404), ("http://h/webhooks/y", 404)] {
        assert_eq!(send(&hookbox, &delivery(target)).status, status, "{target}");
    }
    assert_eq!(send(&hookbox, &delivery("http://h/webhooks/x").without("Host")).status, 400);
    assert!(!hookbox.stderr().contains("hush"), "{}", hookbox.stderr());
}

#[test]
fn a_request_about_the_server_is_answered() {
    let hookbox = start();
    for target in ["*", "http://h"] {
        let response = send(&hookbox, &Request::new("OPTIONS", target));
        assert_eq!((response.status, response.header("Allow")), (204, Some("GET, HEAD, POST, OPTIONS")), "{target}");
    }
    assert_eq!(send(&hookbox, &Request::new("OPTIONS", "http://h/")).status, 404);
}

#[test]
fn an_offer_to_upgrade_is_ignored() {
    let hookbox = start();
    let offers: [&[(&str, &str)]; 6] = [
        &[("Connection", "upgrade")],
        &[("Connection", "Upgrade"), ("Upgrade", "websocket")],
        &[("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
        &[("Connection", "Upgrade, HTTP2-Settings"), ("HTTP2-Settings", "AAMAAABkAAQ"), ("Upgrade", "h2c")],
        &[("Upgrade", "h2c")],
        &[("Upgrade", "TLS/1.2, HTTP/2.0"), ("Connection", "close"), ("Connection", "upgrade")],
    ];
    for offer in offers {
        let request = offer.iter().fold(delivery("/webhooks/x"), |request, (name, value)| request.header(name, value));
        let mut connection = hookbox.connect();
        connection.send(&request.bytes());
        let response = connection.response();
        assert_eq!((response.status, response.header("Upgrade")), (200, None), "{offer:?}");
        let closes = offer.contains(&("Connection", "close"));
        assert_eq!(response.header("Connection") == Some("close"), closes, "{offer:?}");
        if !closes {
            connection.send(&request.bytes());
            assert_eq!(connection.response().status, 200, "{offer:?}: again");
        }
    }
    assert_eq!(hookbox.stored(), 11);
    for headers in stored_headers(&hookbox) {
        let names = headers.as_object().unwrap().keys();
        let of_connection = ["Connection", "Upgrade", "HTTP2-Settings"];
        assert!(names.into_iter().all(|name| !of_connection.contains(&name.as_str())), "{headers}");
    }
}

#[test]
fn curl_that_offers_http_2_is_answered_in_http_1() {
    if !is_installed("curl", &["--version"]) {
        return;
    }
    let hookbox = start();
    let mut curl = Command::new("curl");
    curl.args(["--http2", "--silent", "--show-error", "--write-out", "%{http_version} %{http_code}"]);
    curl.args(["--header", "Authorization: Bearer brass-kettle", "--data-raw", "{}", &hookbox.url("/webhooks/x")]);
    let output = curl.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1.1 200", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn values_beyond_ascii_are_kept_as_text() {
    let hookbox = Home::with_config(SOURCE).start();
    let ipcity = format!("M{LATIN_1}nsingen");
    for (id, value, text) in [
        ("d-1", "Île-de-France", "Île-de-France"),
        ("d-2", ipcity.as_str(), "Münsingen"),
        ("d-3", "%7fc3 \\xfc", "%7fc3 \\xfc"),
    ] {
        let request = Request::github("ping", id, "{\"zen\":\"Keep it plain.\"}").header("cf-ipcity", value);
        assert_eq!(send(&hookbox, &request).status, 200, "{text}");
        assert_eq!(stored_headers(&hookbox).last().unwrap()["cf-ipcity"], text);
    }
    let request = Request::github("ping", "d-4", "{}").header("A", "Zürich").header("A", LATIN_1);
    assert_eq!(send(&hookbox, &request).status, 200);
    assert_eq!(stored_headers(&hookbox).last().unwrap()["A"], "ZÃ¼rich, ü", "their bytes are joined");
    let request = Request::github("ping", "d-ü", "{}").with("X-GitHub-Event", &format!("t{LATIN_1}p"));
    assert_eq!(send(&hookbox, &request).status, 200);
    let event = "SELECT event_type || ' ' || delivery_id FROM webhook_events WHERE id = 5";
    assert_eq!(hookbox.query::<String>(event), ["tüp d-ü"]);
}

/// The bytes of this field as another program gets them.
fn field_of(request: &[u8], name: &str) -> Vec<u8> {
    let lines = request.split(|byte| *byte == b'\n').map(|line| line.trim_ascii());
    let prefix = format!("{name}: ").into_bytes();
    lines.into_iter().find_map(|line| line.strip_prefix(&prefix[..])).unwrap().to_vec()
}

/// What arrives at a listener that answers 200 to everything.
fn received_by(act: impl FnOnce(&str)) -> Vec<u8> {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = wait_for("a connection", || listener.accept().ok());
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(patient(DEADLINE))).unwrap();
        let (mut request, mut block) = (Vec::new(), [0; 4096]);
        while !request.ends_with(b"{\"n\":1}") {
            let read = stream.read(&mut block).unwrap();
            assert_ne!(read, 0, "{}", request.escape_ascii());
            request.extend_from_slice(&block[..read]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        request
    });
    act(&address);
    server.join().unwrap()
}

#[test]
fn values_beyond_ascii_are_given_back_byte_for_byte() {
    let hookbox = start();
    let request =
        delivery("/webhooks/x").header("x-region", "Île ☃").header("x-subject", &format!("M{LATIN_1} 100%'\\"));
    assert_eq!(send(&hookbox, &request).status, 200);
    let assert_same = |received: &[u8], how: &str| {
        assert_eq!(field_of(received, "x-region"), "Île ☃".as_bytes(), "{how}");
        assert_eq!(field_of(received, "x-subject"), b"M\xfc 100%'\\", "{how}");
    };
    let received = received_by(|address| drop(hookbox.run(["forward", "1", &format!("http://{address}/")]).ok()));
    assert_same(&received, "forward");
    if is_installed("curl", &["--version"]) {
        let received = received_by(|address| {
            let command = hookbox.run(["show", "1", "--curl", "--listen", address]).ok().text();
            assert!(Command::new("sh").args(["-c", &command]).output().unwrap().status.success(), "{command}");
        });
        assert_same(&received, "show --curl");
    }
    let received = received_by(|address| {
        let action = format!("[actions.on]\nkind = \"http\"\nurl = \"http://{address}/\"\non = [\"*\"]\n");
        hookbox.reload(format!("{TOKEN_SOURCE}{action}"));
        assert_eq!(send(&hookbox, &request).status, 200);
    });
    assert_same(&received, "an action");
}

#[test]
fn a_template_sees_values_beyond_ascii_as_text() {
    let stub = Stub::http();
    let action = format!(
        "[actions.on]\nkind = \"http\"\nurl = \"{}\"\non = [\"*\"]\nbody = \"{{{{ headers['a'] }}}}|{{{{ headers['b'] }}}}\"\n",
        stub.url("/")
    );
    let hookbox = Home::with_config(&format!("{TOKEN_SOURCE}{action}")).start();
    assert_eq!(send(&hookbox, &delivery("/webhooks/x").header("A", "Île").header("B", LATIN_1)).status, 200);
    assert_eq!(stub.first().text(), "Île|ü");
}

#[test]
fn tokens_and_signed_values_are_compared_byte_by_byte() {
    let home = Home::with_config("[sources.x]\nprovider = \"token\"\nsecret = \"file:latin1\"\n");
    home.write("latin1", b"schl\xfcssel");
    let hookbox = home.start();
    let with = |token: &str| delivery("/webhooks/x").with("Authorization", &format!("Bearer {token}"));
    assert_eq!(send(&hookbox, &with(&format!("schl{LATIN_1}ssel"))).status, 200);
    assert_eq!(send(&hookbox, &with("schlüssel")).status, 401, "other bytes with the same text");
    let (home, _) = hookbox.stop();
    home.write("latin1", "schlüssel");
    let hookbox = home.start();
    assert_eq!(send(&hookbox, &with("schlüssel")).status, 200);
    assert_eq!(send(&hookbox, &with(&format!("schl{LATIN_1}ssel"))).status, 401, "other bytes with the same text");
}

#[test]
fn a_signature_over_a_header_is_over_its_bytes() {
    let source =
        "[sources.x]\nprovider = \"hmac\"\nsecret = \"k\"\n[sources.x.verify]\nsigned = \"{header:X-City}.{body}\"\n";
    let hookbox = Home::with_config(source).start();
    let signed = |city: &[u8]| {
        let text = [city, b".{\"n\":1}"].concat();
        delivery("/webhooks/x").header("X-Hub-Signature-256", &crate::support::sign_github("k", &text))
    };
    assert_eq!(send(&hookbox, &signed(b"M\xfc").header("X-City", &format!("M{LATIN_1}"))).status, 200);
    assert_eq!(send(&hookbox, &signed("Mü".as_bytes()).header("X-City", "Mü")).status, 200);
    assert_eq!(send(&hookbox, &signed("Mü".as_bytes()).header("X-City", &format!("M{LATIN_1}"))).status, 401);
}

#[test]
fn bytes_beyond_ascii_in_the_target_are_taken() {
    let source = "[sources.x]\nprovider = \"token\"\nsecret = \"s\"\nid = \"query:id\"\nverify = { sig = \"query:t\", prefix = \"\" }\n";
    let hookbox = Home::with_config(source).start();
    for (id, text) in [("Zürich", "Zürich"), ("%C3%A9", "é"), (LATIN_1, "ü")] {
        assert_eq!(send(&hookbox, &delivery(&format!("/webhooks/x?id={id}&t=s"))).status, 200, "{text}");
        let last = "SELECT delivery_id FROM webhook_events ORDER BY id DESC LIMIT 1";
        assert_eq!(hookbox.query::<String>(last), [text]);
    }
    for path in ["/webhooks/ü".to_owned(), format!("/webhooks/x{LATIN_1}"), format!("/{LATIN_1}")] {
        assert_eq!(send(&hookbox, &delivery(&path)).status, 404, "{path}");
    }
}

/// tiny_http is sent such an escape by the gate alone.
#[test]
fn a_client_cannot_write_the_escape_of_the_private_hop() {
    let hookbox = start();
    for request in [
        delivery("/webhooks/x").header("A", "\u{7f}fc"),
        delivery("/webhooks/x?\u{7f}fc"),
        delivery("/webhooks/x").with("Authorization", "Bearer brass-kettl\u{7f}65"),
    ] {
        assert_eq!(send(&hookbox, &request).status, 400);
    }
    assert_eq!(hookbox.stored(), 0);
    assert_eq!(send(&hookbox, &delivery("/webhooks/x").header("A", "%7Ffc \\x7ffc")).status, 200);
    assert_eq!(stored_headers(&hookbox)[0]["A"], "%7Ffc \\x7ffc");
}

#[test]
fn equivalent_spellings_of_a_path_are_the_same_source() {
    let hookbox = Home::with_config("[sources.a-b_c]\nprovider = \"token\"\nsecret = \"brass-kettle\"\n").start();
    for path in
        ["/%77ebhooks/a-b_c", "/webhooks/a%2db_c", "/webhooks/a%2Db%5Fc?%2e%2e/", "/%77%65%62%68%6f%6F%6b%73/%61-b_c"]
    {
        assert_eq!(send(&hookbox, &delivery(path)).status, 200, "{path}");
    }
    for path in [
        "/webhooks%2Fa-b_c",
        "/webhooks%2fa-b_c",
        "/webhooks/a-b_c%2f",
        "/webhooks/x/%2e%2e/a-b_c",
        "/%2e/webhooks/a-b_c",
        "/webhooks/./a-b_c",
        "/webhooks/a-b_c/.",
        "/webhooks/%2561-b_c",
        "/webhooks/A-b_c",
        "/webhooks/a-b_c%",
        "/webhooks/a-b_c%00",
    ] {
        assert_eq!(send(&hookbox, &delivery(path)).status, 404, "{path}");
    }
    assert_eq!(hookbox.send(&Request::get("/%68ealthz")).status, 200);
}

#[track_caller]
fn head(hookbox: &Hookbox, request: &Request) -> Response {
    let mut connection = hookbox.connect();
    connection.send(&request.clone().method("HEAD").bytes());
    let response = connection.head_response();
    connection.finish_sending();
    assert_eq!(connection.rest(), b"", "an answer to HEAD has no body");
    response
}

#[test]
fn head_on_a_source_is_200_and_stores_nothing() {
    let sources = "[sources.mandrill]\nprovider = \"hmac\"\nsecret = \"k\"\npublic_url = \"https://h/webhooks/mandrill\"\n\
        [sources.mandrill.verify]\nalg = \"hmac-sha1\"\nsig = \"header:X-Mandrill-Signature\"\nprefix = \"\"\nenc = \"base64\"\n\
        signed = \"{url}{form_sorted}\"\n\
        [sources.open]\nprovider = \"token\"\nverify = \"none\"\nstatus = 204\n\
        [sources.far]\nprovider = \"github\"\nsecret = \"k\"\nallow = \"192.0.2.1\"\n\
        [sources.notes]\nprovider = \"notion\"\n";
    let hookbox = Home::with_config(sources).start();
    for (path, status) in [
        ("/webhooks/mandrill", 200),
        ("/webhooks/mandrill?a", 200),
        ("http://h/%77ebhooks/mandrill", 200),
        ("/webhooks/open", 200),
        ("/webhooks/notes", 200),
        ("/webhooks/far", 403),
        ("/webhooks/none", 404),
        ("/webhooks/", 404),
        ("/webhooks/mandrill/", 404),
    ] {
        assert_eq!(head(&hookbox, &Request::get(path)).status, status, "{path}");
    }
    let with_body = Request::get("/webhooks/mandrill").header("Content-Length", "2").body("{}");
    assert_eq!(head(&hookbox, &with_body).status, 200);
    assert_eq!(hookbox.stored(), 0);
    assert_eq!(hookbox.send(&Request::get("/webhooks/mandrill")).status, 405);
}

#[test]
fn head_on_a_source_for_local_deliveries_must_be_local() {
    let hookbox = Home::new().without_secret().start();
    let request = Request::get("/webhooks/github").with("Host", "localhost");
    assert_eq!(head(&hookbox, &request).status, 200);
    assert_eq!(head(&hookbox, &request.clone().header("X-Forwarded-For", "192.0.2.1")).status, 403);
}

#[test]
fn an_unknown_content_encoding_is_415_and_says_which_is_known() {
    let hookbox = start();
    for encoding in ["br", "deflate", "zstd", "gzip, gzip", "gzip, br"] {
        let response = send(&hookbox, &delivery("/webhooks/x").header("Content-Encoding", encoding));
        assert_eq!((response.status, response.header("Accept-Encoding")), (415, Some("gzip")), "{encoding}");
    }
    assert_eq!(hookbox.stored(), 0);
    for encoding in ["identity", "", "identity, Identity"] {
        assert_eq!(
            send(&hookbox, &delivery("/webhooks/x").header("Content-Encoding", encoding)).status,
            200,
            "{encoding}"
        );
    }
    let unsigned = delivery("/webhooks/x").without("Authorization").header("Content-Encoding", "br");
    assert_eq!(send(&hookbox, &unsigned).status, 401, "the proof comes first");
}
