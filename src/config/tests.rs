mod example;

use std::ffi::OsString;

use super::action::{ATTEMPTS, BACKOFF};
use super::source::BUILT_IN_SECRET;
use super::*;
use crate::action::{ActionKind, Pattern};
use crate::provider::Verification;
use crate::retry::Policy;
use crate::secret::SecretRef;

fn nothing_set(_: &str) -> Option<OsString> {
    None
}

fn secret_set(name: &str) -> Option<OsString> {
    (name == BUILT_IN_SECRET).then(|| OsString::from("s3cret"))
}

fn load(toml: &str, env: &Env) -> Result<Config, ConfigError> {
    let path = Path::new("hookbox.toml");
    Config::of(path, Whole::of(path, toml.parse().expect("TOML")), env)
}

fn config(toml: &str) -> Config {
    load(toml, &nothing_set).expect("a valid config")
}

fn problems(toml: &str) -> Vec<String> {
    match load(toml, &nothing_set) {
        Err(error) => error.to_string().lines().map(|line| line.replacen("hookbox.toml: ", "", 1)).collect(),
        Ok(_) => Vec::new(),
    }
}

/// The only problem of a config.
fn problem(toml: &str) -> String {
    let mut problems = problems(toml);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.remove(0)
}

fn source(keys: &str) -> String {
    format!("[sources.a]\nprovider = 'github'\n{keys}")
}

fn action(keys: &str) -> String {
    format!("[actions.a]\nkind = 'log'\non = '*'\n{keys}")
}

#[test]
fn an_empty_config_has_the_defaults() {
    let config = config("");
    assert_eq!(config.listen, Listen::Tcp("127.0.0.1:5000".to_owned()));
    assert_eq!(config.database, Path::new("webhooks.db"));
    assert_eq!(config.max_body_bytes, 25 * 1024 * 1024);
    assert_eq!(config.poll_interval, Duration::from_secs(5));
    assert_eq!(config.disk_reserve_bytes, 64 * 1024 * 1024);
    assert_eq!(config.sources["github"].verifier.preset.name, "github");
    let log = &config.actions["log"];
    assert!(matches!(log.kind, ActionKind::Log));
    assert_eq!((&log.on, log.policy), (&vec![Pattern::everything()], Policy::default()));
    assert_eq!((config.sources.len(), config.actions.len()), (1, 1));
}

#[test]
fn the_defaults_are_within_their_bounds() {
    assert!(DEFAULT_LISTEN.parse::<Listen>().is_ok());
    assert!(MAX_BODY_BYTES.contains(&DEFAULT_MAX_BODY_BYTES));
    assert!(POLL_INTERVAL.contains(&DEFAULT_POLL_INTERVAL));
    assert!(DISK_RESERVE_BYTES.contains(&DEFAULT_DISK_RESERVE_BYTES));
    let policy = Policy::default();
    assert!(ATTEMPTS.contains(&policy.attempts));
    assert!(BACKOFF.contains(&policy.backoff) && BACKOFF.contains(&policy.backoff_max));
}

#[test]
fn the_built_in_source_verifies_if_the_variable_is_set() {
    let verification = |env: &Env| load("", env).expect("a config").sources["github"].verification.clone();
    assert!(matches!(verification(&nothing_set), Verification::LocalOnly));
    for value in ["s3cret", ""] {
        let set = |name: &str| (name == BUILT_IN_SECRET).then(|| OsString::from(value));
        let verification = verification(&set);
        let [secret] = verification.secrets() else { unreachable!("{verification:?}") };
        assert_eq!(secret.to_string(), "env:GITHUB_WEBHOOK_SECRET");
        assert_eq!(secret.resolve(&set).is_ok(), !value.is_empty());
    }
}

