//! What recovering finds is told: once, until it is over, also across a restart.

use std::time::Duration;

use serde_json::Value;

use super::hub::{DAY_S, Hub};
use super::{config, hub};
use crate::support::{Home, Hookbox, Request, wait_longer_for};

const DEADLINE: Duration = Duration::from_secs(60);

/// A server that recovers, with an action for all news.
fn home(hub: &Hub, keys: &str) -> Home {
    let tell = "[actions.tell]\nkind = \"command\"\nrun = [\"true\"]\non = [\"hookbox:*\"]\n";
    Home::with_config(&format!("{}\n{tell}", config(hub, keys))).env("HUB_TOKEN", hub::TOKEN).with_admin()
}

fn news(home: &Home, kind: &str) -> Vec<Value> {
    let sql = format!("SELECT payload_json FROM webhook_events WHERE source = 'hookbox' AND event_type = '{kind}'");
    home.query::<String>(&sql).iter().map(|payload| serde_json::from_str(payload).unwrap()).collect()
}

fn wait_for_news(home: &Home, kind: &str) -> Value {
    wait_longer_for(kind, DEADLINE, || news(home, kind).pop())
}

fn recovery(home: &Home) -> Value {
    home.run(["stats", "--json"]).ok().json()["recoveries"][0].clone()
}

fn doctor(hookbox: &Hookbox) -> String {
    hookbox.run(["doctor"]).text()
}

fn metric(hookbox: &Hookbox, name: &str) -> Option<String> {
    let text = hookbox.admin_address().send(&Request::get("/metrics").with("Host", "localhost")).text();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")))?.to_owned();
    line.rsplit_once(' ').map(|(_, value)| value.to_owned())
}

/// A round begins seconds after the start, and an outage is waited for.
fn wait_for_log(hookbox: &Hookbox, text: &str) {
    wait_longer_for(text, DEADLINE, || hookbox.stderr().contains(text).then_some(()));
}

#[test]
fn what_is_missing_is_told_until_it_has_come() {
    let hub = Hub::start();
    hub.add("missed", "push", 502, 3600);
    // It cannot reach us.
    let hookbox = home(&hub, "").start();
    let told = wait_for_news(&hookbox, "recover.missing");
    assert_eq!((&told["source"], &told["count"]), (&"github".into(), &1.into()), "{told}");
    assert!(told["oldest"].as_str().is_some_and(|oldest| oldest.starts_with("20")), "{told}");
    wait_longer_for("the request to send it again", DEADLINE, || (hub.posts() == 1).then_some(()));
    let stats = recovery(&hookbox);
    assert_eq!((&stats["source"], &stats["missing"], &stats["recovered"]), (&"github".into(), &1.into(), &0.into()));
    let text = hookbox.run(["stats"]).ok().text();
    assert!(text.contains("missed by github: 1 missing, 0 recovered, 0 lost"), "{text}");
    assert!(doctor(&hookbox).contains("1 were missed and are not there yet"), "{}", doctor(&hookbox));
    assert_eq!(metric(&hookbox, "hookbox_recover_missing").as_deref(), Some("1"));
    // It comes, and that is seen without another request.
    let requests = hub.count();
    hookbox.deliver("push", "missed", "{}");
    let is_there = || (metric(&hookbox, "hookbox_recovered_total").as_deref() == Some("1")).then_some(());
    wait_longer_for("its arrival", DEADLINE, is_there);
    assert_eq!(metric(&hookbox, "hookbox_recover_missing").as_deref(), Some("0"));
    assert!(doctor(&hookbox).contains("nothing; 1 were recovered"), "{}", doctor(&hookbox));
    assert_eq!((hub.count(), news(&hookbox, "recover.missing").len()), (requests, 1));
    assert_eq!(hookbox.query::<i64>("SELECT count(*) FROM troubles"), [0]);
}

