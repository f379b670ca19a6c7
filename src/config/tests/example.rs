//! The example config of a release: what it gives as defaults are the defaults.

use super::*;

const EXAMPLE: &str = include_str!("../../../.github/release/hookbox.example.toml");

/// Without a default of their own.
const MARK: &str = " # example";

/// Those that read otherwise where they are written, and do the same: an address that was written is waited for where it
/// cannot be listened at, a method is then no longer the provider's, and a prefix holds at every place of the signature.
const READ_OTHERWISE: [(&str, &str); 3] =
    [("admin", "listen"), ("sources.door", "methods"), ("sources.builds.verify", "prefix")];

/// The lines of the example, uncommented, each with its table and its key.
fn keys() -> Vec<(&'static str, &'static str, &'static str)> {
    let (mut keys, mut table) = (Vec::new(), "");
    for line in EXAMPLE.lines().filter_map(|line| line.strip_prefix('#')) {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' ')) {
            keys.push((table, key, line));
        }
    }
    keys
}

/// Those without which a table is none, of the tables around `table`.
fn required(table: &str) -> String {
    let names = ["provider", "secret", "verify", "kind", "on", "url", "run", "subject", "stream", "hook", "token"];
    let is_around = |other: &str| other == table || table.starts_with(&format!("{other}.")) && !other.is_empty();
    let mut text = String::new();
    for (other, key, line) in keys().into_iter().filter(|(other, ..)| is_around(other)) {
        let header = format!("[{other}]\n");
        if !other.is_empty() && !text.contains(&header) {
            text += &header;
        }
        if names.contains(&key) && line.ends_with(MARK) {
            text += &format!("{line}\n");
        }
    }
    text
}

#[test]
fn what_the_example_gives_as_a_default_is_the_default() {
    let mut defaults = 0;
    for (table, key, line) in keys().into_iter().filter(|(.., line)| !line.ends_with(MARK)) {
        if READ_OTHERWISE.contains(&(table, key)) {
            continue;
        }
        let without = required(table);
        let with = format!("{without}{line}\n");
        assert_eq!(format!("{:?}", config(&with)), format!("{:?}", config(&without)), "{with}");
        defaults += 1;
    }
    assert!(defaults > 25, "{defaults}");
}
