//! `kind = "nats"` with a real nats-server.

use std::time::Duration;

use serde_json::json;

use super::engines::{self, Cut, count, make_stream, message, nats, nats_over_tls, nats_with};
use super::{BODY, to_nats};
use crate::actions::{config, deliver_and_wait, done, job, only_attempt, wait_for_state};
use crate::support::{Home, Request, closed_port, is_installed, issue, wait_for, wait_longer_for};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A consumer that others wrote: prints subject, id, and body of every message.
const CONSUMER: &str = "
import asyncio, nats, sys
async def main():
    connection = await nats.connect(sys.argv[1])
    subscription = await connection.jetstream().pull_subscribe('hooks.>', 'test')
    for message in await subscription.fetch(int(sys.argv[2]), timeout=5):
        print(message.subject, message.headers['Nats-Msg-Id'], message.headers['ce-id'], message.data)
        await message.ack()
    await connection.close()
asyncio.run(main())
";

#[test]
fn an_event_is_stored_with_its_exact_body_and_what_is_known_about_it() {
    let Some(server) = nats() else { return };
    make_stream(&server, json!({}));
    let hookbox = to_nats(&server.url("nats"), "").start();
    let request = Request::github("push", "d-1", BODY).header("traceparent", TRACE);
    assert_eq!(hookbox.send(&request).status, 200);
    hookbox.wait_until_done();
    assert_eq!(only_attempt(&hookbox, 1), ("success".to_owned(), "stored in hooks as 1".to_owned()));
    let stored = message(&server, 1);
    assert_eq!((stored.subject.as_str(), stored.body.as_slice()), ("hooks.github.push", BODY.as_bytes()));
    let received_at = &hookbox.query::<String>("SELECT received_at FROM webhook_events")[0];
    let time = format!("ce-time: {received_at}");
    let fields = ["ce-specversion: 1.0", "ce-id: d-1", "ce-source: github", "ce-type: push", &time];
    let trace = format!("traceparent: {TRACE}");
    let preview = done(&hookbox, "check --event 1");
    for field in fields.iter().chain(&["Hookbox-Event-Id: 1", "content-type: application/json", trace.as_str()]) {
        assert!(stored.headers.contains(&format!("\r\n{field}\r\n")), "{field}: {}", stored.headers);
        assert!(preview.contains(field), "{field}: {preview}");
    }
    assert!(preview.contains("publish hooks.github.push to nats://127.0.0.1"), "{preview}");
}

#[test]
fn a_consumer_that_others_wrote_reads_it() {
    let Some(server) = nats() else { return };
    if !is_installed("python3", &["-c", "import nats"]) {
        return;
    }
    make_stream(&server, json!({}));
    let hookbox = to_nats(&server.url("nats"), "dedup = \"subject\"").start();
    deliver_and_wait(&hookbox, "push", "d-1", "{\"a\":1}");
    deliver_and_wait(&hookbox, "Push Hook", "d-2", "{}");
    let command = ["-c", CONSUMER, &server.url("nats"), "2"];
    let output = std::process::Command::new("python3").args(command).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<Vec<&str>> = printed.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines.len(), 2, "{printed} {}", String::from_utf8_lossy(&output.stderr));
    let ends = [("hooks.github.push", "d-1", "b'{\"a\":1}'"), ("hooks.github.Push_Hook", "d-2", "b'{}'")];
    for (line, (subject, id, body)) in lines.iter().zip(ends) {
        assert_eq!(*line, [&format!("{subject}.{}", line[1]), line[1], id, body]);
    }
}

#[test]
fn a_lost_confirmation_doubles_nothing_and_the_attempt_says_duplicate() {
    for dedup in ["window", "subject"] {
        let Some(server) = nats() else { return };
        make_stream(&server, json!({}));
        let cut = Cut::to(server.port, "\"stream\":\"hooks\"", 1);
        let hookbox = to_nats(&format!("nats://127.0.0.1:{}", cut.port), &format!("dedup = \"{dedup}\"")).start();
        deliver_and_wait(&hookbox, "push", "d-1", BODY);
        let (outcome, detail) = only_attempt(&hookbox, 1);
        assert!(outcome == "success" && detail.starts_with("duplicate: "), "{dedup}: {detail}");
        assert_eq!((count(&server), cut.connections()), (1, 2));
    }
}