#[test]
fn what_was_asked_for_three_times_is_lost_with_the_status_of_the_provider() {
    let hub = Hub::start();
    hub.add("missed", "push", 502, 3600);
    let mut hookbox = home(&hub, "").start();
    for posts in 1..=3 {
        wait_longer_for("the request to send it again", DEADLINE, || (hub.posts() == posts).then_some(()));
        let (home, _) = hookbox.stop();
        home.db().execute_batch("UPDATE recoveries SET asked_ms = asked_ms - 3600000").unwrap();
        hookbox = home.start();
    }
    wait_for_log(&hookbox, "is lost: GitHub says: 502 failed to connect");
    assert_eq!(metric(&hookbox, "hookbox_recover_lost").as_deref(), Some("1"));
    let text = doctor(&hookbox);
    assert!(text.contains("1 are lost, the last because GitHub says: 502 failed to connect"), "{text}");
    assert_eq!((hub.posts(), recovery(&hookbox)["missing"].as_i64()), (3, Some(0)));
}

#[test]
fn a_token_that_is_refused_is_told_once_also_across_a_restart() {
    let hub = Hub::start();
    hub.refuse(Some(401));
    let hookbox = home(&hub, "").start();
    let told = wait_for_news(&hookbox, "recover.failed");
    assert!(told["error"].as_str().unwrap().contains("the token is wrong, revoked or expired: make"), "{told}");
    assert!(doctor(&hookbox).contains("cannot be recovered since"), "{}", doctor(&hookbox));
    assert_eq!(metric(&hookbox, "hookbox_recover_failing").as_deref(), Some("1"));
    let requests = hub.count();
    let (home, _) = hookbox.stop();
    let hookbox = home.start();
    wait_longer_for("another comparison", DEADLINE, || (hub.count() > requests).then_some(()));
    assert!(!hookbox.stderr().contains("cannot be recovered"), "{}", hookbox.stderr());
    let (home, _) = hookbox.stop();
    hub.refuse(None);
    let hookbox = home.start();
    wait_for_log(&hookbox, "recovering works again");
    assert_eq!(news(&hookbox, "recover.failed").len(), 1);
    assert!(!doctor(&hookbox).contains("cannot be recovered"), "{}", doctor(&hookbox));
}

#[test]
fn an_outage_of_the_provider_is_logged_and_is_news_only_when_it_lasts() {
    let hub = Hub::start();
    hub.refuse(Some(502));
    let hookbox = home(&hub, "").start();
    wait_for_log(&hookbox, "cannot be recovered from GitHub now");
    let (home, _) = hookbox.stop();
    assert_eq!(news(&home, "recover.failed").len(), 0);
    home.db().execute_batch("UPDATE troubles SET since_ms = since_ms - 3600000").unwrap();
    let hookbox = home.start();
    wait_for_news(&hookbox, "recover.failed");
}

#[test]
fn a_hook_that_is_switched_off_is_told() {
    let hub = Hub::start();
    hub.switch(false);
    let hookbox = home(&hub, "").start();
    let told = wait_for_news(&hookbox, "recover.failed");
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("the hook is off (active: false): tick Active"), "{error}");
    let (home, _) = hookbox.stop();
    hub.switch(true);
    wait_for_log(&home.start(), "recovering works again");
    hub.assert_as_published();
}

