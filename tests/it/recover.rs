//! What was missed comes back. The provider is a stub; where its published description is at hand, every request of ours and
//! every answer of the stub is held to it. `GITHUB_OPENAPI` names `api.github.com.deref.json` of the package
//! `@octokit/openapi`, `GITLAB_OPENAPI` `doc/api/openapi/openapi_v3.yaml` of GitLab's repository, `STRIPE_OPENAPI`
//! `spec3.json` of Stripe's.

mod evening;
pub mod hub;
mod others;
mod published;
mod take;
mod told;

use std::time::Duration;

use crate::support::{Home, Hookbox, example, wait_for, wait_longer_for};
use hub::{DAY_S, Hub};

/// What was asked for and has not come.
const UNDER_WAY: &str = "SELECT count(*) FROM recoveries WHERE asked = 1
     AND delivery_id NOT IN (SELECT delivery_id FROM webhook_events)";

fn config(hub: &Hub, keys: &str) -> String {
    format!(
        "[sources.github]\nprovider = \"github\"\nsecret = \"env:GITHUB_WEBHOOK_SECRET\"\n\
         [sources.github.recover]\nhook = \"octocat/hello-world/12345678\"\ntoken = \"env:HUB_TOKEN\"\napi = \"{}\"\n{keys}",
        hub.url()
    )
}

fn home(hub: &Hub, keys: &str) -> Home {
    Home::with_config(&config(hub, keys)).env("HUB_TOKEN", hub::TOKEN)
}

/// A server that recovers by hand alone, to which the hub redelivers.
fn by_hand(hub: &Hub, keys: &str) -> Hookbox {
    let hookbox = home(hub, &format!("every = \"off\"\n{keys}")).start();
    hub.redeliver_to(&hookbox.address());
    hookbox
}

fn recover(hookbox: &Hookbox, words: &[&str]) -> String {
    recover_source(hookbox, "github", words)
}

fn recover_source(hookbox: &Hookbox, source: &str, words: &[&str]) -> String {
    hookbox.run(["recover", source].iter().chain(words)).ok().text()
}

fn stored_ids(hookbox: &Hookbox) -> Vec<String> {
    hookbox.query("SELECT delivery_id FROM webhook_events ORDER BY delivery_id")
}

/// What this command of the manual prints, `$ hookbox ...`.
fn pasted(hookbox: &Hookbox, line: &str) -> String {
    let words = line.strip_prefix("$ hookbox ").unwrap();
    hookbox.run(words.split(' ')).ok().text()
}

#[test]
fn what_a_proxy_answered_is_sent_again_and_what_was_rejected_or_stored_is_not() {
    let hub = Hub::start();
    let hookbox = by_hand(&hub, "");
    hookbox.deliver("push", "stored", "{}");
    for (id, status) in [("stored", 502), ("by-proxy", 200), ("refused", 503), ("unreachable", 0), ("rejected", 401)] {
        hub.add(id, "push", status, 600);
    }
    let by_hand = example("src/manual/recover.md", "console", "$ hookbox recover");
    let (dry_run, two_days) = by_hand.trim_end().split_once('\n').unwrap();
    let table = pasted(&hookbox, dry_run);
    assert!(table.contains("by-proxy") && table.contains("3 missing") && !table.contains("rejected"), "{table}");
    assert_eq!((hub.posts(), stored_ids(&hookbox)), (0, vec!["stored".to_owned()]));
    let said = recover(&hookbox, &[]);
    assert!(said.contains("asked for 3"), "{said}");
    assert_eq!(stored_ids(&hookbox), ["by-proxy", "refused", "stored", "unreachable"]);
    pasted(&hookbox, two_days);
    assert_eq!(hub.posts(), 3, "nothing is asked for twice");
    hub.assert_as_published();
}

