//! `hookbox.example.toml`: every key is in it, commented, and works when it is uncommented.

use std::collections::BTreeSet;

use super::read;
use super::schema::keys_of;
use crate::support::{Home, authority};

/// The keys without which the table of another key is none.
const REQUIRED: [&str; 11] =
    ["provider", "secret", "verify", "kind", "on", "url", "run", "subject", "stream", "hook", "ts"];

/// The variables that it names.
const VARIABLES: [(&str, &str); 14] = [
    ("GITHUB_WEBHOOK_SECRET", "x"),
    ("HOOKBOX_ADMIN_TOKEN", "x"),
    ("GITHUB_TOKEN", "x"),
    ("META_APP_SECRET", "x"),
    ("META_VERIFY_TOKEN", "x"),
    ("BUILDS_SECRET", "x"),
    ("DOOR_SECRET", "x"),
    ("API_TOKEN", "x"),
    ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x"),
    ("BEHIND_AUTHORIZATION", "Bearer x"),
    ("BEHIND_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
    ("NATS_PASSWORD", "x"),
    ("NATS_TOKEN", "x"),
    ("REDIS_PASSWORD", "x"),
];

/// A key of the example, uncommented.
struct Key {
    /// `sources.github`; empty at the top.
    table: String,
    name: String,
    line: String,
}

fn keys() -> Vec<Key> {
    let (mut keys, mut table) = (Vec::new(), String::new());
    for line in read("hookbox.example.toml").lines() {
        let Some(line) = line.strip_prefix('#') else { continue };
        if let Some(rest) = line.strip_prefix('[') {
            table = rest.strip_suffix(']').unwrap().to_owned();
        } else if let Some((name, _)) = line.split_once(" = ").filter(|(name, _)| !name.contains(' ')) {
            keys.push(Key { table: table.clone(), name: name.to_owned(), line: line.to_owned() });
        }
    }
    keys
}

/// These keys, each in its table.
fn config<'a>(keys: impl IntoIterator<Item = &'a Key>) -> String {
    let (mut text, mut table) = (String::new(), "");
    for key in keys {
        if key.table != table {
            table = &key.table;
            text += &format!("[{table}]\n");
        }
        text += &format!("{}\n", key.line);
    }
    text
}

fn home() -> Home {
    let home = VARIABLES.iter().fold(Home::new(), |home, (name, value)| home.env(name, value));
    home.write("ca.pem", authority("localhost").0);
    home
}

/// With certificates that are here.
fn check(home: &Home, config: &str) {
    home.write("hookbox.toml", config.replace("/etc/hookbox/ca.pem", "ca.pem"));
    let output = home.run(["check"]);
    assert_eq!(output.code, Some(0), "{config}\n{output}");
}

#[test]
fn everything_in_it_is_commented() {
    for line in read("hookbox.example.toml").lines() {
        assert!(line.is_empty() || line.starts_with('#'), "{line}");
    }
    let home = home();
    check(&home, &read("hookbox.example.toml"));
}

#[test]
fn each_line_works_when_it_is_uncommented_and_so_do_all_together() {
    let (home, keys) = (home(), keys());
    assert!(keys.len() > 90, "{}", keys.len());
    check(&home, &config(&keys));
    for key in &keys {
        let is_around = |other: &&Key| {
            let is_in_table = other.table == key.table || key.table.starts_with(&format!("{}.", other.table));
            std::ptr::eq(*other, key)
                || is_in_table && REQUIRED.contains(&other.name.as_str())
                || other.table == key.table && key.table.ends_with(".recover") && other.name == "token"
        };
        check(&home, &config(keys.iter().filter(is_around)));
    }
}

#[test]
fn every_key_of_the_schema_is_in_it() {
    let keys = keys();
    let names = |is_it: &dyn Fn(&str) -> bool| -> BTreeSet<&str> {
        keys.iter().filter(|key| is_it(&key.table)).map(|key| key.name.as_str()).collect()
    };
    for (table, is_it) in [
        ("retention", &(|table: &str| table == "retention") as &dyn Fn(&str) -> bool),
        ("admin", &|table: &str| table == "admin"),
        ("recover", &|table: &str| table.ends_with(".recover")),
        ("verify", &|table: &str| table.ends_with(".verify")),
    ] {
        assert_eq!(names(is_it), keys_of(table).iter().map(String::as_str).collect(), "{table}");
    }
    let top = names(&str::is_empty);
    let tables = ["admin", "retention", "sources", "actions"];
    assert_eq!(top, keys_of("").iter().map(String::as_str).filter(|key| !tables.contains(key)).collect());
    let of_sources = names(&|table: &str| table.starts_with("sources.") && table.matches('.').count() == 1);
    assert_eq!(of_sources, keys_of("source").iter().map(String::as_str).filter(|key| *key != "recover").collect());
    let of_every_action = keys_of("action-log");
    for kind in ["log", "slack", "http", "command", "nats", "redis"] {
        let line = format!("kind = \"{kind}\" # example");
        let table = &keys.iter().find(|key| key.line == line).unwrap_or_else(|| panic!("no {line}")).table;
        let found = names(&|other: &str| other == table);
        let missing: Vec<String> = keys_of(&format!("action-{kind}"))
            .into_iter()
            .filter(|key| !found.contains(key.as_str()) && (kind == "log" || !of_every_action.contains(key)))
            .collect();
        assert!(missing.is_empty(), "{kind}: {missing:?}");
    }
}
