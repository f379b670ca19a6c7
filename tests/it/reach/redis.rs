//! `kind = "redis"` with a real redis-server.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use super::engines::{self, Cut, redis, redis_cli, redis_over_tls, redis_with, redis_with_waitaof};
use super::{BODY, to_redis};
use crate::actions::{deliver_and_wait, done, job, only_attempt, wait_for_attempts, wait_for_state};
use crate::support::{Request, is_installed, issue};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn length(server: &engines::Server) -> String {
    redis_cli(server, &["XLEN", "hooks:github"])
}

#[test]
fn an_event_is_added_with_its_exact_body_and_what_is_known_about_it() {
    let Some(server) = redis() else { return };
    let hookbox = to_redis(&server.url("redis"), "").start();
    assert_eq!(hookbox.send(&Request::github("Push Hook", "d-1", BODY).header("traceparent", TRACE)).status, 200);
    hookbox.wait_until_done();
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert!(outcome == "success" && detail.starts_with("added to hooks:github as "), "{detail}");
    let entry = redis_cli(&server, &["--json", "XRANGE", "hooks:github", "-", "+"]);
    let entry: serde_json::Value = serde_json::from_str(&entry).unwrap();
    let fields = entry[0][1].as_array().unwrap();
    let received_at = hookbox.query::<String>("SELECT received_at FROM webhook_events").remove(0);
    let preview = done(&hookbox, "check --event 1");
    for (name, value) in [
        ("event_id", "1"),
        ("source", "github"),
        ("type", "Push Hook"),
        ("delivery_id", "d-1"),
        ("received", &received_at),
        ("content_type", "application/json"),
        ("traceparent", TRACE),
        ("body", BODY),
    ] {
        let found = fields.as_chunks::<2>().0.iter().find(|pair| pair[0] == name).map(|pair| &pair[1]);
        assert_eq!(found.and_then(|value| value.as_str()), Some(value), "{name}: {entry}");
        let shown = if name == "body" { "{\"a\": 1".to_owned() } else { format!("{name}: {value}\n") };
        assert!(preview.contains(&shown), "{shown}: {preview}");
    }
    assert!(preview.contains("add to hooks:github at redis://127.0.0.1"), "{preview}");
}

/// A consumer that others wrote: prints what it gets as a member of a group.
const CONSUMER: &str = "
import redis, sys
server = redis.Redis.from_url(sys.argv[1])
server.xgroup_create('hooks:github', 'group', id='0')
for stream, entries in server.xreadgroup('group', 'me', {'hooks:github': '>'}, count=10):
    for id, fields in entries:
        print(fields[b'delivery_id'].decode(), fields[b'type'].decode(), fields[b'body'])
        server.xack('hooks:github', 'group', id)
";

