//! Two receivers behind a balancer, with the configs in the manual: each delivery is sent to both, or to one after the
//! other.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::bad_line::BadLine;
use super::engines::{Server, count, make_stream, nats, redis, redis_cli};
use crate::actions::{config, deliver_and_wait};
use crate::support::{
    Address, Home, Hookbox, Random, Request, closed_port, example, is_installed, wait_for, wait_longer_for,
};

const MANUAL: &str = "src/manual/reach.md";

const CENTRE_SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// Consumers that others wrote: print the id of each delivery.
const READ_NATS: &str = "
import asyncio, nats, sys
async def main():
    connection = await nats.connect(sys.argv[1])
    subscription = await connection.jetstream().pull_subscribe('hooks.>', 'test')
    left = int(sys.argv[2])
    while left:
        for message in await subscription.fetch(min(left, 500), timeout=20):
            print(message.headers['ce-id'])
            await message.ack()
            left -= 1
    await connection.close()
asyncio.run(main())
";
const READ_REDIS: &str = "
import redis, sys
server = redis.Redis.from_url(sys.argv[1])
server.xgroup_create('hooks:github', 'group', id='0')
while batch := server.xreadgroup('group', 'me', {'hooks:github': '>'}, count=500):
    for id, fields in batch[0][1]:
        print(fields[b'delivery_id'].decode())
        server.xack('hooks:github', 'group', id)
";

/// A short backoff, so that the retries of a killed engine fit into a test.
const IMPATIENT: &str = "backoff = \"100ms\"\nbackoff_max = \"500ms\"\nattempts = 1000\nconcurrency = 4\n";

/// An action of the manual with another address, and impatient.
fn edge(action: &str, address: &str, here: &str) -> Home {
    assert!(action.contains(address));
    Home::with_config(&config(&(action.replace(address, here) + IMPATIENT))).env("CENTRE_SECRET", CENTRE_SECRET)
}

#[test]
fn a_delivery_that_two_edges_get_reaches_the_centre_once() {
    let centre = Home::with_config(&example(MANUAL, "toml", "# in the centre"));
    let centre = centre.env("CENTRE_SECRET", CENTRE_SECRET).start();
    let here = format!("http://{}", centre.address().tcp());
    let edges = [(); 2].map(|()| {
        edge(&example(MANUAL, "toml", "# on each edge"), "https://hooks.internal.example.com", &here).start()
    });
    for number in 1..=10 {
        edges.iter().for_each(|edge| deliver_and_wait(edge, "push", &format!("d-{number}"), "{\"a\": 1}"));
    }
    assert_eq!(centre.stored(), 10);
    assert_eq!(centre.query::<String>("SELECT DISTINCT event_type FROM webhook_events"), ["push"]);
    assert_eq!(centre.query::<String>("SELECT DISTINCT payload_json FROM webhook_events"), ["{\"a\": 1}"]);
}

