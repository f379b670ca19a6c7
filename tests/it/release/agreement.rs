//! The schema and the reader of the config, asked about the same configs: each key with values that are right, wrong and at
//! a boundary, keys in the wrong table, missing keys, and what depends on several keys.

use std::collections::BTreeSet;

use super::schema::{judge, keys_of, schema};
use crate::support::Home;

/// What the reader refuses and no schema can: a part of its message.
const ONLY_THE_READER_KNOWS: [&str; 21] = [
    // An integer with a decimal point is one for JSON Schema.
    "found a float",
    // The size of what is written with a unit, and 64 bits.
    "is out of bounds",
    "is not a size",
    "is not a duration",
    "is less than backoff",
    // The grammar of templates, expressions and formats, and the names in them.
    "syntax error",
    "a plain hash proves nothing",
    "no variable \"",
    "is unknown; there are:",
    "has a single brace",
    "it is the same for every delivery",
    // What other files there are.
    "cannot read the config file",
    // The arithmetic of addresses.
    "has bits set beyond the prefix",
    "this is IPv4 written as IPv6",
    "not a network",
    // What the provider's own scheme has.
    "there is no timestamp",
    "write where the timestamp is",
    "write what separates them",
    "signature does not cover that",
    "write where the id is",
    // Two paths in the same spelling, two sources at the same path.
    "is taken",
];

/// A table, and the keys around the one that is tried.
const TABLES: [(&str, &str); 17] = [
    ("", ""),
    ("admin", "[admin]\n"),
    ("retention", "[retention]\n"),
    ("source", "[sources.a]\nprovider = 'hmac'\nsecret = 'env:S'\n"),
    ("source", "[sources.a]\nprovider = 'github'\nsecret = 'env:S'\n"),
    ("source", "[sources.a]\nprovider = 'token'\nsecret = 'env:S'\n"),
    ("source", "[sources.a]\nverify = 'none'\n"),
    ("answer", "[sources.a]\nprovider = 'hmac'\nsecret = 'env:S'\n[sources.a.answer]\n"),
    ("verify", "[sources.a]\nprovider = 'hmac'\nsecret = 'env:S'\n[sources.a.verify]\n"),
    (
        "verify",
        "[sources.a]\nprovider = 'hmac'\nsecret = 'env:S'\n[sources.a.verify]\nts = 'header:T'\nsigned = '{ts}.{body}'\n",
    ),
    (
        "recover",
        "[sources.a]\nprovider = 'github'\nsecret = 'env:S'\n[sources.a.recover]\nhook = 'o/r/1'\ntoken = 'x'\n",
    ),
    ("action", "[actions.a]\nkind = 'log'\non = '*'\n"),
    ("action", "[actions.a]\nkind = 'slack'\non = '*'\nurl = 'http://x'\n"),
    ("action", "[actions.a]\nkind = 'http'\non = '*'\nurl = 'http://x'\n"),
    ("action", "[actions.a]\nkind = 'command'\non = '*'\nrun = 'x'\n"),
    ("action", "[actions.a]\nkind = 'nats'\non = '*'\nurl = 'nats://x'\nsubject = 'x'\n"),
    ("action", "[actions.a]\nkind = 'redis'\non = '*'\nurl = 'redis://x'\nstream = 'x'\n"),
];

/// Values of every type.
const ANY: [&str; 15] = [
    "''",
    "'x'",
    "'a b'",
    "'off'",
    "-1",
    "0",
    "1",
    "1.0",
    "1.5",
    "true",
    "1979-05-27",
    "[]",
    "['x', 1]",
    "{}",
    "{ a = 1 }",
];