/// Lists 10,000 deliveries over more than two days, of which 270 are missing, and stores the others. Returns the 25 of the
/// wanted types. The list has a rate limit in its middle, a cursor that expires, and one delivery that is there a moment
/// later.
fn miss_25_of_10000(hub: &Hub, hookbox: &Hookbox) -> Vec<String> {
    // 270 of 10,000 are missing, 25 of them of the wanted types.
    let is_missing = |n: u32| n.is_multiple_of(37) && n / 37 < 270;
    let kind = |n: u32| match n / 37 % 11 {
        0 if is_missing(n) => "push",
        _ if is_missing(n) => "check_run",
        _ => "release",
    };
    let mut wanted = Vec::new();
    let db = hookbox.db();
    db.execute_batch("BEGIN").unwrap();
    for n in 0..10_000 {
        let id = format!("d-{n:05}");
        hub.add(&id, kind(n), if is_missing(n) { 502 } else { 200 }, u64::from(20 * (10_000 - n)));
        if !is_missing(n) {
            let sql = "INSERT INTO webhook_events (source, event_type, delivery_id, received_at, status, headers_json, \
                       payload_json) VALUES ('github', ?1, ?2, '2026-01-01T00:00:00+00:00', 'processed', '{}', '{}')";
            db.execute(sql, (kind(n), &id)).unwrap();
        } else if kind(n) == "push" {
            wanted.push(id);
        }
    }
    db.execute_batch("COMMIT").unwrap();
    assert_eq!(wanted.len(), 25);
    hub.limit_at(50);
    hub.expire_cursor_at(3);
    hub.hide_once(&wanted[7]);
    hub.shift_clock(2 * DAY_S);
    wanted
}

#[test]
fn of_10000_deliveries_exactly_the_missing_ones_of_the_wanted_types_come_back() {
    let hub = Hub::start();
    let hookbox = by_hand(&hub, "events = [\"push\", \"release\"]\n");
    let wanted = miss_25_of_10000(&hub, &hookbox);
    let said = recover(&hookbox, &[]);
    assert!(said.contains("asked for 25"), "{said}");
    let recovered: Vec<String> =
        hookbox.query("SELECT delivery_id FROM webhook_events WHERE event_type = 'push' ORDER BY delivery_id");
    assert_eq!(recovered, wanted);
    assert_eq!(hub.posted(), wanted, "the oldest first");
    // 100 pages, 25 redeliveries, one that was limited, one that was hidden, one expired.
    let least = 100 + 25 + 3;
    assert!(hub.count() <= least + least / 10, "{} requests", hub.count());
    hub.assert_as_published();
}

#[test]
fn at_its_start_it_gets_back_what_was_missed() {
    let hub = Hub::start();
    hub.add("missed", "push", 502, 3600);
    let hookbox = home(&hub, "").start();
    hub.redeliver_to(&hookbox.address());
    wait_longer_for("the missed delivery", Duration::from_secs(60), || (hookbox.stored() == 1).then_some(()));
    hookbox.wait_for_stderr("1 that were missed have arrived; 0 are missing");
    hub.assert_as_published();
}

#[test]
fn a_source_whose_provider_asks_to_wait_for_an_hour_delays_no_other() {
    let (hub, limited) = (Hub::start(), Hub::start());
    limited.limit_for(1, 3600);
    hub.add("missed", "push", 502, 3600);
    let other = config(&limited, "").replace("[sources.github", "[sources.a");
    let hookbox = Home::with_config(&other).env("HUB_TOKEN", hub::TOKEN).start();
    hub.redeliver_to(&hookbox.address());
    wait_longer_for("the request to wait", Duration::from_secs(60), || (limited.count() == 1).then_some(()));
    hookbox.reload(config(&hub, "") + &other);
    wait_longer_for("the missed delivery", Duration::from_secs(60), || (hookbox.stored() == 1).then_some(()));
    hookbox.wait_for_stderr("1 that were missed have arrived; 0 are missing");
    assert_eq!(limited.count(), 1, "it waits");
}