#[test]
fn a_time_off_line_that_was_longer_than_the_list_is_told() {
    let hub = Hub::start();
    hub.add("stored", "push", 200, 60);
    let hookbox = home(&hub, "").start();
    hookbox.deliver("push", "stored", "{}");
    wait_longer_for("a comparison", DEADLINE, || {
        (hookbox.query::<i64>("SELECT count(*) FROM recovery_marks") == [1]).then_some(())
    });
    let (home, _) = hookbox.stop();
    // A stop is remembered: a quiet week is no time off line.
    let week_ms = 7 * DAY_S * 1000;
    let earlier = format!(
        "UPDATE webhook_events SET received_at = '2026-01-01T00:00:00+00:00';
         UPDATE recovery_marks SET compared_ms = compared_ms - {week_ms}"
    );
    home.db().execute_batch(&earlier).unwrap();
    let lists = hub.lists();
    let hookbox = home.start();
    wait_longer_for("another comparison", DEADLINE, || (hub.lists() > lists).then_some(()));
    assert!(!hookbox.stderr().contains("off line"), "{}", hookbox.stderr());
    let (home, _) = hookbox.stop();
    let stopped = format!("{earlier}; UPDATE recovery_marks SET ran_ms = ran_ms - {week_ms}");
    home.db().execute_batch(&stopped).unwrap();
    let hookbox = home.start();
    wait_for_log(&hookbox, "GitHub keeps deliveries for 3d: what came before");
    let text = doctor(&hookbox);
    assert!(text.contains("off line from 20") && text.contains("is lost"), "{text}");
    // Without a stop, how long it ran is not known.
    let home = hookbox.kill9();
    home.db().execute_batch("UPDATE recovery_marks SET ran_ms = NULL").unwrap();
    wait_for_log(&home.start(), "off line at the earliest from 20");
}

#[test]
fn after_a_time_of_503_it_compares_again() {
    let hub = Hub::start();
    let hookbox = home(&hub, "every = \"6h\"\n").start();
    wait_longer_for("the first comparison", DEADLINE, || (hub.lists() == 1).then_some(()));
    let other = hookbox.lock_database();
    assert_eq!(hookbox.send(&Request::github("push", "refused", "{}")).status, 503);
    drop(other);
    hub.redeliver_to(&hookbox.address());
    hub.add("refused", "push", 503, 1);
    wait_longer_for("what was refused", Duration::from_secs(120), || {
        (hookbox.query::<i64>("SELECT count(*) FROM webhook_events WHERE delivery_id = 'refused'") == [1]).then_some(())
    });
}

#[test]
fn the_count_of_what_came_back_does_not_fall_when_old_records_are_deleted() {
    let hub = Hub::start();
    let hookbox = home(&hub, "every = \"off\"\n").start();
    hub.redeliver_to(&hookbox.address());
    // The second run sees what has arrived by the first.
    let recover = || (0..2).for_each(|_| drop(hookbox.run(["recover", "github"]).ok()));
    let recovered = || metric(&hookbox, "hookbox_recovered_total");
    for id in ["first", "second"] {
        hub.add(id, "push", 502, 3600);
    }
    recover();
    assert_eq!(recovered().as_deref(), Some("2"));
    hookbox.db().execute_batch("UPDATE recoveries SET at_ms = 0").unwrap();
    for (n, id) in ["third", "fourth"].into_iter().enumerate() {
        hub.add(id, "push", 502, 60);
        recover();
        assert_eq!(recovered(), Some((n + 3).to_string()));
    }
    assert_eq!(hookbox.query::<String>("SELECT delivery_id FROM recoveries ORDER BY delivery_id"), ["fourth", "third"]);
}

#[test]
fn a_disk_that_fills_up_delays_nothing_as_long_as_deliveries_are_taken() {
    let hub = Hub::start();
    hub.add("missed", "push", 502, 3600);
    let free_mib = {
        let disk = rustix::fs::statvfs(std::env::temp_dir()).unwrap();
        (disk.f_bavail * disk.f_frsize) >> 20
    };
    // Nearly full is less than ten times the reserve.
    let home = home(&hub, "");
    let config = std::fs::read_to_string(home.path("hookbox.toml")).unwrap();
    home.write("hookbox.toml", format!("disk_reserve = \"{}MiB\"\n{config}", free_mib / 5));
    let hookbox = home.start();
    hub.redeliver_to(&hookbox.address());
    // That the disk fills up is news, which is stored too.
    let sql = "SELECT count(*) FROM webhook_events WHERE source = 'github'";
    wait_longer_for("the missed delivery", DEADLINE, || (hookbox.query::<i64>(sql) == [1]).then_some(()));
}
