//! The client's address behind proxies, and which addresses a source allows: `trusted_proxies` and `allow`.

use crate::support::{Home, Request, SOURCE};

fn from(forwarded_for: &str, id: &str) -> Request {
    Request::github("push", id, "{}").header("X-Forwarded-For", forwarded_for)
}

fn config(top: &str, keys: &str) -> String {
    format!("{top}\n{SOURCE}{keys}\n")
}

const FORGED: &str = "sha256=00";

#[test]
fn an_address_outside_allow_is_refused_before_verification() {
    let text = config("trusted_proxies = [\"127.0.0.1\"]", "allow = [\"203.0.113.0/24\", \"2001:db8::/32\"]");
    let hookbox = Home::with_config(&text).start();
    for (at, forwarded_for, status) in [
        (1, "203.0.113.9", 200),
        (2, "[2001:db8::7]:4711", 200),
        (3, "198.51.100.7, 203.0.113.9", 200),
        (4, "::ffff:203.0.113.9", 200),
        (5, "198.51.100.7", 403),
        (6, "203.0.113.9, 198.51.100.7", 403),
        (7, "unknown", 403),
        (8, "", 403),
    ] {
        let response = hookbox.send(&from(forwarded_for, &format!("d{at}")));
        assert_eq!(response.status, status, "{forwarded_for}");
        let forged = from(forwarded_for, "forged").with("X-Hub-Signature-256", FORGED);
        assert_eq!(hookbox.send(&forged).status, if status == 200 { 401 } else { 403 }, "{forwarded_for}");
    }
    // The proxy's own address is not allowed either.
    assert_eq!(hookbox.send(&Request::github("push", "direct", "{}")).status, 403);
    assert_eq!(hookbox.stored(), 4);
    assert!(hookbox.stderr().contains("from 198.51.100.7: this address is not in the source's allow"));
}

#[test]
fn without_a_trusted_proxy_the_peers_address_counts() {
    let hookbox = Home::with_config(&config("", "allow = \"127.0.0.0/8\"")).start();
    assert_eq!(hookbox.send(&from("203.0.113.9", "claims")).status, 200);
    let (home, _) = hookbox.stop();
    home.write("hookbox.toml", config("", "allow = \"203.0.113.9\""));
    let hookbox = home.start();
    assert_eq!(hookbox.send(&from("203.0.113.9", "claims too")).status, 403);
}

#[test]
fn a_peer_on_a_unix_socket_counts_as_this_machine() {
    let text = config("trusted_proxies = \"127.0.0.1\"", "allow = \"203.0.113.9\"");
    let home = Home::with_config(&text);
    let socket = format!("unix:{}", home.path("s").display());
    let hookbox = home.listen(&socket).start();
    assert_eq!(hookbox.send(&from("203.0.113.9", "through a proxy")).status, 200);
    assert_eq!(hookbox.send(&Request::github("push", "direct", "{}")).status, 403);
}

#[test]
fn a_handshake_from_outside_allow_is_refused() {
    let text = "[sources.chat]\nprovider = \"slack\"\nsecret = \"x\"\nallow = \"203.0.113.9\"\n";
    let hookbox = Home::with_config(text).start();
    let challenge = Request::new("POST", "/webhooks/chat")
        .header("Content-Type", "application/json")
        .body("{\"type\": \"url_verification\", \"challenge\": \"c\"}");
    assert_eq!(hookbox.send(&challenge).status, 403);
}

#[test]
fn the_log_names_the_client_behind_a_trusted_proxy() {
    let hookbox = Home::with_config(&config("trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]", "")).start();
    let forged = |forwarded_for: &str| from(forwarded_for, "x").with("X-Hub-Signature-256", FORGED);
    hookbox.send(&forged("192.0.2.1, 203.0.113.9, 10.0.0.7"));
    hookbox.wait_for_stderr("rejected /webhooks/github from 203.0.113.9: ");
    hookbox.send(&forged("nonsense"));
    hookbox.wait_for_stderr("rejected /webhooks/github from an unknown address: ");
}

/// The built-in source without a secret refuses every forwarded request.
#[test]
fn a_trusted_proxy_does_not_open_an_unverified_source() {
    let hookbox = Home::with_config("trusted_proxies = \"127.0.0.1\"\n").without_secret().start();
    assert_eq!(hookbox.send(&from("127.0.0.1", "forwarded").with("Host", "localhost")).status, 403);
    assert_eq!(hookbox.send(&Request::github("push", "local", "{}").with("Host", "localhost")).status, 200);
}

#[test]
fn an_invalid_network_is_refused_with_its_key() {
    let home = Home::with_config(&config("trusted_proxies = [\"::1\", \"10.0.0.1/8\"]", "allow = [\"nginx\"]"));
    let words = ["trusted_proxies[1]", "write 10.0.0.0/8", "sources.github.allow[0]", "not a network"];
    home.run(["check"]).refused(2, &words);
    home.write("hookbox.toml", config("trusted_proxies = []", "allow = []"));
    home.run(["check"]).refused(2, &["trusted_proxies: the list is empty", "sources.github.allow: the list is empty"]);
}

#[test]
fn check_shows_trusted_proxies_and_allowed_networks() {
    let home = Home::with_config(&config("trusted_proxies = [\"127.0.0.1\", \"::1\"]", "allow = \"203.0.113.0/24\""));
    let text = home.run(["check"]).ok().text();
    assert!(text.contains("trusts X-Forwarded-For of 127.0.0.1/32, ::1/128\n"), "{text}");
    assert!(text.contains("takes deliveries from 203.0.113.0/24 only"), "{text}");
    home.write("hookbox.toml", SOURCE);
    assert!(home.run(["check"]).ok().text().contains("none trusted"));
}
