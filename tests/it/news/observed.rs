//! What no delivery shows: a source that rejects or is silent, a disk that fills up.

use serde_json::{Value, json};

use super::{OBSERVER_DEADLINE, http, metrics, news, wait_for_news};
use crate::maintenance::doctor::assert_finds;
use crate::support::{Home, Hookbox, Request, SOURCE, Stub, set_clock, wait_longer_for, with_clock};

/// An action for all news, whose config begins with this.
fn with_news(config: &str) -> Home {
    Home::with_config(&format!(
        "poll_interval = \"100ms\"\n{config}{}",
        http("tell", &Stub::http(), "[\"hookbox:*\"]", "")
    ))
}

fn forged(id: &str) -> Request {
    Request::github("push", id, "{}").with("X-Hub-Signature-256", &format!("sha256={}", "0".repeat(64)))
}

#[test]
fn a_source_that_rejects_wrong_signatures_is_news_once_an_hour_at_most() {
    let hookbox = with_news(SOURCE).start();
    // Anyone can send that.
    assert_eq!(hookbox.send(&Request::github("push", "d-0", "{}").without("X-Hub-Signature-256")).status, 401);
    for n in 1..4 {
        assert_eq!(hookbox.send(&forged(&format!("d-{n}"))).status, 401);
    }
    let told = wait_for_news(&hookbox, "source.rejecting", 1);
    assert_eq!((&told[0]["source"], &told[0]["from"]), (&json!("github"), &json!("127.0.0.1")));
    assert!(told[0]["error"].as_str().unwrap().contains("signature"), "{told:?}");
    // A restart, a good delivery and another wrong one do not make it news again within the hour, but after it.
    let (home, _) = hookbox.stop();
    let hookbox = home.start();
    hookbox.deliver("push", "d-5", "{}");
    assert_eq!(hookbox.send(&forged("d-6")).status, 401);
    wait_for_observer(&hookbox);
    assert_eq!(news(&hookbox, "source.rejecting").len(), 1);
    hookbox.db().execute_batch("UPDATE troubles SET since_ms = since_ms - 3600000").unwrap();
    hookbox.deliver("push", "d-7", "{}");
    wait_for_observer(&hookbox);
    assert_eq!(hookbox.send(&forged("d-8")).status, 401);
    wait_for_news(&hookbox, "source.rejecting", 2);
}

/// Waits until the observer has looked twice: it ends the trouble of an action that is not configured.
#[track_caller]
fn wait_for_observer(hookbox: &Hookbox) {
    for _ in 0..2 {
        let sql = "INSERT INTO troubles (about, name, since_ms) VALUES ('action', 'nobody', 0)";
        hookbox.db().execute_batch(sql).unwrap();
        let left = "SELECT count(*) FROM troubles WHERE name = 'nobody'";
        wait_longer_for("the observer", OBSERVER_DEADLINE, || (hookbox.query::<i64>(left) == [0]).then_some(()));
    }
}

#[test]
fn a_missing_signature_is_no_news() {
    let hookbox = with_news(SOURCE).start();
    assert_eq!(hookbox.send(&Request::github("push", "d-0", "{}").without("X-Hub-Signature-256")).status, 401);
    wait_for_observer(&hookbox);
    assert_eq!(hookbox.stored(), 0);
}

