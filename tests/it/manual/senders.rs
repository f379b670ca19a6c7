//! The sources of the manual take deliveries as it says.

use serde_json::Value;

use super::patient;
use crate::support::{Machine, Running, example};

const SOURCES: &str = "src/manual/sources.md";

/// The environment that the examples name.
const SECRETS: &str = "export STRIPE_SECRET=whsec_test TWILIO_AUTH_TOKEN=twilio META_APP_SECRET=meta META_VERIFY_TOKEN=verify \
    DOOR=SECRET HOOKDECK_SIGNING_SECRET=hookdeck; ";

fn with_config(config: &str) -> Option<(Machine, Running)> {
    let machine = Machine::new()?;
    machine.put("/etc/hookbox/doorbell", "s3cret\n");
    machine.put("hookbox.toml", config);
    let hookbox = machine.serve(&format!("{SECRETS} hookbox"));
    Some((machine, hookbox))
}

fn listed(machine: &Machine) -> Vec<Value> {
    machine.paste("hookbox list --json").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A test delivery, signed with the source's secret.
#[track_caller]
fn send(machine: &Machine, source: &str, answer: &str) {
    let sent = machine.paste(&format!("{SECRETS} hookbox send {source}"));
    assert!(sent.trim_end().ends_with(answer), "{source}: {sent}");
}

#[test]
fn stripe_twilio_and_meta_with_their_keys() {
    let Some((machine, _hookbox)) = with_config(&example(SOURCES, "toml", "[sources.shop]")) else { return };
    for source in ["shop", "calls", "whatsapp"] {
        send(&machine, source, "200 OK");
    }
    let at = "http://127.0.0.1:5000/webhooks/whatsapp?hub.mode=subscribe&hub.challenge=12345&hub.verify_token";
    assert_eq!(machine.paste(&format!("curl -s '{at}=verify'")), "12345");
    assert!(!machine.paste(&format!("curl -s '{at}=wrong'")).contains("12345"));
    // Twilio signs the address that was entered there.
    let sign = |url: &str| format!("$(printf '{url}MessageSidx' | openssl dgst -sha1 -hmac twilio -binary | base64)");
    let status = |url: &str| {
        let ask = "curl -s -o /dev/null -w %{http_code} http://127.0.0.1:5000/webhooks/calls -d MessageSid=x";
        machine.paste(&format!("{ask} -H \"X-Twilio-Signature: {}\"", sign(url)))
    };
    assert_eq!(status("https://hooks.example.com/webhooks/calls"), "200");
    assert_eq!(status("http://127.0.0.1:5000/webhooks/calls"), "401");
}

#[test]
fn a_doorbell_of_ones_own_that_signs() {
    let Some((machine, _hookbox)) = with_config(&example(SOURCES, "toml", "[sources.doorbell]")) else { return };
    send(&machine, "doorbell", "204 No Content");
    let deliver = |body: &str, ago_s: u32| {
        machine.paste(&format!(
            "t=$(($(date +%s) - {ago_s})); body='{body}'
            signature=$(printf %s \"$t.$body\" | openssl dgst -sha256 -hmac s3cret -r | cut -d' ' -f1)
            curl -s -o /dev/null -w %{{http_code}} http://127.0.0.1:5000/webhooks/doorbell \
            -H \"X-Signature: t=$t,v1=$signature\" -d \"$body\""
        ))
    };
    let ring = r#"{"n":7,"kind":"ring"}"#;
    assert_eq!((deliver(ring, 0), deliver(ring, 0), deliver(ring, 301)), ("204".into(), "204".into(), "401".into()));
    let last = listed(&machine).pop().unwrap();
    assert_eq!((&last["delivery_id"], &last["event"]), (&"7".into(), &"ring".into()), "{last}");
    assert_eq!(last["duplicates"], 1, "{last}");
    // `repeated_body`: the same body under no id of its own.
    assert_eq!((deliver("{\"kind\":\"a\"}", 0), deliver("{\"kind\":\"a\"}", 0)), ("204".into(), "204".into()));
    assert_eq!(listed(&machine).len(), 3);
}

#[test]
fn a_door_that_is_opened_by_get() {
    let door = example(SOURCES, "toml", "[sources.door]");
    let Some((machine, _hookbox)) = with_config(&door) else { return };
    let target = door.split_once("# GET ").unwrap().1.lines().next().unwrap();
    for method in ["GET", "POST"] {
        let answer = machine.paste(&format!("curl -si -X {method} 'http://127.0.0.1:5000{target}'"));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
        assert!(answer.contains("\r\nX-From: hookbox\r\nContent-Type: text/plain"), "{answer}");
    }
    let shown: Value = serde_json::from_str(&machine.paste("hookbox show 1 --json")).unwrap();
    assert_eq!(shown["payload"], serde_json::json!({ "light": "on" }), "without the secret");
    let wrong = machine.paste(&format!("curl -si 'http://127.0.0.1:5000{}'", target.replace("SECRET", "WRONG")));
    assert!(wrong.starts_with("HTTP/1.1 401 "), "{wrong}");
    send(&machine, "door", "200 OK ok");
}

/// Signed as Hookdeck documents it: HMAC-SHA256 of the body, base64.
#[test]
fn a_relay_by_hookdeck() {
    let Some((machine, _hookbox)) = with_config(&example("src/manual/migrate.md", "toml", "[sources.relay]")) else {
        return;
    };
    let deliver = |secret: &str| {
        machine.paste(&format!(
            "signature=$(printf '{{\"a\": 1}}' | openssl dgst -sha256 -hmac {secret} -binary | base64)
            curl -s -o /dev/null -w %{{http_code}} http://127.0.0.1:5000/webhooks/relay -H 'X-Hookdeck-EventID: evt_1' \
            -H \"X-Hookdeck-Signature: $signature\" -H 'Content-Type: application/json' -d '{{\"a\": 1}}'"
        ))
    };
    assert_eq!(
        (deliver("hookdeck"), deliver("hookdeck"), deliver("wrong")),
        ("200".into(), "200".into(), "401".into())
    );
    let all = listed(&machine);
    assert_eq!((all.len(), &all[0]["delivery_id"], &all[0]["duplicates"]), (1, &"evt_1".into(), &1.into()));
}

#[test]
fn the_page_at_an_address_of_its_own() {
    let Some(machine) = Machine::new() else { return };
    machine.name("192.168.1.5", "pi.local");
    let admin = example("src/manual/page.md", "toml", "");
    let made_by = admin.split_once("# made by: ").unwrap().1.lines().next().unwrap();
    machine.put("hookbox.toml", &admin);
    machine.paste(&format!(
        "mkdir -p /etc/hookbox; {made_by} >/etc/hookbox/admin.token; chmod 600 /etc/hookbox/admin.token"
    ));
    let _hookbox = machine.serve("hookbox");
    let status = |host: &str, token: &str| {
        machine.paste(&format!(
            "curl -s -o /dev/null -w %{{http_code}} -H \"Authorization: Bearer {token}\" http://{host}:5001/api/stats"
        ))
    };
    let token = "$(cat /etc/hookbox/admin.token)";
    assert_eq!((status("pi.local", token), status("192.168.1.5", token)), ("200".into(), "200".into()));
    assert_eq!(status("pi.local", "wrong"), "401");
    machine.name("192.168.1.5", "other.local");
    assert_ne!(status("other.local", token), "200", "a name that is not in hosts");
    assert!(machine.paste("hookbox page").contains("http://192.168.1.5:5001/#"), "{}", machine.paste("hookbox page"));
}

#[test]
fn a_prometheus_with_the_manuals_config_scrapes_it() {
    let Some(machine) = Machine::new() else { return };
    machine.put("prometheus.yml", &example("src/manual/metrics.md", "yaml", "scrape_configs:"));
    if !machine.has("prometheus") || !machine.has("promtool") {
        return;
    }
    assert!(machine.paste("promtool check config prometheus.yml").contains("SUCCESS"));
    // Without a login of its own in the machine, as the file says of a token.
    let _hookbox = machine.serve("hookbox");
    machine.put("often.yml", &format!("global: {{scrape_interval: 1s}}\n{}", machine.read("prometheus.yml")));
    let _prometheus = machine.start("exec prometheus --config.file=often.yml --web.listen-address=127.0.0.1:9090");
    let ask = "curl -s 'http://127.0.0.1:9090/api/v1/query?query=up%7Bjob=%22hookbox%22%7D==1'";
    patient("Prometheus to scrape hookbox", || machine.try_paste(ask).text().contains("127.0.0.1:5001"));
}

#[test]
fn the_first_config_takes_from_kuma_and_from_networks_of_github_alone() {
    let Some(machine) = Machine::new() else { return };
    machine.put("hookbox.toml", &example("src/manual/config.md", "toml", "listen"));
    let hookbox = machine.serve("GITHUB_WEBHOOK_SECRET=s3cret hookbox");
    let kuma = "curl -s -o /dev/null -w %{http_code} http://127.0.0.1:5000/webhooks/kuma -d '{\"heartbeat\": null}'";
    assert_eq!(machine.paste(kuma), "200");
    let from_github = "GITHUB_WEBHOOK_SECRET=s3cret hookbox send github --event push";
    assert!(machine.try_paste(from_github).text().contains(": 403 Forbidden"));
    // As the trusted proxy passes it on.
    let sign = "printf '{}' | openssl dgst -sha256 -hmac s3cret -r | cut -d' ' -f1";
    let passed_on = "curl -s -o /dev/null -w %{http_code} http://127.0.0.1:5000/webhooks/github -d '{}' \
        -H 'Content-Type: application/json' -H 'X-GitHub-Event: push' -H 'X-GitHub-Delivery: d-1'";
    let from = |address: &str| {
        let fields = format!("-H \"X-Hub-Signature-256: sha256=$({sign})\" -H 'X-Forwarded-For: {address}'");
        machine.paste(&format!("{passed_on} {fields}"))
    };
    assert_eq!((from("140.82.115.1"), from("203.0.113.1")), ("200".into(), "403".into()));
    hookbox.wait_for_stdout("Handling event push");
}

#[test]
fn more_files_are_taken_in_the_order_of_their_names() {
    let Some(machine) = Machine::new() else { return };
    machine.put("hookbox.toml", &example("src/manual/config.md", "toml", "include"));
    machine.put("conf.d/20-door.toml", "[sources.door]\nprovider = \"token\"\nsecret = \"env:DOOR\"\n");
    machine.put("conf.d/10-print.toml", "[actions.print]\nkind = \"log\"\non = [\"door:*\"]\n");
    machine.put("conf.d/.hidden.toml", "nonsense = 1\n");
    let checked = machine.paste(&format!("{SECRETS} hookbox check"));
    let [first, second] = ["conf.d/10-print.toml", "conf.d/20-door.toml"].map(|name| checked.find(name));
    assert!(first.is_some() && first < second, "{checked}");
    assert!(checked.contains("/webhooks/door") && checked.contains("no problem found"), "{checked}");
}
