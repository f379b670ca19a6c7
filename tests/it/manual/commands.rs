//! The commands of the chapters retries, troubleshooting, templates and api, line by line.

use serde_json::Value;

use super::patient;
use crate::support::{Machine, Running, example};

const TROUBLESHOOTING: &str = "src/manual/troubleshooting.md";

/// `deploy` fails at once, `mail` is tried again later.
const CONFIG: &str = r#"
[sources.github]
provider = "github"
secret = "file:/etc/hookbox/secret"

[actions.deploy]
kind = "command"
run = ["false"]
on = ["github:push"]
attempts = 1

[actions.mail]
kind = "command"
run = ["false"]
on = ["github:issues"]
backoff = "12h"

[actions.print]
kind = "log"
on = ["github:*"]
"#;

/// A machine whose hookbox has taken these events, and done what can be done.
fn machine_with(events: [&str; 7]) -> Option<(Machine, Running)> {
    let machine = Machine::new()?;
    machine.put("/etc/hookbox/secret", "s3cret");
    machine.put("/etc/hookbox/hookbox.toml", CONFIG);
    let hookbox = machine.serve("hookbox");
    events.iter().for_each(|event| drop(machine.paste(&format!("hookbox send github --event {event}"))));
    wait_until_tried(&machine);
    Some((machine, hookbox))
}

/// Each push has failed, and each issue has been tried.
fn wait_until_tried(machine: &Machine) {
    patient("the pushes to fail", || machine.paste("hookbox list --json --event push --status unprocessed").is_empty());
    patient("the first attempts", || !machine.paste("hookbox stats").contains("not yet tried"));
}

/// The block's commands, without its comments.
fn commands(block: &str) -> impl Iterator<Item = &str> {
    block.lines().filter(|line| !line.starts_with('#'))
}

#[test]
fn the_commands_of_the_chapter_retries() {
    let Some((machine, _hookbox)) = machine_with(["push", "issues", "ping", "ping", "push", "ping", "push"]) else {
        return;
    };
    // So that what is queued again stays so until it is seen.
    machine.paste("hookbox pause deploy");
    let block = example("src/manual/retries.md", "sh", "hookbox list");
    let lines: Vec<&str> = commands(&block).collect();
    let [list, show, replay, replay_failed, cancel, dry_run] = lines[..] else { panic!("{block}") };
    let listed = machine.paste(list);
    assert_eq!(listed.lines().skip(1).filter(|line| line.contains("error") && line.contains("push")).count(), 3);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    let shown = machine.paste(show);
    assert!(shown.contains("action deploy: dead") && shown.contains("deploy, attempt 1, "), "{shown}");
    assert!(shown.contains(" ms  exit 1"), "{shown}");
    let replayed = machine.paste(replay);
    let queued = "event 7: deploy is queued, with all attempts; print succeeded already: --again does it again\n";
    assert!(replayed.starts_with(&format!("{queued}queued 1 job of 1 event\n")), "{replayed}");
    let replayed = machine.paste(replay_failed);
    assert!(replayed.contains("event 1: deploy is queued, with all attempts\n"), "{replayed}");
    assert!(
        replayed.contains("event 2: mail is due now\n") && replayed.contains("\nqueued 3 jobs of 3 events\n"),
        "{replayed}"
    );
    assert_eq!(machine.paste(cancel), "cancelled 1 job of 1 event\n");
    machine.paste("hookbox resume deploy");
    wait_until_tried(&machine);
    let replayed = machine.paste(dry_run);
    assert!(replayed.contains("event 1: deploy would be queued, with all attempts"), "{replayed}");
    assert!(replayed.ends_with("would queue 2 jobs of 2 events\n"), "7 is cancelled: {replayed}");
    assert_eq!(machine.paste("hookbox list --json --status error").lines().count(), 2, "nothing was queued");
}

#[test]
fn the_replays_of_the_chapter_troubleshooting() {
    let Some((machine, _hookbox)) = machine_with(["push", "issues", "ping", "ping", "push", "ping", "push"]) else {
        return;
    };
    machine.paste("hookbox pause deploy");
    let block = example(TROUBLESHOOTING, "sh", "hookbox replay 7");
    let lines: Vec<&str> = commands(&block).collect();
    let [one, failed, all] = lines[..] else { panic!("{block}") };
    assert!(machine.paste(one).contains("\nqueued 1 job of 1 event\n"));
    let replayed = machine.paste(failed);
    assert!(
        replayed.contains("event 5: deploy is queued") && replayed.contains("event 2: mail is due now"),
        "{replayed}"
    );
    let replayed = machine.paste(all);
    assert!(replayed.contains("event 3: print would be done again\n"), "also what succeeded: {replayed}");
    assert!(replayed.contains("would queue ") && replayed.contains(" of 7 events"), "{replayed}");
}