#[test]
fn a_retry_after_the_window_doubles_nothing_with_one_subject_a_delivery() {
    let Some(server) = nats() else { return };
    make_stream(&server, json!({ "duplicate_window": 100_000_000 }));
    // Each attempt has two tries, and the third answer that is lost makes a retry of it.
    let cut = Cut::to(server.port, "wrong last sequence", 1);
    let lossy = Cut::to(cut.port, "\"stream\":\"hooks\"", 1);
    let keys = "dedup = \"subject\"\nbackoff = \"300ms\"\nbackoff_max = \"300ms\"\ntimeout = \"400ms\"";
    let keys = format!("{keys}\nurl = \"nats://127.0.0.1:{}\"\nsubject = \"hooks.all\"", lossy.port);
    let config = config(&format!("[actions.it]\nkind = \"nats\"\non = [\"*\"]\n{keys}"));
    let hookbox = Home::with_config(&config).start();
    deliver_and_wait(&hookbox, "push", "d-1", BODY);
    let job = wait_for_state(&hookbox, 1, "it", "succeeded");
    let last = job["attempts"].as_array().unwrap().last().unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(last.contains("duplicate: ") && last.contains("wrong last sequence"), "{job}");
    assert_eq!(count(&server), 1);
}

#[test]
fn two_receivers_that_get_the_same_delivery_store_it_once() {
    for dedup in ["window", "subject"] {
        let Some(server) = nats() else { return };
        make_stream(&server, json!({}));
        let receivers = [(); 2].map(|()| to_nats(&server.url("nats"), &format!("dedup = \"{dedup}\"")).start());
        // Their own numbers of the event differ.
        deliver_and_wait(&receivers[0], "push", "d-0", BODY);
        receivers.iter().for_each(|receiver| deliver_and_wait(receiver, "push", "d-1", BODY));
        assert_eq!(count(&server), 2);
        assert!(only_attempt(&receivers[1], 1).1.starts_with("duplicate: "));
    }
}

#[test]
fn what_is_rendered_cannot_break_a_line_or_command_the_server() {
    let Some(server) = nats() else { return };
    make_stream(&server, json!({ "subjects": ["hooks.>", "_JS.>", "__INBOX.>"] }));
    let keys = "subject = \"{{ payload.subject }}\"";
    let config =
        config(&format!("[actions.it]\nkind = \"nats\"\non = [\"*\"]\nurl = \"{}\"\n{keys}", server.url("nats")));
    let hookbox = Home::with_config(&config).start();
    let rendered = [
        ("hooks.Push Hook", "hooks.Push_Hook"),
        ("hooks.\r\nPUB hooks.x 0\r\n\r\n", "hooks.__PUB_hooks.x_0____"),
        ("hooks.*.>", "hooks._._"),
        ("hooks..a.", "hooks._.a._"),
        ("$JS.API.STREAM.DELETE.hooks", "_JS.API.STREAM.DELETE.hooks"),
        ("hooks.a\u{0}b\u{7f}\u{f6}", "hooks.a_b_\u{f6}"),
        ("_INBOX.a.1", "__INBOX.a.1"),
    ];
    for ((rendered, subject), number) in rendered.into_iter().zip(1..) {
        let payload = json!({ "subject": rendered }).to_string();
        deliver_and_wait(&hookbox, "push", &format!("d-{number}"), &payload);
        assert_eq!(message(&server, number).subject, subject, "{rendered:?}");
    }
    assert_eq!(count(&server), 7);
    deliver_and_wait(&hookbox, "push", "long", json!({ "subject": "x".repeat(64 << 10) }).to_string());
    let (outcome, detail) = only_attempt(&hookbox, 8);
    assert!(outcome == "give_up" && detail.contains("65536 bytes, and at most 1024 fit"), "{detail}");
}