#[test]
fn while_nothing_is_missing_it_sends_one_request_an_interval_and_writes_nothing() {
    let hub = Hub::start();
    let hookbox = home(&hub, "every = \"1m\"\n").start();
    hookbox.deliver("push", "stored", "{}");
    hookbox.wait_until_done();
    hub.add("stored", "push", 200, 60);
    wait_longer_for("the first comparison", Duration::from_secs(60), || {
        let is_marked = hookbox.query::<i64>("SELECT count(*) FROM recovery_marks") == [1];
        // The list, and the hook.
        (is_marked && hub.count() == 2).then_some(())
    });
    let db = hookbox.db();
    let version = || db.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let (count, before) = (hub.count(), version());
    wait_longer_for("the next one", Duration::from_secs(200), || (hub.unchanged() > 0).then_some(()));
    assert_eq!((hub.count(), version()), (count + 1, before));
    hub.assert_as_published();
}

#[test]
fn killed_while_it_asks_it_goes_on_and_nothing_is_stored_twice() {
    let hub = Hub::start();
    for n in 0..20 {
        hub.add(&format!("d-{n:02}"), "push", 502, 3600 - n);
    }
    let mut hookbox = home(&hub, "").start();
    hub.redeliver_to(&hookbox.address());
    for posts in [5, 10] {
        wait_for("some redeliveries", || (hub.posts() >= posts).then_some(()));
        hookbox = hookbox.kill9().start();
        hub.redeliver_to(&hookbox.address());
    }
    // The one that was under way at each kill counts as asked for, and waits for its hour.
    let stored = || hookbox.stored() + hookbox.query::<i64>(UNDER_WAY)[0] == 20;
    wait_for("all but those", || (hub.posts() >= 18 && stored()).then_some(()));
    assert!(hub.posts() <= 20, "{} were asked for", hub.posts());
    hub.assert_as_published();
}

#[test]
fn what_was_deleted_here_does_not_come_back() {
    let hub = Hub::start();
    let hookbox = by_hand(&hub, "");
    hookbox.deliver("push", "leaked", "{}");
    hub.add("leaked", "push", 200, 60);
    assert!(recover(&hookbox, &["--dry-run"]).contains("nothing is missing"));
    recover(&hookbox, &[]);
    hookbox.wait_until_done();
    hookbox.run(["delete", "1"]).ok();
    assert!(recover(&hookbox, &["--dry-run", "--since", "2d"]).contains("nothing is missing"));
}

#[test]
fn a_wrong_token_a_missing_permission_and_a_hook_that_is_gone_are_explained() {
    let hub = Hub::start();
    let hookbox = by_hand(&hub, "");
    for (status, words) in [
        (401, "the token is wrong, revoked or expired"),
        (403, "the token lacks a permission"),
        (404, "there is no hook octocat/hello-world/12345678"),
    ] {
        hub.refuse(Some(status));
        hookbox.run(["recover", "github"]).refused(2, &[words, "Webhooks, read and write"]);
    }
}

#[test]
fn check_says_what_is_had_back_and_warns_where_retention_is_shorter_than_the_list() {
    let hub = Hub::start();
    let text = config(&hub, "") + "[retention]\nprocessed = \"1d\"\n";
    let printed = Home::with_config(&text).env("HUB_TOKEN", hub::TOKEN).run(["check"]).ok().text();
    assert!(printed.contains("gets back what was missed of octocat/hello-world/12345678 at"), "{printed}");
    assert!(printed.contains("GitHub lists its deliveries for 3d") && !printed.contains(hub::TOKEN), "{printed}");
    let without = Home::with_config(&text).run(["check"]);
    assert_eq!(without.code, Some(2));
    let printed = without.text();
    assert!(printed.contains("PROBLEM sources.github.recover.token: env:HUB_TOKEN"), "{printed}");
}