#[test]
fn a_configured_source_replaces_the_built_in_one() {
    let config = load(&source("secret = 'env:A'"), &secret_set).expect("a config");
    assert_eq!(config.sources.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn every_key_is_read() {
    let config = config(
        r#"
        listen = "unix:/run/hookbox/http.sock"
        database = "/var/lib/hookbox/webhooks.db"
        max_body = "1 MiB"
        poll_interval = "250ms"
        disk_reserve = 134217728
        trusted_proxies = ["127.0.0.0/8", "::1"]

        [sources.ci]
        provider = "github"
        secret = ["env:OLD", "file:/run/new"]
        allow = "192.30.252.0/22"

        [sources.lab]
        provider = "github"
        verify = "none"

        [actions.team]
        kind = "log"
        on = ["ci:push", "*:ping"]
        attempts = 3
        backoff = "1m"
        backoff_max = "2h"
        "#,
    );
    assert_eq!(config.origin, Origin::File(PathBuf::from("hookbox.toml")));
    assert_eq!(config.listen, Listen::Unix(PathBuf::from("/run/hookbox/http.sock")));
    assert_eq!(config.database, Path::new("/var/lib/hookbox/webhooks.db"));
    assert_eq!(config.max_body_bytes, 1 << 20);
    assert_eq!(config.poll_interval, Duration::from_millis(250));
    assert_eq!(config.disk_reserve_bytes, 128 << 20);
    let shown = |networks: &[Cidr]| networks.iter().map(Cidr::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&config.trusted_proxies), ["127.0.0.0/8", "::1/128"]);
    assert_eq!(shown(config.sources["ci"].allow.as_deref().unwrap_or_default()), ["192.30.252.0/22"]);
    let secrets = config.sources["ci"].verification.secrets();
    assert_eq!(secrets.iter().map(SecretRef::to_string).collect::<Vec<_>>(), ["env:OLD", "file:/run/new"]);
    assert!(matches!(config.sources["lab"].verification, Verification::Nothing));
    let team = &config.actions["team"];
    assert_eq!(team.on.iter().map(Pattern::to_string).collect::<Vec<_>>(), ["ci:push", "*:ping"]);
    let policy =
        Policy { attempts: 3, backoff: Duration::from_secs(60), backoff_max: Duration::from_secs(2 * 60 * 60) };
    assert_eq!(team.policy, policy);
}

#[test]
fn all_problems_are_reported_at_once() {
    let found = problems(
        r#"
        listen = 5000
        databse = "x.db"
        max_body = "25 M"
        poll_interval = 5

        [sources.GitHub]
        provider = "githb"
        secret = ""

        [sources.lab]
        secrte = "env:A"

        [actions.team]
        kind = "carrier-pigeon"
        on = ["*", "issues"]
        "#,
    );
    let starts = [
        "listen: expected a string, found an integer",
        "max_body: \"25 M\" is not a size",
        "poll_interval: expected a duration with its unit",
        "sources.GitHub: a name is",
        "sources.GitHub.provider: no provider \"githb\"; did you mean \"github\"?",
        "sources.GitHub.secret: the secret is empty",
        "sources.lab.provider: missing; write one of those that `hookbox providers` lists",
        "sources.lab.secret: missing; write \"env:NAME\"",
        "sources.lab.secrte: unknown key; did you mean secret?",
        "actions.team.kind: no kind \"carrier-pigeon\"; known: log",
        "actions.team.on[1]: \"issues\" has no colon",
        "databse: unknown key; did you mean database?",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found:?} does not start with {start:?}");
    }
}

#[test]
fn every_line_of_the_problems_names_the_file() {
    let shown = load("a = 1\nb = 2", &nothing_set).expect_err("problems").to_string();
    assert_eq!(shown.lines().count(), 2);
    assert!(shown.lines().all(|line| line.starts_with("hookbox.toml: ")), "{shown}");
}

#[test]
fn a_source_needs_a_secret_or_verify_none() {
    assert!(problem(&source("")).starts_with("sources.a.secret: missing"));
    assert!(problem(&source("secret = 'x'\nverify = 'none'")).starts_with("sources.a.verify: there is a secret too"));
    assert!(problem(&source("verify = 'no'")).starts_with("sources.a.verify: \"no\" is unknown"));
    assert!(problem(&source("verify = false")).starts_with("sources.a.verify: expected a string"));
    assert!(problem(&source("secret = []")).starts_with("sources.a.secret: the list is empty"));
    assert!(problem(&source("secret = ['x', '']")).starts_with("sources.a.secret[1]: the secret is empty"));
    assert!(problem("[sources]").starts_with("sources: no source in it"));
}

