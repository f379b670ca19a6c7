//! Mode `take`: what a provider's API returns is stored.

use std::time::Duration;

use crate::support::{Home, Stub, wait_longer_for};

use super::hub::{self, Hub};
use super::{config, miss_25_of_10000, recover, stored_ids};

const TAKE: &str = "mode = \"take\"\nevery = \"off\"\n";

const TAKEN_IDS: &str = "SELECT delivery_id FROM webhook_events JOIN taken ON event_id = id ORDER BY id";

fn home(hub: &Hub, keys: &str) -> Home {
    Home::with_config(&config(hub, keys)).env("HUB_TOKEN", hub::TOKEN)
}

#[test]
fn of_10000_deliveries_exactly_the_missing_ones_of_the_wanted_types_are_taken() {
    let hub = Hub::start();
    let hookbox = home(&hub, &format!("{TAKE}events = [\"push\", \"release\"]\n")).start();
    let wanted = miss_25_of_10000(&hub, &hookbox);
    // Attempts at the same deliveries, of which some are redeliveries of today.
    hub.add(&wanted[3], "push", 502, 60);
    hub.add(&wanted[4], "push", 0, 30);
    let said = recover(&hookbox, &[]);
    assert!(said.contains("25 are stored"), "{said}");
    assert_eq!(hookbox.query::<String>(TAKEN_IDS), wanted, "each once, the oldest first");
    assert_eq!((hookbox.stored(), hub.posts()), (10_000 - 270 + 25, 0));
    // 101 pages, 25 requests, one that was limited, one that was hidden, one expired.
    let least = 101 + 25 + 3;
    assert!(hub.count() <= least + least / 10, "{} requests", hub.count());
    let said = recover(&hookbox, &["--since", "3d"]);
    assert!(said.contains("0 are stored") && hub.details() == 26, "{said}");
    hub.assert_as_published();
}

#[test]
fn what_is_taken_is_marked_and_forwarded_without_the_signature_of_other_bytes() {
    let hub = Hub::start();
    let destination = Stub::http();
    let hookbox = Home::with_config(&format!(
        "{}[actions.plain]\nkind = \"http\"\non = [\"*\"]\nurl = \"{1}\"\n[actions.signed]\nkind = \"http\"\non = [\"*\"]\nurl = \"{1}\"\nsign = \"x\"\n",
        config(&hub, TAKE),
        destination.url("/")
    ))
    .env("HUB_TOKEN", hub::TOKEN)
    .start();
    hub.add("missed", "push", 502, 600);
    hookbox.deliver("push", "arrived", "{}");
    recover(&hookbox, &[]);
    hookbox.wait_until_done();
    let sent = destination.received();
    let taken: Vec<_> = sent.iter().filter(|it| it.header("x-github-delivery") == Some("missed")).collect();
    assert_eq!(taken.len(), 2);
    for request in &taken {
        assert_eq!(request.text(), r#"{"ref":"refs/heads/main","size":1.0,"of":"missed"}"#);
        assert_eq!(
            (request.header("content-type"), request.header("x-github-event")),
            (Some("application/json"), Some("push"))
        );
        assert!(request.header("x-hub-signature-256").or(request.header("x-hub-signature")).is_none());
    }
    assert_eq!(taken.iter().filter(|it| it.header("webhook-signature").is_some()).count(), 1);
    let words = "taken from the provider's API";
    let shown = hookbox.run(["show", "2"]).ok().text();
    assert!(shown.contains(&format!("no: {words}")) && !shown.contains("  received"), "{shown}");
    let listed = hookbox.run(["list"]).ok().text();
    assert_eq!(listed.matches(words).count(), 1, "{listed}");
    let listed = hookbox.run(["list", "--json"]).ok().text();
    assert!(listed.lines().next().unwrap().contains("\"taken\":false"), "{listed}");
    assert!(listed.lines().nth(1).unwrap().contains("\"taken\":true"), "{listed}");
    hub.assert_as_published();
}

#[test]
fn killed_while_it_takes_it_goes_on_and_stores_each_once() {
    let hub = Hub::start();
    for n in 0..20 {
        hub.add(&format!("d-{n:02}"), "push", 502, 3600 - n);
    }
    let mut hookbox = home(&hub, "mode = \"take\"\n").start();
    for details in [5, 12] {
        wait_longer_for("some", Duration::from_secs(60), || (hub.details() >= details).then_some(()));
        hookbox = hookbox.kill9().start();
    }
    wait_longer_for("all of them", Duration::from_secs(60), || (hookbox.stored() == 20).then_some(()));
    let expected: Vec<String> = (0..20).map(|n| format!("d-{n:02}")).collect();
    assert_eq!((hookbox.query::<String>(TAKEN_IDS), stored_ids(&hookbox)), (expected.clone(), expected));
    assert!(hub.details() <= 22, "{}: a kill may cost one that is asked for twice", hub.details());
}

#[test]
fn what_cannot_be_had_is_lost_and_the_others_are_taken() {
    let hub = Hub::start();
    let hookbox = home(&hub, TAKE).start();
    hub.add("gone", "push", 502, 900);
    hub.add("there", "push", 502, 600);
    hub.hide("gone");
    let said = recover(&hookbox, &[]);
    assert!(said.contains("1 are stored") && said.contains("1 are lost"), "{said}");
    assert_eq!(stored_ids(&hookbox), ["there"]);
    assert!(recover(&hookbox, &["--dry-run"]).contains("nothing is missing"));
}
