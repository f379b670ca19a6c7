//! How `http` and `slack` reach a destination: who it is, who we are, and an answer that comes early.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::date_time_ymd;

use super::{deliver_and_wait, done, only_attempt, show, with};
use crate::support::{Issued, Stub, authority, identity_of, impostor, issue, refusing, self_made};

/// Far more than the buffers of two sockets hold.
const LARGE_BYTES: usize = 20 << 20;

#[test]
fn an_answer_that_comes_while_a_large_body_is_sent_is_read() {
    let (root, identity) = authority("localhost");
    let large = format!("\"{}\"", "x".repeat(LARGE_BYTES));
    for (tls, stays) in [(false, false), (false, true), (true, false), (true, true)] {
        let port = refusing(tls.then_some(&identity), stays);
        let scheme = if tls { "https" } else { "http" };
        let keys = format!("url = \"{scheme}://localhost:{port}/\"\nattempts = 1\nca_file = \"root.pem\"");
        let home = with("http", &keys);
        home.write("root.pem", &root);
        let hookbox = home.start();
        deliver_and_wait(&hookbox, "push", "d-1", &large);
        let expected = ("give_up".to_owned(), "413 Payload Too Large at most 1 MB".to_owned());
        assert_eq!(only_attempt(&hookbox, 1), expected, "TLS {tls}, the server stays {stays}");
    }
}

#[test]
fn a_large_body_arrives_whole() {
    let (root, identity) = authority("localhost");
    let large = format!("\"{}\"", "x".repeat(LARGE_BYTES));
    for stub in [Stub::http(), Stub::https(&identity)] {
        let home = with("http", &format!("url = \"{}\"\nca_file = \"root.pem\"", stub.url("/")));
        home.write("root.pem", &root);
        let hookbox = home.start();
        deliver_and_wait(&hookbox, "push", "d-1", &large);
        assert_eq!(only_attempt(&hookbox, 1).0, "success");
        assert!(stub.first().text() == large);
    }
}

/// A proxy that opens a tunnel to whatever it is asked for. Returns its URL, and what it was asked for.
fn proxy() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut server = TcpStream::connect(&target).unwrap();
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || std::io::copy(&mut server, &mut client));
            let _ = tell.send(head.lines().next().unwrap_or_default().to_owned());
        }
    });
    (url, told)
}

#[test]
fn a_request_goes_through_the_proxy_of_the_environment() {
    let (root, identity) = authority("localhost");
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    for stub in [Stub::http(), Stub::https(&identity)] {
        let (url, told) = proxy();
        let keys = format!("url = \"{}\"\nattempts = 1\nca_file = \"root.pem\"", stub.url("/"));
        let home = with("http", &keys).env("HTTPS_PROXY", &url);
        home.write("root.pem", &root);
        let hookbox = home.start();
        deliver_and_wait(&hookbox, "push", "d-1", &large);
        assert_eq!(only_attempt(&hookbox, 1).0, "success");
        assert!(stub.first().text() == large);
        assert!(told.recv().unwrap().starts_with("CONNECT "));
    }
}

#[test]
fn user_and_password_of_a_url_are_decoded_and_shown_nowhere() {
    let stub = Stub::http();
    let address = format!("127.0.0.1:{}", stub.port());
    let keys = format!("url = \"http://us%40er:p%3Aa%2Fss%25@{address}/in\"");
    let hookbox = with("http", &keys).start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    let received = stub.first();
    let basic = format!("Basic {}", STANDARD.encode("us@er:p:a/ss%"));
    assert_eq!(received.header("Authorization"), Some(basic.as_str()));
    assert_eq!((received.target.as_str(), received.header("Host")), ("/in", Some(address.as_str())));
    let told = hookbox.stderr() + &show(&hookbox, 1).to_string() + &done(&hookbox, "check --event 1");
    assert!(!told.contains("ss%") && !told.contains("us%40er") && !told.contains(&basic), "{told}");
    // `forward` does the same.
    done(&hookbox, &format!("forward 1 http://a%20b:c@{address}/"));
    let basic = format!("Basic {}", STANDARD.encode("a b:c"));
    assert_eq!(stub.wait_for(2)[1].header("Authorization"), Some(basic.as_str()));
}

#[test]
fn a_configured_authorization_goes_before_that_of_the_url() {
    let stub = Stub::http();
    let url = stub.url("/").replace("http://", "http://user:password@");
    let hookbox = with("http", &format!("url = \"{url}\"\nheaders = {{ Authorization = \"Bearer x\" }}")).start();
    hookbox.deliver("push", "d-1", "{}");
    let received = stub.first();
    let fields: Vec<_> =
        received.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("authorization")).collect();
    assert_eq!(fields.len(), 1, "{fields:?}");
    assert_eq!(received.header("Authorization"), Some("Bearer x"));
}

/// What an attempt at a server with that identity becomes, if `pem` is in `ca_file`.
fn attempt(stub: &Stub, pem: &str) -> (String, String) {
    let home = with("http", &format!("url = \"{}\"\nattempts = 1\nca_file = \"own.pem\"", stub.url("/")));
    home.write("own.pem", pem);
    let hookbox = home.start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    only_attempt(&hookbox, 1)
}

#[test]
fn a_certificate_that_is_itself_in_ca_file_is_believed() {
    let leaf = issue("localhost");
    let leaf_pem = leaf.certificate.pem();
    for (what, pem, issued) in [
        ("of a server that may issue others", None, self_made("localhost", |_| ())),
        ("of a server that may not", None, self_made("localhost", |params| params.is_ca = rcgen::IsCa::NoCa)),
        ("with a name only in its subject", None, self_made("localhost", |params| params.subject_alt_names.clear())),
        ("of an authority that is not in the file", Some(leaf_pem), leaf),
    ] {
        let pem = pem.unwrap_or_else(|| issued.root.pem());
        let stub = Stub::https(&identity_of(issued));
        let (outcome, detail) = attempt(&stub, &pem);
        assert_eq!(outcome, "success", "{what}: {detail}");
    }
}

#[test]
fn a_certificate_in_ca_file_is_not_believed_for_another_name_or_time_or_without_its_key() {
    let own = || self_made("localhost", |_| ());
    let (one, other) = (own(), own());
    let elsewhere = self_made("nas.example.org", |_| ());
    let expired = self_made("localhost", |params| params.not_after = date_time_ymd(2021, 1, 1));
    let pem_of = |issued: &Issued| issued.root.pem();
    let (one_pem, elsewhere_pem, expired_pem) = (pem_of(&one), pem_of(&elsewhere), pem_of(&expired));
    let without_key = impostor(&one.certificate);
    for (what, pem, identity, word) in [
        ("another", &one_pem, identity_of(other), "ca_file"),
        ("another name", &elsewhere_pem, identity_of(elsewhere), "nas.example.org"),
        ("expired", &expired_pem, identity_of(expired), "expired"),
        ("without the key", &one_pem, without_key, "ignature"),
    ] {
        let stub = Stub::https(&identity);
        let (outcome, detail) = attempt(&stub, pem);
        assert_eq!((outcome.as_str(), stub.count()), ("retry", 0), "{what}: {detail}");
        assert!(detail.contains(word), "{what}: {detail}");
    }
}