#[test]
fn a_payload_over_the_servers_limit_is_dead_at_once_with_both_numbers() {
    let large = format!("\"{}\"", "x".repeat(3 << 20));
    let Some(server) = nats() else { return };
    make_stream(&server, json!({ "max_msg_size": 2000 }));
    let hookbox = to_nats(&server.url("nats"), "").start();
    deliver_and_wait(&hookbox, "push", "d-1", &large);
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert!(outcome == "give_up" && detail.contains("at most 1048576") && detail.contains(" has 314"), "{detail}");
    deliver_and_wait(&hookbox, "push", "d-2", format!("\"{}\"", "x".repeat(5000)));
    let (outcome, detail) = only_attempt(&hookbox, 2);
    assert!(outcome == "give_up" && detail.contains(" has 5") && detail.contains("at most 2000"), "{detail}");
    deliver_and_wait(&hookbox, "push", "d-3", "{}");
    assert_eq!(only_attempt(&hookbox, 3).0, "success");
    // The body alone would fit.
    deliver_and_wait(&hookbox, "push", "d-4", format!("\"{}\"", "x".repeat((1 << 20) - 50)));
    let (outcome, detail) = only_attempt(&hookbox, 4);
    assert!(outcome == "give_up" && detail.contains(" has 1048") && detail.contains("at most 1048576"), "{detail}");
}

#[test]
fn without_a_stream_the_error_has_the_command_that_makes_it() {
    let Some(mut server) = nats() else { return };
    let hookbox = to_nats(&server.url("nats"), "attempts = 1").start();
    deliver_and_wait(&hookbox, "push", "d-1", BODY);
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert!(outcome == "retry" && detail.contains("nats stream add hooks --subjects 'hooks.>'"), "{detail}");
    make_stream(&server, json!({}));
    done(&hookbox, "replay 1");
    wait_for_state(&hookbox, 1, "it", "succeeded");
    server.kill();
    let Some(without) = nats_with("--user me --pass s3cret") else { return };
    let keys = "user = \"me\"\npassword = \"s3cret\"\nattempts = 1\ntimeout = \"1s\"";
    let hookbox = to_nats(&without.url("nats"), keys).start();
    deliver_and_wait(&hookbox, "push", "d-1", BODY);
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert!(outcome == "retry" && detail.contains("nats-server -js"), "{detail}");
}

#[test]
fn user_and_password_or_a_token_log_in_and_are_shown_nowhere() {
    let Some(by_password) = nats_with("-js --user me --pass s3cret") else { return };
    make_stream(&by_password, json!({}));
    let Some(by_token) = nats_with("-js --auth t0ken") else { return };
    let with = |server: &engines::Server, login: &str| server.url("nats").replace("//", &format!("//{login}"));
    for (url, keys, expected) in [
        (by_password.url("nats"), "user = \"me\"\npassword = \"env:NATS_PASSWORD\"", "stored in hooks"),
        (with(&by_password, "me:s3cret@"), "", "duplicate: hooks"),
        (by_password.url("nats"), "user = \"me\"\npassword = \"wr0ng\"", "Authorization Violation"),
        (by_password.url("nats"), "", "check user, password and token"),
        (by_token.url("nats"), "token = \"t0ken\"", "no stream takes"),
        (with(&by_token, "t0ken@"), "", "no stream takes"),
        (by_token.url("nats"), "token = \"wr0ng\"", "Authorization Violation"),
    ] {
        let hookbox = to_nats(&url, &format!("attempts = 1\n{keys}")).env("NATS_PASSWORD", "s3cret").start();
        deliver_and_wait(&hookbox, "push", "d-1", BODY);
        let (_, detail) = only_attempt(&hookbox, 1);
        assert!(detail.contains(expected), "{keys}: {detail}");
        let told = hookbox.stderr() + &detail + &done(&hookbox, "check --event 1") + &done(&hookbox, "check");
        assert!(!["s3cret", "t0ken", "wr0ng"].iter().any(|secret| told.contains(secret)), "{told}");
    }
}