#[test]
fn a_consumer_that_others_wrote_reads_it() {
    let Some(server) = redis() else { return };
    if !is_installed("python3", &["-c", "import redis"]) {
        return;
    }
    let hookbox = to_redis(&server.url("redis"), "").start();
    deliver_and_wait(&hookbox, "push", "d-1", "{\"a\":1}");
    let output = Command::new("python3").args(["-c", CONSUMER, &server.url("redis")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "d-1 push b'{\"a\":1}'\n", "{output:?}");
}

#[test]
fn an_entry_that_failed_is_not_taken_for_added() {
    let Some(server) = redis() else { return };
    redis_cli(&server, &["SET", "hooks:github", "a string"]);
    let hookbox = to_redis(&server.url("redis"), "attempts = 1000").start();
    hookbox.deliver("push", "d-1", BODY);
    let attempts = wait_for_attempts(&hookbox, 1, "it", 2);
    assert!(attempts[1]["detail"].as_str().unwrap().contains("hooks:github is not a stream"), "{attempts:?}");
    redis_cli(&server, &["RENAME", "hooks:github", "other"]);
    wait_for_state(&hookbox, 1, "it", "succeeded");
    assert_eq!(length(&server), "1");
}

#[test]
fn a_lost_confirmation_doubles_nothing_and_the_attempt_says_duplicate() {
    let Some(server) = redis() else { return };
    let cut = Cut::to(server.port, "*2\r\n$1", 1);
    let hookbox = to_redis(&format!("redis://127.0.0.1:{}", cut.port), "").start();
    deliver_and_wait(&hookbox, "push", "d-1", BODY);
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert!(outcome == "success" && detail.starts_with("duplicate: hooks:github has it already, as "), "{detail}");
    assert_eq!((length(&server).as_str(), cut.connections()), ("1", 2));
    // Another receiver with the same configuration.
    let other = to_redis(&server.url("redis"), "").start();
    deliver_and_wait(&other, "push", "d-1", BODY);
    assert!(only_attempt(&other, 1).1.starts_with("duplicate: "));
    deliver_and_wait(&other, "push", "d-2", BODY);
    assert_eq!(length(&server), "2");
}

#[test]
fn an_added_entry_is_recognised_as_long_as_configured() {
    let Some(server) = redis() else { return };
    let hookbox = to_redis(&server.url("redis"), "dedup = \"10m\"").start();
    deliver_and_wait(&hookbox, "push", "d-1", BODY);
    let key = redis_cli(&server, &["KEYS", "*seen*"]);
    let left_s: u32 = redis_cli(&server, &["TTL", &key]).parse().unwrap();
    assert!((500..=600).contains(&left_s) && key.starts_with("{hooks:github}:seen:"), "{key}: {left_s}");
}

#[test]
fn the_stream_is_trimmed_and_the_database_chosen() {
    let Some(server) = redis() else { return };
    let hookbox = to_redis(&format!("{}/3", server.url("redis")), "max_length = 10").start();
    for number in 1..=250 {
        hookbox.deliver("push", &format!("d-{number}"), "{}");
    }
    hookbox.wait_until_done();
    let length: u32 = redis_cli(&server, &["-n", "3", "XLEN", "hooks:github"]).parse().unwrap();
    assert!((10..=110).contains(&length), "{length}"); // a node of the stream has 100 entries
}

#[test]
fn a_password_with_or_without_a_user_logs_in_and_is_shown_nowhere() {
    let Some(server) = redis_with("--requirepass s3cret") else { return };
    let rules = ["ACL", "SETUSER", "me", "on", ">p4ss", "~*", "+@all"];
    redis_cli(&server, &[&["-a", "s3cret"], &rules[..]].concat());
    let with = |login: &str| server.url("redis").replace("//", &format!("//{login}"));
    for (url, keys, expected) in [
        (with(""), "password = \"env:REDIS_PASSWORD\"", "added to hooks"),
        (with(""), "user = \"me\"\npassword = \"p4ss\"", "duplicate: hooks"),
        (with("me:p4ss@"), "", "duplicate: hooks"),
        (with(":s3cret@"), "", "duplicate: hooks"),
        (with(""), "", "NOAUTH"),
        (with(""), "password = \"wr0ng\"", "WRONGPASS"),
        (with("me:wr0ng@"), "", "check user and password"),
    ] {
        let hookbox = to_redis(&url, &format!("attempts = 1\n{keys}")).env("REDIS_PASSWORD", "s3cret").start();
        deliver_and_wait(&hookbox, "push", "d-1", BODY);
        let (_, detail) = only_attempt(&hookbox, 1);
        assert!(detail.contains(expected), "{url} {keys}: {detail}");
        let told = hookbox.stderr() + &detail + &done(&hookbox, "check --event 1") + &done(&hookbox, "check");
        assert!(!["s3cret", "p4ss", "wr0ng"].iter().any(|secret| told.contains(secret)), "{told}");
    }
}

#[test]
fn a_server_over_tls_must_have_the_right_name() {
    for (name, outcome, expected) in
        [("localhost", "success", "added to"), ("elsewhere.example.org", "retry", "not valid for name")]
    {
        let issued = issue(name);
        let Some(server) = redis_over_tls(&issued) else { return };
        let url = format!("rediss://localhost:{}", server.port);
        let home = to_redis(&url, "attempts = 1\nca_file = \"root.pem\"");
        home.write("root.pem", issued.root.pem());
        let hookbox = home.start();
        deliver_and_wait(&hookbox, "push", "d-1", BODY);
        let attempt = only_attempt(&hookbox, 1);
        assert!(attempt.0 == outcome && attempt.1.contains(expected), "{name}: {attempt:?}");
    }
}

#[test]
fn a_body_over_the_servers_limit_is_dead_at_once_with_both_numbers() {
    let Some(server) = redis_with("--proto-max-bulk-len 1500000") else { return };
    let hookbox = to_redis(&server.url("redis"), "").start();
    deliver_and_wait(&hookbox, "push", "d-1", format!("\"{}\"", "x".repeat(2_000_000)));
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert!(outcome == "give_up" && detail.contains("2000002") && detail.contains("1500000"), "{detail}");
    deliver_and_wait(&hookbox, "push", "d-2", format!("\"{}\"", "x".repeat(1_400_000)));
    assert_eq!(only_attempt(&hookbox, 2).0, "success");
}

/// Answers one script with an entry, and what comes then with this.
fn answering_waitaof(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut block = [0; 16 << 10];
            while let Ok(bytes @ 1..) = client.read(&mut block) {
                let command = String::from_utf8_lossy(&block[..bytes]).into_owned();
                let answer = match () {
                    () if command.contains("PING") => "+PONG\r\n",
                    () if command.contains("EVAL") => "*2\r\n$3\r\n1-0\r\n:0\r\n",
                    () => answer,
                };
                let _ = client.write_all(answer.as_bytes());
            }
        }
    });
    port
}

