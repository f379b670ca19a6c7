//! `hookbox.schema.json` against what reads the config. Its verdicts are those of `jsonschema`, from PyPI.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{path, read};
use crate::support::{Home, is_installed, python};

/// Reads TOML texts and prints what the schema has against each: `null`, or the first error.
const JUDGE: &str = "
import json, sys, tomllib, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
def judge(text):
    error = jsonschema.exceptions.best_match(validator.iter_errors(tomllib.loads(text)))
    return error and f'{error.json_path}: {error.message[:200]}'
json.dump([judge(text) for text in json.load(open('configs.json'))], sys.stdout)
";

/// What the schema has against each of these configs; `None` where it cannot be asked.
#[track_caller]
pub fn judge(configs: &[String]) -> Option<Vec<Option<String>>> {
    if !is_installed("python3", &["-c", "import jsonschema, tomllib"]) {
        return None;
    }
    let home = Home::new();
    home.write("configs.json", json!(configs).to_string());
    let output = python(&home)?.args(["-c", JUDGE]).arg(path("hookbox.schema.json")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

pub fn schema() -> Value {
    serde_json::from_str(&read("hookbox.schema.json")).unwrap()
}

/// The keys of a table: of the whole file, of one that has a definition, or of a kind of action.
pub fn keys_of(definition: &str) -> BTreeSet<String> {
    let schema = schema();
    if let Some(kind) = definition.strip_prefix("action-") {
        let kinds = schema["$defs"]["action"]["allOf"].as_array().unwrap();
        let of_kind = kinds.iter().find(|it| it["if"]["properties"]["kind"]["const"] == kind).unwrap();
        let names = of_kind["then"]["propertyNames"]["enum"].as_array().unwrap();
        return names.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    }
    let table = if definition.is_empty() { &schema } else { &schema["$defs"][definition] };
    assert_eq!(table["additionalProperties"], false, "{definition}");
    table["properties"].as_object().unwrap().keys().cloned().collect()
}

/// What `check` has against a config: the message after this key.
#[track_caller]
fn refusal(home: &Home, config: &str, key: &str) -> String {
    home.write("hookbox.toml", config);
    let said = home.run(["check", "--no-secrets"]).stderr;
    let found = said.lines().find_map(|line| Some(line.split_once(&format!("{key}: "))?.1.to_owned()));
    found.unwrap_or_else(|| panic!("nothing about {key}: {said}"))
}

/// A key that is like none.
const UNKNOWN: &str = "zzzzzzzzzzzz";

#[test]
fn it_has_every_key_that_is_read_and_no_other() {
    let home = Home::new();
    let action = |kind: &str, keys: &str| format!("[actions.a]\nkind = '{kind}'\non = '*'\n{keys}\n");
    let (github, hmac) =
        ("[sources.a]\nprovider = 'github'\nsecret = 'x'\n", "[sources.a]\nprovider = 'hmac'\nsecret = 'x'\n");
    for (definition, table, config) in [
        ("", "", String::new()),
        ("admin", "admin", "[admin]\n".to_owned()),
        ("retention", "retention", "[retention]\n".to_owned()),
        ("source", "sources.a", format!("{hmac}answer = {{}}\n")),
        ("answer", "sources.a.answer", format!("{hmac}[sources.a.answer]\n")),
        ("verify", "sources.a.verify", format!("{hmac}[sources.a.verify]\n")),
        ("recover", "sources.a.recover", format!("{github}[sources.a.recover]\nhook = 'o/r/1'\ntoken = 'x'\n")),
        ("action-log", "actions.a", action("log", "")),
        ("action-slack", "actions.a", action("slack", "url = 'http://x'")),
        ("action-http", "actions.a", action("http", "url = 'http://x'")),
        ("action-command", "actions.a", action("command", "run = 'x'")),
        ("action-nats", "actions.a", action("nats", "url = 'nats://x'\nsubject = 'x'")),
        ("action-redis", "actions.a", action("redis", "url = 'redis://x'\nstream = 'x'")),
    ] {
        let key = if table.is_empty() { UNKNOWN.to_owned() } else { format!("{table}.{UNKNOWN}") };
        let said = refusal(&home, &format!("{config}{UNKNOWN} = 1\n"), &key);
        let known = said.strip_prefix("unknown key; known here: ").unwrap_or_else(|| panic!("{said}"));
        // Read only to say what has taken its place.
        let known: BTreeSet<String> = known.split(", ").filter(|key| *key != "on_dead").map(str::to_owned).collect();
        assert_eq!(keys_of(definition), known, "{definition}");
    }
}

/// Editors show what stands beside the type of a key, not beside a `$ref` or an `anyOf`.
#[test]
fn editors_can_show_what_each_key_means_and_its_default() {
    fn check(at: &str, table: &Value) {
        for (key, schema) in table["properties"].as_object().into_iter().flatten() {
            let description = schema["description"].as_str().unwrap_or_default();
            if schema["$ref"].is_string() {
                continue; // a table, which has its own
            }
            assert!(description.ends_with('.'), "{at}.{key} is not explained");
            assert!(!schema["type"].is_null(), "{at}.{key} has no type");
            let is_required = table["required"].as_array().is_some_and(|keys| keys.iter().any(|it| it == key));
            let has_default = !schema["default"].is_null() || description.contains("Default: ");
            assert!(is_required || has_default || description.contains("Needed"), "{at}.{key} has no default");
        }
    }
    let schema = schema();
    check("", &schema);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        assert!(definition["description"].is_string(), "{name}");
        check(name, definition);
    }
}

/// Where the reader says which words there are.
#[test]
fn its_words_are_those_that_are_read() {
    let (home, schema) = (Home::new(), schema());
    let words = |list: &str| -> BTreeSet<String> { list.split(", ").map(str::to_owned).collect() };
    let in_schema = |place: &Value| -> BTreeSet<String> {
        place["enum"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    for key in ["alg", "enc", "ts_unit", "key"] {
        let config = format!("[sources.a]\nprovider = 'hmac'\nsecret = 'x'\nverify = {{ {key} = 'zz' }}\n");
        let said = refusal(&home, &config, &format!("sources.a.verify.{key}"));
        let known = words(said.split_once("write one of: ").unwrap().1);
        assert_eq!(in_schema(&schema["$defs"]["verify"]["properties"][key]), known, "{key}");
    }
    let said = refusal(&home, "[actions.a]\nkind = 'zz'\non = '*'\n", "actions.a.kind");
    assert_eq!(
        in_schema(&schema["$defs"]["action"]["properties"]["kind"]),
        words(said.split_once("known: ").unwrap().1)
    );
    let listed = home.run(["providers"]).ok().text();
    let names = listed.lines().skip(1).take_while(|line| !line.is_empty());
    let names: BTreeSet<String> = names.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert!(names.len() > 50, "{names:?}");
    assert_eq!(in_schema(&schema["$defs"]["source"]["properties"]["provider"]), names);
}

/// The TOML blocks of the README and the manual.
fn examples() -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let chapters = std::fs::read_dir(root.join("src/manual")).unwrap().map(|entry| entry.unwrap().path());
    let files = chapters.filter(|path| path.extension().is_some_and(|it| it == "md")).chain([root.join("README.md")]);
    let texts: Vec<String> = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let blocks = texts.iter().flat_map(|text| text.split("```toml\n").skip(1));
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn what_the_manual_shows_is_valid_by_it() {
    let home = Home::new();
    let is_read = |config: &String| {
        home.write("hookbox.toml", config);
        let output = home.run(["check", "--no-secrets"]);
        output.code == Some(0)
    };
    let mut configs: Vec<String> = examples().into_iter().filter(is_read).collect();
    assert!(configs.len() >= 15, "{}", configs.len());
    configs.push(read("hookbox.example.toml"));
    let uncommented = |line: &str| {
        let is_key =
            line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['));
        if is_key { line[1..].to_owned() } else { line.to_owned() }
    };
    configs.push(read("hookbox.example.toml").lines().map(uncommented).collect::<Vec<_>>().join("\n"));
    let Some(verdicts) = judge(&configs) else { return };
    for (config, verdict) in configs.iter().zip(verdicts) {
        assert_eq!(verdict, None, "{config}");
    }
}

/// A config with one thing in it.
fn source(keys: &str) -> String {
    format!("[sources.a]\nprovider = 'hmac'\nsecret = 'x'\n{keys}\n")
}

fn action(kind: &str, keys: &str) -> String {
    format!("[actions.a]\nkind = '{kind}'\non = ['*']\n{keys}\n")
}

#[test]
fn what_is_wrong_is_wrong_for_both() {
    let mut wrong: Vec<String> = [
        "listne = '127.0.0.1:5000'",
        "listen = 5000",
        "listen = ':5000'",
        "listen = 'http://x:1'",
        "database = ''",
        "database = ':memory:'",
        "max_body = '25 M'",
        "max_body = true",
        "poll_interval = 5",
        "poll_interval = '5'",
        "stop_timeout = '-5s'",
        "trusted_proxies = []",
        "trusted_proxies = ['proxy.local']",
        "include = 7",
        "sources = 7",
        "[sources]",
        "[sources.A]\nverify = 'none'",
        "[sources.hookbox]\nverify = 'none'",
        "[sources.a]",
        "[sources.a]\nprovider = 'gitub'\nsecret = 'x'",
        "[sources.a]\nverify = 'nothing'",
        "[retention]\nprocessed = 90",
        "[retention]\nolder = '90d'",
        "[admin]\nlisten = 'of'",
        "[admin]\nhosts = ['pi.local:5001']",
        "[admin]\ntoken = ''",
        "[actions.a]",
        "[actions.a]\nkind = 'log'",
        "[actions.a]\nkind = 'logg'\non = '*'",
        "[actions.'a b']\nkind = 'log'\non = '*'",
        "[actions.a]\nkind = 'log'\non = []",
        "[actions.a]\nkind = 'log'\non = 'push'",
        "[actions.a]\nkind = 'log'\non = 'git*:push'",
    ]
    .map(str::to_owned)
    .into();
    wrong.extend(
        [
            "secrets = 'x'",
            "allow = '10.0.0.0/8/8'",
            "id = []",
            "status = 404",
            "status = '200'",
            "path = 'hooks'",
            "path = '/a?b'",
            "methods = ['HEAD']",
            "answer = 'ok'",
            "answer = { status = 500 }",
            "answer = { text = 'x' }",
            "expect_every = 24",
            "dedup_window = '7 parsecs'",
            "repeated_body = true",
            "public_url = 'hooks.example.com'",
            "verify = { alg = 'md5' }",
            "verify = { signed = '' }",
            "verify = { tolerance = -1 }",
            "verify = { tolerance = 'of' }",
            "verify = { enc = 'utf8' }",
            "recover = { hook = 'o/r/1' }",
            "recover = { token = 'x', hook = 'o/r/1', mode = 'ask' }",
        ]
        .map(source),
    );
    for (kind, keys) in [
        ("log", "timeout = '5s'"),
        ("log", "attempts = 0"),
        ("log", "attempts = '10'"),
        ("log", "backoff = 5"),
        ("log", "latest_only = 'yes'"),
        ("log", "when = ''"),
        ("slack", ""),
        ("slack", "url = 'hooks.slack.com'"),
        ("http", "url = 'ftp://x'"),
        ("http", "url = 'http://x'\nmethod = 'A B'"),
        ("http", "url = 'http://x'\nheaders = ['a']"),
        ("http", "url = 'http://x'\nconcurrency = 17"),
        ("http", "url = 'http://x'\nrun = 'x'"),
        ("command", ""),
        ("command", "run = []"),
        ("command", "run = 'x'\ngive_up = [0]"),
        ("command", "run = 'x'\nenv = { HOOKBOX_X = 'y' }"),
        ("command", "run = 'x'\nenv = { X = 7 }"),
        ("nats", "url = 'nats://x'"),
        ("nats", "url = 'http://x'\nsubject = 'x'"),
        ("nats", "url = 'nats://x'\nsubject = 'x'\ndedup = '48h'"),
        ("redis", "url = 'redis://x'"),
        ("redis", "url = 'nats://x'\nstream = 'x'"),
        ("redis", "url = 'redis://x'\nstream = 'x'\nmax_length = 0"),
        ("redis", "url = 'redis://x'\nstream = 'x'\ndedup = 'window'"),
    ] {
        wrong.push(action(kind, keys));
    }
    let home = Home::new();
    for config in &wrong {
        home.write("hookbox.toml", config);
        assert_ne!(home.run(["check", "--no-secrets"]).code, Some(0), "{config}");
    }
    let Some(verdicts) = judge(&wrong) else { return };
    for (config, verdict) in wrong.iter().zip(verdicts) {
        assert!(verdict.is_some(), "the schema takes\n{config}");
    }
}

#[test]
fn durations_and_sizes_are_the_same_for_both() {
    let durations = [
        "500ms", "30s", "10m", "1h 30m", "1h30m", "90d", "1y", "2weeks", "1M", "1.5h", "0", "5", "", "s", "5 s", "-5s",
        "5x", "1e3s",
    ];
    let sizes = ["25MiB", "64 KiB", "1MB", "2048", "2048B", "3mib", "", "MiB", "25 M", "1.5MiB", "-1", "25MiBs"];
    let of_duration = |text: &&str| format!("stop_timeout = '{text}'");
    let of_size = |text: &&str| format!("max_body = '{text}'");
    let configs: Vec<String> = durations.iter().map(of_duration).chain(sizes.iter().map(of_size)).collect();
    let home = Home::new();
    let says = |config: &String| {
        home.write("hookbox.toml", config);
        home.run(["check", "--no-secrets"]).stderr
    };
    let Some(verdicts) = judge(&configs) else { return };
    for (config, verdict) in configs.iter().zip(verdicts) {
        // One that is only out of bounds is written right.
        let said = says(config);
        let is_right = said.is_empty() || said.contains("out of bounds");
        assert_eq!(verdict.is_none(), is_right, "{config}: {said} {verdict:?}");
    }
}
