//! What `check` says about the time that an engine remembers, and what `doctor` finds in the server and beside it.

use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use super::engines::{commands, make_stream, nats, nats_at, nats_with, redis, redis_at, redis_cli, write_identity};
use super::{to_nats, to_redis};
use crate::actions::{action, deliver_and_wait, done, only_attempt};
use crate::support::{Home, closed_port, issue};

/// The default policy's retries last 33 hours.
const PATIENT: &str = "attempts = 10";

/// With the default backoff.
fn patient(home: Home) -> Home {
    let config = std::fs::read_to_string(home.path("hookbox.toml")).unwrap();
    home.write("hookbox.toml", config.replace("backoff = \"100ms\"\nbackoff_max = \"100ms\"\n", ""));
    home
}

/// The line of `doctor` for this check.
#[track_caller]
fn finding(home: &Home, check: &str) -> String {
    let findings = home.run(["doctor", "--json"]).text();
    let findings: Vec<serde_json::Value> = findings.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let all = findings.iter().flat_map(|line| line.as_array().cloned().unwrap_or_else(|| vec![line.clone()]));
    let found = all.filter(|finding| finding["check"] == check).map(|it| format!("{}: {}", it["result"], it["text"]));
    found.collect::<Vec<_>>().join("\n")
}

#[test]
fn check_warns_where_retries_last_longer_than_the_engine_remembers() {
    let url = format!("nats://127.0.0.1:{}", closed_port());
    let printed = done(&patient(to_nats(&url, PATIENT)), "check");
    assert!(printed.contains("WARNING dedup: retries last up to 34h: the stream"), "{printed}");
    assert!(printed.contains("--dupe-window 34h"), "{printed}");
    assert!(!done(&patient(to_nats(&url, "dedup = \"subject\"")), "check").contains("WARNING"));
    let url = url.replace("nats", "redis");
    let printed = done(&patient(to_redis(&url, "dedup = \"10h\"")), "check");
    assert!(printed.contains("recognised for 10h only: write \"34h\""), "{printed}");
    assert!(!done(&patient(to_redis(&url, "")), "check").contains("WARNING"));
}

#[test]
fn doctor_asks_nats_for_the_window_and_the_retention() {
    let Some(server) = nats() else { return };
    let with = |keys: &str| finding(&patient(to_nats(&server.url("nats"), keys)), "engine of it");
    let without = with("");
    assert!(
        without.starts_with("\"fail\": \"no stream takes hooks.github.ping") || without.contains("nats stream add")
    );
    make_stream(&server, json!({}));
    let found = with("");
    assert!(found.contains("recognises a repeat for 2m, and retries last up to 34h"), "{found}");
    assert!(found.contains("nats stream edit hooks --dupe-window 34h"), "{found}");
    let found = with("dedup = \"subject\"");
    assert!(found.starts_with("\"ok\": \"the stream hooks takes them; it is on 1 server"), "{found}");
    let Some(queue) = nats_with("-js") else { return };
    make_stream(&queue, json!({ "retention": "workqueue" }));
    let found = finding(&patient(to_nats(&queue.url("nats"), "dedup = \"subject\"")), "engine of it");
    assert!(found.contains("forgets a message when it is consumed (retention workqueue)"), "{found}");
    let unreachable = format!("nats://127.0.0.1:{}", closed_port());
    let found = finding(&to_nats(&unreachable, ""), "engine of it");
    assert!(found.starts_with("\"fail\"") && found.contains("refused"), "{found}");
}

#[test]
fn doctor_asks_redis_what_a_crash_or_full_memory_loses() {
    let Some(server) = redis() else { return };
    let home = to_redis(&server.url("redis"), "");
    let set = |name: &str, value: &str| redis_cli(&server, &["CONFIG", "SET", name, value]);
    let found = || finding(&home, "engine of it");
    assert!(found().starts_with("\"ok\": \"every entry is on the server's disk"), "{}", found());
    set("appendfsync", "everysec");
    assert!(found().contains("the last second may be lost"), "{}", found());
    set("maxmemory", "100mb");
    set("maxmemory-policy", "allkeys-lru");
    assert!(found().contains("forgets keys, which may be the stream"), "{}", found());
    set("appendonly", "no");
    assert!(found().contains("only in the server's memory"), "{}", found());
}

