//! The names of a release's files: what the README, the manual and Cargo.toml say is what `.ci/release` writes.

use std::fs;

use regex_lite::Regex;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn text(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR")))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The README and all chapters, with their paths.
fn manual() -> Vec<(String, String)> {
    let chapters = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/manual")).unwrap();
    let names = chapters.map(|entry| format!("src/manual/{}", entry.unwrap().file_name().display()));
    let names = ["README.md".to_owned()].into_iter().chain(names.filter(|name| name.ends_with(".md")));
    names.map(|name| (name.clone(), text(&name))).collect()
}

/// A key of `[package.metadata.binstall]`, as `cargo binstall` reads it for this target.
fn of_binstall(key: &str, target: &str) -> String {
    let manifest: toml::Table = text("Cargo.toml").parse().unwrap();
    let package = &manifest["package"];
    let mut value = package["metadata"]["binstall"][key].as_str().unwrap().to_owned();
    let repository = package["repository"].as_str().unwrap();
    for (name, is) in
        [("repo", repository), ("version", VERSION), ("target", target), ("bin", "hookbox"), ("binary-ext", "")]
    {
        value = value.replace(&format!("{{ {name} }}"), is);
    }
    assert!(!value.contains('{'), "{key}: {value}");
    value
}

#[test]
fn the_readme_and_the_manual_name_the_files_of_this_version() {
    let names = [
        ("the package", r"hookbox_([0-9][^-]*)-1_", 2),
        ("the image", r"ghcr\.io/hookbox/hookbox:([0-9.]+)", 6),
        ("the image's file", r"hookbox-([0-9][0-9.]*)-oci\.tar", 3),
        ("a release", r"releases/download/v([^/]+)/", 1),
    ];
    let manual = manual();
    for (what, pattern, at_least) in names {
        let pattern = Regex::new(pattern).unwrap();
        let mut count = 0;
        for (path, text) in &manual {
            for named in pattern.captures_iter(text) {
                assert_eq!(&named[1], VERSION, "{path}: {what}: {}", &named[0]);
                count += 1;
            }
        }
        assert!(count >= at_least, "{what} is named {count} times");
    }
}

#[test]
fn binstall_fetches_what_the_release_script_writes() {
    let script = text(".ci/release");
    let targets = script.lines().find_map(|line| line.strip_prefix("targets=(")?.strip_suffix(')')).unwrap();
    assert_eq!(targets.split(' ').count(), 4);
    // The words of the script; `archive` is called with a target.
    let line =
        |start: &str| script.lines().map(str::trim).find_map(|line| line.strip_prefix(start)).unwrap().to_owned();
    let name = line("local name=");
    assert!(script.contains(r#">"$out/$name.tar.gz""#) && script.contains(r#""target/archives/$name/""#));
    for target in targets.split(' ') {
        let name = name.replace("$version", VERSION).replace("$1", target);
        let url = format!("https://github.com/hookbox/hookbox/releases/download/v{VERSION}/{name}.tar.gz");
        assert_eq!(of_binstall("pkg-url", target), url);
        assert_eq!(of_binstall("bin-dir", target), format!("{name}/hookbox"));
    }
    assert_eq!(of_binstall("pkg-fmt", ""), "tgz");
}

#[test]
fn the_release_notes_have_a_section_for_this_version() {
    let changes = text(".github/CHANGELOG.md");
    let newest = changes.lines().find_map(|line| line.strip_prefix("## ")).unwrap();
    assert_eq!(newest, VERSION);
}
