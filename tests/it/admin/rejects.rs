//! Rejects after a restart, and what of them is on the disk.

use std::time::Duration;

use serde_json::{Value, json};

use super::{get, json as read};
use crate::support::{Home, Hookbox, Request, SOURCE, wait_longer_for};

/// How often the thread looks that stores them, and twice that.
const STORED: Duration = Duration::from_secs(30);
const LOOKED: Duration = Duration::from_secs(12);

/// More than any list has.
const FLOOD: usize = 300;

fn start() -> Hookbox {
    let config = format!("trusted_proxies = ['127.0.0.1']\n{SOURCE}[admin]\ntoken = 'none'\n");
    Home::with_config(&config).with_admin().start()
}

/// A forged delivery from this address.
fn forged(client: &str) -> Request {
    Request::github("push", "d-1", "{\"word\": \"in-the-body\"}").signed_with("wrong").header("X-Forwarded-For", client)
}

fn stats(hookbox: &Hookbox) -> Value {
    read(&hookbox.admin_address().send(&get("/api/stats")))
}

fn stored(hookbox: &Hookbox) -> i64 {
    hookbox.query::<i64>("SELECT count(*) FROM rejects")[0]
}

#[test]
fn rejects_survive_a_restart_without_what_was_sent() {
    let hookbox = start();
    hookbox.send(&forged("203.0.113.77"));
    hookbox.send(&forged("203.0.113.78"));
    hookbox.send(&Request::get("/webhooks/gitub?word=in-the-query").header("X-Forwarded-For", "2001:db8:1:2::3"));
    let (home, _) = hookbox.stop();
    let hookbox = home.start();
    let stats = stats(&hookbox);
    let found: Vec<Value> = stats["rejects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reject| json!([reject["source"], reject["reason"], reject["path"], reject["peer"], reject["count"]]))
        .collect();
    assert_eq!(found.len(), 2, "{stats}");
    assert!(found.contains(&json!(["github", "signature_wrong", "", "203.0.113.0/24", 2])), "{found:?}");
    assert!(found.contains(&json!([null, "no_such_source", "/webhooks/gitub", "2001:db8:1::/48", 1])), "{found:?}");
    let of_day: u64 = stats["hours"].as_array().unwrap().iter().map(|hour| hour["rejected"].as_u64().unwrap()).sum();
    assert_eq!(of_day, 3, "{stats}");
    assert_eq!(hookbox.stored(), 0);
    let (home, _) = hookbox.stop();
    let on_disk = String::from_utf8_lossy(&std::fs::read(home.path("webhooks.db")).unwrap()).into_owned();
    for part in ["203.0.113.7", "2001:db8:1:2", "in-the-body", "in-the-query"] {
        assert!(!on_disk.contains(part), "{part} is on the disk");
    }
    assert!(on_disk.contains("203.0.113.0/24"));
}

/// However many an attacker causes, and also if the program is killed.
#[test]
fn a_flood_of_rejects_is_bounded_on_the_disk_and_written_rarely() {
    let hookbox = start();
    let flood = |from: usize| {
        for n in from..from + FLOOD {
            hookbox.send(&forged(&format!("198.51.{}.{}", n / 250, n % 250)));
            hookbox.send(&Request::get(&format!("/scan-{n}")));
        }
    };
    flood(0);
    wait_longer_for("rejects to be stored", STORED, || (stored(&hookbox) > 0).then_some(()));
    assert!(stored(&hookbox) <= 120, "{}", stored(&hookbox));
    let db = hookbox.db();
    let version = || db.pragma_query_value::<i64, _>(None, "data_version", |row| row.get(0)).unwrap();
    let before = version();
    flood(FLOOD);
    std::thread::sleep(LOOKED);
    assert_eq!(version(), before, "nothing is written again so soon");
    drop(db);
    let hookbox = hookbox.kill9().start();
    assert!(stats(&hookbox)["rejects"].as_array().unwrap().len() > 20);
}