#[test]
fn no_problem_shows_a_secret() {
    for keys in ["secret = 'hunter2'\nverify = 'none'", "secret = ['hunter2', 7]", "secret = 'env:hunter2=x'"] {
        let shown = problem(&source(keys));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn an_action_needs_its_kind_and_events() {
    assert!(problem("[actions.a]\nkind = 'log'").starts_with("actions.a.on: missing"));
    assert!(problem("[actions.a]\nkind = 'log'\non = []").starts_with("actions.a.on: the list is empty"));
    assert!(problem("[actions.a]\non = '*'").starts_with("actions.a.kind: missing; write one of: log"));
}

#[test]
fn actions_may_be_empty() {
    assert!(config("[actions]").actions.is_empty());
}

#[test]
fn numbers_have_bounds() {
    let cases = [
        ("max_body = 25", "max_body: 25B is out of bounds; write something from 1KiB to 100MiB"),
        ("max_body = -1", "max_body: a size is not negative"),
        ("max_body = '1GiB'", "max_body: 1GiB is out of bounds"),
        ("poll_interval = '10ms'", "poll_interval: 10ms is out of bounds; write something from 100ms to 1h"),
        ("poll_interval = '2h'", "poll_interval: 2h is out of bounds"),
        ("disk_reserve = 0", "disk_reserve: 0B is out of bounds"),
    ];
    for (toml, start) in cases {
        let found = problem(toml);
        assert!(found.starts_with(start), "{found:?} does not start with {start:?}");
    }
    assert!(problem(&action("attempts = 0")).starts_with("actions.a.attempts: 0 is out of bounds"));
    assert!(problem(&action("attempts = 5000000000")).starts_with("actions.a.attempts: 5000000000 is out of bounds"));
    assert!(problem(&action("attempts = '3'")).starts_with("actions.a.attempts: expected a whole number"));
    assert!(problem(&action("backoff = '1ms'")).starts_with("actions.a.backoff: 1ms is out of bounds"));
    assert!(problem(&action("backoff = '13h'")).starts_with("actions.a.backoff_max: 12h is less than backoff, 13h"));
}

#[test]
fn the_database_must_be_a_file() {
    assert!(problem("database = ''").starts_with("database: the path is empty"));
    assert!(problem("database = ':memory:'").starts_with("database: a database in memory"));
}

#[test]
fn a_named_file_is_loaded() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("mine.toml");
    std::fs::write(&path, "database = 'mine.db'").expect("written");
    let config = Config::load(Some(&path), &nothing_set).expect("a config");
    assert_eq!((config.database, config.origin), (PathBuf::from("mine.db"), Origin::File(path)));
}

#[test]
fn the_private_listener_needs_a_token_to_be_reached_from_elsewhere() {
    let listen = |toml: &str| config(toml).admin.listen;
    assert_eq!(listen(""), AdminListen::ByDefault);
    assert_eq!(listen("admin.listen = 'off'"), AdminListen::Off);
    for place in ["127.0.0.1:1", "127.8.8.8:1", "localhost:1", "[::1]:1", "unix:/run/a.sock"] {
        assert_eq!(listen(&format!("admin.listen = '{place}'")), AdminListen::At(place.parse().expect("a place")));
    }
    for place in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "pi.local:1", "127.0.0.1.evil.example:1"] {
        let text = problem(&format!("admin.listen = '{place}'"));
        assert!(text.starts_with("admin.token: missing"), "{place}: {text}");
        config(&format!("[admin]\nlisten = '{place}'\ntoken = 'env:ADMIN'"));
    }
}

#[test]
fn the_private_listeners_hosts_are_host_names() {
    let hosts = config("admin.hosts = ['Pi.local', '[fd00::1]', '192.0.2.1']").admin.hosts;
    assert_eq!(hosts, ["pi.local", "[fd00::1]", "192.0.2.1"]);
    for wrong in ["", "pi.local:5001", "[::1]:5001", "[pi]", "http://pi.local", "pi local", "*"] {
        let text = problem(&format!("admin.hosts = ['{wrong}']"));
        assert!(text.starts_with("admin.hosts[0]: "), "{wrong}: {text}");
    }
}