/// Values at the boundaries of what a key takes.
fn boundaries(key: &str) -> &'static [&'static str] {
    const DURATIONS: &[&str] = &[
        "'5s'",
        "'90d'",
        "'1h 30m'",
        "' 5s '",
        "'1 0s'",
        "'0'",
        "'5'",
        "'-5s'",
        "'5 parsecs'",
        "'.5h'",
        "'99999999999999999999s'",
    ];
    const SIZES: &[&str] = &[
        "'25MiB'",
        "' 1 mib '",
        "'1TiB'",
        "'1.5MiB'",
        "'99999999999999999999'",
        "1023",
        "1024",
        "1048575",
        "1048576",
        "104857600",
        "104857601",
    ];
    const SECRETS: &[&str] = &[
        "'env:A'",
        "'env:'",
        "'env:A=B'",
        "'file:/x'",
        "'file:'",
        "'credential:x'",
        "'credential:..'",
        "'credential:a/b'",
    ];
    const NETWORKS: &[&str] = &[
        "'10.0.0.0/8'",
        "'10.0.0.1'",
        "'256.0.0.1'",
        "'10.0.0.1/8'",
        "'::ffff:10.0.0.1'",
        "'1::2::3'",
        "'01.2.3.4'",
        "'10.0.0.0/33'",
        "'::/0'",
        "'::1'",
        "'::/129'",
        "'proxy'",
        "['::1', '10.0.0.1']",
    ];
    const SELECTORS: &[&str] = &[
        "'header:X'",
        "'item:t='",
        "'header:'",
        "'json:/a'",
        "'json:a'",
        "'form:x'",
        "'query:x'",
        "'beside:x'",
        "'cookie:x'",
        "'header:X|json:/a'",
        "'{header:X}-1'",
        "['json:/a', 'header:X']",
    ];
    const URLS: &[&str] = &[
        "'http://x'",
        "'https://'",
        "'ftp://x'",
        "'nats://x'",
        "'redis://x'",
        "'env:A'",
        "'env:'",
        "['nats://x', 'tls://y']",
    ];
    match key {
        "poll_interval" | "stop_timeout" | "processed" | "error" | "duplicates" | "expect_every" | "dedup_window"
        | "every" | "delay" | "backoff" | "backoff_max" | "timeout" => DURATIONS,
        "max_body" | "disk_reserve" => SIZES,
        "secret" | "verify_token" | "token" | "user" | "password" | "sign" => SECRETS,
        "trusted_proxies" | "allow" => NETWORKS,
        "id" | "event" | "sig" | "ts" => SELECTORS,
        "url" => URLS,
        "include" => &["'nothing/*.toml'", "'nothing*/a.toml'", "'a/..'", "'nothing/'"],
        "listen" => &[
            "'127.0.0.1:0'",
            "'[::1]:65535'",
            "'localhost:65536'",
            "'::1:1'",
            "'unix:/x'",
            "'unix:'",
            "'0.0.0.0:1'",
            "'http://x:1'",
        ],
        "hosts" => &["'pi.local'", "'pi.local:1'", "'[fd00::1]'", "'[fd00::1]:1'", "'fd00::1'", "['a', 'b c']"],
        "path" => &[
            "'/a'",
            "'a'",
            "'/a?b'",
            "'/a/../b'",
            "'/a..b'",
            "'/healthz'",
            "'/%68ealthz'",
            "'/webhooks/x'",
            "'/webhooks/X'",
        ],
        "methods" => &["'put'", "['GET', 'POST']", "'HEAD'", "['PUT', 'X']"],
        "status" => &["199", "200", "204", "299", "300"],
        "answer" => {
            &["{ status = 204 }", "{ status = 204, body = 'x' }", "{ text = 'x' }", "{ headers = { X = 'a' } }"]
        }
        "headers" => &[
            "{ X = 'a' }",
            "{ 'X Y' = 'a' }",
            "{ content-Length = '1' }",
            "{ Date = 'x' }",
            "{ X = \"a\\nb\" }",
            "{ X = 'env:' }",
        ],
        "env" => {
            &["{ A = 'b' }", "{ A = '' }", "{ A-b = 'c' }", "{ 1A = 'c' }", "{ HOOKBOX_A = 'c' }", "{ A = 'env:' }"]
        }
        "verify" => &["'none'", "{ alg = 'token' }", "{ alg = 'md5' }", "{ zz = 1 }"],
        "tolerance" | "tolerance_future" => &["300", "0", "3153600000", "3153600001", "'5m'", "'off'", "'of'"],
        "signed" => {
            &["'{body}'", "'{bodyy}'", "'{'", "'{{x}}'", "'body'", "'{ts}.{body}'", "'{id}.{body}'", "'{url}{body}'"]
        }
        "alg" => &["'token'", "'hmac-sha1'", "'md5'"],
        "enc" => &["'hex'", "'base64'", "'utf8'"],
        "ts_unit" => &["'s'", "'date'", "'h'"],
        "hook" => &["'o/r/1'", "'orgs/o/1'", "'o/1'", "'o/r/x'", "'a/b/c/1'", "'.o/r/1'"],
        "mode" => &["'redeliver'", "'take'"],
        "api" => &["'https://x'", "'http://x'", "'http://127.0.0.1:1/api'", "'http://localhostx'", "'https://u@x'"],
        "on" => &["'*'", "'a:b'", "['a:b', '*:c d']", "'a*:b'", "'a:'", "'a: b'", "'push'"],
        "run" | "blocks" | "text" | "body" | "stdin" | "subject" | "stream" | "key" => {
            &["'{{ event }}'", "['x', '{{ id }}']"]
        }
        "when" | "success_when" => &["'true'"],
        "attempts" => &["1000", "1001"],
        "concurrency" => &["16", "17"],
        "give_up" => &["255", "256", "[1, 2]", "[0]"],
        "max_length" => &["4294967295", "4294967296"],
        "dedup" => &["'window'", "'subject'", "'48h'"],
        "repeated_body" => &["'ignore'"],
        "kind" => &["'log'", "'logg'"],
        "latest_only" => &["false", "'yes'"],
        "method" => &["'put'", "'A B'"],
        "database" => &["'/x/y.db'", "':memory:'"],
        _ => &[],
    }
}

