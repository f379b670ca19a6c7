//! An evening off line behind a real proxy, and what comes back by the manual's lines alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{hub, recover, stored_ids};
use crate::proxy::bare::Bare;
use crate::proxy::front::{Front, Kind};
use crate::proxy::{TRUST, delivery};
use crate::support::{Home, Hookbox, Request, SOURCE, closed_port, example, wait_longer_for};
use hub::Hub;

const HOUR_S: u64 = 60 * 60;

/// Sent while hookbox is down: by which way, and with which event type.
const MISSED: [(&str, &str); 10] = [
    ("proxy", "push"),
    ("proxy", "release"),
    ("unreachable", "push"),
    ("place", "push"),
    ("proxy", "push"),
    ("unreachable", "release"),
    ("place", "release"),
    ("unreachable", "push"),
    ("proxy", "push"),
    ("place", "push"),
];

fn named(event: &str, id: &str) -> Request {
    Front::named(Request::github(event, id, "{}"))
}

/// The evening before: two are stored, and one has a wrong signature.
fn receive(hub: &Hub, front: &Front) {
    for id in ["before-1", "before-2"] {
        assert_eq!(front.send(&delivery(id, "{}")).status, 200);
        hub.add(id, "push", 200, 6 * HOUR_S);
    }
    assert_eq!(front.send(&delivery("rejected", "{}").signed_with("another secret")).status, 401);
    hub.add("rejected", "push", 401, 6 * HOUR_S);
}

/// While hookbox is down the proxy answers 502, another program answers in its place, or the whole machine is gone.
fn miss(hub: &Hub, front: &Front, upstream: SocketAddr) -> Vec<String> {
    let place = Bare::nginx(upstream, "return 200;");
    let missed = MISSED.iter().zip(0..).map(|(&(way, event), n)| {
        let id = format!("missed-{n}");
        let status = match way {
            "proxy" => front.send(&named(event, &id)).status,
            "place" => place.send(&named(event, &id)).status,
            _ => 0,
        };
        assert_eq!(
            status,
            [("proxy", 502), ("place", 200), ("unreachable", 0)].iter().find(|it| it.0 == way).unwrap().1
        );
        hub.add(&id, event, status, 5 * HOUR_S - 60 * n);
        id
    });
    let missed = missed.collect();
    hub.add("unwanted", "issues", front.send(&named("issues", "unwanted")).status, 4 * HOUR_S);
    missed
}

fn assert_told(hookbox: &Hookbox) {
    hookbox.wait_for_stderr("GitHub lists 10 that were not stored");
    hookbox.wait_for_stderr("GitHub is asked to send 10 again");
    hookbox.wait_for_stderr("10 that were missed have arrived; 0 are missing");
    let stats = hookbox.run(["stats"]).ok().text();
    assert!(stats.contains("missed by github: 0 missing, 10 recovered, 0 lost"), "{stats}");
    let doctor = hookbox.run(["doctor"]).text();
    assert!(doctor.contains("nothing; 10 were recovered"), "{doctor}");
}

/// hookbox runs with the manual's lines, and nothing else than the address of the stub.
fn play(kind: Kind) {
    let (hub, upstream) = (Hub::start(), SocketAddr::from((Ipv4Addr::LOCALHOST, closed_port())));
    let front = Arc::new(Front::start(kind, upstream));
    let home = Home::with_config(&format!("{TRUST}{SOURCE}")).listen(&upstream.to_string());
    let hookbox = home.env("GITHUB_TOKEN", hub::TOKEN).start();
    receive(&hub, &front);
    let (home, _) = hookbox.stop();
    let missed = miss(&hub, &front, upstream);
    let lines = example("src/manual/recover.md", "toml", "[sources.github]");
    home.write("hookbox.toml", format!("{TRUST}{lines}api = \"{}\"\n", hub.url()));
    let way_back = Arc::clone(&front);
    hub.redeliver_by(move |request| Some(way_back.send(&Front::named(request.clone())).status));
    let hookbox = home.start();
    wait_longer_for("what was missed", Duration::from_secs(300), || (hookbox.stored() == 12).then_some(()));
    assert_told(&hookbox);
    let before = ["before-1", "before-2"].map(str::to_owned);
    assert_eq!(stored_ids(&hookbox), [&before[..], &missed].concat());
    assert_eq!(hub.posted(), missed, "{kind:?}: each once, the oldest first");
    assert!(recover(&hookbox, &["--dry-run", "--since", "2d"]).contains("nothing is missing"));
    hub.assert_as_published();
}

#[test]
fn an_evening_off_line_behind_a_proxy_is_had_back_by_the_manuals_lines() {
    // The other proxy that answers in our place is nginx.
    if Kind::installed().any(|kind| matches!(kind, Kind::Nginx)) {
        Kind::installed().filter(|kind| matches!(kind, Kind::Caddy | Kind::Nginx)).for_each(play);
    }
}