#[test]
fn a_path_that_is_taken_or_none_is_refused() {
    let with = |path: &str| format!("[sources.a]\nprovider = 'token'\nsecret = 'x'\npath = '{path}'");
    for (path, words) in [
        ("hooks/a", "begins with /"),
        ("/a?b", "not a path"),
        ("/a b", "not a path"),
        ("/a/../b", "without them"),
        ("/%77ebhooks/b", "rename the source"),
        ("/healthz", "is taken"),
    ] {
        assert!(problem(&with(path)).contains(words), "{path}: {}", problem(&with(path)));
    }
    assert_eq!(config(&with("/h%6f%c3%bc")).sources["a"].further_path.as_deref(), Some("/ho%C3%BC"));
}

#[test]
fn only_senders_of_ones_own_share_a_path_and_few_of_them() {
    let source = |name: &str, provider: &str, path: &str| {
        format!("[sources.{name}]\nprovider = \"{provider}\"\nsecret = \"env:A\"\npath = \"{path}\"\n")
    };
    let of = |names: &str| -> String { names.chars().map(|name| source(&name.to_string(), "hmac", "/h")).collect() };
    assert_eq!(config(&of("abcd")).sources.len(), 4);
    assert_eq!(problem(&of("abcde")), "sources.e.path: more than 4 sources share /h; give this one a path of its own");
    let two = source("a", "github", "/h") + &source("b", "hmac", "/%68");
    let message = problem(&two);
    assert!(message.starts_with("sources.b.path: sources.a.path is /h too; only hmac and token"), "{message}");
}

#[test]
fn methods_and_answer_are_for_own_senders_and_must_be_able_to_work() {
    for keys in ["methods = ['GET']", "answer = { body = 'ok' }"] {
        assert!(problem(&source(&format!("secret = 'x'\n{keys}"))).contains("senders of your own"));
    }
    let own = |provider: &str, keys: &str| format!("[sources.a]\nprovider = '{provider}'\nsecret = 'x'\n{keys}");
    for (provider, keys, words) in [
        ("hmac", "methods = ['GET']", "does not cover that"),
        ("token", "methods = ['GET']\nverify = { sig = 'json:/t' }", "expected in it"),
        ("token", "methods = ['HEAD']", "every source answers HEAD"),
        ("token", "methods = ['OPTIONS']", "is not a method"),
        ("token", "methods = []", "the list is empty"),
        ("token", "status = 201\nanswer = { body = 'ok' }", "write it there"),
        ("token", "answer = { status = 204, body = 'ok' }", "has no body"),
        ("token", "answer = { status = 500 }", "out of bounds"),
        ("token", "answer = { headers = { Content-Length = '7' } }", "sends this header itself"),
        ("token", "answer = { headers = { A = \"x\\ny\" } }", "value of a header"),
        ("token", "answer = { headers = { 'a b' = 'x' } }", "name of a header"),
    ] {
        assert!(problem(&own(provider, keys)).contains(words), "{keys}: {}", problem(&own(provider, keys)));
    }
    let both = config(&own("token", "methods = ['get', 'PUT']\nverify = { sig = 'query:t|json:/t' }"));
    assert_eq!(both.sources["a"].methods, ["GET", "PUT"]);
}

#[test]
fn a_signature_may_begin_with_one_of_several_prefixes() {
    let keys = "secret = 'x'\nverify = { prefix = ['sha256=', ''] }";
    let scheme = &config(&source(keys)).sources["a"].verifier.scheme;
    assert_eq!((scheme.prefix.as_str(), scheme.other_prefixes.as_slice()), ("sha256=", &[String::new()][..]));
}

#[test]
fn a_url_without_a_host_is_refused() {
    for kind in ["http", "slack"] {
        let text = problem(&format!("[actions.a]\nkind = '{kind}'\non = '*'\nurl = 'https://'"));
        assert!(text.starts_with("actions.a.url: a URL begins with"), "{text}");
    }
}