/// This config with another value of a key of its last table, or none.
fn with(config: &str, key: &str, value: Option<&str>) -> String {
    let start = config.rfind('[').unwrap_or(0);
    let (before, table) = config.split_at(start);
    let others = table.lines().filter(|line| !line.starts_with(&format!("{key} = ")));
    let line = value.map(|value| format!("{key} = {value}"));
    let lines: Vec<String> = others.map(str::to_owned).chain(line).collect();
    format!("{before}{}\n", lines.join("\n"))
}

/// Whether this is a key of actions, but of no action of the kind that is in the config.
fn is_of_another_kind(config: &str, key: &str) -> bool {
    let kind = config.split_once("kind = '").and_then(|(_, rest)| rest.split('\'').next());
    kind.is_some_and(|kind| !keys_of(&format!("action-{kind}")).contains(key))
}

fn of_each_key() -> Vec<String> {
    let mut configs = Vec::new();
    for (definition, config) in TABLES {
        // An unknown key, and those of the other tables.
        let others = ["zzzz", "provider", "url", "run", "token", "tolerance", "hook", "processed"];
        let keys = keys_of(definition);
        for other in others.into_iter().filter(|other| !keys.contains(*other)) {
            configs.push(with(config, other, Some("'x'")));
        }
        for key in &keys {
            if is_of_another_kind(config, key) {
                configs.push(with(config, key, Some("'x'")));
                continue;
            }
            let values = ANY.iter().chain(boundaries(key));
            configs.extend(values.map(|value| with(config, key, Some(value))));
            configs.push(with(config, key, None));
        }
    }
    configs
}