#[test]
fn success_waits_for_the_servers_disk_where_it_can() {
    for (answer, outcome, expected) in [
        ("*2\r\n:1\r\n:0\r\n", "success", "added to hooks:github as 1-0"),
        ("*2\r\n:0\r\n:0\r\n", "retry", "not on the server's disk yet"),
        (
            "-ERR unknown command 'WAITAOF', with args beginning with: '1'\r\n",
            "success",
            "added to hooks:github as 1-0",
        ),
        (
            "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n",
            "success",
            "added to hooks:github as 1-0; in memory only: appendonly is off",
        ),
        ("-LOADING later\r\n", "retry", "LOADING"),
    ] {
        let url = format!("redis://127.0.0.1:{}", answering_waitaof(answer));
        let hookbox = to_redis(&url, "attempts = 1").start();
        deliver_and_wait(&hookbox, "push", "d-1", BODY);
        let attempt = only_attempt(&hookbox, 1);
        assert!(attempt.0 == outcome && attempt.1.contains(expected), "{answer}: {attempt:?}");
        assert!(attempt.0 != "success" || attempt.1 == expected, "{attempt:?}");
    }
}

#[test]
fn success_waits_for_the_disk_of_a_real_server() {
    for server in redis_with_waitaof() {
        let hookbox = to_redis(&server.url("redis"), "timeout = \"3s\"\nattempts = 1").start();
        deliver_and_wait(&hookbox, "push", "d-1", BODY);
        let (outcome, detail) = only_attempt(&hookbox, 1);
        assert!(outcome == "success" && detail.starts_with("added to hooks:github as "), "{detail}");
        let stats = redis_cli(&server, &["INFO", "commandstats"]);
        assert!(stats.contains("cmdstat_waitaof:calls=1,") && !detail.contains("memory"), "{detail} {stats}");
        redis_cli(&server, &["CONFIG", "SET", "appendfsync", "no"]);
        redis_cli(&server, &["CONFIG", "SET", "appendonly", "no"]);
        deliver_and_wait(&hookbox, "push", "d-2", BODY);
        assert!(only_attempt(&hookbox, 2).1.ends_with("; in memory only: appendonly is off"), "{stats}");
        assert_eq!(length(&server), "2");
    }
}

#[test]
fn a_server_that_was_restarted_keeps_what_it_confirmed_and_gets_the_rest() {
    let Some(mut server) = redis() else { return };
    let hookbox = to_redis(&server.url("redis"), "attempts = 1000").start();
    deliver_and_wait(&hookbox, "push", "d-1", BODY);
    server.kill();
    hookbox.deliver("push", "d-2", BODY);
    wait_for_attempts(&hookbox, 2, "it", 1);
    server.restart();
    wait_for_state(&hookbox, 2, "it", "succeeded");
    assert_eq!((length(&server).as_str(), job(&hookbox, 1, "it")["state"].as_str()), ("2", Some("succeeded")));
}