#[test]
fn doctor_names_actions_that_do_not_belong_on_an_edge() {
    let home = to_redis(&format!("redis://127.0.0.1:{}", closed_port()), "");
    let edge = std::fs::read_to_string(home.path("hookbox.toml")).unwrap();
    assert!(finding(&home, "edge").starts_with("\"ok\": \"all actions pass events on"));
    let behind = action("behind", "http", "url = \"http://127.0.0.1:1/\"\nsign = \"a\"");
    home.write("hookbox.toml", edge.clone() + &behind + &action("print", "log", ""));
    assert!(finding(&home, "edge").starts_with("\"ok\""));
    let shell = action("deploy", "command", "run = [\"true\"]");
    let other = action("tell", "http", "url = \"http://127.0.0.1:1/\"");
    home.write("hookbox.toml", edge + &shell + &other);
    let found = finding(&home, "edge");
    assert!(found.starts_with("\"warn\"") && found.contains("each runs deploy, tell, for its own copy"), "{found}");
    home.write("hookbox.toml", crate::actions::config(&(shell.clone() + &behind)));
    let found = finding(&home, "edge");
    assert!(found.starts_with("\"ok\"") && found.contains("each runs deploy"), "{found}");
    home.write("hookbox.toml", crate::actions::config(&shell));
    assert_eq!(finding(&home, "edge"), "");
}

/// A directory with the certificates that the manual's commands name.
fn identity() -> Arc<TempDir> {
    let dir = Arc::new(TempDir::new().unwrap());
    let [_, _, root] = write_identity(&dir, &issue("localhost"));
    std::fs::copy(root, dir.path().join("ca.pem")).unwrap();
    dir
}

/// The manual's command with what it leaves to the reader.
fn completed(command: &str, dir: &TempDir) -> String {
    let here = |name: &str| dir.path().join(name).display().to_string();
    let named = ["cert.pem", "key.pem", "ca.pem"].into_iter();
    let command = named
        .fold(command.to_owned(), |command, name| command.replace(&format!(" {name}"), &format!(" {}", here(name))));
    ["\"$NATS_PASSWORD\"", "\"$NATS_TOKEN\"", "\"$REDIS_PASSWORD\""]
        .iter()
        .fold(command, |command, name| command.replace(name, "s3cret"))
}

/// What the only attempt says, with this home's server and these keys.
fn attempted(home: Home, dir: &TempDir) -> String {
    home.write("ca.pem", std::fs::read(dir.path().join("root.pem")).unwrap());
    let hookbox = home.start();
    deliver_and_wait(&hookbox, "push", "d-1", "{}");
    only_attempt(&hookbox, 1).1
}

#[test]
fn each_nats_server_in_the_manual_starts_with_its_command_and_takes_its_login() {
    let all = commands("nats-server");
    let single: Vec<&String> = all.iter().filter(|command| !command.contains("--cluster")).collect();
    assert_eq!(single.len(), 4, "{all:?}");
    let logins = ["", "user = \"hookbox\"\npassword = \"s3cret\"", "token = \"s3cret\"", "ca_file = \"ca.pem\""];
    for (command, login) in single.into_iter().zip(logins) {
        let dir = identity();
        let Some(server) = nats_at(closed_port(), Arc::clone(&dir), &completed(command, &dir)) else { return };
        server.wait();
        let scheme = if command.contains("--tls") { "tls" } else { "nats" };
        let url = format!("{scheme}://localhost:{}", server.port);
        let detail = attempted(to_nats(&url, &format!("attempts = 1\n{login}")), &dir);
        assert!(detail.contains("no stream takes the subject"), "{command}: {detail}");
    }
}

#[test]
fn each_redis_server_in_the_manual_starts_with_its_command_and_takes_its_login() {
    let all = commands("redis-server");
    assert_eq!(all.len(), 3, "{all:?}");
    for (command, login) in all.iter().zip(["", "password = \"s3cret\"", "ca_file = \"ca.pem\""]) {
        let (dir, port) = (identity(), closed_port());
        let command = completed(command, &dir).replace("--tls-port 6379", &format!("--tls-port {port}"));
        let scheme = if command.contains("--tls-port") { "rediss" } else { "redis" };
        let Some(server) = redis_at(port, Arc::clone(&dir), &command) else { return };
        let url = format!("{scheme}://localhost:{}", server.port);
        let detail = attempted(to_redis(&url, &format!("attempts = 1\n{login}")), &dir);
        assert!(detail.starts_with("added to hooks:github"), "{command}: {detail}");
    }
}