/// HAProxy with the manual's config, without TLS. Killed when it is dropped.
struct Balancer {
    process: Child,
    address: Address,
    _dir: TempDir,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn balancer(receivers: &[u16; 2]) -> Option<Balancer> {
    if !is_installed("/usr/sbin/haproxy", &["-v"]) {
        return None;
    }
    let (dir, port) = (TempDir::new().unwrap(), closed_port());
    let config = example(MANUAL, "haproxy", "")
        .replace("bind :443 ssl crt /etc/haproxy/hooks.pem", &format!("bind 127.0.0.1:{port}"))
        .replace("10.0.0.1:5000 check", &format!("127.0.0.1:{} check inter 100ms", receivers[0]))
        .replace("10.0.0.2:5000 check", &format!("127.0.0.1:{} check inter 100ms", receivers[1]));
    std::fs::write(dir.path().join("haproxy.cfg"), config).unwrap();
    let process = Command::new("/usr/sbin/haproxy")
        .args(["-f", "haproxy.cfg"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let address = Address::Tcp(([127, 0, 0, 1], port).into());
    wait_for("HAProxy", || address.try_connect().ok());
    Some(Balancer { process, address, _dir: dir })
}

/// How many deliveries; `HOOKBOX_DELIVERIES` sets another number.
fn deliveries() -> u64 {
    std::env::var("HOOKBOX_DELIVERIES").map_or(600, |number| number.parse().unwrap())
}

/// Sends each delivery twice, to whichever receiver answers, until it was acknowledged; the second time too, or not.
fn send_all(to: &Address, next: &AtomicU64) {
    loop {
        let number = next.fetch_add(1, Ordering::SeqCst);
        if number >= deliveries() * 2 {
            return;
        }
        let request = Request::github("push", &format!("d-{}", number / 2), format!("{{\"n\":{}}}", number / 2));
        wait_longer_for("an acknowledgement", Duration::from_secs(60), || {
            let mut connection = to.try_connect().ok()?;
            connection.try_send(&request.bytes()).ok()?;
            (connection.try_response().ok()?.status == 200).then_some(())
        });
    }
}

/// Delivers through the balancer while receivers and engine are killed and started again, and the lines between them are
/// bad.
fn torment(make: impl Fn(u16) -> Home, engine: &mut Server) -> Option<[Hookbox; 2]> {
    let ports = [(); 2].map(|()| closed_port());
    let balancer = balancer(&ports)?;
    let mut random = Random::new();
    let lines = [(); 2].map(|()| BadLine::to(engine.port, random.next()));
    let mut receivers = [0, 1].map(|at: usize| {
        let home = make(lines[at].port).listen(&format!("127.0.0.1:{}", ports[at]));
        Some(home.start())
    });
    let next = AtomicU64::new(0);
    std::thread::scope(|threads| {
        let senders: Vec<_> = (0..8).map(|_| threads.spawn(|| send_all(&balancer.address, &next))).collect();
        let mut round = 0;
        while senders.iter().any(|sender| !sender.is_finished()) {
            let which = &mut receivers[round % 2];
            *which = which.take().map(|receiver| receiver.kill9().start());
            if round % 3 == 0 {
                engine.restart();
            }
            round += 1;
            std::thread::sleep(Duration::from_millis(150));
        }
    });
    let receivers = receivers.map(Option::unwrap);
    for receiver in &receivers {
        let open = "SELECT count(*) FROM webhook_events WHERE status = 'unprocessed'";
        let patience = Duration::from_secs(120 + deliveries() / 20);
        wait_longer_for("the rest", patience, || (receiver.query::<i64>(open)[0] == 0).then_some(()));
    }
    lines.iter().for_each(BadLine::assert_bad);
    Some(receivers)
}

/// What a consumer in Python prints is each delivery, once; nothing where its client is not installed.
fn assert_each_once(client: &str, script: &str, url: &str) {
    if !is_installed("python3", &["-c", &format!("import {client}")]) {
        return;
    }
    let output = Command::new("python3").args(["-c", script, url, &deliveries().to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let expected: BTreeSet<String> = (0..deliveries()).map(|number| format!("d-{number}")).collect();
    assert_eq!(printed.lines().count() as u64, deliveries());
    assert_eq!(printed.lines().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
}

#[test]
fn what_two_receivers_acknowledged_is_in_nats_exactly_once_whatever_is_killed() {
    let Some(mut server) = nats() else { return };
    make_stream(&server, json!({}));
    let edge = |line| {
        edge(&example(MANUAL, "toml", "[actions.bus]"), "nats://127.0.0.1:4222", &format!("nats://127.0.0.1:{line}"))
    };
    let Some(receivers) = torment(edge, &mut server) else { return };
    assert_eq!(count(&server), deliveries());
    assert_each_once("nats", READ_NATS, &server.url("nats"));
    drop(receivers);
}

#[test]
fn what_two_receivers_acknowledged_is_in_redis_exactly_once_whatever_is_killed() {
    let Some(mut server) = redis() else { return };
    let edge = |line| {
        edge(
            &example(MANUAL, "toml", "[actions.stream]"),
            "redis://127.0.0.1:6379",
            &format!("redis://127.0.0.1:{line}"),
        )
    };
    let Some(receivers) = torment(edge, &mut server) else { return };
    assert_eq!(redis_cli(&server, &["XLEN", "hooks:github"]), deliveries().to_string());
    assert_each_once("redis", READ_REDIS, &server.url("redis"));
    drop(receivers);
}