#[test]
fn the_commands_of_the_chapter_templates_take_a_payload_back_and_forth() {
    let Some((machine, _hookbox)) = machine_with(["ping", "ping", "ping", "ping", "ping", "ping", "issues"]) else {
        return;
    };
    let block = example("src/manual/templates.md", "sh", "hookbox show 7");
    let lines: Vec<&str> = commands(&block).collect();
    let [show, check, send] = lines[..] else { panic!("{block}") };
    machine.paste(show);
    let checked = machine.paste(check);
    assert!(checked.contains("an event issues from github") && checked.contains("action mail: yes"), "{checked}");
    assert_eq!(machine.paste("hookbox list --json").lines().count(), 7, "the second command sends nothing");
    assert!(machine.paste(send).ends_with("event 8): 200 OK\n"));
    assert_eq!(machine.paste("hookbox show 8 --body"), machine.read("issue.json"));
    let issue: Value = serde_json::from_str(&machine.read("issue.json")).unwrap();
    assert!(issue["issue"]["title"].is_string(), "{issue}");
}

#[test]
fn the_commands_of_the_chapter_api_read_the_numbers() {
    let Some(machine) = Machine::new() else { return };
    machine.put("/etc/hookbox/hookbox.toml", "database = \"/var/lib/hookbox/webhooks.db\"\n");
    machine.paste("mkdir -m 700 /var/lib/hookbox");
    let _hookbox = machine.serve("hookbox");
    machine.paste("hookbox send github");
    let stats: Value =
        serde_json::from_str(&machine.paste(&example("src/manual/api.md", "sh", "token=$(sudo cat"))).unwrap();
    assert_eq!(stats["version"], env!("CARGO_PKG_VERSION"), "{stats}");
    assert_eq!(stats["sources"][0]["name"], "github", "{stats}");
}

/// The delivery passes HAProxy's TLS: with the config of the chapter reach, to two receivers.
#[test]
fn a_request_without_a_signature_through_haproxy_is_answered_401() {
    let Some(machine) = Machine::new() else { return };
    if !machine.has("haproxy") || !machine.has("curl") {
        return;
    }
    machine.name("127.0.0.1", "hooks.example.com");
    machine.certify("hooks.example.com");
    machine.paste("mkdir -p /etc/haproxy && cp /etc/authority/both.pem /etc/haproxy/hooks.pem");
    machine.put("/etc/haproxy/haproxy.cfg", &example("src/manual/reach.md", "haproxy", ""));
    machine.paste(
        "ip address add 10.0.0.1/32 dev lo; ip address add 10.0.0.2/32 dev lo; haproxy -c -f /etc/haproxy/haproxy.cfg",
    );
    let haproxy = machine.start("exec haproxy -f /etc/haproxy/haproxy.cfg");
    let ask = example(TROUBLESHOOTING, "sh", "curl -i");
    patient("a proxy that does not find hookbox", || machine.try_paste(&ask).text().starts_with("HTTP/1.1 503 "));
    let _receivers = ["a", "b"].map(|name| {
        let at = if name == "a" { "10.0.0.1" } else { "10.0.0.2" };
        let serve = format!("mkdir {name}; cd {name}; GITHUB_WEBHOOK_SECRET=s3cret hookbox serve --admin off");
        machine.serve(&format!("{serve} --listen {at}:5000"))
    });
    for name in ["a", "b"] {
        haproxy.wait_for_stderr(&format!("Server receivers/{name} is UP"));
    }
    patient("401", || machine.try_paste(&ask).text().starts_with("HTTP/1.1 401 "));
    let send = "GITHUB_WEBHOOK_SECRET=s3cret hookbox send github --url https://hooks.example.com/webhooks/github";
    for _ in 0..4 {
        assert!(machine.paste(send).ends_with(": 200 OK\n"));
    }
    let stored = |name: &str| machine.paste(&format!("cd {name}; hookbox list --json")).lines().count();
    assert_eq!((stored("a"), stored("b")), (2, 2), "each receiver has its own");
}

/// Of the chapter database, by the program that it names.
#[test]
fn sqlite3_gives_a_row_with_the_largest_id_a_smaller_one() {
    let Some(machine) = Machine::new().filter(|machine| machine.has("sqlite3")) else { return };
    let ids = "hookbox list --json | grep -o '^{\"id\":[0-9]*'";
    let hookbox = machine.serve("hookbox");
    machine.paste("hookbox send github");
    let row = "9223372036854775807, 'github', 'ping', 'd-1', '{}', '2025-01-31T12:00:00+00:00', 'processed'";
    let columns = "id, source, event_type, delivery_id, payload_json, received_at, status";
    machine.paste(&format!("sqlite3 webhooks.db \"INSERT INTO webhook_events ({columns}) VALUES ({row})\""));
    assert!(!machine.try_paste("hookbox send github").text().contains("200 OK"), "no id is left");
    machine.stop("hookbox");
    drop(hookbox);
    machine.paste(&example("src/manual/database.md", "sh", "sqlite3 webhooks.db"));
    let _hookbox = machine.serve("hookbox");
    assert!(machine.paste("hookbox send github").contains("200 OK"));
    assert_eq!(machine.paste(ids), "{\"id\":1\n{\"id\":2\n{\"id\":3\n");
}
