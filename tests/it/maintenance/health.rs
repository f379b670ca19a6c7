//! `hookbox health`: exit 0 while deliveries are taken, else 1 and why.

use std::net::TcpListener;

use crate::support::{Disk, Home, Hookbox, Request, SOURCE, Signal};

/// The config by itself says where to ask.
fn configured(hookbox: &Hookbox) {
    hookbox.write("hookbox.toml", format!("listen = \"{}\"\n{SOURCE}", hookbox.url("").trim_start_matches("http://")));
}

#[test]
fn health_asks_where_the_config_listens_and_needs_no_secret() {
    let hookbox = Home::with_config(SOURCE).start();
    configured(&hookbox);
    let listen = hookbox.url("").trim_start_matches("http://").to_owned();
    let output = hookbox.run(["health"]);
    assert_eq!(output.code, Some(0), "{output}");
    assert_eq!(output.stdout, format!("ok: hookbox takes deliveries at {listen}\n").as_bytes());
    assert_eq!(output.stderr, "");

    let (home, _) = hookbox.stop();
    let output = home.without_secret().run(["health"]);
    assert_eq!((output.code, output.stdout.len()), (Some(1), 0), "{output}");
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
    assert!(output.stderr.contains(&format!("no answer at {listen}: ")), "{output}");
}

#[test]
fn health_asks_a_unix_socket_and_a_listener_of_all_addresses() {
    let home = Home::with_config(SOURCE);
    let socket = format!("unix:{}", home.path("http.sock").display());
    let hookbox = home.listen(&socket).start();
    let output = hookbox.run(["health", "--listen", &socket]);
    assert_eq!(output.code, Some(0), "{output}");

    let hookbox = Home::with_config(SOURCE).listen("0.0.0.0:0").start();
    let port = hookbox.address().tcp().port();
    let output = hookbox.run(["health", "--listen", &format!("0.0.0.0:{port}")]);
    assert_eq!(output.code, Some(0), "{output}");
}

#[test]
fn health_fails_with_the_reason_while_the_disk_is_full() {
    let Some(disk) = Disk::tmpfs(16 << 20) else { return };
    let config = format!("disk_reserve = \"1MiB\"\n{SOURCE}");
    let hookbox = Home::with_config(&config).database(&disk.path("webhooks.db")).start();
    configured(&hookbox);
    disk.fill("filler", 0);
    assert_eq!(hookbox.send(&Request::github("push", "d-1", "{}")).status, 503);
    let output = hookbox.run(["health"]);
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("refuses deliveries at") && output.stderr.contains("reserve"), "{output}");
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
}

#[test]
fn health_of_a_program_that_hangs_fails_within_its_time() {
    let hookbox = Home::with_config(SOURCE).start();
    configured(&hookbox);
    hookbox.signal(Signal::STOP);
    let output = hookbox.run(["health"]);
    hookbox.signal(Signal::CONT);
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("within 5 s"), "{output}");
}

#[test]
fn another_program_is_not_healthy() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = other.local_addr().unwrap().to_string();
    let answer = std::thread::spawn(move || drop(other.accept()));
    let output = Home::with_config(SOURCE).run(["health", "--listen", &listen]);
    answer.join().unwrap();
    assert_eq!(output.code, Some(1), "{output}");
    assert!(output.stderr.contains("another program than hookbox"), "{output}");
}