#[test]
fn a_server_over_tls_must_have_the_right_name() {
    for (name, expected) in [("localhost", "no stream takes"), ("elsewhere.example.org", "not valid for name")] {
        let issued = issue(name);
        let Some(server) = nats_over_tls(&issued) else { return };
        // Over nats:// too, because the server demands it.
        for scheme in ["tls", "nats"] {
            let url = format!("{scheme}://localhost:{}", server.port);
            let home = to_nats(&url, "attempts = 1\nca_file = \"root.pem\"");
            home.write("root.pem", issued.root.pem());
            let hookbox = home.start();
            deliver_and_wait(&hookbox, "push", "d-1", BODY);
            let (outcome, detail) = only_attempt(&hookbox, 1);
            assert!(outcome == "retry" && detail.contains(expected), "{scheme} {name}: {detail}");
        }
    }
    let Some(plain) = nats() else { return };
    let hookbox = to_nats(&plain.url("tls"), "attempts = 1").start();
    deliver_and_wait(&hookbox, "push", "d-1", BODY);
    assert!(only_attempt(&hookbox, 1).1.contains("it has no TLS"));
}

#[test]
fn several_servers_are_tried_in_turn() {
    let Some(server) = nats() else { return };
    make_stream(&server, json!({}));
    let urls = format!("nats://127.0.0.1:{},{}", closed_port(), server.url("nats"));
    for urls in [urls.clone(), urls.replace(',', "\", \"")] {
        let url = if urls.contains('"') { format!("[\"{urls}\"]") } else { format!("\"{urls}\"") };
        let keys = format!("url = {url}\nsubject = \"hooks.a\"\nattempts = 1");
        let config = config(&format!("[actions.it]\nkind = \"nats\"\non = [\"*\"]\n{keys}"));
        let hookbox = Home::with_config(&config).start();
        deliver_and_wait(&hookbox, "push", "d-1", BODY);
        assert_eq!(only_attempt(&hookbox, 1).0, "success");
    }
    let none = format!("nats://127.0.0.1:{}", closed_port());
    let hookbox = to_nats(&none, "attempts = 1").start();
    deliver_and_wait(&hookbox, "push", "d-1", BODY);
    let (outcome, detail) = only_attempt(&hookbox, 1);
    assert!(outcome == "retry" && detail.contains(&none) && detail.contains("refused"), "{detail}");
}

#[test]
fn a_connection_is_kept_while_jobs_come_and_closed_after_ten_seconds_without_one() {
    let Some(server) = nats() else { return };
    make_stream(&server, json!({}));
    let cut = Cut::to(server.port, "no such word", 0);
    let hookbox = to_nats(&format!("nats://127.0.0.1:{}", cut.port), "").start();
    let before = hookbox.sockets();
    for number in 1..=20 {
        hookbox.deliver("push", &format!("d-{number}"), BODY);
    }
    hookbox.wait_until_done();
    assert_eq!((count(&server), cut.connections()), (20, 1));
    wait_for("the kept connection", || (hookbox.sockets() > before).then_some(()));
    wait_longer_for("its end", Duration::from_secs(100), || (hookbox.sockets() == before).then_some(()));
    deliver_and_wait(&hookbox, "push", "d-21", BODY);
    assert_eq!((count(&server), cut.connections()), (21, 2));
}

#[test]
fn a_server_that_was_restarted_is_connected_to_again() {
    let Some(mut server) = nats() else { return };
    make_stream(&server, json!({}));
    let hookbox = to_nats(&server.url("nats"), "attempts = 100").start();
    deliver_and_wait(&hookbox, "push", "d-1", BODY);
    server.kill();
    hookbox.deliver("push", "d-2", BODY);
    wait_for("a failed attempt", || {
        let attempts = job(&hookbox, 2, "it")["attempts"].clone();
        attempts.as_array().is_some_and(|attempts| !attempts.is_empty()).then_some(())
    });
    server.restart();
    wait_for_state(&hookbox, 2, "it", "succeeded");
    assert_eq!(count(&server), 2);
}

#[test]
fn only_a_replay_of_what_succeeded_has_a_new_id() {
    let Some(server) = nats() else { return };
    make_stream(&server, json!({}));
    let hookbox = to_nats(&server.url("nats"), "").start();
    deliver_and_wait(&hookbox, "push", "d-1", BODY);
    // As after an outcome that was lost.
    hookbox.db().execute_batch("UPDATE jobs SET state = 'dead'; UPDATE webhook_events SET status = 'error'").unwrap();
    done(&hookbox, "replay 1");
    hookbox.wait_until_done();
    assert_eq!(count(&server), 1);
    done(&hookbox, "replay 1 --again");
    hookbox.wait_until_done();
    assert_eq!(count(&server), 2);
}