#[test]
fn a_source_that_is_silent_for_too_long_is_news_once_also_after_a_restart() {
    let Some(home) = with_clock(with_news(&format!("{SOURCE}expect_every = \"24h\"\n")).with_open_admin(), "-3d")
    else {
        return;
    };
    let check = home.run(["check"]).ok().text();
    assert!(check.contains("expects a delivery every 24h") || check.contains("expects a delivery every 1d"), "{check}");
    let hookbox = home.start();
    hookbox.deliver("push", "d-1", "{}");
    let at = hookbox.query::<String>("SELECT received_at FROM webhook_events")[0].clone();
    let (home, _) = hookbox.stop();
    set_clock(&home, "-50h");
    let hookbox = home.start();
    wait_for_observer(&hookbox);
    assert_eq!(news(&hookbox, "source.silent").len(), 0);
    let (home, _) = hookbox.stop();
    set_clock(&home, "-1d");
    let hookbox = home.start();
    let told = wait_for_news(&hookbox, "source.silent", 1);
    assert_eq!((&told[0]["source"], &told[0]["since"]), (&json!("github"), &json!(at)));
    assert!(hookbox.stderr().contains("WARN  source github has received nothing since"), "{}", hookbox.stderr());
    let (home, _) = hookbox.stop();
    let hookbox = home.start();
    wait_for_observer(&hookbox);
    assert_eq!(news(&hookbox, "source.silent").len(), 1, "it is told once");
    let stats = hookbox.run(["stats", "--json"]).ok().json();
    let source = stats["sources"].as_array().unwrap().iter().find(|source| source["source"] == "github").cloned();
    assert_eq!(source.unwrap()["silent_since"], json!(at));
    let silent = format!("nothing was received since {at}");
    assert_finds(&hookbox, &[], "deliveries of github", "warn", &[&silent, "expected every"]);
    hookbox.deliver("push", "d-2", "{}");
    wait_longer_for("the end", OBSERVER_DEADLINE, || hookbox.stderr().contains("receives again").then_some(()));
    assert_finds(&hookbox, &[], "deliveries of github", "ok", &["the last delivery was received at"]);
    let last = hookbox.query::<i64>(
        "SELECT CAST(strftime('%s', max(received_at)) AS INTEGER) FROM webhook_events WHERE source = 'github'",
    )[0];
    let metrics = metrics(&hookbox);
    assert!(
        metrics.contains(&format!("hookbox_last_received_timestamp_seconds{{source=\"github\"}} {last}\n")),
        "{metrics}"
    );
    let (home, _) = hookbox.stop();
    set_clock(&home, "+1d");
    let hookbox = home.start();
    wait_for_news(&hookbox, "source.silent", 2);
}

#[test]
fn a_source_that_never_received_anything_is_silent_too() {
    let hookbox = with_news(&format!("{SOURCE}expect_every = \"2s\"\n")).start();
    let told = wait_for_news(&hookbox, "source.silent", 1);
    assert_eq!(told[0]["last_received"], Value::Null);
    wait_for_observer(&hookbox);
    assert_eq!(news(&hookbox, "source.silent").len(), 1);
}

#[test]
fn a_disk_that_is_nearly_full_is_news_once() {
    let free = |home: &Home| home.run(["stats", "--json"]).ok().json()["disk_free_bytes"].as_u64().unwrap();
    let (home, _) = with_news(SOURCE).start().stop();
    let reserve_kib = free(&home) / 1024 / 5;
    let config = std::fs::read_to_string(home.path("hookbox.toml")).unwrap();
    home.write("hookbox.toml", format!("disk_reserve = \"{reserve_kib}KiB\"\n{config}"));
    let hookbox = home.start();
    let told = wait_for_news(&hookbox, "disk.low", 1);
    assert_eq!(told[0]["reserve_bytes"], reserve_kib * 1024);
    let (home, _) = hookbox.stop();
    let hookbox = home.start();
    wait_for_observer(&hookbox);
    assert_eq!(news(&hookbox, "disk.low").len(), 1);
    hookbox.reload(config.clone());
    wait_for_observer(&hookbox);
    hookbox.reload(format!("disk_reserve = \"{reserve_kib}KiB\"\n{config}"));
    wait_for_news(&hookbox, "disk.low", 2);
}

#[test]
fn check_doubts_news_that_does_not_exist() {
    let home = with_news(SOURCE);
    let config = std::fs::read_to_string(home.path("hookbox.toml")).unwrap();
    home.write("hookbox.toml", config.replace("hookbox:*", "hookbox:job.deda"));
    let text = home.run(["check"]).ok().text();
    assert!(
        text.contains("WARNING actions.tell.on: there is no news \"job.deda\"; did you mean \"job.dead\"?"),
        "{text}"
    );
}
