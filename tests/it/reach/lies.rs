//! Servers that are none, or lie: a clear error, bounded memory, a retry.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{BODY, to_nats, to_redis};
use crate::actions::{deliver_and_wait, job, only_attempt};
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

/// A NATS server that answers the requests with these texts in turn, from then on with the last. `REPLY` is where the answer
/// belongs, and `CLOSE` ends the connection.
fn answering_nats(answers: &'static [&'static str]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let asked = Arc::clone(&asked);
            std::thread::spawn(move || answer_nats(client, answers, &asked));
        }
    });
    port
}

fn answer_nats(mut client: TcpStream, answers: &[&str], asked: &AtomicUsize) {
    let _ = client.write_all(INFO.as_bytes());
    let mut lines = BufReader::new(client.try_clone().unwrap());
    let mut line = Vec::new();
    while let Ok(1..) = lines.read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        if !matches!(words.first(), Some(&("PUB" | "HPUB"))) {
            continue;
        }
        let at = asked.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let answer = answers[at].replace("REPLY", words[2]);
        let _ = client.write_all(answer.replace("CLOSE", "").as_bytes());
        if answer.ends_with("CLOSE") {
            return;
        }
    }
}

const STORED: &str = "MSG REPLY 1 26\r\n{\"stream\":\"hooks\",\"seq\":1}\r\n";

#[test]
fn what_nats_says_beside_an_answer_is_understood() {
    let of_another = "MSG _INBOX.other.1 1 2\r\n{}\r\n";
    assert_eq!(STORED.len() - "MSG REPLY 1 26\r\n\r\n".len(), 26);
    for (answers, outcome, expected) in [
        (&["INFO {\"headers\":true,\"ldm\":true}\r\n", STORED] as &[_], "success", "stored in hooks as 1"),
        (&["-ERR 'Maximum Payload Violation'\r\nCLOSE"], "retry", "Maximum Payload Violation"),
        (&["-ERR 'Stale Connection'\r\nCLOSE", STORED], "success", "stored in hooks as 1"),
        (&["CLOSE", STORED], "success", "stored in hooks as 1"),
        (
            &["-ERR 'Permissions Violation for Subscription to \"_INBOX.a.*\"'\r\n"],
            "retry",
            "allowed to publish the subject, and to subscribe to _INBOX.>",
        ),
        (&["HMSG REPLY 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"], "retry", "it is off (nats-server -js turns it on)"),
        (
            &[
                "MSG REPLY 1 73\r\n{\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"maximum messages!\"}}\r\n",
            ],
            "retry",
            "JetStream refuses: maximum messages! (10077)",
        ),
        (&["MSG REPLY 1 26\r\n{\"stream\":\"hooks\",\"seq\":0}\r\n"], "retry", "not that of a stream"),
    ] {
        // A lone INFO is no answer: the rest of it comes at once.
        let answers: &'static [&'static str] = match answers {
            [info, rest] if info.starts_with("INFO") => vec![&*format!("{of_another}{info}{rest}").leak()].leak(),
            answers => answers.to_vec().leak(),
        };
        let url = format!("nats://127.0.0.1:{}", answering_nats(answers));
        let hookbox = to_nats(&url, KEYS).start();
        deliver_and_wait(&hookbox, "push", "d-1", BODY);
        let (found, detail) = only_attempt(&hookbox, 1);
        assert!(found == outcome && detail.contains(expected), "{answers:?}: {found}: {detail}");
    }
}

/// A Redis server that answers its first commands with this, and later ones as if all was well.
fn refusing_redis(answer: &'static str, refused: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut left = refused;
        for mut client in listener.incoming().flatten() {
            let mut block = [0; 16 << 10];
            let mut has_refused = false;
            while let Ok(bytes @ 1..) = client.read(&mut block) {
                let command = String::from_utf8_lossy(&block[..bytes]).into_owned();
                // A replica stays one as long as the connection is there.
                has_refused |= command.contains("EVAL") && left > 0;
                let answer = match () {
                    () if command.contains("PING") => "+PONG\r\n".to_owned(),
                    () if has_refused => format!("{answer}\r\n"),
                    () if command.contains("EVAL") => "*2\r\n$3\r\n1-0\r\n:0\r\n".to_owned(),
                    () => "*2\r\n:1\r\n:0\r\n".to_owned(),
                };
                left -= usize::from(has_refused && left > 0);
                let _ = client.write_all(answer.as_bytes());
            }
        }
    });
    port
}

#[test]
fn each_refusal_of_redis_is_retried_and_says_what_to_do() {
    for (answer, expected) in [
        ("-LOADING Redis is loading the dataset in memory", "LOADING Redis is loading"),
        ("-READONLY You can't write against a read only replica.", "write the address of its master"),
        ("-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "its master"),
        ("-OOM command not allowed when used memory > 'maxmemory'.", "raise maxmemory, or set max_length"),
        (
            "-ERR Error running script (call to f_1): @user_script:3: @user_script: 3: -OOM command not allowed",
            "raise maxmemory",
        ),
        ("-NOSCRIPT No matching script.", "the server refuses: NOSCRIPT No matching script."),
        ("-MOVED 3999 127.0.0.1:6381", "write that one's address"),
        ("-CLUSTERDOWN Hash slot not served", "no server for the stream at the moment"),
        ("-NOAUTH Authentication required.", "check user and password"),
        ("-NOPERM this user has no permissions to run the 'eval' command", "needs the commands EVAL"),
        ("-MISCONF Redis is configured to save RDB snapshots, but", "cannot write to its disk"),
        ("-WRONGTYPE Operation against a key holding the wrong kind of value", "is not a stream; rename it"),
    ] {
        let url = format!("redis://127.0.0.1:{}", refusing_redis(answer, usize::MAX));
        let hookbox = to_redis(&url, "attempts = 1").start();
        deliver_and_wait(&hookbox, "push", "d-1", BODY);
        let (outcome, detail) = only_attempt(&hookbox, 1);
        assert!(outcome == "retry" && detail.contains(expected), "{answer}: {outcome}: {detail}");
    }
}

#[test]
fn a_retry_after_a_refusal_has_a_new_connection() {
    let url =
        format!("redis://127.0.0.1:{}", refusing_redis("-READONLY You can't write against a read only replica.", 1));
    let hookbox = to_redis(&url, "attempts = 3").start();
    deliver_and_wait(&hookbox, "push", "d-1", BODY);
    let attempts = job(&hookbox, 1, "it")["attempts"].clone();
    assert_eq!(attempts.as_array().map(Vec::len), Some(2), "{attempts}");
}
