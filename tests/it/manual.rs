//! The examples in the README and the configs in the manual are valid, word for word.

mod coming;
mod commands;
mod coverage;
mod doctor;
mod doing;
mod first;
mod names;
mod senders;

use std::time::Duration;

use crate::support::{Home, SECRET, SOURCE, example, wait_longer_for};

const CREDENTIALS: [(&str, &str); 9] = [
    ("RABBITMQ_AUTHORIZATION", "Basic Z3Vlc3Q6Z3Vlc3Q="),
    ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x"),
    ("BEHIND_SECRET", SECRET),
    ("STRIPE_SECRET", "whsec_test"),
    ("TWILIO_AUTH_TOKEN", SECRET),
    ("GITHUB_TOKEN", "github_pat_x"),
    ("META_APP_SECRET", SECRET),
    ("META_VERIFY_TOKEN", SECRET),
    ("CENTRE_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
];

/// Polls for longer than the delays in the manual's examples.
#[track_caller]
fn patient(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_longer_for(what, Duration::from_secs(60), || is_so().then_some(()));
}

/// What `check` prints for a config.
#[track_caller]
fn checked(config: &str) -> String {
    let home = Home::with_config(config);
    home.write("secret", SECRET);
    let home = CREDENTIALS.iter().fold(home, |home, (name, value)| home.env(name, value));
    let printed = home.run(["check"]).ok().text();
    // Its programs and addresses need not be here, and the tests set the variable always.
    let absent = [".run: there is no program", "GITHUB_WEBHOOK_SECRET is set", "cannot be listened on"];
    let is_missing = |line: &str| absent.iter().any(|part| line.contains(part));
    assert!(!printed.lines().any(|line| line.contains("WARNING") && !is_missing(line)), "{printed}");
    printed
}

#[test]
fn the_readme_is_short() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    assert!(readme.lines().count() <= 250);
}

#[test]
fn the_readme_has_five_figures_as_they_were_measured() {
    let read = |name: &str| std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (readme, figures) = (read("README.md"), read("tests/bench/FIGURES.md"));
    let rows = readme.split_once("## Five figures").unwrap().1.split_once("|---|---|\n").unwrap().1;
    let rows: Vec<&str> = rows.lines().take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 5);
    for row in rows {
        assert!(figures.lines().any(|line| line.starts_with(row)), "tests/bench/FIGURES.md has not {row}");
    }
}

#[test]
fn the_readme_counts_the_providers() {
    let printed = Home::new().run(["providers"]).ok().text();
    // Below the title; two are for senders of one's own.
    let count = printed.lines().skip(1).take_while(|line| !line.is_empty()).count() - 2;
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for said in [format!("{} other providers", count - 1), format!("| {count} providers")] {
        assert!(readme.contains(&said), "README.md does not say {said:?}");
    }
}

#[test]
fn config() {
    let printed = checked(&example("src/manual/config.md", "toml", "listen"));
    assert!(printed.contains("/webhooks/kuma") && printed.contains("print"), "{printed}");
}

#[test]
fn sources() {
    let providers = example("src/manual/sources.md", "toml", "[sources.shop]");
    let doorbell = example("src/manual/sources.md", "toml", "[sources.doorbell]");
    let printed = checked(&(providers + &doorbell.replace("/etc/hookbox/doorbell", "secret")));
    for name in ["shop", "calls", "whatsapp", "doorbell"] {
        assert!(printed.contains(&format!("/webhooks/{name}")), "{printed}");
    }
}

#[test]
fn actions() {
    let printed = checked(&(SOURCE.to_owned() + &example("src/manual/actions.md", "toml", "[actions.team]")));
    assert!(printed.contains("on github:issues"), "{printed}");
    let printed = checked(&(SOURCE.to_owned() + &example("src/manual/retries.md", "toml", "[actions.team]")));
    assert!(printed.contains("on hookbox:job.dead") && !printed.contains("WARNING"), "{printed}");
    let printed = checked(&(SOURCE.to_owned() + &example("src/manual/actions.md", "toml", "[actions.queue]")));
    assert!(printed.contains("success when answer.json.routed"), "{printed}");
}

#[test]
fn recover() {
    let printed = checked(&example("src/manual/recover.md", "toml", "[sources.github]"));
    assert!(printed.contains("every 10m, only push, release"), "{printed}");
}

#[test]
fn reach() {
    let nats = example("src/manual/reach.md", "toml", "[actions.bus]");
    let redis = example("src/manual/reach.md", "toml", "[actions.stream]");
    let edge = example("src/manual/reach.md", "toml", "# on each edge");
    let printed = checked(&(SOURCE.to_owned() + &nats + &redis + &edge));
    for part in ["kind nats", "kind redis", "POST https://hooks.internal.example.com/..."] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let centre = example("src/manual/reach.md", "toml", "# in the centre");
    assert!(checked(&centre).contains("provider standard-webhooks"));
}

#[test]
fn page() {
    let admin = example("src/manual/page.md", "toml", "");
    let printed = checked(&(SOURCE.to_owned() + &admin.replace("/etc/hookbox/admin.token", "secret")));
    assert!(printed.contains("192.168.1.5:5001"), "{printed}");
}

#[test]
fn container() {
    let config = example("src/manual/install.md", "toml", "trusted_proxies");
    let config = config.replace("/run/secrets/github", "secret").replace("/run/secrets/page", "secret");
    let home = Home::with_config(&config);
    home.write("secret", SECRET);
    let printed = home.run(["check", "--listen", "0.0.0.0:5000"]).ok().text();
    assert!(printed.contains("0.0.0.0:5001, with a token"), "{printed}");
}