/// What depends on the provider.
fn of_each_provider() -> Vec<String> {
    let providers = schema()["$defs"]["source"]["properties"]["provider"]["enum"].clone();
    let providers = providers.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    let keys = [
        "",
        "secret = 'env:S'",
        "verify = 'none'",
        "public_url = 'https://x/y'",
        "secret = 'env:S'\npublic_url = 'https://x/y'",
        "secret = 'env:S'\nverify = 'none'",
        "secret = 'env:S'\nverify = { signed = '{body}' }",
        "secret = 'env:S'\npublic_url = 'https://x/y'\nverify = { prefix = 'a' }",
        "secret = 'env:S'\npublic_url = 'https://x/y'\nmethods = 'PUT'",
        "secret = 'env:S'\npublic_url = 'https://x/y'\nanswer = {}",
        "secret = 'env:S'\npublic_url = 'https://x/y'\nrecover = { token = 'x' }",
        "secret = 'env:S'\npublic_url = 'https://x/y'\nrecover = { token = 'x', hook = 'o/r/1' }",
        "secret = 'env:S'\npublic_url = 'https://x/y'\nrecover = { token = 'x', hook = 'o/r/1', mode = 'redeliver' }",
        "secret = 'env:S'\npublic_url = 'https://x/y'\nrecover = { token = 'x', mode = 'redeliver' }",
        "secret = 'env:S'\npublic_url = 'https://x/y'\nid = 'json:/id'\nrecover = { token = 'x', hook = 'o/r/1' }",
    ];
    providers.flat_map(|name| keys.map(|keys| format!("[sources.a]\nprovider = '{name}'\n{keys}\n"))).collect()
}

/// What depends on several keys, and names.
const OF_SEVERAL_KEYS: [&str; 21] = [
    "[sources.a]\n",
    "[sources.a]\nsecret = 'env:S'\n",
    "[sources.a]\nverify = {}\n",
    "[sources.A]\nverify = 'none'\n",
    "[sources.hookbox]\nverify = 'none'\n",
    "[sources]\n",
    "[actions]\n",
    "[actions.'a b']\nkind = 'log'\non = '*'\n",
    "[actions.a]\n",
    "[actions.a]\non = '*'\n",
    "[admin]\nlisten = '0.0.0.0:1'\n",
    "[admin]\nlisten = '0.0.0.0:1'\ntoken = 'none'\n",
    "[admin]\nlisten = '0.0.0.0:1'\ntoken = 'env:A'\n",
    "[admin]\nlisten = 'localhost:1'\ntoken = 'none'\n",
    "[admin]\nlisten = '[::1]:1'\n",
    "[sources.a]\nprovider = 'token'\nsecret = 'env:S'\nstatus = 202\nanswer = { body = 'x' }\n",
    "[sources.a]\nprovider = 'token'\nsecret = 'env:S'\nanswer = { status = 205, body = 'x' }\n",
    "[sources.a]\nprovider = 'hmac'\nsecret = 'env:S'\nverify = { signed = '{url}{body}' }\n",
    "[sources.a]\nprovider = 'hmac'\nsecret = 'env:S'\npublic_url = 'https://x'\nverify = { signed = '{url}{body}' }\n",
    "[actions.a]\nkind = 'http'\non = '*'\nurl = 'http://x'\nrun = 'x'\n",
    "[actions.a]\nkind = 'command'\non = '*'\nrun = 'x'\nurl = 'http://x'\n",
];

#[test]
fn the_schema_and_the_reader_have_the_same_verdict() {
    let several = OF_SEVERAL_KEYS.iter().map(|config| (*config).to_owned());
    let configs: BTreeSet<String> = of_each_key().into_iter().chain(of_each_provider()).chain(several).collect();
    let configs: Vec<String> = configs.into_iter().collect();
    assert!(configs.len() > 2000, "{}", configs.len());
    let Some(verdicts) = judge(&configs) else { return };
    let (home, mut used, mut differences) = (Home::new(), BTreeSet::new(), Vec::new());
    for (config, verdict) in configs.iter().zip(verdicts) {
        home.write("hookbox.toml", config);
        let output = home.run(["check", "--no-secrets"]);
        match (output.code == Some(0), verdict) {
            (true, None) | (false, Some(_)) => {}
            (true, Some(why)) => differences.push(format!("the schema refuses\n{config}{why}\n")),
            (false, None) => match ONLY_THE_READER_KNOWS.iter().find(|part| output.stderr.contains(*part)) {
                Some(part) => _ = used.insert(*part),
                None => differences.push(format!("the schema takes\n{config}{}\n", output.stderr)),
            },
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    let unused: Vec<&&str> = ONLY_THE_READER_KNOWS.iter().filter(|part| !used.contains(*part)).collect();
    assert!(unused.is_empty(), "the schema knows them too: {unused:?}");
}
