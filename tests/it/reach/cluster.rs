//! A JetStream cluster of three servers, one of which is killed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::engines::{Server, commands, jetstream, make_stream, message, nats_at, try_jetstream};
use super::to_nats;
use crate::actions::job;
use crate::support::{Hookbox, closed_port, patient, wait_longer_for};

const DELIVERIES: u64 = 300;

/// The election, its detection, and a slow machine: far less than the backoff of a failed attempt.
const ELECTION: Duration = Duration::from_secs(60);

/// With the command in the manual.
fn servers() -> Option<Vec<Server>> {
    let (clients, routes) = ([(); 3].map(|()| closed_port()), [(); 3].map(|()| closed_port()));
    let command = commands("nats-server").into_iter().find(|command| command.contains("--cluster")).unwrap();
    // Each waits for the others, so they are started without a wait between.
    let started: Vec<_> = (0..3)
        .map(|at| {
            let own = command.replace("-n a", &format!("-n n{at}")).replace("0.0.0.0:6222", &routed(routes[at]));
            let all = ["a", "b", "c"].into_iter().zip(routes);
            let own = all
                .fold(own, |own, (name, port)| own.replace(&format!("//{name}:6222"), &format!("//{}", routed(port))));
            nats_at(clients[at], Arc::new(TempDir::new().unwrap()), &own)
        })
        .collect();
    let started: Vec<Server> = started.into_iter().collect::<Option<_>>()?;
    started.iter().for_each(Server::wait);
    Some(started)
}

fn routed(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn leader(server: &Server) -> Option<String> {
    let info = try_jetstream(server, "$JS.API.STREAM.INFO.hooks", &Value::Null)?;
    info["cluster"]["leader"].as_str().map(str::to_owned)
}

fn deliver(hookbox: &Hookbox, numbers: std::ops::Range<u64>) {
    for number in numbers {
        hookbox.deliver("push", &format!("d-{number}"), "{}");
    }
}

#[test]
fn a_killed_leader_loses_and_doubles_nothing_and_stalls_no_longer_than_the_election() {
    for dedup in ["window", "subject"] {
        let Some(mut servers) = servers() else { return };
        make_stream(&servers[0], serde_json::json!({ "num_replicas": 3 }));
        let url = servers.iter().map(|server| server.url("nats")).collect::<Vec<_>>().join(",");
        // A failed attempt would wait ten minutes on average: what is done earlier did not fail.
        let keys = format!("dedup = \"{dedup}\"\ntimeout = \"{}s\"", patient(ELECTION).as_secs());
        let home = to_nats(&url, &keys);
        let config = std::fs::read_to_string(home.path("hookbox.toml")).unwrap().replace("\"100ms\"", "\"20m\"");
        home.write("hookbox.toml", config.replacen("\"20m\"", "\"100ms\"", 1));
        let hookbox = home.start();
        deliver(&hookbox, 0..DELIVERIES / 2);
        let name = wait_longer_for("a leader", Duration::from_secs(60), || leader(&servers[1]));
        let killed = usize::from(name.as_bytes()[1] - b'0');
        servers[killed].kill();
        let at = Instant::now();
        deliver(&hookbox, DELIVERIES / 2..DELIVERIES);
        let open = "SELECT count(*) FROM webhook_events WHERE status = 'unprocessed'";
        wait_longer_for("the rest", ELECTION * 2, || (hookbox.query::<i64>(open)[0] == 0).then_some(()));
        println!("{dedup}: all was stored {:?} after the leader was killed", at.elapsed());
        let other = &servers[(killed + 1) % 3];
        let count = jetstream(other, "$JS.API.STREAM.INFO.hooks", &Value::Null)["state"]["messages"].as_u64();
        assert_eq!(count, Some(DELIVERIES), "{dedup}");
        let id =
            |seq| message(other, seq).headers.split("ce-id: ").nth(1).unwrap().split('\r').next().unwrap().to_owned();
        let ids: BTreeSet<String> = (1..=DELIVERIES).step_by(29).map(id).collect();
        assert_eq!(ids.len(), (1..=DELIVERIES).step_by(29).count(), "{ids:?}");
        assert_eq!(job(&hookbox, 1, "it")["attempts"].as_array().unwrap().len(), 1);
    }
}
